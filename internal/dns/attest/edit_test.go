package attest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// edits are lines that a step adds to a zone or takes away again.
var edits = []string{
	"new A 192.0.2.77", "new AAAA 2001:db8::7", "mail AAAA 2001:db8::8", "ns1 TXT more", "x.new2.deep A 192.0.2.78", "deep A 192.0.2.79",
	"loose DS 5 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "secure NS ns2.secure", "ns2.secure A 192.0.2.80",
	"host.wild NS ns1", "under.gap DS 6 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "b.c.d DNAME d.example.net.",
	"c.d NS ns1", "wild TXT here", "*.new A 192.0.2.81", "other.gap NS ns1", "deeper.other2.gap NS ns1", "long 90000 TXT t", "@ TXT apex", "*.d MX 5 mail",
}

// edited returns the zone's records with those of some of the lines.
func edited(t *testing.T, base []dns.RR, lines []dns.RR, on []bool, serial uint32) []dns.RR {
	t.Helper()
	var all []dns.RR
	for _, rr := range base {
		if rr.Header().Rrtype == dns.TypeSOA {
			soa := dns.Copy(rr).(*dns.SOA)
			soa.Serial = serial
			rr = soa
		}
		all = append(all, rr)
	}
	for i, rr := range lines {
		if on[i] {
			all = append(all, rr)
		}
	}
	return all
}

// An edit is judged as the whole is, whatever it did to the zone and whatever
// went wrong with it, and a good one is the ground for the next.
func TestEditsAreJudgedAlike(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3, 4} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 5))
			m := newMaker(t)
			c := Context{Workers: 2, DS: []*dns.DS{m.keys[0].rr.ToDS(dns.SHA256)}}
			if seed%2 == 0 {
				m.nsec3, m.zonemd = noSalt, true
			}
			if seed == 4 {
				m.optOut, c.OptOut = true, true
			}
			base := parseRecords(t, oddZone)
			var lines []dns.RR
			for _, line := range edits {
				lines = append(lines, parseRecords(t, "$TTL 3600\n"+line)...)
			}
			on := make([]bool, len(lines))
			old := m.sign(t, base, nil, nil)
			for step := range 12 {
				for range 1 + rnd.IntN(3) {
					i := rnd.IntN(len(on))
					on[i] = !on[i]
				}
				rrs := edited(t, base, lines, on, uint32(step+2))
				next := shared(t, old, m.sign(t, rrs, nil, nil))
				if got := CheckEdit(old, next, testNow, c); len(got) > 0 {
					t.Fatalf("seed %d, step %d: a good edit is judged %v", seed, step, got)
				}
				if got := Check(next, testNow, c); len(got) > 0 {
					t.Fatalf("seed %d, step %d: a good zone is judged %v", seed, step, got)
				}
				for range 2 {
					alike(t, rnd, m, old, next, c)
				}
				old = next
			}
		})
	}
}

// alike holds the two forms against each other, over an edit that went wrong.
func alike(t *testing.T, rnd *rand.Rand, m *maker, old, next *zone.Zone, c Context) {
	t.Helper()
	var all []dns.RR
	for n := range next.Nodes() {
		for i := range n.Sets {
			all = append(all, n.Sets[i].RRs...)
		}
	}
	now := testNow
	for range 1 + rnd.IntN(3) {
		i := rnd.IntN(len(all))
		if all[i].Header().Rrtype == dns.TypeSOA {
			continue
		}
		switch rnd.IntN(4) {
		case 0:
			all = slices.Delete(all, i, i+1)
		case 1:
			if rr := flipped(all[i]); rr != nil {
				all[i] = rr
			}
		case 2:
			other := dns.Copy(all[rnd.IntN(len(all))])
			if n := all[i].Header().Name; other.Header().Rrtype != dns.TypeSOA {
				other.Header().Name = n
				all = append(all, other)
			}
		case 3:
			now = testNow.Add(time.Duration(rnd.IntN(30*24)) * time.Hour)
		}
	}
	bad := shared(t, old, buildZone(t, all))
	got, want := CheckEdit(old, bad, now, c), Check(bad, now, c)
	if !slices.Equal(got, want) {
		t.Fatalf("an edit is judged\n%s\nthe whole\n%s", lines(got), lines(want))
	}
}

func lines(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// shared makes next of old as a signer would: what did not change is the same.
func shared(t *testing.T, old, next *zone.Zone) *zone.Zone {
	t.Helper()
	records := map[name.Name][]dns.RR{}
	removed, added := zone.Diff(old, next)
	for _, rr := range append(removed, added...) {
		n := ownerOf(rr)
		var all []dns.RR
		if node := next.Node(n); node != nil {
			for i := range node.Sets {
				all = append(all, node.Sets[i].RRs...)
			}
		}
		records[n] = all
	}
	z, err := old.Edit(records)
	if err != nil {
		t.Fatal(err)
	}
	if r, a := zone.Diff(z, next); len(r)+len(a) > 0 || z.Names() != next.Names() {
		t.Fatalf("the edit is another zone: %v %v", r, a)
	}
	return z
}

// Other keys, or another zone, leave nothing that was known.
func TestEditOfKeys(t *testing.T) {
	t.Parallel()
	base := parseRecords(t, oddZone)
	a, b := newMaker(t), newMaker(t)
	old, next := a.sign(t, base, nil, nil), b.sign(t, base, nil, nil)
	if got := CheckEdit(old, next, testNow, Context{}); len(got) > 0 {
		t.Error(got)
	}
	// The records of the one under the keys of the other.
	keys := func(rr dns.RR) bool {
		s, ok := rr.(*dns.RRSIG)
		return rr.Header().Rrtype == dns.TypeDNSKEY || ok && s.TypeCovered == dns.TypeDNSKEY
	}
	var mixed []dns.RR
	for z, want := range map[*zone.Zone]bool{old: false, next: true} {
		for n := range z.Nodes() {
			for i := range n.Sets {
				for _, rr := range n.Sets[i].RRs {
					if keys(rr) == want {
						mixed = append(mixed, rr)
					}
				}
			}
		}
	}
	if got := codes(CheckEdit(old, buildZone(t, mixed), testNow, Context{})); !slices.Equal(got, []string{"sig-key"}) {
		t.Error(got)
	}
	if got := CheckEdit(nil, next, testNow, Context{}); len(got) > 0 {
		t.Error(got)
	}
}

// CheckEdit verifies what changed: a signature that was not touched is not
// looked at, which a wrong one in the old zone shows.
func TestEditLooksAtWhatChanged(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	base := parseRecords(t, oddZone)
	old := m.sign(t, base, nil, sigAlter("mail", "A", func(s *dns.RRSIG) { s.Signature = "AAAA" + s.Signature[4:] }))
	if got := CheckEdit(old, old, testNow, Context{}); len(got) > 0 {
		t.Errorf("an old signature was verified: %v", got)
	}
	if got := codes(CheckEdit(old, old, testNow.AddDate(0, 0, 14).Add(time.Second), Context{})); !slices.Equal(got, []string{"sig-expired"}) {
		t.Errorf("dates were not looked at: %v", got)
	}
}

// Of each code some problems are told, and how many more there are.
func TestBound(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(oddZone)
	for i := range 300 {
		text.WriteString("h" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + " A 192.0.2.1\n")
	}
	m := newMaker(t)
	m.cache = nil
	z := m.sign(t, parseRecords(t, text.String()), nil, drop(func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }))
	var before []Problem
	for _, workers := range []int{0, 1, 3} {
		got := Check(z, testNow, Context{Workers: workers})
		if len(got) != maxPerCode || !strings.Contains(got[0].Text, "more problems of this kind are left out") {
			t.Fatalf("%d problems, %v first", len(got), got[0])
		}
		if before != nil && !slices.Equal(got, before) {
			t.Error("the count of workers changes what is found")
		}
		before = got
	}
}
