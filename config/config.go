package config

import (
	"log/slog"
	"time"

	"parley/msg"
)

// Config is the checked configuration of one broker. What each field means, its
// range and its default stand in the table of keys.go under the same name.
type Config struct {
	Listen      string // host:port of the public listener
	MQTTListen  string // host:port of MQTT over TCP; "" = none
	AdminListen string // host:port for operators; "" = none
	Data        string // directory

	AllowAnonymous bool // effective: what was written, else whether there is no authentication file
	AnonymousSaid  bool // allow_anonymous was written somewhere

	Namespaces       []Namespace
	DefaultNamespace string

	TLS     TLS
	Gateway Gateway
	MQTT    MQTT
	JSON    JSON
	Auth    Auth
	Store   Store
	Limits  Limits
	Admin   Admin
	Drain   Drain
	Log     Log

	WillRestartGrace time.Duration
	SysInterval      time.Duration // between messages on $SYS/broker/…; 0 = none
	Playground       bool
}

// Namespace is one topic space and the names it is reached by.
type Namespace struct {
	Name   string
	Realms []string // further WAMP realms that lead to it
	Hosts  []string // Host headers that lead to it, without port
	Paths  []string // request paths that lead to it
}

// TLS names the PEM files of one listener; both empty = plain.
type TLS struct{ Cert, Key string }

// On tells whether the listener speaks TLS.
func (t TLS) On() bool { return t.Cert != "" }

// Gateway configures the public listener.
type Gateway struct {
	DefaultProtocol string            // of clients that offer none; "" = they are refused
	Aliases         map[string]string // further subprotocol names -> canonical ones
	Paths           []string
	Origins         []string
	Compression     bool

	Connections   int     // on all listeners together
	PerAddress    int     // of one address
	Rate          float64 // new connections a second of one address
	Burst         int     // of one address
	HeaderBytes   int64
	MessageBytes  int64
	QueueBytes    int64
	HeaderTime    time.Duration
	HandshakeTime time.Duration
	MessageTime   time.Duration
	WriteTime     time.Duration
	PingInterval  time.Duration
}

// MQTT configures the MQTT engine and its plain listener.
type MQTT struct {
	TLS            TLS
	ReceiveMaximum int
	MaxPacket      int64
	KeepAlive      time.Duration // the longest a client may choose; 0 = no bound
	SessionExpiry  time.Duration // the longest a session may outlive its connection; 0 = no bound
	TopicAliases   int           // in each direction of a connection; 0 = none
	ResponseTopics string        // first levels of the topics for answers; "" = clients are told none
	SharedQoS      int           // the highest granted to a shared subscription
	AckRefused     bool
}

// JSON configures the JSON engine.
type JSON struct {
	SessionExpiry time.Duration // the longest a session may outlive its connection; 0 = no bound
	Window        int           // the most unacknowledged deliveries of a session
}

// Auth configures who peers are and what they may do.
type Auth struct {
	File    string
	Rules   []Rule
	Default bool // allow what no rule names
}

// Rule allows or denies actions; the first that applies decides. An empty list
// does not restrict.
type Rule struct {
	Name       string   // for the log, "" = none
	Allow      []string // actions (publish, subscribe, call, register); exactly one of Allow and Deny is given
	Deny       []string
	Topics     []string // filters, in which %u stands for the user's name
	Users      []string
	Roles      []string
	Namespaces []string
}

// Store configures the durable log.
type Store struct {
	MaxBytes int64  // 0 = as much as the disk holds
	Sync     string // always, interval, never
	Topics   []StoreTopic
	// Retention bounds what no rule of Topics is about; Quota is how much of a
	// namespace is kept for durable sessions beyond it, in bytes. 0 = no bound.
	Retention Retention
	Quota     int64
}

// Retention bounds stored messages; zero fields do not.
type Retention struct {
	Age   time.Duration
	Bytes int64
	Count int
}

// StoreTopic rules what is stored of the topics its filter selects.
type StoreTopic struct {
	Filter msg.Filter
	Store  string // acknowledged, all, none
	Retention
}

// Limits bounds what one session may hold.
type Limits struct {
	Subscriptions int // filters of one session
	Retained      int // topics with a retained value, per namespace
	Takeovers     int // of one session in 10 s; 0 = any number
	KeyWindow     time.Duration
	KeyBytes      int64 // idempotency keys remembered, per namespace
}

// Admin configures the listener for operators.
type Admin struct {
	TLS            TLS
	AllowAnonymous bool
	Role           string
}

// Drain configures how the broker goes down.
type Drain struct {
	Spread time.Duration // over which clients are told
	Grace  time.Duration // for what is then still open
}

// Log configures what is written to standard error.
type Log struct {
	Level  slog.Level
	Format string // text, json
}
