package dnssec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Verify reports whether the signature over the set is good at that time: nil,
// or which of the rules of RFC 4035, Section 5.3 it breaks. The records are as
// zone.Normalise makes them, in any order, the owner is the one they were found
// at. Whether a wildcard was right to be expanded is for the caller to prove:
// see Expanded.
func Verify(k *dns.DNSKEY, sig *dns.RRSIG, owner name.Name, rrs []dns.RR, now time.Time) error {
	signer, err := name.Parse(sig.SignerName)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if err := fits(k, sig, signer, owner, rrs); err != nil {
		return err
	}
	// RFC 4034, Section 3.1.5: serial number arithmetic.
	if at := uint32(now.Unix()); int32(at-sig.Inception) < 0 || int32(sig.Expiration-at) < 0 {
		return ErrTime
	}
	source, err := sourceOf(sig, owner)
	if err != nil {
		return err
	}
	data, err := AppendSet(append(appendPrefix(nil, sig), signer...), source, sig.OrigTtl, rrs)
	if err != nil {
		return err
	}
	public, err := PublicKey(k)
	if err != nil {
		return err
	}
	signature, err := base64.StdEncoding.DecodeString(sig.Signature)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if !verify(public, k.Algorithm, data, signature) {
		return ErrSignature
	}
	return nil
}

// fits holds signature, set and key against each other (RFC 4035, Section 5.3.1).
func fits(k *dns.DNSKEY, sig *dns.RRSIG, signer, owner name.Name, rrs []dns.RR) error {
	tag, err := Tag(k)
	if err != nil {
		return err
	}
	keyOwner, err := name.Parse(k.Hdr.Name)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrKey, err)
	case len(rrs) == 0, signer != keyOwner, !owner.IsBelow(signer), sig.Algorithm != k.Algorithm, sig.KeyTag != tag:
		return ErrMismatch
	case k.Flags&FlagZone == 0, k.Protocol != 3:
		return ErrMismatch
	case k.Flags&FlagRevoke != 0 && sig.TypeCovered != dns.TypeDNSKEY: // RFC 5011, Section 2.1
		return ErrMismatch
	}
	for _, rr := range rrs {
		if rr.Header().Rrtype != sig.TypeCovered {
			return ErrMismatch
		}
	}
	return nil
}

// Expanded reports whether the signature was made over a wildcard that owner is
// an expansion of (RFC 4035, Section 5.3.4).
func Expanded(sig *dns.RRSIG, owner name.Name) bool { return sig.Labels < Labels(owner) }

// sourceOf returns the owner that the signature was made over (RFC 4035,
// Section 5.3.2).
func sourceOf(sig *dns.RRSIG, owner name.Name) (name.Name, error) {
	have := Labels(owner)
	switch {
	case sig.Labels > have:
		return "", ErrLabels
	case sig.Labels == have:
		return owner, nil
	}
	for n := owner.Labels(); n > int(sig.Labels); n-- {
		owner = owner.Parent()
	}
	source, ok := owner.Child("*")
	if !ok {
		return "", ErrLabels
	}
	return source, nil
}

func verify(public crypto.PublicKey, alg uint8, data, signature []byte) bool {
	digest, hash := digestOf(alg, data)
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		size := (p.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(p, digest, r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(p, data, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, hash, digest, signature) == nil
	}
	return false
}
