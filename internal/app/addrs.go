package app

import (
	"net"
	"net/netip"

	"postern/config"
)

// interfaceAddrs lists the addresses of this machine's interfaces.
func interfaceAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs
}

// addrSet is a set of our own addresses: never dialled by the resolver, never
// a stranger's MX.
type addrSet map[netip.Addr]bool

// own is the machine's addresses and those we listen on.
func own(c *config.Checked) addrSet {
	set := addrSet{}
	for _, a := range interfaceAddrs() {
		set[a] = true
	}
	for _, l := range c.Listen {
		for _, a := range l.Addrs {
			if !a.Addr().IsUnspecified() {
				set[a.Addr().Unmap()] = true
			}
		}
	}
	return set
}

func (s addrSet) has(a netip.Addr) bool { return s[a.Unmap()] }
