package gate

import (
	"encoding/binary"
	"math/bits"
)

// sip is the state of SipHash-2-4 (Aumasson and Bernstein), the keyed hash
// of RFC 9018, Section 4.4. It is passed by value, so that it stays in
// registers.
type sip struct{ v0, v1, v2, v3 uint64 }

func newSip(key *Secret) sip {
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	return sip{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
}

func (s sip) round() sip {
	s.v0 += s.v1
	s.v2 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 = bits.RotateLeft64(s.v0, 32) + s.v3
	s.v2 += s.v1
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
	return s
}

// two takes two words of the message in.
func (s sip) two(a, b uint64) sip {
	s.v3 ^= a
	s = s.round().round()
	s.v0 ^= a
	s.v3 ^= b
	s = s.round().round()
	s.v0 ^= b
	return s
}

// end returns the hash. The last word holds what is left of the message and, in
// its highest octet, the length of the whole.
func (s sip) end(last uint64) uint64 {
	s.v3 ^= last
	s = s.round().round()
	s.v0 ^= last
	s.v2 ^= 0xff
	s = s.round().round().round().round()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}
