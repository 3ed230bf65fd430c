package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func get(t *testing.T, b *broker, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + b.listen + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// TestNegotiation with real WebSocket clients: what was offered comes back as it
// was spelt, in the client's order of preference, or the handshake is refused.
func TestNegotiation(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	tests := []struct {
		offered []string
		chosen  string // "" with refused false: none in the answer
		refused bool
	}{
		{[]string{"mqtt"}, "mqtt", false},
		{[]string{"MQTT"}, "MQTT", false},
		{[]string{"Wamp.2.JSON"}, "Wamp.2.JSON", false},
		{[]string{"soap", "wamp.2.cbor", "mqtt"}, "wamp.2.cbor", false},
		{[]string{"json", "mqtt"}, "json", false},
		{[]string{"centrifuge-json"}, "centrifuge-json", false},
		{[]string{"mqttv3.1"}, "mqttv3.1", false},
		{nil, "", false},
		{[]string{"soap"}, "", true},
	}
	for _, tt := range tests {
		p, err := d.tryOpen("raw", "raw", b, args{"protocols": append([]string{}, tt.offered...)})
		switch {
		case tt.refused && err == nil:
			t.Errorf("%q: accepted with %q, want 400", tt.offered, p.opened.Protocol)
		case tt.refused && (err.Code != 400.0 || !strings.Contains(err.Text, "wamp.2.json")):
			t.Errorf("%q: %v, want 400 and a list of what is supported", tt.offered, err)
		case !tt.refused && err != nil:
			t.Errorf("%q: %v", tt.offered, err)
		case !tt.refused && p.opened.Protocol != tt.chosen:
			t.Errorf("%q: chosen %q, want %q", tt.offered, p.opened.Protocol, tt.chosen)
		}
	}
}

// TestPublicPages: health for load balancers; nothing for operators on the
// public listener.
func TestPublicPages(t *testing.T) {
	b := startBroker(t, "")
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 200, "/metrics": 404, "/debug/pprof/": 404, "/api/status": 404} {
		if status, _ := get(t, b, path); status != want {
			t.Errorf("%s: status %d, want %d", path, status, want)
		}
	}
}
