package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a self-signed pair for 127.0.0.1.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "parley test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", public), write("key.pem", "PRIVATE KEY", secret)
}

// wss, mqtts, https for operators, and the health check of the own listener.
func TestTLSOnEveryListener(t *testing.T) {
	cert, key := certificate(t)
	s := start(t, configured(t, map[string]string{
		"mqtt_listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0",
		"tls.cert": cert, "tls.key": key, "mqtt.tls.cert": cert, "mqtt.tls.key": key, "admin.tls.cert": cert, "admin.tls.key": key,
	}))
	for _, p := range protocols() {
		if _, errs, code := shell(t, "", nil, "pub", "-p", p, "--url", "wss://"+s.Public.String(), "--ca", cert, "a", "x"); code != exitOK {
			t.Errorf("%s over wss: %d %s", p, code, errs)
		}
	}
	mqtts := []string{"pub", "-p", "mqtt", "--url", "mqtts://" + s.MQTT.String(), "a", "x"}
	if _, errs, code := shell(t, "", nil, append(mqtts, "--ca", cert)...); code != exitOK {
		t.Errorf("mqtts: %d %s", code, errs)
	}
	if _, errs, code := shell(t, "", nil, mqtts...); code != exitFailed || !strings.Contains(errs, "certificate") {
		t.Errorf("a certificate that nobody vouches for: %d %s", code, errs)
	}
	if _, errs, code := shell(t, "", nil, append(mqtts, "--insecure")...); code != exitOK {
		t.Errorf("--insecure: %d %s", code, errs)
	}
	if out, errs, code := shell(t, "", nil, "health", "--listen", s.Public.String(), "--tls-cert", cert, "--tls-key", key); code != exitOK || out != "ready\n" {
		t.Errorf("health: %d %q %s", code, out, errs)
	}
	if _, errs, code := shell(t, "", nil, "health", "--url", "https://"+s.Admin.String()); code != exitFailed || !strings.Contains(errs, "certificate") {
		t.Errorf("operators: %d %s", code, errs)
	}
	if out, errs, code := shell(t, "", nil, "check", "--tls-cert", cert, "--tls-key", key, "--data", t.TempDir()); code != exitOK || !strings.Contains(out, "wss://") {
		t.Errorf("check: %d %s", code, errs)
	}
}
