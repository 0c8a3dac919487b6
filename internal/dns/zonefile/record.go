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

const (
	ttlHint  = "seconds, or a number with s, m, h, d or w, such as 1h30m; 2147483647 at most"
	typeHint = "types not known by name are written TYPE and their number"
)

// record reads "[owner] [ttl] [class] type rdata" (RFC 1035, Section 5.1) and
// reports whether it could.
func (p *parser) record(e entry, s *scope) bool {
	if len(p.records) >= p.opts.MaxRecords {
		p.fail(s, e.tokens[0], "too-large", fmt.Sprintf("zone has more than %d records", p.opts.MaxRecords), "split the zone by delegation")
		p.done = true
		return false
	}
	rest, ok := p.owner(e, s)
	if !ok {
		return false
	}
	h, rest, ok := p.head(rest, s)
	if !ok {
		return false
	}
	if len(rest.data) == 0 {
		p.fail(s, rest.typ, "no-data", rest.typ.text+" has no data", dataHint(h.Rrtype))
		return false
	}
	clean, ok := p.plain(h, rest.data, s)
	if !ok {
		if clean, ok = p.full(h, rest, s); !ok {
			return false
		}
	}
	p.checkCut(clean, rest, s)
	p.sawSOA(clean)
	if !rest.hasTTL {
		p.noTTL = append(p.noTTL, len(p.records))
	}
	at := e.tokens[0]
	p.records = append(p.records, Record{RR: clean, Owner: s.owner, File: s.file, Line: int32(at.line), Col: int32(at.col)})
	return true
}

// full reads any record there is.
func (p *parser) full(h dns.RR_Header, r parts, s *scope) (dns.RR, bool) {
	rr, ok := p.rdata(h, r, s)
	if !ok {
		return nil, false
	}
	if r.data[0].text != `\#` && isCanonical(rr) {
		return rr, true
	}
	size := rr.Header().Rdlength // the library sets it anew
	clean, _, err := zone.Normalise(rr)
	if err == nil && size > 0 && size != clean.Header().Rdlength {
		// RFC 3597, Section 4: such as a name that is compressed.
		p.fail(s, r.data[0], "bad-data", fmt.Sprintf("the octets are no data of %s", r.typ.text), dataHint(h.Rrtype))
		return nil, false
	}
	if err != nil {
		p.fail(s, r.data[0], reason(err), fmt.Sprintf("%s: %v", r.typ.text, err), dataHint(h.Rrtype))
		return nil, false
	}
	return clean, true
}

// isCanonical reports whether the octets that were read here are those that
// zone.Normalise would make again: names in lower case, one form for each
// value. Signed zones consist of such records.
func isCanonical(rr dns.RR) bool {
	switch rr.(type) {
	case *dns.SOA, *dns.SRV, *dns.DS, *dns.DNSKEY, *dns.RRSIG, *dns.NSEC, *dns.NSEC3:
		return rr.Header().Class == dns.ClassINET && rr.Header().Rdlength > 0 && rr.Header().Rdlength < 4096
	}
	return false
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
	r.data = e.tokens[1:]
	if t.text == s.written && s.owner != "" && !s.lost {
		return r, true
	}
	if wire, shown, ok := p.spell(t.text, s); ok {
		if string(wire) != string(s.owner) {
			s.owner, s.ownerText = p.arena.Owner(wire, shown)
		}
	} else {
		n, err := absolute(t.text, s.origin)
		if err != nil {
			s.owner, s.lost = "", true
			p.fail(s, t, "bad-name", fmt.Sprintf("owner %s: %v", t.text, err), nameHint(err))
			return r, false
		}
		if n != s.owner {
			s.owner, s.ownerText = n, n.String()
		}
	}
	s.lost, s.written = false, t.text
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
		if _, number := seconds(t.text); number && !ok && !r.hasTTL {
			// RFC 2181, Section 8: others take it for zero.
			p.fail(s, t, "bad-ttl", fmt.Sprintf("TTL %s is above 2147483647 seconds", t.text), "a day is 1d, a week 1w")
			return h, r, false
		}
		if !ok || r.hasTTL {
			p.fail(s, t, "bad-type", fmt.Sprintf("%q is no record type", t.text), headHint(r.typ, t))
			return h, r, false
		}
		h.Ttl, r.hasTTL = ttl, true
		if !p.byDefault {
			p.ttl, p.ttlKnown = ttl, true
		}
	}
	hint := strayHint(r.typ.text)
	if hint == "" {
		hint = "name, TTL, class, type, data; a name alone on its line is no record"
	}
	p.fail(s, r.typ, "no-type", "record has no type", hint)
	return h, r, false
}

func parseType(word string) (uint16, bool) {
	switch word { // most records are of these
	case "A":
		return dns.TypeA, true
	case "AAAA":
		return dns.TypeAAAA, true
	case "NS":
		return dns.TypeNS, true
	case "MX":
		return dns.TypeMX, true
	case "CNAME":
		return dns.TypeCNAME, true
	}
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
	total, ok := seconds(text)
	return uint32(total), ok && total <= 1<<31-1
}

// seconds reads a time of any length.
func seconds(text string) (uint64, bool) {
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
		unit := unitOf(c | 0x20)
		if unit == 0 || digits == 0 {
			return 0, false
		}
		total, n, digits = total+n*unit, 0, 0
	}
	return total + n, text != "" && len(text) <= 40
}

func unitOf(c byte) uint64 {
	switch c {
	case 's':
		return 1
	case 'm':
		return 60
	case 'h':
		return 3600
	case 'd':
		return 86400
	case 'w':
		return 604800
	}
	return 0
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
		p.checkQuotes(t, s)
		if t.cut && !strings.HasSuffix(t.text, `"`) {
			p.warn(s, t, "txt-cut", fmt.Sprintf("the text ends at %q: what follows the semicolon is a comment", t.text), "put the whole text in quotes")
		}
	}
}
