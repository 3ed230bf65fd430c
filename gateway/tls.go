package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// WithTLS marks ln to be served over TLS. The gateway puts TLS above its own
// limits, so that a refused connection costs no handshake.
func WithTLS(ln net.Listener, conf *tls.Config) net.Listener { return &tlsListener{ln, conf} }

type tlsListener struct {
	net.Listener
	conf *tls.Config
}

func splitTLS(ln net.Listener) (net.Listener, *tls.Config) {
	if t, ok := ln.(*tlsListener); ok {
		return t.Listener, t.conf
	}
	return ln, nil
}

// TLSFromFiles reads a certificate chain and its key, both PEM, and returns a
// server configuration (TLS 1.2 or newer) that looks at the files again, at most
// once a second and only when there are handshakes. A changed pair is taken over
// for new connections; a broken one is logged once and the old one stays. log
// may be nil.
func TLSFromFiles(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &pairFiles{files: [2]string{certFile, keyFile}, log: log, every: time.Second}
	p.seen = p.stamps()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read TLS certificate: %w", err)
	}
	p.cert, p.looked = &cert, time.Now()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get}, nil
}

// pairFiles follows the two files.
type pairFiles struct {
	files [2]string
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	cert   *tls.Certificate
	looked time.Time
	seen   [2]stamp // of the last pair that was tried
}

type stamp struct {
	mod  time.Time
	size int64
}

func (p *pairFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.looked) >= p.every {
		p.looked = now
		p.reload()
	}
	return p.cert, nil
}

func (p *pairFiles) reload() {
	now := p.stamps()
	if now == p.seen {
		return
	}
	p.seen = now
	cert, err := tls.LoadX509KeyPair(p.files[0], p.files[1])
	if err != nil {
		// Half of a change, perhaps: the other half changes the stamps again.
		p.log.Error("new TLS certificate not usable, keeping the old one", "file", p.files[0], "err", err)
		return
	}
	p.cert = &cert
	p.log.Info("TLS certificate reloaded", "file", p.files[0])
}

func (p *pairFiles) stamps() (s [2]stamp) {
	for i, f := range p.files {
		if fi, err := os.Stat(f); err == nil {
			s[i] = stamp{fi.ModTime(), fi.Size()}
		}
	}
	return s
}
