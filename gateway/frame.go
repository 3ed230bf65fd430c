package gateway

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"parley/subproto"
)

// Opcodes and header bits of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	bitFin  = 0x80
	bitRSV1 = 0x40 // compressed (RFC 7692 section 6)
	bitMask = 0x80

	maxControl     = 125 // payload of a control frame, section 5.5
	maxFrameHeader = 10  // of a server: never masked
)

// frameHeader writes the header of an unmasked final frame into b and returns
// its length.
func frameHeader(b *[maxFrameHeader]byte, first byte, n int) int {
	b[0] = bitFin | first
	switch {
	case n < 126:
		b[1] = byte(n)
		return 2
	case n <= 0xffff:
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		return 4
	}
	b[1] = 127
	binary.BigEndian.PutUint64(b[2:], uint64(n))
	return 10
}

func opcodeOf(k subproto.Kind) byte {
	if k == subproto.Text {
		return opText
	}
	return opBinary
}

// closePayload is code and reason, the reason cut to what fits and is valid
// UTF-8. A code that may not be on the wire (section 7.4) becomes 1011, but 1005
// an empty payload.
func closePayload(code int, reason string) []byte {
	if code == 1005 {
		return nil
	}
	if !validCloseCode(code) {
		code = subproto.CloseInternal
	}
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if len(reason) > maxControl-2 {
		n := maxControl - 2
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// validCloseCode tells whether code may be on the wire: the ones defined in the
// IANA registry up to 1014 without the reserved 1004, 1005, 1006, and
// 3000–4999 (section 7.4.2).
func validCloseCode(code int) bool {
	switch {
	case code == 1004 || code == 1005 || code == 1006:
		return false
	case 1000 <= code && code <= 1014:
		return true
	}
	return 3000 <= code && code <= 4999
}
