package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"parley/client"
	"parley/config"
)

// Exit codes, also listed in the help.
const (
	exitOK      = 0
	exitFailed  = 1 // it did not work
	exitUsage   = 2 // the command line or the configuration is wrong
	exitRefused = 3 // the broker refused: credentials or permissions
	exitTimeout = 4 // it took too long
)

// streams is the process around a command, so that tests can be it.
type streams struct {
	in       io.Reader
	out, err io.Writer
	env      []string // NAME=value
}

// getenv looks a variable up, "" if it is not set.
func (s *streams) getenv(name string) string {
	for _, e := range s.env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// usageError is what the user can correct on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, args []string, s streams) int {
	root := newRoot(&s)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !started { // cobra's own: unknown commands and flags, missing arguments
		err = usageError{err}
	}
	fmt.Fprintln(s.err, "broker: "+message(err))
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(s.err, "Run '%s --help' for help.\n", cmd.CommandPath())
	}
	return exitCode(err)
}

// message puts several problems below each other, indented.
func message(err error) string {
	text := strings.TrimRight(err.Error(), "\n")
	var problems config.Problems
	if errors.As(err, &problems) && len(problems) > 1 {
		text = fmt.Sprintf("the configuration has %d problems:\n%s", len(problems), text)
	}
	return strings.ReplaceAll(text, "\n", "\n  ")
}

func exitCode(err error) int {
	var usage usageError
	var problems config.Problems
	switch {
	case errors.As(err, &usage), errors.As(err, &problems), errors.Is(err, client.ErrUnsupported):
		return exitUsage
	case errors.Is(err, client.ErrRefused):
		return exitRefused
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitFailed
}

const rootLong = `Parley is one WebSocket port that speaks MQTT, WAMP and plain JSON: one topic
space, one identity and policy, one durable ordered log.

Without a command it serves. Without configuration it listens on 127.0.0.1:8080
only, keeps its data in ./data and lets everybody in.

Exit codes: 0 it worked, 1 it failed, 2 the command line or the configuration is
wrong, 3 the broker refused (credentials, permissions), 4 it took too long.`

func newRoot(s *streams) *cobra.Command {
	root := serveCommand(s)
	root.Use = "broker"
	root.Short = "One port for MQTT, WAMP and JSON"
	root.Long = rootLong
	root.Args = nil // lets cobra suggest commands
	root.Example = `  broker                                   # serve on 127.0.0.1:8080
  broker sub 'sensors/#'                   # in another terminal
  broker pub sensors/1 '{"celsius": 21.5}' # in a third`
	root.Version = thisBuild().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(&cobra.Group{ID: "server", Title: "The broker:"}, &cobra.Group{ID: "store", Title: "The store:"}, &cobra.Group{ID: "client", Title: "Clients for the shell:"}, &cobra.Group{ID: "users", Title: "Users:"})
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("server", serveCommand(s), checkCommand(s), configCommand(s), healthCommand(s), echoCommand(s), versionCommand(s))
	group("store", storeCommand(s), replayCommand(s), tortureCommand(s))
	group("client", pubCommand(s), subCommand(s), callCommand(s))
	group("users", passwdCommand(s), tokenCommand(s))
	return root
}
