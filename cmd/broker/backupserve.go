package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"parley/admin"
	"parley/config"
	"parley/persist"
)

// backup wires /api/backup. A backup holds every message, so where clients prove
// who they are, whoever asks for one does too, on loopback as well; and it is not
// for everybody who reaches an open listener.
func (b *broker) backup() admin.Backup {
	store, ok := b.store.(interface {
		Snapshot(context.Context) (*os.File, error)
	})
	switch {
	case !ok:
		return admin.Backup{Refused: "this store cannot be copied while it serves"}
	case !config.Loopback(b.c.AdminListen) && b.c.Admin.AllowAnonymous:
		return admin.Backup{Refused: "admin.allow_anonymous lets in everybody who reaches this listener"}
	}
	backup := admin.Backup{Open: func(ctx context.Context) (io.ReadCloser, int64, error) {
		f, err := store.Snapshot(ctx)
		if errors.Is(err, persist.ErrFull) {
			return nil, 0, fmt.Errorf("%w: %w", admin.ErrNoRoom, err)
		}
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, info.Size(), nil
	}}
	if b.c.Auth.File != "" {
		backup.Auth = b.who.authenticator
	}
	return backup
}
