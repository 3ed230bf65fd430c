package hub

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"
	"time"

	"parley/msg"
)

// Idempotency keys: docs/adr/0006-idempotency-keys.md says why they are resolved
// here and not in the store.

// defaultKeyWindow is how long a key is remembered.
const defaultKeyWindow = 10 * time.Minute

// maxKey is the longest idempotency key in bytes.
const maxKey = 256

// keyCost is what one remembered key counts against Limits.KeyBytes: its entry
// in the ring (48 bytes) and in the map, with the room that both keep free.
const keyCost = 128

// keyChunk is how many keys one entry of the checkpoint's table holds.
const keyChunk = 1000

// digest is the first half of a SHA-256: enough that nobody finds two of them.
type digest [16]byte

// keyed is a publish with an idempotency key on its way through the committer.
type keyed struct {
	id  digest // of (user, key)
	sum digest // of what is published

	// owned by the committer; set anew for each attempt to commit
	verdict verdict
	first   *msg.Message // of this batch; nil: committed before
	offset  msg.Offset   // of one committed before
}

// verdict is what a key turned out to be.
type verdict uint8

const (
	keyFresh  verdict = iota // not seen before: it is stored
	keyRepeat                // the same again: answered like the first
	keyReused                // came before with something else
)

// newKeyed returns nil for a message without a key. It is called by the
// publisher's goroutine, because hashing a large payload takes its time.
func newKeyed(m *msg.Message) *keyed {
	if m.Key == "" {
		return nil
	}
	return &keyed{id: keyID(m.Origin.User, m.Key), sum: contentSum(m)}
}

func keyID(user, key string) digest {
	d := digester{sha256.New()}
	d.text(user)
	d.text(key)
	return d.digest()
}

// contentSum covers what makes two publishes the same one: topic, payload,
// properties, whether it is acknowledged and retained. A retry may come at
// another QoS above 0, over another protocol, with another expiry.
func contentSum(m *msg.Message) digest {
	d := digester{sha256.New()}
	flags := [5]byte{byte(m.Payload.Form), byte(m.Payload.Codec)}
	for i, on := range [...]bool{m.Payload.Text, m.QoS > 0, m.Retain} {
		if on {
			flags[2+i] = 1
		}
	}
	d.Write(flags[:])
	d.text(m.Topic)
	d.text(m.Payload.ContentType)
	d.bytes(m.Payload.Data)
	d.text(m.ResponseTopic)
	d.bytes(m.Correlation)
	for _, p := range m.User {
		d.text(p.Name)
		d.text(p.Value)
	}
	return d.digest()
}

// digester hashes fields, each behind its length.
type digester struct{ hash.Hash }

func (d digester) text(s string) { d.bytes([]byte(s)) }

func (d digester) bytes(b []byte) {
	d.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
	d.Write(b)
}

func (d digester) digest() digest { return digest(d.Sum(nil)[:16]) }

// keys remembers the keys of one namespace for a window of time, in no more
// than so much memory. Owned by the committer once the hub runs.
type keys struct {
	window time.Duration
	limit  int // keys

	where  map[digest]uint64 // number of the entry
	ring   []keyEntry        // in order of commits
	number uint64            // of ring[0]
	staged uint64            // entries below are in a checkpoint, or about to be
	chunks []chunkOfKeys     // in the checkpoint's table, in order
}

type keyEntry struct {
	id, sum digest
	offset  msg.Offset
	at      int64 // Unix milliseconds of the commit
}

// chunkOfKeys is an entry of the checkpoint's table; its keys are numbered below
// end.
type chunkOfKeys struct {
	name string
	end  uint64
}

func newKeys(window time.Duration, bytes int) *keys {
	return &keys{window: window, limit: max(1, bytes/keyCost), where: map[digest]uint64{}}
}

func (k *keys) over(at int64) bool { return at+k.window.Milliseconds() <= now() }

// find looks a key up; nil if it has not been seen, or not for the window.
func (k *keys) find(id digest) *keyEntry {
	n, ok := k.where[id]
	if !ok {
		return nil
	}
	if e := &k.ring[n-k.number]; !k.over(e.at) {
		return e
	}
	return nil
}

// add remembers a committed key and forgets what is too old or too much.
func (k *keys) add(e keyEntry) {
	if old := k.find(e.id); old != nil && old.offset == e.offset {
		return // from the checkpoint as well as from the log
	}
	k.where[e.id] = k.number + uint64(len(k.ring))
	k.ring = append(k.ring, e)
	k.prune()
}

func (k *keys) prune() {
	n := 0
	for n < len(k.ring) && (len(k.ring)-n > k.limit || k.over(k.ring[n].at)) {
		if k.where[k.ring[n].id] == k.number+uint64(n) {
			delete(k.where, k.ring[n].id)
		}
		n++
	}
	k.ring = k.ring[n:] // append moves the rest when the room is used up
	k.number += uint64(n)
	if n > 0 && len(k.ring) == 0 {
		k.ring = nil
		k.where = map[digest]uint64{} // a map does not shrink
	}
}

// note remembers a message of the log at the start.
func (k *keys) note(m *msg.Message) {
	if m.Key != "" && !k.over(m.Time) {
		k.add(keyEntry{keyID(m.Origin.User, m.Key), contentSum(m), m.Offset, m.Time})
	}
}

// resolve decides what a publish with a key is, given those before it in the
// batch.
func (c *committer) resolve(o *op) {
	k := o.key
	k.verdict, k.first, k.offset = keyFresh, nil, 0
	at := batchKey{o.ns, k.id}
	if e := o.ns.keys.find(k.id); e != nil {
		k.offset = e.offset
		k.judge(e.sum)
	} else if first := c.keyed[at]; first != nil {
		k.first = first.m
		k.judge(first.key.sum)
	} else {
		c.keyed[at] = o
	}
}

func (k *keyed) judge(sum digest) {
	if k.verdict = keyRepeat; k.sum != sum {
		k.verdict = keyReused
	}
}

type batchKey struct {
	ns *namespace
	id digest
}

// appends tells whether an op's message goes into the log.
func (o *op) appends() bool { return o.stored && (o.key == nil || o.key.verdict == keyFresh) }

// depends tells whether an op's outcome is that of the batch: not if it only
// repeats what was committed before.
func (o *op) depends() bool {
	return o.control != nil || o.stored && (o.key == nil || o.key.verdict == keyFresh || o.key.first != nil)
}

// answer is the offset that the publisher is told.
func (o *op) answer() msg.Offset {
	switch k := o.key; {
	case o.err != nil || !o.stored:
		return 0
	case k == nil || k.verdict == keyFresh:
		return o.m.Offset
	case k.first != nil:
		return k.first.Offset
	default:
		return k.offset
	}
}

// noteKeys remembers the keys of a batch that is committed.
func (c *committer) noteKeys(ops []op) {
	if len(c.keyed) == 0 {
		return
	}
	for i := range ops {
		if o := &ops[i]; o.err == nil && o.key != nil && o.appends() {
			o.ns.keys.add(keyEntry{o.key.id, o.key.sum, o.m.Offset, o.m.Time})
		}
	}
}

const keysPrefix = "k/"

// stageKeys puts what has been added since the last time into the table, and
// takes out what is forgotten: ascending keys, so that it costs
// few pages. ns.mu is held.
func (ns *namespace) stageKeys() {
	k := ns.keys
	k.prune()
	k.staged = max(k.staged, k.number)
	for fresh := k.ring[k.staged-k.number:]; len(fresh) > 0; {
		n := min(len(fresh), keyChunk)
		k.staged += uint64(n)
		c := chunkOfKeys{fmt.Sprintf("%s%016x", keysPrefix, uint64(fresh[n-1].offset)), k.staged}
		ns.dirty[c.name] = encodeKeys(fresh[:n])
		k.chunks = append(k.chunks, c)
		fresh = fresh[n:]
	}
	for len(k.chunks) > 0 && k.chunks[0].end <= k.number {
		ns.dirty[k.chunks[0].name] = nil
		k.chunks = k.chunks[1:]
	}
}

const (
	keysVersion = 1
	keyRecord   = 48
)

func encodeKeys(es []keyEntry) []byte {
	b := make([]byte, 0, 1+keyRecord*len(es))
	b = append(b, keysVersion)
	for i := range es {
		b = append(append(b, es[i].id[:]...), es[i].sum[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(es[i].offset))
		b = binary.BigEndian.AppendUint64(b, uint64(es[i].at))
	}
	return b
}

// load takes a chunk from the table.
func (k *keys) load(name string, b []byte) error {
	if len(b) < 1+keyRecord || b[0] != keysVersion || len(b)%keyRecord != 1 {
		return fmt.Errorf("checkpoint of keys %q: %d bytes are no chunk of version %d", name, len(b), keysVersion)
	}
	var e keyEntry
	for b = b[1:]; len(b) > 0; b = b[keyRecord:] {
		copy(e.id[:], b)
		copy(e.sum[:], b[16:])
		e.offset, e.at = msg.Offset(binary.BigEndian.Uint64(b[32:])), int64(binary.BigEndian.Uint64(b[40:]))
		if !k.over(e.at) {
			k.add(e)
		}
	}
	k.staged = k.number + uint64(len(k.ring))
	k.chunks = append(k.chunks, chunkOfKeys{name, k.staged})
	return nil
}

func checkKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("%w: an idempotency key of %d bytes, %d are allowed", msg.ErrTooLarge, len(key), maxKey)
	}
	return nil
}

func isKeys(name string) bool { return strings.HasPrefix(name, keysPrefix) }
