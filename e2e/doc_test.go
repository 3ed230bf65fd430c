// Package e2e runs clients that others wrote against the real binary: MQTT.js,
// autobahn-js, the centrifuge SDK and the bare WebSocket of Node (js/driver.mjs),
// mosquitto's command-line clients, and Chromium driving the page.
//
// The broker is built once, with the race detector, and every test starts its
// own on free ports of 127.0.0.1 with its own data. Conversations that are worth
// reading are text files, testdata/*.txt; scenario_test.go says how they are
// written.
package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take that is expected to happen at once;
// the machine may be busy and the broker runs under the race detector.
const patience = 20 * time.Second

// require skips the test when what make test installs is missing, unless the
// caller says that this is a mistake.
func require(t *testing.T, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("PARLEY_E2E") == "required":
		t.Fatalf("%s is missing: run make deps", what)
	default:
		t.Skipf("%s is missing: make test installs it", what)
	}
}

func requireCommand(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require(t, err == nil, name)
	return path
}

// builtBroker builds cmd/broker once and returns the binary's path.
var builtBroker = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(filepath.Join("..", "build", "e2e-broker"))
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-race", "-o", path, "parley/cmd/broker").CombinedOutput()
	if err != nil {
		return "", errors.New("build the broker: " + err.Error() + "\n" + strings.TrimSpace(string(out)))
	}
	return path, nil
})
