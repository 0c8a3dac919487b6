package zone

import (
	"net/netip"

	"github.com/miekg/dns"
)

// Address returns the address of an A or AAAA record.
func Address(rr dns.RR) (netip.Addr, bool) {
	switch r := rr.(type) {
	case *dns.A:
		ip, ok := netip.AddrFromSlice(r.A)
		return ip.Unmap(), ok
	case *dns.AAAA:
		return netip.AddrFromSlice(r.AAAA)
	}
	return netip.Addr{}, false
}

// Target returns the host or other name that the record's data leads to, of a
// SOA the primary server; "" where it leads to none.
func Target(rr dns.RR) string {
	switch r := rr.(type) {
	case *dns.NS:
		return r.Ns
	case *dns.CNAME:
		return r.Target
	case *dns.DNAME:
		return r.Target
	case *dns.MX:
		return r.Mx
	case *dns.SRV:
		return r.Target
	case *dns.PTR:
		return r.Ptr
	case *dns.SVCB:
		return r.Target
	case *dns.HTTPS:
		return r.Target
	case *dns.SOA:
		return r.Ns
	}
	return ""
}
