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
	node, chromium := requireCommand(t, "node"), requireCommand(t, "chromium")
	_, err := os.Stat(filepath.Join("js", "node_modules", "playwright-core"))
	require(t, err == nil, "e2e/js/node_modules")
	shots, err := filepath.Abs(filepath.Join("..", "build"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	b := startBroker(t, "")
	cmd := exec.Command(node, "page.mjs", "http://"+b.listen+"/", shots, chromium)
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

	steps := 0
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var step struct{ Step, Error string }
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			t.Fatalf("page.mjs wrote %q", lines.Text())
		}
		steps++
		t.Run(step.Step, func(t *testing.T) {
			if step.Error != "" {
				t.Error(step.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("page.mjs: %v", err)
	}
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
