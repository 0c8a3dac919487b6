package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// macro is a macro-string (RFC 7208, Section 7.1), read once and expanded for
// every evaluation.
type macro []piece

// piece is text as it stands, or something to expand.
type piece struct {
	literal string
	letter  byte // in lower case; 0: literal
	escape  bool // the letter was a capital: the value is URL-escaped
	keep    int  // how many parts are kept, from the right; 0: all
	reverse bool
	delims  string
}

var errMacro = errors.New("not a macro")

func parseMacro(s string) (macro, error) {
	var m macro
	for s != "" {
		if c := s[0]; c != '%' {
			if c < 0x21 || c > 0x7e {
				return nil, errors.New("not ASCII, or a control")
			}
			end := strings.IndexByte(s, '%')
			if end < 0 {
				end = len(s)
			}
			for i := range end {
				if s[i] < 0x21 || s[i] > 0x7e {
					return nil, errors.New("not ASCII, or a control")
				}
			}
			m, s = append(m, piece{literal: s[:end]}), s[end:]
			continue
		}
		if len(s) < 2 {
			return nil, errMacro
		}
		switch s[1] {
		case '%':
			m, s = append(m, piece{literal: "%"}), s[2:]
		case '_':
			m, s = append(m, piece{literal: " "}), s[2:]
		case '-':
			m, s = append(m, piece{literal: "%20"}), s[2:]
		case '{':
			inner, rest, ok := strings.Cut(s[2:], "}")
			if !ok {
				return nil, errMacro
			}
			p, err := parsePiece(inner)
			if err != nil {
				return nil, err
			}
			m, s = append(m, p), rest
		default:
			return nil, errMacro
		}
	}
	return m, nil
}

const delimiters = ".-+,/_="

// parsePiece reads what stands between the braces: a letter, how many parts, "r",
// and what parts them.
func parsePiece(s string) (piece, error) {
	if s == "" || !strings.ContainsRune("slodiphcrtv", rune(s[0]|0x20)) || !isAlpha(s[0]) {
		return piece{}, errMacro
	}
	p := piece{letter: s[0] | 0x20, escape: s[0] < 'a'}
	s = s[1:]
	digits := 0
	for ; digits < len(s) && '0' <= s[digits] && s[digits] <= '9'; digits++ {
		p.keep = min(p.keep*10+int(s[digits]-'0'), 1000) // a name has no more parts than that
	}
	if digits > 0 && p.keep == 0 {
		return piece{}, errMacro
	}
	s = s[digits:]
	if s != "" && s[0]|0x20 == 'r' {
		p.reverse, s = true, s[1:]
	}
	if strings.Trim(s, delimiters) != "" {
		return piece{}, errMacro
	}
	p.delims = s
	return p, nil
}

var errDomainSpec = errors.New("no domain name")

// parseDomainSpec reads a macro-string that ends in a macro or in a top label
// (RFC 7208, Section 7.1).
func parseDomainSpec(s string) (macro, error) {
	m, err := parseMacro(s)
	if err != nil {
		return nil, err
	}
	if len(m) == 0 {
		return nil, errDomainSpec
	}
	for _, p := range m {
		if strings.IndexByte("crt", p.letter) >= 0 { // Section 7.2: in explanations alone
			return nil, fmt.Errorf("%%{%c} is for explanations", p.letter)
		}
	}
	last := m[len(m)-1]
	if last.letter != 0 || last.literal == "%" || last.literal == " " || last.literal == "%20" {
		return m, nil
	}
	text := strings.TrimSuffix(last.literal, ".")
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 || !isTopLabel(text[dot+1:]) {
		return nil, errDomainSpec
	}
	return m, nil
}

// isTopLabel: letters, digits and inner hyphens, but not digits alone.
func isTopLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	word := false
	for i := range len(s) {
		if s[i] != '-' && !isAlnum(s[i]) {
			return false
		}
		word = word || s[i] == '-' || isAlpha(s[i])
	}
	return word
}

// errLocal: RFC 8616, Section 4: a local part beyond ASCII stands in no name, and
// what wants it there does not match.
var errLocal = errors.New("the local part is not ASCII")

// expand writes a name out, shortened from the left to what a name may be
// (RFC 7208, Section 7.3).
func (e *evaluation) expand(m macro, domain string) (string, error) {
	var b strings.Builder
	for _, p := range m {
		if p.letter == 0 {
			b.WriteString(p.literal)
			continue
		}
		if (p.letter == 's' || p.letter == 'l') && !isASCII(e.local) {
			return "", errLocal
		}
		b.WriteString(p.apply(e.value(p.letter, domain)))
		if b.Len() > 64<<10 { // a record of macros that are long each
			return "", errDomainSpec
		}
	}
	name := strings.TrimSuffix(b.String(), ".")
	for len(name) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return "", errDomainSpec
		}
		name = rest
	}
	return name, nil
}

func (e *evaluation) value(letter byte, domain string) string {
	switch letter {
	case 's':
		return e.local + "@" + e.sender
	case 'l':
		return e.local
	case 'o':
		return e.sender
	case 'd':
		return domain
	case 'i':
		return dotted(e.client)
	case 'p':
		return e.clientName(domain)
	case 'v':
		if e.client.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return e.helo
	}
	return "" // c, r and t are refused where names are read
}

func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	return nibbles(ip)
}

func (p piece) apply(s string) string {
	delims := p.delims
	if delims == "" {
		delims = "."
	}
	if p.reverse || p.keep > 0 || p.delims != "" {
		parts := splitAny(s, delims)
		if p.reverse {
			slices.Reverse(parts)
		}
		if p.keep > 0 && p.keep < len(parts) {
			parts = parts[len(parts)-p.keep:]
		}
		s = strings.Join(parts, ".")
	}
	if p.escape {
		s = escape(s)
	}
	return s
}

func splitAny(s, delims string) []string {
	var parts []string
	for {
		at := strings.IndexAny(s, delims)
		if at < 0 {
			return append(parts, s)
		}
		parts, s = append(parts, s[:at]), s[at+1:]
	}
}

// escape is the percent-encoding of RFC 3986, Section 2.1.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > '~' }) < 0
}
