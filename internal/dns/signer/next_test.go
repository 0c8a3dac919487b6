package signer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// labels are few, so that random names meet: delegations above data, empty
// non-terminals that come and go, names that sort oddly.
var labels = []string{"a", "b", "*", `\001`, "zz", `x\.y`, "ns"}

// step changes a zone's text at random.
func step(r *rand.Rand, lines []string) []string {
	lines = slices.Clone(lines)
	for range 1 + r.IntN(3) {
		if len(lines) > 0 && r.IntN(5) < 2 {
			i := r.IntN(len(lines))
			lines = slices.Delete(lines, i, i+1)
			continue
		}
		n := labels[r.IntN(len(labels))]
		for range r.IntN(3) {
			n = labels[r.IntN(len(labels))] + "." + n
		}
		data := []string{"A 192.0.2.1", "A 192.0.2.2", "TXT x", "NS ns", "NS ns.elsewhere.", "DNAME other.test.", "NS ns.b\n" + n + " DS 1 13 2 " + strings.Repeat("AB", 32),
			"60 TXT short", "MX 1 b", `TYPE65400 \# 1 00`}[r.IntN(10)]
		lines = append(lines, n+" "+data)
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	return lines
}

func soa(serial, minimum int) string {
	return fmt.Sprintf("@ 3600 SOA ns host %d 1 1 1 %d\n@ NS ns\n", serial, minimum)
}

func models() map[string]Policy {
	all := map[string]Policy{"nsec": policy(NSEC), "nsec3": policy(NSEC3), "opt-out": policy(NSEC3), "no zonemd": policy(NSEC)}
	p := all["opt-out"]
	p.OptOut = true
	all["opt-out"] = p
	p = all["no zonemd"]
	p.ZONEMD = false
	all["no zonemd"] = p
	return all
}

// steps is how many edits a chain has; make prove takes more.
func steps() int {
	if os.Getenv("POSTERN_PROVE") != "" {
		return 1000
	}
	return 50
}

// A chain of random edits at one time: each version is, octet for octet, what
// signing it whole gives, since a signature's times depend on that time and on
// what it covers alone.
func TestNextIsSign(t *testing.T) {
	t.Parallel()
	for what, p := range models() {
		for _, origin := range []string{"example.", "."} {
			t.Run(what+" "+origin, func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(uint64(len(what)), uint64(len(origin))))
				keys := []dnssec.Key{newKey(t, parsed(t, origin), 257, dnssec.ED25519)}
				var lines []string
				z := zoneOf(t, origin, soa(1, 300))
				s := sign(t, z, keys, p, now)
				for serial := 2; serial < steps(); serial++ {
					lines = step(r, lines)
					z = zoneOf(t, origin, soa(serial, 300)+strings.Join(lines, "\n"))
					next, err := s.Next(z, keys, p, now)
					if err != nil {
						t.Fatalf("%s: %v", lines, err)
					}
					whole := sign(t, z, keys, p, now)
					if got, want := text(next.Zone()), text(whole.Zone()); got != want {
						t.Fatalf("version %d of\n%s\nis\n%s\nwant\n%s", serial, strings.Join(lines, "\n"), got, want)
					}
					alike(t, s, next, whole)
					reference(t, next.Zone(), z, p)
					s = next
				}
			})
		}
	}
}

// alike holds the state after an edit against that of the whole, and what of
// the zone is shared with the version before.
func alike(t *testing.T, before, next, whole *Signed) {
	t.Helper()
	if !next.NextWake().Equal(whole.NextWake()) || !next.Expires().Equal(whole.Expires()) || !slices.Equal(next.chain, whole.chain) ||
		next.newest != whole.newest || next.Zone().Records() != whole.Zone().Records() || next.Zone().Names() != whole.Zone().Names() {
		t.Fatalf("state after the edit: %+v, whole %+v", next, whole)
	}
	for n := range next.Zone().Nodes() {
		old := before.Zone().Node(n.Name)
		for _, s := range n.Sets {
			for i, rr := range s.RRs {
				if was := old.Set(s.Type); was != nil {
					if j := slices.IndexFunc(was.RRs, func(o dns.RR) bool { return o.String() == rr.String() }); j >= 0 && len(was.RRs) == len(s.RRs) && same(&s, was) && was.RRs[j] != s.RRs[i] {
						t.Fatalf("a record was made anew: %v", rr)
					}
				}
			}
		}
	}
}

// Over weeks of edits and wakes no signature is ever due, all are good, and
// what did not change and was not due kept its signature.
func TestNextOverTime(t *testing.T) {
	t.Parallel()
	for what, p := range models() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, uint64(len(what))))
			origin := parsed(t, "example.")
			keys := []dnssec.Key{newKey(t, origin, 257, dnssec.ED25519)}
			var lines []string
			for range 8 {
				lines = step(r, append(lines, "b TXT stays"))
			}
			at := now
			z := zoneOf(t, "example.", soa(1, 300)+strings.Join(lines, "\n"))
			s := sign(t, z, keys, p, at)
			for serial := 2; serial < 50; serial++ {
				if wake := s.NextWake(); r.IntN(2) == 0 {
					if !wake.After(at) {
						t.Fatalf("at %v the next wake is %v", at, wake)
					}
					at = wake
				} else if at = at.Add(time.Duration(r.IntN(20)) * time.Hour); r.IntN(3) == 0 {
					lines = step(r, lines)
				}
				z = zoneOf(t, "example.", soa(serial, 300)+strings.Join(lines, "\n"))
				next, err := s.Next(z, keys, p, at)
				if err != nil {
					t.Fatal(err)
				}
				fresh(t, next, keys[0], p, at)
				reference(t, next.Zone(), z, p)
				s = next
			}
		})
	}
}

// fresh looks at every signature of a zone.
func fresh(t *testing.T, s *Signed, k dnssec.Key, p Policy, at time.Time) {
	t.Helper()
	for n := range s.Zone().Nodes() {
		if n.Set(dns.TypeRRSIG) == nil {
			continue
		}
		for _, rr := range n.Set(dns.TypeRRSIG).RRs {
			sig := rr.(*dns.RRSIG)
			if err := dnssec.Verify(k.DNSKEY, sig, n.Name, n.Set(sig.TypeCovered).RRs, at); err != nil {
				t.Fatalf("%v: %v", sig, err)
			}
			left := time.Unix(int64(sig.Expiration), 0).Sub(at)
			if left < p.Refresh || left > p.Validity {
				t.Fatalf("at %v %v is left to %v", at, left, sig)
			}
			if due := time.Unix(int64(sig.Expiration), 0).Add(-p.Refresh); s.NextWake().After(due) {
				t.Fatalf("the next wake, %v, is after %v is due", s.NextWake(), sig)
			}
		}
	}
}

// A clock that was set back: signatures from the time to come are made anew.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	keys := []dnssec.Key{newKey(t, parsed(t, "example."), 257, dnssec.ED25519)}
	p := policy(NSEC3)
	z := zoneOf(t, "example.", hard)
	back := now.Add(-30 * day)
	s, err := sign(t, z, keys, p, now).Next(z, keys, p, back)
	if err != nil {
		t.Fatal(err)
	}
	fresh(t, s, keys[0], p, back)
}

// After a restart what was served is taken up again: nothing is made anew but
// what changed; and other keys, another denial, other times are noticed.
func TestResume(t *testing.T) {
	t.Parallel()
	origin := parsed(t, "example.")
	keys := []dnssec.Key{newKey(t, origin, 257, dnssec.ED25519)}
	other := []dnssec.Key{newKey(t, origin, 257, dnssec.ED25519)}
	z := zoneOf(t, "example.", hard)
	for what, p := range models() {
		s := sign(t, z, keys, p, now)
		later := now.Add(time.Hour)
		resumed, err := Resume(s.Zone(), keys, p, later)
		if err != nil {
			t.Fatal(err)
		}
		if !resumed.NextWake().Equal(s.NextWake()) || text(mustStrip(t, s.Zone())) != text(z) {
			t.Errorf("%s: what was resumed is not what was", what)
		}
		again, err := resumed.Next(z, keys, p, later)
		if err != nil || text(again.Zone()) != text(s.Zone()) {
			t.Errorf("%s: resumed, the zone is another: %v", what, err)
		}
		for change, f := range map[string]func() (*zone.Zone, []dnssec.Key, Policy){
			"other keys": func() (*zone.Zone, []dnssec.Key, Policy) { return z, other, p },
			"more keys":  func() (*zone.Zone, []dnssec.Key, Policy) { return z, append(other, keys...), p },
			"a longer TTL": func() (*zone.Zone, []dnssec.Key, Policy) {
				return zoneOf(t, "example.", strings.Replace(hard, "1209600 900", "1209600 1000", 1)), keys, p
			},
			"a DNAME at the apex": func() (*zone.Zone, []dnssec.Key, Policy) {
				return zoneOf(t, "example.", hard+"@ DNAME example.test."), keys, p
			},
			"another denial": func() (*zone.Zone, []dnssec.Key, Policy) {
				p := p
				p.Denial, p.OptOut = NSEC+NSEC3-p.Denial, false
				return z, keys, p
			},
			"ZONEMD": func() (*zone.Zone, []dnssec.Key, Policy) {
				p := p
				p.ZONEMD = !p.ZONEMD
				return z, keys, p
			},
			"TTL of keys": func() (*zone.Zone, []dnssec.Key, Policy) {
				p := p
				p.DNSKEYTTL = 77
				return z, keys, p
			},
		} {
			for _, from := range []*Signed{s, resumed, again} {
				z, keys, p := f()
				next, err := from.Next(z, keys, p, now)
				if err != nil {
					t.Fatalf("%s, %s: %v", what, change, err)
				}
				whole := sign(t, z, keys, p, now)
				if got, want := text(next.Zone()), text(whole.Zone()); got != want {
					t.Errorf("%s, %s: the zone is\n%s\nwant\n%s", what, change, got, want)
				}
			}
		}
	}
}

func mustStrip(t *testing.T, z *zone.Zone) *zone.Zone {
	t.Helper()
	u, err := Strip(z)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What is made is as it would be read back from the wire, so that a zone that
// was kept and read again is the same.
func TestMadeRecordsAreNormal(t *testing.T) {
	t.Parallel()
	for what, p := range models() {
		key := newKey(t, parsed(t, "example."), 257, dnssec.RSASHA256)
		if p.Ask.Keys = []dnssec.Key{key}; p.OptOut {
			p.Ask = Ask{Withdraw: true}
		}
		z := sign(t, zoneOf(t, "example.", hard), []dnssec.Key{key}, p, now).Zone()
		b := zone.NewBuilder(z.Origin())
		for n := range z.Nodes() {
			for _, s := range n.Sets {
				for _, rr := range s.RRs {
					clean, _, err := zone.Normalise(rr)
					if err != nil || !reflect.DeepEqual(clean, rr) {
						t.Errorf("%s: %#v\nreads back as\n%#v %v", what, rr, clean, err)
					}
					if err := b.Add(rr); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		built, err := b.Build()
		if err != nil || text(built) != text(z) || built.Records() != z.Records() || built.Names() != z.Names() {
			t.Errorf("%s: built anew, the zone is another: %v", what, err)
		}
	}
}

// reference holds denial and coverage against a plain reading of the RFCs.
func reference(t *testing.T, z, unsigned *zone.Zone, p Policy) {
	t.Helper()
	type entry struct {
		n     name.Name
		types []uint16
	}
	var chain []entry
	seen := map[name.Name]bool{}
	for node := range unsigned.Nodes() {
		n := node.Name
		hidden, delegation := false, n != z.Origin() && node.Set(dns.TypeNS) != nil
		for up := n; up != z.Origin(); {
			up = up.Parent()
			if unsigned.Node(up).Set(dns.TypeDNAME) != nil || up != z.Origin() && unsigned.Node(up).Set(dns.TypeNS) != nil {
				hidden = true
			}
		}
		covered := map[uint16]bool{}
		if sigs := z.Node(n).Set(dns.TypeRRSIG); sigs != nil {
			for _, rr := range sigs.RRs {
				covered[rr.(*dns.RRSIG).TypeCovered] = true
			}
		}
		var types []uint16
		for _, s := range z.Node(n).Sets {
			owned := !hidden && (!delegation || s.Type == dns.TypeDS || s.Type == dns.TypeNSEC) && s.Type != dns.TypeRRSIG
			if covered[s.Type] != owned {
				t.Fatalf("%s %s: signed %v, want %v", n, dns.TypeToString[s.Type], covered[s.Type], owned)
			}
			if owned || delegation && s.Type == dns.TypeNS || s.Type == dns.TypeRRSIG {
				types = append(types, s.Type)
			}
		}
		secure := !delegation || node.Set(dns.TypeDS) != nil
		switch {
		case hidden, len(node.Sets) == 0 && n != z.Origin():
		case p.Denial == NSEC, secure, !p.OptOut:
			chain = append(chain, entry{n, types})
			for up := n; p.Denial == NSEC3 && up != z.Origin(); {
				if up = up.Parent(); !seen[up] && len(unsigned.Node(up).Sets) == 0 {
					seen[up] = true
					chain = append(chain, entry{up, nil})
				}
			}
		}
	}
	owner := func(n name.Name) name.Name {
		if p.Denial == NSEC {
			return n
		}
		o, _ := dnssec.HashOwner(dnssec.Hash(n), z.Origin())
		return o
	}
	for i := range chain {
		chain[i].n = owner(chain[i].n)
	}
	slices.SortFunc(chain, func(a, b entry) int { return a.n.Compare(b.n) })
	var got, want bytes.Buffer
	for i, c := range chain {
		fmt.Fprintln(&want, c.n, chain[(i+1)%len(chain)].n, c.types)
	}
	for n := range z.Nodes() {
		if s := n.Set(dns.TypeNSEC); s != nil {
			r := s.RRs[0].(*dns.NSEC)
			fmt.Fprintln(&got, n.Name, parsed(t, r.NextDomain), r.TypeBitMap)
		}
		if s := n.Set(dns.TypeNSEC3); s != nil {
			r := s.RRs[0].(*dns.NSEC3)
			next, _ := z.Origin().Child(r.NextDomain)
			fmt.Fprintln(&got, n.Name, next, r.TypeBitMap)
		}
	}
	if got.String() != want.String() {
		t.Fatalf("the chain is\n%s\nwant\n%s", got.String(), want.String())
	}
}
