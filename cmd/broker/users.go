package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"parley/auth"
	"parley/config"
)

// userFlags are what passwd and token create have in common.
type userFlags struct {
	file, config string
	roles        []string
	namespace    string
}

func (f *userFlags) addFile(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "the authentication `file` (default: auth.file of the configuration)")
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "YAML `file` with the configuration (PARLEY_CONFIG)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

func (f *userFlags) addIdentity(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.roles, "role", "r", nil, "a `role`; may be repeated")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "the one namespace that may be used (default: any)")
}

// path is the file to change: --file, else what the configuration names.
func (f *userFlags) path(s *streams) (string, error) {
	if f.file != "" {
		return f.file, nil
	}
	l, err := config.Load(config.Sources{File: f.config, Env: s.env})
	if err != nil {
		return "", err
	}
	if l.Auth.File == "" {
		return "", usagef("which file? give --file, or set auth.file (PARLEY_AUTH_FILE)")
	}
	return l.Auth.File, nil
}

func passwdCommand(s *streams) *cobra.Command {
	var f userFlags
	var remove, keep bool
	cmd := &cobra.Command{
		Use: "passwd user", Short: "Add a user to the authentication file, or change or remove one",
		Long: `Add a user to the authentication file, or change the password, roles or namespace
of one. The password is asked for on a terminal, else read from standard input (one
line). It is stored as an argon2id hash. A running broker takes the change up within
seconds; connections that are already there stay.`,
		Example: `  broker passwd --file users alice
  echo "$SECRET" | broker passwd --file users --role device --namespace default sensor
  broker passwd --file users --keep --role operator alice
  broker passwd --file users --remove alice`,
		Args: cobra.ExactArgs(1),
	}
	f.addFile(cmd)
	f.addIdentity(cmd)
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the user")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the password, change roles or namespace only")
	cmd.MarkFlagsMutuallyExclusive("remove", "keep")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := f.path(s)
		if err != nil {
			return err
		}
		if remove {
			return missing(auth.RemoveUser(path, args[0]))
		}
		change := auth.UserChange{Name: args[0]}
		if cmd.Flags().Changed("role") {
			change.Roles = &f.roles
		}
		if cmd.Flags().Changed("namespace") {
			change.Namespace = &f.namespace
		}
		if !keep {
			if change.Password, err = askPassword(s, args[0]); err != nil {
				return err
			}
		}
		created, err := auth.SetUser(path, change)
		if err != nil {
			return err
		}
		did := "changed"
		if created {
			did = "added"
		}
		fmt.Fprintf(s.err, "%s: user %s %s\n", path, args[0], did)
		return nil
	}
	return cmd
}

// missing makes a usage error of an entry that is not there.
func missing(err error) error {
	if errors.Is(err, auth.ErrNoEntry) || errors.Is(err, auth.ErrEntryExists) {
		return usageError{err}
	}
	return err
}

// askPassword asks twice on a terminal, else takes the first line of the input.
func askPassword(s *streams, user string) (string, error) {
	if f, ok := s.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		ask := func(prompt string) (string, error) {
			fmt.Fprint(s.err, prompt)
			p, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(s.err)
			return string(p), err
		}
		first, err := ask("Password for " + user + ": ")
		if err != nil {
			return "", err
		}
		second, err := ask("Again: ")
		if err == nil && first != second {
			err = errors.New("the two are not the same; nothing was changed")
		}
		if err == nil && first == "" {
			err = errors.New("an empty password is not allowed")
		}
		return first, err
	}
	line, err := bufio.NewReader(io.LimitReader(s.in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usagef("no password on standard input; an empty one is not allowed")
	}
	return line, nil
}

func tokenCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Create or remove tokens in the authentication file"}
	cmd.AddCommand(tokenCreateCommand(s), tokenRemoveCommand(s))
	return cmd
}

func tokenCreateCommand(s *streams) *cobra.Command {
	var f userFlags
	var user, expires string
	cmd := &cobra.Command{
		Use: "create name", Short: "Create a token and print it",
		Long: `Create a token in the authentication file and print it on standard output, alone.
Only a hash of it is stored: it cannot be shown again. Clients present it as HTTP
Bearer, as the password of MQTT, as the ticket of WAMP, or as the token of JSON.`,
		Example: `  broker token create --file users --role device sensor-7
  broker token create --file users --user alice --expires 90d ci > token`,
		Args: cobra.ExactArgs(1),
	}
	f.addFile(cmd)
	f.addIdentity(cmd)
	cmd.Flags().StringVarP(&user, "user", "u", "", "the user it speaks for (default: its name)")
	cmd.Flags().StringVarP(&expires, "expires", "e", "", "when it ends: a `time` such as 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z (default: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := f.path(s)
		if err != nil {
			return err
		}
		t := auth.NewToken{Name: args[0], User: user, Namespace: f.namespace, Roles: f.roles}
		if expires != "" {
			if t.Expires, err = parseExpiry(expires, time.Now()); err != nil {
				return err
			}
		}
		token, err := auth.CreateToken(path, t)
		if err != nil {
			return missing(err)
		}
		fmt.Fprintf(s.err, "%s: token %s added; this is the only time it is shown\n", path, args[0])
		_, err = fmt.Fprintln(s.out, token)
		return err
	}
	return cmd
}

// parseExpiry reads a length of time from now, or a date, or a time.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	wrong := usagef("--expires %s: give a time to come, such as 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z", text)
	var at time.Time
	var days int
	if d, err := time.ParseDuration(text); err == nil {
		at = now.Add(d)
	} else if n, err := fmt.Sscanf(text, "%dd", &days); n == 1 && err == nil && fmt.Sprintf("%dd", days) == text {
		at = now.AddDate(0, 0, days)
	} else if t, err := time.Parse(time.RFC3339, text); err == nil {
		at = t
	} else if t, err := time.Parse(time.DateOnly, text); err == nil {
		at = t
	}
	if !at.After(now) {
		return at, wrong
	}
	return at, nil
}

func tokenRemoveCommand(s *streams) *cobra.Command {
	var f userFlags
	cmd := &cobra.Command{
		Use: "remove name", Short: "Remove a token", Args: cobra.ExactArgs(1),
		Example: "  broker token remove --file users sensor-7",
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := f.path(s)
			if err != nil {
				return err
			}
			return missing(auth.RemoveToken(path, args[0]))
		},
	}
	f.addFile(cmd)
	return cmd
}
