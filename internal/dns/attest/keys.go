package attest

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// key is one record of the zone's DNSKEY set.
type key struct {
	rr     *dns.DNSKEY
	rdata  []byte
	tag    uint16
	verify verifier // nil: the algorithm is unknown here

	outside bool // it is told of, and not in the set
}

// signs reports whether the key may sign the zone's data: a zone key that is
// not revoked (RFC 4034, Section 2.1.1; RFC 5011, Section 2.1).
func (k *key) signs() bool {
	return k.rr.Flags&dns.ZONE != 0 && k.rr.Flags&dns.REVOKE == 0 && k.rr.Protocol == 3 && k.verify != nil
}

// anyKey counts through those of the set, and then those outside.
func (j *judge) anyKey(i int) *key {
	if i < len(j.keys) {
		return &j.keys[i]
	}
	return &j.outside[i-len(j.keys)]
}

func (k *key) sep() bool { return k.signs() && k.rr.Flags&dns.SEP != 0 }

// takeKeys reads the DNSKEY set. It reports false where nothing of the zone
// can be judged.
func (j *judge) takeKeys(f *findings) bool {
	origin := j.zone.Origin()
	set := j.spots[0].node.Set(dns.TypeDNSKEY)
	if set == nil {
		f.add("dnskey-missing", origin, dns.TypeDNSKEY, "the zone has no keys: it is not signed")
		return false
	}
	for _, rr := range set.RRs {
		if rr, ok := rr.(*dns.DNSKEY); ok {
			j.takeKey(rr, f)
		}
	}
	for _, rr := range j.context.Outside {
		k := newKey(rr)
		k.outside = true
		if public, err := base64.StdEncoding.DecodeString(rr.PublicKey); err == nil {
			k.verify, _, _ = newVerifier(rr.Algorithm, public)
		}
		// One that is in the set as well is no outsider.
		if !slices.ContainsFunc(j.keys, func(in key) bool { return bytes.Equal(in.rdata, k.rdata) }) {
			j.outside = append(j.outside, k)
		}
	}
	for i := range j.keys {
		k := &j.keys[i]
		if k.signs() && !slices.Contains(j.algorithms, k.rr.Algorithm) {
			j.algorithms = append(j.algorithms, k.rr.Algorithm)
		}
	}
	slices.Sort(j.algorithms)
	if len(j.algorithms) == 0 {
		f.add("dnskey-missing", origin, dns.TypeDNSKEY, "none of %s can sign the zone", plural(len(set.RRs), "key"))
		return false
	}
	return true
}

func (j *judge) takeKey(rr *dns.DNSKEY, f *findings) {
	origin := j.zone.Origin()
	bad := func(code, format string, args ...any) { f.add(code, origin, dns.TypeDNSKEY, format, args...) }
	public, err := base64.StdEncoding.DecodeString(rr.PublicKey)
	if err != nil {
		bad("dnskey-bad", "the public key is no base64: %v", err)
		return
	}
	k := newKey(rr)
	var known, strong bool
	k.verify, known, strong = newVerifier(rr.Algorithm, public)
	switch {
	case rr.Flags&dns.ZONE == 0 || rr.Protocol != 3: // RFC 4034, Sections 2.1.1 and 2.1.2
		bad("dnskey-bad", "key %d is no zone key: flags %d, protocol %d", k.tag, rr.Flags, rr.Protocol)
	case !known:
		bad("algorithm-unknown", "key %d is of algorithm %d, which is not judged here", k.tag, rr.Algorithm)
	case k.verify == nil:
		bad("dnskey-bad", "key %d is no key of algorithm %d", k.tag, rr.Algorithm)
	case j.context.Presigned:
	case rr.Algorithm == dns.RSASHA1 || rr.Algorithm == dns.RSASHA1NSEC3SHA1: // RFC 9904; RFC 9905
		bad("algorithm-old", "key %d is of algorithm %d, with SHA-1", k.tag, rr.Algorithm)
	case !strong:
		bad("key-weak", "key %d is an RSA key of fewer than 2048 bits", k.tag)
	}
	j.keys = append(j.keys, k)
}

// newKey makes a key whose signatures are not asked for.
func newKey(rr *dns.DNSKEY) key {
	k := key{rr: rr, rdata: append(binary.BigEndian.AppendUint16(nil, rr.Flags), rr.Protocol, rr.Algorithm)}
	// Text that is no base64 gives a key that nothing leads to.
	k.rdata, _ = base64.StdEncoding.AppendDecode(k.rdata, []byte(rr.PublicKey))
	k.tag = tagOf(k.rdata)
	return k
}

// tagOf computes a key tag (RFC 4034, Appendix B).
func tagOf(rdata []byte) uint16 {
	sum := uint32(0)
	for i, c := range rdata {
		sum += uint32(c) << (8 * (^i & 1))
	}
	return uint16(sum + sum>>16)
}

// trust judges the apex DNSKEY set's signers, which are those keys whose
// signatures over it hold: a secure entry point of each algorithm that has
// one, and what the parent points to.
func (j *judge) trust(signers []*key, f *findings) {
	origin := j.zone.Origin()
	by := func(algorithm uint8, sep bool) bool {
		return slices.ContainsFunc(signers, func(k *key) bool { return k.rr.Algorithm == algorithm && (!sep || k.sep()) })
	}
	entries := 0
	for _, a := range j.algorithms {
		has := slices.ContainsFunc(j.keys, func(k key) bool { return k.rr.Algorithm == a && k.sep() })
		switch {
		case has && by(a, true):
			entries++
		case has && by(a, false): // where nobody signs with it, the set's own signatures tell
			f.add("dnskey-sep", origin, dns.TypeDNSKEY, "no key of algorithm %d with the SEP flag signs the DNSKEY set", a)
		}
	}
	hasSEP := slices.ContainsFunc(j.keys, func(k key) bool { return k.sep() })
	// RFC 4034, Section 2.1.1: the flag is a hint; what we publish keeps to it.
	if entries == 0 && !hasSEP && !j.context.Presigned {
		f.add("dnskey-sep", origin, dns.TypeDNSKEY, "no key has the SEP flag")
	}
	j.parent(signers, f)
}

// parent holds the keys against the parent's DS set (RFC 4035, Sections 2.2
// and 5.2).
func (j *judge) parent(signers []*key, f *findings) {
	origin := j.zone.Origin()
	matched := map[uint8]bool{}
	for _, ds := range j.context.DS {
		if _, ok := matched[ds.Algorithm]; !ok {
			matched[ds.Algorithm] = false
		}
		for _, k := range signers {
			if j.matches(ds, k) {
				matched[ds.Algorithm] = true
			}
		}
	}
	any := false
	for _, ok := range matched {
		any = any || ok
	}
	switch {
	case len(matched) == 0:
	case !any:
		f.add("ds-unmatched", origin, dns.TypeDS, "none of the parent's %s points to a key that signs the DNSKEY set", plural(len(j.context.DS), "DS record"))
	default:
		for a, ok := range matched {
			// RFC 6840, Section 5.11: the DS set says what algorithms sign the zone.
			if !ok && !slices.Contains(j.algorithms, a) {
				f.add("ds-algorithm", origin, dns.TypeDS, "the parent's DS set has algorithm %d, with which nothing is signed", a)
			}
		}
	}
}

// matches reports whether the DS record is that of the key.
func (j *judge) matches(ds *dns.DS, k *key) bool {
	if ds.KeyTag != k.tag || ds.Algorithm != k.rr.Algorithm {
		return false
	}
	want, err := hex.DecodeString(strings.ReplaceAll(ds.Digest, " ", ""))
	if err != nil {
		return false
	}
	data := append([]byte(j.zone.Origin()), k.rdata...) // RFC 4034, Section 5.1.4
	switch ds.DigestType {
	case dns.SHA1:
		sum := sha1.Sum(data)
		return bytes.Equal(sum[:], want)
	case dns.SHA256:
		sum := sha256.Sum256(data)
		return bytes.Equal(sum[:], want)
	case dns.SHA384:
		sum := sha512.Sum384(data)
		return bytes.Equal(sum[:], want)
	}
	return false
}

// verifier reports whether sig is the key's signature of data.
type verifier func(data, sig []byte) bool

// newVerifier reads a public key; nil where it is none. It also reports
// whether the algorithm is one of those judged here, and the key long enough.
func newVerifier(algorithm uint8, public []byte) (v verifier, known, strong bool) {
	switch algorithm {
	case dns.RSASHA1, dns.RSASHA1NSEC3SHA1:
		return newRSA(public, crypto.SHA1)
	case dns.RSASHA256:
		return newRSA(public, crypto.SHA256)
	case dns.RSASHA512:
		return newRSA(public, crypto.SHA512)
	case dns.ECDSAP256SHA256:
		return newP256(public), true, true
	case dns.ECDSAP384SHA384:
		return newP384(public), true, true
	case dns.ED25519:
		return newEd25519(public), true, true
	}
	return nil, false, false
}
