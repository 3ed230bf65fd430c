package bolt

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate makes the file size bytes long and reserves the disk for them.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if err != unix.EINTR {
			return err
		}
	}
}
