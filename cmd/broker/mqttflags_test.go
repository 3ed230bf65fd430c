package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// What only MQTT has, from the shell through the broker to the shell: a session
// that collects while nobody is connected, properties, QoS 2, shared groups,
// retain handling, a will.
func TestShellMQTTOptions(t *testing.T) {
	s := start(t, configured(t, map[string]string{"mqtt_listen": "127.0.0.1:0"}))
	env := []string{"PARLEY_URL=" + s.url(), "PARLEY_PROTOCOL=mqtt"}
	run := func(want int, args ...string) string {
		t.Helper()
		out, errs, code := shell(t, "", env, args...)
		if code != want {
			t.Fatalf("%v: exit code %d: %s", args, code, errs)
		}
		return out
	}
	truck := []string{"sub", "-q", "2", "-o", "json", "--client-id", "truck", "--resume", "--session-expiry", "1h", "--subscription-id", "7"}
	run(exitOK, append(truck, "-t", "50ms", "fleet/#")...) // makes the session and leaves
	run(exitOK, "pub", "-q", "2", "--expiry", "1h", "--response-topic", "answers", "--correlation", "c1", "--text",
		"--property", "a=1", "--property", "a=2", "--content-type", "text/plain", "fleet/x", "hello")
	var m struct {
		Topic, Data     string
		QoS, Expiry     int
		ResponseTopic   string      `json:"response_topic"`
		Correlation     []byte      `json:"correlation"`
		ContentType     string      `json:"content_type"`
		User            [][2]string `json:"user"`
		SubscriptionIDs []int       `json:"subscription_ids"`
	}
	out := run(exitOK, append(truck, "-n", "1", "-t", "20s", "fleet/#")...)
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if m.Topic != "fleet/x" || m.Data != "hello" || m.QoS != 2 || m.Expiry < 3000 || m.Expiry > 3600 || m.ResponseTopic != "answers" ||
		string(m.Correlation) != "c1" || m.ContentType != "text/plain" || len(m.User) != 2 || m.User[1] != [2]string{"a", "2"} ||
		len(m.SubscriptionIDs) != 1 || m.SubscriptionIDs[0] != 7 {
		t.Errorf("%s", out)
	}

	for range 2 { // the second time it is there already
		run(exitOK, "pub", "--property", "parley-key=once", "keyed/x", "stored once")
	}
	run(exitOK, "pub", "keyed/y", "behind")
	if out := run(exitOK, "sub", "-n", "2", "-t", "20s", "$replay/earliest/keyed/#"); out != "keyed/x stored once\nkeyed/y behind\n" {
		t.Errorf("replayed: %q", out)
	}

	group := []string{"sub", "--client-id", "w", "--resume", "--session-expiry", "1h", "$share/g/jobs"}
	run(exitOK, append(group, "-t", "50ms")...)
	run(exitOK, "pub", "jobs", "one")
	if out := run(exitOK, append(group, "-n", "1", "-t", "20s")...); out != "jobs one\n" {
		t.Errorf("shared: %q", out)
	}

	run(exitOK, "pub", "--retain", "kept", "value")
	if out := run(exitOK, "sub", "-t", "100ms", "--retain-handling", "2", "kept"); out != "" {
		t.Errorf("retain handling 2: %q", out)
	}
	if out := run(exitOK, "sub", "-n", "1", "-t", "20s", "--no-local", "--retain-as-published", "kept"); out != "kept value\n" {
		t.Errorf("retained: %q", out)
	}

	run(exitOK, "pub", "--client-id", "dying", "--will-topic", "wills/x", "--will-payload", "gone", "--will-qos", "1", "--will-retain",
		"--will-delay", "5s", "--will-expiry", "1h", "--will-property", "b=1", "other", "x") // a goodbye: no will
	if out := run(exitTimeout, "sub", "-n", "1", "-t", "200ms", "wills/#"); strings.Contains(out, "gone") {
		t.Errorf("will after a goodbye: %q", out)
	}
}
