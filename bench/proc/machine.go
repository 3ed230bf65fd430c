package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where figures were taken.
type Machine struct {
	Cores   int     `json:"cores"`
	CPU     string  `json:"cpu"`
	Memory  int64   `json:"memory_bytes"`
	Kernel  string  `json:"kernel"`
	Go      string  `json:"go"`
	Disk    string  `json:"disk"`          // file system of the data directory
	SyncP50 float64 `json:"fdatasync_us"`  // 4 KiB write with fdatasync, median
	SyncP90 float64 `json:"fdatasync_p90"` // and the slowest tenth
}

// Describe says what machine this is and how long its disk takes to keep a
// promise: it writes 200 blocks of 4 KiB in dir, each followed by fdatasync.
func Describe(dir string) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("uname: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(string(info))
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.Memory = parseFields(string(info))["MemTotal"] * 1024
	}
	var err error
	if m.Disk, err = FileSystem(dir); err != nil {
		return m, err
	}
	m.SyncP50, m.SyncP90, err = measureSync(dir, 200)
	return m, err
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// FileSystem names the kind of file system that dir is on.
func FileSystem(dir string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	switch int64(fs.Type) {
	case unix.TMPFS_MAGIC:
		return "tmpfs", nil
	case unix.RAMFS_MAGIC:
		return "ramfs", nil
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", nil
	case unix.XFS_SUPER_MAGIC:
		return "xfs", nil
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay", nil
	}
	return fmt.Sprintf("%#x", fs.Type), nil
}

// InMemory reports whether a file system of that name keeps files in memory: it
// answers fdatasync without a disk and would flatter whoever syncs.
func InMemory(name string) bool { return name == "tmpfs" || name == "ramfs" }

func measureSync(dir string, n int) (p50, p90 float64, err error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(filepath.Join(dir, filepath.Base(f.Name())))
	}()
	block := make([]byte, 4096)
	took := make([]float64, n)
	for i := range took {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, 0, fmt.Errorf("fdatasync: %w", err)
		}
		took[i] = float64(time.Since(start)) / float64(time.Microsecond)
	}
	slices.Sort(took)
	return took[n/2], took[n*9/10], nil
}
