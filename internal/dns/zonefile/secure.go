package zonefile

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// secure reads the types that hold keys, digests and signatures, and reports
// whether the type is one of them.
func (d *data) secure() bool {
	switch d.rrtype {
	case dns.TypeDS, dns.TypeCDS, dns.TypeDLV:
		d.number("key tag", 16)
		d.algorithm()
		d.number("digest type", 8)
		d.hex("digest")
	case dns.TypeTLSA, dns.TypeSMIMEA:
		d.number("usage", 8)
		d.number("selector", 8)
		d.number("matching type", 8)
		d.hex("certificate data")
	case dns.TypeSSHFP:
		d.number("algorithm", 8)
		d.number("fingerprint type", 8)
		d.hex("fingerprint")
	case dns.TypeDNSKEY, dns.TypeCDNSKEY, dns.TypeKEY:
		d.number("flags", 16)
		d.number("protocol", 8)
		d.algorithm()
		d.base64("key")
	case dns.TypeRRSIG, dns.TypeSIG:
		d.covered()
		d.algorithm()
		d.number("number of labels", 8)
		d.number("original TTL", 32)
		d.time("expiration")
		d.time("inception")
		d.number("key tag", 16)
		d.name("signer")
		d.base64("signature")
	case dns.TypeNSEC:
		d.nameAsWritten("next name")
		d.bitmap()
	case dns.TypeNSEC3:
		d.number("hash algorithm", 8)
		d.number("flags", 8)
		d.number("iterations", 16)
		d.salt()
		d.hash("next hashed owner")
		d.bitmap()
	default:
		return false
	}
	return true
}

// salt reads RFC 5155, Section 3.3: "-" is none.
func (d *data) salt() {
	t, ok := d.next("salt")
	if !ok {
		return
	}
	raw, err := hex.DecodeString(t.text)
	if t.text == "-" {
		raw, err = nil, nil
	}
	if err != nil || len(raw) > 255 {
		d.wrong(t, "hexadecimal digits, or - for no salt", "%s is no salt", t.quoted())
		return
	}
	d.wire = append(append(d.wire, byte(len(raw))), raw...)
}

// hash reads base32 with extended hex alphabet, without padding (RFC 5155,
// Section 3.3).
func (d *data) hash(what string) {
	t, ok := d.next(what)
	if !ok {
		return
	}
	d.scratch = d.scratch[:0]
	for _, c := range []byte(t.text) {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		d.scratch = append(d.scratch, c)
	}
	at := len(d.wire)
	wire, err := base32.HexEncoding.WithPadding(base32.NoPadding).AppendDecode(append(d.wire, 0), d.scratch)
	size := len(wire) - at - 1
	if err != nil || size < 1 || size > 255 { // Section 3.1.6: at least one octet
		d.wrong(t, "the first label of the next NSEC3 record's owner", "%s is no hash", t.quoted())
		return
	}
	wire[at] = byte(size)
	d.wire = wire
}

func (d *data) algorithm() {
	t, ok := d.next("algorithm")
	if !ok {
		return
	}
	n, err := strconv.ParseUint(t.text, 10, 8)
	if err != nil {
		known, ok := dns.StringToAlgorithm[strings.ToUpper(t.text)]
		if !ok {
			d.wrong(t, "a number from 0 to 255, such as 13 for ECDSAP256SHA256", "%s is no DNSSEC algorithm", t.quoted())
		}
		n = uint64(known)
	}
	d.put(n, 8)
}

func (d *data) covered() {
	t, ok := d.next("type covered")
	if !ok {
		return
	}
	n, ok := parseType(strings.ToUpper(t.text))
	if !ok {
		d.wrong(t, typeHint, "%s is no record type", t.quoted())
	}
	d.put(uint64(n), 16)
}

// rest takes all tokens that are left as one text: RFC 4034 lets blanks stand
// within keys, digests and signatures.
func (d *data) rest(what string) (string, []token) {
	first, ok := d.next(what)
	if !ok {
		return "", nil
	}
	all := []token{first}
	var b strings.Builder
	b.WriteString(first.text)
	for len(d.tokens) > 0 {
		t, _ := d.next(what)
		all = append(all, t)
		b.WriteString(t.text)
	}
	return b.String(), all
}

// find is the place of an octet of what rest returned.
func find(all []token, at int) token {
	for _, t := range all {
		if at < len(t.text) {
			t.col += at
			return t
		}
		at -= len(t.text)
	}
	return all[len(all)-1]
}

func (d *data) hex(what string) {
	text, all := d.rest(what)
	if all == nil {
		return
	}
	const digits = "0123456789abcdefABCDEF"
	if i := strings.IndexFunc(text, func(c rune) bool { return !strings.ContainsRune(digits, c) }); i >= 0 {
		d.wrong(find(all, i), "only the digits 0-9 and a-f", "%q in the %s is no hexadecimal digit", []rune(text[i:])[0], what)
		return
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		d.wrong(all[len(all)-1], "two digits an octet: one is missing or too many", "the %s has an odd number of hexadecimal digits, %d", what, len(text))
		return
	}
	d.wire = append(d.wire, raw...)
}

func (d *data) base64(what string) {
	if d.plainBase64() {
		return
	}
	text, all := d.rest(what)
	if all == nil {
		return
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 {
		at := all[0]
		if i, ok := err.(base64.CorruptInputError); ok {
			at = find(all, int(i))
		}
		d.wrong(at, "was it cut when it was copied? it ends in = or == where its length is no multiple of four", "the %s is not base64", what)
		return
	}
	d.wire = append(d.wire, raw...)
}

// plainBase64 takes all tokens that are left if they are right: base64 says what
// is wrong if they are not.
func (d *data) plainBase64() bool {
	if d.message != "" || len(d.tokens) == 0 {
		return false
	}
	d.scratch = d.scratch[:0]
	for _, t := range d.tokens {
		d.scratch = append(d.scratch, t.text...)
	}
	wire, err := base64.StdEncoding.Strict().AppendDecode(d.wire, d.scratch)
	if err != nil || len(wire) == len(d.wire) {
		return false
	}
	d.wire, d.last, d.tokens = wire, d.tokens[len(d.tokens)-1], nil
	return true
}

// time reads RFC 4034, Section 3.2: seconds since 1970, or YYYYMMDDHHmmSS,
// both modulo 2^32.
func (d *data) time(what string) {
	t, ok := d.next(what)
	if !ok {
		return
	}
	var n uint64
	var err error
	if len(t.text) == 14 {
		var at time.Time
		at, err = time.Parse("20060102150405", t.text)
		n = uint64(at.Unix())
	} else {
		n, err = strconv.ParseUint(t.text, 10, 32)
	}
	if err != nil {
		d.wrong(t, "YYYYMMDDHHmmSS in UTC, or seconds since 1970", "%s is not a time for the %s", t.quoted(), what)
	}
	d.put(n, 32)
}

// bitmap reads type names into RFC 4034, Section 4.1.2.
func (d *data) bitmap() {
	var list []uint16
	for len(d.tokens) > 0 {
		t, ok := d.next("type")
		if !ok {
			return
		}
		n, ok := parseType(strings.ToUpper(t.text))
		if !ok {
			d.wrong(t, typeHint, "%s is no record type", t.quoted())
			return
		}
		list = append(list, n)
	}
	slices.Sort(list)
	for i := 0; i < len(list); {
		var bits [32]byte
		window, size := list[i]>>8, 0
		for ; i < len(list) && list[i]>>8 == window; i++ {
			low := list[i] & 255
			bits[low/8] |= 0x80 >> (low % 8)
			size = int(low/8) + 1
		}
		d.wire = append(append(d.wire, byte(window), byte(size)), bits[:size]...)
	}
}
