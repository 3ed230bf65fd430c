package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/config"
)

// The command line without a broker: what is printed and the exit code.
func TestCommandLines(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		in   string
		env  []string
		out  string // part of standard output
		errs string // part of standard error
		code int
	}{
		"help":                {args: []string{"--help"}, out: "Exit codes: 0 it worked"},
		"version":             {args: []string{"version"}, out: "parley dev"},
		"version as a flag":   {args: []string{"--version"}, out: "parley dev"},
		"version as JSON":     {args: []string{"version", "--json"}, out: `"platform":`},
		"example":             {args: []string{"config", "example"}, out: "# Every key is also an environment variable"},
		"reference":           {args: []string{"config", "keys"}, out: "| `gateway.limits.connections` | number | `20000` |"},
		"completion":          {args: []string{"completion", "bash"}, out: "complete -o default -F __start_broker broker"},
		"complete a protocol": {args: []string{"__complete", "pub", "--protocol", "wa"}, out: "wamp.2.cbor", errs: "NoFileComp"},
		"complete a choice":   {args: []string{"__complete", "serve", "--log-format", ""}, out: "json"},

		"unknown command":     {args: []string{"serv"}, errs: "Did you mean this?\n  \tserve", code: exitUsage},
		"unknown flag":        {args: []string{"serve", "--lisen", "x"}, errs: "broker: unknown flag: --lisen\nRun 'broker serve --help' for help.", code: exitUsage},
		"argument to serve":   {args: []string{"serve", "now"}, errs: `unknown command "now" for "broker serve"`, code: exitUsage},
		"bad value of a flag": {args: []string{"--listen", "8080"}, errs: "--listen: listen: 8080 is not allowed; give host:port", code: exitUsage},
		"bad --set":           {args: []string{"--set", "drain.spread"}, errs: "give key=value", code: exitUsage},
		"unknown --set":       {args: []string{"--set", "drain.sprad=1s"}, errs: "did you mean drain.spread?", code: exitUsage},
		"exposed":             {args: []string{"--listen", "0.0.0.0:0"}, errs: "can be reached by others and clients do not prove who they are", code: exitUsage},
		"several problems": {
			args: []string{"check"}, env: []string{"PARLEY_LISTEN=x", "PARLEY_LOG_LEVEL=y"},
			errs: "broker: the configuration has 2 problems:\n  PARLEY_LISTEN: listen: x is not allowed", code: exitUsage,
		},
		"torture of nothing we know":    {args: []string{"torture", "--protocols", "mqtt5,amqp"}, errs: `"amqp" is not one of mqtt5, json, wamp, mqtt3`, code: exitUsage},
		"torture kills nobody else's":   {args: []string{"torture", "--kill", "--url", "ws://127.0.0.1:1/"}, errs: "is not killed", code: exitUsage},
		"torture for less than no time": {args: []string{"torture", "--duration", "-1s"}, errs: "cannot be negative", code: exitUsage},
		"torture of no history":         {args: []string{"torture", "--check", "/nowhere/h"}, errs: "no such file", code: exitUsage},
		"a faulty history":              {args: []string{"torture", "--check", "testdata/faulty.jsonl"}, out: "unknown: s received p/1, which nobody has published", errs: "1 faults: unknown 1", code: exitFailed},
		"no such file":                  {args: []string{"check", "-c", "/nowhere/p.yaml"}, errs: "no such file", code: exitUsage},

		"pub without a topic":        {args: []string{"pub"}, errs: "accepts between 1 and 2 arg(s)", code: exitUsage},
		"pub to a filter":            {args: []string{"pub", "a/#", "x"}, errs: `topic "a/#"`, code: exitUsage},
		"pub to a reserved topic":    {args: []string{"pub", "wamp/x", "x"}, errs: "reserved", code: exitUsage},
		"pub at QoS 2 over JSON":     {args: []string{"pub", "-q", "2", "a", "x"}, errs: "--qos 2 is for --protocol mqtt", code: exitUsage},
		"sub at QoS 3":               {args: []string{"sub", "-p", "mqtt", "-q", "3", "a"}, errs: "--qos 3: give 0, 1 or 2", code: exitUsage},
		"MQTT's options over WAMP":   {args: []string{"pub", "-p", "wamp", "--expiry", "1m", "--text", "a", "x"}, errs: "--expiry, --text: only with --protocol mqtt", code: exitUsage},
		"will without a topic":       {args: []string{"sub", "-p", "mqtt", "--will-qos", "1", "a"}, errs: "--will-qos without --will-topic", code: exitUsage},
		"half a second":              {args: []string{"pub", "-p", "mqtt", "--expiry", "500ms", "a", "x"}, errs: "--expiry 500ms: give whole seconds", code: exitUsage},
		"property without value":     {args: []string{"pub", "-p", "mqtt", "--property", "a", "a", "x"}, errs: `--property "a": give name=value`, code: exitUsage},
		"retain handling 3":          {args: []string{"sub", "-p", "mqtt", "--retain-handling", "3", "a"}, errs: "--retain-handling 3: give 0, 1 or 2", code: exitUsage},
		"pub with two payloads":      {args: []string{"pub", "a", "x", "--file", "y"}, errs: "give one of them", code: exitUsage},
		"pub over no protocol":       {args: []string{"pub", "-p", "amqp", "a", "x"}, errs: `unknown protocol "amqp"; known are mqtt`, code: exitUsage},
		"sub without a filter":       {args: []string{"sub"}, errs: "requires at least 1 arg(s)", code: exitUsage},
		"sub with a bad filter":      {args: []string{"sub", "a/#/b"}, errs: `filter "a/#/b"`, code: exitUsage},
		"sub with a bad output":      {args: []string{"sub", "-o", "xml", "a"}, errs: "--output xml: give one of text, json, raw", code: exitUsage},
		"nobody listens":             {args: []string{"pub", "--url", "ws://127.0.0.1:1", "a", "x"}, errs: "connection refused", code: exitFailed},
		"not an address":             {args: []string{"pub", "--url", "ftp://x", "a", "x"}, errs: "scheme ftp is not known; give ws, wss, mqtt or mqtts", code: exitFailed},
		"no such password file":      {args: []string{"sub", "-u", "a", "--password-file", "/nowhere/p", "a"}, errs: "no such file", code: exitUsage},
		"password without user":      {args: []string{"sub", "--password-file", os.DevNull, "a"}, errs: "give both", code: exitUsage},
		"bad named arguments":        {args: []string{"call", "p", "-k", "[1]"}, errs: "give a JSON object", code: exitUsage},
		"health of nothing":          {args: []string{"health", "--url", "http://127.0.0.1:1"}, errs: "connection refused", code: exitFailed},
		"health of a port not known": {args: []string{"health", "--listen", "127.0.0.1:0"}, errs: "give --url", code: exitUsage},
		"users of no file":           {args: []string{"passwd", "a"}, in: "secret\n", errs: "which file?", code: exitUsage},
		"expired from the start":     {args: []string{"token", "create", "-f", "x", "-e", "2001-01-01", "a"}, errs: "give a time to come", code: exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := shell(t, tc.in, tc.env, tc.args...)
			if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(errs, tc.errs) {
				t.Errorf("exit code %d, want %d\nout: %.2000s\nerr: %s", code, tc.code, out, errs)
			}
			if tc.code == 0 && errs != "" && tc.args[0] != "__complete" {
				t.Errorf("on standard error: %s", errs)
			}
		})
	}
}

// What config example prints, check accepts.
func TestExamplePassesTheCheck(t *testing.T) {
	example, _, _ := shell(t, "", nil, "config", "example")
	dir := t.TempDir()
	name := filepath.Join(dir, "parley.yaml")
	if err := os.WriteFile(name, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := shell(t, "", []string{"PARLEY_CONFIG=" + name}, "check", "--data", filepath.Join(dir, "data"))
	if code != exitOK || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{
		"Configuration file: " + name, "ws://127.0.0.1:8080", "this machine only",
		"Nobody proves who they are: there is no auth.file, and anonymous clients are allowed.", name + ":", "--data",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
}

func TestCheckExplains(t *testing.T) {
	file, _ := users(t)
	env := []string{"PARLEY_LISTEN=0.0.0.0:8080", "PARLEY_AUTH_FILE=" + file, "PARLEY_TYPO=1", "PARLEY_STORE_SYNC=interval"}
	out, errs, code := shell(t, "", env, "check", "--changed", "--admin-listen", ":8081", "--auth-file", file)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{
		"0.0.0.0:8080 can be reached by others without TLS", "all networks", "Only users and tokens of " + file + " are let in.",
		"http://127.0.0.1:8081", "PARLEY_LISTEN", "--auth-file", "Warning: environment variable PARLEY_TYPO is no key",
		"Warning: store.sync is interval: what is acknowledged is not on disk yet",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "log.level") {
		t.Error("--changed shows a default")
	}
	out, _, _ = shell(t, "", env, "check", "--json")
	var doc struct {
		Values map[string]struct{ Value, Origin string }
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if v := doc.Values["listen"]; v.Value != "0.0.0.0:8080" || v.Origin != "PARLEY_LISTEN" || doc.Values["allow_anonymous"].Value != "false" {
		t.Errorf("%+v", doc.Values)
	}
	if len(doc.Values) != len(config.Keys()) {
		t.Errorf("%d values of %d keys", len(doc.Values), len(config.Keys()))
	}
}

// check finds what starting would: files that are named but not usable.
func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "users")
	if err := os.WriteFile(broken, []byte("users: [{name: a}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, code := shell(t, "", nil, "check", "--auth-file", broken, "--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k", "--data", filepath.Join(broken, "d"))
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"--auth-file: auth.file: " + broken + ":1: users[0]", "--tls-cert: tls.cert: open /nowhere/c", "--data: data: "} {
		if !strings.Contains(errs, want) {
			t.Errorf("check does not say %q:\n%s", want, errs)
		}
	}
}

func TestUsersOnTheCommandLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	steps := []struct {
		in   string
		args []string
		errs string
		code int
	}{
		{"", []string{"passwd", "alice"}, "no password on standard input", exitUsage},
		{"secret\n", []string{"passwd", "-r", "operator", "alice"}, "user alice added", exitOK},
		{"other\n", []string{"passwd", "alice"}, "user alice changed", exitOK},
		{"", []string{"passwd", "--keep", "-n", "default", "alice"}, "user alice changed", exitOK},
		{"", []string{"passwd", "--keep", "bob"}, "needs a password", exitFailed},
		{"", []string{"token", "create", "-u", "alice", "-e", "90d", "ci"}, "only time it is shown", exitOK},
		{"", []string{"token", "create", "ci"}, "exists already", exitUsage},
		{"", []string{"token", "remove", "ci"}, "", exitOK},
		{"", []string{"token", "remove", "ci"}, "no such entry", exitUsage},
		{"", []string{"passwd", "--remove", "alice"}, "", exitOK},
		{"", []string{"passwd", "--remove", "alice"}, "no such entry", exitUsage},
	}
	for _, s := range steps {
		out, errs, code := shell(t, s.in, []string{"PARLEY_AUTH_FILE=" + file}, s.args...)
		if code != s.code || !strings.Contains(errs, s.errs) {
			t.Errorf("%v: exit code %d, %s", s.args, code, errs)
		}
		if s.args[0] == "token" && s.args[1] == "create" && code == exitOK && !strings.HasPrefix(out, "ply_ci_") {
			t.Errorf("token: %q", out)
		}
		if info, err := os.Stat(file); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("mode of the file: %v", info.Mode())
		}
	}
}

func TestParseExpiry(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"90d": now.AddDate(0, 0, 90), "12h": now.Add(12 * time.Hour),
		"2027-01-31":           time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC),
		"2027-01-31T12:00:00Z": time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC),
		"":                     {}, "-1h": {}, "90days": {}, "2025-01-01": {}, "soon": {},
	} {
		got, err := parseExpiry(text, now)
		if want.IsZero() != (err != nil) || err == nil && !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// pub, sub and call against a broker, over every protocol.
func TestShellClients(t *testing.T) {
	s := start(t, configured(t, map[string]string{"mqtt_listen": "127.0.0.1:0"}))
	for _, p := range protocols() {
		env := []string{"PARLEY_URL=" + s.url(), "PARLEY_PROTOCOL=" + p}
		topic := "shell/" + p
		run := func(in string, want int, args ...string) (out, errs string) {
			t.Helper()
			out, errs, code := shell(t, in, env, args...)
			if code != want {
				t.Errorf("%s: %v: exit code %d: %s", p, args, code, errs)
			}
			return out, errs
		}
		run("", exitOK, "pub", "--retain", topic, `{"a":1}`)
		if out, _ := run("", exitOK, "sub", "-n", "1", topic); out != topic+" {\"a\":1}\n" {
			t.Errorf("%s: text %q", p, out)
		}
		if out, _ := run("", exitOK, "sub", "-n", "1", "-o", "raw", topic); out != "{\"a\":1}\n" {
			t.Errorf("%s: raw %q", p, out)
		}
		out, _ := run("", exitOK, "sub", "-n", "1", "-o", "json", topic)
		var line struct {
			Topic, Via string
			Data       json.RawMessage
			Offset     int
			Retained   bool
		}
		if err := json.Unmarshal([]byte(out), &line); err != nil || line.Topic != topic || string(line.Data) != `{"a":1}` || !line.Retained || line.Offset == 0 || line.Via != family(p) {
			t.Errorf("%s: json %q, %v", p, out, err)
		}
		if _, errs := run("", exitTimeout, "sub", "-n", "2", "-t", "100ms", topic); !strings.Contains(errs, "only some of 2 messages came") {
			t.Errorf("%s: %s", p, errs)
		}
		run("", exitOK, "sub", "-t", "50ms", topic)
		clears := p
		if family(p) == "wamp" { // has no word for it
			run("", exitUsage, "pub", "--retain", topic, "")
			clears = "json"
		}
		run("", exitOK, "pub", "-p", clears, "--retain", topic, "")
		run("", exitOK, "pub", "after/it", "x") // stored after it, so whoever subscribes now starts behind it
		if out, _ := run("", exitOK, "sub", "-t", "100ms", topic); out != "" {
			t.Errorf("%s: cleared, but %q", p, out)
		}
		if _, errs := run("one\ntwo\n", exitOK, "pub", "-v", "--lines", topic); strings.Count(errs, "published 3 bytes") != 2 {
			t.Errorf("%s: lines: %s", p, errs)
		}
		call := exitFailed
		if p == "mqtt" {
			call = exitUsage
		}
		run("", call, "call", "com.example.nothing")
	}
	if _, errs, code := shell(t, "", nil, "pub", "-p", "mqtt", "--url", "mqtt://"+s.MQTT.String(), "a", "b"); code != exitOK {
		t.Errorf("MQTT without WebSocket: %d %s", code, errs)
	}
	if out, errs, code := shell(t, "", nil, "health", "--listen", s.Public.String()); code != exitOK || out != "ready\n" {
		t.Errorf("health: %d %q %s", code, out, errs)
	}
}

// The address that is printed can be opened: a browser has no way to 0.0.0.0.
func TestPageURL(t *testing.T) {
	for _, c := range []struct {
		address, bound, want string
		secure               bool
	}{
		{"127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1:8080/", false},
		{"127.0.0.1:0", "127.0.0.1:43210", "http://127.0.0.1:43210/", false},
		{"0.0.0.0:8080", "[::]:8080", "http://127.0.0.1:8080/", false}, // what Go binds for it
		{"[::]:8443", "[::]:8443", "https://[::1]:8443/", true},
		{"localhost:8080", "127.0.0.1:8080", "http://localhost:8080/", false},
	} {
		at, err := net.ResolveTCPAddr("tcp", c.bound)
		if err != nil {
			t.Fatal(err)
		}
		if got := pageURL(c.address, at, c.secure); got != c.want {
			t.Errorf("%s bound as %s: %s, want %s", c.address, c.bound, got, c.want)
		}
	}
}

// In a container the health check knows the environment, not serve's flags.
func TestHealthInAContainer(t *testing.T) {
	s := start(t, configured(t, nil))
	_, port, err := net.SplitHostPort(s.Public.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"0.0.0.0", ""} {
		if out, errs, code := shell(t, "", []string{"PARLEY_LISTEN=" + host + ":" + port}, "health"); code != exitOK || out != "ready\n" {
			t.Errorf("%q: %d %q %s", host, code, out, errs)
		}
	}
}

// Without an answer in time the exit code is 4.
func TestHealthTakesTooLong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, args := range [][]string{{"health", "--url", "http://" + l.Addr().String(), "-t", "50ms"}, {"pub", "--url", l.Addr().String(), "-t", "50ms", "a", "x"}} {
		if _, errs, code := shell(t, "", nil, args...); code != exitTimeout {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}

func TestShellClientsAreRefused(t *testing.T) {
	file, token := users(t)
	s := start(t, configured(t, map[string]string{"auth.file": file, "auth.rules": "[{deny: [publish], topics: [no]}]"}))
	for _, p := range protocols() {
		env := []string{"PARLEY_URL=" + s.url(), "PARLEY_PROTOCOL=" + p}
		for _, tc := range []struct {
			env  []string
			args []string
			code int
		}{
			{nil, []string{"pub", "yes", "x"}, exitRefused},
			{[]string{"PARLEY_TOKEN=wrong"}, []string{"sub", "-n", "1", "x"}, exitRefused},
			{[]string{"PARLEY_TOKEN=" + token}, []string{"pub", "yes", "x"}, exitOK},
			{[]string{"PARLEY_TOKEN=" + token}, []string{"pub", "no", "x"}, exitRefused},
			{[]string{"PARLEY_PASSWORD=secret"}, []string{"pub", "-u", "alice", "yes", "x"}, exitOK},
			{[]string{"PARLEY_TOKEN=wrong", "PARLEY_PASSWORD=secret"}, []string{"pub", "-u", "alice", "yes", "x"}, exitOK},
		} {
			if _, errs, code := shell(t, "", append(tc.env, env...), tc.args...); code != tc.code {
				t.Errorf("%s: %v %v: exit code %d, want %d: %s", p, tc.env, tc.args, code, tc.code, errs)
			}
		}
	}
}

// What others publish cannot steer the terminal.
func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb\nc": "a\tb\nc", "\x1b[2J": `"\x1b[2J"`, "a\u009bb": `"a\u009bb"`, "\xff": "base64:/w==", "é": "é",
	} {
		if got := visibleBytes([]byte(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// The reference in docs is what the table of keys says.
func TestReferenceIsCurrent(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	if table := reference(config.Keys()); !strings.Contains(string(doc), table) {
		t.Errorf("docs/configuration.md is not current; put in its table what broker config keys prints:\n%s", table)
	}
}
