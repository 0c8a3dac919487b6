package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
)

// newP256 reads a key of RFC 6605, Section 4.
func newP256(public []byte) verifier {
	const size = 32
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, public...))
	if err != nil {
		return nil
	}
	return func(data, sig []byte) bool {
		if len(sig) != 2*size {
			return false
		}
		sum := sha256.Sum256(data)
		return ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
	}
}
