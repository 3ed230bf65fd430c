package main

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"parley/auth"
	"parley/config"
)

func checkCommand(s *streams) *cobra.Command {
	var changed, asJSON bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check a configuration and explain what is in effect", Args: cobra.NoArgs,
		Long: `Check the configuration that the file, the environment and the flags make, and the
files it names, and explain what is in effect: the listeners, who may come in, and
every value with where it came from. Nothing is started. Exit code 0: it is good,
2: it is not.`,
		Example: `  broker check --config parley.yaml
  broker check --config parley.yaml --changed
  broker check -c parley.yaml --json | jq '.values["gateway.limits.connections"]'`,
	}
	flags := addConfigFlags(cmd)
	cmd.Flags().BoolVar(&changed, "changed", false, "show only values that differ from the default")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := flags.load(cmd, s)
		if err != nil {
			return err
		}
		problems := checkFiles(l)
		if asJSON {
			err = explainJSON(s.out, l)
		} else {
			err = explain(s.out, l, changed)
		}
		if len(problems) > 0 {
			return problems
		}
		return err
	}
	return cmd
}

// checkFiles looks at what the configuration names, as starting would.
func checkFiles(l *config.Loaded) config.Problems {
	var problems config.Problems
	add := func(path string, err error) {
		if err != nil {
			place := l.Origins[path]
			if place == "default" {
				place = ""
			}
			problems = append(problems, config.Problem{Place: place, Path: path, What: err.Error()})
		}
	}
	for path, pair := range map[string]config.TLS{"tls.cert": l.TLS, "mqtt.tls.cert": l.MQTT.TLS, "admin.tls.cert": l.Admin.TLS} {
		if pair.On() {
			_, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
			add(path, err)
		}
	}
	if l.Auth.File != "" {
		_, err := auth.LoadFile(l.Auth.File)
		add("auth.file", err)
	}
	_, err := policyOf(&l.Auth)
	add("auth.rules", err)
	add("data", checkDirectory(l.Data))
	return problems
}

// checkDirectory tells whether dir is, or could be made, a directory.
func checkDirectory(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	info, err := os.Stat(abs)
	for errors.Is(err, fs.ErrNotExist) && abs != filepath.Dir(abs) {
		abs = filepath.Dir(abs)
		info, err = os.Stat(abs)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory; give another", abs)
	}
	return err
}

// posture says in sentences who can reach the broker and who is let in.
func posture(l *config.Loaded) []string {
	var out []string
	open := false
	for _, a := range l.Listeners() {
		if !config.Loopback(a.Address) {
			open = true
			if !a.TLS.On() {
				out = append(out, a.Address+" can be reached by others without TLS: what clients send, passwords too, can be read on the way, unless a proxy before it speaks TLS.")
			}
		}
	}
	if !open {
		out = append(out, "All listeners are on loopback: only programs on this machine reach the broker.")
	}
	switch {
	case l.Auth.File == "":
		out = append(out, "Nobody proves who they are: there is no auth.file, and anonymous clients are allowed.")
	case l.AllowAnonymous:
		out = append(out, "Users and tokens of "+l.Auth.File+" are known; clients that present nothing are let in as anonymous.")
	default:
		out = append(out, "Only users and tokens of "+l.Auth.File+" are let in.")
	}
	what := "may do everything but what a rule denies"
	if !l.Auth.Default {
		what = "may do nothing but what a rule allows"
	}
	out = append(out, fmt.Sprintf("Who is let in %s (auth.default, %d rules).", what, len(l.Auth.Rules)))
	if l.AdminListen != "" && !config.Loopback(l.AdminListen) {
		if l.Admin.AllowAnonymous {
			out = append(out, "Everybody who reaches "+l.AdminListen+" reads metrics, status and profiles.")
		} else {
			out = append(out, "Operators on "+l.AdminListen+" need the role "+l.Admin.Role+".")
		}
	}
	return out
}

func listenerURL(a config.Listener) string {
	scheme := map[string][2]string{"listen": {"ws", "wss"}, "mqtt_listen": {"mqtt", "mqtts"}, "admin_listen": {"http", "https"}}[a.Path]
	if a.TLS.On() {
		return scheme[1] + "://" + a.Address
	}
	return scheme[0] + "://" + a.Address
}

func reach(a config.Listener) string {
	if config.Loopback(a.Address) {
		return "this machine only"
	}
	if host, _, _ := net.SplitHostPort(a.Address); net.ParseIP(host).IsUnspecified() {
		return "all networks"
	}
	return "others"
}

func explain(out io.Writer, l *config.Loaded, changed bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Configuration file: %s\n\nListeners\n", cmp.Or(l.File, "none"))
	for _, a := range l.Listeners() {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", a.Path, listenerURL(a), a.Serves, "reached by "+reach(a))
	}
	_ = w.Flush()
	fmt.Fprintln(w, "\nSecurity")
	for _, p := range posture(l) {
		fmt.Fprintln(w, "  "+p)
	}
	for _, warning := range l.Warnings {
		fmt.Fprintln(w, "  Warning: "+warning)
	}
	fmt.Fprintln(w, "\nValues, and where they come from")
	texts, shown := effective(l), 0
	for _, k := range config.Keys() {
		if changed && l.Origins[k.Path] == "default" {
			continue
		}
		shown++
		fmt.Fprintf(w, "  %s\t%s\t%s\n", k.Path, texts[k.Path], l.Origins[k.Path])
	}
	if shown == 0 {
		fmt.Fprintln(w, "  all are the defaults")
	}
	return w.Flush()
}

// effective are the values as they work: allow_anonymous not written depends on
// auth.file.
func effective(l *config.Loaded) map[string]string {
	texts := l.Texts()
	texts["allow_anonymous"] = fmt.Sprint(l.AllowAnonymous)
	return texts
}

func explainJSON(out io.Writer, l *config.Loaded) error {
	type value struct {
		Value  string `json:"value"`
		Origin string `json:"origin"`
	}
	type listener struct {
		Key     string `json:"key"`
		URL     string `json:"url"`
		Serves  string `json:"serves"`
		Reached string `json:"reached_by"`
	}
	doc := struct {
		File      string           `json:"file,omitempty"`
		Listeners []listener       `json:"listeners"`
		Security  []string         `json:"security"`
		Warnings  []string         `json:"warnings,omitempty"`
		Values    map[string]value `json:"values"`
	}{File: l.File, Security: posture(l), Warnings: l.Warnings, Values: map[string]value{}}
	for _, a := range l.Listeners() {
		doc.Listeners = append(doc.Listeners, listener{a.Path, listenerURL(a), a.Serves, reach(a)})
	}
	for path, text := range effective(l) {
		doc.Values[path] = value{text, l.Origins[path]}
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
