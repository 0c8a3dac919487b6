package zonefile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const ttlHint = "seconds, or a number with s, m, h, d or w, such as 1h30m"

// record reads "[owner] [ttl] [class] type rdata" (RFC 1035, Section 5.1).
func (p *parser) record(e entry, s *scope) {
	if len(p.records) >= p.opts.MaxRecords {
		p.fail(s, e.tokens[0], "too-large", fmt.Sprintf("zone has more than %d records", p.opts.MaxRecords), "")
		p.done = true
		return
	}
	rest, ok := p.owner(e, s)
	if !ok {
		return
	}
	h, rest, ok := p.head(rest, s)
	if !ok {
		return
	}
	if len(rest.data) == 0 {
		p.fail(s, rest.typ, "no-data", rest.typ.text+" has no data", "")
		return
	}
	if _, known := dns.TypeToRR[h.Rrtype]; known && len(rest.data) == 2 && rest.data[0].text == `\#` && rest.data[1].text == "0" &&
		h.Rrtype != dns.TypeAPL && h.Rrtype != dns.TypeNULL {
		// The library would make up zeros for the missing data.
		p.fail(s, rest.data[0], "no-data", rest.typ.text+": record data is empty", "")
		return
	}
	if least := fields(h.Rrtype); len(rest.data) < least && rest.data[0].text != `\#` {
		last := rest.data[len(rest.data)-1]
		p.fail(s, last, "bad-data", fmt.Sprintf("%s has %d fields of data, at least %d are needed", rest.typ.text, len(rest.data), least), dataHint(h.Rrtype))
		return
	}
	clean, ok := plain(h, rest.data, s)
	if !ok {
		if clean, ok = p.full(h, rest, s); !ok {
			return
		}
	}
	p.checkCut(clean, rest, s)
	p.sawSOA(clean)
	if !rest.hasTTL {
		p.noTTL = append(p.noTTL, len(p.records))
	}
	at := e.tokens[0]
	p.records = append(p.records, Record{RR: clean, File: s.file, Line: at.line, Col: at.col})
}

// full reads any record there is.
func (p *parser) full(h dns.RR_Header, r parts, s *scope) (dns.RR, bool) {
	rr, ok := p.rdata(h, r, s)
	if !ok {
		return nil, false
	}
	clean, _, err := zone.Normalise(rr)
	if err != nil {
		p.fail(s, r.data[0], reason(err), fmt.Sprintf("%s: %v", r.typ.text, err), "")
		return nil, false
	}
	return clean, true
}

// owner takes the entry's owner name, or carries the one before.
func (p *parser) owner(e entry, s *scope) (parts, bool) {
	r := parts{typ: e.tokens[0], data: e.tokens}
	if e.blank {
		if s.lost {
			return r, false
		}
		if s.owner == "" {
			p.fail(s, e.tokens[0], "no-owner", "line begins with a blank, but no owner name stands before it", "begin the line with a name, or with @ for the zone itself")
			return r, false
		}
		return r, true
	}
	t := e.tokens[0]
	n, err := absolute(t.text, s.origin)
	if err != nil {
		s.owner, s.lost = "", true
		p.fail(s, t, "bad-name", fmt.Sprintf("owner %s: %v", t.text, err), "")
		return r, false
	}
	if n != s.owner {
		s.owner, s.ownerText = n, n.String()
	}
	s.lost = false
	r.data = e.tokens[1:]
	return r, true
}

// parts is what is left of an entry, piece by piece.
type parts struct {
	typ    token
	data   []token
	hasTTL bool
}

// head takes TTL and class, in either order, and the type.
func (p *parser) head(r parts, s *scope) (dns.RR_Header, parts, bool) {
	h := dns.RR_Header{Name: s.ownerText, Class: dns.ClassINET}
	classSeen := false
	for ; len(r.data) > 0; r.data = r.data[1:] {
		t := r.data[0]
		word := strings.ToUpper(t.text)
		if typ, ok := parseType(word); ok {
			h.Rrtype, r.typ, r.data = typ, t, r.data[1:]
			if !r.hasTTL && p.ttlKnown {
				h.Ttl, r.hasTTL = p.ttl, true
			}
			return h, r, true
		}
		if class, ok := parseClass(word); ok && !classSeen {
			if class != dns.ClassINET {
				p.fail(s, t, "bad-class", fmt.Sprintf("class %s is not served", t.text), "leave it out or write IN")
				return h, r, false
			}
			classSeen = true
			continue
		}
		ttl, ok := parseTTL(t.text)
		if !ok || r.hasTTL {
			p.fail(s, t, "bad-type", fmt.Sprintf("%q is no record type", t.text), headHint(t.text, s, p.zone))
			return h, r, false
		}
		h.Ttl, r.hasTTL = ttl, true
		if !p.byDefault {
			p.ttl, p.ttlKnown = ttl, true
		}
	}
	p.fail(s, r.typ, "no-type", "record has no type", "")
	return h, r, false
}

func headHint(text string, s *scope, zone name.Name) string {
	switch {
	case strings.HasPrefix(text, "$"):
		return "a directive begins in the first column"
	case strings.IndexByte("0123456789", text[0]) >= 0:
		return "expected TTL, class, type, data; a name in front is missing? a line with the owner of the line before begins with a blank"
	}
	return "types not known by name are written TYPE and their number"
}

func parseType(word string) (uint16, bool) {
	if t, ok := dns.StringToType[word]; ok && t != dns.TypeNone && t != dns.TypeReserved {
		return t, true
	}
	return numbered(word, "TYPE") // RFC 3597, Section 5
}

func parseClass(word string) (uint16, bool) {
	switch word {
	case "IN":
		return dns.ClassINET, true
	case "CH", "HS", "CS":
		return dns.StringToClass[word], true
	}
	return numbered(word, "CLASS")
}

func numbered(word, prefix string) (uint16, bool) {
	digits, ok := strings.CutPrefix(word, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), err == nil
}

// parseTTL reads seconds, or numbers with units as BIND takes them. Above
// 2^31-1 a TTL would be taken for zero by others (RFC 2181, Section 8).
func parseTTL(text string) (uint32, bool) {
	var total, n uint64
	digits := 0
	for i := range len(text) {
		c := text[i]
		if '0' <= c && c <= '9' {
			if digits++; digits > 10 {
				return 0, false
			}
			n = n*10 + uint64(c-'0')
			continue
		}
		unit := map[byte]uint64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}[c|0x20]
		if unit == 0 || digits == 0 {
			return 0, false
		}
		total, n, digits = total+n*unit, 0, 0
	}
	total += n
	return uint32(total), text != "" && total <= 1<<31-1
}

// absolute reads a name as a zone file writes it: "@" is the origin, and
// without its final dot a name is relative to it.
func absolute(text string, origin name.Name) (name.Name, error) {
	if text == "@" {
		return origin, nil
	}
	if strings.ContainsAny(text, `"`) && !strings.Contains(text, `\"`) {
		return "", errors.New("quotes in a name")
	}
	if dns.IsFqdn(text) || origin == name.Root {
		return name.Parse(text)
	}
	n, err := name.Parse(text)
	if err != nil {
		return "", err
	}
	whole, ok := n.Replace(name.Root, origin)
	if !ok {
		return "", name.ErrLong
	}
	return whole, nil
}

// reason is the word for what zone.Normalise refuses.
func reason(err error) string {
	switch {
	case errors.Is(err, zone.ErrClass):
		return "bad-class"
	case errors.Is(err, zone.ErrMeta):
		return "bad-type"
	case errors.Is(err, zone.ErrEmpty):
		return "no-data"
	case errors.Is(err, zone.ErrTooLarge):
		return "too-large"
	}
	return "bad-data"
}

// checkCut finds the classic that empties DKIM and DMARC records: in
// "TXT v=DKIM1; k=rsa" the semicolon begins a comment.
func (p *parser) checkCut(rr dns.RR, r parts, s *scope) {
	if t := rr.Header().Rrtype; t != dns.TypeTXT && t != dns.TypeSPF {
		return
	}
	for _, t := range r.data {
		if t.cut && !strings.HasSuffix(t.text, `"`) {
			p.warn(s, t, "txt-cut", fmt.Sprintf("the text ends at %q: what follows the semicolon is a comment", t.text), "put the whole text in quotes")
		}
	}
}
