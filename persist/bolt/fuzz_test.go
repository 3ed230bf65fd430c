package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"parley/msg"
	"parley/persist"
)

// FuzzVerify: no content of a file makes the proof of its structure panic or
// run for ever, and a file is refused as corrupt, not otherwise.
func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, FileName)
	if err := create(dir, path); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMeta(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, persist.ErrCorrupt) {
				t.Fatal(err)
			}
			// Let the fuzzer into the pages all the same.
			m = metaPage{pageSize: 4096, root: 3, freelist: noFreelist, pages: uint64(len(b) / 4096)}
		}
		if _, err := verify(bytes.NewReader(b), m); err != nil && !errors.Is(err, persist.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// FuzzIndex: no index makes a reader panic or run for ever, and a block that
// is decoded is asked about without a panic.
func FuzzIndex(f *testing.F) {
	x, g := newIndex(5), segment{base: 5}
	for i := range 2000 {
		at := msg.Offset(5 + i)
		x.add(fmt.Sprintf("t/%d/%d", i/700, i%(1+i/7)), at, 300)
		g.count(at, 300, 1)
	}
	f.Add(x.encode(&g))
	q := newQuery([]msg.Filter{{Pattern: "a/b"}, {Pattern: "a/#"}, {Kind: msg.FilterPrefix, Pattern: "x/y"}})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, blocks, err := decodeIndex(b, 5)
		if err != nil {
			return
		}
		_, _ = q.mayHoldAny(blocks, 5)
		for len(blocks) > 0 && err == nil {
			rest := blocks
			if _, blocks, err = nextBlock(rest, 5); err == nil && len(blocks) >= len(rest) {
				t.Fatal("a block without an end")
			}
		}
	})
}

// FuzzDecodeValues: whatever lies under a valid checksum is decoded or refused,
// and what is decoded encodes to the same.
func FuzzDecodeValues(f *testing.F) {
	key := []byte{0, 0, 0, 0, 0, 0, 0, 7}
	f.Add(key, appendControl(nil, &persist.Control{Kind: 3, Key: "k", Value: []byte("v")}, 0, key)[4:])
	long := appendTableKey(nil, string(make([]byte, longKey+1)))
	f.Add(long, appendTableValue(nil, &persist.Put{Key: string(make([]byte, longKey+1)), Value: []byte("v")}, long)[4:])
	i := info{id: 1, at: 2}
	f.Add([]byte("a"), i.encode("a")[4:])
	f.Fuzz(func(t *testing.T, key, value []byte) {
		sealed := seal(nil, key, value)
		if c, err := decodeControl("n", key, sealed); err == nil && len(c.Key) < 128 && c.Value != nil {
			if again := appendControl(nil, &c, 0, key); !bytes.Equal(again, sealed) && value[2] < 128 {
				t.Errorf("control: %x, then %x", sealed, again)
			}
		}
		if p, err := decodePut(key, sealed); err == nil && !isLong(key) {
			if again := appendTableValue(nil, &p, key); !bytes.Equal(again, sealed) || key[0] == 0 && !bytes.Equal(appendTableKey(nil, p.Key), key) {
				t.Errorf("put: %x, then %x", sealed, again)
			}
		}
		var i info
		if err := i.decode(string(key), sealed); err == nil {
			again := i.encode(string(key))
			var j info
			// One of format 1 encodes to more.
			if err := j.decode(string(key), again); err != nil || i != j || len(again) == len(sealed) && !bytes.Equal(again, sealed) {
				t.Errorf("info: %+v, then %+v, %v", i, j, err)
			}
		}
		if len(sealed) > 4 {
			sealed[4] ^= 1
			if _, err := decodePut(key, sealed); err == nil {
				t.Error("a flipped bit was not noticed")
			}
		}
	})
}
