package zone

import (
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

func TestDelta(t *testing.T) {
	t.Parallel()
	soa := func(text string) dns.RR {
		_, rr := normal(t, "example.test. 60 SOA ns.example.test. h.example.test. "+text)
		return rr
	}
	a, apex := parsed(t, "a.example.test."), parsed(t, "example.test.")
	_, one := normal(t, "a.example.test. 60 A 192.0.2.1")
	_, two := normal(t, "a.example.test. 60 A 192.0.2.2")
	old, err := whole(t, map[name.Name][]dns.RR{apex: {soa("1 3600 600 864000 300")}, a: {one}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name           string
		soa            string
		rrs            []dns.RR
		removed, added int
	}{
		{"the serial alone", "2 3600 600 864000 300", []dns.RR{one}, 0, 0},
		{"all of the SOA", "3 7200 600 864000 300", []dns.RR{one}, 0, 0},
		{"a record replaced", "4 3600 600 864000 300", []dns.RR{two}, 1, 1},
		{"a record more", "5 3600 600 864000 300", []dns.RR{one, two}, 0, 1},
	} {
		next, err := old.Edit(map[name.Name][]dns.RR{apex: {soa(c.soa)}, a: c.rrs})
		if err != nil {
			t.Fatal(err)
		}
		d := NewDelta(old, next)
		if d.From.Serial != 1 || d.To.Serial != next.Serial() || len(d.Removed) != c.removed || len(d.Added) != c.added || d.Records() != 2+c.removed+c.added {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}
