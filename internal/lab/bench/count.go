package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postern/internal/lab/load"
)

// counted is how many queries tell one of the two counts from the other.
const counted = 50_000

// count counts the user instructions of the running server by the query: with
// perf where the machine can, else with callgrind, which runs the real program
// and counts each instruction. It asks N and then 2N questions, so that what
// is not by the query falls out.
func (b *bench) count() error {
	var counter func(p *server) (uint64, error)
	var before []string
	how := ""
	switch {
	case perfCounts():
		how = "perf"
	case exec.Command("valgrind", "--version").Run() == nil:
		how, counter = "callgrind", callgrind
	default:
		b.printf("\nuser instructions: not counted, for perf cannot here and valgrind is not installed\n")
		return nil
	}
	b.printf("\nuser instructions a query, by %s, windows of 200\n%-64s%12s\n", how, "", "instructions")
	for _, c := range []struct {
		name  string
		kind  kind
		hosts int
		cfg   func(p *server, hosts int) load.Config
	}{
		{"plain zone, mixed", bare, b.hosts / 10, plainLoad(load.Mixed)},
		{"plain zone, positive", bare, b.hosts / 10, plainLoad(load.Positive)},
		{"plain zone, nxdomain", bare, b.hosts / 10, plainLoad(load.NXDomain)},
		{"plain zone, referral", bare, b.hosts / 10, plainLoad(load.Referral)},
		{"plain zone, wildcard", bare, b.hosts / 10, plainLoad(load.Wildcard)},
		{"defaults, large zone, server cookies", defaults, b.hosts, func(p *server, hosts int) load.Config { return full(p.at, hosts, load.ServerCookie) }},
		{"defaults, large zone, client cookies, charged to the limit", defaults, b.hosts, func(p *server, hosts int) load.Config { return full(p.at, hosts, load.ClientCookie) }},
	} {
		zone, err := b.zone(c.hosts)
		if err != nil {
			return err
		}
		s, err := b.setup("postern", zone, c.kind)
		if err != nil {
			return err
		}
		if how == "callgrind" {
			before = []string{"env", "GODEBUG=asyncpreemptoff=1", "valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=" + filepath.Join(s.dir, "cg")}
		}
		n, err := b.countOne(s, before, counter, func(p *server) load.Config { return c.cfg(p, c.hosts) })
		if err != nil {
			return err
		}
		b.printf("%-64s%12.0f\n", c.name, n)
	}
	return nil
}

func plainLoad(mix load.Mix) func(p *server, hosts int) load.Config {
	return func(p *server, hosts int) load.Config {
		return load.Config{Server: p.at, Hosts: hosts, Mix: mix, Core: 2}
	}
}

func (b *bench) countOne(s setup, before []string, counter func(*server) (uint64, error), cfg func(*server) load.Config) (float64, error) {
	p, err := b.start(s, before...)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	config := cfg(p)
	config.Timeout = time.Minute
	if counter != nil {
		if err := control(p, "-i", "on"); err != nil {
			return 0, err
		}
	}
	c, err := load.New(config)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Ask(max(20_000, 2*len(config.Sources))); err != nil {
		return 0, err
	}
	p.settle()
	var counts [2]uint64
	for range 3 {
		for i := range counts {
			n, err := countRun(p, counter, c, counted*(i+1))
			if err != nil {
				return 0, err
			}
			if counts[i] == 0 || n < counts[i] { // the least: what runs beside it only adds
				counts[i] = n
			}
		}
	}
	return (float64(counts[1]) - float64(counts[0])) / counted, nil
}

// countRun counts the instructions of n questions.
func countRun(p *server, counter func(*server) (uint64, error), c *load.Client, n int) (uint64, error) {
	ask := func() error {
		r, err := c.Ask(n)
		if err == nil && r.Lost+r.Wrong > 0 {
			err = fmt.Errorf("%v", r)
		}
		return err
	}
	if counter == nil {
		return perf(p, ask)
	}
	if err := control(p, "-z"); err != nil {
		return 0, err
	}
	if err := ask(); err != nil {
		return 0, err
	}
	return counter(p)
}

// settle waits until the server has been idle for a while: it tidies up some
// time after it has loaded. One that is never idle is measured as it is.
func (p *server) settle() {
	user, system := p.cpu()
	for still, end := 0, time.Now().Add(2*time.Minute); still < 5 && time.Now().Before(end); {
		time.Sleep(time.Second)
		u, s := p.cpu()
		if still++; u+s > user+system+30*time.Millisecond {
			still = 0
		}
		user, system = u, s
	}
}

// control speaks to callgrind, which may be deaf while its server is busy.
func control(p *server, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // of the tool's own life
	defer cancel()
	cmd := exec.CommandContext(ctx, "callgrind_control", append(args, strconv.Itoa(p.cmd.Process.Pid))...)
	// It has a child that holds the server by ptrace, and would hold it, ended or
	// not, and our pipe: both go together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("callgrind_control %v: %w: %s", args, err, out)
	}
	return nil
}

// callgrind returns what was counted since the last time.
func callgrind(p *server) (uint64, error) {
	if err := control(p, "-d"); err != nil {
		return 0, err
	}
	dumps, err := filepath.Glob(filepath.Join(filepath.Dir(p.log.Name()), "cg.*"))
	if err != nil {
		return 0, err
	}
	newest, at := "", time.Time{}
	for _, dump := range dumps {
		if info, err := os.Stat(dump); err == nil && info.ModTime().After(at) {
			newest, at = dump, info.ModTime()
		}
	}
	text, err := os.ReadFile(newest)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if total, ok := strings.CutPrefix(string(line), "totals: "); ok {
			return strconv.ParseUint(strings.TrimSpace(total), 10, 64)
		}
	}
	return 0, fmt.Errorf("no total in %s", newest)
}

// perfCounts reports whether the machine lets its instructions be counted.
func perfCounts() bool {
	out, err := exec.Command("perf", "stat", "-x,", "-e", "instructions:u", "true").CombinedOutput()
	_, ok := instructions(out)
	return err == nil && ok
}

func instructions(text []byte) (uint64, bool) {
	for line := range bytes.Lines(text) {
		if number, _, ok := strings.Cut(string(line), ","); ok && bytes.Contains(line, []byte("instructions")) {
			n, err := strconv.ParseUint(number, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// perf counts while f runs.
func perf(p *server, f func() error) (uint64, error) {
	var out bytes.Buffer
	cmd := exec.Command("perf", "stat", "-x,", "-e", "instructions:u", "-p", strconv.Itoa(p.cmd.Process.Pid))
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	time.Sleep(300 * time.Millisecond) // until it counts: what it misses of both falls out
	if err := f(); err != nil {
		return 0, err
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return 0, err
	}
	_ = cmd.Wait() // it ends by the signal
	n, ok := instructions(out.Bytes())
	if !ok {
		return 0, fmt.Errorf("perf: %s", out.String())
	}
	return n, nil
}
