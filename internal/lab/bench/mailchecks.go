package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mailRow is what one server did in one round.
type mailRow struct {
	accepted, delivered float64 // a second
	cpu                 float64 // milliseconds a message, of all its processes
	peak                float64 // MB of all its processes, each at its own time
	again               float64 // connections that were lost before the message was taken
}

// mailPlain is mail without checks, beside Postfix, by the script that both are
// measured with.
func (b *bench) mailPlain() error {
	script := filepath.Join(filepath.Dir(b.script), "mail.sh")
	if _, err := os.Stat(script); err != nil || os.Geteuid() != 0 {
		b.printf("\nmail: not measured, it needs root and %s\n", script)
		return nil
	}
	for sessions := range strings.SplitSeq(b.sessions, ",") {
		b.printf("\nmail, no checks; load average %s\n", loadAverage())
		cmd := exec.CommandContext(b.ctx, "bash", script, "-b", b.binary, "-n", fmt.Sprint(b.messages), "-s", sessions, "-r", fmt.Sprint(b.rounds))
		cmd.Stdout, cmd.Stderr = b.out, os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
}

// mailChecks is mail as it comes from strangers, checked: SPF, DKIM and DMARC
// of every message, beside Postfix with the three programs that do it there. It
// happens in a process with a network of its own, which nothing leaves.
func (b *bench) mailChecks() error {
	if names := lacking(); len(names) > 0 || os.Geteuid() != 0 {
		slices.Sort(names)
		b.printf("\nmail with checks: not measured, it needs root and Debian's packages; missing: %s\n", strings.Join(names, " "))
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(b.ctx, self, "-bin", b.binary, "-rounds", fmt.Sprint(b.rounds), "-messages", fmt.Sprint(b.messages),
		"-sessions", b.sessions, "mailchecks")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = b.out, os.Stderr, apart()
	return cmd.Run()
}

// checkingMail is mailChecks in its own world.
func checkingMail(ctx context.Context, o options) (err error) {
	// Postfix keeps its log below /var only.
	dir, err := os.MkdirTemp("/var/tmp", "benchmail")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	b := &bench{options: o, ctx: ctx, out: os.Stdout, dir: dir}
	if err := b.furnishMail(); err != nil {
		return err
	}
	keys, err := mailKeys()
	if err != nil {
		return err
	}
	all, err := letters(keys)
	if err != nil {
		return err
	}
	zone, err := mailZone(keys)
	if err != nil {
		return err
	}
	stop, err := b.startDNS(zone)
	if err != nil {
		return err
	}
	defer stop()
	inner, err := newSink(innerAddress + ":25")
	if err != nil {
		return err
	}
	defer inner.listener.Close()
	for word := range strings.SplitSeq(o.sessions, ",") {
		sessions, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		if err := b.mailTable(inner, all, sessions); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) mailTable(inner *sink, all []letter, sessions int) error {
	servers := []mailServer{b.mailPostern(), b.mailPostfix()}
	rows := map[string][]mailRow{}
	for range b.rounds {
		for _, s := range servers {
			r, err := b.mailRound(s, inner, all, sessions)
			if err != nil {
				return fmt.Errorf("%s: %w%s", s.name, err, b.mailLogs())
			}
			rows[s.name] = append(rows[s.name], r)
		}
	}
	mean := 0
	for _, l := range all {
		mean += len(l.text) / len(all)
	}
	b.printf("\nmail with checks: %d messages of 2 to 128 KB, %.1f in the mean, of %d domains, each signed and in a connection of its own, %d sessions; medians of %d alternating rounds; load average %s\n"+
		"(every message came to the inner server with results that say SPF, DKIM and DMARC pass; both refused a forgery first; one NSD behind Postern's resolver, and behind Unbound for Postfix)\n"+
		"%-44s%10s%10s%14s%10s%12s%10s%10s%6s\n", b.messages, float64(mean)/1024, senders, sessions, b.rounds, loadAverage(),
		"", "accept/s", "ratio", "end-to-end/s", "ratio", "cpu ms/msg", "ratio", "peak MB", "lost")
	column := func(name string, value func(mailRow) float64) float64 {
		var all []float64
		for _, r := range rows[name] {
			all = append(all, value(r))
		}
		return middle(all)
	}
	other := servers[len(servers)-1].name
	for _, s := range servers {
		part := func(value func(mailRow) float64) (float64, string) {
			return column(s.name, value), over(column(s.name, value), column(other, value))
		}
		accepted, acceptedRatio := part(func(r mailRow) float64 { return r.accepted })
		delivered, deliveredRatio := part(func(r mailRow) float64 { return r.delivered })
		cpu, cpuRatio := part(func(r mailRow) float64 { return r.cpu })
		b.printf("%-44s%10.0f%10s%14.0f%10s%12.2f%10s%10.1f%6.0f\n", s.name, accepted, acceptedRatio, delivered, deliveredRatio, cpu, cpuRatio,
			column(s.name, func(r mailRow) float64 { return r.peak }), column(s.name, func(r mailRow) float64 { return r.again }))
	}
	return nil
}

// mailRound starts a server, has it refuse a forgery, and loads it.
func (b *bench) mailRound(s mailServer, inner *sink, all []letter, sessions int) (row mailRow, err error) {
	running, err := s.start()
	defer func() {
		for _, p := range slices.Backward(running) {
			p.stop()
		}
	}()
	if err != nil {
		return row, err
	}
	at := edgeAddress + ":25"
	// Some first, so that caches are warm and all processes there.
	warm := max(senders, 3*sessions)
	inner.expect(warm)
	if _, err := sendAll(b.ctx, at, all, warm, sessions); err != nil {
		return row, err
	}
	if err := inner.wait(b.ctx, time.Minute); err != nil {
		return row, err
	}
	if err := send(b.ctx, at, forgery()); !errors.Is(err, errRefused) {
		return row, fmt.Errorf("a forged message was not refused: %w", err)
	}
	before := cpuOf(running)
	inner.expect(b.messages)
	begun := time.Now()
	again, err := sendAll(b.ctx, at, all, b.messages, sessions)
	if err != nil {
		return row, err
	}
	accepted := time.Since(begun)
	if err := inner.wait(b.ctx, 5*time.Minute); err != nil {
		return row, err
	}
	delivered, n := time.Since(begun), float64(b.messages)
	if checked := int(inner.checked.Load()); checked != b.messages {
		return row, fmt.Errorf("of %d messages only %d came through as checked", b.messages, checked)
	}
	return mailRow{
		accepted: n / accepted.Seconds(), delivered: n / delivered.Seconds(),
		cpu: float64((cpuOf(running) - before).Microseconds()) / 1000 / n, peak: peakOf(running), again: float64(again),
	}, nil
}

// cpuOf is the time used by processes, all they started, and those of these
// that have ended.
func cpuOf(running []*server) (sum time.Duration) {
	for _, p := range running {
		for _, pid := range p.tree() {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // it may have ended
			_, rest, _ := strings.Cut(string(text), ") ")
			if fields := strings.Fields(rest); len(fields) > 14 {
				for _, word := range fields[11:15] {
					ticks, _ := strconv.Atoi(word) // numbers, says proc(5)
					sum += time.Duration(ticks) * 10 * time.Millisecond
				}
			}
		}
	}
	return sum
}

// peakOf is the most memory that each of them had, in MB of 2^20.
func peakOf(running []*server) float64 {
	kB := 0
	for _, p := range running {
		for _, pid := range p.tree() {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
			for line := range strings.Lines(string(text)) {
				if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
					n, _ := strconv.Atoi(strings.Fields(rest)[0]) // a number, says proc(5)
					kB += n
				}
			}
		}
	}
	return float64(kB) / 1024
}

// mailLogs is the end of what the programs said.
func (b *bench) mailLogs() string {
	var all strings.Builder
	paths, _ := filepath.Glob(filepath.Join(b.dir, "*log")) // the pattern is good
	for _, path := range paths {
		text, _ := os.ReadFile(path) // what there is of it
		fmt.Fprintf(&all, "\n%s: %s", filepath.Base(path), text[max(0, len(text)-1500):])
	}
	return all.String()
}
