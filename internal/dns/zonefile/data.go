package zonefile

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// data reads the RDATA of one record into wire form. The first thing that is
// wrong stays: after it every read does nothing.
type data struct {
	rrtype  uint16
	label   string // the type as it was written
	origin  name.Name
	tokens  []token // not read yet
	last    token
	wire    []byte
	scratch []byte
	at      token
	message string // what is wrong; "" while nothing is
	hint    string
}

func newData(rrtype uint16, r parts, s *scope) *data {
	return &data{rrtype: rrtype, label: r.typ.text, origin: s.origin, tokens: r.data, last: r.typ, hint: dataHint(rrtype)}
}

// wrong notes the first problem. No hint means that of the type.
func (d *data) wrong(at token, hint, format string, args ...any) {
	if d.message != "" {
		return
	}
	d.at, d.message = at, fmt.Sprintf(format, args...)
	if hint != "" {
		d.hint = hint
	}
}

// next takes a token; what is for the admin who left it out.
func (d *data) next(what string) (token, bool) {
	if d.message != "" {
		return token{}, false
	}
	if len(d.tokens) == 0 {
		d.wrong(d.last, "", "%s ends too early: the %s is missing", d.label, what)
		return token{}, false
	}
	d.last, d.tokens = d.tokens[0], d.tokens[1:]
	return d.last, true
}

// read reads the whole data of a type known here, and reports whether it is.
func (d *data) read() bool {
	switch d.rrtype {
	case dns.TypeA, dns.TypeAAAA:
		d.addr()
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeDNAME:
		d.name("name")
	case dns.TypeMX:
		d.number("preference", 16)
		d.name("mail host")
	case dns.TypeTXT, dns.TypeSPF:
		d.texts()
	case dns.TypeHINFO:
		d.text("CPU")
		d.text("system")
	case dns.TypeSOA:
		d.soa()
	case dns.TypeSRV:
		d.number("priority", 16)
		d.number("weight", 16)
		d.number("port", 16)
		d.name("target")
	case dns.TypeNAPTR:
		d.number("order", 16)
		d.number("preference", 16)
		d.text("flags")
		d.text("services")
		d.text("regular expression")
		d.name("replacement")
	case dns.TypeCAA:
		d.caa()
	case dns.TypeSVCB, dns.TypeHTTPS:
		d.svcb()
	case dns.TypeLOC:
		d.loc()
	default:
		if !d.secure() {
			return false
		}
	}
	if len(d.tokens) > 0 {
		d.wrong(d.tokens[0], tooMuchHint(d.rrtype), "%s is too much: the data of %s is complete before it", d.tokens[0].quoted(), d.label)
	}
	return true
}

// quoted is the token for a message, with quotes around it and cut to a
// readable length.
func (t token) quoted() string {
	if len(t.text) > 60 {
		return strconv.Quote(t.text[:60]) + "…"
	}
	if strings.HasPrefix(t.text, `"`) {
		return t.text
	}
	return strconv.Quote(t.text)
}

func (d *data) addr() {
	t, ok := d.next("address")
	if !ok {
		return
	}
	ip, err := netip.ParseAddr(t.text)
	ok = err == nil && ip.Zone() == ""
	switch {
	case d.rrtype == dns.TypeA && ok && ip.Is4(), d.rrtype == dns.TypeAAAA && ok && ip.Is6():
		d.wire = append(d.wire, ip.AsSlice()...)
	case d.rrtype == dns.TypeA && ok:
		d.wrong(t, "an IPv6 address belongs in an AAAA record", "%s is not an IPv4 address", t.quoted())
	case d.rrtype == dns.TypeA:
		d.wrong(t, addrHint(d.rrtype, t.text), "%s is not an IPv4 address", t.quoted())
	case ok:
		d.wrong(t, "an IPv4 address belongs in an A record", "%s is not an IPv6 address", t.quoted())
	default:
		d.wrong(t, addrHint(d.rrtype, t.text), "%s is not an IPv6 address", t.quoted())
	}
}

// number reads an unsigned number of so many bits.
func (d *data) number(what string, bits int) uint64 {
	t, ok := d.next(what)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(t.text, 10, bits)
	if err != nil || t.text[0] == '+' {
		d.wrong(t, "", "%s %s is not a number from 0 to %d", what, t.quoted(), uint64(1)<<bits-1)
	}
	d.put(n, bits)
	return n
}

func (d *data) put(n uint64, bits int) {
	switch bits {
	case 8:
		d.wire = append(d.wire, byte(n))
	case 16:
		d.wire = binary.BigEndian.AppendUint16(d.wire, uint16(n))
	default:
		d.wire = binary.BigEndian.AppendUint32(d.wire, uint32(n))
	}
}

func (d *data) name(what string) {
	t, ok := d.next(what)
	if !ok {
		return
	}
	n, err := absolute(t.text, d.origin)
	if err != nil {
		d.wrong(t, nameHint(err), "%s is no name: %v", t.quoted(), err)
		return
	}
	d.wire = append(d.wire, n...)
}

// nameAsWritten keeps the letter case, where it is part of what a signature
// covers (RFC 6840, Section 5.1): signatures of others would fail otherwise.
func (d *data) nameAsWritten(what string) {
	before := len(d.wire)
	if d.name(what); d.message != "" || d.last.text == "@" {
		return
	}
	text := d.last.text
	switch {
	case dns.IsFqdn(text):
	case d.origin == name.Root:
		text += "."
	default:
		text += "." + d.origin.String()
	}
	var buf [255]byte
	if n, err := dns.PackDomainName(text, buf[:], 0, nil, false); err == nil && n == len(d.wire)-before {
		copy(d.wire[before:], buf[:n])
	}
}

// soa reads RFC 1035, Section 3.3.13; the timers may have units.
func (d *data) soa() {
	d.name("primary server")
	d.name("mailbox")
	d.number("serial", 32)
	for _, what := range []string{"refresh", "retry", "expire", "minimum"} {
		t, ok := d.next(what)
		if !ok {
			return
		}
		n, ok := seconds(t.text)
		if !ok || n > 1<<32-1 {
			d.wrong(t, ttlHint, "%s is not a time for %s", t.quoted(), what)
		}
		d.put(n, 32)
	}
}

// caa reads RFC 8659, Section 4.1: the value is one, of any length.
func (d *data) caa() {
	d.number("flags", 8)
	t, ok := d.next("tag")
	if !ok {
		return
	}
	tag, ok := d.joined(t)
	if !ok {
		return
	}
	if len(tag) == 0 || len(tag) > 255 || strings.Trim(strings.ToLower(tag), "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		d.wrong(t, "tags are issue, issuewild, issuemail, issuevmc, iodef, contactemail, contactphone", "%s is no tag: letters and digits only", t.quoted())
		return
	}
	if t, ok = d.next("value"); !ok {
		return
	}
	value, ok := d.joined(t)
	if ok {
		d.wire = append(append(append(d.wire, byte(len(tag))), tag...), value...)
	}
}

func nameHint(err error) string {
	switch err {
	case name.ErrLabel:
		return "two dots in a row, or one in front"
	case name.ErrLong, name.ErrLabel63:
		return "a label has at most 63 octets, a name 255; the origin is added where the final dot is missing"
	case name.ErrEscape:
		return `write \\ for a backslash`
	}
	return "names are written without quotes"
}

func tooMuchHint(t uint16) string {
	switch t {
	case dns.TypeA, dns.TypeAAAA:
		return "one address a record: give the next one a line of its own"
	case dns.TypeCAA:
		return "put the whole value in quotes"
	case dns.TypeSOA:
		return "seven items and no more: " + dataHint(t)
	}
	return "a comment begins with a semicolon; a second record needs a line of its own"
}
