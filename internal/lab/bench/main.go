// Command bench measures Postern's name service beside NSD and Knot, one core
// for the server and one for the load, and its signing, on all cores, beside
// dnssec-signzone, all in one run, and prints the tables
// of the manual's page on speed. `make bench` runs it. It speaks on loopback
// only; run it on a machine that does nothing else.
//
// The tables: the plain zone and its mixes, and the signed one, by the script
// that all servers are measured with where it lies beside the checkout; what users have by
// default, over a zone of a million hosts; user instructions by the query;
// all instructions, the kernel's too, counted inside QEMU where it is
// installed and a kernel image is given; the mixes against each other; loading;
// signing; how soon an edit of a signed zone is served and told; and mail beside
// Postfix, without checks, by a script too, and with them.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	binary string
	script string
	rounds int
	secs   int
	hosts  int
	only   string
	peers  string
	kernel string

	messages int
	sessions string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "bin", "./postern", "the postern to measure")
	flag.StringVar(&o.script, "script", "../shared/bench/authority.sh", "what measures the plain zone")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, of which the median counts")
	flag.IntVar(&o.secs, "secs", 4, "seconds each")
	flag.IntVar(&o.hosts, "hosts", 1_000_000, "hosts of the large zone; the small one has a tenth")
	flag.StringVar(&o.only, "only", "plain,signed,defaults,count,total,edits,mixes,load,signing,signededits,mail,mailchecks", "which tables")
	flag.StringVar(&o.peers, "peers", "postern,nsd,knot", "which servers")
	flag.StringVar(&o.kernel, "kernel", "", "a Linux kernel image for total and edits")
	flag.IntVar(&o.messages, "messages", 2000, "messages of each round of mail and mailchecks")
	flag.StringVar(&o.sessions, "sessions", "20,200", "and their sessions at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) // the program's own life
	defer stop()
	if flag.Arg(0) == "mailchecks" {
		ended(stop, checkingMail(ctx, o))
	}
	// It turns the machine off, so it must be nobody's but its own.
	if os.Getpid() == 1 {
		switch flag.Arg(0) {
		case "guest":
			guest(ctx, o, counting)
		case "edits":
			guest(ctx, o, editing)
		}
	}
	ended(stop, run(ctx, os.Stdout, o))
}

// ended is the end of the program.
func ended(stop func(), err error) {
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, out io.Writer, o options) (err error) {
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("no postern to measure: %w (make build)", err)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, ctx: ctx, out: out, dir: dir}
	b.machine()
	for _, table := range []struct {
		name string
		make func() error
	}{
		{"plain", b.plain},
		{"signed", b.signed},
		{"defaults", b.defaults},
		{"count", b.count},
		{"total", b.total},
		{"edits", b.edits},
		{"mixes", b.mixes},
		{"load", b.loading},
		{"signing", b.signing},
		{"signededits", b.signedEdits},
		{"mail", b.mailPlain},
		{"mailchecks", b.mailChecks},
	} {
		if !strings.Contains(","+o.only+",", ","+table.name+",") {
			continue
		}
		if err := table.make(); err != nil {
			return fmt.Errorf("%s: %w", table.name, err)
		}
	}
	b.printf("\nload average at the end %s\n", loadAverage())
	return nil
}

// bench is one run.
type bench struct {
	options
	ctx context.Context
	out io.Writer
	dir string

	alone bool // on a machine with one core for all
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.out, format, args...) }

// plain runs the script for the plain zone and each mix, and draws the sum.
func (b *bench) plain() error {
	return b.byScript("plain", "mixed", "positive", "nxdomain", "referral", "wildcard")
}

// signed is the same zone, signed by others, to queries with DO.
func (b *bench) signed() error { return b.byScript("signed", "mixed", "positive", "nxdomain") }

func (b *bench) byScript(zone string, mixes ...string) error {
	if _, err := os.Stat(b.script); err != nil {
		b.printf("\n%s zone: not measured, %s is not here\n", zone, b.script)
		return nil
	}
	said := map[string]map[string][]string{} // mix -> server -> columns
	for _, mix := range mixes {
		b.printf("\n")
		var text bytes.Buffer
		cmd := exec.CommandContext(b.ctx, "bash", b.script, "-b", b.binary, "-z", zone, "-m", mix,
			"-r", fmt.Sprint(b.rounds), "-s", fmt.Sprint(b.secs), "-p", strings.ReplaceAll(b.peers, ",", " "))
		cmd.Stdout, cmd.Stderr = io.MultiWriter(b.out, &text), os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
		said[mix] = columns(text.String())
	}
	b.printf("\nPostern, %s zone, by the same script; medians of %d rounds of %d s; load average %s\n%-12s%12s%10s%14s%10s%10s%10s%10s\n", zone, b.rounds, b.secs, loadAverage(),
		"", "queries/s", "cpu us", "cpu/positive", "cpu/nsd", "cpu/knot", "q/s/nsd", "RSS/nsd")
	for _, mix := range mixes {
		own, nsd, knot := said[mix]["postern"], said[mix]["nsd"], said[mix]["knot"]
		b.printf("%-12s%12s%10s%14s%10s%10s%10s%10s\n", mix, cell(own, colRate), cell(own, colCPU), part(own, said["positive"]["postern"], colCPU),
			part(own, nsd, colCPU), part(own, knot, colCPU), part(own, nsd, colRate), part(own, nsd, colRSS))
	}
	return nil
}

// Columns of the script's table, after the server's name.
const (
	colRate = 0
	colRSS  = 6
	colCPU  = 8
)

// columns returns the script's rows by server.
func columns(text string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > colCPU+1 && fields[0] != "server" && fields[0] != "zone" {
			rows[fields[0]] = fields[1:]
		}
	}
	return rows
}

func cell(row []string, col int) string {
	if col >= len(row) {
		return "-"
	}
	return row[col]
}

func part(row, of []string, col int) string {
	a, errA := strconv.ParseFloat(cell(row, col), 64)
	b, errB := strconv.ParseFloat(cell(of, col), 64)
	if errA != nil || errB != nil {
		return "-"
	}
	return over(a, b)
}

// machine says what all figures depend on.
func (b *bench) machine() {
	host, _ := os.Hostname() // an empty name says enough
	b.printf("%s; machine %s, %s; load average %s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), host, cpuModel(), loadAverage())
	for _, command := range [][]string{{"uname", "-sr"}, {b.binary, "version"}, {"nsd", "-v"}, {"knotd", "-V"}} {
		cmd := exec.CommandContext(b.ctx, command[0], command[1:]...)
		said, _ := cmd.CombinedOutput() // a peer that is not there is passed over later
		first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
		if first != "" {
			b.printf("%s\n", first)
		}
	}
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // elsewhere there is no such file
	cores, model := 0, "unknown processor"
	for line := range strings.Lines(string(text)) {
		if _, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(line, "model name") {
			cores, model = cores+1, strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%d × %s", cores, model)
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg") // elsewhere there is no such file
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
