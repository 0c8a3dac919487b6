package zonelint

import (
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// text is one TXT record, its strings joined.
type text struct {
	record zonefile.Record
	value  string
}

// texts returns what the admin wrote: what Postern publishes itself has no line,
// and nobody could put it right in the file.
func (o *owner) texts() []text {
	var all []text
	for _, r := range o.of(dns.TypeTXT) {
		if txt, ok := r.RR.(*dns.TXT); ok && r.Line > 0 {
			all = append(all, text{r, unescaped(txt.Txt)})
		}
	}
	return all
}

// unescaped joins the strings and takes out the library's escapes.
func unescaped(parts []string) string {
	joined := strings.Join(parts, "")
	if !strings.Contains(joined, `\`) {
		return joined
	}
	var b strings.Builder
	for i := 0; i < len(joined); i++ {
		c := joined[i]
		if c == '\\' && i+3 < len(joined) && joined[i+1] >= '0' && joined[i+1] <= '9' {
			c = (joined[i+1]-'0')*100 + (joined[i+2]-'0')*10 + joined[i+3] - '0'
			i += 3
		} else if c == '\\' && i+1 < len(joined) {
			i++
			c = joined[i]
		}
		b.WriteByte(c)
	}
	return b.String()
}

// mail looks at what mail publishes in TXT records.
func (l *lint) mail(o *owner) {
	all := o.texts()
	first := o.name.First()
	switch {
	case first == "_dmarc":
		l.dmarc(o, all)
	case first == "_mta-sts":
		l.one(o, all, "mta-sts-record", "v=STSv1", "id")
	case first == "_smtp" && o.name.Parent().First() == "_tls":
		l.one(o, all, "tlsrpt-record", "v=TLSRPTv1", "rua")
	case isSelector(o.name):
		l.dkim(o, all)
	}
	l.spf(o, all)
	l.misplaced(o, all)
	if sets := o.of(dns.TypeSPF); len(sets) > 0 {
		l.report(sets[0], "spf-type", "%s has a record of type SPF", o.name)
	}
	if o.name == l.origin {
		l.missing(o, all)
	}
}

// isSelector reports whether a name is SELECTOR._domainkey.DOMAIN. Those with
// an underscore in front are other things, such as _adsp.
func isSelector(n name.Name) bool {
	if strings.HasPrefix(n.First(), "_") {
		return false
	}
	for up := n.Parent(); up != name.Root; up = up.Parent() {
		if up.First() == "_domainkey" {
			return true
		}
	}
	return false
}

// misplaced finds DMARC records that nobody looks for there. Below _report
// they permit reports (RFC 9990).
func (l *lint) misplaced(o *owner, all []text) {
	if len(all) == 0 {
		return
	}
	for n := o.name; n != name.Root; n = n.Parent() {
		if n.First() == "_dmarc" || n.First() == "_report" {
			return
		}
	}
	for _, t := range all {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(t.value)), "v=dmarc1") {
			l.report(t.record, "dmarc-place", "a DMARC record at %s", o.name)
		}
	}
}

// missing tells what a domain that takes mail lacks.
func (l *lint) missing(o *owner, all []text) {
	mx := o.of(dns.TypeMX)
	if len(mx) == 0 || zone.Target(mx[0].RR) == "." {
		return
	}
	spf := false
	for _, t := range all {
		spf = spf || isSPF(t.value)
	}
	if !spf {
		l.report(mx[0], "spf-missing", "%s has an MX and no SPF record", o.name)
	}
	if at, ok := l.origin.Child("_dmarc"); ok && l.find(at) == nil && !l.elsewhere(at, l.origin) {
		l.report(mx[0], "dmarc-missing", "%s has an MX and no DMARC record", o.name)
	}
}

// one looks at a record that stands alone, begins with its version and needs
// one more tag.
func (l *lint) one(o *owner, all []text, code, version, needs string) {
	count := 0
	for _, t := range all {
		list, why := tags(t.value)
		switch {
		case !strings.HasPrefix(t.value, version):
			l.report(t.record, code, "the text at %s does not begin with %s", o.name, version)
			continue
		case why != "":
			l.report(t.record, code, "%s", why)
		case list.get(needs) == "":
			l.report(t.record, code, "%s is missing", needs)
		}
		if count++; count == 2 {
			l.report(t.record, code, "%s has several", o.name)
		}
	}
}

// tag is one NAME=VALUE of a list with semicolons, which DKIM, DMARC,
// MTA-STS and TLS reporting share (RFC 6376, Section 3.2).
type tag struct{ name, value string }

type tagList []tag

func (l tagList) get(name string) string {
	for _, t := range l {
		if t.name == name {
			return t.value
		}
	}
	return ""
}

func (l tagList) has(name string) bool {
	for _, t := range l {
		if t.name == name {
			return true
		}
	}
	return false
}

// tags reads a list; why is what is wrong with it.
func tags(text string) (list tagList, why string) {
	parts := strings.Split(text, ";")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if part == "" {
			if i == len(parts)-1 {
				continue
			}
			return list, "an empty tag: two semicolons in a row"
		}
		key, value, ok := strings.Cut(part, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			return list, `"` + part + `" is no tag, which is NAME=VALUE`
		}
		if list.has(key) {
			return list, "tag " + key + " is given twice"
		}
		list = append(list, tag{key, strings.TrimSpace(value)})
	}
	return list, ""
}
