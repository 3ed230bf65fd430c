package gateway

import (
	"context"
	"log/slog"
)

// connLog is a connection's logger: it adds remote and protocol when a record is
// written. slog's own With would keep some 300 bytes per connection for what is
// rarely logged.
type connLog struct{ c *conn }

func (l connLog) attrs() []slog.Attr {
	return []slog.Attr{slog.String("remote", l.c.info.Remote), slog.String("protocol", l.c.info.Protocol)}
}

func (l connLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.c.g.log.Handler().Enabled(ctx, level)
}

func (l connLog) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(l.attrs()...)
	return l.c.g.log.Handler().Handle(ctx, r)
}

func (l connLog) WithAttrs(more []slog.Attr) slog.Handler {
	return l.c.g.log.Handler().WithAttrs(append(l.attrs(), more...))
}

func (l connLog) WithGroup(name string) slog.Handler {
	return l.c.g.log.Handler().WithAttrs(l.attrs()).WithGroup(name)
}
