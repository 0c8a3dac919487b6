package authority

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

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

func isRefusal(err error, reason string) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Reason == reason
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
