package seal

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
)

// ErrKind means that a key's kind is not one of DKIM's.
var ErrKind = errors.New("key is neither RSA nor Ed25519")

// Record writes the TXT record of a public key (RFC 6376, Section 3.6.1).
func Record(pub crypto.PublicKey) (string, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		// SubjectPublicKeyInfo, as everybody publishes (errata 3017).
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return "", fmt.Errorf("encode key: %w", err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
	case ed25519.PublicKey:
		// The bare key (RFC 8463, Section 4).
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub), nil
	}
	return "", ErrKind
}
