package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"parley/auth"
)

// ErrNoRoom: there is no room for a copy of the store.
var ErrNoRoom = errors.New("not enough room for a copy of the store")

// Backup wires /api/backup, whose answer holds every message, so it may ask for
// more than the other pages.
type Backup struct {
	// Open makes a consistent copy as of some moment during the call; the handler
	// closes it. Calls do not overlap. ErrNoRoom is told to who asks, other errors
	// only to the log. nil: backups are refused, because of Refused.
	Open    func(context.Context) (content io.ReadCloser, bytes int64, err error)
	Refused string
	Auth    auth.Authenticator // nil = Options.Auth
}

// backup answers with the whole copy, or with an error and why. Pages of other
// sites cannot ask through an operator's browser.
func (o *Options) backup() http.Handler {
	var one sync.Mutex
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.Backup.Open == nil {
			plain(w, http.StatusForbidden, "no backups here: "+o.Backup.Refused)
			return
		}
		if !one.TryLock() {
			w.Header().Set("Retry-After", "10")
			plain(w, http.StatusConflict, "another backup is being made; try again later")
			return
		}
		content, size, err := o.Backup.Open(r.Context())
		one.Unlock() // sending it is nobody else's business
		switch {
		case errors.Is(err, ErrNoRoom):
			plain(w, http.StatusInsufficientStorage, err.Error())
		case err != nil:
			plain(w, http.StatusInternalServerError, "the backup failed; the broker's log says why")
		}
		if err != nil {
			o.Log.Error("backup failed", "remote", r.RemoteAddr, "err", err)
			return
		}
		defer content.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", `attachment; filename="parley.db"`)
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		// Cut short, the answer is shorter than it said.
		sent, err := io.Copy(w, content)
		o.Log.Info("backup", "remote", r.RemoteAddr, "bytes", sent, "of", size, "err", err)
	}))
}
