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
func plain(h dns.RR_Header, data []token, s *scope) (dns.RR, bool) {
	switch h.Rrtype {
	case dns.TypeTXT:
		return plainText(h, data)
	case dns.TypeMX:
		return plainMX(h, data, s)
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
		h.Rdlength = 4
		return &dns.A{Hdr: h, A: ip.AsSlice()}, true
	case dns.TypeAAAA:
		ip, err := netip.ParseAddr(text)
		if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" {
			return nil, false
		}
		h.Rdlength = 16
		return &dns.AAAA{Hdr: h, AAAA: ip.AsSlice()}, true
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR:
		n, ok := plainName(text, s)
		if !ok {
			return nil, false
		}
		h.Rdlength = uint16(len(n))
		switch h.Rrtype {
		case dns.TypeNS:
			return &dns.NS{Hdr: h, Ns: n.String()}, true
		case dns.TypeCNAME:
			return &dns.CNAME{Hdr: h, Target: n.String()}, true
		}
		return &dns.PTR{Hdr: h, Ptr: n.String()}, true
	}
	return nil, false
}

func plainMX(h dns.RR_Header, data []token, s *scope) (dns.RR, bool) {
	if len(data) != 2 {
		return nil, false
	}
	preference, err := strconv.ParseUint(data[0].text, 10, 16)
	n, ok := plainName(data[1].text, s)
	if err != nil || !ok {
		return nil, false
	}
	h.Rdlength = uint16(2 + len(n))
	return &dns.MX{Hdr: h, Preference: uint16(preference), Mx: n.String()}, true
}

// plainText takes quoted strings of printable characters.
func plainText(h dns.RR_Header, data []token) (dns.RR, bool) {
	txt := &dns.TXT{Hdr: h, Txt: make([]string, 0, len(data))}
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
		if txt.Hdr.Rdlength > 32000 {
			return nil, false
		}
		txt.Hdr.Rdlength += uint16(1 + inner)
		txt.Txt = append(txt.Txt, strings.Clone(t.text[1:inner+1])) // the file's text need not stay
	}
	return txt, true
}

func plainName(text string, s *scope) (name.Name, bool) {
	if text != "@" {
		for _, c := range []byte(text) {
			if c != '.' && c != '-' && c != '_' && c != '*' && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
				return "", false
			}
		}
	}
	n, err := absolute(text, s.origin)
	return n, err == nil
}
