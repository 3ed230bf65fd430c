package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"parley/bench/load"
)

// killed acknowledges 5,000 messages for an offline durable subscriber, ends the
// broker the hard way and counts what is missing after a restart.
func killed(power bool) durableRun {
	return func(b *bench, ctx context.Context, sc scenario, name string, _ int) (samples []sample, err error) {
		dir, err := os.MkdirTemp(b.dir, name+"-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		data, started := filepath.Join(dir, "d"), func() error { return nil }
		again := func() (string, error) { return filepath.Join(dir, "d"), nil }
		if power {
			disk, derr := newDisk(dir)
			if derr != nil {
				return nil, fmt.Errorf("no disk of one's own to cut the power of: %w", derr)
			}
			defer func() { err = errors.Join(err, disk.close()) }()
			data, started = filepath.Join(disk.mount, "d"), disk.sync
			again = func() (string, error) {
				after, err := disk.asSynced()
				return filepath.Join(after, "d"), err
			}
		}
		began := time.Now()
		sent, checks, err := b.acknowledged(ctx, name, data, started)
		if err != nil {
			return nil, err
		}
		took := time.Since(began)
		if data, err = again(); err != nil {
			return nil, err
		}
		r, err := b.bin.startDurable(ctx, name, data)
		if err != nil {
			return nil, fmt.Errorf("restart: %w", err)
		}
		defer r.stopDurable()
		d, err := (&trial{running: r}).drained(ctx, 0, sent)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil { // a session that cannot be used has lost what it does not give
			b.log.Printf("  %s, back after the end: %v", name, err)
			err = nil
		}
		checks.Add(d)
		s := sample{Scenario: sc.name, Unit: sc.unit, Value: float64(d.Lost), Messages: killedCount, Seconds: took.Seconds(), Checks: checks}
		return []sample{s}, nil
	}
}

// acknowledged starts a broker, has 5,000 messages acknowledged, and kills it at
// the last acknowledgement. started is called when it runs, before the first client.
func (b *bench) acknowledged(ctx context.Context, name, data string, started func() error) (sent []uint64, r load.Report, err error) {
	broker, err := b.bin.startDurable(ctx, name, data)
	if err != nil {
		return nil, r, err
	}
	defer broker.stopDurable()
	defer broker.kill()
	if err := started(); err != nil {
		return nil, r, err
	}
	if err := load.OpenSessions(ctx, broker.addr, durableName, durableFilter, 1); err != nil {
		return nil, r, err
	}
	const publishers = 10
	g, err := load.OpenAcked(ctx, load.AckedPlan{Addr: broker.addr, Publishers: publishers, Window: 50, Size: payloadSize})
	if err != nil {
		return nil, r, err
	}
	if _, err := g.Run(ctx, 0, killedCount/publishers, true); err != nil {
		g.Close()
		return nil, r, err
	}
	broker.kill() // before anybody says goodbye
	g.Close()
	return g.Sent(), g.Report(), nil
}

// disk is a file system in a file: what has not been synced by the time the file
// is copied is not in the copy.
type disk struct {
	image, mount, copy, second string
	mounted                    []string
}

func newDisk(dir string) (*disk, error) {
	d := &disk{image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "mnt"), copy: filepath.Join(dir, "copy"), second: filepath.Join(dir, "mnt2")}
	if err := errors.Join(os.Mkdir(d.mount, 0o755), os.Mkdir(d.second, 0o755)); err != nil {
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(1<<30), f.Close(), command("mkfs.ext4", "-q", "-F", d.image)); err != nil {
		return nil, err
	}
	return d, d.attach(d.image, d.mount)
}

func (d *disk) attach(image, at string) error {
	// commit: the file system's own syncing stays away; noatime: so does reading.
	if err := command("mount", "-o", "loop,commit=300,noatime", image, at); err != nil {
		return err
	}
	d.mounted = append(d.mounted, at)
	return nil
}

// sync writes everything to the image: what a broker does when it first starts is
// not what is tested.
func (d *disk) sync() error { return command("sync", "--file-system", d.mount) }

// asSynced copies the image as it is, without a sync, and mounts the copy, which
// replays its journal as after a power cut.
func (d *disk) asSynced() (at string, err error) {
	if err := command("cp", "--sparse=always", d.image, d.copy); err != nil {
		return "", err
	}
	return d.second, d.attach(d.copy, d.second)
}

func (d *disk) close() (err error) {
	for _, at := range d.mounted {
		err = errors.Join(err, command("umount", at))
	}
	return err
}

func command(name string, args ...string) error {
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return nil
}
