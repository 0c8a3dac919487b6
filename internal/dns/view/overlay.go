package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// Overlay is what one view changes in a zone of the view below it.
type Overlay struct {
	Origin   name.Name
	File     string            // of the internal records, for problems of the whole
	External []zonefile.Record // the zone as the view below has it
	Internal []zonefile.Record // only what differs
	Hide     []name.Name       // names that do not exist here
	HideTree []name.Name       // the same with all below

	// Inner says that External is itself a view that the world does not see,
	// so nothing in it is a leak.
	Inner bool

	Notes bool // report drift between the two too, as zonelint.Context has it
}

// Materialise merges the two into the records of one real zone:
//
//   - an owner in the internal records replaces all types of that owner; names
//     below it are other names and stay;
//   - the apex merges by type, where A, AAAA, HTTPS and SVCB are one group;
//   - an internal NS or DNAME hides the external names below it;
//   - an inherited delegation stays whole: data at or below it, or below an
//     inherited DNAME, is refused unless the internal records restate the cut
//     or it is hidden;
//   - of a signed zone, what signing added is left out, see unsign.
func Materialise(o Overlay) ([]zonefile.Record, []zonefile.Problem) {
	m := &merge{Overlay: o}
	m.internal = ownersOf(o.Internal)
	m.external = ownersOf(o.External)
	m.unsign()
	m.hidden()
	m.collide()
	var out []zonefile.Record
	kept := map[name.Name]bool{}
	for _, r := range o.External {
		if n, ok := ownerOf(r); ok && m.keeps(n, r.RR.Header().Rrtype) {
			out = append(out, r)
			kept[n] = true
		}
	}
	m.wildcards(kept)
	m.drift()
	if !o.Inner {
		m.leaks()
	}
	return append(out, o.Internal...), m.problems
}

// merge is the state of one Materialise.
type merge struct {
	Overlay
	internal, external map[name.Name]types
	signed             bool // External is
	problems           []zonefile.Problem
}

// types is which types an owner has, with the first record of each.
type types map[uint16]zonefile.Record

func ownersOf(records []zonefile.Record) map[name.Name]types {
	owners := map[name.Name]types{}
	for _, r := range records {
		n, ok := ownerOf(r)
		if !ok {
			continue
		}
		if owners[n] == nil {
			owners[n] = types{}
		}
		if t := r.RR.Header().Rrtype; owners[n][t].RR == nil {
			owners[n][t] = r
		}
	}
	return owners
}

func ownerOf(r zonefile.Record) (name.Name, bool) {
	n, err := name.Parse(r.RR.Header().Name)
	return n, err == nil
}

func (t types) has(rrtype uint16) bool { return t[rrtype].RR != nil }

// keeps reports whether an external record of that owner and type is visible.
func (m *merge) keeps(n name.Name, t uint16) bool {
	if m.signed && signing(t) {
		return false
	}
	if n == m.Origin {
		return !m.givenAtApex(t)
	}
	if m.internal[n] != nil || m.isHidden(n) {
		return false
	}
	for up := n; ; {
		// What lay below a hidden cut was glue: it does not become data.
		if up != m.Origin && m.external[up].has(dns.TypeNS) && m.isHidden(up) {
			return false
		}
		if up != n && m.replacesBelow(up) {
			return false
		}
		if up == m.Origin || up == name.Root {
			return true
		}
		up = up.Parent()
	}
}

// replacesBelow reports whether the internal records at n hide all external
// names below it.
func (m *merge) replacesBelow(n name.Name) bool {
	own := m.internal[n]
	return own.has(dns.TypeDNAME) || n != m.Origin && own.has(dns.TypeNS)
}

// givenAtApex reports whether the internal records replace type t at the apex.
func (m *merge) givenAtApex(t uint16) bool {
	own := m.internal[m.Origin]
	group := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB}
	if slices.Contains(group, t) {
		return slices.ContainsFunc(group, own.has)
	}
	return own.has(t)
}

func (m *merge) isHidden(n name.Name) bool {
	if n == m.Origin {
		return false
	}
	return slices.Contains(m.Hide, n) || slices.ContainsFunc(m.HideTree, func(tree name.Name) bool {
		return tree != m.Origin && n.IsBelow(tree)
	})
}

func (m *merge) warn(code, message, hint string) {
	m.problems = append(m.problems, zonefile.Problem{File: m.File, Severity: zonefile.WARN, Code: code, Message: message, Hint: hint})
}

// hidden warns of hide entries that hide nothing, or that a wildcard undoes.
func (m *merge) hidden() {
	for _, n := range m.Hide {
		switch {
		case n == m.Origin:
			m.warn("hide-apex", fmt.Sprintf("hide %s: the zone itself cannot be hidden", n), "remove the entry")
		case m.external[n] == nil:
			m.warn("hide-nothing", fmt.Sprintf("hide %s: no such name in the view below", n), "remove the entry, or look at its spelling")
		default:
			m.uncovered(n)
		}
	}
	for _, n := range m.HideTree {
		found := false
		for e := range m.external {
			found = found || e.IsBelow(n)
		}
		switch {
		case n == m.Origin:
			m.warn("hide-apex", fmt.Sprintf("hide_tree %s: the zone itself cannot be hidden", n), "remove the entry")
		case !found:
			m.warn("hide-nothing", fmt.Sprintf("hide_tree %s: no such name in the view below", n), "remove the entry, or look at its spelling")
		default:
			m.uncovered(n)
		}
	}
}

// uncovered warns where a hidden name is answered by a wildcard instead (RFC
// 4592, Section 2.2.1: the closest encloser's).
func (m *merge) uncovered(n name.Name) {
	if n.IsWildcard() || m.internal[n] != nil {
		return
	}
	w, ok := n.Parent().Child("*")
	if ok && (m.internal[w] != nil || m.external[w] != nil && !m.isHidden(w)) {
		m.warn("hide-wildcard", fmt.Sprintf("hide %s: the wildcard %s answers for it instead", n, w), "hide the wildcard too, or give the name a record of its own")
	}
}

// collide refuses internal data at or below an inherited delegation and below
// an inherited DNAME.
func (m *merge) collide() {
	told := map[name.Name]bool{}
	for _, r := range m.Internal {
		n, ok := ownerOf(r)
		if !ok || !n.IsBelow(m.Origin) || n == m.Origin || told[n] {
			continue
		}
		if problem, ok := m.collision(n, r); ok {
			told[n] = true
			m.problems = append(m.problems, problem)
		}
	}
}

// collision looks from n upwards for what the external zone gave away there.
// The highest place rules: a cut that the internal records restate, or that
// is hidden, settles whatever lies below it.
func (m *merge) collision(n name.Name, r zonefile.Record) (zonefile.Problem, bool) {
	var found zonefile.Problem
	hit := false
	for up := n; ; up = up.Parent() {
		out := m.external[up]
		switch {
		case m.replacesBelow(up), m.isHidden(up) && out.has(dns.TypeNS):
			hit = false
		case m.isHidden(up):
		case up != m.Origin && out.has(dns.TypeNS):
			hit = true
			found = r.At(zonefile.ERR, "below-cut", fmt.Sprintf("%s stands at or below %s, which the view below delegates", n, up),
				fmt.Sprintf("restate the NS of %s in this file, or hide it", up))
		case up != n && out.has(dns.TypeDNAME) && (up == m.Origin || m.internal[up] == nil):
			hit = true
			found = r.At(zonefile.ERR, "below-dname", fmt.Sprintf("%s stands below the DNAME that %s has in the view below", n, up),
				fmt.Sprintf("give %s records of its own in this file, or hide it", up))
		}
		if up == m.Origin || up == name.Root {
			return found, hit
		}
	}
}

// wildcards warns of inherited wildcards that no longer cover what they did:
// an internal a.dept makes dept exist, so *.example is not asked for x.dept
// (RFC 4592, Section 2.2.1).
func (m *merge) wildcards(kept map[name.Name]bool) {
	exists := map[name.Name]bool{m.Origin: true}
	for n := range m.external {
		for ; n.IsBelow(m.Origin) && !exists[n]; n = n.Parent() {
			exists[n] = true
		}
	}
	lost := map[name.Name][]string{}
	for n := range m.internal {
		if !n.IsBelow(m.Origin) {
			continue
		}
		for n != m.Origin {
			n = n.Parent()
			if exists[n] || m.internal[n] != nil {
				continue
			}
			exists[n] = true
			if w, ok := n.Parent().Child("*"); ok && kept[w] {
				lost[w] = append(lost[w], n.String())
			}
		}
	}
	for _, w := range slices.SortedFunc(maps.Keys(lost), name.Name.Compare) {
		slices.Sort(lost[w])
		m.warn("wildcard-shadowed", fmt.Sprintf("%s no longer covers the names below %s, which this file makes exist", w, strings.Join(lost[w], ", ")), "add a wildcard there if they are needed")
	}
}
