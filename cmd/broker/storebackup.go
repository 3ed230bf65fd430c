package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"parley/client"
	"parley/persist/bolt"
)

// backupFlags say as whom to ask a running broker.
type backupFlags struct {
	user, passwordFile, tokenFile, ca string
	force                             bool
}

func storeBackupCommand(s *streams) *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "backup dir-or-url file", Short: "Copy a store, also while its broker serves", Args: cobra.ExactArgs(2),
		Long: `Copy a store into a file: that of a running broker by the URL of its admin_listen,
that of a stopped one by its directory. The copy is consistent: it holds everything
that was acknowledged before it began, and what it holds of later messages has no
holes. The file appears when it is whole, verified and on disk.

Where there is an auth.file a running broker wants a user with the role admin.role:
--user with --password-file or PARLEY_PASSWORD, or --token-file or PARLEY_TOKEN.`,
		Example: `  broker store backup http://127.0.0.1:8081 backup-$(date +%F).db
  broker store backup --user ops --password-file secret https://broker.example.com:8081 backup.db
  broker store backup ./data backup.db             # a stopped broker's`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[1]); err == nil && !f.force {
				return usagef("%s exists; give another file, or --force to replace it", args[1])
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			err := f.run(ctx, s, args[0], args[1])
			if err != nil {
				return storeError(err)
			}
			info, err := os.Stat(args[1])
			if err == nil {
				_, err = fmt.Fprintf(s.out, "%s: %s, verified\n", args[1], sizeText(info.Size()))
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.user, "user", "u", s.getenv("PARLEY_USER"), "user name (PARLEY_USER)")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password (or PARLEY_PASSWORD)")
	flags.StringVar(&f.tokenFile, "token-file", "", "`file` with a token, instead of user and password (or PARLEY_TOKEN)")
	flags.StringVar(&f.ca, "ca", "", "`file` with the certificates (PEM) to trust, for https")
	flags.BoolVar(&f.force, "force", false, "replace the file if it exists")
	return cmd
}

func (f *backupFlags) run(ctx context.Context, s *streams, from, file string) error {
	if !strings.HasPrefix(from, "http://") && !strings.HasPrefix(from, "https://") {
		return bolt.Backup(from, file, progressLine(s, "copying"))
	}
	// The connection flags' way to secrets; they are never flags themselves.
	c := connectFlags{passwordFile: f.passwordFile, tokenFile: f.tokenFile, ca: f.ca}
	c.User = f.user
	if err := c.prepare(s); err != nil {
		return err
	}
	var roots *x509.CertPool
	if c.TLS != nil {
		roots = c.TLS.RootCAs
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(from, "/")+"/api/backup", nil)
	if err != nil {
		return usageError{err}
	}
	switch {
	case c.User != "":
		req.SetBasicAuth(c.User, c.Password)
	case c.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return bolt.Receive(file, func(to *os.File) error {
		err := fetchBackup(&http.Client{Transport: transport}, req, to, progressLine(s, "receiving"))
		return errors.Join(err, to.Close())
	})
}

// fetchBackup writes a broker's answer to a file.
func fetchBackup(c *http.Client, req *http.Request, to io.Writer, progress bolt.Progress) error {
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		err := fmt.Errorf("%s: %s: %s", req.URL, resp.Status, visible(strings.TrimSpace(string(text))))
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			err = fmt.Errorf("%w: %w", err, client.ErrRefused)
		}
		return err
	}
	n, err := io.Copy(to, &counting{from: resp.Body, total: resp.ContentLength, progress: progress})
	if err == nil && n != resp.ContentLength {
		err = fmt.Errorf("%d bytes of %d: %w", n, resp.ContentLength, io.ErrUnexpectedEOF)
	}
	return err
}

// counting reports what is read through it.
type counting struct {
	from        io.Reader
	read, total int64
	progress    bolt.Progress
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.read += int64(n)
	c.progress(c.read, c.total)
	return n, err
}
