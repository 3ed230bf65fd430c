package wamp

import (
	"crypto/sha256"
	"encoding/binary"

	"parley/msg"
)

// pubIDs turns positions into publication ids and back. The WAMP specification
// wants ids in the global scope to look random (basic profile, section 2.1.2);
// a permutation instead of a draw lets "resume after the last id I saw" work
// with any id, without memory. It is keyed per log and namespace, so ids of
// different namespaces do not line up. It is no secret: whoever knows the epoch
// can compute it.
//
// A position is a number below 2^53: the offset of a stored message (below
// 2^52), or, with bit 52 set, the low 36 bits of a transient message's After
// and its Serial. Position 0 does not exist, and neither does id 0.
//
// The permutation is a Feistel network (H. Feistel, 1973) over halves of 26 and
// 27 bits with the finalizer of splitmix64 (S. Vigna) as round function.
type pubIDs struct {
	keys [rounds]uint64
	zero uint64 // what position 0 maps to: swapped with what would map to id 0
}

const (
	rounds    = 8
	leftBits  = 26
	rightBits = 27
	leftMask  = 1<<leftBits - 1
	rightMask = 1<<rightBits - 1

	transientBit = 1 << 52
	afterBits    = 36
)

func newPubIDs(epoch, namespace string) *pubIDs {
	p := &pubIDs{}
	seed := sha256.New()
	for _, s := range [...]string{"parley publication id", epoch, namespace} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		seed.Write(n[:])
		seed.Write([]byte(s))
	}
	k := binary.BigEndian.Uint64(seed.Sum(nil))
	for i := range p.keys {
		k += 0x9e3779b97f4a7c15
		p.keys[i] = mix(k)
	}
	p.zero = p.forward(0)
	return p
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (p *pubIDs) forward(x uint64) uint64 {
	l, r := x>>rightBits, x&rightMask
	for i := 0; i < rounds; i += 2 {
		l ^= mix(r^p.keys[i]) & leftMask
		r ^= mix(l^p.keys[i+1]) & rightMask
	}
	return l<<rightBits | r
}

func (p *pubIDs) backward(y uint64) uint64 {
	l, r := y>>rightBits, y&rightMask
	for i := rounds - 2; i >= 0; i -= 2 {
		r ^= mix(l^p.keys[i+1]) & rightMask
		l ^= mix(r^p.keys[i]) & leftMask
	}
	return l<<rightBits | r
}

// of returns the publication id of m, 1 to 2^53-1.
func (p *pubIDs) of(m *msg.Message) uint64 {
	if m.Stored() {
		return p.ofOffset(m.Offset)
	}
	return p.id(transientBit | uint64(m.After)&(1<<afterBits-1)<<16 | uint64(m.Serial))
}

// ofOffset returns the id of the message stored at o.
func (p *pubIDs) ofOffset(o msg.Offset) uint64 { return p.id(uint64(o) & (transientBit - 1)) }

func (p *pubIDs) id(position uint64) uint64 {
	y := p.forward(position)
	if y == 0 {
		return p.zero
	}
	return y
}

// position is the inverse: the offset of a stored message, or (stored false) a
// transient one's After, of which only the low 36 bits are known, and Serial. ok
// is false for numbers that are nobody's id.
func (p *pubIDs) position(id uint64) (offset msg.Offset, serial uint16, stored, ok bool) {
	if id == 0 || id >= maxID {
		return 0, 0, false, false
	}
	x := p.backward(id)
	if id == p.zero {
		x = p.backward(0)
	}
	switch {
	case x == 0:
		return 0, 0, false, false
	case x < transientBit:
		return msg.Offset(x), 0, true, true
	}
	x &^= transientBit
	return msg.Offset(x >> 16), uint16(x), false, true
}
