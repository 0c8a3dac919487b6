package zonelint

import "strings"

// dmarc looks at a _dmarc name (RFC 9989, Section 4).
func (l *lint) dmarc(o *owner, all []text) {
	count := 0
	for _, t := range all {
		if !strings.HasPrefix(t.value, "v=DMARC1") {
			l.report(t.record, "dmarc-syntax", "the text at %s does not begin with v=DMARC1, letter by letter", o.name)
			continue
		}
		if count++; count == 2 {
			l.report(t.record, "dmarc-several", "%s has several DMARC records", o.name)
		}
		if rest := strings.TrimPrefix(t.value, "v=DMARC1"); strings.Trim(rest, "; ") == "" {
			l.report(t.record, "dmarc-cut", "the DMARC record ends behind its version")
			continue
		}
		list, why := tags(t.value)
		if why != "" {
			l.report(t.record, "dmarc-syntax", "%s", why)
			continue
		}
		if list.get("v") != "DMARC1" {
			l.report(t.record, "dmarc-syntax", "v is %q", list.get("v"))
			continue
		}
		for _, tag := range list {
			l.dmarcTag(t, tag)
		}
		switch policy := list.get("p"); {
		case !list.has("p"):
			l.report(t.record, "dmarc-policy", "the DMARC record has no p")
		case policy == "none":
			l.report(t.record, "dmarc-none", "p=none")
		}
	}
}

func (l *lint) dmarcTag(t text, tag tag) {
	allowed := ""
	switch tag.name {
	case "p", "sp", "np":
		allowed = "none quarantine reject"
	case "adkim", "aspf":
		allowed = "r s"
	case "t":
		allowed = "y n"
	case "psd":
		allowed = "y n u"
	case "fo":
		for _, option := range strings.Split(tag.value, ":") {
			if !strings.Contains(" 0 1 d s ", " "+option+" ") {
				l.report(t.record, "dmarc-syntax", "%s is no value of fo: 0, 1, d or s", option)
			}
		}
	case "rua", "ruf":
		for uri := range strings.SplitSeq(tag.value, ",") {
			uri = strings.ToLower(strings.TrimSpace(uri))
			if address, ok := strings.CutPrefix(uri, "mailto:"); !ok || !strings.Contains(address, "@") {
				l.report(t.record, "dmarc-uri", "%s: %q is no mailto address", tag.name, uri)
			}
		}
	case "pct", "rf", "ri":
		l.report(t.record, "dmarc-obsolete", "%s", tag.name)
	}
	if allowed != "" && (tag.value == "" || !strings.Contains(" "+allowed+" ", " "+strings.ToLower(tag.value)+" ")) {
		l.report(t.record, "dmarc-syntax", "%s is %q, which is none of: %s", tag.name, tag.value, allowed)
	}
}
