package mqtt

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/msg"
)

// Every peer error has one row, and every code is one that its packet may carry
// (MQTT 5 tables 3-1, 3-4, 3-8, 3-9, 3-10; 3.1.1 table 3.1).
func TestEveryPeerErrorHasARow(t *testing.T) {
	valid := map[string][]byte{
		"connack":    {0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f},
		"connack3":   {0, 1, 2, 3, 4, 5},
		"puback":     {0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
		"suback":     {0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2},
		"unsuback":   {0x11, 0x80, 0x83, 0x87, 0x8f, 0x91},
		"disconnect": {0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2},
	}
	e := New(Options{})
	if len(e.rows) != len(msg.PeerErrors()) {
		t.Errorf("%d rows for %d errors", len(e.rows), len(msg.PeerErrors()))
	}
	for _, err := range msg.PeerErrors() {
		r := e.row(fmt.Errorf("wrapped: %w", err))
		if !errors.Is(err, r.err) {
			t.Errorf("%v has no row", err)
			continue
		}
		for name, code := range map[string]byte{
			"connack": r.connack, "connack3": r.connack3, "puback": r.puback,
			"suback": r.suback, "unsuback": r.unsuback, "disconnect": r.disconnect,
		} {
			if !slices.Contains(valid[name], code) {
				t.Errorf("%v: %#x is no %s code", err, code, name)
			}
		}
		if r.closing < 1000 || r.closing > 1013 {
			t.Errorf("%v: WebSocket close code %d", err, r.closing)
		}
	}
	if r := e.row(errors.New("disk on fire")); r.err != msg.ErrUnavailable {
		t.Errorf("an unknown error is taken for %v", r.err)
	}
}

// The codes the specification or the issue names.
func TestNamedCodes(t *testing.T) {
	e := New(Options{})
	for _, c := range []struct {
		err  error
		got  func(*row) byte
		want byte
	}{
		{msg.ErrStoreFull, func(r *row) byte { return r.puback }, 0x97},
		{msg.ErrNotAuthorized, func(r *row) byte { return r.puback }, 0x87},
		{msg.ErrTakenOver, func(r *row) byte { return r.disconnect }, 0x8e},
		{msg.ErrDraining, func(r *row) byte { return r.disconnect }, 0x8b},
		{msg.ErrNoSubscription, func(r *row) byte { return r.unsuback }, 0x11},
		{msg.ErrBadCredentials, func(r *row) byte { return r.connack3 }, 4},
		{msg.ErrAuthUnavail, func(r *row) byte { return r.connack3 }, 3},
	} {
		if got := c.got(e.row(c.err)); got != c.want {
			t.Errorf("%v: %#x, want %#x", c.err, got, c.want)
		}
	}
}
