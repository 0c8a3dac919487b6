// Package zonelint judges the records of one zone: what makes it unservable
// blocks it, what is merely wrong is named. Codes are stable reason words.
//
// It is pure and sees one zone only: what needs the resolver or the outside
// world is not its business. RFC 1034, Section 3.6.2; RFC 1912; RFC 2181,
// Section 10; RFC 6672, Section 2.4; RFC 7208, Section 3.2.
package zonelint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// Context is what is known about a zone besides its records.
type Context struct {
	File string // for problems of the zone as a whole
}

// Check returns what is wrong with the zone of that name. The records are
// normalised and, for a view with an overlay, materialised.
func Check(records []zonefile.Record, origin name.Name, c Context) []zonefile.Problem {
	l := &lint{origin: origin, file: c.File, owners: map[name.Name]*owner{}}
	if origin != name.Root {
		l.double, _ = origin.Replace(name.Root, origin)
	}
	for _, r := range records {
		l.take(r)
	}
	l.apex()
	for _, o := range l.order {
		l.exclusive(o)
		l.below(o)
		l.ttls(o)
		l.texts(o)
		l.targets(o)
	}
	slices.SortStableFunc(l.problems, func(a, b zonefile.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Col-b.Col, strings.Compare(a.Code, b.Code))
	})
	return l.problems
}

// maxCompared bounds a search for equal records, which takes the square of
// their number.
const maxCompared = 100

// lint is the records by owner, and what was found.
type lint struct {
	origin   name.Name
	file     string
	owners   map[name.Name]*owner
	order    []*owner  // as the owners came
	last     *owner    // of the record before
	double   name.Name // the zone's name twice; "" where that is no name
	problems []zonefile.Problem
}

type owner struct {
	name  name.Name
	first zonefile.Record
	sets  []set // as the types came
}

// set is the records of one type.
type set struct {
	rrtype  uint16
	records []zonefile.Record
}

// of returns the owner's records of that type.
func (o *owner) of(rrtype uint16) []zonefile.Record {
	for i := range o.sets {
		if o.sets[i].rrtype == rrtype {
			return o.sets[i].records
		}
	}
	return nil
}

func (l *lint) report(r zonefile.Record, severity, code, message, hint string) {
	l.problems = append(l.problems, r.At(severity, code, message, hint))
}

// tolerate reports an ERR the zone can be served with.
func (l *lint) tolerate(r zonefile.Record, code, message, hint string) {
	p := r.At(zonefile.ERR, code, message, hint)
	p.Tolerable = true
	l.problems = append(l.problems, p)
}

func (l *lint) take(r zonefile.Record) {
	h := r.RR.Header()
	n, err := name.Parse(h.Name)
	if err != nil {
		l.report(r, zonefile.ERR, "bad-name", err.Error(), "")
		return
	}
	switch {
	case !n.IsBelow(l.origin):
		l.report(r, zonefile.ERR, "outside", fmt.Sprintf("%s is outside the zone %s", n, l.origin), "a name without its final dot is relative to $ORIGIN")
		return
	case h.Class != dns.ClassINET:
		l.report(r, zonefile.ERR, "bad-class", "class is not IN", "")
		return
	case h.Rrtype == dns.TypeSOA && n != l.origin:
		l.report(r, zonefile.ERR, "soa-below", fmt.Sprintf("SOA at %s, which is not the zone %s", n, l.origin), "is this the file of another zone?")
		return
	}
	o := l.last
	if o == nil || o.name != n {
		if o = l.owners[n]; o == nil {
			o = &owner{name: n, first: r}
			l.owners[n] = o
			l.order = append(l.order, o)
		}
		l.last = o
	}
	o.add(r)
}

// add takes a record of this owner. Where the number of records matters, the
// same one twice is one (RFC 2181, Section 5).
func (o *owner) add(r zonefile.Record) {
	t := r.RR.Header().Rrtype
	i := slices.IndexFunc(o.sets, func(s set) bool { return s.rrtype == t })
	if i < 0 {
		o.sets = append(o.sets, set{t, []zonefile.Record{r}})
		return
	}
	s := &o.sets[i]
	switch t {
	case dns.TypeSOA, dns.TypeCNAME, dns.TypeDNAME, dns.TypeTXT:
		if len(s.records) < maxCompared && slices.ContainsFunc(s.records, func(other zonefile.Record) bool { return dns.IsDuplicate(other.RR, r.RR) }) {
			return
		}
	}
	s.records = append(s.records, r)
}

func (l *lint) apex() {
	top := l.owners[l.origin]
	whole := zonefile.Record{File: l.file}
	if top == nil {
		top = &owner{name: l.origin}
	}
	switch soas := top.of(dns.TypeSOA); {
	case len(soas) == 0:
		l.report(whole, zonefile.ERR, "soa-missing", fmt.Sprintf("zone %s has no SOA", l.origin), "@ SOA ns1 hostmaster 1 2h 1h 14d 5m")
	case len(soas) > 1:
		l.report(soas[1], zonefile.ERR, "soa-several", fmt.Sprintf("zone %s has %d SOA records", l.origin, len(soas)), "")
	}
	if len(top.of(dns.TypeNS)) == 0 {
		l.report(whole, zonefile.ERR, "ns-missing", fmt.Sprintf("zone %s has no NS at its apex", l.origin), "@ NS ns1")
	}
	for _, r := range top.of(dns.TypeDS) {
		l.tolerate(r, "ds-apex", "DS at the zone's own apex", "a DS belongs into the parent zone")
		break
	}
}

// exclusive holds what may not stand together at one owner.
func (l *lint) exclusive(o *owner) {
	cnames, dnames := o.of(dns.TypeCNAME), o.of(dns.TypeDNAME)
	if len(cnames) > 1 {
		l.report(cnames[1], zonefile.ERR, "cname-several", fmt.Sprintf("%s has several CNAMEs", o.name), "RFC 2181, Section 10.1")
	}
	if len(dnames) > 1 {
		l.report(dnames[1], zonefile.ERR, "dname-several", fmt.Sprintf("%s has several DNAMEs", o.name), "RFC 6672, Section 2.4")
	}
	if len(cnames) > 0 {
		if other, ok := o.besideCNAME(); ok {
			l.report(other, zonefile.ERR, "cname-other", fmt.Sprintf("%s has a CNAME and %s", o.name, dns.Type(other.RR.Header().Rrtype)), "RFC 1034, Section 3.6.2: a CNAME stands alone")
		}
	}
	if len(dnames) > 0 && len(o.of(dns.TypeNS)) > 0 && o.name != l.origin {
		l.tolerate(dnames[0], "dname-ns", fmt.Sprintf("%s has a DNAME and NS", o.name), "RFC 6672, Section 2.3: only the apex may have both")
	}
}

// besideCNAME returns the first record that may not stand beside a CNAME.
// What DNSSEC adds may (RFC 2181, Section 10.1; RFC 4034, Section 4).
func (o *owner) besideCNAME() (zonefile.Record, bool) {
	var found zonefile.Record
	ok := false
	for _, set := range o.sets {
		switch set.rrtype {
		case dns.TypeCNAME, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeSIG, dns.TypeNXT, dns.TypeKEY:
			continue
		}
		if first := set.records[0]; !ok || first.File == found.File && first.Line < found.Line {
			found, ok = first, true
		}
	}
	return found, ok
}

// below finds data that a DNAME above hides (RFC 6672, Section 2.4).
func (l *lint) below(o *owner) {
	if o.name == l.origin {
		return
	}
	for n := o.name; n != l.origin; {
		n = n.Parent()
		if up := l.owners[n]; up != nil && len(up.of(dns.TypeDNAME)) > 0 {
			l.tolerate(o.first, "dname-below", fmt.Sprintf("%s stands below the DNAME at %s and is never seen", o.name, n), "")
			return
		}
	}
}

func (l *lint) ttls(o *owner) {
	for _, set := range o.sets {
		if set.rrtype == dns.TypeRRSIG {
			continue
		}
		for _, r := range set.records[1:] {
			if a, b := set.records[0].RR.Header().Ttl, r.RR.Header().Ttl; a != b {
				l.report(r, zonefile.WARN, "ttl-mixed", fmt.Sprintf("%s %s has TTLs %d and %d; %d is used", o.name, dns.Type(set.rrtype), a, b, min(a, b)), "RFC 2181, Section 5.2")
				break
			}
		}
	}
}
