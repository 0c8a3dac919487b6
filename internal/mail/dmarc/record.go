package dmarc

import (
	"strings"
)

// Policy is what a domain asks for mail that fails. The zero value is not
// stated.
type Policy uint8

// The policies, each stricter than the one before.
const (
	NotStated Policy = iota
	Nothing          // "none"
	Quarantine
	Reject
)

var policyNames = [...]string{"", "none", "quarantine", "reject"}

// String is the policy as records have it.
func (p Policy) String() string { return policyNames[p&3] }

func parsePolicy(s string) (Policy, bool) {
	for p := Nothing; p <= Reject; p++ {
		if strings.EqualFold(s, p.String()) {
			return p, true
		}
	}
	return NotStated, false
}

// Suffix is the psd tag: whether the name is a public suffix.
type Suffix uint8

// The values of psd; not saying is SuffixUnknown.
const (
	SuffixUnknown Suffix = iota
	SuffixYes
	SuffixNo
)

// Record is a DMARC policy record (RFC 9989, Section 4.7).
type Record struct {
	P, SP, NP  Policy // P is never NotStated
	StrictDKIM bool   // adkim=s
	StrictSPF  bool   // aspf=s
	Suffix     Suffix
	Testing    bool     // t=y
	RUA, RUF   []string // the URIs, for reports
	FO         string
	void       bool // a policy is invalid and nobody asks for reports: DMARC does not apply
}

// maxRecord bounds what is read of one TXT record.
const maxRecord = 8 << 10

// ParseRecord reads a TXT record; false means that it is not a DMARC record at
// all. Unknown tags, and values that make no sense, are ignored, except where
// a policy is invalid (RFC 9989, Section 4.7, tags p, sp, np).
func ParseRecord(txt string) (*Record, bool) {
	if len(txt) > maxRecord {
		return nil, false
	}
	first, rest, _ := strings.Cut(txt, ";")
	tag, value, ok := cutTag(first)
	if !ok || tag != "v" || value != "DMARC1" { // exact letter case
		return nil, false
	}
	r := &Record{P: Nothing}
	invalid := false
	seen := map[string]bool{"v": true}
	for part := range strings.SplitSeq(rest, ";") {
		tag, value, ok := cutTag(part)
		// departs from RFC 6376, Section 3.2: a tag that stands twice does not
		// void the record and with it the domain's protection; the first counts.
		if !ok || seen[tag] {
			continue
		}
		seen[tag] = true
		if !r.set(tag, value) {
			invalid = true
		}
	}
	if invalid {
		// With somebody to tell, an invalid policy acts as p=none; without,
		// the record says nothing.
		r.P, r.SP, r.NP = Nothing, NotStated, NotStated
		r.void = len(r.RUA) == 0
	}
	return r, true
}

// set takes one tag; false means an invalid policy.
func (r *Record) set(tag, value string) (ok bool) {
	ok = true
	switch tag {
	case "p":
		r.P, ok = parsePolicy(value)
	case "sp":
		r.SP, ok = parsePolicy(value)
	case "np":
		r.NP, ok = parsePolicy(value)
	case "adkim":
		r.StrictDKIM = strings.EqualFold(value, "s")
	case "aspf":
		r.StrictSPF = strings.EqualFold(value, "s")
	case "t":
		r.Testing = strings.EqualFold(value, "y")
	case "psd":
		r.Suffix = parseSuffix(value)
	case "rua":
		r.RUA = parseURIs(value)
	case "ruf":
		r.RUF = parseURIs(value)
	case "fo":
		r.FO = value
	}
	return ok
}

func parseSuffix(s string) Suffix {
	switch {
	case strings.EqualFold(s, "y"):
		return SuffixYes
	case strings.EqualFold(s, "n"):
		return SuffixNo
	}
	return SuffixUnknown
}

// parseURIs keeps the mailto URIs, without the "!size" that RFC 9989 dropped.
func parseURIs(s string) []string {
	var out []string
	for uri := range strings.SplitSeq(s, ",") {
		uri, _, _ = strings.Cut(strings.Trim(uri, space), "!")
		scheme, rest, ok := strings.Cut(uri, ":")
		if ok && strings.EqualFold(scheme, "mailto") && strings.Contains(rest, "@") && len(out) < maxURIs {
			out = append(out, uri)
		}
	}
	return out
}

const (
	space   = " \t\r\n"
	maxURIs = 10
)

// cutTag reads "tag = value" (RFC 6376, Section 3.2). Tag names are exact.
func cutTag(s string) (tag, value string, ok bool) {
	tag, value, ok = strings.Cut(s, "=")
	tag = strings.Trim(tag, space)
	return tag, strings.Trim(value, space), ok && tag != ""
}

// For is the policy the record asks of mail from author, before t: at is where
// the record stands, exists whether the author domain does.
func (r *Record) For(author, at string, exists bool) Policy {
	switch {
	case author == at:
		return r.P
	case !exists && r.NP != NotStated:
		return r.NP
	case r.SP != NotStated:
		return r.SP
	}
	return r.P
}

// Applied lowers a policy under test one step (RFC 9989, Section 4.7, tag t).
func (r *Record) Applied(p Policy) Policy {
	if r.Testing && p > Nothing {
		return p - 1
	}
	return p
}
