package authority

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

func TestEditIsServedOnceItHasSettled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.want("external", "www.example.test", "192.0.2.80")
	b.wantState("external", OK, "")

	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.scan()
	b.want("external", "www.example.test", "192.0.2.80")
	b.now = b.now.Add(300 * time.Millisecond)
	r := b.scan()
	b.want("external", "www.example.test", "192.0.2.81")
	b.want("internal", "www.example.test", "192.0.2.81")
	if len(r.Changes) != 1 || r.Changes[0].Removed != 1 || r.Changes[0].Added != 1 || r.Changes[0].NewSerial != 11 {
		t.Errorf("report: %+v", r)
	}
	for _, says := range []string{"zone changed", "removed=1", "added=1", "- www.example.test. 300 IN A 192.0.2.80", "+ www.example.test. 300 IN A 192.0.2.81"} {
		if !strings.Contains(b.log.String(), says) {
			t.Errorf("the log lacks %q:\n%s", says, b.log)
		}
	}
}

func TestHalfWrittenFileIsNeverRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	longer := external + "a A 192.0.2.2\nb A 192.0.2.3\n"
	// The writer truncates, then writes with pauses shorter than the settle
	// time; a look falls into each pause. Every prefix would parse.
	f, err := os.Create(filepath.Join(b.root, "external/example.test.zone"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(longer) {
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(200 * time.Millisecond)
		if r := b.scan(); len(r.Changes) > 0 {
			t.Fatalf("read half way: %+v", r)
		}
		b.want("external", "www.example.test", "192.0.2.80")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.want("external", "b.example.test", "192.0.2.3")
}

// A writer in place that pauses for 300 ms, each of whose steps would parse,
// is never read half, however often one looks.
func TestSlowWriterIsNeverReadHalf(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Settle = 0 // the default
	b.write("external/example.test.zone", external)
	b.start()
	f, err := os.Create(filepath.Join(b.root, "external/example.test.zone"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(external + "a A 192.0.2.2\nb A 192.0.2.3\n") {
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if r := b.scan(); len(r.Changes) > 0 || b.zone("external", "example.test").Records() != 5 {
				t.Fatalf("read half way: %+v", r)
			}
			b.now = b.now.Add(50 * time.Millisecond)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.want("external", "b.example.test", "192.0.2.3")
}

func TestUnfinishedLineWaitsLonger(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"new A 192.0.2.1") // on its way to 192.0.2.111
	b.scan()
	b.now = b.now.Add(300 * time.Millisecond)
	b.scan()
	b.want("external", "new.example.test", "")
	b.now = b.now.Add(300 * time.Millisecond)
	b.scan()
	b.want("external", "new.example.test", "192.0.2.1")
}

func TestEditThatKeepsSizeAndTimeIsSeen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	path := filepath.Join(b.root, "external/example.test.zone")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b.start()
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.89", 1))
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.want("external", "www.example.test", "192.0.2.89")
}

func TestInclude(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := os.Mkdir(filepath.Join(b.root, "external/part"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("external/part/hosts.inc", "inc A 192.0.2.50\n")
	b.write("external/example.test.zone", external+"$INCLUDE part/hosts.inc\n")
	b.start()
	b.want("external", "inc.example.test", "192.0.2.50")
	b.write("external/part/hosts.inc", "inc A 192.0.2.51\n")
	b.settle()
	b.want("external", "inc.example.test", "192.0.2.51")

	if err := os.Symlink("/etc/hostname", filepath.Join(b.root, "external/part/out.inc")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(b.root, "external/part/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/etc/hostname", "../internal/x", "part/out.inc", "part/none.inc", "part", "part/fifo"} {
		b.write("external/example.test.zone", external+"$INCLUDE "+path+"\n")
		b.settle()
		b.wantState("external", LastGood, "example.test.zone:7:10: ERR include")
		b.want("external", "inc.example.test", "192.0.2.51")
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Files = map[string]string{"64-26.2.0.192.in-addr.arpa": "rev-64-26.zone"}
	b.cfg.StateDir = filepath.Join(b.root, "state2")
	minimal := "$TTL 60\n@ SOA ns.example.net. admin.example.net. 1 2 3 4 5\n@ NS ns.example.net.\n"
	b.write("external/Upper.Test.zone", minimal)
	b.write("external/upper.test.zone", minimal+"second A 192.0.2.1\n")
	b.write("external/0%2F25.2.0.192.in-addr.arpa.zone", minimal)
	b.write("external/root.zone", minimal)
	b.write("external/rev-64-26.zone", minimal)
	b.write("external/64-26.2.0.192.in-addr.arpa.zone", minimal)
	b.write("external/.hidden.test.zone", minimal)
	b.write("external/notes.txt", "not a zone")
	b.write("external/bad..name.zone", minimal)
	b.start()
	var got []string
	for _, s := range b.a.Zones() {
		got = append(got, s.Zone)
	}
	if want := ". 0/25.2.0.192.in-addr.arpa. 64-26.2.0.192.in-addr.arpa. upper.test."; strings.Join(got, " ") != want {
		t.Errorf("zones %q, want %q", got, want)
	}
	for _, says := range []string{"is in file Upper.Test.zone already", "configured to be in file rev-64-26.zone", "empty label"} {
		if !strings.Contains(b.log.String(), says) {
			t.Errorf("the log lacks %q:\n%s", says, b.log)
		}
	}
}

// With watching on, an edit is served within a second by itself.
func TestWatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Poll, b.cfg.Settle = time.Hour, 20*time.Millisecond
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone.new", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	if err := os.Rename(filepath.Join(b.root, "external/example.test.zone.new"), filepath.Join(b.root, "external/example.test.zone")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for b.rr("external", "example.test", "www.example.test", dns.TypeA) != "192.0.2.81" {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the edit was not seen:\n%s", b.log)
		}
	}
}

// TestWholeFilesAreNotWaitedFor: an edit by renaming is served long before it
// has settled, and so is one that is closed; one that is open is waited for,
// though it parses and has been left alone for as long as others are.
func TestWholeFilesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells when a file is closed")
	}
	b := newBench(t)
	b.cfg.Poll, b.cfg.Settle = time.Hour, time.Hour
	b.write("external/example.test.zone", external)
	b.start()
	path := filepath.Join(b.root, "external/example.test.zone")
	want := func(host, addr string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for b.rr("external", "example.test", host+".example.test", dns.TypeA) != addr {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("the edit to %s was not seen:\n%s", addr, b.log)
			}
		}
	}
	b.write("external/example.test.zone.new", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	want("www", "192.0.2.81")
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.82", 1)) // in place
	want("www", "192.0.2.82")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("half A 192.0.2.83\n"); err != nil {
		t.Fatal(err)
	}
	b.write("external/other.test.zone", strings.ReplaceAll(external, "example.test", "other.test")) // looked at after the half
	other, err := name.Parse("other.test")
	if err != nil {
		t.Fatal(err)
	}
	for z, _ := b.a.Content(other, "external"); z == nil; z, _ = b.a.Content(other, "external") {
		b.scan()
	}
	if got := b.rr("external", "example.test", "half.example.test", dns.TypeA); got != "" {
		t.Errorf("half a file was read: %s", got)
	}
	if _, err := f.WriteString("more A 192.0.2.84\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want("more", "192.0.2.84")
}

// TestReloadTellsWhatWasTakenBefore: who edits and then reloads hears of the
// edit, though it was taken by itself in between; later nobody does.
func TestReloadTellsWhatWasTakenBefore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	for i, later := range []time.Duration{time.Second, 3 * time.Second} {
		b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", fmt.Sprintf("192.0.2.%d", 81+i), 1))
		b.unasked(0)
		b.unasked(time.Hour) // now it has settled
		b.unasked(later)
		report, err := b.a.Reload(t.Context())
		if told := len(report.Changes) > 0 && report.Changes[0].Added == 1; err != nil || told != (later < tellFor) {
			t.Errorf("%v later: %+v, %v", later, report.Changes, err)
		}
	}
}
