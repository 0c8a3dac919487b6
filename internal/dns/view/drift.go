package view

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// maxTold is how many problems of one code an overlay reports.
const maxTold = 50

// tell reports a problem at a record, so many of each code.
func (m *merge) tell(told *int, r zonefile.Record, severity, code, message, hint string) {
	if severity == zonefile.NOTE && !m.Notes {
		return
	}
	if *told++; *told <= maxTold {
		m.problems = append(m.problems, r.At(severity, code, message, hint))
	}
}

// drift finds where the internal records only repeat the view below, so that
// a change there would not be seen, and where they lose types of a name.
func (m *merge) drift() {
	below := byOwner(m.External, m.internal)
	inside := byOwner(m.Internal, m.internal)
	above := m.ancestors()
	same, lost := 0, 0
	told := map[name.Name]bool{}
	for _, r := range m.Internal {
		n, ok := ownerOf(r)
		if !ok || told[n] || len(below[n]) == 0 {
			continue
		}
		told[n] = true
		if n == m.Origin { // merges by type: nothing is lost
			continue
		}
		if equal(below[n], inside[n]) && m.internal[n].has(dns.TypeNS) && above[n] {
			continue // without it what stands below would be an error
		}
		if equal(below[n], inside[n]) {
			m.tell(&same, r, zonefile.NOTE, "view-same", fmt.Sprintf("%s has the same records in the view below", n), "remove it here: it would not follow a change")
			continue
		}
		if types := m.lost(n); len(types) > 0 {
			m.tell(&lost, r, zonefile.NOTE, "view-loses", fmt.Sprintf("%s has no %s here, the view below has", n, strings.Join(types, ", ")), "a name replaces all types: restate those that are needed")
		}
	}
}

// ancestors are the names that the internal ones stand below, up to the origin.
func (m *merge) ancestors() map[name.Name]bool {
	above := map[name.Name]bool{}
	for n := range m.internal {
		for n != m.Origin && n.IsBelow(m.Origin) {
			if n = n.Parent(); above[n] {
				break
			}
			above[n] = true
		}
	}
	return above
}

// lost lists the types that a name has in the view below and not here. The
// types that say where a service is are one group, as at the apex, and what
// replaces a whole name loses nothing.
func (m *merge) lost(n name.Name) []string {
	own, out := m.internal[n], m.external[n]
	if own.has(dns.TypeCNAME) || own.has(dns.TypeNS) || own.has(dns.TypeDNAME) {
		return nil
	}
	group := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB}
	var lost []string
	for t := range out {
		switch t {
		case dns.TypeCNAME, dns.TypeDNAME, dns.TypeNS, dns.TypeDS:
			continue
		}
		if signing(t) {
			continue
		}
		if !own.has(t) && !(slices.Contains(group, t) && slices.ContainsFunc(group, own.has)) {
			lost = append(lost, dns.Type(t).String())
		}
	}
	slices.Sort(lost)
	return lost
}

// byOwner is the records of those owners.
func byOwner(records []zonefile.Record, owners map[name.Name]types) map[name.Name][]zonefile.Record {
	m := map[name.Name][]zonefile.Record{}
	for _, r := range records {
		if n, ok := ownerOf(r); ok && owners[n] != nil {
			m[n] = append(m[n], r)
		}
	}
	return m
}

// equal compares two small sets of records, TTLs apart.
func equal(a, b []zonefile.Record) bool {
	if len(a) != len(b) || len(a) > 100 {
		return false
	}
	for _, r := range a {
		if !slices.ContainsFunc(b, func(o zonefile.Record) bool { return dns.IsDuplicate(r.RR, o.RR) }) {
			return false
		}
	}
	return true
}

// leaks finds what the external zone tells the world of the inside: private
// addresses that the internal records use, and hosts that exist only there.
func (m *merge) leaks() {
	if len(m.internal) == 0 {
		return
	}
	inner := map[netip.Addr]name.Name{}
	for _, r := range m.Internal {
		if ip, ok := zone.Address(r.RR); ok && ip.IsPrivate() {
			if n, ok := ownerOf(r); ok {
				inner[ip] = n
			}
		}
	}
	addresses, targets := 0, 0
	exists := m.outside()
	for _, r := range m.External {
		if ip, ok := zone.Address(r.RR); ok {
			if n, ok := inner[ip]; ok {
				m.tell(&addresses, r, zonefile.WARN, "leak-address", fmt.Sprintf("%s tells the world %s, which is %s inside", r.RR.Header().Name, ip, n), "remove it here, or give the public address")
			}
			continue
		}
		text := zone.Target(r.RR)
		if text == "" {
			continue
		}
		n, err := name.Parse(text)
		if err != nil || m.internal[n] == nil || exists(n) {
			continue
		}
		m.tell(&targets, r, zonefile.WARN, "leak-target", fmt.Sprintf("%s %s names %s, which exists only inside", r.RR.Header().Name, dns.Type(r.RR.Header().Rrtype), n), "add the name to the external zone, or remove the record")
	}
}

// outside tells whether the external zone has an answer for a name: records,
// names below it, a wildcard, a DNAME or a delegation above.
func (m *merge) outside() func(name.Name) bool {
	var nodes map[name.Name]bool
	return func(n name.Name) bool {
		if nodes == nil {
			nodes = map[name.Name]bool{}
			for o := range m.external {
				for ; o.IsBelow(m.Origin) && !nodes[o]; o = o.Parent() {
					nodes[o] = true
				}
			}
		}
		if nodes[n] {
			return true
		}
		for up := n; up != m.Origin && up != name.Root; {
			up = up.Parent()
			if m.external[up].has(dns.TypeDNAME) || up != m.Origin && m.external[up].has(dns.TypeNS) {
				return true
			}
			if w, ok := up.Child("*"); ok && m.external[w] != nil {
				return true
			}
		}
		return false
	}
}
