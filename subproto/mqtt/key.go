package mqtt

import (
	"slices"
	"strings"

	"parley/msg"
)

// propKey is the user property with a publish's idempotency key.
const propKey = "parley-key"

const (
	maxKey     = 256 // bytes
	keyInvalid = "idempotency key must be given once and have 1 to 256 bytes"
)

// takeKey makes the user property parley-key the message's key. It is for the
// broker: receivers are not sent it.
func takeKey(m *msg.Message) error {
	keys := 0
	for i := range m.User {
		if m.User[i].Name == propKey {
			keys++
			m.Key = strings.Clone(m.User[i].Value) // it outlives the packet
		}
	}
	switch {
	case keys == 0:
		return nil
	case keys > 1 || m.Key == "" || len(m.Key) > maxKey:
		return fault{0x83, keyInvalid}
	}
	m.User = slices.DeleteFunc(m.User, func(p msg.Property) bool { return p.Name == propKey })
	if len(m.User) == 0 {
		m.User = nil
	}
	return nil
}
