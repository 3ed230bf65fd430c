package history

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"
)

// good is a history without a fault that has something of everything: a durable
// subscriber over MQTT that comes back after a cut and a kill, one over JSON, one
// over WAMP that comes and goes, QoS 1 and 2, keys, retained values, wills.
const good = `
start
connect p 1 durable
connect s 1 durable
subscribe s 1 :t/# q2
subscribed s 1 :t/#
subscribe s 1 :w q1
subscribed s 1 :w
connect j 1 durable json
subscribe j 1 :t/# q1 json
subscribed j 1 :t/# json
connect v 1 wamp
subscribe v 1 :t/a q1 wamp
subscribed v 1 :t/a wamp
connect w 1 durable will=w!will/1
publish p 1 p/1 >t/a q1
publish p 1 p/2 >t/a q2
publish p 1 p/3 >t/b q1 key=k
published p 1 p/1 @1
deliver s 1 p/1 >t/a q1
deliver j 1 :t/# p/1 >t/a q1 @1 json
ack s 1 p/1 >t/a q1
deliver v 1 :t/a p/1 >t/a q1 @1 wamp
published p 1 p/2 @2
deliver s 1 p/2 >t/a q2
disconnect s 1
disconnect j 1
connect s 2 durable present
connect j 2 durable present json
deliver j 2 :t/# p/1 >t/a q1 @1 marked json
deliver j 2 :t/# p/2 >t/a q1 @2 json
deliver v 1 :t/a p/2 >t/a q1 @2 wamp
disconnect w 1
deliver s 2 w!will/1 >w q1
+5s
kill
disconnect p 1
disconnect s 2
disconnect j 2
disconnect v 1
start
connect p 2 durable present
publish p 2 p/3 >t/b q1 key=k marked
published p 2 p/3 @3
publish p 2 p/4 >t/a q0
connect s 3 durable present
connect j 3 durable present json
connect w 2 durable present will=w!will/2
deliver j 3 :t/# p/2 >t/a q1 @2 marked json
deliver j 3 :t/# p/3 >t/b q1 @3 json
deliver s 3 p/3 >t/b q1
deliver s 3 p/4 >t/a
publish p 2 p/5 >t/a q1
disconnect p 2
connect p 3 durable present
publish p 3 p/5.1 >t/a q1 marked
published p 3 p/5.1 @5
deliver s 3 p/5 >t/a q1
deliver s 3 p/5.1 >t/a q1
deliver j 3 :t/# p/5 >t/a q1 @4 json
deliver j 3 :t/# p/5.1 >t/a q1 @5 json
disconnect w 2 clean
publish p 3 p/6 >r/x q1 retain
published p 3 p/6 @6
connect o 1 clean
subscribe o 1 :r/# q1 retain
subscribed o 1 :r/#
deliver o 1 p/6 >r/x q1 @6 retained
subscribe j 3 :u/# q1 json
subscribed j 3 :u/# json
unsubscribe j 3 :u/# json
unsubscribed j 3 :u/# json
publish p 3 p/7 >t/a q1
published p 3 p/7 @7
deliver j 3 :t/# p/7 >t/a q1 @7 json
deliver s 3 p/7 >t/a q1
+20s
quiesced
`

func TestGoodHistory(t *testing.T) {
	for _, f := range Check(script(t, good), Limits{}) {
		t.Errorf("%s: %v", f, f.Events)
	}
}

// TestSeededFaults makes one thing wrong in the good history and expects the rule
// that says so, and no other.
func TestSeededFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		old  string // the lines to replace ...
		now  string // ... by these
		want Rule   // "": nothing is wrong with it
	}{
		{"lost while away", "deliver j 2 :t/# p/2 >t/a q1 @2 json\n", "", ""}, // it comes again later, marked
		{"lost", "deliver j 3 :t/# p/3 >t/b q1 @3 json\n", "", RuleLost},
		{"lost at QoS 2", "deliver s 1 p/2 >t/a q2\n", "", RuleLost},
		{"lost, keyed, after a kill", "deliver s 3 p/3 >t/b q1\n", "", RuleLost},
		{"lost, the attempt that was acknowledged", "deliver s 3 p/5.1 >t/a q1\n", "", RuleLost},
		{"delivered only after it was quiet", "deliver s 3 p/7 >t/a q1\n+20s\nquiesced\n", "+20s\nquiesced\ndeliver s 3 p/7 >t/a q1\n", RuleLost},
		{"an attempt that nobody acknowledged may be missing", "deliver s 3 p/5 >t/a q1\n", "", ""},
		{"a transient message may be missing", "deliver s 3 p/4 >t/a\n", "", ""},
		{"offsets go backwards", "deliver j 3 :t/# p/5 >t/a q1 @4 json\ndeliver j 3 :t/# p/5.1 >t/a q1 @5 json\n", "deliver j 3 :t/# p/5.1 >t/a q1 @5 json\ndeliver j 3 :t/# p/5 >t/a q1 @4 json\n", RuleOrder},
		{"sequences go backwards", "deliver s 3 p/7 >t/a q1\n", "publish p 3 p/8 >t/a q0\ndeliver s 3 p/8 >t/a\ndeliver s 3 p/7 >t/a q1\n", RuleOrder},
		{"sequences go backwards from one connection to the next", "deliver s 3 p/7 >t/a q1\n", "publish p 3 p/8 >t/a q0\ndeliver s 3 p/8 >t/a\nconnect s 4 durable present\ndeliver s 4 p/7 >t/a q1\n", RuleOrder},
		{"a transient message is late", "deliver s 3 p/4 >t/a\n", "deliver s 3 p/4 >t/a\npublish x 1 x/1 >t/a\npublish x 1 x/2 >t/a\ndeliver s 3 x/2 >t/a\ndeliver s 3 x/1 >t/a\n", RuleOrder},
		{"twice on a connection", "deliver s 1 p/1 >t/a q1\n", "deliver s 1 p/1 >t/a q1\ndeliver s 1 p/1 >t/a q1\n", RuleDuplicate},
		{"twice on a connection, marked", "deliver s 3 p/3 >t/b q1\n", "deliver s 3 p/3 >t/b q1\ndeliver s 3 p/3 >t/b q1 marked\n", RuleDuplicate},
		{"twice at QoS 2", "deliver s 2 w!will/1 >w q1\n", "deliver s 2 p/2 >t/a q2 marked\ndeliver s 2 w!will/1 >w q1\n", RuleDuplicate},
		{"twice at QoS 0", "deliver s 3 p/7 >t/a q1\n", "deliver s 3 p/7 >t/a q1\nconnect s 4 durable present\ndeliver s 4 p/4 >t/a marked\n", RuleDuplicate},
		{"a key stored twice", "published p 2 p/3 @3\n", "published p 2 p/3 @9\n", RuleOffset},
		{"again without the mark", "deliver j 2 :t/# p/1 >t/a q1 @1 marked json\n", "deliver j 2 :t/# p/1 >t/a q1 @1 json\n", RuleUnmarked},
		{"again after a kill without the mark", "deliver j 3 :t/# p/2 >t/a q1 @2 marked json\n", "deliver j 3 :t/# p/2 >t/a q1 @2 json\n", RuleUnmarked},
		{"marked on a first connection", "deliver v 1 :t/a p/2 >t/a q1 @2 wamp\n", "deliver v 1 :t/a p/2 >t/a q1 @2 marked wamp\n", RuleMark},
		{"never published", "deliver v 1 :t/a p/2 >t/a q1 @2 wamp\n", "deliver v 1 :t/a p/2 >t/a q1 @2 wamp\ndeliver v 1 :t/a p/99 >t/a q1 @3 wamp\n", RuleUnknown},
		{"on another topic", "deliver s 3 p/7 >t/a q1\n", "deliver s 3 p/7 >t/c q1\n", RuleUnknown},
		{"before it was published", "publish p 3 p/7 >t/a q1\n", "publish p 3 p/7 >t/a q1\ndeliver s 3 x/1 >t/a\npublish x 1 x/1 >t/a\n", RuleUnknown},
		{"the session is gone", "connect s 2 durable present\n", "connect s 2 durable\n", RuleSession},
		{"a session that was given up is there", "connect o 1 clean\n", "connect o 1 clean present\n", RuleSession},
		{"a session given up", "connect s 3 durable present\n", "connect s 3 durable clean\n", ""},
		{"no answer", "published p 3 p/7 @7\n", "", RuleUnanswered},
		{"refused", "published p 3 p/7 @7\n", "refused p 3 p/7\n", RuleRefused},
		{"a gap that is none", "deliver j 3 :t/# p/3 >t/b q1 @3 json\n", "deliver j 3 :t/# p/3 >t/b q1 @3 json\ngap j 3 :t/# @1 last=3\n", RuleGap},
		{"a gap", "deliver j 3 :t/# p/3 >t/b q1 @3 json\n", "gap j 3 :t/# @3 last=3\n", ""},
		{"a will after a goodbye", "disconnect w 2 clean\n", "disconnect w 2 clean\ndeliver s 3 w!will/2 >w q1\n", RuleWill},
		{"a will while its connection lasts", "disconnect w 2 clean\n", "deliver s 3 w!will/2 >w q1\n", RuleWill},
		{"no will", "deliver s 2 w!will/1 >w q1\n", "", RuleWill},
		{"no will after a kill", "disconnect w 1\ndeliver s 2 w!will/1 >w q1\n+5s\n", "", ""}, // back in time
		{"a will after a kill too early", "disconnect w 2 clean\n", "kill\nstart\ndeliver s 3 w!will/2 >w q1\n", RuleWill},
		{"a will after one of two kills", "disconnect w 2 clean\n", "kill\nstart\n+10s\ndeliver s 3 w!will/2 >w q1\nkill\nstart\n", ""},
		{"a will after the first of two kills, too early", "disconnect w 2 clean\n", "kill\nstart\n+2s\ndeliver s 3 w!will/2 >w q1\nkill\nstart\n", RuleWill},
		{"no will after a kill, never back", "disconnect w 2 clean\n", "kill\nstart\n", RuleWill},
		{"an old retained value", "subscribe o 1 :r/# q1 retain\n", "publish p 3 p/8 >r/x q1 retain\npublished p 3 p/8 @8\nsubscribe o 1 :r/# q1 retain\n", RuleRetained},
		{"no retained value", "deliver o 1 p/6 >r/x q1 @6 retained\n", "", RuleRetained},
		{"a complaint", "deliver s 3 p/7 >t/a q1\n", "deliver s 3 p/7 >t/a q1\ncomplaint s 3\n", RuleProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n := bytes.Count([]byte(good), []byte("\n"+c.old)); n != 1 {
				t.Fatalf("%q occurs %d times", c.old, n)
			}
			text := string(bytes.Replace([]byte(good), []byte("\n"+c.old), []byte("\n"+c.now), 1))
			var want []Rule
			if c.want != "" {
				want = []Rule{c.want}
			}
			events := script(t, text)
			before := slices.Clone(events)
			if got := rules(events); !slices.Equal(got, want) {
				t.Errorf("broken: %v, want %v", got, want)
				for _, f := range Check(events, Limits{}) {
					t.Logf("%s %v", f, f.Events)
				}
			}
			if !reflect.DeepEqual(before, events) {
				t.Error("Check changed the history")
			}
		})
	}
}

// TestCompact: what was made shorter still shows what goes wrong later, and
// nothing else.
func TestCompact(t *testing.T) {
	short := Compact(script(t, good))
	if n := len(script(t, good)); len(short) >= n {
		t.Fatalf("%d events are still %d", n, len(short))
	}
	for _, c := range []struct {
		name, more string
		want       Rule
	}{
		{"nothing", "quiesced", ""},
		{"what comes again late, marked", "connect s 4 durable present\ndeliver s 4 p/7 >t/a q1 marked\nquiesced", ""},
		{"unmarked", "connect s 4 durable present\ndeliver s 4 p/7 >t/a q1\nquiesced", RuleUnmarked},
		{"at QoS 2", "connect s 4 durable present\ndeliver s 4 p/2 >t/a q2 marked\nquiesced", RuleDuplicate},
		{"new ones", "publish p 3 p/8 >t/a q1\npublished p 3 p/8 @8\ndeliver s 3 p/8 >t/a q1\ndeliver j 3 :t/# p/8 >t/a q1 @8 json\nquiesced", ""},
		{"a new one is lost", "publish p 3 p/8 >t/a q1\npublished p 3 p/8 @8\ndeliver s 3 p/8 >t/a q1\nquiesced", RuleLost},
		{"an old offset", "publish p 3 p/8 >t/a q1\npublished p 3 p/8 @5\ndeliver s 3 p/8 >t/a q1\ndeliver j 3 :t/# p/8 >t/a q1 @5 json\nquiesced", RuleOrder},
		{"an old sequence", "publish x 1 x/2 >t/a\npublish x 1 x/1 >t/a\ndeliver s 3 x/2 >t/a\ndeliver s 3 x/1 >t/a", RuleOrder},
		{"never published", "deliver s 3 p/8 >t/a q1", RuleUnknown},
		{"the session is gone", "connect s 4 durable", RuleSession},
		{"a retained value", "connect n 1 clean\nsubscribe n 1 :r/# q1 retain\nsubscribed n 1 :r/#\ndeliver n 1 p/6 >r/x q1 retained\nquiesced", ""},
		{"no retained value", "connect n 1 clean\nsubscribe n 1 :r/# q1 retain\nsubscribed n 1 :r/#\nquiesced", RuleRetained},
		{"a will once more", "connect s 4 durable present\ndeliver s 4 w!will/1 >w q1\nquiesced", RuleUnmarked},
		{"a will after all", "deliver s 3 w!will/2 >w q1\nquiesced", RuleWill},
	} {
		t.Run(c.name, func(t *testing.T) {
			more := script(t, "+200s\n"+c.more)
			var want []Rule
			if c.want != "" {
				want = []Rule{c.want}
			}
			events := append(slices.Clone(short), more...)
			if got := rules(events); !slices.Equal(got, want) {
				t.Errorf("broken: %v, want %v: %v", got, want, Check(events, Limits{}))
			}
			again := append(slices.Clone(Compact(short)), more...)
			if got := rules(again); !slices.Equal(got, want) {
				t.Errorf("compacted twice: broken: %v, want %v", got, want)
			}
		})
	}
}

func TestWriteAndRead(t *testing.T) {
	var b bytes.Buffer
	want := script(t, good)
	if err := Write(&b, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %v", err, got)
	}
	if _, err := Read(bytes.NewBufferString("{}\nnonsense")); err == nil {
		t.Error("nonsense was read")
	}
}

func TestPending(t *testing.T) {
	limits := Limits{WillGrace: 10 * time.Second, Tolerance: 2 * time.Second}
	for text, want := range map[string]int{
		"connect w 1 will=w/1":                                  0,
		"connect w 1 will=w/1\ndisconnect w 1":                  1,
		"connect w 1 will=w/1\ndisconnect w 1 clean":            0,
		"connect w 1 will=w/1\nkill\nstart":                     1,
		"connect w 1 will=w/1\nkill\nstart\nconnect w 2":        0,
		"connect w 1 will=w/1\ndisconnect w 1\ndeliver s 1 w/1": 0,
	} {
		events := script(t, text)
		if got := Pending(events, limits, events[len(events)-1].At, time.Minute); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
