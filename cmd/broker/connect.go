package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/client"
)

// connectFlags are the flags of pub, sub and call that say where to connect and
// as whom.
type connectFlags struct {
	client.Options
	passwordFile, tokenFile string
	ca                      string
	insecure                bool
	timeout                 time.Duration
	output                  string
	verbose                 bool
}

func addConnectFlags(cmd *cobra.Command, s *streams, outputs ...string) *connectFlags {
	f := &connectFlags{}
	flags := cmd.Flags()
	flags.StringVar(&f.URL, "url", cmp.Or(s.getenv("PARLEY_URL"), "ws://127.0.0.1:8080"), "where the broker listens: ws, wss, mqtt or mqtts (PARLEY_URL)")
	flags.StringVarP(&f.Protocol, "protocol", "p", cmp.Or(s.getenv("PARLEY_PROTOCOL"), "json"), "mqtt, wamp, wamp.2.msgpack, wamp.2.cbor or json (PARLEY_PROTOCOL)")
	flags.StringVarP(&f.User, "user", "u", s.getenv("PARLEY_USER"), "user name (PARLEY_USER)")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password (or PARLEY_PASSWORD)")
	flags.StringVar(&f.tokenFile, "token-file", "", "`file` with a token, instead of user and password (or PARLEY_TOKEN)")
	flags.StringVar(&f.Realm, "realm", s.getenv("PARLEY_REALM"), "WAMP realm (PARLEY_REALM, default \"default\")")
	flags.StringVar(&f.ClientID, "client-id", "", "MQTT client identifier (default: the broker chooses)")
	flags.StringVar(&f.ca, "ca", "", "`file` with the certificates (PEM) to trust, for wss and mqtts")
	flags.BoolVar(&f.insecure, "insecure", false, "do not check the broker's certificate")
	flags.StringVarP(&f.output, "output", "o", outputs[0], "one of "+strings.Join(outputs, ", "))
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say more, on standard error")
	protocols := []string{"mqtt", "wamp", "wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor", "json"}
	_ = cmd.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions(protocols, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	cmd.PreRunE = func(*cobra.Command, []string) error {
		for _, o := range outputs {
			if f.output == o {
				return f.prepare(s)
			}
		}
		return usagef("--output %s: give one of %s", f.output, strings.Join(outputs, ", "))
	}
	return f
}

// prepare reads the secrets and certificates. Secrets are never flags: others
// can read the command line of a process.
func (f *connectFlags) prepare(s *streams) error {
	f.Password, f.Token = s.getenv("PARLEY_PASSWORD"), s.getenv("PARLEY_TOKEN")
	for name, secret := range map[string]*string{f.passwordFile: &f.Password, f.tokenFile: &f.Token} {
		if name == "" {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return usageError{err}
		}
		*secret = strings.TrimRight(string(data), "\r\n")
	}
	if f.passwordFile != "" && f.User == "" {
		return usagef("--password-file without --user; give both")
	}
	if f.tokenFile == "" && f.User != "" {
		f.Token = "" // a user named on the command line wins over PARLEY_TOKEN
	}
	if f.ca == "" && !f.insecure {
		return nil
	}
	f.TLS = &tls.Config{InsecureSkipVerify: f.insecure}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return usageError{err}
		}
		f.TLS.RootCAs = x509.NewCertPool()
		if !f.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return usagef("--ca %s: no certificate in it; give a PEM file", f.ca)
		}
	}
	return nil
}

// dial connects within the time limit.
func (f *connectFlags) dial(ctx context.Context, s *streams) (client.Client, error) {
	f.say(s, "connecting to %s with %s", f.URL, f.Protocol)
	c, err := client.Dial(ctx, f.Options)
	if err == nil {
		f.say(s, "connected")
	}
	return c, err
}

// say writes what only -v wants to know.
func (f *connectFlags) say(s *streams, format string, args ...any) {
	if f.verbose {
		fmt.Fprintf(s.err, format+"\n", args...)
	}
}

// bounded ends ctx after d; 0 means no limit.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
