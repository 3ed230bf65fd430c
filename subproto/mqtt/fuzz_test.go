package mqtt

import (
	"bytes"
	"context"
	"testing"

	"parley/auth"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzDecode proves that whatever the checks let through the codec reads
// without a panic and as the same packet.
func FuzzDecode(f *testing.F) {
	for _, v := range []byte{3, 4, 5} {
		for _, raw := range fullPackets(v) {
			f.Add(raw[0]>>4, v-3, raw[2:])
		}
	}
	for _, c := range malformedPackets {
		for i, raw := range [][]byte{c.v4, c.v5} {
			if len(raw) > 2 {
				f.Add(raw[0]>>4, byte(1+i), raw[2:])
			}
		}
	}
	f.Fuzz(func(t *testing.T, kind, version byte, body []byte) {
		version = 3 + version%3
		before := bytes.Clone(body)
		switch kind {
		case packets.Connect:
			if pk, err := decodeConnect(body, version); err == nil && pk.Connect.WillFlag && len(pk.Connect.WillPayload) > len(body) {
				t.Fatal("will payload out of nowhere")
			}
		case packets.Subscribe:
			if pk, err := decodeSubscribe(body, version); err == nil && (pk.PacketID == 0 || len(pk.Filters) == 0) {
				t.Fatalf("accepted %+v", pk)
			}
		case packets.Unsubscribe:
			if pk, err := decodeUnsubscribe(body, version); err == nil && (pk.PacketID == 0 || len(pk.Filters) == 0) {
				t.Fatalf("accepted %+v", pk)
			}
		case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
			if id, _, err := checkAck(kind, body, version); err == nil && id == 0 {
				t.Fatal("packet identifier 0")
			}
		default:
			c := cursor{b: body}
			if list := c.props(); c.err == nil {
				_, _ = decodeProps(packets.Publish, list)
			}
		}
		if version > 3 && !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
	})
}

// anybody lets everybody in, before Authenticate returns.
type anybody struct{ auth.Authenticator }

func (anybody) Authenticate(_ context.Context, _ auth.Credentials, done func(*auth.Identity, error)) {
	done(&auth.Identity{}, nil)
}
