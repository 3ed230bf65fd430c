package bolt

import "time"

// Options of Open; the zero value is usable.
type Options struct {
	// MaxBytes bounds the file; a commit that might pass it gets
	// persist.ErrFull before anything is written. Space freed by Drop is used
	// again. 0: no bound but the disk's.
	MaxBytes int64
	// LockTimeout is how long Open waits for another process to let go of the
	// file. Default 1 s.
	LockTimeout time.Duration
	// SegmentMessages and SegmentBytes bound a segment, the unit of Drop; a new
	// one begins when either is reached. Defaults 16,384 and 16 MiB.
	SegmentMessages int
	SegmentBytes    int64
	// Sync says when what is committed is forced to the disk. Default SyncAlways.
	Sync Sync
	// Clock gives the time of commits; nil: time.Now.
	Clock func() time.Time
}

func (o Options) withDefaults() Options {
	if o.LockTimeout <= 0 {
		o.LockTimeout = time.Second
	}
	if o.SegmentMessages <= 0 {
		o.SegmentMessages = 16384
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 16 << 20
	}
	if o.Sync == "" {
		o.Sync = SyncAlways
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}
