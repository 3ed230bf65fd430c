package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script reads a history that is written by hand, an event a line, a second apart:
//
//	kind client conn words...
//
// Words: a message as publisher/seq or publisher/seq.attempt, >topic, :filter,
// @offset, q0 to q2, key=k, will=publisher/seq, delay=1s, and the names of flags.
// "+5s" lets time pass.
func script(t *testing.T, text string) []Event {
	t.Helper()
	var out []Event
	at := time.Duration(0)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if d, ok := strings.CutPrefix(words[0], "+"); ok {
			more, err := time.ParseDuration(d)
			if err != nil {
				t.Fatal(err)
			}
			at += more
			continue
		}
		at += time.Second
		e := Event{At: at, Kind: Kind(words[0]), Protocol: "mqtt"}
		for i, word := range words[1:] {
			if err := e.word(i, word); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		out = append(out, e)
	}
	return out
}

func (e *Event) word(i int, word string) (err error) {
	name, value, _ := strings.Cut(word, "=")
	switch {
	case i == 0:
		e.Client = word
	case i == 1:
		e.Conn, err = strconv.Atoi(word)
	case word[0] == '>':
		e.Topic = word[1:]
	case word[0] == ':':
		e.Filter = word[1:]
	case word[0] == '@':
		e.Offset, err = strconv.ParseUint(word[1:], 10, 64)
	case name == "last":
		e.Last, err = strconv.ParseUint(value, 10, 64)
	case word == "q0", word == "q1", word == "q2":
		e.QoS = word[1] - '0'
	case name == "key":
		e.Key = value
	case name == "will":
		e.Will = &Will{Topic: "w", QoS: 1}
		e.Will.Message, err = parseID(value)
	case name == "delay":
		e.Will.Delay, err = time.ParseDuration(value)
	case word == "json", word == "wamp":
		e.Protocol = word
	case strings.Contains(word, "/"):
		e.Message, err = parseID(word)
	default:
		err = e.flag(word)
	}
	return err
}

func (e *Event) flag(word string) error {
	switch word {
	case "durable":
		e.Durable = true
	case "clean":
		e.Clean = true
	case "present":
		e.Present = true
	case "retain":
		e.Retain = true
	case "marked":
		e.Marked = true
	case "retained":
		e.Retained = true
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func parseID(s string) (id ID, err error) {
	publisher, rest, _ := strings.Cut(s, "/")
	seq, attempt, more := strings.Cut(rest, ".")
	id.Publisher = publisher
	if id.Seq, err = strconv.ParseUint(seq, 10, 64); err == nil && more {
		id.Attempt, err = strconv.Atoi(attempt)
	}
	return id, err
}

// rules are the rules broken in a history, each once, in order of the alphabet.
func rules(events []Event) []Rule {
	var out []Rule
	for _, f := range Check(events, Limits{WillGrace: 10 * time.Second, Tolerance: 2 * time.Second}) {
		out = append(out, f.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
