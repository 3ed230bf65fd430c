package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// driver is one Node process that runs the JavaScript clients of a test.
type driver struct {
	t     *testing.T
	stdin io.WriteCloser

	mu      sync.Mutex
	lastID  int
	waiting map[int]chan reply
	peers   map[string]*peer
}

// peer is one client in the driver.
type peer struct {
	d        *driver
	name     string
	kind     string
	opened   opened
	messages chan message
	closed   chan closing // the connection ended
	frames   chan json.RawMessage
}

type (
	args  = map[string]any
	reply struct {
		Result json.RawMessage
		Error  *clientError
	}
	// clientError is what a client reported; Code is its protocol's, a number or a URI.
	clientError struct {
		Text string
		Code any
	}
	opened struct {
		Protocol       string
		SessionPresent bool
		AuthID         string `json:"authid"`
		AuthRole       string `json:"authrole"`
		Properties     map[string]any
		Subscriptions  []struct{ URI, Match string }  // of a resumed WAMP session
		Data           struct{ Session *sessionData } // JSON
	}
	// message is a received publication as the client shows it.
	message struct {
		Topic       string
		Payload     json.RawMessage
		Encoding    string
		Offset      int64 // 0: transient
		Via         string
		Retained    bool
		Redelivered bool
		Publication json.Number // WAMP
		Replayed    bool        // WAMP
		QoS         int         `json:"qos"`
		Line        string
		Server      bool              // of the session: the client has no subscription of its own (JSON)
		Tags        map[string]string // JSON
	}
	closing struct {
		Code       int
		Reason     string
		Disconnect int // reason code of an MQTT 5 DISCONNECT
		Again      bool
	}
)

func (e *clientError) Error() string { return fmt.Sprintf("%v %s", e.Code, e.Text) }

func startDriver(t *testing.T) *driver {
	t.Helper()
	node := requireCommand(t, "node")
	_, err := os.Stat(filepath.Join("js", "node_modules", "mqtt"))
	require(t, err == nil, "e2e/js/node_modules")
	// Node 20 has the WebSocket object behind a flag; later ones know the flag.
	cmd := exec.Command(node, "--experimental-websocket", "--no-warnings", "driver.mjs")
	complaints := &syncBuffer{}
	cmd.Dir, cmd.Stderr = "js", complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, stdin: stdin, waiting: map[int]chan reply{}, peers: map[string]*peer{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		d.read(stdout)
	}()
	t.Cleanup(func() {
		stdin.Close()
		select {
		case <-read:
		case <-time.After(patience):
			_ = cmd.Process.Kill() // it hangs; Wait reports it
		}
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("the JavaScript clients: %v", err)
		}
		if t.Failed() {
			t.Logf("the JavaScript clients wrote:\n%s", complaints)
		}
	})
	return d
}

func (d *driver) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line struct {
			ID     int
			Client string
			Event  string
			Value  json.RawMessage
			reply
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			d.t.Errorf("driver wrote %q: %v", lines.Text(), err)
			continue
		}
		d.mu.Lock()
		p, answer := d.peers[line.Client], d.waiting[line.ID]
		delete(d.waiting, line.ID)
		d.mu.Unlock()
		switch line.Event {
		case "":
			if answer == nil {
				d.t.Errorf("driver answered what nobody asked: %s", lines.Text())
				continue
			}
			answer <- line.reply
		case "message":
			p.messages <- decode[message](d.t, line.Value)
		case "closed":
			select {
			case p.closed <- decode[closing](d.t, line.Value):
			default: // told already
			}
		case "frame", "push":
			p.frames <- line.Value
		default:
			d.t.Errorf("driver reports %s: %s", line.Event, line.Value)
		}
	}
}

func decode[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Errorf("decode %s: %v", raw, err)
	}
	return v
}

// ask runs one action of a client and waits for its outcome.
func (d *driver) ask(client, action string, with args) (json.RawMessage, *clientError) {
	d.t.Helper()
	answer := make(chan reply, 1)
	d.mu.Lock()
	d.lastID++
	id := d.lastID
	d.waiting[id] = answer
	d.mu.Unlock()
	line, err := json.Marshal(map[string]any{"id": id, "client": client, "do": action, "with": with})
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.stdin.Write(append(line, '\n')); err != nil {
		d.t.Fatalf("the JavaScript clients are gone: %v", err)
	}
	select {
	case r := <-answer:
		return r.Result, r.Error
	case <-time.After(2 * patience):
		d.t.Fatalf("client %s: no outcome of %s %v", client, action, with)
		return nil, nil
	}
}

// tryOpen connects a client of the kind, "mqtt5" and so on.
func (d *driver) tryOpen(name, kind string, b *broker, with args) (*peer, *clientError) {
	d.t.Helper()
	p := &peer{
		d: d, name: name, kind: kind, messages: make(chan message, 1<<16),
		closed: make(chan closing, 1), frames: make(chan json.RawMessage, 1<<10),
	}
	d.mu.Lock()
	d.peers[name] = p
	d.mu.Unlock()
	all := args{"kind": kind, "url": b.url(p.path())}
	for k, v := range with {
		all[k] = v
	}
	result, err := d.ask(name, "open", all)
	if err != nil {
		return p, err
	}
	p.opened = decode[opened](d.t, result)
	return p, nil
}

func (d *driver) open(name, kind string, b *broker, with args) *peer {
	d.t.Helper()
	p, err := d.tryOpen(name, kind, b, with)
	if err != nil {
		d.t.Fatalf("%s %s cannot connect: %v", kind, name, err)
	}
	return p
}

// path is one of the paths that accept upgrades; each kind tries another.
func (p *peer) path() string {
	switch {
	case strings.HasPrefix(p.kind, "mqtt"):
		return "/mqtt"
	case p.wamp():
		return "/wamp"
	case strings.HasPrefix(p.kind, "centrifuge"):
		return "/connection/websocket"
	}
	return "/"
}

func (p *peer) wamp() bool { return strings.HasPrefix(p.kind, "wamp") }
func (p *peer) mqtt() bool { return strings.HasPrefix(p.kind, "mqtt") }

// family is the protocol as parley-via names it.
func (p *peer) family() string {
	switch {
	case p.mqtt():
		return "mqtt"
	case p.wamp():
		return "wamp"
	}
	return "json"
}

func (p *peer) try(action string, with args) (json.RawMessage, *clientError) {
	p.d.t.Helper()
	return p.d.ask(p.name, action, with)
}

func (p *peer) do(action string, with args) json.RawMessage {
	p.d.t.Helper()
	result, err := p.try(action, with)
	if err != nil {
		p.d.t.Fatalf("%s %s: %s %v: %v", p.kind, p.name, action, with, err)
	}
	return result
}

// subscribe takes topics and filters in MQTT's notation, for any kind; "#" at
// the end becomes a WAMP prefix.
func (p *peer) subscribe(filter string, with args) {
	p.d.t.Helper()
	all := args{"filter": filter}
	if p.wamp() {
		prefix, isPrefix := strings.CutSuffix(filter, "#")
		all["filter"] = strings.ReplaceAll(prefix, "/", ".")
		if isPrefix {
			all["match"] = "prefix"
		}
	}
	for k, v := range with {
		all[k] = v
	}
	p.do("subscribe", all)
}

// topic is an MQTT topic as the peer writes it.
func (p *peer) topic(topic string) string {
	if p.wamp() {
		return strings.ReplaceAll(topic, "/", ".")
	}
	return topic
}

// recv waits for the next message, whatever it is.
func (p *peer) recv() message {
	p.d.t.Helper()
	select {
	case m := <-p.messages:
		return m
	case <-time.After(patience):
		p.d.t.Fatalf("%s %s received nothing for %v", p.kind, p.name, patience)
		return message{}
	}
}

// waitClosed waits for the end of the connection.
func (p *peer) waitClosed() closing {
	p.d.t.Helper()
	select {
	case c := <-p.closed:
		return c
	case <-time.After(patience):
		p.d.t.Fatalf("%s %s is still connected after %v", p.kind, p.name, patience)
		return closing{}
	}
}
