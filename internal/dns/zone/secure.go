package zone

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Of a signed zone two records of three are signatures and denials, and what
// they hold stands elsewhere in the zone too: the signer is one, the next name
// is the next owner, and there are few kinds of bitmaps. Each is kept once.

// maxBitmaps bounds the bitmaps that an arena knows again.
const maxBitmaps = 1024

// once is a name that may come again.
type once struct {
	wire [256]byte
	size int
	text string
}

func (o *once) is(n []byte) bool { return o.text != "" && string(o.wire[:o.size]) == string(n) }

func (o *once) take(n []byte, text string) string {
	o.size, o.text = copy(o.wire[:], n), text
	return text
}

// shownAgain is shown for a name that the one before often was too.
func (m *Arena) shownAgain(n []byte, before *once) string {
	if before.is(n) {
		return before.text
	}
	return before.take(n, m.shown(name.Name(n)))
}

// Owner keeps an owner name in both its forms.
func (m *Arena) Owner(wire, text []byte) (name.Name, string) {
	n := name.Name(m.Text(wire))
	if m.next.is(wire) {
		return n, m.next.text
	}
	return n, m.Text(text)
}

// secure reads the types that signing adds; nil leaves the data to the library.
func (m *Arena) secure(h dns.RR_Header, data []byte) dns.RR {
	switch h.Rrtype {
	case dns.TypeRRSIG:
		return m.signature(h, data)
	case dns.TypeNSEC:
		if next, rest, ok := cutName(data); ok {
			if types, ok := m.types(h, data, rest); ok {
				return put(&m.nsec, dns.NSEC{Hdr: h, NextDomain: m.shownAgain(next, &m.next), TypeBitMap: types})
			}
		}
	case dns.TypeNSEC3:
		return m.hashed(h, data)
	case dns.TypeDS:
		if len(data) > 4 {
			return put(&m.ds, dns.DS{
				Hdr: h, KeyTag: binary.BigEndian.Uint16(data), Algorithm: data[2], DigestType: data[3],
				Digest: m.encoded(hex.AppendEncode(m.scratch[:0], data[4:])),
			})
		}
	}
	return nil
}

// signature reads RFC 4034, Section 3.1.
func (m *Arena) signature(h dns.RR_Header, data []byte) dns.RR {
	const fixed = 18
	if len(data) < fixed {
		return nil
	}
	signer, rest, ok := cutName(data[fixed:])
	if !ok || len(rest) == 0 {
		return nil
	}
	return put(&m.rrsig, dns.RRSIG{
		Hdr: h, TypeCovered: binary.BigEndian.Uint16(data), Algorithm: data[2], Labels: data[3],
		OrigTtl: binary.BigEndian.Uint32(data[4:]), Expiration: binary.BigEndian.Uint32(data[8:]),
		Inception: binary.BigEndian.Uint32(data[12:]), KeyTag: binary.BigEndian.Uint16(data[16:]),
		SignerName: m.shownAgain(signer, &m.signer),
		Signature:  m.encoded(base64.StdEncoding.AppendEncode(m.scratch[:0], rest)),
	})
}

// hashed reads RFC 5155, Section 3.2, without salt, of a hash that base32 needs
// no padding for.
func (m *Arena) hashed(h dns.RR_Header, data []byte) dns.RR {
	const fixed = 6 // with an empty salt
	if len(data) < fixed || data[4] != 0 || data[5] == 0 || data[5]%5 != 0 || len(data) < fixed+int(data[5]) {
		return nil
	}
	end := fixed + int(data[5])
	types, ok := m.types(h, data, data[end:])
	if !ok {
		return nil
	}
	return put(&m.nsec3, dns.NSEC3{
		Hdr: h, Hash: data[0], Flags: data[1], Iterations: binary.BigEndian.Uint16(data[2:]),
		HashLength: data[5], NextDomain: m.encoded(base32.HexEncoding.AppendEncode(m.scratch[:0], data[fixed:end])), TypeBitMap: types,
	})
}

// types returns what a bitmap lists. The library reads the first of each kind,
// as a part of the whole record's data.
func (m *Arena) types(h dns.RR_Header, data, bitmap []byte) ([]uint16, bool) {
	if types, ok := m.bitmaps[string(bitmap)]; ok {
		return types, true
	}
	rr, end, err := dns.UnpackRRWithHeader(h, data, 0)
	if err != nil || end != len(data) {
		return nil, false
	}
	var types []uint16
	switch r := rr.(type) {
	case *dns.NSEC:
		types = r.TypeBitMap
	case *dns.NSEC3:
		types = r.TypeBitMap
	}
	if m.bitmaps == nil || len(m.bitmaps) == maxBitmaps {
		m.bitmaps = map[string][]uint16{}
	}
	m.bitmaps[string(bitmap)] = types
	return types, true
}

// encoded keeps what was written to scratch.
func (m *Arena) encoded(b []byte) string {
	m.scratch = b
	return m.Text(b)
}
