package answer

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// oracle is the second opinion: RFC 1034, Section 4.3.2 taken literally, label
// by label over plain records. It shares nothing with the code it judges.
type oracle struct {
	zones map[string]records // by origin, in lower case
}

type records map[string][]dns.RR // by owner, in lower case

// opinion is what a reply must hold.
type opinion struct {
	rcode             int
	aa                bool
	left              bool
	grows             bool // the last step was a DNAME that leads below itself
	do                bool // asked with DO
	answer, authority []string
	glue              []string // must be there, or TC
	extra             []string // may be there
}

func newOracle(zones map[string][]dns.RR) *oracle {
	o := &oracle{zones: map[string]records{}}
	for origin, rrs := range zones {
		r := records{}
		for _, rr := range rrs {
			owner := strings.ToLower(rr.Header().Name)
			// RFC 5155, Section 7.2.8: these make no name.
			if sig, ok := rr.(*dns.RRSIG); rr.Header().Rrtype == dns.TypeNSEC3 || ok && sig.TypeCovered == dns.TypeNSEC3 {
				owner = apart
			}
			r[owner] = append(r[owner], rr)
		}
		o.zones[strings.ToLower(origin)] = r
	}
	return o
}

func (o *oracle) zoneOf(qname string, qtype uint16) (string, bool) {
	best, found := "", false
	for origin := range o.zones {
		if !dns.IsSubDomain(origin, qname) || found && len(origin) < len(best) {
			continue
		}
		if qtype == dns.TypeDS && origin == qname && o.hasParent(origin) {
			continue
		}
		best, found = origin, true
	}
	return best, found
}

func (o *oracle) hasParent(origin string) bool {
	for other := range o.zones {
		if other != origin && dns.IsSubDomain(other, origin) {
			return true
		}
	}
	return false
}

func (r records) exists(n string) bool {
	for owner := range r {
		if owner == n || dns.IsSubDomain(n, owner) {
			return true
		}
	}
	return false
}

func (r records) get(n string, t uint16) []dns.RR {
	var out []dns.RR
	for _, rr := range r[n] {
		if rr.Header().Rrtype == t {
			out = append(out, rr)
		}
	}
	return out
}

func (o *oracle) ask(qname string, qtype uint16, do bool) opinion {
	op := opinion{aa: true, do: do}
	seen := []string{}
	for name := strings.ToLower(qname); ; {
		origin, ok := o.zoneOf(name, qtype)
		if !ok || len(seen) > maxHops {
			op.left = true
			return op
		}
		op.grows = false
		next := o.zones[origin].ask(&op, origin, name, qtype, len(seen) == 0)
		if next == "" || qtype == dns.TypeCNAME || qtype == dns.TypeANY {
			return op
		}
		if to, ok := o.zoneOf(next, qtype); op.grows && ok && to == origin {
			return op
		}
		if seen = append(seen, name); slices.Contains(seen, next) {
			return op
		}
		name = next
	}
}

// ask walks down from origin to name; it returns where a chain goes on.
func (r records) ask(op *opinion, origin, name string, qtype uint16, first bool) string {
	labels := dns.SplitDomainName(name)
	at, depth := origin, dns.CountLabel(origin)
	for {
		cut := at != origin && len(r.get(at, dns.TypeNS)) > 0
		if cut && (at != name || qtype != dns.TypeDS) {
			r.refer(op, origin, at, first)
			return ""
		}
		if at == name {
			return r.match(op, origin, name, at, r[at], qtype)
		}
		if d := r.get(at, dns.TypeDNAME); len(d) > 0 {
			return r.dname(op, d[0].(*dns.DNAME), at, name)
		}
		child := strings.ToLower(dns.Fqdn(strings.Join(labels[len(labels)-depth-1:], ".")))
		if r.exists(child) {
			at, depth = child, depth+1
			continue
		}
		star := "*." + strings.TrimPrefix(at, ".")
		if r.exists(star) {
			r.denyCloser(op, origin, name, at)
			return r.match(op, origin, name, star, r[star], qtype)
		}
		op.rcode = dns.RcodeNameError
		op.authority = append(op.authority, r.negative(op, origin)...)
		r.denyName(op, origin, name, at)
		return ""
	}
}

func (r records) negative(op *opinion, origin string) []string {
	soa := dns.Copy(r.get(origin, dns.TypeSOA)[0]).(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	out := []string{text(soa, origin)}
	if op.do {
		for _, sig := range r.signatures(origin, dns.TypeSOA) {
			sig = dns.Copy(sig)
			sig.Header().Ttl = soa.Hdr.Ttl
			out = append(out, text(sig, origin))
		}
	}
	return out
}

func (r records) match(op *opinion, origin, name, at string, set []dns.RR, qtype uint16) string {
	var hits []dns.RR
	for _, rr := range set {
		if rr.Header().Rrtype == qtype {
			hits = append(hits, rr)
		}
	}
	if qtype == dns.TypeANY && len(set) > 0 {
		// RFC 8482 leaves the choice open: the smallest type number here, of what
		// signing added last.
		rank := func(rr dns.RR) int {
			switch t := rr.Header().Rrtype; t {
			case dns.TypeNSEC:
				return 1 << 16
			case dns.TypeRRSIG:
				return 1 << 17
			default:
				return int(t)
			}
		}
		least := slices.MinFunc(set, func(a, b dns.RR) int { return rank(a) - rank(b) })
		return r.match(op, origin, name, at, slices.DeleteFunc(slices.Clone(set), func(rr dns.RR) bool {
			return rr.Header().Rrtype != least.Header().Rrtype
		}), least.Header().Rrtype)
	}
	for _, rr := range hits {
		op.answer = append(op.answer, text(rr, name))
		op.extra = append(op.extra, r.addresses(pointsTo(rr))...)
	}
	if len(hits) > 0 {
		op.sign(&op.answer, r, at, qtype, name)
		return ""
	}
	for _, rr := range set {
		if c, ok := rr.(*dns.CNAME); ok {
			op.answer = append(op.answer, text(rr, name))
			op.sign(&op.answer, r, at, dns.TypeCNAME, name)
			return strings.ToLower(c.Target)
		}
	}
	op.authority = append(op.authority, r.negative(op, origin)...)
	r.denyType(op, origin, name, at)
	return ""
}

func (r records) refer(op *opinion, origin, cut string, first bool) {
	op.aa = op.aa && !first
	for _, rr := range r.get(cut, dns.TypeNS) {
		op.authority = append(op.authority, text(rr, cut))
		ns := strings.ToLower(rr.(*dns.NS).Ns)
		if dns.IsSubDomain(cut, ns) {
			op.glue = append(op.glue, r.addresses(ns)...)
		}
		op.extra = append(op.extra, r.addresses(ns)...)
	}
	if !op.do {
		return
	}
	signed := slices.ContainsFunc(r.get(cut, dns.TypeRRSIG), func(rr dns.RR) bool { return rr.(*dns.RRSIG).TypeCovered == dns.TypeDS })
	for _, ds := range r.get(cut, dns.TypeDS) {
		if signed {
			op.authority = append(op.authority, text(ds, cut))
		}
	}
	op.sign(&op.authority, r, cut, dns.TypeDS, cut)
	if len(r.get(cut, dns.TypeDS)) == 0 {
		r.denyType(op, origin, cut, cut)
	}
}

func (r records) dname(op *opinion, d *dns.DNAME, owner, name string) string {
	if line := text(d, owner); !slices.Contains(op.answer, line) {
		op.answer = append(op.answer, line)
		op.sign(&op.answer, r, owner, dns.TypeDNAME, owner)
	}
	prefix := strings.TrimSuffix(name, owner)
	if owner == "." {
		prefix = name
	}
	to := strings.ToLower(strings.TrimSuffix(prefix+d.Target, "."))
	to = dns.Fqdn(to)
	buf := make([]byte, 300)
	if n, err := dns.PackDomainName(to, buf, 0, nil, false); err != nil || n > 255 {
		op.rcode = dns.RcodeYXDomain
		return ""
	}
	c := &dns.CNAME{Hdr: dns.RR_Header{Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: d.Hdr.Ttl}, Target: to}
	op.answer = append(op.answer, text(c, name))
	op.grows = dns.IsSubDomain(owner, d.Target)
	return to
}

func (r records) addresses(n string) []string {
	var out []string
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, rr := range append(r.get(n, t), r.signatures(n, t)...) {
			out = append(out, text(rr, n))
		}
	}
	return out
}

func pointsTo(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.NS:
		return strings.ToLower(rr.Ns)
	case *dns.MX:
		return strings.ToLower(rr.Mx)
	case *dns.SRV:
		return strings.ToLower(rr.Target)
	}
	return ""
}

// text prints rr as owned by owner, in lower case.
func text(rr dns.RR, owner string) string {
	rr = dns.Copy(rr)
	rr.Header().Name, rr.Header().Rdlength = owner, 0
	return strings.ToLower(rr.String())
}
