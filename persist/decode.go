package persist

import (
	"encoding/binary"
	"fmt"

	"parley/msg"
)

// DecodeRecord is the inverse of AppendRecord: rec must be exactly one record
// stored under offset at. Nothing of rec is kept; the message and its slices
// belong to the caller. Payload.Data of length zero and empty property lists
// come back nil. The error is ErrCorrupt, or ErrNewer for an undamaged record
// of a later version.
func DecodeRecord(rec []byte, at msg.Offset) (*msg.Message, error) {
	if err := CheckRecord(rec, at); err != nil {
		return nil, err
	}
	d := decoder{rest: rec[recordHead:]}
	m := d.message()
	if d.bad != "" {
		return nil, fmt.Errorf("record: %s: %w", d.bad, ErrCorrupt)
	}
	m.Offset = at
	return m, nil
}

// CheckRecord tells whether rec is undamaged, was stored under offset at and
// has a version that DecodeRecord knows; errors as there.
func CheckRecord(rec []byte, at msg.Offset) error {
	if len(rec) < recordHead || len(rec) > MaxRecord {
		return fmt.Errorf("record of %d bytes: %w", len(rec), ErrCorrupt)
	}
	if got, want := binary.LittleEndian.Uint32(rec[1:]), recordSum(rec, at); got != want {
		return fmt.Errorf("record checksum %08x, want %08x: %w", got, want, ErrCorrupt)
	}
	if rec[0] > recordVersion {
		return fmt.Errorf("record version %d, this broker knows up to %d: %w", rec[0], recordVersion, ErrNewer)
	}
	if rec[0] != recordVersion {
		return fmt.Errorf("record version %d: %w", rec[0], ErrCorrupt)
	}
	return nil
}

// RecordTime reads only the time of a record, without checking it.
func RecordTime(rec []byte) (int64, bool) {
	if len(rec) < recordHead+3 || rec[0] != recordVersion {
		return 0, false
	}
	t, n := binary.Varint(rec[recordHead+3:])
	return t, n > 0
}

// RecordTopic finds the topic of a record that CheckRecord has passed, without
// decoding it; the slice is part of rec. The error is ErrCorrupt.
func RecordTopic(rec []byte) ([]byte, error) {
	d := decoder{rest: rec[recordHead:]}
	if len(d.rest) < 3 {
		return nil, fmt.Errorf("record: flags missing: %w", ErrCorrupt)
	}
	flags := uint32(d.rest[0]) | uint32(d.rest[1])<<8 | uint32(d.rest[2])<<16
	d.rest = d.rest[3:]
	d.uvarint() // time
	d.skip(flags)
	topic := d.bytes()
	if d.bad != "" {
		return nil, fmt.Errorf("record: %s: %w", d.bad, ErrCorrupt)
	}
	return topic, nil
}

// skip passes over what the flags announce between time and topic.
func (d *decoder) skip(flags uint32) {
	if flags&flagVia == flagVia {
		d.bytes()
	}
	if flags&flagExpires != 0 {
		d.uvarint()
	}
	for _, f := range [...]uint32{flagType, flagResponse, flagCorr} {
		if flags&f != 0 {
			d.bytes()
		}
	}
	if flags&flagUser != 0 {
		for range 2 * d.count(2) {
			d.bytes()
		}
	}
	if flags&flagSession != 0 {
		d.uvarint()
	}
	if flags&flagOrigin != 0 {
		d.bytes()
		d.bytes()
	}
	if flags&flagRestrict != 0 {
		d.skipRestriction()
	}
	if flags&flagKey != 0 {
		d.bytes()
	}
}

func (d *decoder) skipRestriction() {
	if len(d.rest) == 0 {
		d.fail("restriction missing")
		return
	}
	present := d.rest[0]
	d.rest = d.rest[1:]
	for i := range 6 {
		if present&(1<<i) == 0 {
			continue
		}
		for range d.count(1) {
			if i < 2 {
				d.uvarint()
			} else {
				d.bytes()
			}
		}
	}
}

// decoder takes fields off the front of rest. After the first fault (bad) all
// further fields are zero.
type decoder struct {
	rest []byte
	bad  string
}

func (d *decoder) message() *msg.Message {
	m := &msg.Message{}
	if len(d.rest) < 3 {
		d.fail("flags missing")
		return m
	}
	flags := uint32(d.rest[0]) | uint32(d.rest[1])<<8 | uint32(d.rest[2])<<16
	d.rest = d.rest[3:]
	d.smallFields(m, flags)
	m.Time = d.varint()
	if flags&flagVia == flagVia {
		m.Via = d.required("via")
		for i := range viaKnown {
			if m.Via == viaName(i) {
				d.fail("via spelt out")
			}
		}
	}
	if flags&flagExpires != 0 {
		if m.Expires = d.varint(); m.Expires == 0 {
			d.fail("expiry zero")
		}
	}
	if flags&flagType != 0 {
		m.Payload.ContentType = d.required("content type")
	}
	if flags&flagResponse != 0 {
		m.ResponseTopic = d.required("response topic")
	}
	if flags&flagCorr != 0 {
		m.Correlation = append([]byte{}, d.bytes()...)
	}
	if flags&flagUser != 0 {
		m.User = d.properties()
	}
	if flags&flagSession != 0 {
		if m.Origin.Session = d.uvarint(); m.Origin.Session == 0 {
			d.fail("session zero")
		}
	}
	if flags&flagOrigin != 0 {
		m.Origin.User, m.Origin.Role = string(d.bytes()), string(d.bytes())
		if m.Origin.User == "" && m.Origin.Role == "" {
			d.fail("origin empty")
		}
	}
	if flags&flagRestrict != 0 {
		m.Restrict = d.restriction()
	}
	if flags&flagKey != 0 {
		m.Key = d.required("idempotency key")
	}
	m.Topic = string(d.bytes())
	if len(d.rest) > 0 && d.bad == "" {
		m.Payload.Data = append([]byte(nil), d.rest...)
	}
	return m
}

// smallFields reads what lies in the flags themselves.
func (d *decoder) smallFields(m *msg.Message, flags uint32) {
	if flags&^uint32(flagsKnown) != 0 {
		d.fail("unknown flags")
	}
	m.QoS = msg.QoS(flags & flagQoS)
	m.Payload.Codec = msg.Codec(flags & flagCodec >> shiftCodec)
	if m.QoS > 2 || m.Payload.Codec > msg.CodecCBOR {
		d.fail("QoS or codec out of range")
	}
	if via := int(flags & flagVia >> shiftVia); via < viaKnown {
		m.Via = viaName(via)
	} else if via != viaOther {
		d.fail("via out of range")
	}
	if flags&flagArgs != 0 {
		m.Payload.Form = msg.FormArgs
	}
	m.Retain = flags&flagRetain != 0
	m.Payload.Text = flags&flagText != 0
	m.NoEcho = flags&flagNoEcho != 0
	m.Origin.Disclose = flags&flagDisclose != 0
}

func (d *decoder) properties() []msg.Property {
	n := d.count(2)
	if n == 0 {
		d.fail("no properties")
		return nil
	}
	ps := make([]msg.Property, n)
	for i := range ps {
		ps[i].Name, ps[i].Value = string(d.bytes()), string(d.bytes())
	}
	return ps
}

func (d *decoder) restriction() *msg.Restriction {
	r := &msg.Restriction{}
	if len(d.rest) == 0 {
		d.fail("restriction missing")
		return r
	}
	present := d.rest[0]
	d.rest = d.rest[1:]
	if present&^0x3f != 0 {
		d.fail("unknown restriction")
	}
	for i, l := range [...]*[]uint64{&r.Sessions, &r.ExcludeSessions} {
		if present&(1<<i) == 0 {
			continue
		}
		*l = make([]uint64, d.count(1))
		for j := range *l {
			(*l)[j] = d.uvarint()
		}
	}
	for i, l := range [...]*[]string{&r.Users, &r.ExcludeUsers, &r.Roles, &r.ExcludeRoles} {
		if present&(4<<i) == 0 {
			continue
		}
		*l = make([]string, d.count(1))
		for j := range *l {
			(*l)[j] = string(d.bytes())
		}
	}
	return r
}

func (d *decoder) fail(what string) {
	if d.bad == "" {
		d.bad = what
	}
	d.rest = nil
}

// uvarint reads a minimal varint.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		d.fail("bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads the number of elements that follow, each of at least size bytes,
// so that no lie about it makes us allocate more than the record is long times
// a small factor.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail("count beyond the end")
		return 0
	}
	return int(n)
}

// bytes reads a length and that many bytes; they alias the record.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail("length beyond the end")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// required reads a string that is only written when it is not empty.
func (d *decoder) required(what string) string {
	s := string(d.bytes())
	if s == "" {
		d.fail(what + " empty")
	}
	return s
}
