package zonelint

import (
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// targets looks at the names that records of this owner point to.
func (l *lint) targets(o *owner) {
	l.twice(o)
	l.mailHosts(o)
	for _, r := range o.of(dns.TypeNS) {
		if ns, ok := r.RR.(*dns.NS); ok {
			l.host(r, "ns", ns.Ns, o.name)
			l.hostChars(r, "ns-chars", ns.Ns)
		}
	}
	for _, r := range o.of(dns.TypeSRV) {
		if srv, ok := r.RR.(*dns.SRV); ok {
			l.host(r, "srv", srv.Target, l.origin)
		}
	}
	for _, t := range []uint16{dns.TypeSVCB, dns.TypeHTTPS} {
		for _, r := range o.of(t) {
			l.service(r)
		}
	}
	for _, r := range o.of(dns.TypeCNAME) {
		c, ok := r.RR.(*dns.CNAME)
		if !ok {
			continue
		}
		if n, ok := l.inside(c.Target); ok && !l.exists(n) && !l.elsewhere(n, l.origin) && !l.doubled(n) {
			l.report(r, "cname-dangling", "%s does not exist in this zone%s", n, l.meant(n))
		}
	}
}

func (l *lint) mailHosts(o *owner) {
	records := o.of(dns.TypeMX)
	if len(records) == 0 {
		return
	}
	seen := map[string]bool{}
	for _, r := range records {
		mx, ok := r.RR.(*dns.MX)
		if !ok {
			continue
		}
		if mx.Mx == "." {
			switch {
			case len(records) > 1:
				l.report(r, "mx-null-mixed", "%s has a null MX and %d others", o.name, len(records)-1)
			case mx.Preference != 0:
				l.report(r, "mx-null-preference", "the null MX of %s has preference %d", o.name, mx.Preference)
			}
			continue
		}
		if seen[mx.Mx] {
			l.report(r, "mx-twice", "%s names %s with two preferences", o.name, mx.Mx)
		}
		seen[mx.Mx] = true
		l.host(r, "mx", mx.Mx, l.origin)
		l.hostChars(r, "mx-chars", mx.Mx)
	}
}

// service looks at SVCB and HTTPS (RFC 9460, Section 2.4.2).
func (l *lint) service(r zonefile.Record) {
	s, ok := r.RR.(*dns.SVCB)
	if h, is := r.RR.(*dns.HTTPS); is {
		s, ok = &h.SVCB, true
	}
	if !ok {
		return
	}
	if s.Priority == 0 && len(s.Value) > 0 {
		l.report(r, "svcb-alias-params", "alias mode, which priority 0 is, with %d parameters", len(s.Value))
	}
	if n, ok := l.inside(s.Target); ok && s.Target != "." && !l.exists(n) && !l.elsewhere(n, l.origin) {
		l.report(r, "svcb-lame", "%s does not exist in this zone%s", n, l.meant(n))
	}
}

// inside returns the name if it lies in this zone.
func (l *lint) inside(text string) (name.Name, bool) {
	n, err := name.Parse(text)
	return n, err == nil && n.IsBelow(l.origin)
}

// exists reports whether the name has records or stands above some.
func (l *lint) exists(n name.Name) bool {
	if l.find(n) != nil {
		return true
	}
	if l.inner == nil {
		l.inner = map[name.Name]bool{}
		for i := range l.owners {
			for up := l.owners[i].name; up != l.origin && !l.inner[up]; {
				up = up.Parent()
				l.inner[up] = true
			}
		}
	}
	return l.inner[n]
}

// twice finds the forgotten final dot: the owner or the target ends in the
// origin twice.
func (l *lint) twice(o *owner) {
	if l.doubled(o.name) {
		l.report(o.first(), "name-twice", "%s ends in the zone's name twice", o.name)
	}
	for _, set := range o.sets {
		if zone.Target(set.records[0].RR) == "" {
			continue
		}
		for _, r := range set.records {
			if n, err := name.Parse(zone.Target(r.RR)); err == nil && l.doubled(n) {
				l.report(r, "name-twice", "%s ends in the zone's name twice", n)
			}
		}
	}
}

func (l *lint) doubled(n name.Name) bool { return l.double != "" && n.IsBelow(l.double) }

// host looks at the name an MX, NS or SRV points to: it must be a name with an
// address, not a CNAME (RFC 2181, Section 10.3) and not an address. cut is
// where an NS stands: its own servers need their glue here.
func (l *lint) host(r zonefile.Record, kind, text string, cut name.Name) {
	n, err := name.Parse(text)
	if err != nil || n == name.Root {
		return
	}
	if isAddress(n, l.origin) || isAddress(n, name.Root) {
		l.report(r, kind+"-address", "%s is an address, not a name", n)
		return
	}
	if !n.IsBelow(l.origin) {
		return
	}
	o := l.find(n)
	switch {
	case o != nil && len(o.of(dns.TypeCNAME)) > 0:
		l.report(r, kind+"-cname", "%s is a CNAME", n)
	case o != nil && (len(o.of(dns.TypeA)) > 0 || len(o.of(dns.TypeAAAA)) > 0):
	case l.elsewhere(n, cut), l.doubled(n): // the latter is told as such
	default:
		l.report(r, kind+"-lame", "%s has no address in this zone%s", n, l.meant(n))
	}
}

// meant guesses that a target was meant to lie elsewhere and lacks its final
// dot: it has several labels before the zone's name, and none of them is known
// here.
func (l *lint) meant(n name.Name) string {
	if n == l.origin || n.Parent() == l.origin || l.exists(n) || l.exists(n.Parent()) {
		return ""
	}
	rest := strings.TrimSuffix(n.String(), l.origin.String())
	return "; is " + strings.TrimSuffix(rest, ".") + ". meant, with a final dot?"
}

// elsewhere reports whether an address for n may come from a wildcard, a
// DNAME or, but for cut, another zone.
func (l *lint) elsewhere(n, cut name.Name) bool {
	if o := l.find(n); o != nil && n != l.origin && n != cut && len(o.of(dns.TypeNS)) > 0 {
		return true
	}
	for up := n; up != l.origin; {
		up = up.Parent()
		if o := l.find(up); o != nil && (len(o.of(dns.TypeDNAME)) > 0 || up != l.origin && up != cut && len(o.of(dns.TypeNS)) > 0) {
			return true
		}
		if w, ok := up.Child("*"); ok && l.find(w) != nil {
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
