package view

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// plainSelect is the definition, prefix by prefix.
func plainSelect(views []View, listenerViews []string, client netip.Addr) (sel string, forged bool) {
	client = client.Unmap().WithZone("")
	for _, v := range views {
		holds, exact := false, false
		for _, p := range v.Clients {
			if p.Contains(client) {
				holds, exact = true, exact || p.Bits() > 0
			}
		}
		switch {
		case !holds:
		case len(listenerViews) == 0 || slices.Contains(listenerViews, v.Name):
			return v.Name, false
		case exact:
			return "", true
		}
	}
	return "", false
}

func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(r.IntN(2) * 255), byte(r.IntN(3)), byte(r.IntN(3) * 127), byte(r.IntN(256))})
	}
	var a [16]byte
	for _, i := range [...]int{0, 7, 8, 15} {
		a[i] = byte(r.IntN(3) * 127)
	}
	return netip.AddrFrom16(a)
}

func TestSelectRandom(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 5))
	for range 300 {
		views := make([]View, 1+r.IntN(4))
		var probes []netip.Addr
		for i := range views {
			views[i].Name = fmt.Sprint("v", i)
			for range r.IntN(8) {
				a := randomAddr(r)
				p := netip.PrefixFrom(a, r.IntN(a.BitLen()+1))
				if r.IntN(2) == 0 {
					p = p.Masked()
				}
				views[i].Clients = append(views[i].Clients, p)
				next, _ := after(p)
				if a.Is4() {
					probes = append(probes, netip.AddrFrom4([4]byte{byte(next.lo >> 24), byte(next.lo >> 16), byte(next.lo >> 8), byte(next.lo)}))
				}
				probes = append(probes, p.Masked().Addr(), p.Masked().Addr().Prev(), a.Next())
			}
		}
		tab := NewTable(views)
		for range 100 {
			probes = append(probes, randomAddr(r))
		}
		for _, listener := range [][]string{nil, {"v0"}, {"v1", "v2"}} {
			for _, client := range probes {
				if !client.IsValid() {
					continue
				}
				got := ""
				s, forged := tab.Select(listener, client)
				if s != nil {
					got = s.Name
				}
				want, wantForged := plainSelect(views, listener, client)
				if got != want || forged != wantForged {
					t.Fatalf("%v on %v of %v: %q %v, want %q %v", client, listener, views, got, forged, want, wantForged)
				}
			}
		}
	}
	if s, forged := NewTable([]View{{Name: "any", Clients: []netip.Prefix{netip.MustParsePrefix("::/0")}}}).Select(nil, netip.Addr{}); s != nil || forged {
		t.Error("an address that is none")
	}
}
