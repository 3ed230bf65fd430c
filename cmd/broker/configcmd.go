package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"parley/config"
)

func configCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Print an example or the reference of the configuration"}
	cmd.AddCommand(&cobra.Command{
		Use: "example", Short: "Print a commented configuration file with every key", Args: cobra.NoArgs,
		Example: "  broker config example > parley.yaml\n  broker check --config parley.yaml",
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(s.out, config.Example())
			return err
		},
	}, &cobra.Command{
		Use: "keys", Short: "Print the reference of all keys in Markdown", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(s.out, reference(config.Keys()))
			return err
		},
	})
	return cmd
}

// reference writes the table of keys for docs.
func reference(keys []config.Doc) string {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning | environment, flag |\n|---|---|---|---|---|\n")
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, k := range keys {
		names := "`" + k.Env + "`"
		if k.Flag != "" {
			names += ", `--" + k.Flag + "`"
		}
		text := strings.TrimSuffix(k.Text, ".")
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s. Give %s. | %s |\n", k.Path, k.Type, cell(k.Default), cell(text), cell(k.Rule), names)
	}
	return b.String()
}
