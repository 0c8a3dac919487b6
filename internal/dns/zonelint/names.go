package zonelint

import (
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// owner looks at the name itself.
func (l *lint) owner(o *owner) {
	for n := o.name; n != l.origin && n != name.Root; n = n.Parent() {
		if n != o.name && n.First() == "*" {
			l.report(o.first(), "wildcard-inner", "%s has a * that is not its first label", o.name)
			break
		}
	}
	if len(o.of(dns.TypeA)) == 0 && len(o.of(dns.TypeAAAA)) == 0 {
		return
	}
	host := o.name
	if host.IsWildcard() {
		host = host.Parent()
	}
	for n := host; n != l.origin && n != name.Root; n = n.Parent() {
		switch label := n.First(); {
		case !isHostLabel(label):
			l.report(o.first(), "host-chars", "%s has an address, but %q is no label of a host name%s", o.name, label, foreign(label))
			return
		case hyphens(label):
			l.report(o.first(), "label-hyphens", "%q looks like an internationalised label and is none", label)
			return
		}
	}
}

// foreign tells of labels in another script how they are written.
func foreign(label string) string {
	if strings.ContainsFunc(label, func(r rune) bool { return r > '~' }) {
		return "; an internationalised one is written in its xn-- form"
	}
	return ""
}

// hostChars looks at the name of a server.
func (l *lint) hostChars(r zonefile.Record, code, text string) {
	n, err := name.Parse(text)
	if err != nil {
		return
	}
	for ; n != name.Root; n = n.Parent() {
		if label := n.First(); !isHostLabel(label) {
			l.report(r, code, "%q in %s is no label of a host name%s", label, text, foreign(label))
			return
		}
	}
}

// isHostLabel holds RFC 952 as RFC 1123, Section 2.1 changed it.
func isHostLabel(label string) bool {
	for _, c := range []byte(label) {
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return label != "" && label[0] != '-' && label[len(label)-1] != '-'
}

func hyphens(label string) bool {
	return len(label) > 3 && label[2:4] == "--" && !strings.HasPrefix(label, "xn--")
}

// cut looks at what stands at and below delegations (RFC 1034, Section 4.2.1).
func (l *lint) cut(o *owner) {
	if o.name == l.origin {
		return
	}
	own := len(o.of(dns.TypeNS)) > 0
	if ds := o.of(dns.TypeDS); len(ds) > 0 && !own {
		l.report(ds[0], "ds-alone", "%s has a DS and no NS", o.name)
	}
	if !l.cuts {
		return
	}
	cut := name.Name("")
	if own {
		cut = o.name
	}
	for n := o.name.Parent(); n != l.origin && n != name.Root; n = n.Parent() {
		if up := l.find(n); up != nil && len(up.of(dns.TypeNS)) > 0 {
			cut = n // the highest one rules
		}
	}
	if cut == "" {
		return
	}
	for _, set := range o.sets {
		switch set.rrtype {
		case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeDNAME: // of a DNAME, dname-ns tells
			continue
		case dns.TypeNS, dns.TypeDS:
			if o.name == cut {
				continue
			}
		case dns.TypeA, dns.TypeAAAA:
			if !l.serves(o.name) {
				l.report(set.records[0], "glue-unused", "%s stands below the delegation at %s, and is none of its servers", o.name, cut)
			}
			continue
		}
		l.report(set.records[0], "occluded", "%s %s stands at or below the delegation at %s and is never answered", o.name, dns.Type(set.rrtype), cut)
		return
	}
}

// serves reports whether an NS of this zone names n.
func (l *lint) serves(n name.Name) bool {
	if l.servers == nil {
		l.servers = map[name.Name]bool{}
		for i := range l.owners {
			for _, r := range l.owners[i].of(dns.TypeNS) {
				if host, err := name.Parse(zone.Target(r.RR)); err == nil {
					l.servers[host] = true
				}
			}
		}
	}
	return l.servers[n]
}

// soa looks at the SOA (RFC 1912, Section 2.2).
func (l *lint) soa(r zonefile.Record) {
	soa, ok := r.RR.(*dns.SOA)
	if !ok {
		return
	}
	if box, err := name.Parse(soa.Mbox); err == nil && strings.Contains(box.First(), "@") {
		l.report(r, "soa-mailbox", "%s has an @", soa.Mbox)
	}
	if soa.Refresh < 1200 || soa.Refresh > 86400 {
		l.report(r, "soa-refresh", "refresh is %d s", soa.Refresh)
	}
	if soa.Retry >= soa.Refresh {
		l.report(r, "soa-retry", "retry, %d s, is not below refresh, %d s", soa.Retry, soa.Refresh)
	}
	if soa.Expire < 604800 || uint64(soa.Expire) < uint64(soa.Refresh)+uint64(soa.Retry) {
		l.report(r, "soa-expire", "expire is %d s", soa.Expire)
	}
	if soa.Minttl < 300 || soa.Minttl > 86400 {
		l.report(r, "soa-minimum", "minimum is %d s", soa.Minttl)
	}
	l.primary(r, soa.Ns)
}

func (l *lint) primary(r zonefile.Record, text string) {
	n, err := name.Parse(text)
	if err != nil {
		return
	}
	if text == "." || text == "localhost." {
		l.report(r, "soa-primary", "%s is no primary server", text)
		return
	}
	if !n.IsBelow(l.origin) || l.elsewhere(n, l.origin) {
		return
	}
	if o := l.find(n); o == nil || len(o.of(dns.TypeA)) == 0 && len(o.of(dns.TypeAAAA)) == 0 {
		l.report(r, "soa-primary", "%s has no address in this zone", n)
	}
}

// digests looks at lengths: RFC 4509, RFC 6605, RFC 6698, RFC 4255, RFC 6594.
func (l *lint) digests(o *owner) {
	for _, set := range o.sets {
		switch set.rrtype {
		case dns.TypeDS, dns.TypeTLSA, dns.TypeSMIMEA, dns.TypeSSHFP, dns.TypeCAA:
		default:
			continue
		}
		for _, r := range set.records {
			switch d := r.RR.(type) {
			case *dns.DS:
				l.length(r, "ds-digest", d.Digest, map[uint8]int{1: 20, 2: 32, 3: 32, 4: 48, 5: 32, 6: 32}[d.DigestType])
				if d.DigestType == 1 || d.DigestType == 3 {
					l.report(r, "ds-weak", "digest type %d", d.DigestType)
				}
			case *dns.TLSA:
				l.length(r, "tlsa-digest", d.Certificate, map[uint8]int{1: 32, 2: 64}[d.MatchingType])
			case *dns.SMIMEA:
				l.length(r, "tlsa-digest", d.Certificate, map[uint8]int{1: 32, 2: 64}[d.MatchingType])
			case *dns.SSHFP:
				l.length(r, "sshfp-digest", d.FingerPrint, map[uint8]int{1: 20, 2: 32}[d.Type])
			case *dns.CAA:
				if !knownTag(d.Tag) {
					l.report(r, "caa-tag", "%q", d.Tag)
				}
			}
		}
	}
}

// length compares hexadecimal text with octets; 0 octets are any.
func (l *lint) length(r zonefile.Record, code, text string, octets int) {
	if octets > 0 && len(text) != 2*octets {
		l.report(r, code, "the digest has %d hexadecimal digits, its type has %d", len(text), 2*octets)
	}
}

func knownTag(tag string) bool {
	switch strings.ToLower(tag) {
	case "issue", "issuewild", "issuemail", "issuevmc", "iodef", "contactemail", "contactphone":
		return true
	}
	return false
}
