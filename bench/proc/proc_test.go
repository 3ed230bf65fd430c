package proc

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

// proc(5): the name is in parentheses and may hold any character, these too.
func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 20 0 17 0 12345 1000 200"
	for _, name := range []string{"(broker)", "(a b)", "(a) R 1 (b)", "())"} {
		cpu, threads, err := parseStat("4711 " + name + rest)
		if err != nil || cpu != 3*time.Second || threads != 17 {
			t.Errorf("%s: %v, %d threads, %v; want 3s and 17", name, cpu, threads, err)
		}
	}
	for _, bad := range []string{"", "1 name S 1", "1 (x) S 1 2 3", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b 13 14 20 0 17"} {
		if _, _, err := parseStat(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v, want ErrFormat", bad, err)
		}
	}
}

func TestParseFields(t *testing.T) {
	got := parseFields("Name:\tx\nVmRSS:\t  1234 kB\nsyscw: 99\nempty:\nno colon\n")
	if len(got) != 2 || got["VmRSS"] != 1234 || got["syscw"] != 99 {
		t.Errorf("got %v", got)
	}
}

// user nice system idle iowait irq softirq steal guest guest_nice
func TestParseBusy(t *testing.T) {
	got, err := parseBusy("cpu  100 20 30 9999 8888 4 5 6 70 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if err != nil || got != 165*Tick {
		t.Errorf("%v, %v; want %v", got, err, 165*Tick)
	}
	for _, bad := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x"} {
		if _, err := parseBusy(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v, want ErrFormat", bad, err)
		}
	}
}

// The process must be seen to use what it uses.
func TestReadSeesWork(t *testing.T) {
	before, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<20)
	for after := before; after.CPU-before.CPU < 3*Tick || after.RSS-before.RSS < 48<<20; {
		for i := 0; i < len(block); i += 512 {
			block[i]++
		}
		if after, err = Read(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.KeepAlive(block)
	if _, err := Read(1 << 30); err == nil {
		t.Error("a process that cannot exist was read")
	}
}

func TestDescribe(t *testing.T) {
	m, err := Describe(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if m.Cores < 1 || m.Kernel == "" || m.Memory == 0 || m.Disk == "" || m.SyncP50 <= 0 || m.SyncP90 < m.SyncP50 {
		t.Errorf("%+v", m)
	}
}
