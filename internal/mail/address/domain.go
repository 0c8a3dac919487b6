package address

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// ParseDomain reads a domain or address literal and returns its canonical
// form: A-labels (RFC 5890) in lower case, no final dot; a literal in brackets
// with its address in the shortest form.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return parseULabels(s)
		}
	}
	return checkHost(strings.ToLower(s))
}

func parseULabels(s string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(s)
	if err != nil {
		return "", syntax("domain %q: %v", s, err)
	}
	return checkHost(strings.ToLower(ascii))
}

// checkHost applies the letter-digit-hyphen rule (RFC 5321, Section 4.1.2;
// RFC 1035, Section 2.3.4 for the lengths). The underscore is let through, for
// hosts that really carry one. A last label of digits alone would be an
// address without its brackets.
func checkHost(s string) (string, error) {
	if s == "" {
		return "", syntax("empty domain")
	}
	if len(s) > 253 {
		return "", syntax("domain longer than 253 octets")
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return "", syntax("domain %q", s)
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return "", syntax("domain %q ends in a number", s)
	}
	return s, nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// parseLiteral reads "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321, Section
// 4.1.3). General literals have no use and are refused.
func parseLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", syntax("address literal %q", s)
	}
	const tag = "IPv6:"
	if len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag) {
		ip, err := netip.ParseAddr(inner[len(tag):])
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", syntax("address literal %q", s)
		}
		return "[" + tag + ip.String() + "]", nil
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || !ip.Is4() {
		return "", syntax("address literal %q", s)
	}
	return "[" + ip.String() + "]", nil
}
