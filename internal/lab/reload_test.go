package lab_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/lab"
	"postern/internal/lab/load"
)

const reloadConfig = `
	[server]
	hostname = "edge.example.test"
	state    = "state"
	control  = "run/control.sock"
	[dns]
	rrl = "off"     # one client asks everything
	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]
	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"
`

// TestReloadUnderLoad: while a zone file is edited every second, a client at
// half of what the server can do gets all its answers, each of them right, no
// version after a newer one, and soon. The times are bounds in the long form
// (make bench), where the machine does nothing else.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		long := os.Getenv("POSTERN_PROVE") != ""
		for _, c := range []struct {
			name  string
			hosts int
			core  int // the server's; the client has the next
			bound time.Duration
			quiet int // or so many times what it is without reloads
			// Of the edits at least one in so many is seen by itself: of a large zone
			// the next one may come before the last is served.
			seen  int
			short bool // part of the short form
		}{
			{"10,000 records on one core", 5800, 1, 2 * time.Millisecond, 2, 1, true},
			{"10,000 records", 5800, 0, 2 * time.Millisecond, 2, 1, false},
			{"172,000 records on one core", 100_000, 1, 15 * time.Millisecond, 0, 2, false},
			{"172,000 records", 100_000, 0, 15 * time.Millisecond, 0, 2, false},
		} {
			if !long && !c.short {
				continue
			}
			l.Step(c.name, func() {
				core := c.core
				if runtime.NumCPU() < 2 {
					core = 0
				}
				edge := l.Prepare(lab.PosternConfig{Name: fmt.Sprintf("postern-%d-%d", c.hosts, c.core), Config: reloadConfig, Core: core})
				e := newEditor(l, edge.Path("zones", "example.test.zone"), c.hosts, core)
				edge.Start()
				quiet, busy := reloads(l, e, long, c.seen)
				edge.Stop()
				bound := max(c.bound, time.Duration(c.quiet)*quiet.Latency.At(0.99))
				if p99 := busy.Latency.At(0.99); long && !raced && p99 > bound {
					l.T().Errorf("99 of 100 answers within %v, want %v", p99, bound)
				}
			})
		}
	})
}

// reloads measures half of the maximum load without and with reloads.
func reloads(l *lab.Lab, e *editor, long bool, seen int) (quiet, busy *load.Result) {
	during := 5 * time.Second
	if long {
		during = 20 * time.Second
	}
	cfg := load.Config{
		Server: netip.MustParseAddrPort("198.51.100.53:53"), Hosts: e.hosts, Mix: load.Mixed, Changing: 5, Seed: 5,
	}
	if e.core > 0 {
		cfg.Core = e.core + 1
	}
	run := func(during time.Duration) *load.Result {
		client, err := load.New(cfg)
		if err != nil {
			l.T().Fatal(err)
		}
		defer client.Close()
		client.Version.Store(e.version)
		overflowed := overflows(l)
		stop := e.edit(client)
		r, err := client.Run(during)
		if stop(); err != nil {
			l.T().Fatal(err)
		}
		// In the short form others may keep the server from its core, until the
		// kernel drops what it does not read.
		overflowed = overflows(l) - overflowed
		if r.Wrong > 0 || r.Answered == 0 || r.Lost > overflowed || long && !raced && r.Lost > 0 {
			l.T().Errorf("%s; the kernel dropped %d", r, overflowed)
		}
		return r
	}
	most := run(2 * time.Second)
	cfg.Rate, cfg.Window = max(int(most.PerSecond())/2, 100), 1<<15
	if !long {
		cfg.Rate = min(cfg.Rate, 20_000) // other tests run beside it
	}
	quiet = run(during / 2)
	e.every = time.Second
	first := e.version
	busy = run(during)
	l.T().Logf("most %s\nquiet %s\n%d edits, %d versions seen: %s", most, quiet, e.version-first, busy.Versions, busy)
	if want := (int(e.version-first) - 2) / seen; busy.Versions < max(want, 1) {
		l.T().Errorf("%d edits, but %d versions were seen", e.version-first, busy.Versions)
	}
	// The last edit comes through as well.
	l.Eventually("the last version", func() error {
		cfg := cfg
		cfg.Changing, cfg.Rate, cfg.Window = 100, 0, 1
		client, err := load.New(cfg)
		if err != nil {
			return err
		}
		defer client.Close()
		client.Version.Store(e.version)
		client.Require(e.version)
		if r, err := client.Ask(1); err != nil || r.Wrong > 0 || r.Answered != 1 {
			return errors.Join(err, errors.New(r.String()))
		}
		return nil
	})
	return quiet, busy
}

// editor is the admin: a zone file, and how often one record of it changes.
type editor struct {
	l       *lab.Lab
	path    string
	hosts   int
	core    int // the server's, if it has one of its own
	every   time.Duration
	version uint32
	zone    []byte // of version 0
	line    int    // where the changing record lies in it
	length  int
}

func newEditor(l *lab.Lab, path string, hosts, core int) *editor {
	e := &editor{l: l, path: path, hosts: hosts, core: core, zone: load.Zone("example.test", hosts, 0)}
	old := load.ChangingLine(0)
	for e.line = 0; string(e.zone[e.line:e.line+len(old)]) != old; e.line++ {
	}
	e.length = len(old)
	if err := os.MkdirAll(l.Path(), 0o755); err != nil {
		l.T().Fatal(err)
	}
	if err := os.MkdirAll(path[:len(path)-len("/example.test.zone")], 0o755); err != nil {
		l.T().Fatal(err)
	}
	if err := e.write(); err != nil {
		l.T().Fatal(err)
	}
	return e
}

// write puts the next version in place, as an editor does: by renaming.
func (e *editor) write() error {
	e.version++
	text := append(append(append([]byte(nil), e.zone[:e.line]...), load.ChangingLine(e.version)...), e.zone[e.line+e.length:]...)
	fresh := e.path + "~"
	if err := os.WriteFile(fresh, text, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, e.path)
}

// edit edits until the returned function is called. It keeps off the
// server's core.
func (e *editor) edit(client *load.Client) (stop func()) {
	if e.every == 0 {
		return func() {}
	}
	ended, done := make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		if e.core > 0 {
			var cores unix.CPUSet
			cores.Set(e.core)
			if err := unix.SchedSetaffinity(0, &cores); err != nil {
				done <- err
				return
			}
		}
		again := time.NewTicker(e.every)
		defer again.Stop()
		for {
			select {
			case <-ended:
				done <- nil
				return
			case <-again.C:
			}
			client.Version.Store(e.version + 1)
			if err := e.write(); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() {
		close(ended)
		if err := <-done; err != nil {
			e.l.T().Error(err)
		}
	}
}
