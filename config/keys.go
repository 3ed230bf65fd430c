package config

import (
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"parley/msg"
)

// key is one row of the table.
type key struct {
	path     string
	flag     string // "" = settable by --set only
	fallback string // the default, as one would write it in YAML
	example  string // what the commented example shows instead of an uninstructive default
	doc      string
	val      value
}

// env names the key's environment variable.
func (k *key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

const envPrefix = "PARLEY_"

// Section is the comment above a group of keys with the same first word.
type section struct{ name, doc string }

func sections() []section {
	return []section{
		{"tls", "TLS of the public listener (wss). The files are read again when they change."},
		{"mqtt", "MQTT, and its plain listener."},
		{"gateway", "The public listener: negotiation and limits."},
		{"auth", "Who peers are and what they may do."},
		{"store", "The durable log."},
		{"limits", "What one session or namespace may hold."},
		{"admin", "The listener for operators."},
		{"drain", "How the broker goes down after SIGTERM."},
		{"will", "Wills of MQTT clients."},
		{"log", "What is written to standard error."},
	}
}

// Protocols lists the subprotocols that the broker speaks; others can be aliased
// to them.
func Protocols() []string {
	return []string{"mqtt", "mqttv3.1", "wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor", "json", "centrifuge-json"}
}

func isProtocol(s string) bool { return slices.Contains(Protocols(), s) }

// isToken accepts the tokens of RFC 9110 section 5.6.2, which subprotocol names are.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func isNewToken(s string) bool { return isToken(s) && !isProtocol(strings.ToLower(s)) }

// isOrigin accepts host patterns as the Origin check takes them.
func isOrigin(s string) bool {
	_, err := path.Match(s, "")
	return err == nil && s != "" && !strings.ContainsAny(s, " ,") && !strings.HasSuffix(s, "/")
}

func notEmpty(s string) bool { return s != "" }

func isTopicOrNone(s string) bool {
	return s == "" || msg.ValidTopic(s) == nil && msg.Publishable(s) == nil
}

// table binds every key to its field in c.
func table(c *Config) []key {
	return slices.Concat(topKeys(c), mqttKeys(c), jsonKeys(c), gatewayKeys(c), authKeys(c), storeKeys(c), operatorKeys(c))
}

func topKeys(c *Config) []key {
	return []key{
		{"listen", "listen", "127.0.0.1:8080", "",
			"Where WebSocket clients of all protocols connect, and where the page is.\nAn address that others can reach needs auth.file, or allow_anonymous written out.",
			address(&c.Listen, "0.0.0.0", false)},
		{"mqtt_listen", "mqtt-listen", `""`, "127.0.0.1:1883",
			"Where devices without WebSocket connect: MQTT over TCP, or TLS with mqtt.tls.",
			address(&c.MQTTListen, "0.0.0.0", true)},
		{"admin_listen", "admin-listen", `""`, "127.0.0.1:8081",
			"Where operators find /metrics, /api/status, /api/backup and /debug/pprof. :8081 without a\nhost means loopback. On any other address it needs auth.file (and then a user\nwith the role admin.role), or admin.allow_anonymous written out.",
			address(&c.AdminListen, "127.0.0.1", true)},
		{"data", "data", "./data", "", "The directory of the store. It is created.",
			word(&c.Data, "a directory", notEmpty)},
		{"allow_anonymous", "allow-anonymous", "true", "true",
			"Whether clients may connect without proving who they are. Not written it is\ntrue without auth.file and false with it. On an address that others can reach\nit counts only when written.",
			boolean(&c.AllowAnonymous)},
		{"namespaces", "", "[{name: default, realms: [realm1]}]", "",
			"The topic spaces, each with its own log. realms are further WAMP realms that\nlead to it; hosts and paths lead clients of all protocols to it.",
			namespaces(&c.Namespaces)},
		{"default_namespace", "", "default", "", "The namespace of clients that nothing else leads to one.",
			word(&c.DefaultNamespace, "the name of one of the namespaces", isName)},
		{"playground", "playground", "true", "", "Whether / serves the page for trying things out.",
			boolean(&c.Playground)},
		{"tls.cert", "tls-cert", `""`, "/etc/parley/cert.pem", "Certificate chain (PEM).",
			word(&c.TLS.Cert, "a file", nil)},
		{"tls.key", "tls-key", `""`, "/etc/parley/key.pem", "Private key (PEM).",
			word(&c.TLS.Key, "a file", nil)},
	}
}

func mqttKeys(c *Config) []key {
	return []key{
		{"mqtt.tls.cert", "", `""`, "/etc/parley/cert.pem", "Certificate chain (PEM) of mqtt_listen.",
			word(&c.MQTT.TLS.Cert, "a file", nil)},
		{"mqtt.tls.key", "", `""`, "/etc/parley/key.pem", "Private key (PEM) of mqtt_listen.",
			word(&c.MQTT.TLS.Key, "a file", nil)},
		{"mqtt.receive_maximum", "", "1024", "", "How many unacknowledged QoS 1 and 2 publishes a client may have (MQTT 5 section 3.2.2.3.3).",
			number(&c.MQTT.ReceiveMaximum, 1, 65535)},
		{"mqtt.max_packet", "", "1MiB", "", "The largest MQTT packet taken (MQTT 5 section 3.2.2.3.6).",
			size(&c.MQTT.MaxPacket, 1<<10, 256<<20)},
		{"mqtt.keep_alive", "", "0s", "5m", "The longest keep-alive a client may choose; 0s: any (MQTT 5 section 3.2.2.3.14).",
			duration(&c.MQTT.KeepAlive, 0, 65535*time.Second)},
		{"mqtt.session_expiry", "", "0s", "168h", "The longest a session may outlive its connection; 0s: any. Clients of MQTT 5 that\nask for more are told (section 3.2.2.3.2); clients of 3.1 and 3.1.1 without a clean\nsession get it.",
			duration(&c.MQTT.SessionExpiry, 0, 1<<32*time.Second)},
		{"mqtt.topic_aliases", "", "32", "", "How many topic aliases a client may use, and the most that are used towards it\n(MQTT 5 section 3.2.2.3.8). Each can hold a topic of 64 KiB.",
			number(&c.MQTT.TopicAliases, 0, 65535)},
		{"mqtt.response_topics", "", `""`, "answers", "Tell clients of MQTT 5 that ask for it to expect answers below answers/<client id>\n(section 3.2.2.3.15). The policy has to allow these topics.",
			word(&c.MQTT.ResponseTopics, "a topic that may be published to, or \"\" for none", isTopicOrNone)},
		{"mqtt.shared_qos_max", "", "2", "", "The highest QoS granted to shared subscriptions ($share/…).",
			number(&c.MQTT.SharedQoS, 0, 2)},
		{"mqtt.ack_refused", "", "false", "", "Whether a publish of an MQTT 3.1.1 client that the policy refuses is acknowledged\nand discarded; otherwise it ends the connection (3.1.1 has no negative answer).",
			boolean(&c.MQTT.AckRefused)},
	}
}

func jsonKeys(c *Config) []key {
	return []key{
		{"json.session_expiry", "", "0s", "168h", "The longest a session of the JSON protocol may outlive its connection; 0s: any. Clients\nare told what they get.",
			duration(&c.JSON.SessionExpiry, 0, 1<<32*time.Second)},
		{"json.window", "", "1024", "", "How many unacknowledged deliveries a client of the JSON protocol may have; it may ask\nfor less.",
			number(&c.JSON.Window, 1, 65535)},
	}
}

func gatewayKeys(c *Config) []key {
	g := &c.Gateway
	return []key{
		{"gateway.default_protocol", "", "json", "",
			"What clients speak that offer no subprotocol; none: they are refused.",
			choice(&g.DefaultProtocol, append(Protocols(), "none")...)},
		{"gateway.aliases", "", "{}", "{mqtt5: mqtt, my-app: json}", "Further subprotocol names, and what they mean.",
			&dict{&g.Aliases, "a subprotocol name that is not yet known", isNewToken, "one of " + strings.Join(Protocols(), ", "), isProtocol}},
		{"gateway.paths", "", "[/, /mqtt, /ws, /wamp, /json, /connection/websocket]", "", "Where upgrades to WebSocket are accepted. The paths of namespaces are added.",
			&words{&g.Paths, pathRule, isPath}},
		{"gateway.origins", "", "[]", "[app.example.com, '*.example.org']", "Hosts whose pages may connect, besides the broker's own. * stands for any characters.",
			&words{&g.Origins, "a host such as app.example.com or *.example.com", isOrigin}},
		{"gateway.compression", "", "false", "", "Offer permessage-deflate (without context takeover) to WAMP and JSON clients.",
			boolean(&g.Compression)},
		{"gateway.limits.connections", "", "20000", "", "Most connections at a time, over all listeners.",
			number(&g.Connections, 1, 10_000_000)},
		{"gateway.limits.per_address", "", "512", "", "Most connections of one address (IPv6: one /64). Loopback is exempt: a proxy there\nmakes all of its clients look like one address.",
			number(&g.PerAddress, 1, 10_000_000)},
		{"gateway.limits.rate", "", "50", "", "New connections a second of one address, loopback exempt.",
			decimal(&g.Rate, 0.01, 1_000_000)},
		{"gateway.limits.burst", "", "200", "", "How many new connections of one address may come at once.",
			number(&g.Burst, 1, 10_000_000)},
		{"gateway.limits.header", "", "16KiB", "", "Most bytes of an HTTP request's header.",
			size(&g.HeaderBytes, 1<<10, 1<<20)},
		{"gateway.limits.message", "", "1MiB", "", "The largest WebSocket message taken, decompressed. A larger mqtt.max_packet counts\ninstead.",
			size(&g.MessageBytes, 1<<10, 256<<20)},
		{"gateway.limits.queue", "", "1MiB", "", "Bytes of replies queued for a client that does not read them, before it is closed.",
			size(&g.QueueBytes, 64<<10, 256<<20)},
		{"gateway.timeouts.header", "", "5s", "", "From connecting to the end of the HTTP request's header.",
			duration(&g.HeaderTime, 100*time.Millisecond, time.Minute)},
		{"gateway.timeouts.handshake", "", "10s", "", "From connecting to a complete CONNECT, HELLO or connect.",
			duration(&g.HandshakeTime, 100*time.Millisecond, 5*time.Minute)},
		{"gateway.timeouts.message", "", "30s", "", "From a message's first byte to its last.",
			duration(&g.MessageTime, 100*time.Millisecond, 10*time.Minute)},
		{"gateway.timeouts.write", "", "10s", "", "For a client to take anything at all of what is written to it.",
			duration(&g.WriteTime, 100*time.Millisecond, 10*time.Minute)},
		{"gateway.timeouts.ping", "", "25s", "", "Between pings to WAMP and JSON clients; twice this without a sign of life closes.",
			duration(&g.PingInterval, time.Second, time.Hour)},
	}
}

func authKeys(c *Config) []key {
	return []key{
		{"auth.file", "auth-file", `""`, "/etc/parley/users", "Users and tokens, written by broker passwd and broker token create. SIGHUP reads\nit again, and so does a change of the file within a few seconds.",
			word(&c.Auth.File, "a file", nil)},
		{"auth.rules", "", "[]", "[{deny: [subscribe], topics: [secret/#], roles: [anonymous]}, {allow: [publish, subscribe], topics: [devices/%u/#]}]",
			"Who may do what: the first rule that applies decides. What a rule does not name\n(topics, users, roles, namespaces) does not restrict it. %u in a topic is the user's\nname; a procedure a.b is the topic a/b; everybody has the role anonymous or\nauthenticated besides those of auth.file.",
			rules(&c.Auth.Rules)},
		{"auth.default", "", "allow", "deny", "What happens to what no rule names.",
			mapped(&c.Auth.Default, []string{"allow", "deny"}, []bool{true, false})},
	}
}

func storeKeys(c *Config) []key {
	return []key{
		{"store.max_bytes", "", "0", "10GiB", "How large the store may grow; 0: as large as the disk.",
			size(&c.Store.MaxBytes, 0, 1<<50)},
		{"store.sync", "", "always", "interval", "When what is published is forced to the disk: always, before it is acknowledged;\ninterval, within 100 ms; never, when the system likes. Other than always is faster,\nand a power cut loses what was acknowledged or damages the store; after a kill the\nlogs have new epochs, so that clients know that they may miss something.",
			choice(&c.Store.Sync, "always", "interval", "never")},
		{"store.topics", "", "[]", "[{filter: telemetry/#, store: none}, {filter: audit/#, store: all, age: 8760h}]",
			"What is stored, the first filter that matches decides: acknowledged (as without a\nrule: what is published with QoS 1, acknowledged or retained), all, or none. With\nage, bytes or count the topics have bounds of their own (at most 7 such rules).",
			storeTopics(&c.Store.Topics)},
		{"store.retention.age", "", "0s", "168h", "How old a stored message may become; 0s: as old as it likes. What goes, goes in\nsegments, the oldest first.",
			duration(&c.Store.Retention.Age, 0, maxAge)},
		{"store.retention.bytes", "", "1GiB", "", "How much of a namespace's log is kept for history and replay; 0: everything.",
			size(&c.Store.Retention.Bytes, 0, 1<<50)},
		{"store.retention.count", "", "0", "1000000", "The same in messages.",
			number(&c.Store.Retention.Count, 0, 1<<50)},
		{"store.quota", "", "10GiB", "", "How much of a namespace is kept, beyond store.retention, for durable sessions that\nhave not read it yet. Over it the oldest is cut and its owners are told; 0: no bound.",
			size(&c.Store.Quota, 0, 1<<50)},
		{"limits.subscriptions", "", "10000", "", "Filters of one session.",
			number(&c.Limits.Subscriptions, 1, 1_000_000)},
		{"limits.retained", "", "1000000", "", "Topics of one namespace with a retained value.",
			number(&c.Limits.Retained, 1, 100_000_000)},
		{"limits.takeovers", "", "5", "", "How often a session may change hands between connected clients in 10 s before\nit stays with the one that has it and others are refused for 30 s; 0: always.",
			number(&c.Limits.Takeovers, 0, 1_000_000)},
		{"limits.key_window", "", "10m", "", "How long an idempotency key is remembered: what is published again with it in that\ntime is answered like the first one and not stored again.",
			duration(&c.Limits.KeyWindow, time.Second, 7*24*time.Hour)},
		{"limits.key_bytes", "", "64MiB", "", "Memory for the idempotency keys of one namespace, about 128 bytes each; the oldest\nare forgotten first.",
			size(&c.Limits.KeyBytes, 64<<10, 16<<30)},
		{"will.restart_grace", "", "30s", "", "How long after a restart the wills of clients that were connected before it wait for them.",
			duration(&c.WillRestartGrace, 0, 24*time.Hour)},
		{"sys_interval", "", "10s", "", "How often the broker speaks of itself on $SYS/broker/…; 0s: never.",
			duration(&c.SysInterval, 0, 24*time.Hour)},
	}
}

func operatorKeys(c *Config) []key {
	return []key{
		{"admin.tls.cert", "", `""`, "/etc/parley/cert.pem", "Certificate chain (PEM) of admin_listen.",
			word(&c.Admin.TLS.Cert, "a file", nil)},
		{"admin.tls.key", "", `""`, "/etc/parley/key.pem", "Private key (PEM) of admin_listen.",
			word(&c.Admin.TLS.Key, "a file", nil)},
		{"admin.allow_anonymous", "", "false", "", "Let anybody who can reach admin_listen read it, even if it is not loopback.",
			boolean(&c.Admin.AllowAnonymous)},
		{"admin.role", "", "admin", "", "The role that a user needs for an admin_listen that is not loopback.",
			word(&c.Admin.Role, principalRule, isPrincipal)},
		{"drain.spread", "", "5s", "", "The time over which clients are told to go, so that they do not all come back at once.",
			duration(&c.Drain.Spread, 0, 10*time.Minute)},
		{"drain.grace", "", "10s", "", "How long to wait for what is still open after that.",
			duration(&c.Drain.Grace, 0, 10*time.Minute)},
		{"log.level", "log-level", "info", "", "The least important lines that are written.",
			mapped(&c.Log.Level, []string{"debug", "info", "warn", "error"}, []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})},
		{"log.format", "log-format", "text", "", "For people (text) or for machines (json).",
			choice(&c.Log.Format, "text", "json")},
	}
}
