package view

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// TestZoneOfIsZone over random views and questions, and both are the longest
// match.
func TestZoneOfIsZone(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 1))
	random := func(most int) name.Name {
		labels := make([]string, r.IntN(most+1))
		for i := range labels {
			labels[i] = []string{"a", "b", "aa", `a\.a`, `\001a`, "*"}[r.IntN(6)]
		}
		n, err := name.Parse(strings.Join(labels, ".") + ".")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	own := 0
	for range 500 {
		zones := map[name.Name]*answer.Zone{}
		for range r.IntN(8) {
			zones[random(4)] = []*answer.Zone{nil, new(answer.Zone)}[r.IntN(2)]
		}
		table := NewTable([]View{{Name: "v", Zones: zones, Recursion: r.IntN(2) == 0}})
		for range 20 {
			qname, qtype := random(6), []uint16{dns.TypeA, dns.TypeDS}[r.IntN(2)]
			m := new(dns.Msg).SetQuestion(strings.ToUpper(qname.String()), qtype)
			msg, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			var q wire.Query
			if q.Parse(msg) != wire.OK {
				t.Fatal(qname)
			}
			z, ok := table.views[0].ZoneOf(&q)
			if again, too := table.views[0].Zone(qname, qtype); z != again || ok != too {
				t.Fatalf("%s %d in %v: %p %v, %p %v", qname, qtype, zones, z, ok, again, too)
			}
			if qtype == dns.TypeDS {
				continue
			}
			at := qname
			for _, there := zones[at]; !there && at != name.Root; _, there = zones[at] {
				at = at.Parent()
			}
			if want, there := zones[at]; ok != there || z != want {
				t.Fatalf("%s in %v: %p %v, want that of %s", qname, zones, z, ok, at)
			}
			if ok {
				own++
			}
		}
	}
	if own < 1000 {
		t.Errorf("only %d questions were for a zone", own)
	}
}

// TestRangesAtTheirEnds asks for the first and last address of every prefix
// and those beside them, as IPv4 and mapped into IPv6.
func TestRangesAtTheirEnds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 1))
	for range 300 {
		var views []View
		var edges []netip.Addr
		for i := range 1 + r.IntN(4) {
			v := View{Name: fmt.Sprint(i)}
			for range r.IntN(5) {
				a := netip.AddrFrom4([4]byte{byte(r.IntN(3) * 127), byte(r.IntN(2) * 255), byte(r.IntN(2) * 255), byte(r.IntN(2) * 255)})
				bits := []int{0, 1, 7, 8, 9, 24, 31, 32}[r.IntN(8)]
				if r.IntN(2) == 0 {
					b := [16]byte{byte(r.IntN(2) * 255)}
					b[7], b[8], b[15] = byte(r.IntN(2)*255), byte(r.IntN(2)*255), byte(r.IntN(2)*255)
					a, bits = netip.AddrFrom16(b), []int{0, 1, 63, 64, 65, 127, 128}[r.IntN(7)]
				}
				p := netip.PrefixFrom(a, bits)
				v.Clients = append(v.Clients, p)
				first := p.Masked().Addr()
				edges = append(edges, a, first, first.Prev())
				last := first
				b := last.AsSlice()
				for bit := p.Bits(); bit < 8*len(b); bit++ {
					b[bit/8] |= 0x80 >> (bit % 8)
				}
				last, _ = netip.AddrFromSlice(b)
				edges = append(edges, last, last.Next())
			}
			views = append(views, v)
		}
		table := NewTable(views)
		for _, a := range edges {
			if !a.IsValid() {
				continue
			}
			want := ""
			for i := len(views) - 1; i >= 0; i-- {
				for _, p := range views[i].Clients {
					if p.Contains(a.Unmap()) {
						want = views[i].Name
					}
				}
			}
			for _, a := range []netip.Addr{a, netip.AddrFrom16(a.As16())} {
				got := ""
				if sel, forged := table.Select(nil, a); sel != nil {
					got = sel.Name
				} else if forged {
					got = "forged"
				}
				if got != want {
					t.Fatalf("%s is in view %q, want %q, of %v", a, got, want, views)
				}
			}
		}
	}
}
