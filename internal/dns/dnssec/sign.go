package dnssec

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Signatory signs sets with one key. It reuses its buffers and is not safe for
// concurrent use; several may share a key.
type Signatory struct {
	key    Key
	size   int    // of a signature; 0: whatever it is
	signed []byte // what the signature is made over
	rdata  []byte
}

// NewSignatory returns a Signatory with the key, which must have a Signer.
func NewSignatory(key Key) (*Signatory, error) {
	s := &Signatory{key: key}
	switch key.Alg {
	case ECDSAP256SHA256, ED25519:
		s.size = 64
	case ECDSAP384SHA384:
		s.size = 96
	case RSASHA256:
	default:
		return nil, fmt.Errorf("%w: %d", ErrAlgorithm, key.Alg)
	}
	if key.Signer == nil {
		return nil, fmt.Errorf("%w: %s has no private part", ErrKey, key)
	}
	return s, nil
}

// Key returns the key.
func (s *Signatory) Key() Key { return s.key }

// Sign returns the data of an RRSIG record over the set in wire form; it holds
// until the next call. RFC 4034, Section 3.1.8.1.
func (s *Signatory) Sign(owner name.Name, set *zone.RRset, inception, expiration uint32) ([]byte, error) {
	to := binary.BigEndian.AppendUint16(s.signed[:0], set.Type)
	to = append(to, s.key.Alg, Labels(owner))
	to = binary.BigEndian.AppendUint32(to, set.TTL)
	to = binary.BigEndian.AppendUint32(to, expiration)
	to = binary.BigEndian.AppendUint32(to, inception)
	to = binary.BigEndian.AppendUint16(to, s.key.Tag)
	to = append(to, s.key.Zone...)
	s.rdata = append(s.rdata[:0], to...)
	to, err := AppendSet(to, owner, set.TTL, set.RRs)
	if err != nil {
		return nil, err
	}
	s.signed = to
	digest, hash := digestOf(s.key.Alg, to)
	signature, err := s.key.Signer.Sign(nil, digest, hash)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", s.key, err)
	}
	if s.rdata, err = s.appendSignature(s.rdata, signature); err != nil {
		return nil, fmt.Errorf("key %s: %w", s.key, err)
	}
	return s.rdata, nil
}

// Labels counts an owner's labels as a signature does: a leading asterisk does
// not count (RFC 4034, Section 3.1.3).
func Labels(owner name.Name) uint8 {
	n := owner.Labels()
	if owner.IsWildcard() {
		n--
	}
	return uint8(n)
}

// digestOf returns what a signer is given.
func digestOf(alg uint8, data []byte) ([]byte, crypto.Hash) {
	switch alg {
	case ECDSAP384SHA384:
		sum := sha512.Sum384(data)
		return sum[:], crypto.SHA384
	case RSASHA512:
		sum := sha512.Sum512(data)
		return sum[:], crypto.SHA512
	case ED25519:
		return data, 0
	}
	sum := sha256.Sum256(data)
	return sum[:], crypto.SHA256
}

// appendSignature appends a signature as an RRSIG holds it.
func (s *Signatory) appendSignature(to, signature []byte) ([]byte, error) {
	if s.key.Alg != ECDSAP256SHA256 && s.key.Alg != ECDSAP384SHA384 {
		if len(signature) == 0 || s.size != 0 && len(signature) != s.size {
			return to, ErrToken
		}
		return append(to, signature...), nil
	}
	// RFC 6605, Section 4: r and s at full length, not the ASN.1 of crypto.Signer.
	var pair, r, t []byte
	in := cryptobyte.String(signature)
	if !in.ReadASN1((*cryptobyte.String)(&pair), asn1.SEQUENCE) || !in.Empty() {
		return to, ErrToken
	}
	in = pair
	if !in.ReadASN1Integer(&r) || !in.ReadASN1Integer(&t) || !in.Empty() || len(r) > s.size/2 || len(t) > s.size/2 {
		return to, ErrToken
	}
	return appendPadded(appendPadded(to, r, s.size/2), t, s.size/2), nil
}

func appendPadded(to, number []byte, size int) []byte {
	for range size - len(number) {
		to = append(to, 0)
	}
	return append(to, number...)
}

// Record returns the RRSIG record whose data Sign returned.
func Record(owner name.Name, ttl uint32, rdata []byte) (*dns.RRSIG, error) {
	h := dns.RR_Header{Name: owner.String(), Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: ttl, Rdlength: uint16(len(rdata))}
	rr, _, err := dns.UnpackRRWithHeader(h, rdata, 0)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	sig, ok := rr.(*dns.RRSIG)
	if !ok {
		return nil, ErrSignature
	}
	return sig, nil
}
