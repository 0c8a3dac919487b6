package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const external = `$TTL 300
@	SOA ns1 admin 10 2h 1h 14d 5m
@	NS ns1
ns1	A 192.0.2.1
www	A 192.0.2.80
mail	A 192.0.2.25
`

// bench is an Authority over real directories whose files are looked at only
// when the test says so, with a clock of its own.
type bench struct {
	t    *testing.T
	root string
	cfg  Config
	log  *syncBuffer
	a    *Authority
	now  time.Time

	build string     // which program runs; "": it cannot tell
	wall  *time.Time // what Config.Now says, where a test sets it
	later func(time.Duration)
}

type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var anyClient = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// newBench makes an internal view over an external one.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, root: t.TempDir(), now: time.Now(), log: &syncBuffer{}, build: "one"}
	for _, dir := range []string{"internal", "external"} {
		if err := os.Mkdir(filepath.Join(b.root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b.cfg = Config{
		Views: []ViewConfig{
			{Name: "internal", Dir: filepath.Join(b.root, "internal"), Overlay: "external", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Recursion: true},
			{Name: "external", Dir: filepath.Join(b.root, "external"), Clients: anyClient},
		},
		StateDir: filepath.Join(b.root, "state"), Poll: -1, Settle: 250 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	return b
}

func (b *bench) write(path, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.root, path), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(path string) {
	b.t.Helper()
	if err := os.Remove(filepath.Join(b.root, path)); err != nil {
		b.t.Fatal(err)
	}
}

// start begins a life over what lies on disk; it ends the one before.
func (b *bench) start() {
	b.t.Helper()
	b.stop()
	a, err := New(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	// What is for large zones only is for all of them here.
	a.clock, a.build, a.noteFrom, a.editFrom = func() time.Time { return b.now }, b.build, 0, 0
	if a.cfg.Poll > 0 {
		a.clock = time.Now
	}
	a.owner.asks = maxAsks              // none beside the test: it looks at parents itself, see tick
	b.now = time.Now().Add(time.Minute) // no file is fresh at the start
	if err := a.Start(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.a = a
	b.t.Cleanup(b.stop)
}

func (b *bench) stop() {
	if b.a == nil {
		return
	}
	// Background: clean-ups run when the test's context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := b.a.Stop(ctx); err != nil {
		b.t.Error(err)
	}
	b.a = nil
}

// scan looks once.
func (b *bench) scan() Report {
	b.t.Helper()
	r, err := b.a.Scan(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// settle looks, lets the settle time pass, and looks again.
func (b *bench) settle() Report {
	b.t.Helper()
	b.scan()
	b.now = b.now.Add(time.Second)
	return b.scan()
}

func (b *bench) zone(view, zoneName string) *zone.Zone {
	b.t.Helper()
	z, err := b.a.Export(zoneName, view)
	if err != nil {
		b.t.Fatalf("zone %s in %s: %v", zoneName, view, err)
	}
	return z
}

// rr returns the data of the set at owner, joined; "" where there is none.
func (b *bench) rr(view, zoneName, owner string, t uint16) string {
	b.t.Helper()
	n, err := name.Parse(owner)
	if err != nil {
		b.t.Fatal(err)
	}
	set := b.zone(view, zoneName).Node(n).Set(t)
	if set == nil {
		return ""
	}
	var all []string
	for _, rr := range set.RRs {
		all = append(all, strings.Join(strings.Fields(rr.String())[4:], " "))
	}
	return strings.Join(all, ",")
}

func (b *bench) want(view, owner, data string) {
	b.t.Helper()
	if got := b.rr(view, "example.test", owner, dns.TypeA); got != data {
		b.t.Errorf("%s A in %s: %q, want %q", owner, view, got, data)
	}
}

func (b *bench) status(view, zoneName string) Status {
	b.t.Helper()
	for _, s := range b.a.Zones() {
		if s.View == view && s.Zone == zoneName {
			return s
		}
	}
	return Status{}
}

func (b *bench) wantState(view string, state State, says string) {
	b.t.Helper()
	s := b.status(view, "example.test.")
	if s.State != state || !strings.Contains(s.Problem, says) || (says == "" && s.Problem != "") {
		b.t.Errorf("state of example.test in %s: %q %q, want %q %q", view, s.State, s.Problem, state, says)
	}
}

// failed reports whether the name gets SERVFAIL in the view.
func (b *bench) failed(view, q string) bool {
	b.t.Helper()
	n, err := name.Parse(q)
	if err != nil {
		b.t.Fatal(err)
	}
	z, ok := b.a.Table().Named(view).Zone(n, dns.TypeA)
	return ok && z == nil
}

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

func TestBadEditKeepsServingAlsoAfterRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"broken A 1.2.3\nother MX\n")
	r := b.settle()
	check := func() {
		t.Helper()
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "www.example.test", "192.0.2.80")
		b.wantState("external", LastGood, "external/example.test.zone:7:10: ERR bad-data")
		if s := b.status("external", "example.test."); s.ServedSerial != 10 || s.Reason != "file-broken" || len(s.Problems) != 2 {
			t.Errorf("status %+v", s)
		}
	}
	check()
	if f := r.Failed(); len(f) != 1 || f[0].Reason != "file-broken" {
		t.Errorf("report %+v", r)
	}
	if !strings.Contains(b.log.String(), "example.test.zone:7:10") {
		t.Errorf("the log lacks the place:\n%s", b.log)
	}
	b.start()
	check()
	b.write("external/example.test.zone", external+"fixed A 192.0.2.7\n")
	b.settle()
	b.want("external", "fixed.example.test", "192.0.2.7")
	b.wantState("external", OK, "")
}

func TestUnfitZoneKeepsServing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", strings.Replace(external, "@	NS ns1\n", "", 1))
	b.settle()
	b.wantState("external", LastGood, "ERR ns-missing")
	b.want("external", "www.example.test", "192.0.2.80")
	b.start()
	b.wantState("external", LastGood, "ERR ns-missing")
	b.want("external", "www.example.test", "192.0.2.80")
}

func TestVanishedFileChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.start()
	b.remove("external/example.test.zone")
	b.remove("internal/example.test.zone")
	b.settle()
	check := func() {
		t.Helper()
		b.wantState("external", Missing, "file-missing")
		b.wantState("internal", Missing, "file-missing")
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "intranet.example.test", "10.0.0.1")
	}
	check()
	b.start()
	check()
	b.write("external/example.test.zone", external)
	b.settle()
	b.wantState("external", OK, "")
}

func TestLostDirectoryChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	for _, lose := range []func() error{
		func() error { return os.Rename(filepath.Join(b.root, "external"), filepath.Join(b.root, "away")) },
		func() error { return os.WriteFile(filepath.Join(b.root, "external"), nil, 0o600) },
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		if r := b.settle(); len(r.Failed()) != 2 { // the zone and the directory
			t.Errorf("report %+v", r)
		}
		b.wantState("external", LastGood, "directory-unreadable")
		b.start()
		b.wantState("external", LastGood, "directory-unreadable")
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "www.example.test", "192.0.2.80")
	}
	if err := os.Remove(filepath.Join(b.root, "external")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(b.root, "away"), filepath.Join(b.root, "external")); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.wantState("external", OK, "")
}

func TestUnreadableDirectoryAndFile(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root can read everything")
	}
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	if err := os.Chmod(filepath.Join(b.root, "external"), 0); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.wantState("external", LastGood, "permission denied")
	if err := os.Chmod(filepath.Join(b.root, "external"), 0o700); err != nil {
		t.Fatal(err)
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

func TestSerialNeverGoesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	at := func(serial, www string) string {
		return strings.NewReplacer("admin 10 ", "admin "+serial+" ", "192.0.2.80", www).Replace(external)
	}
	b.write("external/example.test.zone", external)
	b.start()
	for _, c := range []struct {
		why, serial, www string
		want             uint32
	}{
		{"forgotten", "10", "192.0.2.81", 11},
		{"ahead", "20", "192.0.2.82", 20},
		{"lowered", "5", "192.0.2.83", 21},
		{"lowered, same content", "4", "192.0.2.83", 21},
		{"only the serial, ahead", "30", "192.0.2.83", 30},
		{"more than half the space away", "3000000000", "192.0.2.84", 31},
	} {
		b.write("external/example.test.zone", at(c.serial, c.www))
		b.settle()
		if got := b.zone("external", "example.test").Serial(); got != c.want {
			t.Errorf("%s: serial %d, want %d", c.why, got, c.want)
		}
	}
	b.start()
	if got := b.zone("external", "example.test").Serial(); got != 31 {
		t.Errorf("after restart: %d", got)
	}
}

func TestSerialOutlivesTheSnapshot(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"x A 192.0.2.1\n")
	b.settle()
	b.stop()
	path := filepath.Join(b.root, "state/zones/example.test@external.snapshot")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	if got := b.zone("external", "example.test").Serial(); got != 12 {
		t.Errorf("serial %d after the snapshot broke, want 12", got)
	}
	if !strings.Contains(b.log.String(), "checksum does not match") {
		t.Error("the broken snapshot was not told of")
	}
	if _, err := os.Stat(path + ".broken"); err != nil {
		t.Error(err)
	}
}

func TestSerialPolicies(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		policy     SerialPolicy
		file, last uint32
		known      bool
		want       uint32
	}{
		{Keep, 7, 0, false, 7},
		{"", 7, 0, false, 7},
		{Keep, 7, 7, true, 8},
		{Keep, 9, 7, true, 9},
		{Keep, 0, 0xffffffff, true, 0},
		{Counter, 7, 0, false, 7},
		{Counter, 900, 7, true, 8},
		{UnixTime, 7, 0, false, uint32(now.Unix())},
		{UnixTime, 7, uint32(now.Unix()), true, uint32(now.Unix()) + 1},
		{Date, 7, 0, false, 2026112101},
		{Date, 7, 2026112007, true, 2026112101},
		{Date, 7, 2026112101, true, 2026112102},
	} {
		if got := c.policy.next(c.file, c.last, c.known, now); got != c.want {
			t.Errorf("%s file %d last %d %v: %d, want %d", c.policy, c.file, c.last, c.known, got, c.want)
		}
	}
}

func TestOverlayFollowsBothFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "$TTL 60\nmail A 10.0.0.25\nintranet A 10.0.0.1\n")
	b.start()
	b.want("internal", "mail.example.test", "10.0.0.25")
	b.want("internal", "www.example.test", "192.0.2.80")
	b.want("external", "intranet.example.test", "")
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	r := b.settle()
	if len(r.Changes) != 2 {
		t.Errorf("an external change rebuilds both: %+v", r)
	}
	b.want("internal", "www.example.test", "192.0.2.81")

	// A broken internal file holds up neither the external zone nor what
	// comes through from it.
	b.write("internal/example.test.zone", "$TTL 60\nmail A 10.0.0\n")
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.82", 1))
	b.settle()
	b.want("internal", "www.example.test", "192.0.2.82")
	b.want("internal", "mail.example.test", "10.0.0.25")
	b.wantState("internal", LastGood, "internal/example.test.zone:2:8")
	b.wantState("external", OK, "")

	// So too after a restart, from the journal's copy of the internal records.
	b.stop()
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.83", 1))
	b.start()
	b.want("internal", "www.example.test", "192.0.2.83")
	b.want("internal", "intranet.example.test", "10.0.0.1")
}

// An internal record at an inherited cut is an error, and the delegation may
// come after the record: then the internal view keeps its state.
func TestOverlayCollisionKeepsTheView(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "$TTL 60\nhost.sub A 10.0.0.1\n")
	b.start()
	b.write("external/example.test.zone", external+"sub NS ns.else.test.\n")
	b.settle()
	b.wantState("external", OK, "")
	b.wantState("internal", LastGood, "internal/example.test.zone:2:1: ERR below-cut")
	b.want("internal", "host.sub.example.test", "10.0.0.1")
	b.start()
	b.wantState("internal", LastGood, "below-cut")
	b.want("internal", "host.sub.example.test", "10.0.0.1")
}

func TestNoGoodStateIsServfailNeverInherited(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "intranet A 10.0.0\n")
	b.write("external/broken.test.zone", "@ SOA\n")
	b.start()
	if !b.failed("internal", "www.example.test") || b.failed("external", "www.example.test") {
		t.Error("a view without a good state must fail, and it alone")
	}
	if !b.failed("external", "a.broken.test") || !b.failed("internal", "a.broken.test") {
		t.Error("a zone without a good state fails in each view that shows it")
	}
	b.wantState("internal", Failed, "internal/example.test.zone:1:12: ERR bad-data")
	if _, err := b.a.Export("broken.test", "external"); !errors.Is(err, ErrNoZone) {
		t.Error(err)
	}
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.write("external/broken.test.zone", external)
	b.settle()
	b.want("internal", "intranet.example.test", "10.0.0.1")
	if b.failed("internal", "a.broken.test") {
		t.Error("still failed")
	}
	// An overlay over a zone that fails has nothing to lie over.
	b.write("external/late.test.zone", "@ SOA\n")
	b.write("internal/late.test.zone", "x 60 A 10.0.0.1\n")
	b.settle()
	if s := b.status("internal", "late.test."); s.State != Failed || s.Reason != "base-failed" {
		t.Errorf("%+v", s)
	}
	b.write("external/late.test.zone", external)
	b.settle()
	if s := b.status("internal", "late.test."); s.State != OK {
		t.Errorf("%+v", s)
	}
}

func TestNewOverlayFileIsNoGapWhileItSettles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.write("external/new.test.zone", "$TTL 60\n")
	b.scan()
	if b.failed("internal", "www.example.test") || b.failed("external", "new.test") {
		t.Error("a file that is not read yet took the zone away")
	}
	b.remove("external/new.test.zone")
	b.settle()
	b.want("internal", "intranet.example.test", "10.0.0.1")
	if s := b.status("external", "new.test."); s.State != "" {
		t.Errorf("a file that came and went is no zone: %+v", s)
	}
}

func TestZoneInOneViewOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/corp.test.zone", external)
	b.start()
	n, _ := name.Parse("www.corp.test")
	if _, ok := b.a.Table().Named("external").Zone(n, dns.TypeA); ok {
		t.Error("an internal zone shows outside")
	}
	if _, ok := b.a.Table().Named("internal").Zone(n, dns.TypeA); !ok {
		t.Error("an internal zone is missing inside")
	}
	b.want("internal", "www.example.test", "192.0.2.80")
	if s := b.status("internal", "example.test."); s.State != "" {
		t.Errorf("an inherited zone is listed twice: %+v", s)
	}
	if _, err := b.a.Export("example.test", ""); !errors.Is(err, ErrAmbiguous) {
		t.Error(err)
	}
	if _, err := b.a.Export("corp.test", ""); err != nil {
		t.Error(err)
	}
}

func TestHideWithoutAFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Views[0].Hide = []string{"www.example.test", "nowhere.other.test"}
	b.write("external/example.test.zone", external)
	b.write("external/plain.test.zone", external)
	b.start()
	b.want("internal", "www.example.test", "")
	b.want("internal", "mail.example.test", "192.0.2.25")
	b.want("external", "www.example.test", "192.0.2.80")
	if s := b.status("internal", "plain.test."); s.State != "" {
		t.Error("a zone that nothing is hidden in is shared")
	}
	if !strings.Contains(b.log.String(), "nowhere.other.test.: no zone of view external holds it") {
		t.Errorf("hiding nothing:\n%s", b.log)
	}
	b.start()
	b.want("internal", "www.example.test", "")
	b.cfg.Views[0].Hide = nil
	b.start()
	b.want("internal", "www.example.test", "192.0.2.80")
}

func TestFullCopyIsNoOverlay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Views[0].Full = []string{"example.test"}
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", strings.Replace(external, "www", "only", 1))
	b.start()
	b.want("internal", "only.example.test", "192.0.2.80")
	b.want("internal", "www.example.test", "")
}

func TestFullDiskRefusesTheChange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	full := false
	b.cfg.Writer = atomicfile.Writer{Fault: func(s atomicfile.Step) error {
		if full && s == atomicfile.StepWrite {
			return syscall.ENOSPC
		}
		return nil
	}}
	b.write("external/example.test.zone", external)
	b.start()
	full = true
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.settle()
	b.want("external", "www.example.test", "192.0.2.80")
	b.wantState("external", LastGood, "no space left on device")
	if s := b.status("external", "example.test."); s.Reason != "journal-write" || s.ServedSerial != 10 {
		t.Errorf("%+v", s)
	}
	if err := b.a.Publish(t.Context(), "s._domainkey.example.test", "dkim", []string{"v=DKIM1"}); !isRefusal(err, "journal-write") {
		t.Error(err)
	}
	full = false
	b.scan()
	b.want("external", "www.example.test", "192.0.2.81")
	b.wantState("external", OK, "")
}

func isRefusal(err error, reason string) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Reason == reason
}

func TestDerivedRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.MaxChange = 100
	b.write("external/example.test.zone", external+
		"taken TXT mine\nalias CNAME www\nsub NS ns.else.test.\nd DNAME else.test.\n")
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.start()
	for owner, reason := range map[string]string{
		"taken.example.test":      "admin-record",
		"alias.example.test":      "admin-cname",
		"sub.example.test":        "admin-cut",
		"a.b.sub.example.test":    "admin-cut",
		"x.d.example.test":        "admin-dname",
		"a.other.test":            "no-zone",
		"a..b":                    "bad-owner",
		"empty.text.example.test": "bad-text",
	} {
		texts := []string{"t"}
		if reason == "bad-text" {
			texts = []string{""}
		}
		if err := b.a.Publish(t.Context(), owner, "dkim", texts); !isRefusal(err, reason) {
			t.Errorf("%s: %v, want %s", owner, err, reason)
		}
	}
	const selector = "s1._domainkey.example.test"
	long := "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 400) + `\"`
	if err := b.a.Publish(t.Context(), selector, "dkim", []string{long}); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, view := range []string{"external", "internal"} {
			n, _ := name.Parse(selector)
			set := b.zone(view, "example.test").Node(n).Set(dns.TypeTXT)
			if set == nil {
				t.Errorf("%s: %s lacks the record", when, view)
				continue
			}
			text := strings.Join(set.RRs[0].(*dns.TXT).Txt, "")
			if text = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(text); text != long {
				t.Errorf("%s: %q", when, text)
			}
		}
	}
	check("published")
	serial := b.zone("external", "example.test").Serial()
	if serial != 11 {
		t.Errorf("serial %d", serial)
	}
	b.start()
	check("restarted")
	if again := b.zone("external", "example.test").Serial(); again != serial {
		t.Errorf("the restart moved the serial from %d to %d", serial, again)
	}
	if err := b.a.Publish(t.Context(), selector, "dkim", []string{long}); err != nil {
		t.Fatal(err)
	}
	if again := b.zone("external", "example.test").Serial(); again != serial {
		t.Errorf("publishing the same moved the serial to %d", again)
	}
	b.write("external/example.test.zone", external+"new A 192.0.2.3\n")
	b.settle()
	check("edited")
	b.write("external/example.test.zone", "@ SOA\n")
	b.settle()
	b.start()
	check("restarted with a broken file")

	// The admin's own record wins, and the derived one comes back after it.
	b.write("external/example.test.zone", external+"s1._domainkey TXT admin\n")
	b.settle()
	if got := b.rr("external", "example.test", selector, dns.TypeTXT); got != `"admin"` {
		t.Errorf("the admin's record: %q", got)
	}
	b.wantState("external", OK, "WARN admin-record")
	b.write("external/example.test.zone", external)
	b.settle()
	check("yielded and back")

	if err := b.a.Withdraw(t.Context(), selector, "dkim"); err != nil {
		t.Fatal(err)
	}
	if got := b.rr("internal", "example.test", selector, dns.TypeTXT); got != "" {
		t.Errorf("withdrawn: %q", got)
	}
	if err := b.a.Withdraw(t.Context(), selector, "dkim"); err != nil {
		t.Error("withdrawn twice:", err)
	}
}

func TestReconfigure(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	table := b.a.Table()
	bad := b.cfg
	bad.Views = append(bad.Views[:2:2], ViewConfig{Name: "lab", Overlay: "lab"})
	if err := b.a.Reconfigure(t.Context(), bad); err == nil || b.a.Table() != table {
		t.Error("a ring must change nothing")
	}
	good := bad
	if err := os.Mkdir(filepath.Join(b.root, "lab"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("lab/example.test.zone", "bench 60 A 10.9.0.1\n")
	good.Views[2] = ViewConfig{Name: "lab", Dir: filepath.Join(b.root, "lab"), Overlay: "internal", Hide: []string{"mail.example.test"}}
	if err := b.a.Reconfigure(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	b.want("lab", "bench.example.test", "10.9.0.1")
	b.want("lab", "mail.example.test", "")
	b.want("internal", "mail.example.test", "192.0.2.25")
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil || b.a.Table().Named("lab") != nil {
		t.Error("the view stays", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	ok := Config{StateDir: "x", Views: []ViewConfig{{Name: "a"}}}
	for why, spoil := range map[string]func(*Config){
		"no state":         func(c *Config) { c.StateDir = "" },
		"serial policy":    func(c *Config) { c.Serial = "random" },
		"view twice":       func(c *Config) { c.Views = []ViewConfig{{Name: "a"}, {Name: "a"}} },
		"unknown overlay":  func(c *Config) { c.Views = []ViewConfig{{Name: "a", Overlay: "b"}} },
		"bad hide":         func(c *Config) { c.Views = []ViewConfig{{Name: "a", Hide: []string{"a..b"}}} },
		"file in a folder": func(c *Config) { c.Files = map[string]string{"a.test": "../x.zone"} },
		"file twice":       func(c *Config) { c.Files = map[string]string{"a.test": "x.zone", "b.test": "x.zone"} },
		"external":         func(c *Config) { c.External = "nobody" },
	} {
		c := ok
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
	a, err := New(ok)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(t.Context(), "a", "b", []string{"c"}); !errors.Is(err, ErrStopped) {
		t.Error("before the start:", err)
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

// unasked looks at the files so much later, as the timer does: nobody hears of
// what comes of it.
func (b *bench) unasked(later time.Duration) {
	b.t.Helper()
	err := b.a.do(b.t.Context(), func() {
		b.now = b.now.Add(later) // where the owner reads it too
		b.a.owner.scan(false)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}
