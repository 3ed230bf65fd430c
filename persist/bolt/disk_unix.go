//go:build linux || darwin || freebsd

package bolt

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeBytes is what an ordinary user may still write to the disk that f is on.
func freeBytes(f *os.File) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}

// chownLike gives a file the owner of old; it fails if that is somebody else and
// this process may not.
func chownLike(name string, old os.FileInfo) error {
	was, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if is, ok := st.Sys().(*syscall.Stat_t); ok && is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	return os.Chown(name, int(was.Uid), int(was.Gid))
}
