package json

import (
	"strconv"

	"parley/msg"
)

// text is the JSON form of the protocol.
type text struct{}

// next implements codec.
func (text) next(frame []byte) (c command, rest []byte, err error) {
	s := scanner{b: frame}
	s.space()
	if s.i == len(frame) {
		return c, nil, nil
	}
	from := s.i
	if !s.value() {
		return c, nil, msg.ErrProtocol
	}
	value := frame[from:s.i]
	s.space()
	rest = frame[s.i:]
	ok := members(value, func(name, v []byte) bool { return c.member(name, v) })
	if !ok {
		return c, nil, msg.ErrProtocol
	}
	return c, rest, nil
}

// member takes one member of a command, which has one request: a second would go
// without an answer.
func (c *command) member(name, v []byte) bool {
	if isNull(v) {
		return true
	}
	if string(name) == "id" {
		id, err := strconv.ParseUint(string(v), 10, 32)
		c.id = uint32(id)
		return err == nil
	}
	k := kindOf(string(name))
	if c.kind > kindUnknown {
		return k == kindUnknown
	}
	c.kind = k
	if k == kindUnknown {
		return true
	}
	return members(v, func(name, v []byte) bool {
		return isNull(v) && string(name) != "data" || c.param(string(name), v)
	})
}

func kindOf(name string) kind {
	switch name {
	case "connect":
		return kindConnect
	case "subscribe":
		return kindSubscribe
	case "unsubscribe":
		return kindUnsubscribe
	case "publish":
		return kindPublish
	case "presence":
		return kindPresence
	case "presence_stats":
		return kindPresenceStats
	case "history":
		return kindHistory
	case "ping":
		return kindPing
	case "send":
		return kindSend
	case "rpc":
		return kindRPC
	case "refresh":
		return kindRefresh
	case "sub_refresh":
		return kindSubRefresh
	}
	return kindUnknown
}

// name is the member that holds a command or its reply.
func (k kind) name() string {
	return [...]string{"", "", "connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats",
		"history", "ping", "send", "rpc", "refresh", "sub_refresh"}[k]
}

// param takes one member of a request.
func (c *command) param(name string, v []byte) (ok bool) {
	switch {
	case name == "data" && c.kind == kindConnect:
		c.connectData(v)
		return true
	case name == "data" && c.kind == kindSubscribe:
		c.subscribeData(v)
		return true
	case name == "data":
		c.data = v
		return true
	case name == "token" && c.kind == kindConnect:
		c.token, ok = unquote(v)
		return ok
	case name == "channel":
		c.channel, ok = unquote(v)
		return ok
	case name == "method" && c.kind == kindRPC:
		c.method, ok = unquote(v)
		return ok
	case c.kind == kindHistory:
		return c.historyParam(name, v)
	case c.kind != kindSubscribe:
		return true
	case name == "recover":
		c.recover, ok = boolean(v)
		return ok
	case name == "offset", name == "epoch":
		return c.position(name, v)
	case name == "tf":
		c.special = true
	case name == "type":
		c.special = c.special || string(v) != "0"
	case name == "flag":
		flag, err := strconv.ParseInt(string(v), 10, 64)
		c.strict = flag&2 != 0
		return err == nil
	}
	return true
}

// position takes a member of a position in the log.
func (c *command) position(name string, v []byte) (ok bool) {
	switch name {
	case "epoch":
		c.epoch, ok = unquote(v)
		return ok
	case "offset":
		n, err := strconv.ParseUint(string(v), 10, 64)
		c.offset = msg.Offset(n)
		return err == nil
	}
	return true
}

func (c *command) historyParam(name string, v []byte) (ok bool) {
	switch name {
	case "limit":
		n, err := strconv.ParseInt(string(v), 10, 32)
		c.limit = int(n)
		return err == nil
	case "reverse":
		c.reverse, ok = boolean(v)
		return ok
	case "since":
		c.since = true
		return members(v, func(name, v []byte) bool { return isNull(v) || c.position(string(name), v) })
	}
	return true
}

func boolean(v []byte) (b, ok bool) { return v[0] == 't', v[0] == 't' || v[0] == 'f' }

// connectData takes credentials and session from the data of connect, which may
// hold anything else too.
func (c *command) connectData(data []byte) {
	members(data, func(name, v []byte) bool {
		switch {
		case string(name) == "user":
			c.user, _ = unquote(v)
		case string(name) == "password":
			c.password, _ = unquote(v)
		case !isNull(v):
			c.session.member(string(name), v)
		}
		return true
	})
}

// subscribeData takes the options of a subscription.
func (c *command) subscribeData(data []byte) {
	members(data, func(name, v []byte) bool {
		switch string(name) {
		case "group":
			var ok bool
			c.group, ok = unquote(v)
			c.bad = c.bad || !ok || c.group == ""
		case "from":
			c.from = v
		}
		return true
	})
}
