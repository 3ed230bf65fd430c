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

func TestProblems(t *testing.T) {
	for name, tc := range map[string]struct {
		file  string
		env   []string
		flags map[string]string
		want  string // all problems
	}{
		"number": {
			file: "listen: 127.0.0.1:1\n\ngateway:\n  limits:\n    connections: 0\n",
			want: "parley.yaml:5: gateway.limits.connections: 0 is not allowed; give a number from 1 to 10,000,000",
		},
		"number with a fraction": {
			file: "gateway: {limits: {connections: 1.5}}",
			want: "parley.yaml:1: gateway.limits.connections: 1.5 is not allowed; give a number from 1 to 10,000,000",
		},
		"boolean": {
			file: "playground: yes\n",
			want: "parley.yaml:1: playground: yes is not allowed; give true or false",
		},
		"empty value": {
			file: "data:\n",
			want: "parley.yaml:1: data: an empty value is not allowed; give a directory",
		},
		"duration without unit": {
			file: "drain:\n  spread: 10\n",
			want: "parley.yaml:2: drain.spread: 10 is not allowed; give a duration from 0s to 10m, such as 10s or 1m30s",
		},
		"size": {
			file: "gateway:\n  limits: {message: 1 GB}\n",
			want: "parley.yaml:2: gateway.limits.message: \"1 GB\" is not allowed; give a size from 1KiB to 256MiB, such as 64KiB or 1MiB",
		},
		"size overflows": {
			file: "store:\n  max_bytes: 9999999999TiB\n",
			want: "parley.yaml:2: store.max_bytes: 9999999999TiB is not allowed; give a size from 0 to 1024TiB, such as 64KiB or 1MiB",
		},
		"address": {
			file: "listen: 8080\n",
			want: "parley.yaml:1: listen: 8080 is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
		"port": {
			file: "listen: 127.0.0.1:http\nmqtt_listen: 127.0.0.1:65536",
			want: "parley.yaml:1: listen: 127.0.0.1:http is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080\n" +
				"parley.yaml:2: mqtt_listen: 127.0.0.1:65536 is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080, or \"\" for none",
		},
		"choice": {
			file: "log: {format: xml}",
			want: "parley.yaml:1: log.format: xml is not allowed; give one of text, json",
		},
		"unknown key": {
			file: "gateway:\n  limits:\n    conections: 5\n",
			want: "parley.yaml:3: gateway.limits.conections: unknown key; did you mean gateway.limits.connections?",
		},
		"key of another section": {
			file: "connections: 5\n",
			want: "parley.yaml:1: connections: unknown key; did you mean gateway.limits.connections?",
		},
		"unknown section": {
			file: "gatewya:\n  limits: {}\n",
			want: "parley.yaml:1: gatewya: unknown key; did you mean gateway?",
		},
		"nothing near": {
			file: "drain: {frobnicate: 1}\n",
			want: "parley.yaml:1: drain.frobnicate: unknown key; known here are spread, grace",
		},
		"twice": {
			file: "data: a\nlisten: 127.0.0.1:1\ndata: b\n",
			want: "parley.yaml:3: data: is already there in line 1; remove one",
		},
		"section is a word": {
			file: "gateway: on\n",
			want: "parley.yaml:1: gateway: on is not allowed; give a mapping of keys",
		},
		"list for a word": {
			file: "listen: [a]\n",
			want: "parley.yaml:1: listen: a list is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
		"alias": {
			file: "data: &d x\nlisten: *d\n",
			want: "parley.yaml:2: listen: an alias (*d) is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
		"not YAML": {
			file: "listen: 'x\n",
			want: "parley.yaml:2: not YAML: found unexpected end of stream",
		},
		"two documents": {
			file: "data: a\n---\ndata: b\n",
			want: "parley.yaml:2: a second document; give one configuration in a file",
		},
		"list element": {
			file: "gateway:\n  paths:\n    - /ws\n    - ws\n",
			want: "parley.yaml:4: gateway.paths[1]: ws is not allowed; give a path that begins with /",
		},
		"alias of a protocol": {
			file: "gateway:\n  aliases:\n    mine: mqtt5\n",
			want: "parley.yaml:3: gateway.aliases.mine: mqtt5 is not allowed; give one of mqtt, mqttv3.1, wamp.2.json, wamp.2.msgpack, wamp.2.cbor, json, centrifuge-json",
		},
		"namespace without a name": {
			file: "namespaces:\n  - realms: [a]\n",
			want: "parley.yaml:2: namespaces[0].name: is missing; give a name of 1 to 128 letters, digits and . _ - @ :",
		},
		"unknown field of a namespace": {
			file: "namespaces:\n  - name: default\n    realm: [a]\n",
			want: "parley.yaml:3: namespaces[0]: unknown key realm; did you mean realms?",
		},
		"realm twice": {
			file: "namespaces:\n- {name: default, realms: [a]}\n- {name: other, realms: [a]}\n",
			want: "parley.yaml:1: namespaces: realm a leads to both default and other; give each name once",
		},
		"default namespace": {
			file: "namespaces: [{name: one}, {name: two}]\n",
			want: "default_namespace: default is not allowed; give the name of one of the namespaces: one, two",
		},
		"rule with both": {
			file: "auth:\n  rules:\n    - allow: [publish]\n      deny: [call]\n",
			want: "parley.yaml:3: auth.rules[0]: a rule says either allow or deny; give exactly one of them, with one of publish, subscribe, call, register",
		},
		"filter of a rule": {
			file: "auth:\n  rules:\n    - allow: [publish]\n      topics: ['a/#/b']\n",
			want: "parley.yaml:4: auth.rules[0].topics[0]: \"a/#/b\" is not allowed; give a topic filter such as sensors/+/temperature or sensors/#",
		},
		"store rule": {
			file: "store:\n  topics: [{filter: a, store: some}]\n",
			want: "parley.yaml:2: store.topics[0].store: some is not allowed; give one of acknowledged, all, none",
		},
		"half of TLS": {
			file: "tls:\n  cert: a.pem\n",
			want: "parley.yaml:2: tls.cert: is given without tls.key; give both or neither",
		},
		"same port": {
			file: "listen: 127.0.0.1:99\nmqtt_listen: 127.0.0.1:99\n",
			want: "parley.yaml:2: mqtt_listen: 127.0.0.1:99 is already taken by listen; give another port",
		},
		"nobody": {
			file: "allow_anonymous: false\n",
			want: "parley.yaml:1: allow_anonymous: nobody could connect: it is false and there is no auth.file; give one of the two",
		},
		"environment": {
			env: []string{"PARLEY_GATEWAY_LIMITS_CONNECTIONS=x", "PARLEY_NAMESPACES=[{name: a b}]"},
			want: "PARLEY_NAMESPACES: namespaces[0].name: \"a b\" is not allowed; give a name of 1 to 128 letters, digits and . _ - @ :\n" +
				"PARLEY_GATEWAY_LIMITS_CONNECTIONS: gateway.limits.connections: x is not allowed; give a number from 1 to 10,000,000",
		},
		"flag": {
			flags: map[string]string{"listen": "x", "drain.sprad": "1s"},
			want: "--set: drain.sprad: unknown key; did you mean drain.spread?\n" +
				"--listen: listen: x is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.file, tc.env, tc.flags)
			if err == nil {
				t.Fatal("accepted")
			}
			if err.Error() != tc.want {
				t.Errorf("\n got %s\nwant %s", err, tc.want)
			}
		})
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
