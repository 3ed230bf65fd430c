package metrics

import (
	"maps"
	"testing"
)

func TestOpenConnections(t *testing.T) {
	s := New()
	s.Connections.WithLabelValues("mqtt").Set(3)
	s.Connections.WithLabelValues("json").Set(1)
	s.Connections.WithLabelValues("wamp.2.json").Set(0)
	if got, want := s.OpenConnections(), map[string]int{"mqtt": 3, "json": 1}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTotal(t *testing.T) {
	s := New()
	s.Received.WithLabelValues("mqtt").Add(3)
	s.Received.WithLabelValues("json").Add(4)
	if got := s.Total("parley_messages_received_total"); got != 7 {
		t.Errorf("%d, want 7", got)
	}
	if got := s.Total("nothing"); got != 0 {
		t.Errorf("%d, want 0", got)
	}
}
