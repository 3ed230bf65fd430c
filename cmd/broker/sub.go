package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"parley/client"
	"parley/msg"
)

type subFlags struct {
	*connectFlags
	mqtt  mqttFlags
	qos   uint8
	count int
}

func subCommand(s *streams) *cobra.Command {
	var f subFlags
	cmd := &cobra.Command{
		Use: "sub filter...", Short: "Subscribe and print what arrives, over any of the protocols",
		Long: `Subscribe to topic filters (MQTT syntax) and print what arrives, the retained
values first. It runs until --count messages have come, --timeout is over or it is
interrupted.

text prints topic and payload, raw the payload only, json one object a line:
{topic, data, encoding, offset, via, retained, content_type} and, over MQTT, {replayed, qos, dup,
expiry, response_topic, correlation, user, subscription_ids}, where data is the payload
as JSON, or a string that encoding ("text" or "base64") tells how to read.`,
		Example: `  broker sub 'sensors/#'
  broker sub --protocol wamp --count 1 status/door
  broker sub -o json 'sensors/+/celsius' | jq .data
  broker sub -p mqtt -q 2 '$share/workers/jobs/#'
  broker sub -p mqtt --client-id truck-7 --resume --session-expiry 24h 'fleet/#'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), s, args) },
	}
	f.connectFlags = addConnectFlags(cmd, s, "text", "json", "raw")
	flags := cmd.Flags()
	flags.Uint8VarP(&f.qos, "qos", "q", 1, "highest QoS to receive (MQTT)")
	flags.IntVarP(&f.count, "count", "n", 0, "end after this many messages; 0: go on")
	flags.DurationVarP(&f.timeout, "timeout", "t", 0, "end this long after subscribing: with exit code 4 if --count is not reached")
	f.mqtt.addSession(flags, &f.MQTT)
	f.mqtt.addSubscription(flags, &f.MQTT)
	return cmd
}

func (f *subFlags) run(ctx context.Context, s *streams, filters []string) error {
	if err := f.mqtt.apply(f.Protocol, f.qos, &f.MQTT, &client.Publication{}); err != nil {
		return err
	}
	for _, text := range filters {
		if _, err := msg.ParseFilter(text); err != nil {
			return usagef("filter %q: %w", text, err)
		}
	}
	interrupted, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &printer{flags: f, out: s.out, finished: make(chan struct{})}
	c, err := f.subscribe(interrupted, s, filters, p)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(interrupted, f.timeout)
	defer cancel()
	select {
	case <-p.finished:
		return errors.Join(p.err, c.Close())
	case <-c.Done():
		err = c.Err()
	case <-ctx.Done():
		err = nil // interrupted, or enough time was given
		if interrupted.Err() == nil && f.count > 0 {
			err = fmt.Errorf("only some of %d messages came: %w", f.count, ctx.Err())
		}
	}
	return errors.Join(err, c.Close())
}

// connectTime bounds connecting and subscribing; --timeout counts from then on.
const connectTime = 10 * time.Second

func (f *subFlags) subscribe(ctx context.Context, s *streams, filters []string, p *printer) (client.Client, error) {
	ctx, cancel := bounded(ctx, connectTime)
	defer cancel()
	c, err := f.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, filter := range filters {
		if err := c.Subscribe(ctx, filter, f.qos, p.print); err != nil {
			return nil, errors.Join(fmt.Errorf("subscribe to %s: %w", filter, err), c.Close())
		}
		f.say(s, "subscribed to %s", filter)
	}
	return c, nil
}

// printer prints messages; it is called from one goroutine.
type printer struct {
	flags    *subFlags
	out      io.Writer
	seen     int
	err      error         // set before finished is closed
	finished chan struct{} // enough were printed, or printing failed
}

func (p *printer) print(r client.Received) {
	if p.err != nil || p.flags.count > 0 && p.seen == p.flags.count {
		return
	}
	p.seen++
	switch p.flags.output {
	case "json":
		p.err = p.json(r)
	case "raw":
		_, p.err = p.out.Write(append(r.Payload, '\n'))
	default:
		_, p.err = fmt.Fprintln(p.out, p.text(r))
	}
	if p.err != nil || p.seen == p.flags.count {
		close(p.finished)
	}
}

func (p *printer) json(r client.Received) error {
	data, encoding := msg.Bytes(r.Payload).JSONView()
	return json.NewEncoder(p.out).Encode(struct {
		Topic       string          `json:"topic"`
		Data        json.RawMessage `json:"data"`
		Encoding    string          `json:"encoding,omitempty"`
		Offset      msg.Offset      `json:"offset,omitempty"`
		Via         string          `json:"via,omitempty"`
		Retained    bool            `json:"retained,omitempty"`
		Replayed    bool            `json:"replayed,omitempty"`
		ContentType string          `json:"content_type,omitempty"`

		QoS             byte        `json:"qos,omitempty"`
		Duplicate       bool        `json:"dup,omitempty"`
		Expiry          uint32      `json:"expiry,omitempty"`
		ResponseTopic   string      `json:"response_topic,omitempty"`
		Correlation     []byte      `json:"correlation,omitempty"`
		User            [][2]string `json:"user,omitempty"`
		SubscriptionIDs []int       `json:"subscription_ids,omitempty"`
	}{r.Topic, data, encoding, r.Offset, r.Via, r.Retained, r.Replayed, r.ContentType,
		r.QoS, r.Duplicate, r.Expiry, r.ResponseTopic, r.Correlation, pairs(r.User), r.SubscriptionIDs})
}

func pairs(user []client.Property) (out [][2]string) {
	for _, u := range user {
		out = append(out, [2]string{u.Name, u.Value})
	}
	return out
}

func (p *printer) text(r client.Received) string {
	line := visible(r.Topic) + " " + visibleBytes(r.Payload)
	if !p.flags.verbose {
		return line
	}
	about := "transient"
	if r.Offset > 0 {
		about = "#" + strconv.FormatUint(uint64(r.Offset), 10)
	}
	if r.Via != "" {
		about += " via " + r.Via
	}
	if r.Retained {
		about += " retained"
	}
	if r.Replayed {
		about += " replayed"
	}
	return time.Now().Format("15:04:05.000") + " " + about + ": " + line
}

// visible keeps what others wrote from steering the terminal.
func visible(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' }) {
		return strconv.Quote(text)
	}
	return text
}

func visibleBytes(b []byte) string {
	if !utf8.Valid(b) {
		return "base64:" + base64.StdEncoding.EncodeToString(b)
	}
	return visible(string(b))
}
