package gate

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"

	"postern/internal/dns/wire"
)

// Secret is the key of server cookies. It never prints.
type Secret [16]byte

// String keeps the secret out of logs.
func (Secret) String() string { return "(secret)" }

// GoString keeps the secret out of logs.
func (Secret) GoString() string { return "(secret)" }

// Secrets is what cookies are made with. It is a value, swapped as a whole.
//
// Servers of one anycast set share it, and roll it over in three steps (RFC
// 9018, Section 5): the new one as Other everywhere, then as Current with the
// old as Other, then, an hour later, alone.
type Secrets struct {
	Current  Secret // makes cookies, and checks them
	Other    Secret // only checks: the one before, or the one to come
	HasOther bool
}

// Standing is what a client's COOKIE option proves.
type Standing uint8

// Standings. Only Valid and Renew prove that the client gets mail at its
// address.
const (
	NoCookie Standing = iota
	Unproven          // a client cookie alone, or a server cookie that is not ours or has expired
	Valid
	Renew // valid, but the client is to be given a new one
)

// String returns the standing as a word.
func (s Standing) String() string { return [...]string{"none", "unproven", "valid", "renew"}[s] }

// Proven reports whether the client's address is its own.
func (s Standing) Proven() bool { return s >= Valid }

// RFC 9018, Section 4.3: how far, in seconds, the time in a cookie may lie
// back or ahead, and when a new one is due.
const (
	maxAge   = 3600
	maxAhead = 300
	renewAge = 1800
)

// version is the first octet of a server cookie; three reserved octets and
// the time follow, then the hash (RFC 9018, Section 4).
const version = 1

// Check weighs the data of a COOKIE option, as wire.Query.Cookie returns it.
// now is in seconds since 1970, modulo 2^32.
func (s *Secrets) Check(cookie []byte, client netip.Addr, now uint32) Standing {
	switch {
	case len(cookie) == 0:
		return NoCookie
	case len(cookie) != wire.FullCookie || cookie[wire.ClientCookie] != version:
		return Unproven
	}
	// RFC 9018, Section 4.3: times are compared by RFC 1982.
	age := int32(now - binary.BigEndian.Uint32(cookie[12:]))
	if age > maxAge || age < -maxAhead {
		return Unproven
	}
	sent := binary.LittleEndian.Uint64(cookie[16:])
	if same(s.Current.hash(cookie, client), sent) {
		if age > renewAge {
			return Renew
		}
		return Valid
	}
	if s.HasOther && same(s.Other.hash(cookie, client), sent) {
		return Renew
	}
	return Unproven
}

// same compares in constant time.
func same(a, b uint64) bool {
	x := a ^ b
	return subtle.ConstantTimeEq(int32(x), 0)&subtle.ConstantTimeEq(int32(x>>32), 0) == 1
}

// Make writes a new cookie for the client cookie that begins the option's
// data.
func (s *Secrets) Make(dst *[wire.FullCookie]byte, cookie []byte, client netip.Addr, now uint32) {
	copy(dst[:wire.ClientCookie], cookie)
	dst[8], dst[9], dst[10], dst[11] = version, 0, 0, 0
	binary.BigEndian.PutUint32(dst[12:], now)
	binary.LittleEndian.PutUint64(dst[16:], s.Current.hash(dst[:], client))
}

// hash is that of client cookie, version, reserved octets, time and address
// (RFC 9018, Section 4.4); those of the first sixteen octets come as sent.
func (k *Secret) hash(cookie []byte, client netip.Addr) uint64 {
	h := newSip(k).two(binary.LittleEndian.Uint64(cookie), binary.LittleEndian.Uint64(cookie[8:]))
	if client.Is4() || client.Is4In6() {
		a := client.As4()
		return h.end(20<<56 | uint64(binary.LittleEndian.Uint32(a[:])))
	}
	a := client.As16()
	return h.two(binary.LittleEndian.Uint64(a[:]), binary.LittleEndian.Uint64(a[8:])).end(32 << 56)
}
