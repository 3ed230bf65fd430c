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
