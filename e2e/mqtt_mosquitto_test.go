package e2e

import (
	"bufio"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// mosquittoVersions are what mosquitto's clients call the versions. They speak
// plain TCP only.
var mosquittoVersions = []string{"mqttv31", "mqttv311", "mqttv5"}

// mosquittoSub is a running mosquitto_sub. Each message is one line: topic, QoS,
// retained or not, payload.
type mosquittoSub struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // messages; closed at its end
}

func (b *broker) mosquittoArgs(version string, more []string) []string {
	host, port, _ := strings.Cut(b.mqtt, ":")
	return append([]string{"-h", host, "-p", port, "-V", version}, more...)
}

// mosquittoPub runs mosquitto_pub to its end.
func (b *broker) mosquittoPub(version string, more ...string) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "mosquitto_pub", b.mosquittoArgs(version, more)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("mosquitto_pub %s: %v\n%s", more, err, out)
	}
}

// mosquittoSub starts mosquitto_sub and waits for its subscription.
func (b *broker) mosquittoSub(version string, more ...string) *mosquittoSub {
	b.t.Helper()
	arguments := append(b.mosquittoArgs(version, more), "-d", "-F", "message %t %q %r %p")
	s := &mosquittoSub{t: b.t, lines: make(chan string, 10_000)}
	// Without stdbuf nothing would come through the pipe before the end.
	s.cmd = exec.CommandContext(b.t.Context(), "stdbuf", append([]string{"-oL", "mosquitto_sub"}, arguments...)...)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	subscribed := make(chan struct{})
	go func() {
		defer close(s.lines)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "Subscribed") {
				close(subscribed)
			} else if m, ok := strings.CutPrefix(lines.Text(), "message "); ok {
				s.lines <- m
			}
		}
	}()
	select {
	case <-subscribed:
	case <-time.After(patience):
		b.t.Fatalf("mosquitto_sub %s did not subscribe", more)
	}
	return s
}

// wait waits for its end.
func (s *mosquittoSub) wait() {
	s.t.Helper()
	for range s.lines { // Wait may only follow the last line
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("mosquitto_sub: %v", err)
	}
}

// kill ends it without a goodbye.
func (s *mosquittoSub) kill() {
	_ = s.cmd.Process.Kill() // stdbuf has become mosquitto_sub
	for range s.lines {
	}
	_ = s.cmd.Wait() // "killed" is what was wanted
}

func (s *mosquittoSub) expect(want ...string) {
	s.t.Helper()
	for _, w := range want {
		select {
		case got, ok := <-s.lines:
			if !ok || got != w {
				s.t.Fatalf("mosquitto_sub shows %q (running: %v), want %q", got, ok, w)
			}
		case <-time.After(patience):
			s.t.Fatalf("mosquitto_sub shows nothing, want %q", w)
		}
	}
}

// take waits for n messages.
func (s *mosquittoSub) take(n int) (got []string) {
	s.t.Helper()
	for range n {
		select {
		case line := <-s.lines:
			got = append(got, line)
		case <-time.After(patience):
			s.t.Fatalf("mosquitto_sub shows %q, %d messages were awaited", got, n)
		}
	}
	return got
}

func eachMosquitto(t *testing.T, f func(t *testing.T, b *broker, version string)) {
	requireCommand(t, "mosquitto_pub")
	requireCommand(t, "mosquitto_sub")
	for _, version := range mosquittoVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, startBroker(t, ""), version)
		})
	}
}

// TestMosquittoQoS: all nine pairs of published and granted QoS, between all
// versions.
func TestMosquittoQoS(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, b *broker, version string) {
		for granted := range 3 {
			s := b.mosquittoSub(version, "-q", fmt.Sprint(granted), "-t", "t/#", "-C", "9")
			for _, from := range mosquittoVersions {
				for qos := range 3 {
					b.mosquittoPub(from, "-q", fmt.Sprint(qos), "-t", "t/"+from, "-m", "hello world")
					s.expect(fmt.Sprintf("t/%s %d 0 hello world", from, min(qos, granted)))
				}
			}
			s.wait()
		}
	})
}

// TestMosquittoSession: what comes while the client is away waits for it.
func TestMosquittoSession(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, b *broker, version string) {
		session := []string{"-c", "-i", "device", "-q", "2", "-t", "t"}
		if version == "mqttv5" {
			session = append(session, "-x", "300")
		}
		b.mosquittoSub(version, append(session, "-E")...).wait()
		for i := range 6 {
			b.mosquittoPub(version, "-q", fmt.Sprint(i%3), "-t", "t", "-m", fmt.Sprint(i))
		}
		// QoS 0 is not kept. mosquitto_sub shows QoS 2 when it is released, so
		// there is an order within each QoS only.
		s := b.mosquittoSub(version, append(session, "-C", "4")...)
		got := s.take(4)
		slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:3], b[:3]) })
		if !slices.Equal(got, []string{"t 1 0 1", "t 1 0 4", "t 2 0 2", "t 2 0 5"}) {
			t.Errorf("received %q", got)
		}
		s.wait()
		s = b.mosquittoSub(version, session...) // nothing comes twice
		b.mosquittoPub(version, "-q", "1", "-t", "t", "-m", "next")
		s.expect("t 1 0 next")
		s.kill()
	})
}

func TestMosquittoWill(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, b *broker, version string) {
		witness := b.mosquittoSub(version, "-q", "2", "-t", "will/#")
		for qos := range 3 {
			b.mosquittoSub(version, "-t", "t", "--will-topic", "will/sub", "--will-payload", "gone", "--will-qos", fmt.Sprint(qos), "--will-retain").kill()
			witness.expect(fmt.Sprintf("will/sub %d 0 gone", qos))
		}
		b.mosquittoSub(version, "-t", "t", "--will-topic", "will/none", "--will-payload", "gone", "-E").wait()
		b.mosquittoPub(version, "-t", "will/end", "-m", "x")
		witness.expect("will/end 0 0 x")
		witness.kill()
		b.mosquittoSub(version, "-q", "2", "-t", "will/+", "-C", "1").expect("will/sub 2 1 gone")
	})
}

func TestMosquittoRetained(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, b *broker, version string) {
		for qos := range 3 {
			b.mosquittoPub(version, "-r", "-q", fmt.Sprint(qos), "-t", fmt.Sprint("r/", qos), "-m", "old")
			b.mosquittoPub(version, "-r", "-q", fmt.Sprint(qos), "-t", fmt.Sprint("r/", qos), "-m", "kept")
		}
		b.mosquittoPub(version, "-r", "-q", "1", "-t", "r/3", "-m", "cleared")
		b.mosquittoPub(version, "-r", "-q", "1", "-t", "r/3", "-n")
		s := b.mosquittoSub(version, "-q", "2", "-t", "r/#", "-C", "4")
		got := s.take(3)
		slices.Sort(got)
		if want := []string{"r/0 0 1 kept", "r/1 1 1 kept", "r/2 2 1 kept"}; !slices.Equal(got, want) {
			t.Errorf("retained %q, want %q", got, want)
		}
		b.mosquittoPub(version, "-r", "-t", "r/live", "-m", "x")
		s.expect("r/live 0 0 x")
		s.wait()
	})
}

// TestMosquittoShared: each message goes to one of the group, and to all who are
// not in it.
func TestMosquittoShared(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, b *broker, version string) {
		const n = 30
		members := []*mosquittoSub{
			b.mosquittoSub(version, "-q", "2", "-t", "$share/group/t/+"),
			b.mosquittoSub(version, "-q", "2", "-t", "$share/group/t/+"),
		}
		all := b.mosquittoSub(version, "-q", "2", "-t", "t/+", "-C", fmt.Sprint(n))
		pub := exec.CommandContext(t.Context(), "mosquitto_pub", b.mosquittoArgs(version, []string{"-q", "2", "-t", "t/x", "-l"})...)
		var lines, want []string
		for i := range n {
			lines = append(lines, fmt.Sprintf("%03d", i))
			want = append(want, fmt.Sprintf("t/x 2 0 %03d", i))
		}
		pub.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := pub.CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub: %v\n%s", err, out)
		}
		all.expect(want...)
		var got []string
		counts := [2]int{}
		for range n {
			select {
			case line := <-members[0].lines:
				got, counts[0] = append(got, line), counts[0]+1
			case line := <-members[1].lines:
				got, counts[1] = append(got, line), counts[1]+1
			case <-time.After(patience):
				t.Fatalf("the group received %d of %d messages", len(got), n)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || counts[0] == 0 || counts[1] == 0 {
			t.Errorf("the group received %d and %d: %q", counts[0], counts[1], got)
		}
		members[0].kill()
		members[1].kill()
		all.wait()
	})
}
