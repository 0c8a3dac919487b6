package answer

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const amendHead = "z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.z.\nns.z. 60 IN A 192.0.2.1\nz. 60 IN MX 1 mail.z.\n" +
	"mail.z. 60 IN A 192.0.2.2\nw.z. 60 IN A 192.0.2.3\n*.w.z. 60 IN A 192.0.2.4\nsub.z. 60 IN NS ns.sub.z.\nns.sub.z. 60 IN A 192.0.2.5\n" +
	"a.b.c.z. 60 IN TXT \"deep\"\nold.z. 60 IN DNAME new.z.\nl.z. 60 IN A 192.0.2.6\n"

// TestAmendTakesTheUsual: what an admin does on most days goes the short way,
// what changes the tree above names that stay does not, and where more has
// changed than was said the whole way is left to find it.
func TestAmendTakesTheUsual(t *testing.T) {
	t.Parallel()
	spare := "" // an index with room left
	for i := range 8 {
		spare += fmt.Sprintf("spare%d.z. 60 IN A 192.0.2.9\n", i)
	}
	serial := func(s string) string { return strings.Replace(s, "h.z. 1 ", "h.z. 2 ", 1) }
	swap := func(a, b string) func(string) string {
		return func(s string) string { return strings.ReplaceAll(s, a, b) }
	}
	add := func(lines ...string) func(string) string {
		return func(s string) string { return s + strings.Join(lines, "\n") + "\n" }
	}
	without := func(owner string) func(string) string {
		return func(s string) string {
			return strings.Join(slices.DeleteFunc(strings.SplitAfter(s, "\n"), func(l string) bool { return strings.HasPrefix(l, owner+" ") }), "")
		}
	}
	many := func(s string) string {
		for i := range 200 {
			s += fmt.Sprintf("h%d.z. 60 IN A 192.0.2.9\n", i)
		}
		return s
	}
	for _, c := range []struct {
		what  string
		edit  func(string) string
		short bool
	}{
		{"a cut over an empty non-terminal", add("c.z. 60 IN NS ns.z."), false},
		{"a cut over a name that stays", add("w.z. 60 IN NS ns.z."), false},
		{"a cut without its NS", without("sub.z."), false},
		{"a DNAME at the apex", add("z. 60 IN DNAME y."), false},
		{"a DNAME that becomes an address", swap("DNAME new.z.", "A 192.0.2.7"), false},
		{"more names than may be", many, false},
		{"nothing", func(s string) string { return s }, true},
		{"the serial", serial, true},
		{"the SOA's minimum", swap("2 3 4 5", "2 3 4 6"), true},
		{"another address", swap("192.0.2.2", "192.0.2.99"), true},
		{"another TTL", swap("l.z. 60", "l.z. 61"), true},
		{"another text", swap("deep", "deeper"), true},
		{"another MX", swap("MX 1 mail.z.", "MX 2 w.z."), true},
		{"a host more", add("x.z. 60 IN A 192.0.2.9"), true},
		{"a host less", without("l.z."), true},
		{"the MX's host goes", without("mail.z."), true},
		{"the MX's host loses its addresses", swap("mail.z. 60 IN A 192.0.2.2", "mail.z. 60 IN TXT \"m\""), true},
		{"the MX's host gains another", add("mail.z. 60 IN AAAA ::1"), true},
		{"a name far below", add("x.y.w.v.z. 60 IN A 192.0.2.9"), true},
		{"a name far below goes", without("a.b.c.z."), true},
		{"an empty non-terminal gets records", add("b.c.z. 60 IN A 192.0.2.9"), true},
		{"a wildcard comes", add("*.z. 60 IN A 192.0.2.9"), true},
		{"a wildcard comes below a name that does", add("*.x.z. 60 IN A 192.0.2.9"), true},
		{"a wildcard goes", without("*.w.z."), true},
		{"a wildcard becomes an empty non-terminal", swap("*.w.z.", "x.*.w.z."), true},
		{"a delegation comes with glue", add("d.z. 60 IN NS ns.d.z.", "ns.d.z. 60 IN A 192.0.2.9", "d.z. 60 IN NS l.z."), true},
		{"a delegation goes with glue", func(s string) string { return without("ns.sub.z.")(without("sub.z.")(s)) }, true},
		{"glue changes", swap("192.0.2.5", "192.0.2.9"), true},
		{"glue goes", without("ns.sub.z."), true},
		{"a DNAME comes", add("d.z. 60 IN DNAME z."), true},
		{"a name below a DNAME", add("x.old.z. 60 IN A 192.0.2.9"), true},
		{"an MX to a name below a DNAME", add("x.old.z. 60 IN A 192.0.2.9", "l.z. 60 IN MX 1 x.old.z."), true},
		{"a CNAME in place of an address", swap("l.z. 60 IN A 192.0.2.6", "l.z. 60 IN CNAME w.z."), true},
		{"NSEC records come", add("l.z. 60 IN NSEC z. A NSEC", "z. 60 IN NSEC l.z. SOA NSEC"), false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			src, next := build(t, parse(t, amendHead)), build(t, parse(t, c.edit(amendHead)))
			old := Recompile(src, Compile(build(t, parse(t, amendHead+spare))))
			z, ok := Amend(next, old, owners(t, src, next))
			if ok != c.short {
				t.Fatalf("short way %v", ok)
			}
			if !ok {
				z = Recompile(next, old)
			}
			names := namesOf(src, namesOf(next, map[string]bool{}))
			sameAnswers(t, z, Compile(next), names)
			sameAnswers(t, old, Compile(src), names)
			// And back again.
			back, ok := Amend(src, z, owners(t, next, src))
			if ok {
				sameAnswers(t, back, Compile(src), names)
			}
			if c.short && !ok {
				t.Error("not back again")
			}
		})
	}
}

func TestAmendDeclines(t *testing.T) {
	t.Parallel()
	src := build(t, parse(t, amendHead))
	more := build(t, parse(t, amendHead+"x.z. 60 IN A 192.0.2.9\n"))
	z := Compile(src)
	for _, c := range []struct {
		what    string
		old     *Zone
		touched []name.Name
	}{
		{"without a state before", nil, nil},
		{"another zone", Compile(build(t, parse(t, strings.ReplaceAll(amendHead, "z.", "y.")))), nil},
		{"a name outside", z, []name.Name{"\x01y\x00"}},
		{"more than was said", z, []name.Name{"\x01z\x00"}},
		{"too many names", z, make([]name.Name, 66)},
		{"mostly waste", Recompile(src, nil).wasted(), []name.Name{"\x01x\x01z\x00"}},
	} {
		if _, ok := Amend(more, c.old, c.touched); ok {
			t.Errorf("%s: amended", c.what)
		}
	}
	if _, ok := Amend(more, z, []name.Name{"\x01x\x01z\x00"}); !ok {
		t.Error("declined where nothing stands in the way")
	}
}

// wasted returns a zone of which most is waste.
func (z *Zone) wasted() *Zone {
	w := *z
	w.segs = append(slices.Clone(z.segs), make([]byte, segLen/16))
	return &w
}

// change is one edit: the zone after it and whom it touched. A line without a
// record takes its owner away.
func change(t testing.TB, src *zone.Zone, serial int, lines string) (*zone.Zone, []name.Name) {
	t.Helper()
	records, touched := map[name.Name][]dns.RR{}, []name.Name{src.Origin()}
	text := ""
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		owner, err := name.Parse(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		touched, records[owner] = append(touched, owner), nil
		if len(fields) > 1 {
			text += line
		}
	}
	for _, rr := range parse(t, text) {
		clean, owner, err := zone.Normalise(rr)
		if err != nil {
			t.Fatal(err)
		}
		records[owner] = append(records[owner], clean)
	}
	for _, s := range src.Node(src.Origin()).Sets {
		if s.Type != dns.TypeSOA {
			records[src.Origin()] = append(records[src.Origin()], s.RRs...)
		}
	}
	soa := dns.Copy(src.SOA()).(*dns.SOA)
	soa.Serial = uint32(serial)
	records[src.Origin()] = append(records[src.Origin()], soa)
	next, err := src.Edit(records)
	if err != nil {
		t.Fatal(err)
	}
	return next, touched
}

// TestAmendPacksFew counts what is packed for one record of a large zone.
func TestAmendPacksFew(t *testing.T) {
	t.Parallel()
	src := build(t, parse(t, benchText(10000)))
	z := Compile(src)
	for _, c := range []struct {
		what, lines   string
		packed, octet int
	}{
		{"an address", "h7.example.test. 3600 IN A 10.9.9.9\n", 2, 700},
		{"a host more", "new.example.test. 3600 IN A 10.9.9.9\n", 2, 700},
		{"a host less", "h8.example.test.\n", 1, 600},
		{"a name far below", "x.y.q.example.test. 3600 IN A 10.9.9.9\n", 4, 900},
		{"glue of one", "ns1.d10.example.test.\n", 2, 700},
		{"the host of a thousand MX", "mail.example.test.\n", -1, 0},
	} {
		next, touched := change(t, src, 2, c.lines)
		a, ok := amend(next, z, touched)
		if c.packed < 0 {
			if ok { // more than a sixteenth of all names
				t.Errorf("%s: amended", c.what)
			}
			continue
		}
		if !ok || a.packer.packed > c.packed || a.Size()-z.Size() > c.octet {
			t.Errorf("%s: %v, %d runs, %d octets more", c.what, ok, a.packer.packed, a.Size()-z.Size())
		}
	}
}

// TestAmendWithoutEnd amends one zone some thousand times: neither memory nor
// segments nor slots grow without bound, and the whole way is seldom needed.
func TestAmendWithoutEnd(t *testing.T) {
	t.Parallel()
	edits := 1000
	if os.Getenv("POSTERN_PROVE") != "" {
		edits = 10_000
	}
	src := build(t, parse(t, benchText(300)))
	z := Compile(src)
	size, whole, segs := z.Size(), 0, 0
	for i := range edits {
		lines := fmt.Sprintf("h7.example.test. 3600 IN A 10.9.%d.%d\n", i>>8&255, i&255)
		switch i % 4 {
		case 1:
			lines = fmt.Sprintf("n%d.e.example.test. 3600 IN A 10.9.9.9\n", i)
		case 2:
			lines = fmt.Sprintf("n%d.e.example.test.\n", i-1)
		}
		next, touched := change(t, src, i+2, lines)
		now, ok := Amend(next, z, touched)
		if !ok {
			whole++
			now = Recompile(next, z)
		}
		src, z = next, now
		segs = max(segs, len(z.segs))
		if n := z.Size(); n > 2*size+segLen/32 || 2*z.taken > len(z.slots) {
			t.Fatalf("edit %d: %d octets, %d before; %d of %d slots", i, n, size, z.taken, len(z.slots))
		}
		if i%1000 == 0 {
			sameAnswers(t, z, Compile(src), map[string]bool{"h7.example.test.": true, "example.test.": true, "e.example.test.": true, fmt.Sprintf("n%d.e.example.test.", i): true})
		}
	}
	if whole > edits/400 || segs > 40 {
		t.Errorf("the whole way %d times of %d, %d segments", whole, edits, segs)
	}
	t.Logf("%d octets at first, %d in the end; %d segments at most, the whole way %d times of %d", size, z.Size(), segs, whole, edits)
}

// TestAmendBesideReaders: a state is read while several others are made of it,
// of which none sees anything of the next.
func TestAmendBesideReaders(t *testing.T) {
	t.Parallel()
	src := build(t, parse(t, benchText(50)))
	z := Compile(src)
	msg := question(t, "h7.example.test.", dns.TypeA, false)
	before, _ := raw(t, z, msg, 512)
	var (
		work sync.WaitGroup
		next [50]*zone.Zone
		made [50]*Zone
	)
	for i := range next {
		work.Go(func() {
			if now, _ := raw(t, z, msg, 512); !bytes.Equal(now, before) {
				t.Errorf("%x, was %x", now, before)
			}
		})
		var touched []name.Name
		next[i], touched = change(t, src, i+2, fmt.Sprintf("h7.example.test. 3600 IN A 10.9.9.%d\nh8.example.test.\n", i))
		work.Go(func() { made[i], _ = Amend(next[i], z, touched) })
	}
	work.Wait()
	for i, z := range made {
		if z == nil {
			t.Fatal("declined")
		}
		sameAnswers(t, z, Compile(next[i]), map[string]bool{"example.test.": true, "h7.example.test.": true, "h8.example.test.": true})
	}
	sameAnswers(t, z, Compile(src), namesOf(src, map[string]bool{}))
}

// BenchmarkAmend changes one address of a zone of 172,000 names, beside the
// whole way.
func BenchmarkAmend(b *testing.B) {
	src := build(b, parse(b, benchText(132300)))
	z := Compile(src)
	next, touched := change(b, src, 2, "h7.example.test. 3600 IN A 10.9.9.9\n")
	grown, touchedToo := change(b, src, 2, "new.example.test. 3600 IN A 10.9.9.9\n")
	b.Run("address", func(b *testing.B) { benchAmend(b, next, z, touched) })
	b.Run("host", func(b *testing.B) { benchAmend(b, grown, z, touchedToo) })
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Recompile(next, z)
		}
	})
}

func benchAmend(b *testing.B, next *zone.Zone, z *Zone, touched []name.Name) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Amend(next, z, touched); !ok {
			b.Fatal("declined")
		}
	}
	b.ReportMetric(float64(z.Nodes()), "names")
}
