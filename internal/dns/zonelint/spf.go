package zonelint

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// maxLookups is how many terms with look-ups a receiver follows (RFC 7208,
// Section 4.6.4).
const maxLookups = 10

// isSPF holds RFC 7208, Section 4.5.
func isSPF(value string) bool {
	v := strings.ToLower(value)
	return v == "v=spf1" || strings.HasPrefix(v, "v=spf1 ")
}

// spf looks at the SPF records of a name.
func (l *lint) spf(o *owner, all []text) {
	count := 0
	for _, t := range all {
		if !isSPF(t.value) {
			if words, ok := t.record.RR.(*dns.TXT); ok && len(words.Txt) > 1 && isSPF(words.Txt[0]) {
				l.report(t.record, "spf-joined", "the strings of the SPF record are put together as %q", t.value[:min(len(t.value), 40)])
			}
			continue
		}
		if count++; count == 2 {
			l.report(t.record, "spf-several", "%s has more than one SPF record", o.name)
		}
		l.policy(o, t)
	}
}

// policy looks at one record.
func (l *lint) policy(o *owner, t text) {
	if len(t.value) > 450 {
		l.report(t.record, "spf-long", "the SPF record has %d octets", len(t.value))
	}
	ended, redirect, late := "", false, false
	for _, word := range strings.Fields(t.value)[1:] {
		term, why := parseTerm(word)
		if why != "" {
			l.report(t.record, "spf-syntax", "%q: %s", word, why)
			continue
		}
		if ended != "" && !term.modifier && !late {
			late = true
			l.report(t.record, "spf-after-all", "%q stands behind all", word)
		}
		switch term.name {
		case "all":
			ended = term.qualifier
		case "redirect":
			redirect = true
		case "ptr":
			l.report(t.record, "spf-ptr", "%q", word)
		}
	}
	switch {
	case ended == "+":
		l.report(t.record, "spf-all-pass", "the SPF record of %s lets everybody pass", o.name)
	case ended == "?", ended == "" && !redirect:
		l.report(t.record, "spf-end", "the SPF record of %s neither ends in -all or ~all nor redirects", o.name)
	}
	walk := spfWalk{l: l, t: t, open: map[name.Name]bool{o.name: true}}
	if walk.record(t.value); walk.lookups > maxLookups {
		l.report(t.record, "spf-lookups", "the SPF record of %s takes at least %d look-ups", o.name, walk.lookups)
	}
}

// spfWalk counts look-ups, through the records of this zone too.
type spfWalk struct {
	l       *lint
	t       text
	open    map[name.Name]bool // being read, from the first record down
	lookups int
	told    bool
}

func (w *spfWalk) record(value string) {
	for _, word := range strings.Fields(value)[1:] {
		term, why := parseTerm(word)
		if why != "" || w.lookups > 4*maxLookups {
			continue
		}
		switch term.name {
		case "a", "mx", "ptr", "exists":
			w.lookups++
		case "include", "redirect":
			w.lookups++
			w.follow(term)
		}
	}
}

// follow reads the record of an include or redirect, where this zone has it.
func (w *spfWalk) follow(term term) {
	n, ok := w.l.inside(term.domain)
	if !ok || strings.Contains(term.domain, "%") {
		return
	}
	if w.open[n] {
		if !w.told {
			w.told = true
			w.l.report(w.t.record, "spf-loop", "%s leads back to %s", term.name, n)
		}
		return
	}
	o := w.l.find(n)
	if o == nil && w.l.elsewhere(n, w.l.origin) {
		return
	}
	found := false
	if o != nil {
		if len(o.of(dns.TypeCNAME)) > 0 || n != w.l.origin && len(o.of(dns.TypeNS)) > 0 {
			return
		}
		w.open[n] = true
		for _, t := range o.texts() {
			if isSPF(t.value) && !found {
				found = true
				w.record(t.value)
			}
		}
		delete(w.open, n)
	}
	if !found && !w.told {
		w.told = true
		w.l.report(w.t.record, "spf-target", "%s: %s has no SPF record", term.name, n)
	}
}

// term is one mechanism or modifier (RFC 7208, Section 4.6.1).
type term struct {
	qualifier, name, domain string
	modifier                bool
}

// parseTerm reads one; why is what is wrong with it.
func parseTerm(word string) (t term, why string) {
	end := strings.IndexAny(word, ":/=")
	if end < 0 {
		end = len(word)
	}
	t.name = strings.ToLower(word[:end])
	rest := word[end:]
	if strings.HasPrefix(rest, "=") {
		t.modifier, t.domain = true, rest[1:]
		switch {
		case t.name == "" || strings.Trim(t.name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "":
			return t, "no name of a modifier"
		case t.name == "ip4" || t.name == "ip6" || t.name == "include" || t.name == "a" || t.name == "mx":
			return t, "a colon, not an equals sign, stands before its value"
		case (t.name == "redirect" || t.name == "exp") && t.domain == "":
			return t, "a name is missing"
		}
		return t, macros(t.domain)
	}
	t.qualifier = "+"
	if t.name != "" && strings.Contains("+-~?", t.name[:1]) {
		t.qualifier, t.name = t.name[:1], t.name[1:]
	}
	value, given := strings.CutPrefix(rest, ":")
	switch t.name {
	case "all":
		if rest != "" {
			return t, "all takes no value"
		}
	case "ip4", "ip6":
		return t, network(value, t.name == "ip4")
	case "include", "exists":
		t.domain = value
		if !given || value == "" {
			return t, "a name is missing"
		}
	case "a", "mx":
		if !given {
			value = rest
		}
		domain, lengths, cut := strings.Cut(value, "/")
		t.domain = domain
		switch {
		case given && domain == "":
			return t, "a name is missing"
		case cut && !prefixLengths(lengths):
			return t, "the prefix length cannot be read"
		}
	case "ptr":
		t.domain = value
	default:
		return t, "no mechanism: all, include, a, mx, ip4, ip6 or exists"
	}
	return t, macros(t.domain)
}

// prefixLengths reads "24", "24//64" and "/64", what follows the first slash.
func prefixLengths(s string) bool {
	four, six, both := strings.Cut(s, "//")
	if rest, ok := strings.CutPrefix(s, "/"); ok {
		four, six, both = "", rest, true
	}
	fits := func(s string, most int) bool {
		n, err := strconv.Atoi(s)
		return err == nil && n >= 0 && n <= most
	}
	return (four == "" && both || fits(four, 32)) && (!both || fits(six, 128))
}

func network(s string, four bool) string {
	ip, err := netip.ParseAddr(s)
	if strings.Contains(s, "/") {
		var p netip.Prefix
		p, err = netip.ParsePrefix(s)
		ip = p.Addr()
	}
	switch {
	case err != nil:
		return "no address and no network"
	case four != ip.Is4():
		return "an address of the other kind"
	}
	return ""
}

// macros holds RFC 7208, Section 7.1 as far as the form goes.
func macros(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return "only printable ASCII"
		}
		if s[i] != '%' {
			continue
		}
		rest := s[i+1:]
		switch {
		case rest == "":
			return "a lone %"
		case strings.Contains("%_-", rest[:1]):
			i++
		case rest[0] == '{':
			body, _, closed := strings.Cut(rest[1:], "}")
			if !closed || body == "" || !strings.Contains("slodiphcrtv", strings.ToLower(body[:1])) {
				return "no macro: %{ and } around one of s l o d i p h v"
			}
			i += len(body) + 2
		default:
			return "a lone %: write %%"
		}
	}
	return ""
}
