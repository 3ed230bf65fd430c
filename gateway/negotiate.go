package gateway

import (
	"fmt"
	"slices"
	"strings"

	"parley/subproto"
)

// maxToken is the longest subprotocol name that is looked up; longer offers are
// well-formed but never ours.
const maxToken = 64

// protocols is the table of what is served: lower-case name -> canonical.
// It is immutable.
type protocols struct {
	byName    map[string]*protocol
	fallback  *protocol // for clients that offer nothing; nil = refuse
	any       *protocol // takes any offer; nil outside of conformance tests
	supported string    // sorted, comma-separated, for the refusal
}

// protocol is one canonical subprotocol.
type protocol struct {
	name    string
	engine  subproto.Engine
	deflate bool // compression may be negotiated
	drains  bool // the hub tells its connections of a drain
	counts  protocolCounts
}

// choice is the outcome of a negotiation.
type choice struct {
	proto   *protocol // nil = refuse with 400
	echo    string    // the token as the client spelt it; "" = no header in the 101
	offered bool      // at least one list element was there, well-formed or not
}

func newProtocols(o *Options) (*protocols, error) {
	t := &protocols{byName: make(map[string]*protocol)}
	for _, e := range o.Engines {
		_, standalone := e.(Standalone)
		for _, name := range e.Protocols() {
			p := &protocol{name: name, engine: e, drains: !standalone,
				// An MQTT payload is often compressed already, and its clients are small.
				deflate: o.Compress && !strings.HasPrefix(name, "mqtt")}
			p.counts = newProtocolCounts(o.Metrics, name)
			if err := t.add(name, p); err != nil {
				return nil, err
			}
			if o.AcceptAny && t.any == nil {
				t.any = p
			}
		}
	}
	if p := t.byName["json"]; p != nil && t.byName["centrifuge-json"] == nil {
		t.byName["centrifuge-json"] = p
	}
	for name, target := range o.Aliases {
		p := t.byName[strings.ToLower(target)]
		if p == nil {
			return nil, fmt.Errorf("gateway: alias %q: subprotocol %q is not served", name, target)
		}
		if t.byName[strings.ToLower(name)] == p {
			continue
		}
		if err := t.add(name, p); err != nil {
			return nil, err
		}
	}
	if o.DefaultProtocol != "" {
		if t.fallback = t.byName[strings.ToLower(o.DefaultProtocol)]; t.fallback == nil {
			return nil, fmt.Errorf("gateway: default subprotocol %q is not served", o.DefaultProtocol)
		}
	}
	if t.any != nil {
		t.fallback = t.any
	}
	t.supported = t.list()
	return t, nil
}

func (t *protocols) add(name string, p *protocol) error {
	key := strings.ToLower(name)
	switch {
	case !isToken(name) || len(name) > maxToken:
		return fmt.Errorf("gateway: subprotocol %q is not a token of at most %d characters", name, maxToken)
	case t.byName[key] != nil:
		return fmt.Errorf("gateway: subprotocol %q is served twice", name)
	}
	t.byName[key] = p
	return nil
}

func (t *protocols) list() string {
	var names []string
	for name := range t.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// negotiate picks the first offer that is served: the client lists them in the
// order of its preference (RFC 6455 section 4.2.2, /subprotocol/). lines are the
// Sec-WebSocket-Protocol header lines, which together are one list (section
// 11.3.4). Empty elements count as nothing (RFC 9110 section 5.6.1); an element
// that is no token is an offer of nothing we know. Time is linear in the header's
// size, and nothing is allocated.
func (t *protocols) negotiate(lines []string) choice {
	var c choice
	for _, line := range lines {
		for line != "" {
			var tok string
			tok, line, _ = strings.Cut(line, ",")
			tok = strings.Trim(tok, " \t")
			if tok == "" {
				continue
			}
			c.offered = true
			if p := t.lookup(tok); p != nil {
				return choice{proto: p, echo: tok, offered: true}
			}
		}
	}
	if !c.offered {
		c.proto = t.fallback
	}
	return c
}

func (t *protocols) lookup(tok string) *protocol {
	if t.any != nil && isToken(tok) {
		return t.any
	}
	if len(tok) > maxToken {
		return nil
	}
	var buf [maxToken]byte
	for i := range len(tok) {
		b := tok[i]
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		buf[i] = b
	}
	return t.byName[string(buf[:len(tok)])]
}

// isToken tells whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		b := s[i]
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, b) >= 0 {
			return false
		}
	}
	return s != ""
}
