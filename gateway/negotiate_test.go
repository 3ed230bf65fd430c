package gateway

import (
	"strings"
	"testing"

	"parley/gateway/echo"
	"parley/metrics"
	"parley/subproto"
)

func testTable(t testing.TB, change func(*Options)) *protocols {
	t.Helper()
	o := Options{
		Engines: []subproto.Engine{newProbe("mqtt", "mqttv3.1"), newProbe("wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor"), newProbe("json")},
		Aliases: map[string]string{"my-json": "json", "MQTTv5": "mqtt"}, DefaultProtocol: "json", Metrics: metrics.New(),
	}
	if change != nil {
		change(&o)
	}
	p, err := newProtocols(&o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// RFC 6455 sections 4.1 (10), 4.2.2 (/subprotocol/) and 11.3.4; RFC 9110 section
// 5.6.1 for the list.
func TestNegotiate(t *testing.T) {
	const refused = "-"
	many := strings.Repeat("x,", 5000)
	for _, c := range []struct {
		name  string
		lines []string
		want  string // canonical name or refused
		echo  string
	}{
		{"one", []string{"mqtt"}, "mqtt", "mqtt"},
		{"the client's order decides", []string{"json, mqtt"}, "json", "json"},
		{"the client's order decides, the other way", []string{"mqtt, json"}, "mqtt", "mqtt"},
		{"unknown ones are passed over", []string{"graphql-ws, wamp.2.cbor, json"}, "wamp.2.cbor", "wamp.2.cbor"},
		{"case is ignored, spelling echoed", []string{"MQTT"}, "mqtt", "MQTT"},
		{"mixed case", []string{"WaMp.2.JSON"}, "wamp.2.json", "WaMp.2.JSON"},
		{"several lines", []string{"foo", "bar", "mqttv3.1"}, "mqttv3.1", "mqttv3.1"},
		{"order over lines", []string{"json", "mqtt"}, "json", "json"},
		{"spaces and tabs", []string{" \t mqtt \t , json"}, "mqtt", "mqtt"},
		{"empty elements", []string{",, ,mqtt,,"}, "mqtt", "mqtt"},
		{"empty lines before", []string{"", "  ", "json"}, "json", "json"},
		{"duplicate offers", []string{"mqtt, mqtt", "mqtt"}, "mqtt", "mqtt"},
		{"duplicates in different case", []string{"Mqtt, mqtt"}, "mqtt", "Mqtt"},
		{"alias", []string{"my-json"}, "json", "my-json"},
		{"alias in another case", []string{"mqttV5"}, "mqtt", "mqttV5"},
		{"built-in alias", []string{"centrifuge-json"}, "json", "centrifuge-json"},
		{"nothing offered", nil, "json", ""},
		{"an empty header offers nothing", []string{""}, "json", ""},
		{"only empty elements offer nothing", []string{" , ,\t"}, "json", ""},
		{"offered but not supported", []string{"soap"}, refused, ""},
		{"prefix of a name", []string{"mqt"}, refused, ""},
		{"name and more", []string{"mqttx"}, refused, ""},
		{"two names without a comma", []string{"mqtt json"}, refused, ""},
		{"quoted is no token", []string{`"mqtt"`}, refused, ""},
		{"malformed only", []string{"mq/tt; q=1, ("}, refused, ""},
		{"malformed before a good one", []string{"a b, @, json"}, "json", "json"},
		{"not ASCII", []string{"mqtté, ＭＱＴＴ"}, refused, ""},
		{"Kelvin sign is not k", []string{"\u212A"}, refused, ""},
		{"longer than any name", []string{strings.Repeat("m", 1000)}, refused, ""},
		{"thousands, none ours", []string{many}, refused, ""},
		{"thousands, the last is ours", []string{many, many + "mqtt"}, "mqtt", "mqtt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := testTable(t, nil).negotiate(c.lines)
			name := refused
			if got.proto != nil {
				name = got.proto.name
			}
			if name != c.want || got.echo != c.echo {
				t.Errorf("got %s, echo %q; want %s, echo %q", name, got.echo, c.want, c.echo)
			}
		})
	}
}

func TestNegotiateWithoutDefault(t *testing.T) {
	p := testTable(t, func(o *Options) { o.DefaultProtocol = "" })
	if got := p.negotiate(nil); got.proto != nil || got.offered {
		t.Errorf("nothing offered: %+v", got)
	}
	if got := p.negotiate([]string{"soap"}); got.proto != nil || !got.offered {
		t.Errorf("unsupported: %+v", got)
	}
}

func TestNegotiateAny(t *testing.T) {
	p := testTable(t, func(o *Options) {
		o.Engines, o.Aliases, o.AcceptAny, o.DefaultProtocol = []subproto.Engine{echo.Engine{}}, nil, true, ""
	})
	if got := p.negotiate([]string{"b@d, Foo, bar"}); got.proto == nil || got.echo != "Foo" {
		t.Errorf("got %+v", got)
	}
	if got := p.negotiate(nil); got.proto == nil || got.echo != "" {
		t.Errorf("nothing offered: %+v", got)
	}
}

func TestNegotiateAllocatesNothing(t *testing.T) {
	p, lines := testTable(t, nil), []string{"a, b, c", "WAMP.2.json"}
	if n := testing.AllocsPerRun(100, func() { p.negotiate(lines) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNewRefusesBadProtocols(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no engine":       func(o *Options) { o.Engines = nil },
		"served twice":    func(o *Options) { o.Engines = append(o.Engines, newProbe("JSON")) },
		"not a token":     func(o *Options) { o.Engines = []subproto.Engine{newProbe("a b")} },
		"alias to none":   func(o *Options) { o.Aliases = map[string]string{"x": "y"} },
		"alias of a name": func(o *Options) { o.Aliases = map[string]string{"mqtt": "json"} },
		"alias no token":  func(o *Options) { o.Aliases = map[string]string{"": "json"} },
		"unknown default": func(o *Options) { o.DefaultProtocol = "soap" },
		"bad origin":      func(o *Options) { o.Origins = []string{"["} },
		"bad path":        func(o *Options) { o.Paths = []string{"mqtt"} },
	} {
		o := Options{Engines: []subproto.Engine{newProbe("json"), newProbe("mqtt")}}
		change(&o)
		if _, err := New(o); err == nil {
			t.Error(name, "was accepted")
		}
	}
}

// What is echoed was offered, by itself and spelt that way; and it is a name of
// the protocol chosen.
func FuzzNegotiate(f *testing.F) {
	f.Add("mqtt, json\nfoo")
	f.Add(" ,MQTT;q=1,\tWamp.2.Json ")
	p := testTable(f, nil)
	f.Fuzz(func(t *testing.T, header string) {
		lines := strings.Split(header, "\n")
		got := p.negotiate(lines)
		if got.echo == "" {
			if got.proto != nil && (got.offered || got.proto != p.fallback) {
				t.Fatalf("chose %s without an offer", got.proto.name)
			}
			return
		}
		if p.byName[strings.ToLower(got.echo)] != got.proto {
			t.Fatalf("echo %q for %s", got.echo, got.proto.name)
		}
		for _, line := range lines {
			for tok := range strings.SplitSeq(line, ",") {
				if strings.Trim(tok, " \t") == got.echo {
					return
				}
			}
		}
		t.Fatalf("%q was not offered in %q", got.echo, header)
	})
}
