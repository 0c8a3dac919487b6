package signer

import (
	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// kind is what a name is to its zone.
type kind uint8

const (
	absent   kind = iota
	gap           // an empty non-terminal
	own           // authoritative data, the apex too
	cut           // a delegation: only DS and denial are the zone's own (RFC 4035, Section 2.2)
	occluded      // below a delegation or a DNAME (RFC 6672, Section 2.4)
)

// occludes reports whether what stands below the node is not seen.
func occludes(n *zone.Node, belowApex bool) bool {
	return n.Set(dns.TypeDNAME) != nil || belowApex && n.Set(dns.TypeNS) != nil
}

// visible is the kind of a node that nothing occludes.
func visible(n *zone.Node, origin name.Name) kind {
	switch {
	case len(n.Sets) == 0 && n.Name != origin:
		return gap
	case n.Name != origin && n.Set(dns.TypeNS) != nil:
		return cut
	}
	return own
}

// kindOf looks a name up in an unsigned zone.
func kindOf(z *zone.Zone, n name.Name) kind {
	node := z.Node(n)
	switch {
	case node == nil:
		return absent
	case occluder(z, n) != nil:
		return occluded
	}
	return visible(node, z.Origin())
}

// occluder returns the highest node above n that occludes it, or nil.
func occluder(z *zone.Zone, n name.Name) *zone.Node {
	var over *zone.Node
	for n != z.Origin() {
		n = n.Parent()
		if node := z.Node(n); node != nil && occludes(node, n != z.Origin()) {
			over = node
		}
	}
	return over
}

// walk calls f with all nodes of an unsigned zone in canonical order.
func walk(z *zone.Zone, f func(*zone.Node, kind) error) error {
	var over name.Name // occludes what is below it
	for n := range z.Nodes() {
		k := occluded
		if over == "" || !n.Name.IsBelow(over) {
			k = visible(n, z.Origin())
			over = ""
			if occludes(n, n.Name != z.Origin()) {
				over = n.Name
			}
		}
		if err := f(n, k); err != nil {
			return err
		}
	}
	return nil
}

// hashed reports whether the NSEC3 chain has a record for a node of z. Opting
// out leaves out insecure delegations, and empty non-terminals with nothing
// else below (RFC 5155, Section 7.1).
func (s *settings) hashed(z *zone.Zone, n *zone.Node, k kind) bool {
	switch {
	case k == own, k == cut && n.Set(dns.TypeDS) != nil:
		return true
	case !s.policy.OptOut:
		return k == gap || k == cut
	case k != gap:
		return false
	}
	var over name.Name
	for q := range z.From(n.Name) {
		switch {
		case !q.Name.IsBelow(n.Name):
			return false
		case q.Name == n.Name, over != "" && q.Name.IsBelow(over):
			continue
		}
		if v := visible(q, z.Origin()); v == own || q.Set(dns.TypeDS) != nil {
			return true
		}
		if over = ""; occludes(q, true) {
			over = q.Name
		}
	}
	return false
}

// inNSEC reports whether a kind of name has an NSEC record (RFC 4035, Section 2.3).
func inNSEC(k kind) bool { return k == own || k == cut }

// signs reports whether a node's set is signed.
func signs(k kind, t uint16) bool {
	switch k {
	case own:
		return true
	case cut:
		return t == dns.TypeDS || t == dns.TypeNSEC
	}
	return false
}
