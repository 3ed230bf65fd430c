package wamp

import (
	"strings"
	"testing"

	"parley/msg"
	"parley/subproto"
)

// FuzzConversation plays lines as frames, in every serialization, to sessions
// that share a broker with one callee. Whatever is said, nothing panics, the
// connection ends with a code that means something, and the callee can still be
// called.
func FuzzConversation(f *testing.F) {
	for _, seed := range []string{
		"[32,1,{},\"a.b\"]\n[16,2,{\"acknowledge\":true,\"exclude_me\":false,\"retain\":true},\"a.b\",[1],{\"k\":2}]\n[34,3,1]",
		"[64,1,{\"invoke\":\"roundrobin\"},\"f.p\"]\n[64,2,{\"invoke\":\"roundrobin\"},\"f.p\"]\n[48,3,{\"timeout\":1,\"receive_progress\":true},\"f.p\",[1]]\n[70,1,{\"progress\":true},[1]]\n[49,3,{\"mode\":\"kill\"}]\n[8,68,1,{},\"x.y\",[1]]\n[66,4,30]",
		"[48,1,{\"disclose_me\":true},\"fuzz.p\",[[[]]]]\n[49,1,{}]\n[48,2,{\"ppt_scheme\":\"x\"},\"fuzz.p\"]",
		"[48,1,{},\"wamp.session.get\",[1]]\n[48,2,{},\"wamp.registration.lookup\",[\"a\",{\"match\":\"prefix\"}]]",
		"[16,1,{\"exclude\":[1],\"eligible_authid\":[\"x\"],\"_parley_user\":[[\"a\",\"b\"]],\"_parley_correlation\":\"\\u0000AA==\"},\"a.b\"]",
		"[32,1,{\"_parley_from\":\"earliest\",\"_parley_ack\":\"explicit\",\"_parley_group\":\"g\"},\"fuzz.t\"]\n[32,2,{\"_parley_after\":7,\"match\":\"_parley_filter\"},\"fuzz/#\"]\n[16,3,{\"acknowledge\":true,\"exclude_me\":false,\"_parley_key\":\"k\"},\"fuzz.t\",[1]]",
		"[32,1,{},\"fuzz.t\"]\n[48,2,{},\"wamp.subscription.get_events\",[4503599627370496],{\"limit\":5,\"reverse\":true,\"from_time\":\"2026-01-02T03:04:05Z\",\"until_publication\":9}]\n[49,2,{}]\n[48,3,{},\"parley.ack\",[1,2]]",
		"[32,1,{},\"parley.gap\"]\n[48,2,{},\"parley.gaps\"]\n[34,3,1]",
		"[1,\"realm1\",{\"roles\":{\"caller\":{}}}]", "[6,{},\"wamp.close.normal\"]", "[3,{},\"x\"]", "[5,\"x\",{}]", "{}",
	} {
		f.Add(seed)
	}
	b := start(f, nil)
	callee := b.session("wamp.2.json")
	callee.send(`[64,1,{},"fuzz.p"]`)
	callee.expect(`[65,1,*]`)
	known := map[int]bool{subproto.CloseNormal: true, subproto.CloseProtocol: true, subproto.ClosePolicy: true}
	f.Fuzz(func(t *testing.T, lines string) {
		callee := &client{callee.Conn, t, callee.w}
		for _, protocol := range protocols {
			c, _ := b.with(t).dialDurable(protocol, `,"_parley_session":"fuzz","_parley_expiry":0`)
			for line := range strings.Lines(lines) {
				frame := []byte(strings.TrimSuffix(line, "\n"))
				if c.w.codec() != msg.CodecJSON && (jsonWire{}).check(frame) == nil {
					if n, err := (jsonWire{}).size(frame, maxDepth); err == nil && n == len(frame) {
						frame = recode(t, msg.CodecJSON, c.w.codec(), frame)
						_, frame = cutHead(c.w, frame)
					}
				}
				if !c.Feed(c.w.frame(), frame) {
					if code, reason := c.WaitClose(); !known[code] {
						t.Fatalf("%s: closed with %d %q", protocol, code, reason)
					}
					break
				}
			}
			c.Drop(msg.ErrTimeout)
		}
		probe := b.with(t).session("wamp.2.json")
		probe.send(`[48,1,{},"fuzz.p",["probe"]]`)
		for {
			got := callee.next()
			if v, ok := like(`[68,*,*,{},["probe"]]`, got); ok {
				callee.send(`[70,` + v[0] + `,{}]`)
				break
			}
			if !strings.HasPrefix(got, "[68,") && !strings.HasPrefix(got, "[69,") {
				t.Fatalf("the callee got %s", got)
			}
		}
		probe.expect(`[50,1,{}]`)
		probe.Drop(msg.ErrTimeout)
	})
}

// cutHead takes the one item out of a list, as recode makes it.
func cutHead(w wire, list []byte) (n int, item []byte) {
	n, _ = w.list(list, maxDepth+1, func(v []byte) error {
		item = v
		return nil
	})
	return n, item
}
