package persist

import (
	"errors"

	"parley/msg"
)

// Errors of a Store. They are returned wrapped, with the cause.
var (
	// ErrFull: no space left, or the configured size is reached. Nothing of the
	// batch was stored, the store works on, reads go on; try again later.
	ErrFull = errors.New("store: full")
	// ErrFailed: a write or sync failed in a way that leaves unknown what is on
	// disk. The store never acknowledges again; it must be reopened.
	ErrFailed = errors.New("store: failed")
	// ErrCorrupt: a record, page or format on disk is not what was written. The
	// error names file and offset.
	ErrCorrupt = errors.New("store: corrupt")
	// ErrNewer: the file was written by a newer format than this one knows.
	ErrNewer = errors.New("store: newer format")
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("store: locked by another process")
	// ErrClosed: call after Close.
	ErrClosed = errors.New("store: closed")
	// ErrNoNamespace: the namespace was not opened.
	ErrNoNamespace = errors.New("store: no such namespace")
	// ErrSegment: the segment is not the oldest of its class, or it is another
	// one by now; ask Segments again.
	ErrSegment = errors.New("store: not the oldest segment of its class, or changed since")
)

// Classes is how many retention classes a namespace has, numbered from 0.
const Classes = 8

// Append is one message for one namespace's log.
type Append struct {
	Namespace string
	Class     uint8        // retention class, below Classes; offsets run over all of them
	Message   *msg.Message // Offset and Time are set by Commit
}

// Control is a state change that must be atomic with the messages of its batch
// (a will, later QoS 2 states and sessions). Controls have their own ascending
// key space (Seq) and no offset.
type Control struct {
	Namespace string
	Seq       uint64 // set by Commit, strictly growing within the namespace
	Kind      uint8  // chosen by hub
	Key       string // what it is about, e.g. a session's name
	Value     []byte // hub's encoding; nil = the thing is gone
	// Of ties the control to a message: 1 + the index of an append of the same
	// batch, whose offset the store puts in front of Value, 8 bytes big endian.
	// It is there when done runs (in a new slice, never nil). 0: none.
	Of int
}

// Checkpoint is hub's lazily written memory: sorted puts into a keyed table,
// valid at a position. After a start hub applies the table and then everything
// in the log and among the controls beyond that position.
type Checkpoint struct {
	Namespace string
	At        msg.Offset // the table includes the effect of all messages up to and with At
	AtControl uint64     // … and of all controls up to and with AtControl; these may be deleted
	Puts      []Put      // sorted by Key; only what changed since the last checkpoint
}

// Put sets or (Value nil) deletes one key of a namespace's table.
type Put struct {
	Key   string
	Value []byte
}

// Batch is what one commit makes durable.
type Batch struct {
	Appends     []Append
	Controls    []Control
	Checkpoints []Checkpoint
}

// Info is a namespace's state as known at opening (Epoch, Checkpoint positions) and now (First, Head).
type Info struct {
	Epoch string // names the log; changes when the store is replaced or restored
	// First and Head are the oldest and newest stored message; 0, 0 = empty.
	// Head never falls: First 0 = nothing is left up to Head. Messages that a
	// Drop has kept do not count, they may be older than First.
	First, Head msg.Offset
	At          msg.Offset // of the last checkpoint
	AtControl   uint64
}

// Limits bounds one Read; a zero field means the default.
type Limits struct {
	Messages int // default 256
	Bytes    int // of msg.Message.Size; default 256 KiB; at least one message is returned
	// Filters selects: only messages whose topic at least one of them matches
	// are returned; the others are passed over, next counts them as passed. How
	// much is passed over in one call is bounded (ScanMessages, ScanBytes), so a
	// call may return no message and a larger next. Empty: everything.
	Filters []msg.Filter
}

// Visitor receives a namespace's state: first the table's puts in key order,
// then the controls beyond the checkpoint in Seq order. Nil fields are skipped.
// Slices and strings belong to the visitor.
type Visitor struct {
	Put     func(Put) error
	Control func(Control) error
}

// Store keeps the logs. Commit is called by one goroutine; everything else is
// safe for concurrent use.
type Store interface {
	// Commit makes b durable and calls done exactly once: with nil after the
	// sync, else with ErrFull, ErrFailed or ErrClosed (and then nothing of b is
	// stored; after ErrFailed that is unknown), or with another error for a
	// batch that can never be stored (ErrNoNamespace, msg.ErrTooLarge, a field
	// out of range; nothing of it is). It returns when the next batch
	// may be given, which may be before done; dones run in order. Times given
	// to messages never go backwards along a log.
	Commit(b *Batch, done func(error))
	// Read returns messages with offsets in [from, to] in order, all classes and
	// what Drop has kept merged, up to limits.
	// next is where to go on; next > to means that nothing is left up to to.
	// to = 0 means up to the head as of the call. next is never below from, and
	// never passes what is still to be written: with to beyond the head it is
	// the head + 1, or from if that is larger. from below the oldest message
	// (0 included) begins with that one. Without a message, next is larger than
	// from unless from is beyond to or the head.
	Read(namespace string, from, to msg.Offset, l Limits) (ms []*msg.Message, next msg.Offset, err error)
	// Follow registers the one follower: it is called for every commit of
	// messages, this process's and (in a cluster) others', in log order, after
	// done, and must not block. Call it before the first Commit.
	Follow(f func([]Append))
	// State reports a namespace, creating it if it does not exist, and shows
	// its state to v, which must not call Commit, State, Drop or Forget. With a
	// visitor it fails once the store has (ErrFailed): the state is unknown. A
	// checkpoint's positions beyond the head or the newest control count as these.
	State(namespace string, v Visitor) (Info, error)
	Retention
	// Close waits for the commit under way and closes. Later calls get ErrClosed.
	Close() error
}

// Defaults of Limits.
const (
	DefaultReadMessages = 256
	DefaultReadBytes    = 256 << 10
)

// ScanMessages and ScanBytes bound how much one Read with filters passes over,
// not counting what it need not look at.
const (
	ScanMessages = 4096
	ScanBytes    = 4 << 20
)

// WithDefaults replaces what is zero or negative; implementations of Store
// apply it first.
func (l Limits) WithDefaults() Limits {
	if l.Messages <= 0 {
		l.Messages = DefaultReadMessages
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultReadBytes
	}
	return l
}
