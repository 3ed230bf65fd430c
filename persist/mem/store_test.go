package mem_test

import (
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/mem"
)

func TestAFirstMessage(t *testing.T) {
	s := mem.New()
	if _, err := s.State("a", persist.Visitor{}); err != nil {
		t.Fatal(err)
	}
	m := &msg.Message{Topic: "t", QoS: 1, Payload: msg.Bytes([]byte("x"))}
	var result error
	s.Commit(&persist.Batch{Appends: []persist.Append{{Namespace: "a", Message: m}}}, func(err error) { result = err })
	ms, next, err := s.Read("a", 0, 0, persist.Limits{})
	if result != nil || err != nil || len(ms) != 1 || next != 2 || ms[0] == m || string(ms[0].Payload.Data) != "x" {
		t.Fatal(result, err, ms, next)
	}
}
