package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestScenarios runs testdata/*.txt, one conversation per file, each with its
// own broker. A line is one step; # begins a comment.
//
//	mqtt5 device [key=value …]              connect a client of that kind, named device
//	device subscribe t/# [key=value …]      in the client's own notation
//	device unsubscribe t/#
//	device publish t/1 [word …] : payload   the payload is the rest of the line
//	device receives t/1 [word …] : payload  the next message of device is exactly this
//	device closes | is lost | is closed [code=…] [reason=…]
//	quiet device page                       they have received nothing that was not named
//	broker restarts | is killed
//
// A payload is text for MQTT clients, a JSON value for JSON clients, and for WAMP
// clients a JSON value, the one argument. Words of publish: q0, q1 (default),
// noack, retain, clear. Words of receives: via=…, stored, transient, retained
// (default: not), encoding=…. "refused=code" anywhere: the step fails with it.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &scenario{t: t, d: startDriver(t), peers: map[string]*peer{}}
			s.b = startBroker(t, "will: {restart_grace: 3s}")
			for i, line := range strings.Split(string(content), "\n") {
				s.at = fmt.Sprintf("%s:%d: %s", filepath.Base(file), i+1, line)
				if line, _, _ = strings.Cut(line, "# "); strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
					s.step(line)
				}
			}
		})
	}
}

type scenario struct {
	t     *testing.T
	d     *driver
	b     *broker
	peers map[string]*peer
	at    string // the line that runs, for messages
	quiet int    // counts the markers of quiet
}

func (s *scenario) fatalf(format string, a ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\n%s", s.at, fmt.Sprintf(format, a...))
}

func (s *scenario) step(line string) {
	s.t.Helper()
	line, payload, hasPayload := strings.Cut(line, " : ")
	words := strings.Fields(line)
	if len(words) < 2 {
		s.fatalf("what?")
	}
	switch p := s.peers[words[0]]; {
	case slices.Contains(kinds, words[0]):
		s.connect(words[0], words[1], words[2:])
	case words[0] == "quiet":
		s.checkQuiet(words[1:])
	case words[0] == "broker":
		s.broker(strings.Join(words[1:], " "))
	case p == nil:
		s.fatalf("no client %s", words[0])
	default:
		s.act(p, words[1], words[2:], payload, hasPayload)
	}
}

func (s *scenario) connect(kind, name string, words []string) {
	s.t.Helper()
	with, refused := s.options(words)
	if will, ok := with["will"].(string); ok {
		topic, payload, _ := strings.Cut(will, "=")
		delay := 0
		if _, err := fmt.Sscan(fmt.Sprint(with["delay"]), &delay); err != nil {
			delay = 0 // none given
		}
		w := args{"topic": topic, "payload": payload, "qos": 1, "retain": with["willRetain"] != nil}
		if kind == "mqtt5" {
			w["properties"] = args{"willDelayInterval": delay}
		}
		with["will"] = w
	}
	p, err := s.d.tryOpen(name, kind, s.b, with)
	s.expect(err, refused)
	s.peers[name] = p
}

// options splits key=value words; a word alone is true.
func (s *scenario) options(words []string) (with args, refused string) {
	with = args{}
	for _, w := range words {
		key, value, given := strings.Cut(w, "=")
		switch {
		case key == "refused":
			refused = value
		case given && value == "true":
			with[key] = true
		case given:
			with[key] = value
		default:
			with[key] = true
		}
	}
	return with, refused
}

func (s *scenario) expect(err *clientError, refused string) {
	s.t.Helper()
	switch {
	case err == nil && refused != "":
		s.fatalf("done, want refused=%s", refused)
	case err != nil && fmt.Sprint(err.Code) != refused:
		s.fatalf("refused=%v (%s), want %q", err.Code, err.Text, refused)
	}
}

func (s *scenario) act(p *peer, verb string, words []string, payload string, hasPayload bool) {
	s.t.Helper()
	switch verb {
	case "subscribe", "unsubscribe":
		with, refused := s.options(words[1:])
		with["filter"] = words[0]
		_, err := p.try(verb, with)
		s.expect(err, refused)
	case "publish":
		s.publish(p, words, payload)
	case "receives":
		s.receives(p, words, payload, hasPayload)
	case "closes":
		p.do("close", nil)
		p.waitClosed()
	case "is":
		if words[0] == "lost" {
			p.do("sever", nil)
		}
		s.closed(p, words[1:])
	default:
		s.fatalf("what is %q?", verb)
	}
}

func (s *scenario) publish(p *peer, words []string, payload string) {
	s.t.Helper()
	flags, refused := s.options(words[1:])
	with := args{
		"topic": words[0], "payload": s.value(p, payload),
		"retain": flags["retain"] != nil || flags["clear"] != nil, "acknowledge": flags["noack"] == nil,
	}
	if flags["q0"] != nil {
		with["qos"] = 0
	}
	if flags["clear"] != nil {
		delete(with, "payload")
		if p.mqtt() {
			with["payload"] = ""
		}
	}
	_, err := p.try("publish", with)
	s.expect(err, refused)
}

// value is a payload as the client's module takes it and shows it.
func (s *scenario) value(p *peer, payload string) any {
	s.t.Helper()
	if p.mqtt() {
		return payload
	}
	var v any
	if payload != "" {
		if err := json.Unmarshal([]byte(payload), &v); err != nil {
			s.fatalf("the payload is no JSON: %v", err)
		}
	}
	if p.wamp() {
		return args{"args": []any{v}}
	}
	return v
}

func (s *scenario) receives(p *peer, words []string, payload string, hasPayload bool) {
	s.t.Helper()
	m := p.recv()
	flags, _ := s.options(words[1:])
	got := fmt.Sprintf("%s retained=%v via=%s offset=%d encoding=%q : %s", m.Topic, m.Retained, m.Via, m.Offset, m.Encoding, m.Payload)
	want, err := json.Marshal(s.value(p, payload))
	if err != nil {
		s.fatalf("%v", err)
	}
	encoding, _ := flags["encoding"].(string)
	switch {
	case m.Topic != words[0]:
		s.fatalf("another topic: %s", got)
	case hasPayload && string(compactJSON(s.t, m.Payload)) != string(want):
		s.fatalf("another payload: %s", got)
	case m.Retained != (flags["retained"] != nil):
		s.fatalf("retained is not as named: %s", got)
	case flags["via"] != nil && flags["via"] != m.Via:
		s.fatalf("came another way: %s", got)
	case flags["stored"] != nil && m.Offset == 0, flags["transient"] != nil && m.Offset != 0:
		s.fatalf("stored is not as named: %s", got)
	case p.family() == "json" && encoding != m.Encoding:
		s.fatalf("another encoding: %s", got)
	}
}

func (s *scenario) closed(p *peer, words []string) {
	s.t.Helper()
	c := p.waitClosed()
	with, _ := s.options(words)
	for key, got := range map[string]any{"code": c.Code, "reason": c.Reason, "disconnect": c.Disconnect} {
		if want, ok := with[key]; ok && want != fmt.Sprint(got) {
			s.fatalf("closed with %+v", c)
		}
	}
}

// checkQuiet proves that the clients have received nothing: each subscribes to a
// topic of its own, and the message published there is the next it gets. A
// message on its way would have come before, the log has one order.
func (s *scenario) checkQuiet(names []string) {
	s.t.Helper()
	marker, ok := s.peers["(marker)"]
	if !ok {
		marker = s.d.open("(marker)", "bare", s.b, nil)
		s.peers["(marker)"] = marker
	}
	for _, name := range names {
		s.quiet++
		topic, p := fmt.Sprintf("quiet/%d", s.quiet), s.peers[name]
		if p == nil {
			s.fatalf("no client %s", name)
		}
		p.subscribe(topic, nil)
		marker.do("publish", args{"topic": topic, "payload": "quiet"})
		if m := p.recv(); m.Topic != p.topic(topic) {
			s.fatalf("%s received %s : %s", name, m.Topic, m.Payload)
		}
	}
}

func (s *scenario) broker(what string) {
	s.t.Helper()
	switch what {
	case "restarts":
		s.b.restart()
	case "is killed":
		s.b.kill()
		s.b.start()
	default:
		s.fatalf("what is the broker to do?")
	}
	s.peers = map[string]*peer{}
}
