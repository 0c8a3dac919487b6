package config

import (
	"net/netip"
	"slices"
)

// holds reports whether any of the prefixes has the address.
func holds(set []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(set, func(p netip.Prefix) bool { return p.Contains(a) })
}

// wholeFamily reports whether a set has all of IPv4 or all of IPv6.
func wholeFamily(set []netip.Prefix) bool {
	return covers(set, netip.MustParsePrefix("0.0.0.0/0")) || covers(set, netip.MustParsePrefix("::/0"))
}

// within reports whether outer has all of inner.
func within(inner, outer netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// covers reports whether the prefixes together have all of p.
func covers(set []netip.Prefix, p netip.Prefix) bool {
	var inside []netip.Prefix
	for _, q := range set {
		if within(p, q) {
			return true
		}
		if within(q, p) {
			inside = append(inside, q)
		}
	}
	if len(inside) < 2 {
		return false
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	return covers(inside, low) && covers(inside, netip.PrefixFrom(upperHalf(p), p.Bits()+1))
}

// upperHalf returns the first address of the upper half of p.
func upperHalf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// inner reports whether an address is by its kind not reachable from the
// world: loopback, private (RFC 1918, RFC 4193), link-local, shared (RFC 6598).
func inner(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || holds(sharedSpace(), a)
}

// routable reports whether the world can reach an address: the registries of
// RFC 6890 name what it cannot, the documentation prefixes among it.
func routable(a netip.Addr) bool {
	return !inner(a) && !a.IsUnspecified() && !holds(unroutable(), a)
}

func sharedSpace() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")} }

func unroutable() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"),    // RFC 5737
		netip.MustParsePrefix("198.51.100.0/24"), // RFC 5737
		netip.MustParsePrefix("203.0.113.0/24"),  // RFC 5737
		netip.MustParsePrefix("198.18.0.0/15"),   // RFC 2544
		netip.MustParsePrefix("240.0.0.0/4"),     // RFC 1112
		netip.MustParsePrefix("2001:db8::/32"),   // RFC 3849
		netip.MustParsePrefix("3fff::/20"),       // RFC 9637
	}
}
