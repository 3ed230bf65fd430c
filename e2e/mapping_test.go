package e2e

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"parley/msg"
)

// TestPageMapsTopicsAlike: the page's script and the broker translate topics to
// URIs and back in the same way (docs/adr/0003-topic-mapping.md).
func TestPageMapsTopicsAlike(t *testing.T) {
	node := requireCommand(t, "node")
	pieces := []string{"a", "B7", "ü", "€", "𝄞", ".", "%", " ", "\u00a0", "\u2028", "/", "//", "%00", "-", "$", "wamp", "parley", "\u3000", "~"}
	random := rand.New(rand.NewPCG(1, 2))
	topics := []string{"/", "//", "a", "100%", "$SYS/x", "wamp", "parley/x", "wampum"}
	for range 2000 {
		var b strings.Builder
		for range 1 + random.IntN(8) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		topics = append(topics, b.String())
	}
	input, err := json.Marshal(topics)
	if err != nil {
		t.Fatal(err)
	}
	const script = `
		import { uriOf, topicOf, topicProblem } from "../../admin/playground/assets/topic.js";
		const topics = JSON.parse(await new Response(process.stdin).text());
		const back = (uri) => { try { return topicOf(uri); } catch (err) { return null; } };
		console.log(JSON.stringify(topics.map((t) => ({ uri: uriOf(t), back: back(uriOf(t)), ok: topicProblem(t) === "" }))));`
	cmd := exec.Command(node, "--input-type=module", "--no-warnings", "-e", script)
	cmd.Dir, cmd.Stdin = "js", bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	results := decode[[]struct {
		URI  string
		Back *string
		OK   bool
	}](t, out)
	if len(results) != len(topics) {
		t.Fatalf("%d results for %d topics", len(results), len(topics))
	}
	for i, topic := range topics {
		r := results[i]
		if want := msg.URI(topic); r.URI != want {
			t.Errorf("topic %q: the page says %q, the broker %q", topic, r.URI, want)
		}
		publishable := msg.ValidTopic(topic) == nil && msg.Publishable(topic) == nil
		if r.OK != publishable {
			t.Errorf("topic %q: the page says publishable %v, the broker %v", topic, r.OK, publishable)
		}
		if publishable && (r.Back == nil || *r.Back != topic) {
			t.Errorf("topic %q does not come back from %q", topic, r.URI)
		}
	}
}
