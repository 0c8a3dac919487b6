package authority

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// line is one of a zone that a hand edits at random: sound ones, and such as
// the lint has something to say about.
func line(r *rand.Rand) string {
	owner := []string{"a", "b", "c.d", "e.d", "f", "*.g", "h.i.j"}[r.IntN(7)]
	n := r.IntN(4)
	return fmt.Sprintf([]string{
		"%s A 192.0.2.%d", "%s TXT text%d", "%s MX %d mail", "%s A 10.0.0.%d", "%s.x CNAME lost%d", "%s SRV 0 0 %d nobody",
		"%s.cut NS ns%d.elsewhere.test.", "%s.k CNAME a%d\n", "%s 60 AAAA 2001:db8::%d", "%s 8w AAAA 2001:db8::%d",
	}[r.IntN(10)], owner, n)
}

// TestAmendedIsLoaded: after each of many edits the zone is what a server
// makes of it that reads the file for the first time, and says the same of it.
func TestAmendedIsLoaded(t *testing.T) {
	t.Parallel()
	short := uint64(0)
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 3))
		b, whole := newBench(t), newBench(t)
		b.cfg.MaxChange, whole.cfg.MaxChange = 100, 100
		head := strings.Split(strings.TrimSpace(external), "\n")
		var lines []string
		for range 40 {
			lines = append(lines, line(r))
		}
		write := func(b *bench) {
			b.write("external/example.test.zone", strings.Join(head, "\n")+"\n"+strings.Join(lines, "\n")+"\n")
		}
		write(b)
		b.start()
		for step := range 15 {
			for range 1 + r.IntN(2) {
				at := r.IntN(len(lines))
				switch r.IntN(4) {
				case 0:
					lines = slices.Insert(lines, at, line(r))
				case 1:
					lines = slices.Delete(lines, at, at+1)
				case 2:
					lines[at] = line(r)
				case 3:
					head[1] = fmt.Sprintf("@	SOA ns1 admin %d 2h 1h 14d 5m", 10+r.IntN(100))
				}
			}
			write(b)
			b.settle()
			write(whole)
			whole.stop()
			whole.cfg.StateDir = t.TempDir()
			whole.start()
			compareBenches(t, fmt.Sprintf("seed %d, step %d", seed, step), b, whole)
		}
		short += b.a.Counters.Amended.Value()
	}
	if short < 30 {
		t.Errorf("only %d of 120 edits were amended", short)
	}
}

func compareBenches(t *testing.T, when string, b, whole *bench) {
	t.Helper()
	got, want := b.status("external", "example.test."), whole.status("external", "example.test.")
	said := func(b *bench, s Status) string {
		var all []string
		for _, p := range s.Problems {
			all = append(all, strings.ReplaceAll(p.String(), b.root, ""))
		}
		return string(s.State) + " " + s.Reason + "\n" + strings.Join(all, "\n")
	}
	if want.State != OK {
		if got.State == OK {
			t.Fatalf("%s: state %s, at a first load %s %s", when, got.State, want.State, want.Problem)
		}
		return
	}
	if a, b := said(b, got), said(whole, want); a != b {
		t.Fatalf("%s: says\n%s\nand at a first load\n%s", when, a, b)
	}
	z, loaded := b.zone("external", "example.test"), whole.zone("external", "example.test")
	if !zone.SameContent(z, loaded) || z.Names() != loaded.Names() || z.Records() != loaded.Records() {
		removed, added := zone.Diff(loaded, z)
		t.Fatalf("%s: not what a first load gives: -%v +%v", when, removed, added)
	}
}

// TestAmendedSurvives: an edit that went the short way is there after a
// restart, and what was found about the zone as well.
func TestAmendedSurvives(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external+"x CNAME lost\ny A 192.0.2.7\n")
	b.start()
	b.write("external/example.test.zone", external+"x CNAME lost\nnew A 192.0.2.8\ny A 192.0.2.7\nz SRV 0 0 5 nobody\n")
	b.settle()
	if n := b.a.Counters.Amended.Value(); n != 1 {
		t.Fatalf("%d zones were amended", n)
	}
	before := b.status("external", "example.test.")
	if len(before.Problems) != 2 {
		t.Fatalf("problems: %v", before.Problems)
	}
	b.start()
	b.want("external", "new.example.test.", "192.0.2.8")
	if after := b.status("external", "example.test."); after.ServedSerial != before.ServedSerial || !slices.Equal(after.Problems, before.Problems) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
}

// TestAmendDeclines: what is not plain goes the whole way, and is told.
func TestAmendDeclines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, edit string
		state      State
	}{
		{"CNAME and other data", "www CNAME ns1\n", LastGood},
		{"two SOA", "@ SOA ns1 admin 99 2h 1h 14d 5m\n", LastGood},
		{"does not read", "www A 192.0.2.300\n", LastGood},
		{"out of the zone", "www.example.net. A 192.0.2.1\n", LastGood},
		{"a large change", strings.Repeat("x TXT y\n", 1) + "a A 192.0.2.1\nb A 192.0.2.1\nc A 192.0.2.1\nd A 192.0.2.1\ne A 192.0.2.1\nf A 192.0.2.1\n", Planned},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			base := external + "p A 192.0.2.1\nq A 192.0.2.1\nr A 192.0.2.1\ns A 192.0.2.1\nt A 192.0.2.1\n"
			b.write("external/example.test.zone", base)
			b.start()
			b.write("external/example.test.zone", base+c.edit)
			b.settle()
			if s := b.status("external", "example.test."); s.State != c.state || s.Reason == "" || len(s.Problems) == 0 {
				t.Errorf("state %s, reason %q, problems %v", s.State, s.Reason, s.Problems)
			}
			if n := b.a.Counters.Amended.Value(); n != 0 {
				t.Errorf("%d zones were amended", n)
			}
			b.write("external/example.test.zone", base+"last A 192.0.2.9\n")
			b.settle()
			b.want("external", "last.example.test.", "192.0.2.9")
			if s := b.status("external", "example.test."); s.State != OK {
				t.Errorf("put right, state %s, reason %q", s.State, s.Reason)
			}
		})
	}
}

func TestHunks(t *testing.T) {
	t.Parallel()
	record := func(i int) zonefile.Record {
		return zonefile.Record{RR: &dns.A{Hdr: dns.RR_Header{Name: fmt.Sprintf("h%d.", i), Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{192, 0, 2, 1}}}
	}
	var all []zonefile.Record
	for i := range 3000 {
		all = append(all, record(i))
	}
	replaced := slices.Clone(all)
	replaced[7], replaced[2000] = record(9007), record(9008)
	for _, c := range []struct {
		name string
		next []zonefile.Record
		want string
	}{
		{"nothing", all, "[]"},
		{"one more at the end", append(slices.Clone(all), record(9000)), "[{3000 3000 3000 3001}]"},
		{"one more at the beginning", append([]zonefile.Record{record(9000)}, all...), "[{0 0 0 1}]"},
		{"one less", slices.Delete(slices.Clone(all), 5, 6), "[{5 6 5 5}]"},
		{"two replaced", replaced, "[{7 8 7 8} {2000 2001 2000 2001}]"},
		{"one is equal, but another", append(slices.Clone(all[:2999]), record(2999)), "[]"},
		{"all gone", nil, "no"},
		{"the last ones gone", all[:2990], "[{2990 3000 2990 2990}]"},
	} {
		got, ok := hunks(all, c.next)
		if shown := fmt.Sprint(got); ok && shown != c.want || !ok && c.want != "no" {
			t.Errorf("%s: %s %v, want %s", c.name, shown, ok, c.want)
		}
	}
	var anew []zonefile.Record
	for i := range 3000 {
		anew = append(anew, record(i))
	}
	if _, ok := hunks(all, anew); ok {
		t.Error("a list read anew was compared to its end")
	}
}

// TestRebuiltAfterATrustedStartSaysAll: what was found about a zone that was
// not read at the start is told still when something makes it anew that leaves
// its records alone.
func TestRebuiltAfterATrustedStartSaysAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", warned)
	b.write("external/more.inc", "txt TXT \"a\"\n")
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.start()
	before := b.status("external", "example.test.")
	b.start()
	if !b.a.owner.sources[b.key("external")].noted {
		t.Fatal("the zone was judged at the start")
	}
	b.remove("internal/example.test.zone")
	b.settle()
	if _, err := b.a.Remove(t.Context(), "example.test"); err != nil {
		t.Fatal(err)
	}
	if after := b.status("external", "example.test."); len(before.Problems) != 1 || !slices.Equal(after.Problems, before.Problems) {
		t.Errorf("says %v, said %v", after.Problems, before.Problems)
	}
	b.asRead()
}

// TestJudgedWholeIsNotJudgedAgain: an edit that went the short way, and then a
// configuration by which the zone is another view's copy: what is said is said
// of that.
func TestJudgedWholeIsNotJudgedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	overlaid := b.cfg.Views[0]
	b.cfg.Views[0].Overlay = ""
	b.write("external/example.test.zone", external+"lost CNAME nowhere\n")
	b.write("internal/example.test.zone", external)
	b.start()
	b.write("internal/example.test.zone", external+"new A 10.0.0.1\n")
	for range 2 { // Scan would judge
		if err := b.a.do(t.Context(), func() { b.now = b.now.Add(time.Second); b.a.owner.scan(false) }); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.a.Counters.Amended.Value(); n != 1 {
		t.Fatalf("%d zones were amended", n)
	}
	b.cfg.Views[0] = overlaid
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	before := b.status("internal", "example.test.")
	b.scan()
	if after := b.status("internal", "example.test."); !slices.Equal(after.Problems, before.Problems) {
		t.Errorf("says %v, said %v", after.Problems, before.Problems)
	}
}

// TestRoomIsLeftAtTheEnd: the last look, when the owner stops, leaves the room
// that it takes.
func TestRoomIsLeftAtTheEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	taken := 0
	b.cfg.Room = func() func() { taken++; return func() { taken-- } }
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"new A 192.0.2.1\n")
	for range 2 { // Scan would judge
		if err := b.a.do(t.Context(), func() { b.now = b.now.Add(time.Second); b.a.owner.scan(false) }); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.a.Counters.Amended.Value(); n != 1 {
		t.Fatalf("%d zones were amended", n)
	}
	if b.stop(); taken != 0 {
		t.Errorf("room is taken %d times", taken)
	}
}
