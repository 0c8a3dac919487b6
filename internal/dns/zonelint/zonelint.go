// Package zonelint judges the records of one zone: what makes it unservable
// blocks it, what is merely wrong is named. Codes are stable reason words.
//
// It is pure and sees one zone only: what needs the resolver or the outside
// world is not its business. RFC 1034, Section 3.6.2; RFC 1912; RFC 2181,
// Section 10; RFC 6672, Section 2.4; RFC 7208, Section 3.2;
// RFC 6376, Section 3.6; RFC 9989.
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
	File     string // for problems of the zone as a whole
	Exposure Exposure

	// Notes asks for what is worth knowing and nothing to put right. A server
	// leaves them out, so that a sound zone has no problems to its name; who
	// checks a file wants them.
	Notes bool
}

// Exposure is who sees a zone.
type Exposure int

// The zero value judges only what is wrong wherever the zone is seen.
const (
	Unknown Exposure = iota
	Public           // the world
	Inside           // our own clients only
)

// Check returns what is wrong with the zone of that name. The records are
// normalised and, for a view with an overlay, materialised.
func Check(records []zonefile.Record, origin name.Name, c Context) []zonefile.Problem {
	l := &lint{origin: origin, file: c.File, exposure: c.Exposure, notes: c.Notes, codes: byCode(), count: map[string]int{}, kept: map[string]zonefile.Record{}, private: map[string]zonefile.Record{}, public: map[string]bool{}}
	if origin != name.Root {
		l.double, _ = origin.Replace(name.Root, origin)
	}
	l.example = reserved(origin)
	l.expect(records)
	for i := range records {
		l.take(records, i)
	}
	l.apex()
	for i := range l.owners {
		o := &l.owners[i]
		l.exclusive(o)
		l.below(o)
		l.ttls(o)
		l.cut(o)
		l.owner(o)
		l.digests(o)
		l.addresses(o)
		l.targets(o)
		l.mail(o)
	}
	l.mixed()
	l.summary()
	slices.SortStableFunc(l.problems, func(a, b zonefile.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Col-b.Col, strings.Compare(a.Code, b.Code))
	})
	return l.problems
}

// lint is the records by owner, and what was found.
type lint struct {
	origin name.Name
	file   string
	index
	double   name.Name // the zone's name twice; "" where that is no name
	problems []zonefile.Problem

	exposure Exposure
	notes    bool
	example  bool // the zone is an example, see reserved
	codes    map[string]Code
	count    map[string]int             // of each code
	kept     map[string]zonefile.Record // of each code, the first that was not told
	private  map[string]zonefile.Record // the first of each file, see mixed
	public   map[string]bool
	cuts     bool               // there are delegations
	dnames   bool               // there are DNAMEs
	servers  map[name.Name]bool // what NS records name, see serves
	inner    map[name.Name]bool // names above others, see exists
}

// maxPerCode is how many problems of one code are told, but for those that
// block.
const maxPerCode = 50

// full counts a problem whose code has been told often enough, and reports
// whether it has: then there is no need for its words.
func (l *lint) full(code string) bool {
	if l.count[code] < maxPerCode || l.codes[code].Blocks {
		return false
	}
	l.count[code]++
	return true
}

// report tells a problem; severity and fix are those of the code.
func (l *lint) report(r zonefile.Record, code, format string, args ...any) {
	c := l.codes[code]
	if c.Severity == zonefile.NOTE && !l.notes {
		return
	}
	if l.count[code]++; !c.Blocks && l.count[code] > maxPerCode {
		if l.count[code] == maxPerCode+1 {
			l.kept[code] = r
		}
		return
	}
	p := r.At(c.Severity, code, fmt.Sprintf(format, args...), c.Fix)
	p.Tolerable = c.Severity == zonefile.ERR && !c.Blocks
	l.problems = append(l.problems, p)
}

// summary says what report kept back, at the place of the first of them.
func (l *lint) summary() {
	for code, n := range l.count {
		if c := l.codes[code]; n > maxPerCode && !c.Blocks {
			p := l.kept[code].At(c.Severity, code, fmt.Sprintf("%d more of these from here on: %s", n-maxPerCode, c.What), c.Fix)
			p.Tolerable = c.Severity == zonefile.ERR
			l.problems = append(l.problems, p)
		}
	}
}

func (l *lint) take(records []zonefile.Record, i int) {
	r := &records[i]
	h := r.RR.Header()
	n, err := r.Name()
	if err != nil {
		l.report(*r, "outside", "%v", err)
		return
	}
	switch {
	case (l.last == nil || l.last.name != n) && !n.IsBelow(l.origin):
		l.report(*r, "outside", "%s is outside the zone %s", n, l.origin)
		return
	case h.Class != dns.ClassINET:
		l.report(*r, "bad-class", "class is not IN")
		return
	case h.Rrtype == dns.TypeSOA && n != l.origin:
		l.report(*r, "soa-below", "SOA at %s, which is not the zone %s", n, l.origin)
		return
	}
	if o, added := l.add(n, records, i); !added {
		l.report(*r, "record-twice", "%s has this %s already", o.name, dns.Type(h.Rrtype))
	}
	l.cuts = l.cuts || h.Rrtype == dns.TypeNS && n != l.origin
	l.dnames = l.dnames || h.Rrtype == dns.TypeDNAME
}

func (l *lint) apex() {
	top := l.find(l.origin)
	whole := zonefile.Record{File: l.file}
	if top == nil {
		top = &owner{name: l.origin}
	}
	switch soas := top.of(dns.TypeSOA); {
	case len(l.owners) == 0:
		l.report(whole, "soa-missing", "zone %s has no SOA: the file holds no record of it", l.origin)
	case len(soas) == 0:
		l.report(whole, "soa-missing", "zone %s has no SOA", l.origin)
	case len(soas) > 1:
		l.report(soas[1], "soa-several", "zone %s has %d SOA records", l.origin, len(soas))
	}
	if len(top.of(dns.TypeNS)) == 0 {
		l.report(whole, "ns-missing", "zone %s has no NS at its apex", l.origin)
	}
	for _, r := range top.of(dns.TypeDS) {
		l.report(r, "ds-apex", "DS at the zone's own apex")
		break
	}
	if len(top.of(dns.TypeNS)) == 1 {
		l.report(top.of(dns.TypeNS)[0], "ns-single", "zone %s has one name server", l.origin)
	}
	for _, r := range top.of(dns.TypeSOA) {
		l.soa(r)
	}
}

// exclusive holds what may not stand together at one owner.
func (l *lint) exclusive(o *owner) {
	cnames, dnames := o.of(dns.TypeCNAME), o.of(dns.TypeDNAME)
	if len(cnames) > 1 {
		l.report(cnames[1], "cname-several", "%s has several CNAMEs", o.name)
	}
	if len(dnames) > 1 {
		l.report(dnames[1], "dname-several", "%s has several DNAMEs", o.name)
	}
	if len(cnames) > 0 {
		if other, ok := o.besideCNAME(); ok && o.name == l.origin {
			l.report(cnames[0], "cname-other", "%s is the zone itself, which has a SOA and NS: it cannot be a CNAME, but may have A and AAAA, or an HTTPS of priority 0", o.name)
		} else if ok {
			l.report(other, "cname-other", "%s has a CNAME and %s", o.name, dns.Type(other.RR.Header().Rrtype))
		}
	}
	if len(dnames) > 0 && len(o.of(dns.TypeNS)) > 0 && o.name != l.origin {
		l.report(dnames[0], "dname-ns", "%s has a DNAME and NS", o.name)
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
	if o.name == l.origin || !l.dnames {
		return
	}
	for n := o.name; n != l.origin; {
		n = n.Parent()
		if up := l.find(n); up != nil && len(up.of(dns.TypeDNAME)) > 0 {
			l.report(o.first(), "dname-below", "%s stands below the DNAME at %s and is never seen", o.name, n)
			return
		}
	}
}

func (l *lint) ttls(o *owner) {
	for _, set := range o.sets {
		if set.rrtype == dns.TypeRRSIG {
			continue
		}
		if ttl := set.records[0].RR.Header().Ttl; ttl > 7*86400 {
			l.report(set.records[0], "ttl-large", "%s %s has a TTL of %d s, %d days", o.name, dns.Type(set.rrtype), ttl, ttl/86400)
		}
		for _, r := range set.records[1:] {
			if a, b := set.records[0].RR.Header().Ttl, r.RR.Header().Ttl; a != b {
				l.report(r, "ttl-mixed", "%s %s has TTLs %d and %d; %d is used", o.name, dns.Type(set.rrtype), a, b, min(a, b))
				break
			}
		}
	}
}

// Unfit returns what makes a zone unservable of what can be wrong with some of
// its owners: each such code is about the records of one owner alone. It takes
// all records of these owners, and of the apex.
func Unfit(records []zonefile.Record, origin name.Name, c Context) []zonefile.Problem {
	return slices.DeleteFunc(Check(records, origin, c), func(p zonefile.Problem) bool { return !p.Blocks() })
}
