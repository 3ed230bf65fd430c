package mqtt

import (
	"log/slog"
	"sync/atomic"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// nowhere is a connection that swallows everything.
type nowhere struct{ subproto.Conn }

func (nowhere) Info() *subproto.Info {
	return &subproto.Info{Protocol: "mqtt", Log: slog.New(slog.DiscardHandler)}
}
func (nowhere) Send(subproto.Kind, []byte) {}
func (nowhere) Room() bool                 { return true }
func (nowhere) SetReading(bool)            {}
func (nowhere) Ready()                     {}
func (nowhere) Wake()                      {}
func (nowhere) Close(int, string)          {}

// congested makes sessions say so while on is set.
type congested struct{ on atomic.Bool }

type congestedSession struct {
	subproto.Session
	c *congested
}

func (s congestedSession) Congested() bool { return s.c.on.Load() }

func (c *congested) around(a subproto.Attach) subproto.Attach {
	return func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
		return congestedSession{a(p, id, params, done), c}
	}
}
