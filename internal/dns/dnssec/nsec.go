package dnssec

import "postern/internal/dns/name"

// Covers reports whether the NSEC record at owner, whose next name is next,
// covers n: n stands between them and is neither (RFC 4034, Section 6.1). The
// last record leads back to the zone's own name and covers what comes after it
// within the zone.
func Covers(owner, next, n name.Name) bool {
	if owner.Compare(n) >= 0 {
		return false
	}
	if owner.Compare(next) < 0 {
		return n.Compare(next) < 0
	}
	return n.IsBelow(next)
}

// AppendBitmap appends a type bitmap (RFC 4034, Section 4.1.2). The types are
// in order.
func AppendBitmap(to []byte, types []uint16) []byte {
	window, at := -1, 0 // at: where the window's octets begin
	for _, t := range types {
		if int(t>>8) != window {
			window = int(t >> 8)
			to = append(to, byte(window), 0)
			at = len(to)
		}
		octet := at + int(t&0xff)>>3
		for len(to) <= octet {
			to = append(to, 0)
		}
		to[octet] |= 0x80 >> (t & 7)
		to[at-1] = byte(len(to) - at)
	}
	return to
}
