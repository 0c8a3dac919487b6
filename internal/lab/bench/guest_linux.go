package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/lab/load"
)

// What the guest counts with: questions that are asked before, and the number
// by which one count is longer than the other.
const (
	warming   = 2000
	questions = 5000
)

// said begins a line for the host.
const said = "total:"

// totalMixes are the rows of the table.
var totalMixes = []struct {
	name string
	kind kind
	cfg  func(p *server, hosts int) load.Config
}{
	{"positive", bare, plainLoad(load.Positive)},
	{"mixed", bare, plainLoad(load.Mixed)},
	{"defaults", defaults, func(p *server, hosts int) load.Config { return full(p.at, hosts, load.ServerCookie) }},
}

// totalWindows are how many questions are unanswered at one time.
var totalWindows = []int{1, 8, 64, 200}

// guest is the first program of the guest of total: it counts, prints, and
// turns the machine off. It never returns.
func guest(ctx context.Context, o options, work func(context.Context, options) error) {
	err := work(ctx, o)
	if err == nil {
		fmt.Println(said, "loop", known(loops))
	}
	if err != nil {
		fmt.Println(said, "error", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // there is nothing left to be done about it
	select {}
}

func counting(ctx context.Context, o options) error {
	if err := furnish(); err != nil {
		return err
	}
	b := &bench{options: o, ctx: ctx, out: os.Stdout, dir: "/tmp", alone: true}
	for _, k := range []kind{bare, defaults} {
		for _, name := range b.servers() {
			if err := b.countServer(name, k); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// furnish makes what programs expect.
func furnish() error {
	var err error
	for _, m := range [][3]string{{"proc", "/proc", "proc"}, {"sys", "/sys", "sysfs"}, {"dev", "/dev", "devtmpfs"}, {"tmp", "/tmp", "tmpfs"}} {
		if e := os.MkdirAll(m[1], 0o755); e != nil {
			err = errors.Join(err, e)
		}
		if e := unix.Mount(m[0], m[1], m[2], 0, ""); e != nil && e != unix.EBUSY {
			err = errors.Join(err, fmt.Errorf("mount %s: %w", m[1], e))
		}
	}
	return errors.Join(err, os.Setenv("PATH", "/bin"), loopback())
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// loops is how often the loop goes round that shows that the clock counts.
const loops = 100_000_000

// known is what that loop costs by the clock of its thread.
func known(n uint64) int64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before) // a failure shows in the figure
	spin(n)
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after)
	return after.Nano() - before.Nano()
}

// spin goes round n times, of three instructions each.
//
//go:noinline
func spin(n uint64) {
	for n != 0 {
		n--
	}
}

// clockSched, CPUCLOCK_SCHED of Linux, is the clock of a process that tells how
// long all its threads were on a core, also those that ended.
const clockSched = 2

// spent adds those of all processes of a server, in nanoseconds.
func (p *server) spent() (sum int64, err error) {
	for _, pid := range p.tree() {
		var t unix.Timespec
		err = errors.Join(err, unix.ClockGettime(int32(^pid<<3|clockSched), &t))
		sum += t.Nano()
	}
	return sum, err
}

func (b *bench) countServer(name string, k kind) error {
	zone, err := b.zone(b.hosts / 10)
	if err != nil {
		return err
	}
	s, err := b.setup(name, zone, k)
	if err != nil {
		return err
	}
	p, err := b.start(s)
	if err != nil {
		return err
	}
	defer p.stop()
	p.settle()
	fmt.Println(said, "loaded", name, p.took.Round(time.Millisecond), fmt.Sprintf("%.0f MB", p.resident()))
	for _, mix := range totalMixes {
		if mix.kind != k {
			continue
		}
		for _, window := range totalWindows {
			n, err := b.totalOf(p, mix.cfg(p, b.hosts/10), window)
			if err != nil {
				return err
			}
			fmt.Println(said, "count", name, mix.name, window, n)
		}
	}
	return nil
}

// totalOf counts the instructions of a question.
func (b *bench) totalOf(p *server, cfg load.Config, window int) (float64, error) {
	cfg.Core, cfg.Window, cfg.Timeout, cfg.Seed = 0, window, time.Minute, 1
	c, err := load.New(cfg)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Ask(max(warming, len(cfg.Sources)*5/4)); err != nil {
		return 0, err
	}
	p.settle()
	one, err := p.spentOn(c, questions)
	if err != nil {
		return 0, err
	}
	two, err := p.spentOn(c, 2*questions)
	return (two - one) / questions, err
}

// spentOn is what n questions take.
func (p *server) spentOn(c *load.Client, n int) (float64, error) {
	before, err := p.spent()
	if err != nil {
		return 0, err
	}
	r, err := c.Ask(n)
	if err != nil {
		return 0, err
	}
	if r.Lost+r.Wrong > 0 {
		return 0, fmt.Errorf("%v", r)
	}
	after, err := p.spent()
	return float64(after - before), err
}
