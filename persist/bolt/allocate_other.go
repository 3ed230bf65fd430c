//go:build !linux

package bolt

import (
	"errors"
	"os"
)

// allocate would reserve disk space for size bytes; here bbolt grows the file
// itself, and a full disk is found while it writes.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
