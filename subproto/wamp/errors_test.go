package wamp

import (
	"fmt"
	"strings"
	"testing"

	"parley/msg"
	"parley/subproto"
)

// Every error a peer may see has a row, and exactly one.
func TestEveryPeerErrorIsMapped(t *testing.T) {
	rows := map[error]int{}
	for _, r := range faults() {
		rows[r.err]++
	}
	for _, err := range msg.PeerErrors() {
		if rows[err] != 1 {
			t.Errorf("%v has %d rows", err, rows[err])
		}
		f := faultOf(fmt.Errorf("rule 7 of file x: %w", err))
		if !strings.HasPrefix(f.uri, "wamp.") && !strings.HasPrefix(f.uri, "parley.") {
			t.Errorf("%v: URI %q", err, f.uri)
		}
		if f.text != err.Error() {
			t.Errorf("%v: the peer hears %q", err, f.text)
		}
		if f.code < 1000 || f.code > 1013 {
			t.Errorf("%v: close code %d", err, f.code)
		}
		delete(rows, err)
	}
	if len(rows) > 0 {
		t.Errorf("rows for no peer error: %v", rows)
	}
}

func TestUnknownErrorIsInternalAndSilent(t *testing.T) {
	f := faultOf(fmt.Errorf("open /data/x: permission denied"))
	if f.uri != uriInternal || strings.Contains(f.text, "data") || f.code != subproto.CloseInternal {
		t.Errorf("%+v", f)
	}
}
