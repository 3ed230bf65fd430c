package hub

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"

	"parley/msg"
	"parley/persist"
)

// seedState has something in every field.
func seedState() *sessionState {
	return &sessionState{
		id: 1 << 50, user: "anna", role: "device", expiry: msg.Forever, deadline: 1700000000000, control: 9,
		next: 70, doubt: 60, done: []delivery{{offset: 71}, {61, flightRetained, msg.Filter{}}, {80, 0, msg.Filter{Group: "g", Pattern: "b"}}}, away: []span{{3, 9}, {50, 0}}, receipts: 4,
		filters: []filterState{
			{sub: msg.Subscription{Filter: msg.Filter{Pattern: "a/+"}, QoS: 2, NoLocal: true, RetainAsPublished: true, Handle: 7}, via: "mqtt", start: 5},
			{sub: msg.Subscription{Filter: msg.Filter{Group: "g", Pattern: "b"}, QoS: 1}, side: 1, sideTo: 4, replay: 2, replayTo: 6},
		},
		flights: []flightState{
			{delivery: delivery{offset: 61, flags: flightRetained}, packetID: 65535, qos: 2, received: 3},
			{delivery: delivery{66, flightReplayed, msg.Filter{Group: "g", Pattern: "b"}}, packetID: 2, qos: 1},
		},
		exact: []exactState{{1, 12}, {2, 13}},
		gaps:  []gap{{msg.Filter{Pattern: "a/+"}, 1, 4, 3, reasonRetention}},
	}
}

// Nothing that a store may hold makes a start panic, and what is understood is
// written again as it was.
func FuzzDecodeState(f *testing.F) {
	f.Add(seedState().encode(), byte(0))
	f.Add((&sessionState{}).encode(), byte(0))
	s := &Session{id: 1 << 50, name: "d", ns: &namespace{name: "default"}}
	add := func(c *persist.Control) { f.Add(c.Value, c.Kind) }
	add(s.packetControl(controlRelease, 1))
	add(s.packetControl(controlReceived, 2))
	add(s.control(controlBack, func(*encoder) {}))
	add(s.control(controlFilters, func(e *encoder) { e.filters(seedState().filters) }))
	add(s.control(controlUnfilter, func(e *encoder) { e.count(1); e.filter(msg.Filter{Pattern: "a/+"}) }))
	add(s.control(controlAssign, func(e *encoder) { e.flight(&seedState().flights[0]) }))
	f.Add(append(encodeOffset(7), s.packetControl(controlExact, 9).Value...), byte(controlExact))
	f.Add([]byte(nil), byte(controlSession))
	again := func(t *testing.T, st *sessionState) {
		t.Helper()
		back, err := decodeState(st.encode())
		if err != nil {
			t.Fatalf("%+v: %v", st, err)
		}
		if !reflect.DeepEqual(back, st) {
			t.Fatalf("%+v\nbecame\n%+v", st, back)
		}
	}
	f.Fuzz(func(t *testing.T, value []byte, kind byte) {
		if st, err := decodeState(value); err == nil {
			again(t, st)
			st.floor()
		}
		ns := &namespace{loading: map[string]*sessionState{"d": seedState()}, loadingGroups: map[string]*groupState{}}
		if ns.applyControl(persist.Control{Seq: 10, Kind: kind, Key: "d", Value: value}) == nil && ns.loading["d"] != nil {
			st := ns.loading["d"]
			for i := range st.flights {
				st.flights[i].rank = 0
			}
			again(t, st)
		}
		if ns.loadGroup("g", value) == nil {
			ns.loadingGroups["g"].floor()
		}
	})
}

// A record of a QoS 2 delivery that the table knows leaves it where it is: what is
// sent again comes in the order in which it was sent first [MQTT-4.6.0-1].
func TestAssignKeepsTheOrder(t *testing.T) {
	st := &sessionState{next: 9, flights: []flightState{
		{delivery: delivery{offset: 5}, qos: 2}, {delivery: delivery{offset: 6}, qos: 1, packetID: 2},
	}}
	st.assign(flightState{delivery: delivery{offset: 5}, qos: 2, packetID: 1})
	if len(st.flights) != 2 || st.flights[0].offset != 5 || st.flights[0].packetID != 1 || st.flights[1].offset != 6 {
		t.Fatalf("%+v", st.flights)
	}
}

// halfway is a store that dies after the first piece of a checkpoint.
type halfway struct {
	persist.Store
	armed atomic.Bool
	die   func()
}

func (s *halfway) Commit(b *persist.Batch, done func(error)) {
	s.Store.Commit(b, done)
	if len(b.Checkpoints) > 0 && s.armed.CompareAndSwap(true, false) {
		s.die()
	}
}

// A checkpoint of many entries that a crash cuts has moved no position: control
// records from before an entry of it mean nothing to that. Else a packet id's
// receipt, which was of an earlier delivery, would be taken for the next one's, and
// that would be lost [MQTT-4.3.3].
func TestPromiseExactlyOnceOverHalfACheckpoint(t *testing.T) {
	store := &halfway{Store: newMem(t)}
	l := live(t, store)
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a", func(s *msg.Subscription) { s.QoS = 2 })
	pub := l.publisher()
	step := make(chan error, 1)
	note := func(err error) { step <- err }
	done := func() {
		t.Helper()
		if err := await(t, step); err != nil {
			t.Fatal(err)
		}
	}
	pub.send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte("first"))})
	pub.send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte("second"))})
	d.Assign(d.take().Ref, 7, note)
	done()
	l = l.restart() // writes a checkpoint
	d = l.back()
	one := d.take()
	d.Received(one.Ref, note)
	done()
	d.Ack(one.Ref)
	d.Assign(d.take().Ref, 7, note)
	done()
	for i := range checkpointPuts {
		connect(t, l.Hub, msg.SessionParams{ClientID: fmt.Sprint("e", i), Expiry: msg.Forever})
	}
	store.die = func() { l.store.dead.Store(true) }
	store.armed.Store(true)
	l.stop()
	if store.armed.Load() {
		t.Fatal("no checkpoint")
	}
	l = l.again(store)
	d, r := l.device(msg.SessionParams{})
	if len(r.Received) != 0 {
		t.Fatalf("received: %+v", r.Received)
	}
	if got := d.take(); payload(got) != "second" || got.PacketID != 7 || !got.Redelivered {
		t.Fatalf("got %q, packet id %d", payload(got), got.PacketID)
	}
}
