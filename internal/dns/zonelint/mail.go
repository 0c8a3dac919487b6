package zonelint

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// texts looks at what mail publishes in TXT records.
func (l *lint) texts(o *owner) {
	spf := 0
	for _, r := range o.of(dns.TypeTXT) {
		txt, ok := r.RR.(*dns.TXT)
		if !ok {
			continue
		}
		text := strings.ToLower(strings.Join(txt.Txt, ""))
		if text != "v=spf1" && !strings.HasPrefix(text, "v=spf1 ") {
			continue
		}
		if spf++; spf == 2 {
			// RFC 7208, Section 3.2 and 4.5: more than one is a permanent error.
			l.report(r, zonefile.WARN, "spf-several", fmt.Sprintf("%s has more than one SPF record", o.name), "receivers take that for an error and no policy: merge them")
		}
	}
}

// targets looks at the names that records of this owner point to.
func (l *lint) targets(o *owner) {
	l.twice(o)
	for _, r := range o.of(dns.TypeMX) {
		if mx, ok := r.RR.(*dns.MX); ok {
			l.host(r, "mx", mx.Mx, l.origin)
		}
	}
	for _, r := range o.of(dns.TypeNS) {
		if ns, ok := r.RR.(*dns.NS); ok {
			l.host(r, "ns", ns.Ns, o.name)
		}
	}
}

// twice finds the forgotten final dot: the owner or the target ends in the
// origin twice.
func (l *lint) twice(o *owner) {
	if l.doubled(o.name) {
		l.report(o.first, zonefile.WARN, "name-twice", fmt.Sprintf("%s ends in the zone's name twice", o.name), "a final dot is missing?")
	}
	for _, set := range o.sets {
		switch set.rrtype {
		case dns.TypeNS, dns.TypeCNAME, dns.TypeMX, dns.TypeSRV, dns.TypePTR, dns.TypeDNAME:
		default:
			continue
		}
		for _, r := range set.records {
			if n, err := name.Parse(target(r.RR)); err == nil && l.doubled(n) {
				l.report(r, zonefile.WARN, "name-twice", fmt.Sprintf("%s ends in the zone's name twice", n), "a final dot is missing?")
			}
		}
	}
}

func (l *lint) doubled(n name.Name) bool { return n.IsBelow(l.double) }

func target(rr dns.RR) string {
	switch r := rr.(type) {
	case *dns.NS:
		return r.Ns
	case *dns.CNAME:
		return r.Target
	case *dns.MX:
		return r.Mx
	case *dns.SRV:
		return r.Target
	case *dns.PTR:
		return r.Ptr
	case *dns.DNAME:
		return r.Target
	}
	return ""
}

// host looks at the name an MX or NS points to: it must be a name with an
// address, not a CNAME (RFC 2181, Section 10.3) and not an address. cut is
// where an NS stands: its own servers need their glue here.
func (l *lint) host(r zonefile.Record, kind, text string, cut name.Name) {
	n, err := name.Parse(text)
	if err != nil || n == name.Root || !n.IsBelow(l.origin) {
		return
	}
	if isAddress(n, l.origin) {
		l.report(r, zonefile.WARN, kind+"-address", fmt.Sprintf("%s is an address, not a name", n), "give the host a name with an A record")
		return
	}
	o := l.owners[n]
	switch {
	case o != nil && len(o.of(dns.TypeCNAME)) > 0:
		l.report(r, zonefile.WARN, kind+"-cname", fmt.Sprintf("%s is a CNAME", n), "RFC 2181, Section 10.3: point to the canonical name")
	case o != nil && (len(o.of(dns.TypeA)) > 0 || len(o.of(dns.TypeAAAA)) > 0):
	case l.elsewhere(n, cut):
	default:
		l.tolerate(r, kind+"-lame", fmt.Sprintf("%s has no address in this zone", n), "add an A or AAAA record")
	}
}

// elsewhere reports whether an address for n may come from a wildcard, a
// DNAME or, but for cut, another zone.
func (l *lint) elsewhere(n, cut name.Name) bool {
	if o := l.owners[n]; o != nil && n != l.origin && n != cut && len(o.of(dns.TypeNS)) > 0 {
		return true
	}
	for up := n; up != l.origin; {
		up = up.Parent()
		if o := l.owners[up]; o != nil && (len(o.of(dns.TypeDNAME)) > 0 || up != l.origin && up != cut && len(o.of(dns.TypeNS)) > 0) {
			return true
		}
		if w, ok := up.Child("*"); ok && l.owners[w] != nil {
			return true
		}
	}
	return false
}

// isAddress reports whether the labels before the origin are four numbers.
func isAddress(n, origin name.Name) bool {
	count := 0
	for ; n != origin && n != name.Root; n = n.Parent() {
		label := n.First()
		if len(label) > 3 || strings.Trim(label, "0123456789") != "" {
			return false
		}
		count++
	}
	return count == 4
}
