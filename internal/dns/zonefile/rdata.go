package zonefile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// rdata hands one record to the library, as one line without parentheses and
// comments. The owner in that line is the root and the header is put in
// place afterwards, so only the data can surprise. A parse position in that
// line is a token of the entry.
func (p *parser) rdata(h dns.RR_Header, r parts, s *scope) (dns.RR, bool) {
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
		p.fail(s, at, "bad-data", fmt.Sprintf("%s: %s", r.typ.text, message), dataHint(h.Rrtype))
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

// fields is how many tokens of data a type has at least. The library takes
// some that end early, and fills in zeros.
func fields(t uint16) int {
	switch t {
	case dns.TypeSOA:
		return 7
	case dns.TypeMX, dns.TypeHINFO, dns.TypeAFSDB, dns.TypeKX, dns.TypeRT, dns.TypeRP, dns.TypeMINFO, dns.TypeSVCB, dns.TypeHTTPS:
		return 2
	case dns.TypeSRV, dns.TypeDS, dns.TypeCDS, dns.TypeDLV, dns.TypeDNSKEY, dns.TypeCDNSKEY, dns.TypeKEY, dns.TypeTLSA, dns.TypeSMIMEA,
		dns.TypeCERT, dns.TypeZONEMD, dns.TypeLOC, dns.TypeNSEC3PARAM:
		return 4
	case dns.TypeSSHFP, dns.TypeCAA, dns.TypeURI, dns.TypePX, dns.TypeIPSECKEY:
		return 3
	case dns.TypeNAPTR:
		return 6
	case dns.TypeRRSIG, dns.TypeSIG:
		return 9
	case dns.TypeNSEC3:
		return 5
	}
	return 1
}

func dataHint(t uint16) string {
	switch t {
	case dns.TypeA:
		return "an IPv4 address such as 192.0.2.1"
	case dns.TypeAAAA:
		return "an IPv6 address such as 2001:db8::1"
	case dns.TypeMX:
		return "a preference and a name, such as 10 mail"
	case dns.TypeSOA:
		return "primary, mailbox, serial, refresh, retry, expire, minimum"
	case dns.TypeSRV:
		return "priority, weight, port and a name"
	case dns.TypeCAA:
		return `flags, tag and a quoted value, such as 0 issue "ca.example"`
	}
	return ""
}
