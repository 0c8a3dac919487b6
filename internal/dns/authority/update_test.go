package authority

import (
	"fmt"
	"math/rand/v2"
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
	"postern/internal/dns/signer"
	"postern/internal/dns/update"
	"postern/internal/dns/zone"
)

// ruleOf lets a key change what the tests change, at hosts and at "_x".
func ruleOf(t *testing.T, key string) update.Rule {
	t.Helper()
	r := update.Rule{Types: []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeCNAME, dns.TypeNS, dns.TypeDS}}
	var err error
	if r.Key, err = name.Parse(key); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"*.example.test", "_x.example.test"} {
		p, err := update.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		r.Names = append(r.Names, p)
	}
	return r
}

func updateBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.cfg.Dynamic = map[string]map[string][]update.Rule{"example.test.": {"external": {ruleOf(t, "key.")}}}
	b.write("external/example.test.zone", external)
	return b
}

// request is an UPDATE of a zone: "+ RECORD" adds, "- NAME [TYPE]" removes,
// "? NAME" needs it in use.
func request(t testing.TB, zoneName string, lines ...string) *update.Request {
	t.Helper()
	m := new(dns.Msg).SetUpdate(zoneName)
	for _, line := range lines {
		f := strings.Fields(line)
		switch {
		case f[0] == "+":
			rr, err := dns.NewRR(line[2:])
			if err != nil {
				t.Fatal(line, err)
			}
			m.Insert([]dns.RR{rr})
		case f[0] == "?":
			m.NameUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: f[1]}}})
		case len(f) == 2:
			m.RemoveName([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: f[1]}}})
		default:
			m.RemoveRRset([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: f[1], Rrtype: dns.StringToType[f[2]]}}})
		}
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	o, ok := update.Read(wire)
	if !ok {
		t.Fatal(m)
	}
	r, refused := o.Request()
	if refused != nil {
		t.Fatal(refused)
	}
	return r
}

func (b *bench) update(lines ...string) Outcome {
	b.t.Helper()
	return b.a.Update(b.t.Context(), Update{Request: request(b.t, "example.test.", lines...), Key: "\x03key\x00", View: "external"})
}

func (b *bench) wantUpdate(rcode int, reason string, lines ...string) {
	b.t.Helper()
	if out := b.update(lines...); out.Rcode != rcode || out.Reason != reason {
		b.t.Errorf("%s: %+v, want %s %s", lines, out, dns.RcodeToString[rcode], reason)
	}
}

func (b *bench) serial() uint32 { return b.zone("external", "example.test").Serial() }

func TestUpdateIsServedAndKept(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	out := b.update("+ new.example.test. 60 A 192.0.2.9", "- www.example.test. A")
	if out.Rcode != update.NoError || out.Serial != 11 || out.View != "external" {
		t.Errorf("%+v", out)
	}
	check := func(serial uint32, mail string) {
		t.Helper()
		for _, view := range []string{"external", "internal"} { // the view above shows it
			b.want(view, "new.example.test", "192.0.2.9")
			b.want(view, "www.example.test", "")
			b.want(view, "mail.example.test", mail)
		}
		if got := b.serial(); got != serial {
			t.Errorf("serial %d, want %d", got, serial)
		}
		if s := b.status("external", "example.test."); s.Dynamic != 2 || s.State != OK {
			t.Errorf("%+v", s)
		}
	}
	check(11, "192.0.2.25")
	if text, err := os.ReadFile(filepath.Join(b.root, "external/example.test.zone")); err != nil || string(text) != external {
		t.Error("the file is not as it was:", err)
	}
	b.start()
	check(11, "192.0.2.25")
	if _, err := b.a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(11, "192.0.2.25")
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.25", "192.0.2.26", 1))
	b.settle()
	check(12, "192.0.2.26")
	b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 192.0.2.9") // as it is
	check(12, "192.0.2.26")
	b.cfg.Dynamic = nil // who may no longer update does not lose what he did
	b.start()
	check(12, "192.0.2.26")
	b.wantUpdate(update.Refused, update.ReasonRule, "+ other.example.test. 60 A 192.0.2.9")
}

// Where the file changed a set after an update did, the file is obeyed: the
// plan says so, the log, and it stays so.
func TestFileOverrulesUpdates(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	b.wantUpdate(update.NoError, "", "- www.example.test. A", "+ www.example.test. 60 A 192.0.2.99", "+ new.example.test. 60 A 192.0.2.9")
	b.want("external", "www.example.test", "192.0.2.99")
	b.cfg.Manual = true
	b.start()
	edited := strings.Replace(external, "www	A 192.0.2.80", "www	A 192.0.2.82", 1)
	b.write("external/example.test.zone", edited)
	b.settle()
	plans, err := b.a.Plan(t.Context(), "example.test")
	if err != nil || len(plans) != 1 || plans[0].Dynamic != 1 || len(plans[0].Problems) == 0 || plans[0].Problems[0].Code != ReasonOverruled || !strings.Contains(plans[0].Problems[0].Message, "www.example.test. A, as key key. had updated it") {
		t.Fatalf("%+v, %v", plans, err)
	}
	b.want("external", "www.example.test", "192.0.2.99") // planned only
	b.wantUpdate(update.NoError, "", "+ more.example.test. 60 A 192.0.2.10")
	if s := b.status("external", "example.test."); s.State != Planned {
		t.Errorf("an update lets a planned change go: %+v", s)
	}
	if _, err := b.a.Apply(t.Context(), Apply{Who: "test"}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		b.want("external", "www.example.test", "192.0.2.82")
		b.want("external", "new.example.test", "192.0.2.9")
		b.want("external", "more.example.test", "192.0.2.10")
		if s := b.status("external", "example.test."); s.Dynamic != 2 {
			t.Errorf("%+v", s)
		}
	}
	check()
	if !strings.Contains(b.log.String(), "an update gave way to the zone's file") {
		t.Error("the log does not say so")
	}
	b.start()
	check()
	b.wantUpdate(update.NoError, "", "+ www.example.test. 300 A 192.0.2.83") // and may be updated again
	b.want("external", "www.example.test", "192.0.2.82,192.0.2.83")
}

// An edit that makes what an update made is the file's from then on, though
// nothing changes in what is served.
func TestFileCatchesUpWithUpdates(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	b.wantUpdate(update.NoError, "", "+ new.example.test. 300 A 192.0.2.9")
	b.write("external/example.test.zone", external+"new A 192.0.2.9\n")
	b.settle()
	for range 2 {
		if s := b.status("external", "example.test."); s.Dynamic != 0 || b.serial() != 11 {
			t.Errorf("%+v, serial %d", s, b.serial())
		}
		b.start()
	}
	b.write("external/example.test.zone", external)
	b.settle()
	b.want("external", "new.example.test", "")
}

// Updates of the zone inside stay inside, and lie over what shows through.
func TestUpdateOfOverlay(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.cfg.Dynamic = map[string]map[string][]update.Rule{"example.test": {"internal": {ruleOf(t, "key.")}}}
	b.start()
	serial := b.zone("internal", "example.test").Serial()
	b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 10.0.0.9", "- www.example.test. A", "+ www.example.test. 60 A 10.0.0.80")
	check := func(mail string) {
		t.Helper()
		b.want("internal", "new.example.test", "10.0.0.9")
		b.want("internal", "www.example.test", "10.0.0.80")
		b.want("external", "new.example.test", "")
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "mail.example.test", mail)
	}
	check("192.0.2.25")
	if now := b.zone("internal", "example.test").Serial(); now != zone.NextSerial(serial) || b.serial() != 10 {
		t.Error(serial, now, b.serial())
	}
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.25", "192.0.2.26", 1))
	b.settle()
	check("192.0.2.26")
	b.start()
	check("192.0.2.26")
	// What lies below changed the set since.
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.settle()
	b.want("internal", "www.example.test", "192.0.2.81")
	b.want("internal", "new.example.test", "10.0.0.9")
}

// While an edit of the file is refused, updates go on over what was accepted.
func TestUpdateOverBrokenFile(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	b.write("external/example.test.zone", external+"broken A 1.2.3\n")
	b.settle()
	b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 192.0.2.9")
	check := func() {
		t.Helper()
		b.want("external", "new.example.test", "192.0.2.9")
		b.want("external", "www.example.test", "192.0.2.80")
		if s := b.status("external", "example.test."); s.State != LastGood || s.Reason != "file-broken" {
			t.Errorf("%+v", s)
		}
	}
	check()
	b.start()
	check()
	b.wantUpdate(update.NoError, "", "- new.example.test.")
	b.write("external/example.test.zone", external+"now A 192.0.2.4\n")
	b.settle()
	b.want("external", "now.example.test", "192.0.2.4")
	b.want("external", "new.example.test", "")
}

func TestUpdateOfSigned(t *testing.T) {
	t.Parallel()
	p := SignPolicy{Name: "standard", Model: signer.CSK, Algorithm: dns.ECDSAP256SHA256, Denial: signer.NSEC3}
	b, _ := signBench(t, p)
	b.cfg.Dynamic = map[string]map[string][]update.Rule{"example.test.": {"external": {ruleOf(t, "key.")}, "internal": {ruleOf(t, "inside.")}}}
	b.start()
	before := b.wantSigned(p)
	for _, lines := range [][]string{
		{"+ new.example.test. 60 A 192.0.2.9"}, {"+ a.b.new.example.test. 60 A 192.0.2.9"}, {"- new.example.test."}, {"- a.b.new.example.test. A"},
		{"+ cut.example.test. 60 NS ns1.example.test."}, {"+ cut.example.test. 60 DS 4711 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"},
	} {
		b.wantUpdate(update.NoError, "", lines...)
		after := b.wantSigned(p)
		if !zone.SerialLess(before[1], after[1]) {
			t.Errorf("%s: %d after %d", lines, after, before)
		}
		before = after
	}
	b.start()
	if after := b.wantSigned(p); after != before {
		t.Errorf("a restart makes %d of %d", after, before)
	}
}

// Those that wait together are one change; one that makes no zone among them
// is refused alone.
func TestUpdatesTogether(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		b := updateBench(t)
		b.cfg.Strict = strict
		b.start()
		published := b.a.Counters.Published.Value()
		hold := make(chan struct{})
		held := make(chan struct{})
		go func() { _ = b.a.do(t.Context(), func() { close(held); <-hold }) }() // it cannot fail: it is told to run
		<-held
		const many = 40
		outcomes := make([]Outcome, many)
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() {
				line := fmt.Sprintf("+ h%d.example.test. 60 A 192.0.2.9", i)
				if i == 7 { // ds-digest is an ERR that does not block, unless strict
					line = "+ bad.example.test. 60 DS 4711 13 2 00"
				}
				outcomes[i] = b.update(line)
			})
		}
		for len(b.a.updates) < many {
			runtime.Gosched() // let them come
		}
		close(hold)
		all.Wait()
		for i, out := range outcomes {
			if i == 7 && strict {
				if out.Rcode != update.Refused || out.Reason != "zone-unfit" || !strings.Contains(out.Detail, "ds-digest") {
					t.Errorf("%+v", out)
				}
			} else if out.Rcode != update.NoError {
				t.Errorf("%d: %+v", i, out)
			}
		}
		made := b.a.Counters.Published.Value() - published
		if !strict && (made != 1 || b.serial() != 11) {
			t.Errorf("%d changes were published, serial %d", made, b.serial())
		}
		want := many
		if strict {
			want--
		}
		if s := b.status("external", "example.test."); s.Dynamic != want {
			t.Errorf("%+v", s)
		}
	}
}

// Killed at whichever step of the journal: the next start serves the zone from
// before or after the update, whole, and no serial comes twice.
func TestUpdateKilled(t *testing.T) {
	t.Parallel()
	for crash, done := 0, false; !done; crash++ {
		b := updateBench(t)
		armed, steps := false, 0
		b.cfg.Writer = atomicfile.Writer{Fault: func(atomicfile.Step) error {
			if steps++; armed && steps > crash {
				return syscall.ENOSPC
			}
			return nil
		}}
		b.start()
		b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 192.0.2.9")
		if err := b.a.do(t.Context(), func() { armed, steps = true, 0 }); err != nil {
			t.Fatal(err)
		}
		out := b.update("- new.example.test.", "+ more.example.test. 60 A 192.0.2.10", "- www.example.test. A")
		if done = out.Rcode == update.NoError; !done && out.Rcode != update.ServFail || crash > 100 {
			t.Fatalf("step %d: %+v", crash, out)
		}
		if err := b.a.do(t.Context(), func() { armed = false }); err != nil {
			t.Fatal(err)
		}
		b.start()
		changed := b.rr("external", "example.test", "more.example.test", dns.TypeA) != ""
		if done && !changed {
			t.Errorf("step %d: what was promised is lost", crash)
		}
		if changed {
			b.want("external", "new.example.test", "")
			b.want("external", "www.example.test", "")
		} else {
			b.want("external", "new.example.test", "192.0.2.9")
			b.want("external", "www.example.test", "192.0.2.80")
		}
		if got, least := b.serial(), map[bool]uint32{true: 12, false: 11}[changed]; got < least {
			t.Errorf("step %d: serial %d, below %d", crash, got, least)
		}
	}
}

func TestDropUpdates(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	b.wantUpdate(update.NoError, "", "+ new.example.test. 60 A 192.0.2.9", "+ new.example.test. 60 TXT x", "+ more.example.test. 60 A 192.0.2.10", "- www.example.test. A")
	kept, err := b.a.Dynamic(t.Context(), "example.test", "")
	if err != nil || len(kept) != 4 {
		t.Fatal(kept, err)
	}
	drop := func(n string, want int) {
		t.Helper()
		gone, err := b.a.Drop(t.Context(), Drop{Zone: "example.test", View: "external", Name: n})
		if err != nil || len(gone) != want {
			t.Errorf("%q: %v, %v", n, gone, err)
		}
	}
	drop("nobody.example.test", 0)
	drop("example.test", 0)
	drop("new.example.test", 2)
	b.want("external", "new.example.test", "")
	b.want("external", "more.example.test", "192.0.2.10")
	drop("", 2)
	b.want("external", "more.example.test", "")
	b.want("external", "www.example.test", "192.0.2.80")
	b.start()
	b.want("external", "www.example.test", "192.0.2.80")
	if _, err := b.a.Drop(t.Context(), Drop{Zone: "example.test", View: "external", Name: "other.test"}); err == nil {
		t.Error("a name outside is dropped")
	}
}

// What Postern derives is neither seen nor kept by updates, and gives way to
// them as it does to the file.
func TestUpdateBesideDerived(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	if err := b.a.Publish(t.Context(), "_x.example.test", "acme", []string{"made"}); err != nil {
		t.Fatal(err)
	}
	b.wantUpdate(update.NXDomain, update.ReasonUnmet, "? _x.example.test.")
	b.wantUpdate(update.NoError, "", "- _x.example.test.")
	if got := b.rr("external", "example.test", "_x.example.test", dns.TypeTXT); got != `"made"` {
		t.Error(got)
	}
	b.wantUpdate(update.NoError, "", "+ _x.example.test. 60 TXT mine")
	if got := b.rr("external", "example.test", "_x.example.test", dns.TypeTXT); got != `"mine"` {
		t.Error(got)
	}
	b.start()
	b.wantUpdate(update.NoError, "", "- _x.example.test.")
	if got := b.rr("external", "example.test", "_x.example.test", dns.TypeTXT); got != `"made"` {
		t.Error(got)
	}
}

// Updates and edits in any order, with starts in between: what is served is
// what the updates made of the file, no start changes it, and each change has
// a serial ahead of the one before.
func TestUpdatesAndEditsAtRandom(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	file := map[string]string{} // host -> address
	want := map[string]string{} // as served
	for step := range 120 {
		host, addr := fmt.Sprintf("h%d", r.IntN(6)), fmt.Sprintf("192.0.2.%d", r.IntN(250)+1)
		serial := b.serial()
		before := want[host]
		switch r.IntN(5) {
		case 0:
			b.wantUpdate(update.NoError, "", "- "+host+".example.test.")
			delete(want, host)
		case 1, 2:
			b.wantUpdate(update.NoError, "", "- "+host+".example.test. A", "+ "+host+".example.test. 300 A "+addr)
			want[host] = addr
		case 3:
			if file[host] == addr {
				continue // no edit, so that the update stands
			}
			file[host], want[host] = addr, addr // the file was edited later
			text := external
			for h, a := range file {
				text += h + " A " + a + "\n"
			}
			b.write("external/example.test.zone", text)
			b.settle()
		case 4:
			b.start()
		}
		if now := b.serial(); want[host] != before && !zone.SerialLess(serial, now) || want[host] == before && now != serial {
			t.Fatalf("step %d: serial %d after %d; %q, %q", step, now, serial, before, want[host])
		}
		for i := range 6 {
			h := fmt.Sprintf("h%d", i)
			if got := b.rr("external", "example.test", h+".example.test", dns.TypeA); got != want[h] {
				t.Fatalf("step %d: %s is %q, want %q", step, h, got, want[h])
			}
		}
	}
}
