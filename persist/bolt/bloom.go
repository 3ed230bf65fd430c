package bolt

import "strings"

// A Bloom filter of 10 bits per entry and 7 probes has one false positive in
// about 120 (Bloom 1970; double hashing as in Kirsch and Mitzenmacher 2006).
const (
	bloomBits   = 10
	bloomProbes = 7
)

// hashedLevels is how many of a topic's beginnings are entered.
const hashedLevels = 8

func appendBloom(dst []byte, hashes map[uint64]struct{}) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, max(8, (len(hashes)*bloomBits+7)/8))...)
	bits := dst[start:]
	for h := range hashes {
		for i := range uint64(bloomProbes) {
			at := probe(h, i, bits)
			bits[at/8] |= 1 << (at % 8)
		}
	}
	return dst
}

func inBloom(bits []byte, h uint64) bool {
	if len(bits) == 0 {
		return true
	}
	for i := range uint64(bloomProbes) {
		at := probe(h, i, bits)
		if bits[at/8]&(1<<(at%8)) == 0 {
			return false
		}
	}
	return true
}

func probe(h, i uint64, bits []byte) uint64 {
	return (h&0xffffffff + i*(h>>32|1)) % uint64(8*len(bits))
}

// FNV-1a, 64 bits (Fowler, Noll, Vo), finished with the mixer of MurmurHash3
// because its high bits depend too little on the last bytes. What collides is
// read without need, nothing else.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// hashTopic enters the topic and its beginnings at level borders, without the
// topic itself.
func hashTopic(topic string, enter func(uint64)) {
	h, level := uint64(fnvOffset), 0
	for i := range len(topic) {
		if topic[i] == '/' && level < hashedLevels {
			level++
			enter(mix(h + 1))
		}
		h = (h ^ uint64(topic[i])) * fnvPrime
	}
	enter(mix(h))
}

// hashWhole and hashBeginning are what hashTopic has entered for a topic s, and
// for one that goes on after s with a "/".
func hashWhole(s string) uint64 { return mix(fnvSum(s)) }

func hashBeginning(s string) uint64 { return mix(fnvSum(s) + 1) }

func fnvSum(s string) uint64 {
	h := uint64(fnvOffset)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

// firstLevels cuts s before its level number n, counted from 0.
func firstLevels(s string, n int) string {
	at := 0
	for range n {
		i := strings.IndexByte(s[at:], '/')
		if i < 0 {
			return s
		}
		at += i + 1
	}
	return s[:max(0, at-1)]
}
