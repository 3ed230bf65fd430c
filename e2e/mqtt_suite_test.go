package e2e

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// suite has the groups of testmqtt by version, and how many tests they have in all: should the
// suite have more one day, the sum says so.
var suite = map[string]suiteOf{
	"3": {77, []string{
		"Connection", "Publish/Subscribe", "Topics", "QoS", "Will Messages", "Unsubscribe", "PING", "Session State",
		"Packet Validation", "UTF-8 Validation", "Remaining Length", "Negative Tests",
	}},
	"5": {139, []string{
		"Remaining Length Encoding", "Packet Format Validation", "UTF-8 String Validation", "Connection", "Publish/Subscribe",
		"SUBSCRIBE Extended Features", "UNSUBSCRIBE & UNSUBACK", "PING (Keep Alive)", "DISCONNECT Packet",
		"QoS Handshake (PUBACK/PUBREC/PUBREL/PUBCOMP)", "QoS", "Flow Control (Receive Maximum)", "Topics", "Topic Alias",
		"Message Expiry Interval", "Subscription Identifiers", "Shared Subscriptions", "Session", "Will Message", "Properties",
		"CONNACK Properties", "Error Handling & Edge Cases", "Negative Tests & Protocol Violations", "Additional Negative Tests",
	}},
}

var (
	colours = regexp.MustCompile("\x1b\\[[0-9;]*m")
	verdict = regexp.MustCompile(`(?m)^\s*[✓✗] (PASS|FAIL) (.*) \([^)]*\)$`)
)

// TestSuiteOfOthers runs the conformance suite github.com/bromq-dev/testmqtt
// (pinned in the module testmqtt) over plain TCP, its groups side by side.
func TestSuiteOfOthers(t *testing.T) {
	t.Parallel() // it waits most of the time
	binary, err := filepath.Abs(filepath.Join("..", "build", "testmqtt"))
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, "github.com/bromq-dev/testmqtt")
	build.Dir = "testmqtt"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build testmqtt: %v\n%s", err, out)
	}
	// Some of its tests wait for the broker to lose patience.
	const impatient = "gateway: {timeouts: {handshake: 2s}}"
	var wg sync.WaitGroup
	for version, s := range suite {
		b, apart := startBroker(t, impatient), startBroker(t, impatient)
		wg.Go(func() {
			if all := s.run(t, binary, version, b.mqtt, apart.mqtt); all != s.tests {
				t.Errorf("version %s: %d tests were run, want %d", version, all, s.tests)
			}
		})
	}
	wg.Wait()
}

type suiteOf struct {
	tests  int
	groups []string
}

// run runs all groups and returns how many tests they had.
func (s suiteOf) run(t *testing.T, binary, version, address, apart string) (all int) {
	var wg sync.WaitGroup
	results := make([]map[string]string, len(s.groups))
	for i, group := range s.groups {
		to := address
		if group == "Topics" { // its wildcards see what the other groups publish
			to = apart
		}
		wg.Go(func() { results[i] = runSuite(t, binary, version, to, group) })
	}
	wg.Wait()
	for i, group := range s.groups {
		all += len(results[i])
		for name, problem := range results[i] {
			if problem != "" {
				t.Errorf("version %s: %s: %s: %s", version, group, name, problem)
			}
		}
	}
	return all
}

// runSuite runs one group and returns what each test complains of. The suite's
// tests of wills at level 3 disconnect in a way that lets the DISCONNECT packet
// race with the close: if the packet wins there must be no will, and the test
// fails. So that group may try again; what passed once, passed.
func runSuite(t *testing.T, binary, version, address, group string) map[string]string {
	attempts := 1
	if version == "3" && group == "Will Messages" {
		attempts = 8
	}
	result := map[string]string{}
	for range attempts {
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		out, err := exec.CommandContext(ctx, binary, "conformance", "--version", version, "--broker", "tcp://"+address, "--verbose", "--tests", group).CombinedOutput()
		cancel()
		text := colours.ReplaceAllString(string(out), "")
		failed := 0
		for _, m := range verdict.FindAllStringSubmatch(text, -1) {
			switch was, seen := result[m[2]]; {
			case m[1] == "PASS":
				result[m[2]] = ""
			case !seen || was != "":
				result[m[2]] = "failed"
				if _, details, ok := strings.Cut(text, ": "+strings.TrimSpace(strings.Split(m[2], " [")[0])+"\n"); ok {
					result[m[2]], _, _ = strings.Cut(details, "\n\n")
				}
				failed++
			}
		}
		if (err != nil) != strings.Contains(text, "✗ FAIL") || len(result) == 0 {
			t.Errorf("%s ended with %v:\n%s", group, err, text)
		}
		if failed == 0 {
			break
		}
	}
	return result
}

// TestPahoFunctional runs the functional tests that paho.mqtt.golang brings for
// itself, over TCP and over WebSocket. They are taken from the module as it was
// downloaded; only where the broker is, is told in another way.
func TestPahoFunctional(t *testing.T) {
	t.Parallel() // it waits most of the time
	const module = "github.com/eclipse/paho.mqtt.golang"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copied := filepath.Join(dir, "paho")
	if err := os.CopyFS(copied, os.DirFS(strings.TrimSpace(string(out)))); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		_ = os.Chmod(path, 0o644) // the module cache is read-only, and so is the copy; a new file has no mode yet
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(copied, "fvt_test.go"), "package mqtt\n\nimport \"os\"\n\nvar FVTTCP = os.Getenv(\"PARLEY_BROKER\")\n")
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "go.mod" {
			text = append(text, "\nreplace "+module+" => "+copied+"\n"...)
		}
		write(filepath.Join(dir, name), string(text))
	}
	binary := filepath.Join(dir, "paho.test")
	if out, err := exec.Command("go", "test", "-c", "-o", binary, "-modfile", filepath.Join(dir, "go.mod"), module).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	tests := testsOf(t, filepath.Join(copied, "fvt_client_test.go"))
	if len(tests) < 30 {
		t.Fatalf("%d functional tests found: %v", len(tests), tests)
	}
	over := func(address string) {
		cmd := exec.Command(binary, "-test.v", "-test.timeout", "3m", "-test.run", "^("+strings.Join(tests, "|")+")$")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PARLEY_BROKER="+address)
		out, err := cmd.CombinedOutput()
		passed := strings.Count("\n"+string(out), "\n--- PASS: ")
		if err != nil || passed != len(tests) {
			t.Errorf("%s: %v, %d of %d passed:\n%s", address, err, passed, len(tests), out)
		}
	}
	var wg sync.WaitGroup
	plain, web := startBroker(t, ""), startBroker(t, "")
	wg.Go(func() { over("tcp://" + plain.mqtt) })
	wg.Go(func() { over("ws://" + web.listen + "/mqtt") })
	wg.Wait()
}

func testsOf(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
			names = append(names, f.Name.Name)
		}
	}
	return names
}
