package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// load writes text to parley.yaml in a directory of its own and loads it; the
// place in messages is then shortened to the file's name.
func load(t *testing.T, text string, env []string, flags map[string]string) (*Loaded, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Load(Sources{File: name, Env: env, Flags: flags})
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), name, "parley.yaml"))
	}
	return l, err
}

func TestDefaults(t *testing.T) {
	l, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Listen != "127.0.0.1:8080" || l.MQTTListen != "" || l.AdminListen != "" || l.Data != "./data" {
		t.Errorf("listeners and data: %+v", l.Config)
	}
	if !l.AllowAnonymous || l.AnonymousSaid {
		t.Errorf("anonymous: allowed %v, said %v", l.AllowAnonymous, l.AnonymousSaid)
	}
	if len(l.Namespaces) != 1 || l.Namespaces[0].Name != "default" || !slices.Equal(l.Namespaces[0].Realms, []string{"realm1"}) {
		t.Errorf("namespaces: %+v", l.Namespaces)
	}
	if len(l.Listeners()) != 1 {
		t.Errorf("without configuration one listener only, got %v", l.Listeners())
	}
	for _, k := range Keys() {
		if l.Origins[k.Path] != "default" {
			t.Errorf("origin of %s: %q", k.Path, l.Origins[k.Path])
		}
	}
}

// A listener that others can reach asks for authentication, or for the words.
func TestExposure(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		want string // "" = accepted
	}{
		"loopback":                   {"listen: 127.0.0.1:1", ""},
		"another loopback":           {"listen: 127.0.0.9:1", ""},
		"loopback of IPv6":           {"listen: '[::1]:1'", ""},
		"localhost":                  {"listen: localhost:1", ""},
		"all addresses":              {"listen: 0.0.0.0:1", "parley.yaml:1: listen: 0.0.0.0:1 can be reached by others and clients do not prove who they are; give auth.file, write allow_anonymous: true, or listen on 127.0.0.1"},
		"no host":                    {"listen: :1", "parley.yaml:1: listen: 0.0.0.0:1 can be reached"},
		"a name":                     {"listen: broker.example.com:1", "can be reached"},
		"all of IPv6":                {"listen: '[::]:1'", "can be reached"},
		"explicit":                   {"listen: 0.0.0.0:1\nallow_anonymous: true", ""},
		"file":                       {"listen: 0.0.0.0:1\nauth: {file: u}", ""},
		"MQTT":                       {"mqtt_listen: 0.0.0.0:1", "parley.yaml:1: mqtt_listen: 0.0.0.0:1 can be reached"},
		"admin without host":         {"admin_listen: :1", ""},
		"admin":                      {"admin_listen: 0.0.0.0:1\nallow_anonymous: true", "parley.yaml:1: admin_listen: 0.0.0.0:1 can be reached by others and operators do not prove who they are"},
		"admin with file":            {"admin_listen: 0.0.0.0:1\nauth: {file: u}", ""},
		"admin explicit":             {"admin_listen: 0.0.0.0:1\nadmin: {allow_anonymous: true}", ""},
		"admin words do not open it": {"listen: 0.0.0.0:1\nadmin: {allow_anonymous: true}", "listen: 0.0.0.0:1 can be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.file, nil, nil)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestAnonymousFollowsTheFile(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                       true,
		"auth: {file: u}":                        false,
		"auth: {file: u}\nallow_anonymous: true": true,
	} {
		l, err := load(t, text, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if l.AllowAnonymous != want {
			t.Errorf("%q: %v", text, l.AllowAnonymous)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := "data: file\nlog: {level: warn}\ngateway: {paths: [/a], limits: {connections: 1}, timeouts: {ping: 1m30s}}\nmqtt: {max_packet: 64KiB}\n"
	env := []string{"PARLEY_DATA=env", "PARLEY_LOG_LEVEL=error", "PARLEY_GATEWAY_PATHS=/b, /c", "PARLEY_LISTEN=127.0.0.1:2", "HOME=/x"}
	l, err := load(t, file, env, map[string]string{"data": "flag", "drain.grace": "3s"})
	if err != nil {
		t.Fatal(err)
	}
	if l.Data != "flag" || l.Log.Level != slog.LevelError || !slices.Equal(l.Gateway.Paths, []string{"/b", "/c"}) ||
		l.Listen != "127.0.0.1:2" || l.Gateway.Connections != 1 || l.Gateway.PingInterval != 90*time.Second ||
		l.MQTT.MaxPacket != 64<<10 || l.Drain.Grace != 3*time.Second {
		t.Errorf("%+v", l.Config)
	}
	for path, want := range map[string]string{
		"data": "--data", "log.level": "PARLEY_LOG_LEVEL", "gateway.limits.connections": l.File + ":3",
		"log.format": "default", "drain.grace": "--set drain.grace",
	} {
		if l.Origins[path] != want {
			t.Errorf("origin of %s: %q, want %q", path, l.Origins[path], want)
		}
	}
}

func TestFileFromEnvironment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(name, []byte("data: here"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Load(Sources{Env: []string{"PARLEY_CONFIG=" + name}})
	if err != nil || l.Data != "here" || l.File != name {
		t.Errorf("%v %+v", err, l)
	}
	if _, err := Load(Sources{File: name + "x"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestStructuresInTheEnvironment(t *testing.T) {
	l, err := Load(Sources{Env: []string{
		`PARLEY_NAMESPACES=[{"name":"default","hosts":["a.example"]},{"name":"b"}]`,
		"PARLEY_AUTH_RULES=- deny: [publish]\n  topics: [secret/#]\n",
		"PARLEY_GATEWAY_ALIASES={x: mqtt}",
		"PARLEY_GATEWAY_ORIGINS=",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Namespaces) != 2 || l.Namespaces[0].Hosts[0] != "a.example" || l.Gateway.Aliases["x"] != "mqtt" || len(l.Gateway.Origins) != 0 {
		t.Errorf("%+v", l.Config)
	}
	if len(l.Auth.Rules) != 1 || l.Auth.Rules[0].Deny[0] != "publish" || l.Auth.Rules[0].Topics[0] != "secret/#" {
		t.Errorf("%+v", l.Auth.Rules)
	}
}

// Orchestrators invent variables such as PARLEY_SERVICE_HOST: warned of, not refused.
func TestUnknownEnvironmentWarns(t *testing.T) {
	l, err := Load(Sources{Env: []string{"PARLEY_LISTN=x", "PARLEY_SERVICE_HOST=10.0.0.1", "PARLEY_TOKEN=t"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"environment variable PARLEY_LISTN is no key and was ignored; did you mean PARLEY_LISTEN?",
		"environment variable PARLEY_SERVICE_HOST is no key and was ignored",
	}
	if !slices.Equal(l.Warnings, want) {
		t.Errorf("%q", l.Warnings)
	}
}

// The example as printed is the default configuration; with everything that is
// commented out put in it is still a legal one, with every key set.
func TestExample(t *testing.T) {
	l, err := load(t, Example(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	want := plain.Texts()
	for path, text := range l.Texts() {
		if text != want[path] {
			t.Errorf("%s: example has %s, default is %s", path, text, want[path])
		}
	}
	all := regexp.MustCompile(`(?m)^( *)#(\w)`).ReplaceAllString(Example(), "$1$2")
	l, err = load(t, all, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, origin := range l.Origins {
		if origin == "default" {
			t.Errorf("%s is not in the example", path)
		}
	}
}

// What check shows of a value can be written back and means the same.
func TestTextsRoundTrip(t *testing.T) {
	all := regexp.MustCompile(`(?m)^( *)#(\w)`).ReplaceAllString(Example(), "$1$2")
	l, err := load(t, all, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	texts := l.Texts()
	again, err := Load(Sources{Flags: texts})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range again.Texts() {
		if text != texts[path] {
			t.Errorf("%s: %s became %s", path, texts[path], text)
		}
	}
}

func TestTableIsConsistent(t *testing.T) {
	envs, flags := map[string]string{}, map[string]string{}
	for _, k := range Keys() {
		if k.Text == "" || k.Rule == "" || k.Type == "" || k.Default == "" {
			t.Errorf("%s: incomplete row %+v", k.Path, k)
		}
		if other, taken := envs[k.Env]; taken {
			t.Errorf("%s and %s have the same variable %s", k.Path, other, k.Env)
		}
		envs[k.Env] = k.Path
		if other, taken := flags[k.Flag]; taken && k.Flag != "" {
			t.Errorf("%s and %s have the same flag %s", k.Path, other, k.Flag)
		}
		flags[k.Flag] = k.Path
	}
	for _, name := range clientEnv() {
		if path, taken := envs[name]; taken {
			t.Errorf("%s is the variable of %s and of the clients", name, path)
		}
	}
}

func FuzzYAML(f *testing.F) {
	f.Add(Example())
	f.Add("gateway: {limits: {connections: 0}}")
	f.Add("a: &a [*a]")
	f.Add("namespaces: [{name: x, realms: [y]}]\n---\n")
	f.Add("<<: {listen: x}\n? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		l := &loader{out: &Loaded{Config: &Config{}, Origins: map[string]string{}}}
		l.keys = table(l.out.Config)
		l.defaults()
		l.readYAML("x.yaml", []byte(text))
		if len(l.problems) == 0 {
			l.settle()
		}
		for _, p := range l.problems {
			if p.What == "" || p.String() == "" {
				t.Errorf("a problem without words: %+v", p)
			}
		}
	})
}
