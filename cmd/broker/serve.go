package main

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"parley/config"
)

func serveCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the broker (what it does without a command, too)", Args: cobra.NoArgs,
		Long: `Run the broker until SIGTERM or SIGINT. Then it drains: it stops accepting, tells
every client in its protocol, spread over drain.spread, commits what is in flight
and exits with 0. A second signal ends it at once; nothing that was acknowledged
is lost either way. SIGHUP reads the authentication file again.

Exit codes: 0 drained, 1 it could not start or its store failed, 2 the command
line or the configuration is wrong.`,
		Example: `  broker serve --listen 127.0.0.1:8080 --mqtt-listen 127.0.0.1:1883
  broker serve --config parley.yaml
  PARLEY_LISTEN=0.0.0.0:8080 PARLEY_AUTH_FILE=users broker`,
	}
	flags := addConfigFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.load(cmd, s)
		if err != nil {
			return err
		}
		log := newLog(c.Config, s)
		for _, w := range c.Warnings {
			log.Warn(w)
		}
		if most := openFiles(); uint64(c.Gateway.Connections)+spareFiles > most {
			log.Warn("the process may open fewer files than there may be connections; raise the limit (ulimit -n)", "files", most, "gateway.limits.connections", c.Gateway.Connections)
		}
		log.Info("parley", "version", version, "configuration", cmp.Or(c.File, "none"))
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)      // the next signal has its usual effect
		hangup := make(chan os.Signal, 1) // from here on SIGHUP no longer ends the process
		signal.Notify(hangup, syscall.SIGHUP)
		// A file size limit is a full disk, not the end of the process.
		signal.Ignore(syscall.SIGXFSZ)
		defer signal.Stop(hangup)
		return Run(ctx, c.Config, log, func(r Running) { go reloadOnHangup(ctx, hangup, r, log) })
	}
	return cmd
}

// spareFiles are needed for the store, the listeners and look-ups.
const spareFiles = 64

// openFiles is how many files the process may have open. Go has raised it to the
// hard limit already.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64 // not known
	}
	return limit.Max
}

func newLog(c *config.Config, s *streams) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(s.err, o))
	}
	return slog.New(slog.NewTextHandler(s.err, o))
}

// reloadOnHangup reads the authentication file again at every SIGHUP until ctx
// ends.
func reloadOnHangup(ctx context.Context, hangup <-chan os.Signal, r Running, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if err := r.Reload(); err != nil {
				log.Error("authentication file not reloaded; the old content stays in force", "error", err)
				continue
			}
			log.Info("authentication file reloaded")
		}
	}
}
