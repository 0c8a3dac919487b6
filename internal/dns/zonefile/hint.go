package zonefile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// headHint guesses why t, which stands where TTL, class or type may, is none
// of them. first is the entry's first token: its owner or, where the line
// begins with a blank, t itself.
func headHint(first, t token) string {
	if hint := cmp.Or(strayHint(first.text), odd(first.text), odd(t.text)); hint != "" {
		return hint
	}
	word := strings.ToUpper(t.text)
	switch {
	case strings.HasPrefix(t.text, "$"):
		return "a directive begins in the first column"
	case word == "ALIAS" || word == "ANAME":
		return word + " is some providers' own: write the A and AAAA here, or below the zone's name a CNAME"
	case strings.IndexByte("-+.", t.text[0]) >= 0, isDigit(t.text[0]) && strings.ContainsAny(t.text[len(t.text)-1:], "smhdwSMHDW"):
		return "a TTL is " + ttlHint
	case isDigit(t.text[0]):
		return "expected TTL, class, type, data; a name in front is missing? a line with the owner of the line before begins with a blank"
	case first == t:
		return "a line that begins with a blank belongs to the name of the line before: a new name begins in the first column"
	}
	if near := nearest(word); near != "" {
		return "is " + near + " meant? " + typeHint
	}
	return typeHint
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// strayHint knows the beginnings of lines that belong to other languages.
func strayHint(text string) string {
	switch {
	case strings.HasPrefix(text, "#"), strings.HasPrefix(text, "//"), strings.HasPrefix(text, "/*"):
		return "a comment begins with a semicolon"
	case strings.HasPrefix(text, "<<<<<<<"), strings.HasPrefix(text, "======="), strings.HasPrefix(text, ">>>>>>>"):
		return "two versions of the file were merged here, and somebody must choose: take the marks out"
	case strings.HasPrefix(text, "<"), strings.HasPrefix(text, "{"):
		return "is this a zone file?"
	}
	return ""
}

// odd names a character that looks like a blank, or like nothing, and is not
// one to us.
func odd(text string) string {
	for _, r := range text {
		switch r {
		case '\u00a0', '\u2002', '\u2003', '\u2007', '\u2009', '\u202f', '\u3000', '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff':
			return fmt.Sprintf("the character U+%04X in it only looks like a blank, or like nothing: type the line anew", r)
		}
	}
	return ""
}

// nearest returns the type that is one keystroke away from word; "" if none.
func nearest(word string) string {
	var found []string
	for known := range dns.StringToType {
		if len(word) > 1 && len(known) > 1 && oneStroke(word, known) {
			found = append(found, known)
		}
	}
	if len(found) == 0 {
		return ""
	}
	common := []string{"AAAA", "CNAME", "TXT", "MX", "NS", "SOA", "SRV", "PTR", "CAA", "TLSA", "DS", "HTTPS", "SSHFP"}
	for _, c := range common {
		if slices.Contains(found, c) {
			return c
		}
	}
	return slices.Min(found)
}

// oneStroke reports whether one character more, less, or another, or two that
// change places, make b of a.
func oneStroke(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return i < len(a) && (a[i+1:] == b[i+1:] || i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:])
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}

// addrHint guesses what is wrong with an address; "" if it cannot.
func addrHint(rrtype uint16, text string) string {
	if hint := odd(text); hint != "" {
		return hint
	}
	bare, zone, _ := strings.Cut(text, "%")
	parts := strings.Split(text, ".")
	switch {
	case strings.HasPrefix(text, "[") || strings.HasPrefix(text, "http"):
		return "the address alone, such as " + exampleOf(rrtype)
	case zone != "" && isAddress(bare):
		return "without %" + zone + ", which means something on one machine only"
	case strings.Contains(text, "/"):
		return "an address, not a network: without the / and what follows"
	case isAddress(strings.TrimSuffix(text, ".")):
		return "an address has no final dot"
	case rrtype == dns.TypeA && strings.Contains(text, ".") && strings.Count(text, ":") == 1:
		return "an address has no port: an SRV record can name one"
	case rrtype == dns.TypeA && len(parts) == 4 && !slices.ContainsFunc(parts, func(s string) bool { return s == "" || strings.Trim(s, "0123456789") != "" }):
		if slices.ContainsFunc(parts, func(s string) bool { return len(s) > 1 && s[0] == '0' }) {
			return "without leading zeros: some programs take such a number for an octal one"
		}
		return "four numbers from 0 to 255"
	case strings.Trim(text, "0123456789") == "":
		return "is it a TTL? it stands before the type; data such as " + exampleOf(rrtype)
	case strings.Trim(text, ".0123456789abcdefABCDEF:") != "":
		return "such as " + exampleOf(rrtype) + "; another name for a host is a CNAME"
	}
	return ""
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

func exampleOf(rrtype uint16) string {
	if rrtype == dns.TypeAAAA {
		return "2001:db8::1"
	}
	return "192.0.2.1"
}

// curly are the quotes that word processors and web pages make of straight
// ones.
const curly = "“”„‟"

// checkQuotes finds text in quotes that are none: every word of it becomes a
// string of its own, and the marks become part of it.
func (p *parser) checkQuotes(t token, s *scope) {
	if t.text[0] != '"' && strings.ContainsAny(t.text, curly) {
		p.warn(s, t, "txt-quotes", fmt.Sprintf("the quotes in %s are part of the text", t.text), `write straight ones: "`)
	}
}
