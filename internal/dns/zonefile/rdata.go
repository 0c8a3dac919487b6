package zonefile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// rdata reads the data of one record: the types that zones consist of here,
// rare ones with the library.
func (p *parser) rdata(h dns.RR_Header, r parts, s *scope) (dns.RR, bool) {
	d := newData(h.Rrtype, r, s)
	d.wire, d.scratch = p.data[:0], p.scratch
	defer func() { p.data, p.scratch = d.wire, d.scratch }()
	switch {
	case r.data[0].text == `\#`:
		d.generic()
	case !d.read():
		return p.foreign(h, r, s)
	}
	if d.message == "" && len(d.wire) > 65535 {
		d.wrong(d.last, "", "the data of %s has %d octets, a record has at most 65535", d.label, len(d.wire))
	}
	if d.message != "" {
		p.fail(s, d.at, "bad-data", d.message, d.hint)
		return nil, false
	}
	if len(d.wire) == 0 && !mayBeEmpty(h.Rrtype) {
		p.fail(s, r.data[0], "no-data", r.typ.text+": record data is empty", d.hint)
		return nil, false
	}
	h.Rdlength = uint16(len(d.wire))
	rr, err := p.arena.Data(h, d.wire)
	if err != nil {
		p.fail(s, r.data[0], "bad-data", fmt.Sprintf("the octets are no data of %s", r.typ.text), dataHint(h.Rrtype))
		return nil, false
	}
	return rr, true
}

// mayBeEmpty reports whether a type may have no data; what is not known may.
func mayBeEmpty(t uint16) bool {
	_, known := dns.TypeToRR[t]
	return !known || t == dns.TypeAPL || t == dns.TypeNULL
}

// generic reads RFC 3597, Section 5, for known types too.
func (d *data) generic() {
	d.hint = `\# LENGTH HEX, such as \# 4 c0000201`
	d.tokens = d.tokens[1:]
	size := d.number("length", 16)
	if size > 0 || len(d.tokens) > 0 {
		d.wire = d.wire[:0]
		d.hex("data")
	} else {
		d.wire = d.wire[:0]
	}
	if d.message == "" && uint64(len(d.wire)) != size {
		d.wrong(d.last, "", "the length is given as %d octets, the data has %d", size, len(d.wire))
	}
}

// foreign hands one record to the library, as one line without parentheses
// and comments. The owner in that line is the root and the header is put in
// place afterwards, so only the data can surprise. A parse position in that
// line is a token of the entry.
func (p *parser) foreign(h dns.RR_Header, r parts, s *scope) (dns.RR, bool) {
	if _, known := dns.TypeToRR[h.Rrtype]; !known {
		p.fail(s, r.data[0], "bad-data", fmt.Sprintf("the data of %s is not known here", r.typ.text), `write it in octets: \# LENGTH HEX`)
		return nil, false
	}
	if least := fields(h.Rrtype); len(r.data) < least {
		p.fail(s, r.data[len(r.data)-1], "bad-data", fmt.Sprintf("%s has %d items of data, at least %d are needed", r.typ.text, len(r.data), least), dataHint(h.Rrtype))
		return nil, false
	}
	var line strings.Builder
	line.WriteString(". 0 IN TYPE")
	if _, known := dns.TypeToString[h.Rrtype]; known {
		line.Reset()
		line.WriteString(". 0 IN " + dns.TypeToString[h.Rrtype])
	} else {
		line.WriteString(strconv.Itoa(int(h.Rrtype)))
	}
	starts := make([]int, len(r.data))
	for i, t := range r.data {
		line.WriteByte(' ')
		starts[i] = line.Len()
		line.WriteString(t.text)
	}
	line.WriteByte('\n')
	zp := dns.NewZoneParser(strings.NewReader(line.String()), s.origin.String(), "")
	rr, ok := zp.Next()
	if ok {
		if _, more := zp.Next(); more {
			ok = false
		}
	}
	if err := zp.Err(); err != nil || !ok || rr == nil {
		at, message := place(err, r.data, starts)
		p.fail(s, at, "bad-data", fmt.Sprintf("the data of %s: %s", r.typ.text, message), dataHint(h.Rrtype))
		return nil, false
	}
	if amt, is := rr.(*dns.AMTRELAY); is && amt.GatewayType > 0x80 {
		// RFC 8777, Section 4.2.2: the library takes that bit for a part of
		// the type, and would serve the record without its relay.
		p.fail(s, r.data[1], "bad-data", "AMTRELAY with the discovery bit and a relay is not supported", "write 0 for it")
		return nil, false
	}
	*rr.Header() = h
	return rr, true
}

var libraryError = regexp.MustCompile(`^dns: (.*) at line: (\d+):(\d+)$`)

// place turns the library's error text into a token and a message.
func place(err error, tokens []token, starts []int) (token, string) {
	at := tokens[0]
	if err == nil {
		return at, "malformed data"
	}
	m := libraryError.FindStringSubmatch(err.Error())
	if m == nil {
		return at, strings.TrimPrefix(err.Error(), "dns: ")
	}
	message := strings.TrimSuffix(m[1], `: "\n"`)
	if m[2] != "1" { // past the line: the data ended too early
		return tokens[len(tokens)-1], message + ", the data ends too early"
	}
	col, convErr := strconv.Atoi(m[3])
	if convErr != nil {
		return at, message
	}
	for i := range starts {
		if starts[i] < col {
			at = tokens[i]
		}
	}
	return at, message
}

// fields is how many tokens of data a type of the library's has at least. It
// takes some that end early, and fills in zeros.
func fields(t uint16) int {
	switch t {
	case dns.TypeAFSDB, dns.TypeKX, dns.TypeRT, dns.TypeRP, dns.TypeMINFO:
		return 2
	case dns.TypeURI, dns.TypePX, dns.TypeIPSECKEY:
		return 3
	case dns.TypeCERT, dns.TypeZONEMD, dns.TypeNSEC3PARAM:
		return 4
	case dns.TypeNSEC3:
		return 5
	}
	return 1
}

// dataHint shows what the data of a type looks like.
func dataHint(t uint16) string {
	switch t {
	case dns.TypeA:
		return "such as 192.0.2.1"
	case dns.TypeAAAA:
		return "such as 2001:db8::1"
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeDNAME:
		return "a name, such as www or www.example.org."
	case dns.TypeTXT, dns.TypeSPF:
		return "text in quotes"
	case dns.TypeMX:
		return "a preference and a name, such as 10 mail"
	case dns.TypeSOA:
		return "primary, mailbox, serial, refresh, retry, expire, minimum"
	case dns.TypeSRV:
		return "priority, weight, port and a name, such as 0 1 443 www"
	case dns.TypeCAA:
		return `flags, tag and a quoted value, such as 0 issue "ca.example"`
	case dns.TypeDS, dns.TypeCDS:
		return "key tag, algorithm, digest type and digest, such as 12345 13 2 and 64 hexadecimal digits"
	case dns.TypeTLSA, dns.TypeSMIMEA:
		return "usage, selector, matching type and digest, such as 3 1 1 and 64 hexadecimal digits"
	case dns.TypeSSHFP:
		return "algorithm, fingerprint type and fingerprint, as ssh-keygen -r prints it"
	case dns.TypeDNSKEY, dns.TypeCDNSKEY:
		return "flags, protocol, algorithm and key, such as 257 3 13 and base64"
	case dns.TypeRRSIG:
		return "type, algorithm, labels, TTL, expiration, inception, key tag, signer and signature"
	case dns.TypeNSEC:
		return "the next name and the types here"
	case dns.TypeNAPTR:
		return `order, preference, "flags", "services", "regular expression" and a name`
	case dns.TypeSVCB, dns.TypeHTTPS:
		return "priority, target and parameters, such as 1 . alpn=h2"
	case dns.TypeLOC:
		return "latitude, longitude and altitude, such as 52 22 23 N 4 53 32 E -2m"
	case dns.TypeHINFO:
		return `two strings, such as "PC" "Linux"`
	}
	return "the form is in the RFC of the type; octets are written \\# LENGTH HEX"
}
