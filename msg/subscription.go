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
}

// SubscribeResult answers one Subscription of a Subscribe call.
type SubscribeResult struct {
	Err   error  // nil, or one of the peer errors
	Start Offset // everything stored after Start is delivered; retained values are as of Start
}

// Delivery is what Session.Next yields: a message with all filters that want
// it, or a notice (then Message is nil).
type Delivery struct {
	Message     *Message
	Matches     []*Subscription // never empty for a message; the slice is valid until the next call of Next
	QoS         QoS             // min(message's, highest of Matches)
	Retained    bool            // comes from the retained values, not from the stream
	Redelivered bool            // was sent on an earlier connection of the session
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
	NoticeGap                             // stored messages were cut: Subscription, First, Last, Count
)

// Notice is something a session is told in order with its messages.
type Notice struct {
	Kind         NoticeKind
	Subscription *Subscription
	First, Last  Offset
	Count        uint64
	Reason       string
}
