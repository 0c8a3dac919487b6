package answer

import (
	"crypto/sha1" // #nosec G505 -- the only hash there is (RFC 5155, Section 11)
	"encoding/hex"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const hashLen = sha1.Size

// hash is the NSEC3 hash of a name.
type hash [hashLen]byte

// How a zone denies what it has not.
const (
	byNothing = iota // it is not signed
	byName           // NSEC
	byHash           // NSEC3
	byCost           // NSEC3 with more iterations than maxIterations
)

// maxIterations bounds what one question costs, at most two hashes of so many
// rounds, and what compiling costs. A zone with more is served, with the apex's
// NSEC3 record in the place of every proof: that shows a validator how many
// iterations there are, and all of them take such a zone for unsigned (RFC
// 9276, Section 3.2), of which they then ask for no proof. Departs from RFC
// 5155, Section 7.2.
const maxIterations = 150

// scheme is how a zone denies, and for NSEC3 by which hash.
type scheme struct {
	deny       uint8
	iterations uint16
	salt       string
}

// schemeOf finds it out. Of several chains of NSEC3 records that counts which
// NSEC3PARAM names (RFC 5155, Section 7.1): it is the last to come and the first
// to go, so while it is there the chain is whole.
func schemeOf(src *zone.Zone) scheme {
	apex := src.Node(src.Origin())
	if params := apex.Set(dns.TypeNSEC3PARAM); params != nil {
		for _, rr := range params.RRs {
			p, ok := rr.(*dns.NSEC3PARAM)
			// RFC 5155, Section 4.1.2: with other flags it means nothing to us.
			if !ok || p.Hash != dns.SHA1 || p.Flags != 0 {
				continue
			}
			salt, err := hex.DecodeString(p.Salt)
			if err != nil {
				continue
			}
			s := scheme{deny: byHash, iterations: p.Iterations, salt: string(salt)}
			if s.iterations > maxIterations {
				s.deny = byCost
			}
			h := s.of([]byte(src.Origin()))
			if s.proof(src.Node(proofName(&h, src.Origin()))) {
				return s
			}
		}
	}
	if apex.Set(dns.TypeNSEC) != nil {
		return scheme{deny: byName}
	}
	return scheme{}
}

// hashed reports whether the zone denies by NSEC3.
func (s *scheme) hashed() bool { return s.deny == byHash || s.deny == byCost }

// of returns the hash of a name in lower case (RFC 5155, Section 5).
func (s *scheme) of(key []byte) (h hash) {
	var room [2 + 255 + 255]byte // "*" below the longest name, and the longest salt
	n := copy(room[:], key)
	h = sha1.Sum(room[:n+copy(room[n:], s.salt)]) // #nosec G401
	for range s.iterations {
		n = copy(room[:], h[:])
		h = sha1.Sum(room[:n+copy(room[n:], s.salt)]) // #nosec G401
	}
	return h
}

// proof reports whether the node holds an NSEC3 record of this scheme.
func (s *scheme) proof(node *zone.Node) bool {
	set := node.Set(dns.TypeNSEC3)
	if set == nil || !s.hashed() {
		return false
	}
	for _, rr := range set.RRs {
		if r, ok := rr.(*dns.NSEC3); ok && r.Hash == dns.SHA1 && r.Iterations == s.iterations && strings.EqualFold(r.Salt, hex.EncodeToString([]byte(s.salt))) {
			return true
		}
	}
	return false
}

// asideOf reports whether a node is no name but only the place of NSEC3
// records (RFC 5155, Section 7.2.8), if there is no name below it.
func asideOf(node *zone.Node) bool {
	if node.Set(dns.TypeNSEC3) == nil {
		return false
	}
	for i := range node.Sets {
		if t := node.Sets[i].Type; t != dns.TypeNSEC3 && t != dns.TypeRRSIG {
			return false
		}
	}
	return true
}

// proofLen is the length of the first label of an NSEC3 record's owner, its
// own octet counted.
const proofLen = 1 + hashLen*8/5

// proofMark stands before a hash in place of the label's length, so that no
// question finds an NSEC3 record by its owner.
const proofMark = 0xA0

const digits = "0123456789abcdefghijklmnopqrstuv" // RFC 4648, Section 7

// proofKey is what the owner of the NSEC3 record of that hash is called in the
// arena: the label in lower case with proofMark. Keys stand in the order of
// their hashes.
func proofKey(h *hash) (key [proofLen]byte) {
	key[0] = proofMark
	for i, at := 0, 1; i < hashLen; i += 5 {
		five := uint64(h[i])<<32 | uint64(h[i+1])<<24 | uint64(h[i+2])<<16 | uint64(h[i+3])<<8 | uint64(h[i+4])
		for shift := 35; shift >= 0; shift -= 5 {
			key[at] = digits[five>>shift&31]
			at++
		}
	}
	return key
}

// proofName is the name that the NSEC3 record of the hash has in the zone.
func proofName(h *hash, origin name.Name) name.Name {
	key := proofKey(h)
	key[0] = proofLen - 1
	return name.Name(key[:]) + origin
}

// hashOf reads the hash off the owner of an NSEC3 record (RFC 5155, Section 3).
func hashOf(n, origin name.Name) (h hash, ok bool) {
	if len(n) != proofLen+len(origin) || n[0] != proofLen-1 {
		return h, false
	}
	var five uint64
	for i := range proofLen - 1 {
		value := strings.IndexByte(digits, n[1+i])
		if value < 0 {
			return h, false
		}
		if five = five<<5 | uint64(value); i%8 == 7 {
			for j := range 5 {
				h[i/8*5+j] = byte(five >> (32 - 8*j))
			}
			five = 0
		}
	}
	return h, true
}
