package outbound

import "net/netip"

// private are the networks a stranger's delegation must not lead us into.
// 0/8, multicast, loopback and the broadcast address are refused even inside.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),     // RFC 1918
	netip.MustParsePrefix("172.16.0.0/12"),  // RFC 1918
	netip.MustParsePrefix("192.168.0.0/16"), // RFC 1918
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598
	netip.MustParsePrefix("169.254.0.0/16"), // RFC 3927; also where clouds keep their metadata
	netip.MustParsePrefix("fc00::/7"),       // RFC 4193
	netip.MustParsePrefix("fe80::/10"),      // RFC 4291, Section 2.5.6
	netip.MustParsePrefix("fec0::/10"),      // RFC 3879
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved    = netip.MustParsePrefix("240.0.0.0/4")
	compatible  = netip.MustParsePrefix("::/96")        // RFC 4291, Section 2.5.5.1
	nat64       = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: an IPv4 address in its last octets
	sixToFour   = netip.MustParsePrefix("2002::/16")    // RFC 3056: one in octets 2 to 5
)

// Usable reports whether the server may be asked. inside allows private
// addresses: one of our own zones delegates there.
func (c *Client) Usable(addr netip.Addr, inside bool) bool {
	addr = addr.Unmap()
	if !c.permitted(addr, inside) {
		c.Counters.Refused.Inc()
		return false
	}
	return !c.servers.familyDown(addr.Is4(), c.cfg.Now())
}

func (c *Client) permitted(addr netip.Addr, inside bool) bool {
	switch {
	case !addr.IsValid(), addr.Zone() != "", addr.IsUnspecified(), addr.IsMulticast():
		return false
	case addr.Is4() && !c.cfg.IPv4, addr.Is6() && !c.cfg.IPv6:
		return false
	case c.cfg.Own != nil && c.cfg.Own(addr):
		return false
	case c.cfg.AllowPrivate:
		return true
	case addr.IsLoopback(), thisNetwork.Contains(addr), reserved.Contains(addr), compatible.Contains(addr):
		return false
	}
	if v4, ok := embedded(addr); ok && !c.permittedV4(v4, inside) {
		return false
	}
	return inside || !isPrivate(addr)
}

// permittedV4 judges an IPv4 address that hides in an IPv6 one, whatever the
// IPv4 switch says.
func (c *Client) permittedV4(v4 netip.Addr, inside bool) bool {
	switch {
	case v4.IsUnspecified(), v4.IsMulticast(), v4.IsLoopback(), thisNetwork.Contains(v4), reserved.Contains(v4):
		return false
	case c.cfg.Own != nil && c.cfg.Own(v4):
		return false
	}
	return inside || !isPrivate(v4)
}

func embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

func isPrivate(addr netip.Addr) bool {
	for _, p := range private {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
