package gateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/subproto"
)

// newPair makes a self-signed certificate for 127.0.0.1 and its key, both PEM.
func newPair(name string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		return nil, nil, err
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}), nil
}

// writePair writes such a pair to dir.
func writePair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	c, k, err := newPair(name)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, data := range map[string][]byte{cert: c, key: k} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// overTLS starts a gateway with TLS on its listener.
func overTLS(t *testing.T, o Options, serve func(*Gateway, context.Context, net.Listener) error) *server {
	cert, key := writePair(t, t.TempDir(), "test")
	conf, err := TLSFromFiles(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return startServer(t, o, func(g *Gateway, ctx context.Context, ln net.Listener) error {
		return serve(g, ctx, WithTLS(ln, conf))
	})
}

func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func TestWebSocketOverTLS(t *testing.T) {
	p := newProbe("p")
	s := overTLS(t, Options{Engines: []subproto.Engine{p}, DefaultProtocol: "p", Timeouts: Timeouts{Idle: 4 * time.Millisecond}},
		(*Gateway).ServeWS)
	tr := &http.Transport{TLSClientConfig: insecure()}
	defer tr.CloseIdleConnections()
	ctx := testContext(t)
	c, _, err := websocket.Dial(ctx, "wss://"+s.addr+"/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	h := p.next(t)
	for i, n := range []int{1, 100, 5000, 17_000, 100_000, 1 << 20, 0, 7, 7, 7} {
		want := bytes.Repeat([]byte{byte(i)}, n)
		if err := c.Write(ctx, websocket.MessageBinary, want); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %d came back, %v", n, len(got), err)
		}
		if i%2 == 0 { // let the reader move to a fresh goroutine
			eventually(t, func() bool { return !h.Conn.(*conn).deep.Load() })
		}
	}
	if err := c.Close(1000, ""); err != nil {
		t.Error(err)
	}
	h.end(t)
}

// Many messages in one record, and a record in many pieces.
func TestTLSRecords(t *testing.T) {
	s := overTLS(t, Options{Engines: []subproto.Engine{newProbe("p")}, DefaultProtocol: "p"}, (*Gateway).ServeWS)
	pipe, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowConn{Conn: pipe, piece: 1 << 20}
	nc := tls.Client(slow, insecure())
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	upgradeRaw(t, nc, "/ws", "")
	r := newRawClient(t, nc)
	r.send(bytes.Repeat(maskedFrame(fin1, []byte("x")), 500))
	for range 500 {
		r.want(fin1, "x")
	}
	slow.piece = 1
	r.send(maskedFrame(fin1, []byte("split over and over")))
	r.want(fin1, "split over and over")
	r.send(closeFrame(1000, ""))
	r.wantClose(1000)
}

// slowConn writes in pieces.
type slowConn struct {
	net.Conn
	piece int
}

func (c *slowConn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = c.Conn.Write(p[n:min(n+c.piece, len(p))])
		n += k
	}
	return n, err
}

func TestStreamOverTLS(t *testing.T) {
	p := newProbe("mqtt")
	p.frame = func(h *probeHandler, k subproto.Kind, d []byte) {
		h.Send(k, d)
		if bytes.HasSuffix(d, []byte("!")) {
			h.Close(1000, "")
		}
	}
	s := overTLS(t, Options{Engines: []subproto.Engine{p}}, func(g *Gateway, ctx context.Context, ln net.Listener) error {
		return g.ServeStream(ctx, ln, "mqtt")
	})
	nc, err := tls.Dial("tcp", s.addr, insecure())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	want := strings.Repeat("0123456789", 20_000) + "!"
	go io.WriteString(nc, want)
	got, err := io.ReadAll(nc) // up to a close_notify, or this is an error
	if err != nil || string(got) != want {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	if err := p.next(t).end(t); err != nil {
		t.Error(err)
	}
}

func TestTLSHandshakeThatNeverComes(t *testing.T) {
	s := overTLS(t, Options{Engines: []subproto.Engine{newProbe("mqtt")}, Timeouts: Timeouts{Header: 100 * time.Millisecond}},
		func(g *Gateway, ctx context.Context, ln net.Listener) error { return g.ServeStream(ctx, ln, "mqtt") })
	for _, hello := range []string{"", "\x16\x03\x01", "this is no TLS at all ......"} {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(nc, hello)
		if _, err := io.ReadAll(nc); isTimeout(err) {
			t.Errorf("%q: kept open", hello)
		}
		nc.Close()
	}
}

func TestTLSVersionsAndALPN(t *testing.T) {
	s := overTLS(t, Options{Engines: []subproto.Engine{newProbe("p")}}, (*Gateway).ServeWS)
	c := insecure()
	c.MaxVersion = tls.VersionTLS11
	if nc, err := tls.Dial("tcp", s.addr, c); err == nil {
		nc.Close()
		t.Error("TLS 1.1 was accepted")
	}
	c = insecure()
	c.NextProtos = []string{"h2", "http/1.1"}
	nc, err := tls.Dial("tcp", s.addr, c)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if p := nc.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("ALPN chose %q", p)
	}
}

func TestTLSReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "first")
	var log bytes.Buffer
	conf, err := TLSFromFiles(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	p := &pairFiles{files: [2]string{cert, key}, log: slog.New(slog.NewTextHandler(&log, nil))} // every = 0: always looks
	name := func(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) string {
		c, err := get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	later := time.Now()
	touch := func() { // a file system's clock may be coarse
		later = later.Add(time.Minute)
		for _, f := range []string{cert, key} {
			if err := os.Chtimes(f, later, later); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := name(p.get); got != "first" {
		t.Errorf("got %q", got)
	}
	writePair(t, dir, "second")
	touch()
	if got := name(conf.GetCertificate); got != "first" {
		t.Errorf("looked again within a second: %q", got)
	}
	if got := name(p.get); got != "second" {
		t.Errorf("not reloaded: %q", got)
	}
	if err := os.WriteFile(cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch()
	for range 3 {
		if got := name(p.get); got != "second" {
			t.Errorf("a broken pair replaced the old one: %q", got)
		}
	}
	if n := strings.Count(log.String(), "not usable"); n != 1 {
		t.Errorf("logged %d times: %s", n, log.String())
	}
	os.Remove(key)
	if got := name(p.get); got != "second" {
		t.Errorf("a missing file: %q", got)
	}
	writePair(t, dir, "third")
	touch()
	if got := name(p.get); got != "third" {
		t.Errorf("not repaired: %q", got)
	}
	if _, err := TLSFromFiles(filepath.Join(dir, "none"), key, nil); err == nil || !strings.Contains(fmt.Sprint(err), "none") {
		t.Errorf("missing at start: %v", err)
	}
}
