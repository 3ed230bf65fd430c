package msg

// RetainHandling says whether a new subscription is sent retained values first.
type RetainHandling uint8

const (
	RetainSend    RetainHandling = iota // always
	RetainSendNew                       // only if the subscription did not exist
	RetainNone                          // never
)

// Subscription is one filter of a session with its options. It is immutable
// after Subscribe.
type Subscription struct {
	Filter            Filter
	Handle            uint64 // chosen by the engine, returned unchanged in Delivery.Matches
	QoS               QoS    // highest QoS of its deliveries; 0: counts as acknowledged once written
	NoLocal           bool   // not what the session itself published
	RetainAsPublished bool
	Retained          RetainHandling
	// From asks for what the log holds already, before anything newer; then no
	// retained values are sent. The zero value: only what is stored from now on.
	From Replay
}

// ReplayKind says where a replay begins.
type ReplayKind uint8

const (
	ReplayNone     ReplayKind = iota
	ReplayEarliest            // the oldest message there is
	ReplayOffset              // Replay.Offset, inclusive
	ReplayTime                // the first message with a Time of at least Replay.Time
)

// Replay is a position in the past from which a subscription begins.
type Replay struct {
	Kind   ReplayKind
	Offset Offset
	Time   int64 // Unix milliseconds
}

// Gap is a part of the log that a filter would have matched and that retention
// has cut.
type Gap struct {
	Filter      Filter
	First, Last Offset
	Count       uint64 // 0: not known any more, at least one
	Reason      string // "retention"
}

// HistoryQuery asks for stored messages of the past, see subproto.Session.
type HistoryQuery struct {
	Filter        Filter
	From, To      Offset // inclusive; 0 = open
	After, Before int64  // Time bounds in Unix milliseconds, inclusive; 0 = open
	Limit         int    // 1 to 1,000; 0 = 100
	Reverse       bool   // newest first
}

// HistoryResult answers a HistoryQuery. Messages belong to the receiver and are
// immutable.
type HistoryResult struct {
	Messages    []*Message
	More        bool   // there are more: beyond Limit, or than fits into one answer (1 MiB)
	Epoch       string // names the log that offsets belong to
	First, Head Offset // oldest and newest stored message of the namespace
}

// SubscribeResult answers one Subscription of a Subscribe call.
type SubscribeResult struct {
	Err   error  // nil, or one of the peer errors
	Start Offset // everything stored after Start is delivered; retained values are as of Start
	From  Offset // with Subscription.From: the first offset that the replay covers, at most Start+1
	Gap   *Gap   // with Subscription.From: what it should have held and was cut; nil = nothing
}

// Delivery is what Session.Next yields: a message with all filters that want
// it, or a notice (then Message is nil).
type Delivery struct {
	Message     *Message
	Matches     []*Subscription // never empty for a message; the slice is valid until the next call of Next
	QoS         QoS             // min(message's, highest of Matches)
	Retained    bool            // comes from the retained values, not from the stream
	Replayed    bool            // comes from the past because of Subscription.From
	Redelivered bool            // was, or may have been, sent on an earlier connection of the session
	Ref         uint64          // to be given to Ack if QoS > 0
	PacketID    uint16          // given by Assign before; 0 = none yet
	Notice      *Notice
}

// NoticeKind names what a session is told besides messages.
type NoticeKind uint8

const (
	NoticeTakenOver NoticeKind = iota + 1 // another connection has the session now; close
	NoticeDraining                        // the broker is going down; tell the peer and close
	NoticeRevoked                         // a subscription is no longer allowed: Subscription
	NoticeGap                             // stored messages were cut: Subscription, First, Last, Count, Reason
)

// Notice is something a session is told in order with its messages.
type Notice struct {
	Kind         NoticeKind
	Subscription *Subscription
	First, Last  Offset
	Count        uint64
	Reason       string
}
