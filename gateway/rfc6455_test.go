package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

const (
	fin1    = bitFin | opText
	fin2    = bitFin | opBinary
	finC    = bitFin | opContinuation
	closeOp = bitFin | opClose
	ping    = bitFin | opPing
	pong    = bitFin | opPong
)

func closeFrame(code int, reason string) []byte {
	return maskedFrame(closeOp, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// Good frames and what comes back, by section of RFC 6455.
func TestRFC6455Accepted(t *testing.T) {
	type frames []rawFrame
	m := maskedFrame
	for name, c := range map[string]struct {
		send [][]byte
		want frames
	}{
		"5.6 text":         {[][]byte{m(fin1, []byte("héllo"))}, frames{{fin1, []byte("héllo")}}},
		"5.6 binary":       {[][]byte{m(fin2, []byte{0, 255})}, frames{{fin2, []byte{0, 255}}}},
		"5.6 empty":        {[][]byte{m(fin1, nil)}, frames{{fin1, nil}}},
		"5.4 fragments":    {[][]byte{m(opText, []byte("a")), m(opContinuation, []byte("b")), m(finC, []byte("c"))}, frames{{fin1, []byte("abc")}}},
		"5.4 empty ones":   {[][]byte{m(opText, nil), m(opContinuation, nil), m(finC, nil)}, frames{{fin1, nil}}},
		"5.5 ping between": {[][]byte{m(opText, []byte("a")), m(ping, []byte("p")), m(finC, []byte("b"))}, frames{{pong, []byte("p")}, {fin1, []byte("ab")}}},
		"5.5.2 ping":       {[][]byte{m(ping, nil)}, frames{{pong, nil}}},
		"5.5.2 ping 125":   {[][]byte{m(ping, bytes.Repeat([]byte("x"), 125))}, frames{{pong, bytes.Repeat([]byte("x"), 125)}}},
		"5.5.3 lone pong":  {[][]byte{m(pong, []byte("x")), m(fin1, []byte("y"))}, frames{{fin1, []byte("y")}}},
		"8.1 split rune":   {[][]byte{m(opText, []byte("\xce")), m(opContinuation, []byte("\xba\xe1")), m(finC, []byte("\xbd\xb9"))}, frames{{fin1, []byte("\xce\xba\xe1\xbd\xb9")}}},
		"several":          {[][]byte{m(fin1, []byte("1")), m(fin2, []byte("2")), m(ping, []byte("3")), m(fin1, []byte("4"))}, frames{{fin1, []byte("1")}, {fin2, []byte("2")}, {pong, []byte("3")}, {fin1, []byte("4")}}},
	} {
		// However the bytes arrive: together, byte by byte, or in odd pieces.
		for _, piece := range []int{1 << 20, 1, 3} {
			t.Run(fmt.Sprintf("%s/%d", name, piece), func(t *testing.T) {
				s := serveWS(t, Options{})
				r := s.raw("")
				for all := bytes.Join(c.send, nil); len(all) > 0; {
					n := min(piece, len(all))
					r.send(all[:n])
					all = all[n:]
				}
				for _, f := range c.want {
					r.want(f.first, string(f.payload))
				}
				r.send(closeFrame(1000, ""))
				r.wantClose(1000)
			})
		}
	}
}

// Bad frames, each after a good message, which must be answered, and the code
// the connection is failed with.
func TestRFC6455Violations(t *testing.T) {
	m := maskedFrame
	unmasked := []byte{fin1, 1, 'x'}
	for name, c := range map[string]struct {
		send []byte
		code int
	}{
		"5.1 unmasked":                {unmasked, 1002},
		"5.1 unmasked, nothing more":  {unmasked[:2], 1002},
		"5.2 RSV1":                    {m(fin1|0x40, []byte("x")), 1002},
		"5.2 RSV2":                    {m(fin1|0x20, nil), 1002},
		"5.2 RSV3":                    {m(fin1|0x10, nil), 1002},
		"5.2 RSV1 on ping":            {m(ping|0x40, nil), 1002},
		"5.2 opcode 3":                {m(0x83, nil), 1002},
		"5.2 opcode 7":                {m(0x87, []byte("x")), 1002},
		"5.2 opcode 11":               {m(0x8b, nil), 1002},
		"5.2 opcode 15":               {m(0x8f, nil), 1002},
		"5.2 length with highest bit": {[]byte{fin2, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4}, 1002},
		"5.2 length of all ones":      {[]byte{fin2, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4}, 1002},
		"5.4 lone continuation":       {m(finC, []byte("x")), 1002},
		"5.4 lone open continuation":  {m(opContinuation, nil), 1002},
		"5.4 text inside text":        {append(m(opText, []byte("a")), m(fin1, []byte("b"))...), 1002},
		"5.5 fragmented ping":         {m(opPing, nil), 1002},
		"5.5 fragmented close":        {m(opClose, nil), 1002},
		"5.5 ping of 126":             {maskedHeader(ping, 126), 1002},
		"5.5 close of 65536":          {maskedHeader(closeOp, 65536), 1002},
		"5.5.1 close of one byte":     {m(closeOp, []byte{3}), 1002},
		"8.1 bad UTF-8":               {m(fin1, []byte("\xff")), 1007},
		"8.1 surrogate":               {m(fin1, []byte("\xed\xa0\x80")), 1007},
		"8.1 overlong":                {m(fin1, []byte("\xc0\xaf")), 1007},
		"8.1 cut rune":                {m(fin1, []byte("\xce")), 1007},
		"8.1 bad over fragments":      {append(m(opText, []byte("\xce")), m(finC, []byte("\xce"))...), 1007},
		"8.1 bad close reason":        {closeFrame(1000, "\xff"), 1007},
		"too big, declared":           {maskedHeader(fin2, 1<<20+1), 1009},
		"too big, 2^62":               {[]byte{fin2, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1009},
		"too big over fragments":      {bytes.Join([][]byte{m(opBinary, make([]byte, 1<<20)), maskedHeader(finC, 1)}, nil), 1009},
		"endless empty fragments":     {append(m(opText, nil), bytes.Repeat(m(opContinuation, nil), 1000)...), 1008},
		"ping flood":                  {bytes.Repeat(m(ping, nil), 2000), -1},
		"pong flood":                  {bytes.Repeat(m(pong, nil), 2000), 1008},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveWS(t, Options{})
			r := s.raw("")
			r.send(m(fin1, []byte("before")), c.send)
			r.want(fin1, "before")
			if c.code == -1 { // the budget's pongs come first
				c.code = 1008
				for range s.o.Limits.ControlBurst {
					r.want(pong, "")
				}
			}
			r.wantClose(c.code)
			// Nobody else notices.
			other := s.raw("")
			other.send(m(fin1, []byte("x")))
			other.want(fin1, "x")
		})
	}
}

// Section 7.4: codes a peer may send are echoed, others are protocol errors.
func TestRFC6455CloseCodes(t *testing.T) {
	s := serveWS(t, Options{})
	for code := range 5100 {
		if code > 1020 && code < 2990 && code%500 != 0 || code > 3005 && code < 4990 && code%500 != 0 || code > 20 && code < 990 {
			continue
		}
		want := 1002
		switch {
		case code == 1004, code == 1005, code == 1006:
		case code >= 1000 && code <= 1014, code >= 3000 && code <= 4999:
			want = code
		}
		r := s.raw("")
		r.send(closeFrame(code, strings.Repeat("r", 123)))
		r.wantClose(want)
	}
	r := s.raw("")
	r.send(maskedFrame(closeOp, nil))
	r.wantClose(1005) // section 7.1.5: no code there, no code back
}

func TestDataAfterCloseIsIgnored(t *testing.T) {
	s := serveWS(t, Options{})
	r := s.raw("")
	r.send(closeFrame(1000, ""), maskedFrame(fin1, []byte("late")), maskedFrame(ping, nil))
	r.wantClose(1000)
}
