package signer

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// large is a zone of 1.72 records a host: addresses, exchanges, aliases, and a
// delegation for every twentieth.
func large(t testing.TB, hosts, serial int, more ...string) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(parsed(t, "example."))
	add := func(text string) {
		rr, err := dns.NewRR(text)
		if err == nil {
			err = b.Add(rr)
		}
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	add(fmt.Sprintf("example. 3600 SOA ns1.example. host.example. %d 7200 3600 1209600 300", serial))
	add("example. 3600 NS ns1.example.")
	add("ns1.example. 3600 A 192.0.2.1")
	for i := range hosts {
		add(fmt.Sprintf("h%d.example. 3600 A 10.%d.%d.%d", i, i>>16&255, i>>8&255, i&255))
		if i%2 == 0 {
			add(fmt.Sprintf("h%d.example. 3600 AAAA 2001:db8::%x:%x", i, i>>16, i&65535))
		}
		if i%10 == 0 {
			add(fmt.Sprintf("h%d.example. 3600 MX 10 mail.example.", i))
		}
		if i%20 == 0 {
			add(fmt.Sprintf("d%d.example. 3600 NS ns1.d%d.example.", i, i))
			add(fmt.Sprintf("ns1.d%d.example. 3600 A 10.200.%d.%d", i, i>>8&255, i&255))
		}
		if i%50 == 0 {
			add(fmt.Sprintf("c%d.example. 3600 CNAME h%d.example.", i, i))
		}
	}
	for _, text := range more {
		add(text)
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What signing 172,000 records costs, and what the signed zone takes in memory
// beside the unsigned one.
func BenchmarkSign(b *testing.B) {
	z := large(b, 100_000, 1)
	for _, d := range []Denial{NSEC, NSEC3} {
		b.Run([]string{"", "NSEC", "NSEC3"}[d], func(b *testing.B) {
			keys := []dnssec.Key{newKey(b, z.Origin(), 257, dnssec.ECDSAP256SHA256)}
			before := heap()
			var s *Signed
			for b.Loop() {
				s = sign(b, z, keys, policy(d), now)
			}
			b.ReportMetric(float64(heap()-before)/(1<<20), "MB")
			sigs := 0
			for n := range s.Zone().Nodes() {
				if set := n.Set(dns.TypeRRSIG); set != nil {
					sigs += len(set.RRs)
				}
			}
			b.ReportMetric(float64(sigs), "signatures")
			b.ReportMetric(float64(s.Zone().Records()), "records")
			runtime.KeepAlive(z)
		})
	}
}

// An edit of one record of that zone, ZONEMD included.
func BenchmarkNext(b *testing.B) {
	z := large(b, 100_000, 1)
	for _, d := range []Denial{NSEC, NSEC3} {
		b.Run([]string{"", "NSEC", "NSEC3"}[d], func(b *testing.B) {
			keys := []dnssec.Key{newKey(b, z.Origin(), 257, dnssec.ECDSAP256SHA256)}
			s := sign(b, z, keys, policy(d), now)
			rr, _, err := zone.Normalise(&dns.TXT{Hdr: dns.RR_Header{Name: "h7x.example.", Rrtype: dns.TypeTXT, Class: 1, Ttl: 60}, Txt: []string{"x"}})
			if err != nil {
				b.Fatal(err)
			}
			edited, err := z.WithSerial(2).Edit(map[name.Name][]dns.RR{parsed(b, "h7x.example."): {rr}})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Next(edited, keys, policy(d), now.Add(time.Second)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An edit signs no more than what it touches, however large the zone: its
// owner's sets and denial, who leads there, SOA and ZONEMD.
func TestEditSignsLittle(t *testing.T) {
	t.Parallel()
	for _, d := range []Denial{NSEC, NSEC3} {
		for _, hosts := range []int{20, 2000} {
			k := newKey(t, parsed(t, "example."), 257, dnssec.ED25519)
			s := sign(t, large(t, hosts, 1), []dnssec.Key{k}, policy(d), now)
			count := counting(&k)
			next, err := s.Next(large(t, hosts, 2, "h7x.example. 60 TXT x"), []dnssec.Key{k}, policy(d), now)
			if err != nil {
				t.Fatal(err)
			}
			if got := count.Load(); got != 5 {
				t.Errorf("%d of %d hosts: %d signatures", d, hosts, got)
			}
			if other := next.Zone().Node(parsed(t, "h9.example.")); &other.Sets[0] != &s.Zone().Node(other.Name).Sets[0] {
				t.Error("a node that nothing touched has other sets")
			}
		}
	}
}
