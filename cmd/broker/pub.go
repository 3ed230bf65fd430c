package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"parley/client"
	"parley/msg"
)

type pubFlags struct {
	*connectFlags
	mqtt    mqttFlags
	message client.Publication // but for topic and payload
	file    string
	lines   bool
	count   int
}

func pubCommand(s *streams) *cobra.Command {
	var f pubFlags
	cmd := &cobra.Command{
		Use: "pub topic [payload]", Short: "Publish a message, over any of the protocols",
		Long: `Publish a message. The payload is the argument, else a file (--file), else
standard input. With QoS 1, the default, it returns after the broker has stored
the message; if that fails the exit code is not 0. JSON publishes are always QoS 1.`,
		Example: `  broker pub sensors/1 '{"celsius": 21.5}'
  broker pub --protocol mqtt --retain --qos 2 status/door open
  broker pub -p mqtt --expiry 1m --property unit=C --response-topic answers sensors/1 21.5
  tail -f log | broker pub --lines logs/web
  broker pub --retain status/door ''       # clears the retained value`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), s, args) },
	}
	f.connectFlags = addConnectFlags(cmd, s, "text", "json")
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "`file` with the payload; - is standard input")
	flags.BoolVarP(&f.lines, "lines", "l", false, "publish every line of the input as a message of its own")
	flags.BoolVarP(&f.message.Retain, "retain", "r", false, "keep as the topic's retained value")
	flags.Uint8VarP(&f.message.QoS, "qos", "q", 1, "0: do not wait; 1: wait until it is stored; 2: and exactly once (MQTT)")
	flags.IntVarP(&f.count, "count", "n", 1, "publish it this many times")
	flags.StringVar(&f.message.ContentType, "content-type", "", "MIME type of the payload (MQTT and JSON)")
	flags.DurationVarP(&f.timeout, "timeout", "t", 10*time.Second, "for connecting and for each message; 0 waits for ever")
	f.mqtt.addSession(flags, &f.MQTT)
	f.mqtt.addPublication(flags, &f.message)
	return cmd
}

func (f *pubFlags) run(ctx context.Context, s *streams, args []string) error {
	if err := f.mqtt.apply(f.Protocol, f.message.QoS, &f.MQTT, &f.message); err != nil {
		return err
	}
	if err := msg.Publishable(args[0]); err != nil {
		return usagef("topic %q: %w", args[0], err)
	}
	if err := msg.ValidTopic(args[0]); err != nil {
		return usagef("topic %q: %w", args[0], err)
	}
	if len(args) == 2 && (f.file != "" || f.lines) {
		return usagef("both a payload and --file or --lines; give one of them")
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	input, err := f.open(s, args)
	if err != nil {
		return err
	}
	defer input.Close()
	dialing, cancel := bounded(ctx, f.timeout)
	defer cancel()
	c, err := f.dial(dialing, s)
	if err != nil {
		return err
	}
	err = f.publish(ctx, s, c, args, input)
	return errors.Join(err, c.Close())
}

// open returns where the payload comes from when it is no argument.
func (f *pubFlags) open(s *streams, args []string) (io.ReadCloser, error) {
	if len(args) == 2 || f.file == "" || f.file == "-" {
		return io.NopCloser(s.in), nil
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, usageError{err}
	}
	return file, nil
}

func (f *pubFlags) publish(ctx context.Context, s *streams, c client.Client, args []string, input io.Reader) error {
	if f.lines {
		lines := bufio.NewScanner(input)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			if err := f.repeat(ctx, s, c, args[0], []byte(lines.Text())); err != nil {
				return err
			}
		}
		return lines.Err()
	}
	if len(args) == 2 {
		return f.repeat(ctx, s, c, args[0], []byte(args[1]))
	}
	payload, err := io.ReadAll(input)
	if err != nil {
		return fmt.Errorf("read payload: %w", err)
	}
	return f.repeat(ctx, s, c, args[0], payload)
}

func (f *pubFlags) repeat(ctx context.Context, s *streams, c client.Client, topic string, payload []byte) error {
	for range f.count {
		if err := f.one(ctx, s, c, topic, payload); err != nil {
			return fmt.Errorf("publish to %s: %w", topic, err)
		}
	}
	return nil
}

func (f *pubFlags) one(ctx context.Context, s *streams, c client.Client, topic string, payload []byte) error {
	ctx, cancel := bounded(ctx, f.timeout)
	defer cancel()
	m := f.message
	m.Topic, m.Payload = topic, payload
	offset, err := c.Publish(ctx, m)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return json.NewEncoder(s.out).Encode(struct {
			Topic  string     `json:"topic"`
			Bytes  int        `json:"bytes"`
			Offset msg.Offset `json:"offset,omitempty"`
		}{topic, len(payload), offset})
	}
	if offset > 0 {
		f.say(s, "published %d bytes to %s at offset %d", len(payload), topic, offset)
	} else {
		f.say(s, "published %d bytes to %s", len(payload), topic)
	}
	return nil
}
