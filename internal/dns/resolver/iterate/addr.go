package iterate

import (
	"net/netip"

	"github.com/miekg/dns"
)

// Addr returns the address of an A or AAAA record. An IPv4 address inside an
// AAAA comes out as what it is.
func Addr(rr dns.RR) (netip.Addr, bool) {
	switch r := rr.(type) {
	case *dns.A:
		if a, ok := netip.AddrFromSlice(r.A); ok {
			return a.Unmap(), true
		}
	case *dns.AAAA:
		if a, ok := netip.AddrFromSlice(r.AAAA); ok {
			return a.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// has reports whether some server of the delegation has the address: one
// address under many names would otherwise be asked many times.
func (d Delegation) has(a netip.Addr) bool {
	for _, s := range d.Servers {
		for _, b := range s.Addrs {
			if a == b {
				return true
			}
		}
	}
	return false
}
