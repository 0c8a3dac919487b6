package dnssec

import (
	"bytes"
	"crypto/sha1"

	"postern/internal/dns/name"
)

// HashSize is the length of an NSEC3 hash; there is one hash algorithm, SHA-1
// (RFC 5155, Section 11).
const HashSize = sha1.Size

const alphabet = "0123456789abcdefghijklmnopqrstuv" // RFC 4648, Section 7, in lower case

// Hash returns a name's NSEC3 hash with no salt and no further iterations, as
// RFC 9276, Section 3.1 wants it. It does not allocate.
func Hash(n name.Name) [HashSize]byte {
	var room [255]byte
	return sha1.Sum(room[:copy(room[:], n)])
}

// HashWith is Hash with salt and iterations, for zones that others signed
// (RFC 5155, Section 5). What it costs grows with iterations: the caller
// bounds them.
func HashWith(n name.Name, salt []byte, iterations uint16) [HashSize]byte {
	var room [255 + 255]byte
	salt = salt[:min(len(salt), 255)]
	size := copy(room[:255], n)
	h := sha1.Sum(room[:size+copy(room[size:], salt)])
	for range iterations {
		copy(room[:], h[:])
		h = sha1.Sum(room[:HashSize+copy(room[HashSize:], salt)])
	}
	return h
}

// AppendHash appends a hash as it is written in an owner name, 32 letters.
func AppendHash(to []byte, h [HashSize]byte) []byte {
	for i := 0; i < HashSize; i += 5 {
		v := uint64(h[i])<<32 | uint64(h[i+1])<<24 | uint64(h[i+2])<<16 | uint64(h[i+3])<<8 | uint64(h[i+4])
		for shift := 35; shift >= 0; shift -= 5 {
			to = append(to, alphabet[v>>shift&31])
		}
	}
	return to
}

// ParseHash reads what AppendHash wrote, in either letter case.
func ParseHash(text string) (h [HashSize]byte, ok bool) {
	if len(text) != HashSize/5*8 {
		return h, false
	}
	for i := 0; i < len(text); i += 8 {
		var v uint64
		for _, c := range []byte(text[i : i+8]) {
			switch {
			case '0' <= c && c <= '9':
				c -= '0'
			case 'a' <= c && c <= 'v':
				c -= 'a' - 10
			case 'A' <= c && c <= 'V':
				c -= 'A' - 10
			default:
				return h, false
			}
			v = v<<5 | uint64(c)
		}
		at := i / 8 * 5
		h[at], h[at+1], h[at+2], h[at+3], h[at+4] = byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	}
	return h, true
}

// HashOwner returns the owner name of the NSEC3 record for a hash in a zone
// (RFC 5155, Section 3); false where it would be too long for a name.
func HashOwner(h [HashSize]byte, zone name.Name) (name.Name, bool) {
	var room [HashSize / 5 * 8]byte
	return zone.Child(string(AppendHash(room[:0], h)))
}

// CoversHash reports whether an NSEC3 record that stands at owner and leads to
// next covers h: h is neither of them (RFC 5155, Section 8.3). The last record
// leads to the first; one alone covers all but itself.
func CoversHash(owner, next, h [HashSize]byte) bool {
	after, before := bytes.Compare(owner[:], h[:]) < 0, bytes.Compare(h[:], next[:]) < 0
	if bytes.Compare(owner[:], next[:]) < 0 {
		return after && before
	}
	return after || before
}
