package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parley/client"
	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// filled makes a store with count messages in the namespace default.
func filled(t *testing.T, count int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	start := time.UnixMilli(1_790_000_000_000)
	n := 0
	s, err := bolt.Open(dir, bolt.Options{SegmentMessages: 500, Clock: func() time.Time { return start.Add(time.Duration(n) * time.Second) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.State("default", persist.Visitor{}); err != nil {
		t.Fatal(err)
	}
	for n < count {
		b := &persist.Batch{}
		for range min(10, count-n) {
			n++
			m := &msg.Message{Topic: fmt.Sprintf("site/%d", n%2), QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(fmt.Appendf(nil, `{"n":%d}`, n))}
			b.Appends = append(b.Appends, persist.Append{Namespace: "default", Message: m})
		}
		s.Commit(b, func(e error) { err = e })
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStoreCommandLines(t *testing.T) {
	dir, empty := filled(t, 100), t.TempDir()
	backup := filepath.Join(t.TempDir(), "b.db")
	damaged := filepath.Join(t.TempDir(), bolt.FileName)
	content, err := os.ReadFile(filepath.Join(dir, bolt.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, bytes.ReplaceAll(content, []byte(`{"n":42}`), []byte(`{"n":24}`)), 0o600); err != nil {
		t.Fatal(err)
	}
	replay := func(args ...string) []string { return append([]string{"replay", "--data", dir}, args...) }
	for _, tc := range []struct {
		name string
		args []string
		out  string // all of it, or, with … at the end, its beginning
		errs string
		code int
	}{
		{"check", []string{"store", "check", dir}, dir + "/parley.db is good: 1 namespaces, 100 messages, …", "", exitOK},
		{"check what is damaged", []string{"store", "check", damaged}, damaged + `: namespace "default", class 0, segment from offset 1: offset 42: record checksum…`, "is damaged: 1 problems", exitFailed},
		{"check nothing", []string{"store", "check", empty}, "", "no such file", exitUsage},
		{"check without a store", []string{"store", "check"}, "", "accepts 1 arg(s)", exitUsage},
		{"serve what is damaged", []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Dir(damaged)}, "", "'broker store check " + filepath.Dir(damaged) + "' lists everything that is wrong; docs/operations.md", exitFailed},
		{"stats", []string{"store", "stats", dir}, "file    " + dir + "/parley.db\nformat  2\n…", "", exitOK},
		{"stats of what is damaged", []string{"store", "stats", damaged}, "", "offset 42", exitFailed},
		{"compact", []string{"store", "compact", dir}, dir + "/parley.db: …", "", exitOK},
		{"compact nothing", []string{"store", "compact", empty}, "", "no such file", exitUsage},
		{"backup", []string{"store", "backup", dir, backup}, backup + ": …", "", exitOK},
		{"backup over a file", []string{"store", "backup", dir, backup}, "", "exists; give another file, or --force", exitUsage},
		{"backup over it all the same", []string{"store", "backup", "--force", dir, backup}, backup + ": …", "", exitOK},
		{"backup of nobody", []string{"store", "backup", "http://127.0.0.1:1", backup + "2"}, "", "connection refused", exitFailed},
		{"restore over a store", []string{"store", "restore", backup, dir}, "", "is not empty; give another, or --force", exitUsage},
		{"restore", []string{"store", "restore", backup, filepath.Join(empty, "new")}, backup + " restored into " + empty + "/new, with new epochs\n", "", exitOK},
		{"restore over a store all the same", []string{"store", "restore", "--force", backup, dir}, backup + " restored into …", "", exitOK},
		{"restore what is damaged", []string{"store", "restore", "--force", damaged, dir}, "", "offset 42", exitFailed},

		{"replay", replay("--limit", "2"), "#1 2026-09-21T14:13:30.000Z site/1 {\"n\":1}\n#2 2026-09-21T14:13:30.000Z site/0 {\"n\":2}\n", "", exitOK},
		{"replay from an offset", replay("--from", "98", "-o", "raw"), "{\"n\":98}\n{\"n\":99}\n{\"n\":100}\n", "", exitOK},
		{"replay from a time", replay("--from", "@2026-09-21T14:14:55Z", "-o", "raw", "-n", "1"), "{\"n\":91}\n", "", exitOK},
		{"replay from before", replay("--from", "@2001-01-01T00:00:00Z", "-o", "raw", "-n", "1"), "{\"n\":1}\n", "", exitOK},
		{"replay from the future", replay("--from", "@2099-01-01T00:00:00Z"), "", "", exitOK},
		{"replay some topics", replay("--filter", "site/0", "-o", "raw", "-n", "2"), "{\"n\":2}\n{\"n\":4}\n", "", exitOK},
		{"replay as JSON", replay("-o", "json", "-n", "1"), `{"offset":1,"time":"2026-09-21T14:13:30Z","topic":"site/1","data":{"n":1},"via":"mqtt","qos":1}` + "\n", "", exitOK},
		{"replay a backup", []string{"replay", "--data", backup, "-n", "1", "-o", "raw"}, "{\"n\":1}\n", "", exitOK},
		{"replay of a namespace that is not", replay("--namespace", "x"), "", `no namespace "x" in the store; it has ["default"]`, exitUsage},
		{"replay with a bad filter", replay("--filter", "a/#/b"), "", `--filter "a/#/b"`, exitUsage},
		{"replay from nowhere", replay("--from", "yesterday"), "", `--from "yesterday": give an offset`, exitUsage},
		{"replay in no format", replay("-o", "xml"), "", "--format xml: give one of text, json, raw", exitUsage},
		{"replay of a negative number", replay("-n", "-1"), "", "--limit -1", exitUsage},
		{"replay of nothing", []string{"replay", "--data", empty}, "", "no such file", exitUsage},
		{"replay of what is damaged", []string{"replay", "--data", damaged}, "", "offset 42", exitFailed},
	} {
		out, errs, code := shell(t, "", nil, tc.args...)
		begin, more := strings.CutSuffix(tc.out, "…")
		if code != tc.code || !strings.Contains(errs, tc.errs) || more && !strings.HasPrefix(out, begin) || !more && out != tc.out {
			t.Errorf("%s: exit code %d, want %d\nout: %.500s\nerr: %s", tc.name, code, tc.code, out, errs)
		}
		if tc.code == exitOK && errs != "" {
			t.Errorf("%s: on standard error: %s", tc.name, errs)
		}
	}
}

func TestStoreStats(t *testing.T) {
	dir := filled(t, 1200)
	out, _, code := shell(t, "", nil, "store", "stats", dir)
	for _, want := range []string{"namespace  ", "offsets          1 to 1200, checkpoint at 0", "class 0          1200 messages, ", "3 segments"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("no %q in (%d):\n%s", want, code, out)
		}
	}
	out, _, _ = shell(t, "", nil, "store", "stats", "--json", dir)
	var doc bolt.Stats
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Namespaces) != 1 || doc.Namespaces[0].Messages != 1200 || len(doc.Namespaces[0].Segments) != 3 {
		t.Errorf("%v %+v", err, doc)
	}
}

// What a serving broker has open is refused, with what to do instead; its
// listener for operators gives a backup to those who may.
func TestStoreOfAServingBroker(t *testing.T) {
	file, token := users(t)
	c := configured(t, map[string]string{"admin_listen": ":0", "auth.file": file, "allow_anonymous": "true"})
	s := start(t, c)
	if _, err := s.dial(client.Options{Protocol: "mqtt"}).Publish(within(t), client.Publication{Topic: "a", Payload: []byte("x"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"store", "check", c.Data}, {"store", "stats", c.Data}, {"store", "compact", c.Data}, {"replay", "--data", c.Data}, {"store", "backup", c.Data, c.Data + ".b"}} {
		if _, errs, code := shell(t, "", nil, args...); code != exitUsage || !strings.Contains(errs, "a broker has it open; stop it, or work on a backup") {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	url, to := "http://"+s.Admin.String(), filepath.Join(t.TempDir(), "b.db")
	for name, tc := range map[string]struct {
		env  []string
		errs string
		code int
	}{
		"nobody":            {nil, "401 Unauthorized: credentials are needed", exitRefused},
		"without the role":  {[]string{"PARLEY_TOKEN=" + token}, "403 Forbidden: the role admin is needed", exitRefused},
		"a wrong password":  {[]string{"PARLEY_USER=alice", "PARLEY_PASSWORD=x"}, "401", exitRefused},
		"whoever may do it": {[]string{"PARLEY_USER=alice", "PARLEY_PASSWORD=secret"}, "", exitOK},
	} {
		if _, errs, code := shell(t, "", tc.env, "store", "backup", "--force", url, to); code != tc.code || !strings.Contains(errs, tc.errs) {
			t.Errorf("%s: %d %s", name, code, errs)
		}
	}
	if out, errs, code := shell(t, "", nil, "replay", "--data", to, "--format", "raw", "--filter", "a"); code != exitOK || out != "x\n" {
		t.Errorf("%d %q %s", code, out, errs)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Data, "*backup*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A backup of the real broker under load holds everything that was acknowledged
// before it began, and of what came later a prefix, in each publisher's order;
// restored, it serves, under a new epoch.
func TestBackupOfTheServingBinary(t *testing.T) {
	p := spawn(t, "--listen", "127.0.0.1:0", "--admin-listen", ":0", "--set", "drain.spread=0s")
	url := p.url()
	admin := "http://" + strings.Fields(p.log.wait(t, "operators\" address="))[0]
	const publishers = 4
	var mu sync.Mutex
	var acked [publishers]int
	stop, started := make(chan struct{}), make(chan struct{}, publishers*100)
	var wg sync.WaitGroup
	for n := range publishers {
		c, err := client.Dial(within(t), client.Options{URL: url, Protocol: "mqtt"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wg.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Publish(within(t), client.Publication{Topic: fmt.Sprintf("load/%d", n), Payload: fmt.Appendf(nil, "%d", i), QoS: 1}); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[n] = i
				mu.Unlock()
				if i <= 100 {
					started <- struct{}{}
				}
			}
		})
	}
	for range publishers * 100 {
		<-started
	}
	dir := t.TempDir()
	for round := range 3 {
		mu.Lock()
		before := acked
		mu.Unlock()
		file := filepath.Join(dir, fmt.Sprintf("%d.db", round))
		if _, errs, code := shell(t, "", nil, "store", "backup", admin, file); code != exitOK {
			t.Fatalf("backup: %d %s", code, errs)
		}
		out, errs, code := shell(t, "", nil, "replay", "--data", file, "--filter", "load/#")
		if code != exitOK {
			t.Fatalf("replay: %d %s", code, errs)
		}
		var seen [publishers]int
		last := 0
		for line := range strings.Lines(out) {
			var offset, n, i int
			var stamp string
			if _, err := fmt.Sscanf(line, "#%d %s load/%d %d", &offset, &stamp, &n, &i); err != nil || offset <= last || i != seen[n]+1 {
				t.Fatalf("%q after offset %d and number %d: %v", line, last, seen[n], err)
			}
			last, seen[n] = offset, i
		}
		for n := range publishers {
			if seen[n] < before[n] {
				t.Errorf("publisher %d: %d were acknowledged before the backup, which has %d", n, before[n], seen[n])
			}
		}
	}
	close(stop)
	wg.Wait()
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	restored := filepath.Join(dir, "restored")
	if _, errs, code := shell(t, "", nil, "store", "restore", filepath.Join(dir, "2.db"), restored); code != exitOK {
		t.Fatalf("restore: %d %s", code, errs)
	}
	again := spawn(t, "--listen", "127.0.0.1:0", "--data", restored, "--set", "drain.spread=0s")
	if _, errs, code := shell(t, "", nil, "pub", "--url", again.url(), "load/0", "more"); code != exitOK {
		t.Errorf("publish to the restored store: %d %s", code, errs)
	}
}

// A compaction that is killed leaves the old file or the new one, whole.
func TestCompactKilled(t *testing.T) {
	dir := filled(t, 20000)
	for _, delay := range []time.Duration{5, 15, 30, 60, 120} {
		p := spawn(t, "store", "compact", dir)
		timer := time.NewTimer(delay * time.Millisecond)
		<-timer.C // the moment of the kill, not a wait for something to happen
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if out, errs, code := shell(t, "", nil, "store", "check", dir); code != exitOK || !strings.Contains(out, "20000 messages") {
			t.Fatalf("killed after %d ms: %d %s%s", delay, code, out, errs)
		}
	}
	if out, errs, code := shell(t, "", nil, "store", "compact", dir); code != exitOK {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*compact*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An answer that is cut short, or is no store, leaves no file behind.
func TestBackupThatIsCutShort(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(filled(t, 100), bolt.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		says int
		sent []byte
		errs string
	}{
		"cut short":  {len(good), good[:len(good)/2], "unexpected EOF"},
		"cut before": {12 << 10, good[:12<<10], "truncated"},
		"no store":   {5, []byte("hello"), "store: corrupt"},
		"as it is":   {len(good), good, ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(tc.says))
			_, _ = w.Write(tc.sent)
		}))
		dir := t.TempDir()
		out, errs, code := shell(t, "", nil, "store", "backup", server.URL, filepath.Join(dir, "b.db"))
		server.Close()
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if tc.errs == "" {
			if code != exitOK || len(left) != 1 {
				t.Errorf("%s: %d %s%s, %v", name, code, out, errs, left)
			}
			continue
		}
		if code != exitFailed || !strings.Contains(errs, tc.errs) || len(left) > 0 {
			t.Errorf("%s: %d %s%s, left behind %v", name, code, out, errs, left)
		}
	}
}
