package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRefusesUnreadableStore: a store that this version cannot read, newer or
// corrupt, ends the start with a clear error that names the file, and the file
// stays as it is.
func TestRefusesUnreadableStore(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	device := d.open("device", "mqtt5", b, nil)
	for range 20 {
		device.do("publish", args{"topic": "store/x", "payload": strings.Repeat("a payload ", 100), "retain": true})
	}
	b.stop()
	good := map[string][]byte{}
	for _, name := range storeFiles(t, b.data) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		good[name] = content
	}

	damage := []struct {
		name string
		do   func([]byte) []byte
		says []string // one of these
	}{
		{"not a store at all", func([]byte) []byte { return bytes.Repeat([]byte("this is no store\n"), 4096) }, []string{"invalid", "corrupt", "not a store"}},
		{"cut short", func(c []byte) []byte { return c[:3*4096] }, []string{"corrupt", "truncated", "damaged"}},
		{"a flipped bit", flippedBit, []string{"corrupt", "checksum"}},
		{"a newer format", newerFormat, []string{"newer"}},
	}
	for _, c := range damage {
		t.Run(c.name, func(t *testing.T) {
			var damaged string
			for name, content := range good {
				changed := c.do(bytes.Clone(content))
				if err := os.WriteFile(name, changed, 0o600); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(changed, content) {
					damaged = name
				}
			}
			if damaged == "" {
				t.Fatal("nothing was damaged: does the store say its format in another way now?")
			}
			before := checksum(t, damaged)
			cmd := b.serveCommand()
			started := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // then it ends with code 0
			out, err := cmd.CombinedOutput()
			started.Stop()
			if err == nil {
				t.Fatalf("the broker started:\n%s", out)
			}
			text := strings.ToLower(string(out))
			clear := false
			for _, word := range c.says {
				clear = clear || strings.Contains(text, word)
			}
			if !clear || !strings.Contains(string(out), filepath.Base(damaged)) || strings.Contains(text, "goroutine ") {
				t.Errorf("want an error that names %s and says one of %q, got:\n%s", filepath.Base(damaged), c.says, out)
			}
			if checksum(t, damaged) != before {
				t.Error("the file was changed")
			}
		})
	}
	for name, content := range good {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.start() // the undamaged one is still good
	page := d.open("page", "bare", b, nil)
	page.subscribe("store/x", nil)
	if m := page.recv(); !m.Retained {
		t.Errorf("got %+v, want the retained message", m)
	}
}

// newerFormat raises the format version that the store's file holds: after the
// key, a checksum over key and value (CRC-32C) and the version in 8 bytes.
func newerFormat(content []byte) []byte {
	key, table := []byte("format"), crc32.MakeTable(crc32.Castagnoli)
	sum := func(value []byte) uint32 { return crc32.Update(crc32.Checksum(key, table), table, value) }
	for at := 0; ; {
		i := bytes.Index(content[at:], key)
		if i < 0 || at+i+len(key)+12 > len(content) {
			return content
		}
		at += i + len(key)
		if checksum, value := content[at:at+4], content[at+4:at+12]; binary.LittleEndian.Uint32(checksum) == sum(value) {
			binary.BigEndian.PutUint64(value, 999)
			binary.LittleEndian.PutUint32(checksum, sum(value))
		}
	}
}

// flippedBit changes one bit of every copy of a stored payload.
func flippedBit(content []byte) []byte {
	return bytes.ReplaceAll(content, []byte("a payload "), []byte("a paylobd "))
}

func storeFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if info, e := os.Stat(path); e == nil && info.Mode().IsRegular() && info.Size() > 4096 {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no store in %s: %v", dir, err)
	}
	return files
}

func checksum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}
