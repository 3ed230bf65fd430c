package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"parley/persist"
	"parley/persist/bolt"
)

func storeCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "store", Short: "Check, count, compact, back up and restore a store",
		Long: `Look after the store of a broker: the directory that its key data names, or a
backup. All but backup need the broker to be stopped; what another process has
open is left alone, and that is said.

Exit codes: 0 it worked (check: the store is good), 1 it failed (check: the store is
damaged), 2 the command line is wrong, there is no store, or it is in use.`,
	}
	cmd.AddCommand(storeCheckCommand(s), storeStatsCommand(s), storeCompactCommand(s), storeBackupCommand(s), storeRestoreCommand(s))
	return cmd
}

// storeError makes usage errors of what is not the store's fault.
func storeError(err error) error {
	switch {
	case errors.Is(err, persist.ErrLocked):
		return usagef("%w: a broker has it open; stop it, or work on a backup (broker store backup http://ITS-ADMIN-LISTENER FILE)", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, bolt.ErrNotEmpty):
		return usageError{err}
	}
	return err
}

// progressLine tells on standard error how far a piece of work is, once it has
// taken a while and then about once a second.
func progressLine(s *streams, what string) bolt.Progress {
	next := time.Now().Add(time.Second)
	return func(done, total int64) {
		if now := time.Now(); now.After(next) && total > 0 {
			next = now.Add(time.Second)
			fmt.Fprintf(s.err, "%s: %d%% of %s\n", what, min(100, done*100/total), sizeText(total))
		}
	}
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

func storeCheckCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use: "check dir-or-file", Short: "Verify every page, checksum and record", Args: cobra.ExactArgs(1),
		Long: `Verify a store: every page that can be reached, every checksum, that every message,
control record and table entry decodes, and whatever a start verifies. Nothing is
changed. Everything that is wrong is printed, with its place in the file.`,
		Example: `  broker store check ./data
  broker store check backup.db && echo good`,
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := bolt.Check(args[0], progressLine(s, "checking"))
			if err != nil {
				return storeError(err)
			}
			for _, p := range r.Problems {
				fmt.Fprintf(s.out, "%s: %s\n", r.Path, visible(p.String()))
			}
			if r.Omitted > 0 {
				fmt.Fprintf(s.out, "%s: … and %d more\n", r.Path, r.Omitted)
			}
			if n := len(r.Problems) + r.Omitted; n > 0 {
				return fmt.Errorf("%s is damaged: %d problems", r.Path, n)
			}
			messages := uint64(0)
			for _, n := range r.Stats.Namespaces {
				messages += n.Messages
			}
			_, err = fmt.Fprintf(s.out, "%s is good: %d namespaces, %d messages, %s\n", r.Path, len(r.Stats.Namespaces), messages, sizeText(r.Stats.FileBytes))
			return err
		},
	}
}

func storeStatsCommand(s *streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "stats dir-or-file", Short: "Count what a store holds", Args: cobra.ExactArgs(1),
		Example: `  broker store stats ./data
  broker store stats --json ./data | jq '.namespaces[].messages'`,
		RunE: func(_ *cobra.Command, args []string) error {
			st, err := bolt.ReadStats(args[0], progressLine(s, "reading"))
			if err != nil {
				return storeError(err)
			}
			if asJSON {
				enc := json.NewEncoder(s.out)
				enc.SetIndent("", "  ")
				return enc.Encode(st)
			}
			return printStats(s.out, &st)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, with every segment")
	return cmd
}

// tableNames says what hub keeps under a prefix of the checkpoint table.
func tableNames(prefix string) string {
	switch prefix {
	case "r/":
		return "retained topics"
	case "w/":
		return "wills"
	case "s/":
		return "sessions"
	case "g/":
		return "shared groups"
	case "k/":
		return "idempotency keys"
	}
	return fmt.Sprintf("other entries (%q)", prefix)
}

func printStats(out io.Writer, st *bolt.Stats) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "file\t%s\nformat\t%d\nsize\t%s, pages of %d bytes: %d used, %d free\n",
		visible(st.Path), st.Format, sizeText(st.FileBytes), st.PageBytes, st.Pages-st.FreePages, st.FreePages)
	for i := range st.Namespaces {
		n := &st.Namespaces[i]
		fmt.Fprintf(w, "\nnamespace\t%s\n  epoch\t%s\n  offsets\t%d to %d, checkpoint at %d\n", visible(n.Name), n.Epoch, n.First, n.Head, n.Checkpoint)
		fmt.Fprintf(w, "  messages\t%d, %s\n", n.Messages, sizeText(n.Bytes))
		if n.Newest > 0 {
			fmt.Fprintf(w, "  newest\t%s\n", time.UnixMilli(n.Newest).UTC().Format(time.RFC3339Nano))
		}
		classes := map[uint8]bolt.SegmentStats{} // First counts segments
		for _, seg := range n.Segments {
			c := classes[seg.Class]
			c.First, c.Messages, c.Bytes = c.First+1, c.Messages+seg.Messages, c.Bytes+seg.Bytes
			classes[seg.Class] = c
		}
		for _, class := range sortedKeys(classes) {
			c := classes[class]
			fmt.Fprintf(w, "  class %d\t%d messages, %s, %d segments\n", class, c.Messages, sizeText(c.Bytes), c.First)
		}
		if n.Dropped > 0 {
			fmt.Fprintf(w, "  dropped\t%d messages, of which %d are kept for sessions or as retained; %d summaries\n", n.Dropped, n.Kept, n.Summaries)
		}
		fmt.Fprintf(w, "  control records\t%d\n", n.Controls)
		for _, prefix := range sortedKeys(n.Table) {
			t := n.Table[prefix]
			fmt.Fprintf(w, "  %s\t%d, %s\n", tableNames(prefix), t.Entries, sizeText(t.Bytes))
		}
	}
	return w.Flush()
}

func storeCompactCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use: "compact dir", Short: "Give back the space that a stopped broker's store no longer uses", Args: cobra.ExactArgs(1),
		Long: `Write the store anew without its free pages, verify the new file and put it in the
place of the old one, with the same owner and permissions. It needs room for both.
It may be killed at any moment: the old file or the new one is then in place.`,
		Example: "  broker store compact ./data",
		RunE: func(_ *cobra.Command, args []string) error {
			before, after, err := bolt.Compact(args[0], progressLine(s, "copying"))
			if err != nil {
				return storeError(err)
			}
			_, err = fmt.Fprintf(s.out, "%s: %s before, %s now, %s gained\n", filepath.Join(args[0], bolt.FileName), sizeText(before), sizeText(after), sizeText(max(0, before-after)))
			return err
		},
	}
}

func storeRestoreCommand(s *streams) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "restore file dir", Short: "Make a store out of a backup", Args: cobra.ExactArgs(2),
		Long: `Verify a backup and make it the store in a directory, which must be empty or not
exist. The logs get new epochs: clients that resume by a position are told that it
is another log, and do not take what they hear for what they missed.`,
		Example: `  broker store restore backup.db ./data
  broker store restore --force backup.db ./data   # replaces the store that is there`,
		RunE: func(_ *cobra.Command, args []string) error {
			err := bolt.Restore(args[0], args[1], force, progressLine(s, "verifying"))
			if errors.Is(err, bolt.ErrNotEmpty) {
				return usagef("%w; give another, or --force to replace the store in it", err)
			}
			if err != nil {
				return storeError(err)
			}
			_, err = fmt.Fprintf(s.out, "%s restored into %s, with new epochs\n", args[0], strings.TrimSuffix(args[1], "/"))
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the store that is in the directory")
	return cmd
}
