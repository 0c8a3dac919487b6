package cli

import (
	"net"
	"net/netip"
)

// machineAddrs lists the addresses of this machine's interfaces that others
// can reach.
func machineAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue // not an IP address
		}
		addr := prefix.Addr().Unmap()
		if addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() {
			continue
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}
