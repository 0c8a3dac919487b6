package zonefile

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// The parameters of RFC 9460, Section 14.3.2 whose value has a form.
const (
	keyMandatory = iota
	keyALPN
	keyNoDefaultALPN
	keyPort
	keyIPv4Hint
	keyECH
	keyIPv6Hint
	keyDoHPath
	keyOHTTP
	keyGroups
)

func paramKey(word string) (uint16, bool) {
	for i, known := range []string{"mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp", "tls-supported-groups"} {
		if word == known {
			return uint16(i), true
		}
	}
	digits, ok := strings.CutPrefix(word, "key")
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), ok && err == nil && n != 65535 && (digits == "0" || digits[0] != '0')
}

type param struct {
	at    token
	value []byte
}

// svcb reads RFC 9460, Section 2.1.
func (d *data) svcb() {
	d.number("priority", 16)
	d.nameAsWritten("target")
	params := map[uint16]param{}
	for len(d.tokens) > 0 {
		t, ok := d.next("parameter")
		if !ok {
			return
		}
		word, text, given := strings.Cut(t.text, "=")
		key, ok := paramKey(word)
		if !ok {
			d.wrong(t, "mandatory, alpn, no-default-alpn, port, ipv4hint, ech, ipv6hint, dohpath, ohttp, or key and a number; lower case", "%q is no parameter", word)
			return
		}
		if _, twice := params[key]; twice {
			d.wrong(t, "RFC 9460, Section 2.1: once each; several values are separated by commas", "parameter %s is given twice", word)
			return
		}
		at := t
		at.text, at.col = text, t.col+len(word)+1
		value, ok := d.joined(at)
		if !ok {
			return
		}
		wire, why := paramValue(key, value, given, strings.HasPrefix(word, "key"))
		if why != "" {
			d.wrong(t, "", "%s %s", word, why)
			return
		}
		params[key] = param{t, wire}
	}
	d.mandatory(params)
	keys := make([]uint16, 0, len(params))
	for k := range params {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		d.put(uint64(k), 16)
		d.put(uint64(len(params[k].value)), 16)
		d.wire = append(d.wire, params[k].value...)
	}
}

// mandatory holds RFC 9460, Section 8: what is listed is there, once, and is
// not "mandatory" itself.
func (d *data) mandatory(params map[uint16]param) {
	list := params[keyMandatory]
	for i := 0; i+1 < len(list.value); i += 2 {
		k := binary.BigEndian.Uint16(list.value[i:])
		_, there := params[k]
		switch {
		case k == keyMandatory:
			d.wrong(list.at, "leave it out of the list", "mandatory lists itself")
		case !there:
			d.wrong(list.at, "give that parameter too, or take it out of the list", "mandatory lists %s, which the record does not have", dns.SVCBKey(k))
		case i > 0 && k == binary.BigEndian.Uint16(list.value[i-2:]):
			d.wrong(list.at, "list it once", "mandatory lists %s twice", dns.SVCBKey(k))
		}
	}
}

// paramValue makes the wire form of a value, or says what it lacks. Behind
// keyNNNNN stand the octets themselves, also where that key has a name.
func paramValue(key uint16, text string, given, octets bool) ([]byte, string) {
	switch key {
	case keyNoDefaultALPN, keyOHTTP:
		if given && (text != "" || !octets) {
			return nil, "takes no value"
		}
		return nil, ""
	case keyMandatory, keyALPN, keyPort, keyIPv4Hint, keyECH, keyIPv6Hint, keyDoHPath, keyGroups:
		if text == "" {
			return nil, "needs a value"
		}
	}
	if octets {
		key = 65535 // no form
	}
	switch key {
	case keyMandatory:
		return paramKeys(text)
	case keyALPN:
		return paramALPN(text)
	case keyPort:
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, "is a number from 0 to 65535"
		}
		return binary.BigEndian.AppendUint16(nil, uint16(n)), ""
	case keyIPv4Hint, keyIPv6Hint:
		return paramAddrs(text, key == keyIPv4Hint)
	case keyECH:
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, "is not base64"
		}
		return raw, ""
	case keyGroups:
		var out []byte
		for part := range strings.SplitSeq(text, ",") {
			n, err := strconv.ParseUint(part, 10, 16)
			if err != nil {
				return nil, "is a list of numbers, with commas"
			}
			out = binary.BigEndian.AppendUint16(out, uint16(n))
		}
		return out, ""
	}
	if len(text) > 65535 {
		return nil, "has more than 65535 octets"
	}
	return []byte(text), ""
}

func paramKeys(text string) ([]byte, string) {
	var keys []uint16
	for part := range strings.SplitSeq(text, ",") {
		k, ok := paramKey(part)
		if !ok {
			return nil, "lists " + strconv.Quote(part) + ", which is no parameter"
		}
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []byte
	for _, k := range keys {
		out = binary.BigEndian.AppendUint16(out, k)
	}
	return out, ""
}

// paramALPN splits at commas that no backslash escapes (RFC 9460, Appendix
// A.1: the second of the two levels of escapes).
func paramALPN(text string) ([]byte, string) {
	var out, id []byte
	end := func() bool {
		if len(id) == 0 || len(id) > 255 {
			return false
		}
		out = append(append(out, byte(len(id))), id...)
		id = id[:0]
		return true
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (text[i+1] == '\\' || text[i+1] == ','):
			i++
			id = append(id, text[i])
		case c == '\\':
			return nil, `has a backslash that is followed by neither a comma nor a backslash`
		case c != ',':
			id = append(id, c)
		case !end():
			return nil, "has an empty protocol, or one of more than 255 octets"
		}
	}
	if !end() {
		return nil, "has an empty protocol, or one of more than 255 octets"
	}
	return out, ""
}

func paramAddrs(text string, four bool) ([]byte, string) {
	var out []byte
	for part := range strings.SplitSeq(text, ",") {
		ip, err := netip.ParseAddr(part)
		switch {
		case four && (err != nil || !ip.Is4()):
			return nil, "holds " + strconv.Quote(part) + ", which is not an IPv4 address"
		case !four && err == nil && ip.Is4In6():
			return nil, "holds an IPv4 address in the form of IPv6, which belongs in ipv4hint"
		case !four && (err != nil || !ip.Is6() || ip.Zone() != ""):
			return nil, "holds " + strconv.Quote(part) + ", which is not an IPv6 address"
		}
		out = append(out, ip.AsSlice()...)
	}
	return out, ""
}
