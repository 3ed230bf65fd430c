package load

import (
	"bytes"
	"errors"
	"testing"
)

// unmask turns a client's frame into the one a server would send.
func unmask(t *testing.T, frame []byte) []byte {
	t.Helper()
	head := 2
	switch frame[1] & 0x7f {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	payload := bytes.Clone(frame[head+4:])
	for i := range payload {
		payload[i] ^= frame[head+i&3]
	}
	out := append(bytes.Clone(frame[:head]), payload...)
	out[1] &^= 0x80
	return out
}

// RFC 6455 section 5.2: the three forms of the payload length; 5.3: masking.
func TestFramesRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 125, 126, 127, 256, 65535, 65536, 100_000} {
		want := make([]byte, n)
		fill(want, 3)
		frame := unmask(t, appendFrame(nil, opBinary, want))
		for cut := range min(len(frame), 12) {
			if _, _, _, ok, err := nextFrame(frame[:cut]); ok || err != nil {
				t.Fatalf("%d of %d bytes: ok %v, %v", cut, len(frame), ok, err)
			}
		}
		op, payload, size, ok, err := nextFrame(append(frame, 0xff))
		if err != nil || !ok || op != opBinary || size != len(frame) || !bytes.Equal(payload, want) {
			t.Fatalf("%d bytes: op %d, size %d of %d, ok %v, %v", n, op, size, len(frame), ok, err)
		}
	}
}

func TestFramesOfBadServersAreRefused(t *testing.T) {
	for name, frame := range map[string][]byte{
		"masked":        {0x82, 0x80, 1, 2, 3, 4},
		"reserved bits": {0xc2, 0x00},
		"endless":       {0x82, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, _, _, _, err := nextFrame(frame); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v, want ErrFrame", name, err)
		}
	}
}

// MQTT packets need not begin where frames do [MQTT-6.0.0-2].
func TestPacketsAcrossFrames(t *testing.T) {
	var stream []byte
	for n := range byte(5) {
		stream = append(stream, 0x40, 2, 0, n)
	}
	long := append(appendLength([]byte{0x30}, 300), make([]byte, 300)...)
	stream = append(stream, long...)
	for step := 1; step <= len(stream); step++ {
		c := &conn{}
		var got []byte
		packets := 0
		for at := 0; at < len(stream); at += step {
			err := c.packets(stream[at:min(at+step, len(stream))], func(first byte, body []byte) error {
				packets++
				got = append(appendLength(append(got, first), len(body)), body...)
				return nil
			})
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		if packets != 6 || !bytes.Equal(got, stream) {
			t.Fatalf("step %d: %d packets, equal %v", step, packets, bytes.Equal(got, stream))
		}
	}
}

// Section 2.2.3: at most four bytes of remaining length.
func TestRemainingLengthIsBounded(t *testing.T) {
	if _, _, _, _, err := nextPacket([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}); !errors.Is(err, ErrPacket) {
		t.Errorf("%v, want ErrPacket", err)
	}
}

func FuzzServerBytes(f *testing.F) {
	f.Add([]byte{0x82, 4, 0x40, 2, 0, 1})
	f.Add([]byte{0x82, 7, 0x32, 5, 0, 1, 'a', 0, 1})
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 0x30})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &conn{}
		for {
			op, payload, size, ok, err := nextFrame(b)
			if err != nil || !ok {
				return
			}
			if size > len(b) || len(payload) > size {
				t.Fatalf("size %d, payload %d of %d", size, len(payload), len(b))
			}
			b = b[size:]
			err = c.frame(op, payload, func(first byte, body []byte) error {
				if first>>4 == typePublish {
					if m, err := parsePublish(first, body); err == nil {
						_, _ = getStamp(m.payload)
					}
				}
				return nil
			})
			if err != nil {
				return
			}
			c.out = c.out[:0]
		}
	})
}
