package zonefile

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// plain reads the data of the types that large zones consist of, where it is
// written plainly: no escapes, no \#. The record is what zone.Normalise would
// make of it. False means that the library has to look at it, and to say what
// is wrong if something is.
func (p *parser) plain(h dns.RR_Header, data []token, s *scope) (dns.RR, bool) {
	switch h.Rrtype {
	case dns.TypeTXT:
		return p.plainText(h, data)
	case dns.TypeMX:
		return p.plainMX(h, data, s)
	}
	if len(data) != 1 {
		return nil, false
	}
	text := data[0].text
	switch h.Rrtype {
	case dns.TypeA:
		ip, err := netip.ParseAddr(text)
		if err != nil || !ip.Is4() {
			return nil, false
		}
		return p.arena.Address(h, ip), true
	case dns.TypeAAAA:
		ip, err := netip.ParseAddr(text)
		if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" {
			return nil, false
		}
		return p.arena.Address(h, ip), true
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR:
		t, ok := p.plainTarget(text, s)
		if !ok {
			return nil, false
		}
		return p.arena.Target(h, t.shown, t.octets), true
	}
	return nil, false
}

func (p *parser) plainMX(h dns.RR_Header, data []token, s *scope) (dns.RR, bool) {
	if len(data) != 2 {
		return nil, false
	}
	preference, err := strconv.ParseUint(data[0].text, 10, 16)
	t, ok := p.plainTarget(data[1].text, s)
	if err != nil || !ok {
		return nil, false
	}
	return p.arena.Exchange(h, uint16(preference), t.shown, t.octets), true
}

// plainText takes quoted strings of printable characters.
func (p *parser) plainText(h dns.RR_Header, data []token) (dns.RR, bool) {
	texts, octets := make([]string, 0, len(data)), 0
	for _, t := range data {
		inner := len(t.text) - 2
		if inner < 0 || inner > 255 || t.text[0] != '"' || t.text[inner+1] != '"' {
			return nil, false
		}
		for _, c := range []byte(t.text[1 : inner+1]) {
			if c < ' ' || c > '~' || c == '"' || c == '\\' {
				return nil, false
			}
		}
		if octets > 32000 {
			return nil, false
		}
		octets += 1 + inner
		texts = append(texts, strings.Clone(t.text[1:inner+1])) // the file's text need not stay
	}
	return p.arena.Strings(h, texts, octets), true
}

// target is a name in RDATA. The one before is kept, since many records point
// to the same.
type target struct {
	written string
	origin  name.Name
	shown   string
	octets  int
}

func (p *parser) plainTarget(text string, s *scope) (target, bool) {
	if text == p.target.written && s.origin == p.target.origin {
		return p.target, true
	}
	wire, shown, ok := p.spell(text, s)
	if !ok {
		return target{}, false
	}
	p.target = target{written: text, origin: s.origin, shown: p.arena.Text(shown), octets: len(wire)}
	return p.target, true
}

// spell reads a name that is written plainly, as absolute would, and returns
// it as octets and as text, lent until the next one. False leaves it to
// absolute.
func (p *parser) spell(text string, s *scope) (wire, shown []byte, ok bool) {
	wire, shown = p.wire[:0], p.shown[:0]
	switch {
	case text == "@":
		return append(wire, s.origin...), append(shown, s.shown...), true
	case text == ".":
		return append(wire, 0), append(shown, '.'), true
	case text == "", len(text) >= len(p.wire)-len(s.origin):
		return nil, nil, false
	}
	wire = append(wire, 0) // becomes the first label's length
	start := 0
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '*':
			wire = append(wire, c)
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
			wire = append(wire, c)
		case c == '.' && closeLabel(wire, start):
			start = len(wire)
			wire = append(wire, 0)
		default:
			return nil, nil, false
		}
		shown = append(shown, c)
	}
	if start == len(wire)-1 { // the text ended in a dot
		return wire, shown, true
	}
	if wire = append(wire, s.origin...); !closeLabel(wire[:len(wire)-len(s.origin)], start) {
		return nil, nil, false
	}
	if shown = append(shown, '.'); s.origin != name.Root {
		shown = append(shown, s.shown...)
	}
	return wire, shown, len(wire) <= 255 // RFC 1035, Section 2.3.4
}

// closeLabel writes the length of the label that b[start] begins, and reports
// whether it is one.
func closeLabel(b []byte, start int) bool {
	n := len(b) - start - 1
	b[start] = byte(n)
	return n > 0 && n <= 63
}
