package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/lab/load"
)

// editing measures in the guest.
func editing(ctx context.Context, o options) error {
	if err := furnish(); err != nil {
		return err
	}
	b := &bench{options: o, ctx: ctx, out: os.Stdout, dir: "/tmp", alone: true}
	for _, hosts := range []int{5800, b.hosts / 10} {
		if err := b.edited(hosts); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) edited(hosts int) error {
	path := filepath.Join(b.dir, fmt.Sprint(hosts), "example.test.zone")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	zone := load.Zone("example.test", hosts, 0)
	if err := os.WriteFile(path, zone, 0o644); err != nil {
		return err
	}
	s, err := b.setup("postern", path, bare)
	if err != nil {
		return err
	}
	p, err := b.startOn(s, 0)
	if err != nil {
		return err
	}
	defer p.stop()
	p.settle()
	cfg := load.Config{Server: p.at, Hosts: hosts, Mix: load.Mixed, Changing: 5, Seed: 5, Core: 2}
	most, err := measured(cfg, time.Second/2, nil)
	if err != nil {
		return err
	}
	tell := func(what string, r *load.Result) { fmt.Printf("%s edits %d hosts, %s: %v\n", said, hosts, what, r) }
	tell("most", most)
	cfg.Rate, cfg.Window = int(most.PerSecond())/2, 1<<15
	during := time.Duration(b.secs) * time.Second
	quiet, err := measured(cfg, during, nil)
	if err != nil {
		return err
	}
	tell("quiet", quiet)
	busy, err := measured(cfg, during, func(version uint32) error { return replaced(path, zone, version) })
	if err != nil {
		return err
	}
	tell(fmt.Sprintf("edited, %d versions seen", busy.Versions), busy)
	return nil
}

// measured runs a client, and what edits each second.
func measured(cfg load.Config, during time.Duration, edit func(version uint32) error) (*load.Result, error) {
	c, err := load.New(cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ended, done := make(chan struct{}), make(chan error, 1)
	go func() {
		if err := settleOn(1); err != nil {
			done <- err
			return
		}
		again := time.NewTicker(time.Second)
		defer again.Stop()
		for {
			select {
			case <-ended:
				done <- nil
				return
			case <-again.C:
			}
			if edit == nil {
				continue
			}
			v := c.Version.Add(1)
			if err := edit(v); err != nil {
				done <- err
				return
			}
		}
	}()
	r, err := c.Run(during)
	close(ended)
	if failed := <-done; err == nil {
		err = failed
	}
	return r, err
}

// replaced puts a version in the zone file's place.
func replaced(path string, zone []byte, version uint32) error {
	before, after, found := bytes.Cut(zone, []byte(load.ChangingLine(0)))
	if !found {
		return fmt.Errorf("%s has no changing line", path)
	}
	f, err := os.Create(path + "~")
	if err != nil {
		return err
	}
	for _, piece := range [][]byte{before, []byte(load.ChangingLine(version)), after} {
		if _, err := f.Write(piece); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+"~", path)
}

// startOn starts the server on one core.
func (b *bench) startOn(s setup, core int) (p *server, err error) {
	done := make(chan struct{})
	go func() { // on a thread that ends with it
		defer close(done)
		if err = settleOn(core); err == nil {
			p, err = b.start(s)
		}
	}()
	<-done
	return p, err
}

// settleOn moves the calling goroutine to a core, for good.
func settleOn(core int) error {
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(core)
	return unix.SchedSetaffinity(0, &only)
}
