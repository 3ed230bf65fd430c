package main

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"parley/config"
)

// configFlags are the flags of every command that reads the configuration.
type configFlags struct {
	file string
	sets []string
	keys []config.Doc
}

func addConfigFlags(cmd *cobra.Command) *configFlags {
	f := &configFlags{}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "config", "c", "", "YAML `file` with the configuration (PARLEY_CONFIG)")
	flags.StringArrayVar(&f.sets, "set", nil, "set any `key=value` of the configuration; may be repeated")
	for _, k := range config.Keys() {
		if k.Flag == "" {
			continue
		}
		f.keys = append(f.keys, k)
		first, _, _ := strings.Cut(k.Text, ". ")
		first = strings.TrimSuffix(first, ".")
		usage := fmt.Sprintf("%s (%s)", first, k.Env)
		if k.Default != `""` && k.Type != "boolean" {
			usage = fmt.Sprintf("%s (%s, default %s)", first, k.Env, k.Default)
		}
		flags.Var(&keyFlag{kind: k.Type}, k.Flag, usage)
		if k.Type == "boolean" {
			flags.Lookup(k.Flag).NoOptDefVal = "true"
		}
		if words, ok := strings.CutPrefix(k.Rule, "one of "); ok {
			_ = cmd.RegisterFlagCompletionFunc(k.Flag, cobra.FixedCompletions(strings.Split(words, ", "), cobra.ShellCompDirectiveNoFileComp))
		}
	}
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagDirname("data")
	return f
}

// keyFlag holds what was given for a key; package config checks it.
type keyFlag struct{ kind, text string }

func (f *keyFlag) String() string     { return f.text }
func (f *keyFlag) Set(s string) error { f.text = s; return nil }

// Type is shown in the help; "bool" makes a flag without a value look like one.
func (f *keyFlag) Type() string {
	if f.kind == "boolean" {
		return "bool"
	}
	return f.kind
}

// load reads the configuration that the flags, the environment and the file make.
func (f *configFlags) load(cmd *cobra.Command, s *streams) (*config.Loaded, error) {
	return f.loadOver(cmd, s, nil)
}

// loadOver is load with values that stand above everything.
func (f *configFlags) loadOver(cmd *cobra.Command, s *streams, above map[string]string) (*config.Loaded, error) {
	values := map[string]string{}
	for _, set := range f.sets {
		path, value, ok := strings.Cut(set, "=")
		if !ok {
			return nil, usagef("--set %s: give key=value, such as --set drain.spread=2s", set)
		}
		values[path] = value
	}
	for _, k := range f.keys {
		if flag := cmd.Flags().Lookup(k.Flag); flag.Changed {
			values[k.Path] = flag.Value.String()
		}
	}
	maps.Copy(values, above)
	l, err := config.Load(config.Sources{File: f.file, Env: s.env, Flags: values})
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		err = usageError{err} // no such file
	}
	return l, err
}
