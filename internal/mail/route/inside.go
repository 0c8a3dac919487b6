package route

import "net/netip"

// reserved are the prefixes that no MX of the world can rightly lead to, beyond
// those that netip knows. The documentation prefixes are not among them: test
// networks use them, and nothing of ours lives there.
var reserved = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},    // RFC 1122, Section 3.2.1.3
	{netip.MustParsePrefix("100.64.0.0/10"), "shared"},     // RFC 6598
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol"},    // RFC 6890
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},     // RFC 1112, Section 4; holds the broadcast address
	{netip.MustParsePrefix("::/96"), "embedded"},           // RFC 4291, Section 2.5.5.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "embedded"}, // RFC 2765, Section 2.1
	{netip.MustParsePrefix("64:ff9b:1::/48"), "embedded"},  // RFC 8215
	{netip.MustParsePrefix("100::/64"), "discard"},         // RFC 6666
	{netip.MustParsePrefix("2001::/32"), "tunnel"},         // RFC 4380: holds an IPv4 address in disguise
	{netip.MustParsePrefix("fec0::/10"), "private"},        // RFC 3879
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixTo4 = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// inside returns why the address is not one to send the world's mail to, or "".
func (r *Router) inside(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	switch {
	case r.cfg.OwnAddrs(a):
		return "own"
	case !a.IsValid(), a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "loopback"
	case a.IsPrivate(): // RFC 1918, RFC 4193
		return "private"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast():
		return "multicast"
	}
	for _, e := range reserved {
		if e.prefix.Contains(a) {
			return e.why
		}
	}
	if v4, ok := embedded(a); ok {
		return r.inside(v4)
	}
	return ""
}

// embedded takes out the IPv4 address that a gateway would send to.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
