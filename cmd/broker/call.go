package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"parley/client"
)

type callFlags struct {
	*connectFlags
	kwargs string
}

func callCommand(s *streams) *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use: "call procedure [argument]...", Short: "Call a procedure, over WAMP or JSON",
		Long: `Call a procedure by its URI. Arguments that are JSON are sent as such, others as
strings. The result is printed: a single string as it is, anything else as JSON.
An error of the procedure is printed with its URI, and the exit code is 1.`,
		Example: `  broker call com.example.add 2 3
  broker call --protocol wamp com.example.greet Ada
  broker call com.example.search --kwargs '{"limit": 10}' -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), s, args) },
	}
	f.connectFlags = addConnectFlags(cmd, s, "text", "json")
	flags := cmd.Flags()
	flags.StringVarP(&f.kwargs, "kwargs", "k", "", "named arguments: a JSON `object`")
	flags.DurationVarP(&f.timeout, "timeout", "t", 30*time.Second, "for connecting and the answer; 0 waits for ever")
	return cmd
}

func (f *callFlags) run(ctx context.Context, s *streams, args []string) error {
	call := client.Args{}
	for _, a := range args[1:] {
		call.List = append(call.List, argument(a))
	}
	if f.kwargs != "" {
		v, err := client.ParseValue([]byte(f.kwargs))
		named, ok := v.(map[string]any)
		if err != nil || !ok {
			return usagef("--kwargs %s: give a JSON object, such as '{\"limit\": 10}'", f.kwargs)
		}
		call.Named = named
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := bounded(ctx, f.timeout)
	defer cancel()
	c, err := f.dial(ctx, s)
	if err != nil {
		return err
	}
	result, err := c.Call(ctx, args[0], call)
	if err != nil {
		return errors.Join(fmt.Errorf("call %s: %w", args[0], err), c.Close())
	}
	return errors.Join(f.print(s, result), c.Close())
}

func argument(text string) any {
	if v, err := client.ParseValue([]byte(text)); err == nil {
		return v
	}
	return text
}

func (f *callFlags) print(s *streams, result client.Args) error {
	if f.output == "json" {
		return json.NewEncoder(s.out).Encode(result.JSON())
	}
	if len(result.List) == 0 && len(result.Named) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(s.out, strings.TrimRight(visibleBytes(result.Bytes()), "\n"))
	return err
}
