package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"
)

// target reads the address as people write it: a bare host:port is ws://.
func target(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "ws://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not an address: %w", text, err)
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss", "mqtt", "mqtts":
	default:
		return nil, fmt.Errorf("%q: scheme %s is not known; give ws, wss, mqtt or mqtts", text, u.Scheme)
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an address; give scheme://host:port/path", text)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// dialWebSocket offers exactly one subprotocol and insists on it.
func dialWebSocket(ctx context.Context, o *Options, protocol string) (*websocket.Conn, error) {
	u, err := target(o.URL)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(u.Scheme, "mqtt") {
		return nil, fmt.Errorf("%w: %s:// speaks MQTT only; give ws or wss", ErrUnsupported, u.Scheme)
	}
	c, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: o.TLS, Proxy: http.ProxyFromEnvironment}},
		Subprotocols: []string{protocol},
	})
	if err != nil {
		return nil, handshakeError(resp, err)
	}
	if c.Subprotocol() != protocol {
		c.CloseNow()
		return nil, fmt.Errorf("%s does not speak %s", o.URL, protocol)
	}
	c.SetReadLimit(maxMessage)
	return c, nil
}

// handshakeError shows what the server's answer said; its body is short text.
func handshakeError(resp *http.Response, err error) error {
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return err
	}
	var body []byte
	if resp.Body != nil {
		body, _ = io.ReadAll(io.LimitReader(resp.Body, 512))
	}
	text := strings.TrimSpace(resp.Status + " " + strings.Join(strings.Fields(string(body)), " "))
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return fmt.Errorf("%w: %s", ErrRefused, text)
	}
	return errors.New(text)
}

// dialStream opens a plain connection for mqtt:// and mqtts://.
func dialStream(ctx context.Context, o *Options, u *url.URL) (net.Conn, error) {
	host, port := u.Hostname(), u.Port()
	if u.Scheme == "mqtt" {
		if port == "" {
			port = "1883"
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	}
	if port == "" {
		port = "8883"
	}
	return (&tls.Dialer{Config: o.TLS}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}
