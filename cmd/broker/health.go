package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func healthCommand(s *streams) *cobra.Command {
	var url string
	var live bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "health", Short: "Ask a running broker whether it is ready",
		Long: `Ask the public listener of a running broker for /readyz, or with --live for
/healthz. It takes the address from the same configuration as serve, so that it
needs no arguments in a container. Exit code 0: ready, 1: not, 4: no answer in time.`,
		Example: "  broker health\n  broker health --url https://broker.example.com --live",
		Args:    cobra.NoArgs,
	}
	flags := addConfigFlags(cmd)
	cmd.Flags().StringVar(&url, "url", "", "ask this address instead of the configured one")
	cmd.Flags().BoolVar(&live, "live", false, "ask whether it runs at all (/healthz)")
	cmd.Flags().DurationVarP(&timeout, "timeout", "t", 3*time.Second, "for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		own := url == ""
		if own {
			// Nothing is opened here, so nothing has to be said about who may come in;
			// serve may have been told so by a flag.
			l, err := flags.loadOver(cmd, s, map[string]string{"allow_anonymous": "true", "admin.allow_anonymous": "true"})
			if err != nil {
				return err
			}
			if url, err = ownURL(l.Listen, l.TLS.On()); err != nil {
				return err
			}
		}
		path := "/readyz"
		if live {
			path = "/healthz"
		}
		ctx, cancel := bounded(cmd.Context(), timeout)
		defer cancel()
		return ask(ctx, s.out, strings.TrimSuffix(url, "/")+path, own)
	}
	return cmd
}

// ownURL is how this machine reaches a listener.
func ownURL(listen string, secure bool) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", usagef("listen is %s: the port is chosen at start; give --url", listen)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "::1"
		}
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}

// pageURL is the address of the page for a browser on this machine: 0.0.0.0 and ::
// are none. at is where the listener of address ended up, with its port.
func pageURL(address string, at net.Addr, secure bool) string {
	bound := at.String()
	if host, _, err := net.SplitHostPort(address); err == nil {
		if _, port, err := net.SplitHostPort(bound); err == nil {
			bound = net.JoinHostPort(host, port)
		}
	}
	url, err := ownURL(bound, secure)
	if err != nil {
		return bound
	}
	return url + "/"
}

// ask prints the answer and fails unless it is 200. The certificate of the own
// listener is not checked: it names the public host, not the loopback address.
func ask(ctx context.Context, out io.Writer, url string, own bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usageError{err}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: own}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		if os.IsTimeout(err) {
			return fmt.Errorf("%s: %w", url, context.DeadlineExceeded)
		}
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", url, resp.Status, text)
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
