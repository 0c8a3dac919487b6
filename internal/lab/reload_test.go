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
				defer edge.Stop()
				if !long || raced {
					e.rate(l, 2*time.Second)
					e.reloads(l, 5*time.Second, c.seen)
					return
				}
				quiet, busy := e.steadily(l, c.seen)
				if busy == nil {
					return
				}
				bound := max(c.bound, time.Duration(c.quiet)*quiet.Calm.At(0.99))
				if p99 := busy.Calm.At(0.99); p99 > bound {
					l.T().Errorf("99 of 100 answers within %v, want %v", p99, bound)
				}
			})
		}
	})
}

// steadily measures until the machine did not change under it: as fast after as
// it was before, and its host took nothing for most of the time and around
// several of the edits. Half of what a machine could do in one moment may be
// all that it can in the next, and then questions are lost without a reload.
func (e *editor) steadily(l *lab.Lab, seen int) (quiet, busy *load.Result) {
	for range steadyTries {
		before := e.rate(l, 2*time.Second)
		quiet, busy = e.reloads(l, 20*time.Second, seen)
		after := e.most(l, 2*time.Second).PerSecond()
		steady := max(before, after) <= 1.25*min(before, after)
		calm := min(quiet.CalmWindows*2-quiet.Windows, busy.CalmWindows*2-busy.Windows) > 0 && busy.CalmVersions >= 5
		l.T().Logf("%.0f/s before, %.0f/s after: steady %v, calm %v", before, after, steady, calm)
		if steady && calm {
			if quiet.CalmLost+busy.CalmLost > 0 {
				l.T().Errorf("%d and %d queries were lost while the host took nothing", quiet.CalmLost, busy.CalmLost)
			}
			return quiet, busy
		}
	}
	l.T().Errorf("the machine was not steady in any of %d tries: nothing is shown", steadyTries)
	return nil, nil
}

const steadyTries = 8

// most returns what the server can do.
func (e *editor) most(l *lab.Lab, during time.Duration) *load.Result {
	cfg, every := e.cfg, e.every
	cfg.Rate, cfg.Window, e.every = 0, 0, 0
	r := e.run(l, cfg, during)
	e.every = every
	return r
}

// rate sets the load to half of the most, and returns that.
func (e *editor) rate(l *lab.Lab, during time.Duration) float64 {
	most := e.most(l, during)
	l.T().Logf("most %s", most)
	e.cfg.Rate, e.cfg.Window = max(int(most.PerSecond())/2, 100), 1<<15
	return most.PerSecond()
}

func (e *editor) run(l *lab.Lab, cfg load.Config, during time.Duration) *load.Result {
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
	// Others, or the host of the machine, may keep the server from its core
	// until the kernel drops what it does not read.
	overflowed = overflows(l) - overflowed
	if r.Wrong > 0 || r.Answered == 0 || r.Lost > overflowed {
		l.T().Errorf("%s; the kernel dropped %d", r, overflowed)
	}
	return r
}

// reloads measures half of the maximum load without and with reloads.
func (e *editor) reloads(l *lab.Lab, during time.Duration, seen int) (quiet, busy *load.Result) {
	long := os.Getenv("POSTERN_PROVE") != ""
	if cfg := &e.cfg; !long {
		cfg.Rate = min(cfg.Rate, 20_000) // other tests run beside it
	}
	e.every = 0
	quiet = e.run(l, e.cfg, during/2)
	e.every = time.Second
	first := e.version
	busy = e.run(l, e.cfg, during)
	l.T().Logf("quiet %s\n%d edits, %d versions seen, %d in calm: %s", quiet, e.version-first, busy.Versions, busy.CalmVersions, busy)
	if want := (int(e.version-first) - 2) / seen; busy.Versions < max(want, 1) {
		l.T().Errorf("%d edits, but %d versions were seen", e.version-first, busy.Versions)
	}
	e.last(l)
	return quiet, busy
}

// last waits for the last edit to come through.
func (e *editor) last(l *lab.Lab) {
	l.Eventually("the last version", func() error {
		cfg := e.cfg
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
}

// editor is the admin: a zone file, and how often one record of it changes.
type editor struct {
	l       *lab.Lab
	path    string
	core    int // the server's, if it has one of its own
	cfg     load.Config
	every   time.Duration
	version uint32
	zone    []byte // of version 0
	line    int    // where the changing record lies in it
	length  int
}

func newEditor(l *lab.Lab, path string, hosts, core int) *editor {
	e := &editor{l: l, path: path, core: core, zone: load.Zone("example.test", hosts, 0)}
	old := load.ChangingLine(0)
	e.cfg = load.Config{
		Server: netip.MustParseAddrPort("198.51.100.53:53"), Hosts: hosts, Mix: load.Mixed, Changing: 5, Seed: 5,
	}
	if core > 0 {
		e.cfg.Core = core + 1
	}
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
