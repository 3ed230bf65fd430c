package persist_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/persisttest"
)

func encode(t testing.TB, m *msg.Message, at msg.Offset, time int64) []byte {
	t.Helper()
	rec, err := persist.AppendRecord(nil, m, at, time)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestRecordKeepsEveryField(t *testing.T) {
	for n := range 10 {
		want := persisttest.Full(n)
		got, err := persist.DecodeRecord(encode(t, want, 77, 1234567890123), 77)
		if err != nil {
			t.Fatal(err)
		}
		want.Offset, want.Time = 77, 1234567890123
		if d := persisttest.Diff(got, want); d != "" {
			t.Fatal(d)
		}
	}
}

func TestRecordRoundTripOfRandomMessages(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		want, at, time := persisttest.Random(r), msg.Offset(r.Uint64()), int64(r.Uint64())
		rec := encode(t, want, at, time)
		got, err := persist.DecodeRecord(rec, at)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want.Offset, want.Time = at, time
		if d := persisttest.Diff(got, want); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		if topic, err := persist.RecordTopic(rec); err != nil || string(topic) != want.Topic {
			t.Fatalf("seed %d: topic %q, %v, want %q", seed, topic, err, want.Topic)
		}
		if ms, ok := persist.RecordTime(rec); !ok || ms != time {
			t.Fatalf("seed %d: RecordTime %d %v, want %d", seed, ms, ok, time)
		}
	}
}

func TestRecordIsCompact(t *testing.T) {
	m := &msg.Message{Topic: "t/1", QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}
	if n := len(encode(t, m, 1, 1_790_000_000_000)); n > 256+3+16 {
		t.Errorf("a plain message takes %d bytes besides topic and payload", n-256-3)
	}
}

func TestRecordDetectsEveryFlippedBitAndEveryTear(t *testing.T) {
	rec := encode(t, persisttest.Full(1), 9, 1)
	for i := range len(rec) * 8 {
		bad := bytes.Clone(rec)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := persist.DecodeRecord(bad, 9); !errors.Is(err, persist.ErrCorrupt) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for n := range rec {
		if _, err := persist.DecodeRecord(rec[:n], 9); !errors.Is(err, persist.ErrCorrupt) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
	if _, err := persist.DecodeRecord(append(bytes.Clone(rec), 0), 9); !errors.Is(err, persist.ErrCorrupt) {
		t.Fatalf("a byte too many: %v", err)
	}
	if _, err := persist.DecodeRecord(rec, 10); !errors.Is(err, persist.ErrCorrupt) {
		t.Fatalf("under another offset: %v", err)
	}
}

// reseal writes the checksum that the record's bytes ask for.
func reseal(rec []byte, at uint64) []byte {
	tab := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(binary.BigEndian.AppendUint64(nil, at), tab)
	sum = crc32.Update(crc32.Update(sum, tab, rec[:1]), tab, rec[5:])
	binary.LittleEndian.PutUint32(rec[1:], sum)
	return rec
}

func TestRecordOfNewerVersion(t *testing.T) {
	rec := encode(t, persisttest.Full(1), 9, 1)
	rec[0]++
	if _, err := persist.DecodeRecord(reseal(rec, 9), 9); !errors.Is(err, persist.ErrNewer) || errors.Is(err, persist.ErrCorrupt) {
		t.Fatalf("got %v, want ErrNewer", err)
	}
	rec[0] = 0
	if _, err := persist.DecodeRecord(reseal(rec, 9), 9); !errors.Is(err, persist.ErrCorrupt) {
		t.Fatalf("version 0: got %v, want ErrCorrupt", err)
	}
}

func TestRecordRefusesWhatItCannotHold(t *testing.T) {
	for _, m := range []*msg.Message{
		{Topic: "t", QoS: 3},
		{Topic: "t", Payload: msg.Payload{Form: 2}},
		{Topic: "t", Payload: msg.Payload{Codec: 3}},
		{Topic: "t", Payload: msg.Bytes(make([]byte, persist.MaxRecord+1))},
	} {
		if rec, err := persist.AppendRecord([]byte("kept"), m, 1, 1); err == nil || string(rec) != "kept" {
			t.Errorf("QoS %d form %d codec %d: %q, %v", m.QoS, m.Payload.Form, m.Payload.Codec, rec[:4], err)
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	m := &msg.Message{Topic: "site/1/sensor/7", QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = persist.AppendRecord(buf[:0], m, 1, 1_790_000_000_000)
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	m := &msg.Message{Topic: "site/1/sensor/7", QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}
	rec := encode(b, m, 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := persist.DecodeRecord(rec, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzDecodeRecord: nothing panics, and whatever decodes has exactly the
// encoding it came from (but for the checksum, which is repaired so that the
// fuzzer gets past it).
func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte{}, uint64(0))
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		f.Add(encode(f, persisttest.Random(r), 5, 6), uint64(5))
	}
	f.Fuzz(func(t *testing.T, rec []byte, at uint64) {
		_, _ = persist.DecodeRecord(rec, msg.Offset(at))
		_, _ = persist.RecordTime(rec)
		if len(rec) < 5 {
			return
		}
		_, _ = persist.RecordTopic(rec) // of a damaged one: an error or anything, no panic
		rec = reseal(bytes.Clone(rec), at)
		m, err := persist.DecodeRecord(rec, msg.Offset(at))
		if err != nil {
			if !errors.Is(err, persist.ErrCorrupt) && !errors.Is(err, persist.ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if topic, err := persist.RecordTopic(rec); err != nil || string(topic) != m.Topic {
			t.Fatalf("topic %q, %v, want %q", topic, err, m.Topic)
		}
		if again := encode(t, m, msg.Offset(at), m.Time); !bytes.Equal(again, rec) {
			t.Fatalf("another encoding:\n%x\n%x", rec, again)
		}
	})
}
