package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestPage drives the playground in headless Chromium (js/page.mjs): publish in
// each panel, see it in the other two. The screenshots stay under build/.
func TestPage(t *testing.T) {
	chromium := requireCommand(t, "chromium")
	shots, err := filepath.Abs(filepath.Join("..", "build"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	b := startBroker(t, "")
	steps := browse(t, "page.mjs", "http://"+b.listen+"/", shots, chromium)
	if steps < 15 {
		t.Errorf("page.mjs took %d steps: did it end early?", steps)
	}
	for _, name := range []string{"playground-light.png", "playground-dark.png", "playground-narrow.png"} {
		if info, err := os.Stat(filepath.Join(shots, name)); err != nil || info.Size() < 10_000 || time.Since(info.ModTime()) > 5*patience {
			t.Errorf("no new screenshot %s: %v", name, err)
		}
	}
}

// TestPageCanBeSwitchedOff: then / is no page, and still an endpoint.
func TestPageCanBeSwitchedOff(t *testing.T) {
	b := startBroker(t, "playground: false")
	if status, body := get(t, b, "/"); status == 200 {
		t.Errorf("status %d: %.100s", status, body)
	}
	startDriver(t).open("page", "bare", b, nil)
}

// TestSignIn: the page's sign-in serves all three clients.
func TestSignIn(t *testing.T) {
	chromium := requireCommand(t, "chromium")
	b, _ := startGuarded(t)
	if steps := browse(t, "signin.mjs", "http://"+b.listen+"/", chromium, "alice", "correct horse"); steps != 4 {
		t.Errorf("signin.mjs took %d steps, want 4", steps)
	}
}

// browse runs a script that drives the browser. Each step that it reports becomes
// a test of its own; it returns their number.
func browse(t *testing.T, script string, arguments ...string) (steps int) {
	t.Helper()
	node := requireCommand(t, "node")
	_, err := os.Stat(filepath.Join("js", "node_modules", "playwright-core"))
	require(t, err == nil, "e2e/js/node_modules")
	cmd := exec.Command(node, append([]string{script}, arguments...)...)
	cmd.Dir, cmd.Stderr = "js", os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tooLong := time.AfterFunc(5*patience, func() { _ = cmd.Process.Kill() }) // reported by Wait
	defer tooLong.Stop()
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var step struct{ Step, Error string }
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			t.Fatalf("%s wrote %q", script, lines.Text())
		}
		steps++
		t.Run(step.Step, func(t *testing.T) {
			if step.Error != "" {
				t.Error(step.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", script, err)
	}
	return steps
}
