package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"parley/gateway"
	"parley/gateway/echo"
	"parley/subproto"
)

func echoCommand(s *streams) *cobra.Command {
	var listen string
	var compression, limited bool
	cmd := &cobra.Command{
		Use: "echo", Short: "Run the listener with an engine that sends everything back", Args: cobra.NoArgs,
		Long: `Run the gateway's own connection code with an engine that sends every message back,
for RFC 6455 conformance suites. Any subprotocol is accepted. Unless --limits is
given it takes messages of up to 64 MiB and as many pings as come.`,
		Example: "  broker echo --listen 127.0.0.1:9001\n  wstest -m fuzzingclient -s spec.json",
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9001", "`address` to listen on")
	cmd.Flags().BoolVar(&compression, "compression", false, "offer permessage-deflate")
	cmd.Flags().BoolVar(&limited, "limits", false, "keep to the limits that serve has by default")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return runEcho(ctx, s, listen, compression, limited)
	}
	return cmd
}

func runEcho(ctx context.Context, s *streams, listen string, compression, limited bool) error {
	o := gateway.Options{Engines: []subproto.Engine{echo.Engine{}}, AcceptAny: true, Compress: compression}
	if !limited {
		const many = 1 << 30
		o.Limits = gateway.Limits{
			MaxMessage: 64 << 20, MaxHandshake: 64 << 20, HighMark: 64 << 20, HardLimit: 256 << 20,
			ControlRate: many, ControlBurst: many, EmptyFragments: many, Rate: many,
		}
		o.Timeouts.Message = 10 * time.Minute
	}
	g, err := gateway.New(o)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintf(s.out, "echoing on ws://%s\n", l.Addr())
	return g.ServeWS(ctx, l)
}
