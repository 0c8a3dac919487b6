package attest

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// errText is a record whose text is none: it never came through a Builder.
var errText = errors.New("record cannot be written")

// appendRecord appends a record as it is signed and digested: uncompressed,
// names as RFC 4034, Section 6.2 and RFC 6840, Section 5.1 have them, which is
// how a zone keeps them. Half of a signed zone are three types that the
// library is slow to write: these are written here.
func appendRecord(to []byte, owner name.Name, rr dns.RR) ([]byte, error) {
	switch rr := rr.(type) {
	case *dns.RRSIG:
		to, at := appendHead(to, owner, &rr.Hdr)
		to, err := appendSigned(to, rr)
		if err != nil {
			return to, err
		}
		if to, err = base64.StdEncoding.AppendDecode(to, []byte(rr.Signature)); err != nil {
			return to, err
		}
		return setLength(to, at), nil
	case *dns.NSEC:
		to, at := appendHead(to, owner, &rr.Hdr)
		next, _, err := wireName(to, rr.NextDomain)
		if err != nil {
			return to, err
		}
		to, err = appendBitmap(next, rr.TypeBitMap)
		return setLength(to, at), err
	case *dns.NSEC3:
		if len(rr.NextDomain) == 32 { // a hash of SHA-1: there is no other
			return appendNSEC3(to, owner, rr)
		}
	}
	return zone.AppendWire(to, owner, rr)
}

func appendNSEC3(to []byte, owner name.Name, rr *dns.NSEC3) ([]byte, error) {
	to, at := appendHead(to, owner, &rr.Hdr)
	to = append(to, rr.Hash, rr.Flags)
	to = binary.BigEndian.AppendUint16(to, rr.Iterations)
	to = append(to, rr.SaltLength)
	var err error
	// The library writes no salt as a hyphen where it reads text.
	if rr.Salt != "" && rr.Salt != "-" {
		if to, err = hex.AppendDecode(to, []byte(rr.Salt)); err != nil {
			return to, err
		}
	}
	to = append(to, rr.HashLength)
	if to, err = base32.HexEncoding.AppendDecode(to, []byte(rr.NextDomain)); err != nil {
		return to, err
	}
	to, err = appendBitmap(to, rr.TypeBitMap)
	return setLength(to, at), err
}

// appendHead appends owner, type, class, TTL and room for a length.
func appendHead(to []byte, owner name.Name, h *dns.RR_Header) (out []byte, length int) {
	to = append(to, owner...)
	to = binary.BigEndian.AppendUint16(to, h.Rrtype)
	to = binary.BigEndian.AppendUint16(to, h.Class)
	to = binary.BigEndian.AppendUint32(to, h.Ttl)
	return append(to, 0, 0), len(to)
}

func setLength(b []byte, at int) []byte {
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}

// appendSigned appends the RDATA of an RRSIG without the signature, which is
// what the signature covers of it (RFC 4034, Section 3.1.8.1).
func appendSigned(to []byte, s *dns.RRSIG) ([]byte, error) {
	to = binary.BigEndian.AppendUint16(to, s.TypeCovered)
	to = append(to, s.Algorithm, s.Labels)
	to = binary.BigEndian.AppendUint32(to, s.OrigTtl)
	to = binary.BigEndian.AppendUint32(to, s.Expiration)
	to = binary.BigEndian.AppendUint32(to, s.Inception)
	to = binary.BigEndian.AppendUint16(to, s.KeyTag)
	return name.AppendParsed(to, s.SignerName)
}

// wireName appends a name in the letter case it is written in, and reports
// whether that is lower case. The next name of an NSEC record is signed as it
// stands (RFC 6840, Section 5.1).
func wireName(to []byte, text string) (out []byte, lower bool, err error) {
	lower = true
	for i := range len(text) {
		lower = lower && (text[i] < 'A' || text[i] > 'Z')
	}
	if lower {
		out, err = name.AppendParsed(to, text)
		return out, true, err
	}
	var room [256]byte
	end, err := dns.PackDomainName(text, room[:], 0, nil, false)
	if err != nil {
		return to, false, err
	}
	return append(to, room[:end]...), false, nil
}

// appendBitmap appends types as NSEC and NSEC3 list them (RFC 4034, Section
// 4.1.2). They are in order.
func appendBitmap(to []byte, types []uint16) ([]byte, error) {
	var window [32]byte
	for i := 0; i < len(types); {
		block, used := types[i]>>8, 0
		clear(window[:])
		for ; i < len(types) && types[i]>>8 == block; i++ {
			at := int(types[i] & 0xff >> 3)
			window[at] |= bits.Reverse8(1 << (types[i] & 7))
			used = max(used, at+1)
		}
		if i < len(types) && types[i]>>8 < block {
			return to, errText
		}
		to = append(to, byte(block), byte(used))
		to = append(to, window[:used]...)
	}
	return to, nil
}
