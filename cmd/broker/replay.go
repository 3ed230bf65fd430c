package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// replayFlags say what of the log to print, and how.
type replayFlags struct {
	data, from, filter, namespace, format string
	limit                                 int
}

func replayCommand(s *streams) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use: "replay", Short: "Print what the log of a stopped broker, or of a backup, holds", Args: cobra.NoArgs,
		Long: `Print the messages that a store holds, oldest first. It reads a directory or a
backup that no broker has open, and changes nothing. Clients of a running broker
subscribe to $replay/<from>/<filter> instead, as far as the policy lets them.

--format text is one line per message: offset, time, topic and payload; json one
object per line, with its properties; raw the payloads alone, a line each.`,
		Example: `  broker replay --data ./data --filter 'sensors/#' --limit 10
  broker replay --data backup.db --from @2026-01-31T12:00:00Z --format json | jq .topic
  broker replay --from 1000 --format raw > payloads`,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data, "data", cmp.Or(s.getenv("PARLEY_DATA"), "./data"), "the `directory` of the store, or a backup (PARLEY_DATA)")
	flags.StringVar(&f.from, "from", "earliest", "where to begin: an `offset`, earliest, or @ and a UTC time such as @2026-01-31T12:00:00Z")
	flags.StringVar(&f.filter, "filter", "#", "only topics that this MQTT `filter` matches; # leaves out those that begin with $")
	flags.StringVar(&f.namespace, "namespace", "", "the `namespace` (default: the only one, or default)")
	flags.StringVarP(&f.format, "format", "o", "text", "one of text, json, raw")
	flags.IntVarP(&f.limit, "limit", "n", 0, "at most this many messages; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json", "raw"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(*cobra.Command, []string) error {
		out := bufio.NewWriter(s.out)
		err := f.run(out)
		return storeError(errors.Join(err, out.Flush()))
	}
	return cmd
}

func (f *replayFlags) run(out io.Writer) error {
	filter, err := msg.ParseFilter(f.filter)
	if err != nil {
		return usagef("--filter %q: %w", f.filter, err)
	}
	print, ok := map[string]func(io.Writer, *msg.Message) error{"text": replayText, "json": replayJSON, "raw": replayRaw}[f.format]
	if !ok {
		return usagef("--format %s: give one of text, json, raw", f.format)
	}
	if f.limit < 0 {
		return usagef("--limit %d: give 0 or more", f.limit)
	}
	start, err := parseFrom(f.from)
	if err != nil {
		return err
	}
	store, err := bolt.OpenReadOnly(f.data, bolt.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	namespace, err := pickNamespace(store.Namespaces(), f.namespace)
	if err != nil {
		return err
	}
	from, err := start(store, namespace)
	printed := 0
	for err == nil && (f.limit == 0 || printed < f.limit) {
		var ms []*msg.Message
		if ms, from, err = store.Read(namespace, from, 0, persist.Limits{}); len(ms) == 0 {
			return err
		}
		for _, m := range ms {
			if !filter.Matches(m.Topic) || f.limit > 0 && printed == f.limit {
				continue
			}
			if err := print(out, m); err != nil {
				return err
			}
			printed++
		}
	}
	return err
}

func pickNamespace(have []string, want string) (string, error) {
	if want == "" && len(have) == 1 {
		return have[0], nil
	}
	want = cmp.Or(want, "default")
	if !slices.Contains(have, want) {
		return "", usagef("no namespace %q in the store; it has %q (--namespace)", want, have)
	}
	return want, nil
}

// parseFrom reads where to begin; the offset of a time is known in a store only.
func parseFrom(text string) (func(*bolt.Store, string) (msg.Offset, error), error) {
	fixed := func(at msg.Offset) func(*bolt.Store, string) (msg.Offset, error) {
		return func(*bolt.Store, string) (msg.Offset, error) { return at, nil }
	}
	if text == "earliest" {
		return fixed(0), nil
	}
	if moment, ok := strings.CutPrefix(text, "@"); ok {
		t, err := time.Parse(time.RFC3339Nano, moment)
		if err == nil {
			return func(s *bolt.Store, namespace string) (msg.Offset, error) {
				return offsetAt(s, namespace, t.UnixMilli())
			}, nil
		}
	} else if at, err := strconv.ParseUint(text, 10, 64); err == nil {
		return fixed(msg.Offset(at)), nil
	}
	return nil, usagef("--from %q: give an offset, earliest, or a time such as @2026-01-31T12:00:00Z", text)
}

// offsetAt finds the first message that is not older than a time in Unix
// milliseconds; times never go backwards along a log.
func offsetAt(s *bolt.Store, namespace string, ms int64) (at msg.Offset, err error) {
	info, err := s.State(namespace, persist.Visitor{})
	if err != nil || info.First == 0 {
		return info.Head + 1, err
	}
	n := sort.Search(int(info.Head-info.First)+1, func(i int) bool {
		if err != nil {
			return true
		}
		var some []*msg.Message
		some, _, err = s.Read(namespace, info.First+msg.Offset(i), info.Head, persist.Limits{Messages: 1})
		return err != nil || len(some) == 0 || some[0].Time >= ms
	})
	return info.First + msg.Offset(n), err
}

func replayText(out io.Writer, m *msg.Message) error {
	stamp := time.UnixMilli(m.Time).UTC().Format("2006-01-02T15:04:05.000Z")
	_, err := fmt.Fprintf(out, "#%d %s %s %s\n", m.Offset, stamp, visible(m.Topic), visibleBytes(m.Payload.BytesView()))
	return err
}

func replayRaw(out io.Writer, m *msg.Message) error {
	_, err := fmt.Fprintf(out, "%s\n", m.Payload.BytesView())
	return err
}

func replayJSON(out io.Writer, m *msg.Message) error {
	data, encoding := m.Payload.JSONView()
	user := make([][2]string, len(m.User))
	for i, u := range m.User {
		user[i] = [2]string{u.Name, u.Value}
	}
	line := struct {
		Offset        msg.Offset      `json:"offset"`
		Time          time.Time       `json:"time"`
		Topic         string          `json:"topic"`
		Data          json.RawMessage `json:"data"`
		Encoding      string          `json:"encoding,omitempty"`
		Via           string          `json:"via,omitempty"`
		QoS           msg.QoS         `json:"qos,omitempty"`
		Retain        bool            `json:"retain,omitempty"`
		ContentType   string          `json:"content_type,omitempty"`
		Expires       *time.Time      `json:"expires,omitempty"`
		ResponseTopic string          `json:"response_topic,omitempty"`
		Correlation   []byte          `json:"correlation,omitempty"`
		User          [][2]string     `json:"user,omitempty"`
		Key           string          `json:"key,omitempty"`
		Publisher     string          `json:"publisher,omitempty"`
	}{m.Offset, time.UnixMilli(m.Time).UTC(), m.Topic, data, encoding, m.Via, m.QoS, m.Retain, m.Payload.ContentType, nil,
		m.ResponseTopic, m.Correlation, user, m.Key, m.Origin.User}
	if m.Expires != 0 {
		at := time.UnixMilli(m.Expires).UTC()
		line.Expires = &at
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(line)
}
