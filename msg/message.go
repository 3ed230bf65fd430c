package msg

// Offset is the position of a stored message in its namespace's log. Offsets
// strictly grow; gaps are legal everywhere. 0 means "none": the first stored
// message has offset 1 or more.
type Offset uint64

// QoS is the MQTT quality of service: 0, 1 or 2. Every acknowledged publish of
// any protocol is at least QoS 1.
type QoS uint8

// Protocol families, as shown to peers (parley-via, tags.via, _parley_via).
const (
	ViaMQTT = "mqtt"
	ViaWAMP = "wamp"
	ViaJSON = "json"
	ViaHTTP = "http"
	ViaSelf = "parley" // published by the broker itself
)

// Message is one published message.
type Message struct {
	Topic   string // canonical, valid (ValidTopic)
	Payload Payload
	QoS     QoS
	Retain  bool   // replaces the topic's retained value; empty bytes clear it
	Via     string // Via… of the publisher

	Expires       int64 // Unix milliseconds; 0 = never
	ResponseTopic string
	Correlation   []byte
	User          []Property // in order, duplicates kept

	Origin   Origin
	NoEcho   bool         // the publisher's own session does not get it
	Restrict *Restriction // nil = everybody who may subscribe
	Key      string       // idempotency key, "" = none, at most 256 bytes; with one the message is stored, once

	// Set by hub and store, see the package comment.
	Offset Offset // 0: transient
	Time   int64  // of the commit (stored) or of the publish (transient), Unix milliseconds; never goes backwards along the log
	After  Offset // transient: last stored offset known when it was published
	Serial uint16 // transient: tells messages with the same After apart

	shared sharedCache
}

// Stored tells whether the message is in the log and has an offset.
func (m *Message) Stored() bool { return m.Offset != 0 }

// Expired tells whether the message's lifetime is over at now (Unix milliseconds).
func (m *Message) Expired(now int64) bool { return m.Expires != 0 && m.Expires <= now }

// Size estimates the bytes of memory the message holds on to; limits are
// counted with it.
func (m *Message) Size() int {
	n := 256 + len(m.Topic) + len(m.Payload.Data) + len(m.Payload.ContentType) + len(m.ResponseTopic) + len(m.Correlation) + len(m.Key)
	for i := range m.User {
		n += 32 + len(m.User[i].Name) + len(m.User[i].Value)
	}
	if r := m.Restrict; r != nil {
		n += 8 * (len(r.Sessions) + len(r.ExcludeSessions))
		for _, l := range [][]string{r.Users, r.ExcludeUsers, r.Roles, r.ExcludeRoles} {
			for _, s := range l {
				n += 16 + len(s)
			}
		}
	}
	return n
}

// Property is one MQTT 5 user property, or what another protocol sent in its place.
type Property struct{ Name, Value string }

// Origin says who published.
type Origin struct {
	Session  uint64 // WAMP session id of the publisher's connection; every connection has one
	User     string
	Role     string
	Disclose bool // the publisher wants to be named to receivers
}

// Restriction narrows who receives a message (WAMP black- and whitelisting);
// it applies in every protocol. A nil list does not restrict; an empty,
// non-nil whitelist lets nobody through.
type Restriction struct {
	Sessions, ExcludeSessions []uint64
	Users, ExcludeUsers       []string
	Roles, ExcludeRoles       []string
}
