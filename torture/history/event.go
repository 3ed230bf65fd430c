package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Kind says what happened.
type Kind string

// The kinds of events, and which fields of Event they use besides At and Client.
const (
	Start Kind = "start" // the broker accepts connections (again)
	Kill  Kind = "kill"  // the broker is about to be killed; no Client

	Connect    Kind = "connect"    // the session is open: Conn, Protocol, Durable, Clean, Present, Will
	Disconnect Kind = "disconnect" // Conn ended; Clean: this side said goodbye and the other side closed

	Subscribe    Kind = "subscribe"    // sent: Conn, Filter, QoS; Retain: the retained values are to come
	Subscribed   Kind = "subscribed"   // confirmed: Conn, Filter
	Unsubscribe  Kind = "unsubscribe"  // sent: Conn, Filter
	Unsubscribed Kind = "unsubscribed" // confirmed: Conn, Filter

	Publish   Kind = "publish"   // sent: Conn, Message, Topic, QoS, Key, Retain, Marked (as sent again)
	Published Kind = "published" // acknowledged: Conn, Message, Offset if told
	Refused   Kind = "refused"   // answered with an error: Conn, Message, Note

	Deliver Kind = "deliver" // received: Conn, Filter (not in MQTT), Message, Topic, QoS, Offset if told, Marked, Retained, Replayed
	Ack     Kind = "ack"     // the receiver's acknowledgement, sent: as Deliver
	Again   Kind = "again"   // a PUBLISH at QoS 2 whose PUBREL is to come, not handed on: as Deliver; not judged
	Release Kind = "release" // PUBREL: Conn, Packet; not judged
	Gap     Kind = "gap"     // announced: Conn, Filter, Offset, Last, Count

	Complaint Kind = "complaint" // the broker did what it must not, which only its client could see: Conn, Note

	Quiesced Kind = "quiesced" // no traffic, all sessions are back and were given time to drain; no Client
	Settled  Kind = "settled"  // stands for what Compact removed: Message is the last one of its publisher, or with Client the last one seen there (Conn, Filter, Offset)
)

// ID names a message. Attempt counts from 0 and grows only where another attempt
// is another message.
type ID struct {
	Publisher string `json:"publisher,omitempty"`
	Seq       uint64 `json:"seq,omitempty"`
	Attempt   int    `json:"attempt,omitempty"`
}

func (id ID) String() string {
	if id.Attempt > 0 {
		return fmt.Sprintf("%s/%d (attempt %d)", id.Publisher, id.Seq, id.Attempt+1)
	}
	return fmt.Sprintf("%s/%d", id.Publisher, id.Seq)
}

// Will is what a session left to be published when its connection is lost.
type Will struct {
	Message ID            `json:"message"`
	Topic   string        `json:"topic"`
	QoS     byte          `json:"qos,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
}

// Event is one line of a history.
type Event struct {
	At       time.Duration `json:"at"` // since the history began, monotonic
	Kind     Kind          `json:"kind"`
	Client   string        `json:"client,omitempty"` // the session; it lives through connections
	Conn     int           `json:"conn,omitempty"`   // the client's connections, counted from 1
	Protocol string        `json:"protocol,omitempty"`
	Filter   string        `json:"filter,omitempty"` // canonical
	Topic    string        `json:"topic,omitempty"`  // canonical
	Message  ID            `json:"message,omitzero"`
	Key      string        `json:"key,omitempty"`
	QoS      byte          `json:"qos,omitempty"` // JSON and acknowledged WAMP: 1
	Offset   uint64        `json:"offset,omitempty"`
	Last     uint64        `json:"last,omitempty"`
	Count    uint64        `json:"count,omitempty"`
	Packet   uint16        `json:"packet,omitempty"` // identifier of MQTT, for people who read a history
	Retain   bool          `json:"retain,omitempty"`
	Marked   bool          `json:"marked,omitempty"` // DUP, _parley_redelivered, tags.redelivered
	Retained bool          `json:"retained,omitempty"`
	Replayed bool          `json:"replayed,omitempty"`
	Durable  bool          `json:"durable,omitempty"`
	Clean    bool          `json:"clean,omitempty"`
	Present  bool          `json:"present,omitempty"`
	Will     *Will         `json:"will,omitempty"`
	Note     string        `json:"note,omitempty"`
}

func (e Event) String() string {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Sprintf("%s: %v", e.Kind, err)
	}
	return string(b)
}

// Recorder collects events. Its methods may be called from several goroutines.
type Recorder struct {
	start time.Time

	mu     sync.Mutex
	events []Event
}

// NewRecorder begins a history now.
func NewRecorder() *Recorder { return &Recorder{start: time.Now()} }

// Add appends e and sets its time.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = time.Since(r.start)
	r.events = append(r.events, e)
}

// Events returns what was recorded so far. The slice stays as it is.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

// Now is the time that an event recorded now would have.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// Compact replaces the first n events by Compact of them and returns how many
// these are now.
func (r *Recorder) Compact(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	short := Compact(r.events[:n])
	r.events = append(short, r.events[n:]...)
	return len(short)
}

// Write writes events as JSON, one a line.
func Write(w io.Writer, events []Event) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for i := range events {
		if err := enc.Encode(&events[i]); err != nil {
			return err
		}
	}
	return b.Flush()
}

// Read reads what Write wrote.
func Read(r io.Reader) ([]Event, error) {
	var events []Event
	dec := json.NewDecoder(r)
	for {
		var e Event
		switch err := dec.Decode(&e); err {
		case nil:
			events = append(events, e)
		case io.EOF:
			return events, nil
		default:
			return events, fmt.Errorf("history: event %d: %w", len(events)+1, err)
		}
	}
}
