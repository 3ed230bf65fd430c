package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"parley/msg"
	"parley/persist"
)

// FileName is the store's file in its directory.
const FileName = "parley.db"

// formatVersion is the newest layout this package reads and the one it writes.
// Format 1 had class 0 only, no index and no summaries; it is read and brought
// up to date (see upgrade).
const formatVersion = 2

const (
	keyFormat   = "format"
	keySpaces   = "spaces"
	keySegments = "segments"
	keyInfo     = "info"
	rootName    = "parley"
)

// maxName bounds a namespace's name in bytes.
const maxName = 1024

func infoName(namespace string) []byte { return append([]byte{'n'}, namespace...) }

func controlsName(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{'c'}, id) }

func tableName(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{'t'}, id) }

func indexName(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{'x'}, id) }

func keptName(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{'k'}, id) }

func droppedName(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{'d'}, id) }

// bucketsOf lists the buckets that every namespace has, but for the segments.
func bucketsOf(name string, id uint32) [][]byte {
	return [][]byte{infoName(name), controlsName(id), tableName(id), indexName(id), keptName(id), droppedName(id)}
}

const segmentNameLen = 1 + 4 + 1 + 8

// segmentKeyLen is the length of what names a segment in index and summaries.
const segmentKeyLen = 1 + 8

func appendSegmentKey(dst []byte, class byte, base msg.Offset) []byte {
	return binary.BigEndian.AppendUint64(append(dst, class), uint64(base))
}

func appendSegmentName(dst []byte, id uint32, class byte, base msg.Offset) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, 's'), id)
	return appendSegmentKey(dst, class, base)
}

// seal appends value with a checksum over key and value.
func seal(dst []byte, key, value []byte) []byte {
	dst = append(dst, 0, 0, 0, 0)
	start := len(dst)
	dst = append(dst, value...)
	return sealed(dst, start, key)
}

// sealed fills in the checksum in the four bytes before start, for a value that
// was written from start on.
func sealed(dst []byte, start int, key []byte) []byte {
	binary.LittleEndian.PutUint32(dst[start-4:], sum(key, dst[start:]))
	return dst
}

var errSeal = errors.New("checksum mismatch")

// unseal returns what was sealed, aliasing b.
func unseal(key, b []byte) ([]byte, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != sum(key, b[4:]) {
		return nil, errSeal
	}
	return b[4:], nil
}

func sum(key, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, value)
}

// info is what is written about a namespace when it is created, at a checkpoint
// and by Drop and Forget, never in the commit of a message.
type info struct {
	id        uint32
	epoch     [16]byte
	at        msg.Offset
	atControl uint64
	first     msg.Offset // oldest message in a segment, or the next one if there is none
	time      int64      // lower bound of the next message's
	table     uint64     // entries of the checkpoint table
	head      msg.Offset // lower bound of the newest message's offset
	dropped   uint64     // messages that are in no segment any more
	sparse    msg.Offset // up to here messages may be missing, beyond it none is
	unknown   msg.Offset // what was dropped up to here is not known in detail
	kept      uint64     // messages that Drop has kept
	summaries uint64     // of dropped segments
}

const (
	infoLen1 = 4 + 16 + 5*8
	infoLen  = infoLen1 + 6*8
)

func (i *info) encode(namespace string) []byte {
	b := binary.BigEndian.AppendUint32(nil, i.id)
	b = append(b, i.epoch[:]...)
	for _, v := range [...]uint64{
		uint64(i.at), i.atControl, uint64(i.first), uint64(i.time), i.table,
		uint64(i.head), i.dropped, uint64(i.sparse), uint64(i.unknown), i.kept, i.summaries,
	} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return seal(nil, []byte(namespace), b)
}

func (i *info) decode(namespace string, b []byte) error {
	b, err := unseal([]byte(namespace), b)
	if err != nil {
		return err
	}
	if len(b) != infoLen && len(b) != infoLen1 {
		return fmt.Errorf("%d bytes", len(b))
	}
	i.id = binary.BigEndian.Uint32(b)
	copy(i.epoch[:], b[4:])
	u := func(n int) uint64 { return binary.BigEndian.Uint64(b[20+8*n:]) }
	i.at, i.atControl, i.first, i.time, i.table = msg.Offset(u(0)), u(1), msg.Offset(u(2)), int64(u(3)), u(4)
	if i.first == 0 {
		return errShape
	}
	if len(b) == infoLen1 { // format 1: dropped from the front only
		i.head = i.first - 1
		i.dropped, i.sparse, i.unknown = uint64(i.head), i.head, i.head
		return nil
	}
	i.head, i.dropped, i.sparse, i.unknown, i.kept, i.summaries = msg.Offset(u(5)), u(6), msg.Offset(u(7)), msg.Offset(u(8)), u(9), u(10)
	return nil
}

func (i *info) epochName() string { return hex.EncodeToString(i.epoch[:]) }

// appendControl appends c's sealed value. The key is its sequence number; of is
// the offset of the message that it belongs to, if it does.
func appendControl(dst []byte, c *persist.Control, of uint64, key []byte) []byte {
	dst = append(dst, 0, 0, 0, 0)
	start := len(dst)
	gone := byte(0)
	if c.Value == nil && c.Of == 0 {
		gone = 1
	}
	dst = append(dst, c.Kind, gone)
	dst = binary.AppendUvarint(dst, uint64(len(c.Key)))
	dst = append(dst, c.Key...)
	if c.Of != 0 {
		dst = binary.BigEndian.AppendUint64(dst, of)
	}
	dst = append(dst, c.Value...)
	return sealed(dst, start, key)
}

var errShape = errors.New("malformed")

// decodeControl copies everything it returns.
func decodeControl(namespace string, key, b []byte) (c persist.Control, err error) {
	if b, err = unseal(key, b); err != nil {
		return c, err
	}
	if len(key) != 8 || len(b) < 3 || b[1] > 1 {
		return c, errShape
	}
	n, w := binary.Uvarint(b[2:])
	if w <= 0 || n > uint64(len(b)-2-w) {
		return c, errShape
	}
	rest := b[2+w:]
	c = persist.Control{Namespace: namespace, Seq: binary.BigEndian.Uint64(key), Kind: b[0], Key: string(rest[:n])}
	if b[1] == 0 {
		c.Value = append([]byte{}, rest[n:]...)
	}
	return c, nil
}

// longKey is the length from which a table's key is stored as its beginning and
// a hash: bbolt's keys end at 32 KiB, a topic at 64 KiB.
const longKey = 16 << 10

// appendTableKey appends the bucket's key for a table's key. The byte in front
// allows for an empty key. Keys keep their order, but for long ones that have
// their beginning in common.
func appendTableKey(dst []byte, key string) []byte {
	dst = append(dst, 0)
	if len(key) <= longKey {
		return append(dst, key...)
	}
	h := sha256.Sum256([]byte(key))
	return append(append(dst, key[:longKey]...), h[:]...)
}

func isLong(bucketKey []byte) bool { return len(bucketKey) > 1+longKey }

// appendTableValue appends the sealed value; long keys are in it in full.
func appendTableValue(dst []byte, p *persist.Put, bucketKey []byte) []byte {
	dst = append(dst, 0, 0, 0, 0)
	start := len(dst)
	if isLong(bucketKey) {
		dst = binary.AppendUvarint(dst, uint64(len(p.Key)))
		dst = append(dst, p.Key...)
	}
	dst = append(dst, p.Value...)
	return sealed(dst, start, bucketKey)
}

// decodePut copies everything it returns.
func decodePut(bucketKey, b []byte) (p persist.Put, err error) {
	if b, err = unseal(bucketKey, b); err != nil {
		return p, err
	}
	if len(bucketKey) == 0 {
		return p, errShape
	}
	p.Key = string(bucketKey[1:])
	if isLong(bucketKey) {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return p, errShape
		}
		p.Key, b = string(b[w:w+int(n)]), b[w+int(n):]
	}
	p.Value = append([]byte{}, b...)
	return p, nil
}
