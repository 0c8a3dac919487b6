package answer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// amendTypes are all that randomLine writes, and two that it does not.
var amendTypes = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeDS, dns.TypeMX, dns.TypeSRV, dns.TypeTXT, dns.TypeSOA, dns.TypeNSEC,
	dns.TypeRRSIG, dns.TypeANY, dns.TypeCAA, dns.TypeNSEC3, dns.TypeDNSKEY,
}

// randomLine writes one record of a zone with few names. Most are of the kinds
// that come and go without the tree changing.
func randomLine(r *rand.Rand, origin string) string {
	at := func() string {
		parts := make([]string, 1+r.IntN(3))
		for i := range parts {
			parts[i] = []string{"a", "b", "c", "*", "ns", "d"}[r.IntN(6)]
		}
		return strings.Join(parts, ".") + "." + strings.TrimPrefix(origin, ".")
	}
	anywhere := func() string {
		return []string{at(), at(), at(), at(), origin, "x.elsewhere."}[r.IntN(6)]
	}
	n := at()
	switch r.IntN(40) {
	case 0, 1, 2, 3:
		n = origin
	case 4: // a name where an NSEC3 record may be, or below it
		n = []string{"", "x."}[r.IntN(2)] + under(hashName(n, 0, ""), origin)
	}
	switch k := r.IntN(24); k {
	case 0:
		return fmt.Sprintf("%s 60 IN CNAME %s\n", n, anywhere())
	case 1:
		return fmt.Sprintf("%s 60 IN DNAME %s\n", n, anywhere())
	case 2, 3:
		return fmt.Sprintf("%s 60 IN NS %s\n", n, anywhere())
	case 4:
		return fmt.Sprintf("%s 60 IN DS 1 13 2 %s\n", n, strings.Repeat("ab", 32))
	case 5:
		return fmt.Sprintf("%s 60 IN NSEC %s A NSEC\n", n, anywhere())
	case 6:
		return fmt.Sprintf("%s 60 IN RRSIG %s 13 2 60 20300101000000 20200101000000 %d %s AAAA\n", n, []string{"A", "NSEC", "MX", "SOA"}[r.IntN(4)], r.IntN(9), origin)
	case 7, 8, 9:
		return fmt.Sprintf("%s 60 IN MX %d %s\n", n, r.IntN(9), anywhere())
	case 10, 11:
		return fmt.Sprintf("%s 60 IN SRV 1 2 %d %s\n", n, r.IntN(9), anywhere())
	case 12, 13:
		return fmt.Sprintf("%s 60 IN TXT \"%s\"\n", n, strings.Repeat("t", r.IntN(200)))
	case 14, 15:
		return fmt.Sprintf("%s 60 IN AAAA 2001:db8::%d\n", n, r.IntN(9))
	}
	return fmt.Sprintf("%s %d IN A 192.0.2.%d\n", n, r.IntN(300), r.IntN(9))
}

// nudge changes a few lines: it adds, takes out, replaces, or takes out or
// adds all of one name and below.
func nudge(r *rand.Rand, lines []string, origin string) []string {
	lines = append([]string(nil), lines...)
	for range 1 + r.IntN(3) {
		line := randomLine(r, origin)
		switch k := r.IntN(6); {
		case k < 2 || len(lines) == 0:
			lines = append(lines, line)
		case k == 2:
			lines[r.IntN(len(lines))] = line
		case k == 3:
			owner := strings.Fields(line)[0]
			kept := lines[:0]
			for _, l := range lines {
				if !dns.IsSubDomain(owner, strings.Fields(l)[0]) {
					kept = append(kept, l)
				}
			}
			lines = kept
		default:
			i := r.IntN(len(lines))
			lines = append(lines[:i], lines[i+1:]...)
		}
	}
	return lines
}

// owners returns the owners of what differs.
func owners(t testing.TB, a, b *zone.Zone) []name.Name {
	t.Helper()
	var out []name.Name
	removed, added := zone.Diff(a, b)
	for _, rr := range append(removed, added...) {
		n, err := name.Parse(rr.Header().Name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// question packs a question once for all who are asked it.
func question(t testing.TB, qname string, qtype uint16, do bool) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(qname, qtype)
	m.Id = 7
	if do {
		m.SetEdns0(wire.MaxUDP, true)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// raw asks z and returns all that it says.
func raw(t testing.TB, z *Zone, msg []byte, limit int) ([]byte, Result) {
	t.Helper()
	var q wire.Query
	if v := q.Parse(msg); v != wire.OK {
		t.Fatalf("%x: verdict %d", msg, v)
	}
	reply, res := z.Append(q.Start(nil), &q, limit, nil)
	res.Zone = nil
	return reply, res
}

// sameAnswers holds two states of a zone against each other, octet by octet.
func sameAnswers(t testing.TB, got, want *Zone, names map[string]bool) {
	t.Helper()
	ask := func(qname string, qtype uint16, do bool) {
		t.Helper()
		msg := question(t, qname, qtype, do)
		for _, limit := range []int{wire.MaxTCP, 120} {
			g, gr := raw(t, got, msg, limit)
			w, wr := raw(t, want, msg, limit)
			if !bytes.Equal(g, w) || gr != wr {
				t.Fatalf("%s %s DO %v:\n got %x %+v\nwant %x %+v", qname, dns.Type(qtype), do, g, gr, w, wr)
			}
		}
	}
	for n := range names {
		for _, qtype := range amendTypes {
			ask(n, qtype, false)
			ask(n, qtype, true)
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeMX, dns.TypeDS} {
			ask("zz."+strings.TrimPrefix(n, "."), qtype, true)
			ask("*."+strings.TrimPrefix(n, "."), qtype, false)
		}
	}
	if got.Nodes() != want.Nodes() || !slices.Equal(got.heads, want.heads) || got.aside != want.aside || got.live != want.live {
		t.Fatalf("%d names, %d with NSEC, %d octets; want %d, %d, %d", got.Nodes(), len(got.heads), got.live, want.Nodes(), len(want.heads), want.live)
	}
}

// namesOf adds the zone's names to those given, empty non-terminals included.
func namesOf(z *zone.Zone, names map[string]bool) map[string]bool {
	for n := range z.Nodes() {
		names[n.Name.String()] = true
	}
	return names
}

// amendChain edits a random zone again and again. It returns how often the
// short way was there.
func amendChain(t testing.TB, seed uint64, steps int) (short int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 5))
	origin := []string{"z.", "z.", "y.z.", "."}[r.IntN(4)]
	chain := []chained{{plain: true}, {plain: true}, {}, {nsec3: true}, {nsec3: true, optOut: true, iterations: 1, salt: "ab"}}[seed%5]
	text := func(serial int, lines []string) string {
		if chain != (chained{plain: true}) && serial%16 == 15 {
			chain = randomChain(r) // it denies in another way from now on
		}
		return chain.text(t, fmt.Sprintf("%s 60 IN SOA ns.z. h.z. %d 2 3 4 %d\n%[1]s 60 IN NS ns.z.\n", origin, serial/2, 5+serial%5)+strings.Join(lines, ""))
	}
	var lines []string
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, %s: %s", seed, chain, strings.Join(lines, ""))
		}
	}()
	for range r.IntN(30) {
		lines = append(lines, randomLine(r, origin))
	}
	src := build(t, parse(t, text(0, lines)))
	z := Compile(src)
	fresh := z
	for step := range steps {
		lines = nudge(r, lines, origin)
		now := text(step+1, lines)
		next := build(t, parse(t, now))
		touched := owners(t, src, next)
		if n := len(touched); n > 0 && r.IntN(3) == 0 { // more than is needed does no harm
			extra, _ := touched[r.IntN(n)].Child("zz")
			touched = append(touched, touched[r.IntN(n)], next.Origin(), extra)
		}
		amended, ok := Amend(next, z, touched)
		if ok {
			short++
		} else {
			amended = Recompile(next, z)
		}
		before, old := fresh, z
		z, fresh = amended, Compile(next)
		names := namesOf(src, namesOf(next, map[string]bool{}))
		sameAnswers(t, z, fresh, names)
		if step%4 == 0 { // and what was there before is as it was
			sameAnswers(t, old, before, names)
		}
		src = next
	}
	return short
}

// TestAmendEqualsRecompile: the short way answers as a zone compiled afresh,
// or declines.
func TestAmendEqualsRecompile(t *testing.T) {
	t.Parallel()
	const parts, seeds, steps = 4, 5, 20
	var short atomic.Int64
	t.Run("parts", func(t *testing.T) {
		for part := range uint64(parts) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for i := range uint64(seeds) {
					short.Add(int64(amendChain(t, part*seeds+i, steps)))
				}
			})
		}
	})
	// Of all together: the smallest zones decline by the luck of their hashes.
	if n := short.Load(); n < parts*seeds*steps*2/3 {
		t.Errorf("the short way was taken %d times of %d", n, parts*seeds*steps)
	}
}

// FuzzAmend is the same without end.
func FuzzAmend(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { amendChain(t, seed, 12) })
}
