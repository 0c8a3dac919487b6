package dnssec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/big"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Key is a zone's key. Without a Signer it is only published.
type Key struct {
	Zone   name.Name
	Flags  uint16
	Alg    uint8
	Tag    uint16
	DNSKEY *dns.DNSKEY // nobody changes it
	// Signer makes signatures. It is called from several goroutines at once
	// and with rand == nil, with which ECDSA is deterministic (RFC 6979); one
	// that needs randomness has its own.
	Signer crypto.Signer
	// Use is what the key does now; 0: what its flags and the policy's model say.
	Use Use
}

// Use is what a key does in a zone while keys come and go: one may be in the
// DNSKEY set before it signs and after, and may sign while it is not in the set
// yet (RFC 6781, Section 4.1.4).
type Use uint8

// The uses.
const (
	InSet     Use = 1 << iota // it is in the DNSKEY set
	SignsKeys                 // it signs the DNSKEY, CDS and CDNSKEY sets
	SignsData                 // it signs all other sets
)

// Does reports whether all of these are among the uses.
func (u Use) Does(what Use) bool { return u&what == what }

// String lists the uses.
func (u Use) String() string {
	var words []string
	for i, word := range [...]string{"in set", "signs keys", "signs data"} {
		if u.Does(1 << i) {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

// NewKey returns the key that the signer holds.
func NewKey(zone name.Name, flags uint16, alg uint8, signer crypto.Signer) (Key, error) {
	public, err := publicOctets(alg, signer.Public())
	if err != nil {
		return Key{}, err
	}
	k := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: zone.String(), Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Rdlength: uint16(4 + len(public))},
		Flags: flags, Protocol: 3, Algorithm: alg, PublicKey: base64.StdEncoding.EncodeToString(public),
	}
	key := Key{Zone: zone, Flags: flags, Alg: alg, DNSKEY: k, Signer: signer}
	if key.Tag, err = Tag(k); err != nil {
		return Key{}, err
	}
	return key, nil
}

// SEP reports whether the key is a secure entry point, which the parent's DS
// may name.
func (k Key) SEP() bool { return k.Flags&FlagSEP != 0 }

// String says which key it is, and nothing of its private part.
func (k Key) String() string { return fmt.Sprintf("%s/%d/%d", k.Zone, k.Alg, k.Tag) }

// GoString is String: no verb prints the private part.
func (k Key) GoString() string { return k.String() }

// Format is String, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue is String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// publicOctets returns a public key as a DNSKEY holds it.
func publicOctets(alg uint8, public crypto.PublicKey) ([]byte, error) {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		// RFC 6605, Section 4: the point, without what says that it is uncompressed.
		if curve := curveOf(alg); curve == nil || curve != p.Curve {
			return nil, fmt.Errorf("%w: %d for a key on another curve", ErrAlgorithm, alg)
		}
		point, err := p.Bytes()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		return point[1:], nil
	case ed25519.PublicKey:
		if alg == ED25519 {
			return p, nil // RFC 8080, Section 3
		}
	case *rsa.PublicKey:
		if alg == RSASHA256 {
			return rsaOctets(p)
		}
	}
	return nil, fmt.Errorf("%w: %d for a key of type %T", ErrAlgorithm, alg, public)
}

// rsaOctets writes exponent and modulus (RFC 3110, Section 2).
func rsaOctets(p *rsa.PublicKey) ([]byte, error) {
	if bits := p.N.BitLen(); bits < minRSA || bits > maxRSA || p.E < 3 {
		return nil, fmt.Errorf("%w: RSA with %d bits", ErrKey, bits)
	}
	e := big.NewInt(int64(p.E)).Bytes() // at most 8 octets
	return append(append([]byte{byte(len(e))}, e...), p.N.Bytes()...), nil
}

const minRSA, maxRSA = 1024, 4096 // RFC 5702, Section 2.1 allows 512 as well

func curveOf(alg uint8) elliptic.Curve {
	switch alg {
	case ECDSAP256SHA256:
		return elliptic.P256()
	case ECDSAP384SHA384:
		return elliptic.P384()
	}
	return nil
}

// PublicKey reads the public key out of a DNSKEY record.
func PublicKey(k *dns.DNSKEY) (crypto.PublicKey, error) {
	octets, err := base64.StdEncoding.DecodeString(k.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	switch k.Algorithm {
	case ECDSAP256SHA256, ECDSAP384SHA384:
		p, err := ecdsa.ParseUncompressedPublicKey(curveOf(k.Algorithm), append([]byte{4}, octets...))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		return p, nil
	case ED25519:
		if len(octets) != ed25519.PublicKeySize {
			return nil, ErrKey
		}
		return ed25519.PublicKey(octets), nil
	case RSASHA256, RSASHA512:
		return rsaKey(octets)
	}
	return nil, fmt.Errorf("%w: %d", ErrAlgorithm, k.Algorithm)
}

func rsaKey(octets []byte) (crypto.PublicKey, error) {
	if len(octets) < 3 {
		return nil, ErrKey
	}
	size, rest := int(octets[0]), octets[1:]
	if size == 0 {
		size, rest = int(binary.BigEndian.Uint16(rest)), rest[2:]
	}
	if size == 0 || size > 4 || len(rest) <= size {
		return nil, ErrKey // an exponent above 2^32 has no use but to be slow
	}
	e := 0
	for _, c := range rest[:size] {
		e = e<<8 | int(c)
	}
	n := new(big.Int).SetBytes(rest[size:])
	if bits := n.BitLen(); bits < minRSA || bits > maxRSA || e < 3 || e > 1<<31-1 {
		return nil, ErrKey
	}
	return &rsa.PublicKey{N: n, E: e}, nil
}

func keyRdata(k *dns.DNSKEY) ([]byte, error) {
	to := binary.BigEndian.AppendUint16(nil, k.Flags)
	to, err := base64.StdEncoding.AppendDecode(append(to, k.Protocol, k.Algorithm), []byte(k.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return to, nil
}

// Tag returns a key's tag (RFC 4034, Appendix B).
func Tag(k *dns.DNSKEY) (uint16, error) {
	data, err := keyRdata(k)
	if err != nil {
		return 0, err
	}
	var sum uint32
	for i, c := range data {
		sum += uint32(c) << (8 * (^i & 1))
	}
	return uint16(sum + sum>>16), nil
}

// DS returns the record for the parent zone (RFC 4034, Section 5.1.4), with
// the digest type dns.SHA256 (RFC 4509) or dns.SHA384 (RFC 6605).
func DS(owner name.Name, k *dns.DNSKEY, digest uint8) (*dns.DS, error) {
	data, err := keyRdata(k)
	if err != nil {
		return nil, err
	}
	tag, err := Tag(k)
	if err != nil {
		return nil, err
	}
	data = append([]byte(owner), data...)
	ds := &dns.DS{
		Hdr:    dns.RR_Header{Name: owner.String(), Rrtype: dns.TypeDS, Class: dns.ClassINET, Ttl: k.Hdr.Ttl},
		KeyTag: tag, Algorithm: k.Algorithm, DigestType: digest,
	}
	switch digest {
	case dns.SHA256:
		sum := sha256.Sum256(data)
		ds.Digest = hex.EncodeToString(sum[:])
	case dns.SHA384:
		sum := sha512.Sum384(data)
		ds.Digest = hex.EncodeToString(sum[:])
	default:
		return nil, fmt.Errorf("%w: digest type %d", ErrAlgorithm, digest)
	}
	ds.Hdr.Rdlength = uint16(4 + len(ds.Digest)/2)
	return ds, nil
}
