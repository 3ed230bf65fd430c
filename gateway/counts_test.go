package gateway

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"parley/metrics"
)

// scrape is what /metrics would show.
func scrape(m *metrics.Set) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m, p := metrics.New(), &probe{}
	s := probeServer(t, p, Options{Metrics: m})
	want := func(lines ...string) {
		t.Helper()
		got := scrape(m)
		for _, l := range lines {
			if !strings.Contains(got, "\nparley_"+l+"\n") {
				t.Errorf("no %q in:\n%s", l, got)
			}
		}
	}
	r := s.raw(offerP)
	h := p.next(t)
	want(`connections{protocol="p"} 1`, `connections_accepted_total{protocol="p"} 1`)
	r.send(closeFrame(1000, ""))
	r.wantClose(1000)
	h.end(t)
	bad := s.raw(offerP)
	bad.send([]byte{fin1, 0})
	bad.wantClose(1002)
	s.request("Sec-WebSocket-Protocol: soap\r\n")
	s.request(offerP + "Origin: http://evil.example\r\n")
	s.request(offerP + "Authorization: Bearer x\r\n")
	for reason, n := range map[string]int{refusedProtocol: 1, refusedOrigin: 1, refusedAuth: 1} {
		want(fmt.Sprintf("connections_refused_total{reason=%q} %d", reason, n))
	}
	want(`connections_closed_total{protocol="p",reason="peer"} 1`, `connections_closed_total{protocol="p",reason="protocol"} 1`)
	eventually(t, func() bool { return strings.Contains(scrape(m), "parley_connections{protocol=\"p\"} 0\n") })
}
