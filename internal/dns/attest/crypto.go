package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"math/big"
)

// newP384 reads a key of RFC 6605, Section 4.
func newP384(public []byte) verifier {
	const size = 48
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), append([]byte{4}, public...))
	if err != nil {
		return nil
	}
	return func(data, sig []byte) bool {
		if len(sig) != 2*size {
			return false
		}
		sum := sha512.Sum384(data)
		return ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
	}
}

// newEd25519 reads a key of RFC 8080, Section 3.
func newEd25519(public []byte) verifier {
	if len(public) != ed25519.PublicKeySize {
		return nil
	}
	return func(data, sig []byte) bool { return ed25519.Verify(public, data, sig) }
}

// maxModulus bounds the work that one RSA key causes (RFC 3110, Section 2).
const maxModulus = 4096 / 8

// newRSA reads a key of RFC 3110, Section 2. The standard library refuses the
// short keys that old zones still have, so the few lines of RFC 8017, Section
// 8.2.2 stand here.
func newRSA(public []byte, hash crypto.Hash) (v verifier, known, strong bool) {
	if len(public) < 3 {
		return nil, true, false
	}
	size, rest := int(public[0]), public[1:]
	if size == 0 {
		size, rest = int(binary.BigEndian.Uint16(rest)), rest[2:]
	}
	// An exponent beyond 64 bits is nobody's, and costs too much.
	if size == 0 || size > 8 || len(rest) <= size || len(rest)-size > maxModulus {
		return nil, true, false
	}
	e, n := new(big.Int).SetBytes(rest[:size]), new(big.Int).SetBytes(rest[size:])
	if e.Bit(0) == 0 || n.Bit(0) == 0 || e.Cmp(big.NewInt(1)) == 0 {
		return nil, true, false
	}
	width := (n.BitLen() + 7) / 8
	return func(data, sig []byte) bool {
		s := new(big.Int).SetBytes(sig)
		want := padded(data, hash, width)
		if want == nil || s.Cmp(n) >= 0 || len(sig) != width {
			return false
		}
		return bytes.Equal(s.Exp(s, e, n).FillBytes(make([]byte, width)), want)
	}, true, n.BitLen() >= 2048
}

// padded is EMSA-PKCS1-v1_5 (RFC 8017, Section 9.2); nil where it does not fit.
func padded(data []byte, hash crypto.Hash, width int) []byte {
	var info string // the start of a DigestInfo, in DER
	var sum []byte
	switch hash {
	case crypto.SHA1:
		s := sha1.Sum(data)
		info, sum = "\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14", s[:]
	case crypto.SHA256:
		s := sha256.Sum256(data)
		info, sum = "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20", s[:]
	default:
		s := sha512.Sum512(data)
		info, sum = "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40", s[:]
	}
	fill := width - 3 - len(info) - len(sum)
	if fill < 8 {
		return nil
	}
	out := append(make([]byte, 0, width), 0, 1)
	for range fill {
		out = append(out, 0xff)
	}
	out = append(out, 0)
	return append(append(out, info...), sum...)
}
