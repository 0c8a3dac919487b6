// Package gate decides whether a client may ask at all, before anything of
// the question is weighed. It is pure: no clock, no socket, no goroutine.
package gate

import "net/netip"

// ACL is a set of client addresses. The zero value and nil let everybody in.
type ACL struct{ clients []netip.Prefix }

// NewACL returns the ACL of these prefixes; none: everybody.
func NewACL(clients []netip.Prefix) *ACL {
	acl := &ACL{clients: make([]netip.Prefix, 0, len(clients))}
	for _, p := range clients {
		acl.clients = append(acl.clients, unmap(p))
	}
	return acl
}

// Admits reports whether the client is in the set.
func (a *ACL) Admits(client netip.Addr) bool {
	if a == nil || len(a.clients) == 0 {
		return true
	}
	client = client.Unmap().WithZone("")
	for _, p := range a.clients {
		if p.Contains(client) {
			return true
		}
	}
	return false
}

// unmap returns a prefix of IPv4-mapped addresses as the IPv4 prefix it is.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
