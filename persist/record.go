package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"parley/msg"
)

// MaxRecord bounds an encoded message in bytes: the largest MQTT packet
// (256 MiB, MQTT 5 section 1.5.5) and room for what the broker adds.
const MaxRecord = 257 << 20

// recordVersion is the newest layout that DecodeRecord knows. The first five
// bytes (version, checksum) keep their meaning in all versions, so that a
// record of a newer broker is told from a damaged one.
//
//	byte 0      version
//	bytes 1-4   CRC-32C (Castagnoli), little endian, over the offset (8 bytes
//	            big endian), the version and everything from byte 5 on
//	bytes 5-7   flags, see below
//	then        time, zigzag varint
//	then        what the flags announce, in the order of the flags
//	then        topic: length, bytes
//	rest        payload
//
// Lengths and numbers are minimal LEB128 varints: every message has exactly one
// encoding. The offset is the record's key; it is in the checksum so that a
// record found under another key is detected.
const recordVersion = 1

const recordHead = 5

// Flags. QoS, Via and Codec are small numbers, the rest single bits.
const (
	flagQoS      = 3 << 0 // 0..2
	flagRetain   = 1 << 2
	flagArgs     = 1 << 3 // FormArgs
	flagCodec    = 3 << 4 // 0..2
	flagText     = 1 << 6
	flagNoEcho   = 1 << 7
	flagDisclose = 1 << 8
	flagVia      = 7 << 9 // index in viaNames; 7: a string follows
	flagExpires  = 1 << 12
	flagType     = 1 << 13
	flagResponse = 1 << 14
	flagCorr     = 1 << 15
	flagUser     = 1 << 16
	flagSession  = 1 << 17
	flagOrigin   = 1 << 18 // user and role of the publisher
	flagRestrict = 1 << 19
	flagKey      = 1 << 20
	flagsKnown   = 1<<21 - 1

	shiftCodec = 4
	shiftVia   = 9
	viaOther   = 7
)

// viaName lists the publishers' protocol families that take no room.
func viaName(i int) string {
	return [...]string{"", msg.ViaMQTT, msg.ViaWAMP, msg.ViaJSON, msg.ViaHTTP, msg.ViaSelf}[i]
}

const viaKnown = 6

// castagnoli is the table of the standard library, which is made once and
// never changed.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// keySum starts a checksum with an offset, 8 bytes big endian. It is the plain
// table algorithm, because the library's would move the bytes to the heap.
func keySum(at msg.Offset) uint32 {
	table, crc := castagnoli(), ^uint32(0)
	for i := 56; i >= 0; i -= 8 {
		crc = table[byte(crc)^byte(at>>i)] ^ crc>>8
	}
	return ^crc
}

// errRecord: a field holds a value outside of its range.
var errRecord = errors.New("record cannot be encoded")

// AppendRecord appends m's record under the given offset and time (Unix
// milliseconds) to dst. m is not changed; its Offset, Time, After and Serial
// are not part of the record. The error is msg.ErrTooLarge (over MaxRecord), or
// names the field that holds a value outside of its range.
func AppendRecord(dst []byte, m *msg.Message, at msg.Offset, time int64) ([]byte, error) {
	if err := encodable(m); err != nil {
		return dst, err
	}
	flags := recordFlags(m)
	start := len(dst)
	dst = append(dst, recordVersion, 0, 0, 0, 0, byte(flags), byte(flags>>8), byte(flags>>16))
	dst = binary.AppendVarint(dst, time)
	if flags&flagVia == flagVia {
		dst = appendString(dst, m.Via)
	}
	if flags&flagExpires != 0 {
		dst = binary.AppendVarint(dst, m.Expires)
	}
	if flags&flagType != 0 {
		dst = appendString(dst, m.Payload.ContentType)
	}
	if flags&flagResponse != 0 {
		dst = appendString(dst, m.ResponseTopic)
	}
	if flags&flagCorr != 0 {
		dst = appendBytes(dst, m.Correlation)
	}
	if flags&flagUser != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(m.User)))
		for i := range m.User {
			dst = appendString(dst, m.User[i].Name)
			dst = appendString(dst, m.User[i].Value)
		}
	}
	if flags&flagSession != 0 {
		dst = binary.AppendUvarint(dst, m.Origin.Session)
	}
	if flags&flagOrigin != 0 {
		dst = appendString(dst, m.Origin.User)
		dst = appendString(dst, m.Origin.Role)
	}
	if flags&flagRestrict != 0 {
		dst = appendRestriction(dst, m.Restrict)
	}
	if flags&flagKey != 0 {
		dst = appendString(dst, m.Key)
	}
	dst = appendString(dst, m.Topic)
	dst = append(dst, m.Payload.Data...)
	rec := dst[start:]
	if len(rec) > MaxRecord {
		return dst[:start], fmt.Errorf("encode record of %d bytes: %w", len(rec), msg.ErrTooLarge)
	}
	binary.LittleEndian.PutUint32(rec[1:], recordSum(rec, at))
	return dst, nil
}

func encodable(m *msg.Message) error {
	switch {
	case m.QoS > 2:
		return fmt.Errorf("%w: QoS %d", errRecord, m.QoS)
	case m.Payload.Form > msg.FormArgs:
		return fmt.Errorf("%w: payload form %d", errRecord, m.Payload.Form)
	case m.Payload.Codec > msg.CodecCBOR:
		return fmt.Errorf("%w: codec %d", errRecord, m.Payload.Codec)
	case len(m.Payload.Data) > MaxRecord:
		return fmt.Errorf("encode payload of %d bytes: %w", len(m.Payload.Data), msg.ErrTooLarge)
	}
	return nil
}

func recordFlags(m *msg.Message) (f uint32) {
	f = uint32(m.QoS) | uint32(m.Payload.Codec)<<shiftCodec
	via := viaOther
	for i := range viaKnown {
		if viaName(i) == m.Via {
			via = i
		}
	}
	f |= uint32(via) << shiftVia
	for _, b := range [...]struct {
		on   bool
		flag uint32
	}{
		{m.Retain, flagRetain},
		{m.Payload.Form == msg.FormArgs, flagArgs},
		{m.Payload.Text, flagText},
		{m.NoEcho, flagNoEcho},
		{m.Origin.Disclose, flagDisclose},
		{m.Expires != 0, flagExpires},
		{m.Payload.ContentType != "", flagType},
		{m.ResponseTopic != "", flagResponse},
		{m.Correlation != nil, flagCorr},
		{len(m.User) > 0, flagUser},
		{m.Origin.Session != 0, flagSession},
		{m.Origin.User != "" || m.Origin.Role != "", flagOrigin},
		{m.Restrict != nil, flagRestrict},
		{m.Key != "", flagKey},
	} {
		if b.on {
			f |= b.flag
		}
	}
	return f
}

// appendRestriction writes one byte that says which lists are not nil (an empty
// whitelist is not a nil one), then those lists.
func appendRestriction(dst []byte, r *msg.Restriction) []byte {
	at := len(dst)
	dst = append(dst, 0)
	for i, l := range [...][]uint64{r.Sessions, r.ExcludeSessions} {
		if l == nil {
			continue
		}
		dst[at] |= 1 << i
		dst = binary.AppendUvarint(dst, uint64(len(l)))
		for _, id := range l {
			dst = binary.AppendUvarint(dst, id)
		}
	}
	for i, l := range [...][]string{r.Users, r.ExcludeUsers, r.Roles, r.ExcludeRoles} {
		if l == nil {
			continue
		}
		dst[at] |= 4 << i
		dst = binary.AppendUvarint(dst, uint64(len(l)))
		for _, s := range l {
			dst = appendString(dst, s)
		}
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// recordSum is the checksum that belongs into rec[1:5].
func recordSum(rec []byte, at msg.Offset) uint32 {
	sum := crc32.Update(keySum(at), castagnoli(), rec[:1])
	return crc32.Update(sum, castagnoli(), rec[recordHead:])
}
