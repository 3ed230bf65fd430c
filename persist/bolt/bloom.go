package bolt

import "strings"

// A Bloom filter of 10 bits per entry and 7 probes has one false positive in
// about 120 (Bloom 1970; double hashing as in Kirsch and Mitzenmacher 2006).
const (
	bloomBytes  = 1 << 10 // while it is filled
	bloomBits   = 10      // per entry
	bloomProbes = 7
)

// hashedLevels is how many of a topic's beginnings are entered.
const hashedLevels = 8

// bloom is a Bloom filter that is filled.
type bloom struct {
	bits    [bloomBytes]byte
	entries int // about: those that were new to it

	// of the last topic: its levels but for the last one, and their hash
	dir   string
	state uint64
	known bool
}

func (f *bloom) full() bool { return f.entries*bloomBits >= 8*bloomBytes }

// reset makes it empty.
func (f *bloom) reset() { *f = bloom{} }

// add enters the topic, and its beginnings at level borders without the topic
// itself.
func (f *bloom) add(topic string) {
	cut := strings.LastIndexByte(topic, '/') + 1
	if !f.known || topic[:cut] != f.dir {
		f.dir, f.state, f.known = topic[:cut], f.addBeginnings(topic[:cut]), true
	}
	h := f.state
	for i := cut; i < len(topic); i++ {
		h = (h ^ uint64(topic[i])) * fnvPrime
	}
	f.enter(mix(h))
}

// addBeginnings enters whatever stands before a "/" in dir and returns the
// state of the hash at its end.
func (f *bloom) addBeginnings(dir string) uint64 {
	h, level := uint64(fnvOffset), 0
	for i := range len(dir) {
		if dir[i] == '/' && level < hashedLevels {
			level++
			f.enter(mix(h + 1))
		}
		h = (h ^ uint64(dir[i])) * fnvPrime
	}
	return h
}

func (f *bloom) enter(h uint64) {
	fresh := byte(0)
	step := h>>32 | 1
	for range bloomProbes {
		at := h % (8 * bloomBytes)
		bit := byte(1) << (at % 8)
		fresh |= ^f.bits[at/8] & bit
		f.bits[at/8] |= bit
		h += step
	}
	if fresh != 0 {
		f.entries++
	}
}

// append appends the filter, folded to as many bytes as its entries need: one
// bit in a half is where it would be in the whole, modulo the half's length.
func (f *bloom) append(dst []byte) []byte {
	bits := append([]byte(nil), f.bits[:]...)
	for len(bits) > 8 && f.entries*bloomBits <= 4*len(bits) {
		half := len(bits) / 2
		for i := range half {
			bits[i] |= bits[half+i]
		}
		bits = bits[:half]
	}
	return append(dst, bits...)
}

// inBloom asks a filter; its length is a power of two.
func inBloom(bits []byte, h uint64) bool {
	if len(bits) == 0 {
		return true
	}
	mask, step := uint64(8*len(bits)-1), h>>32|1
	for range bloomProbes {
		at := h & mask
		if bits[at/8]&(1<<(at%8)) == 0 {
			return false
		}
		h += step
	}
	return true
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

// hashWhole and hashBeginning are what add has entered for a topic s, and
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
