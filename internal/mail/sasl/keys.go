package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// Keys are what a server keeps of a password that SCRAM-SHA-256 may use (RFC
// 5802, Section 3): enough to know a client by, not enough to be one.
type Keys struct {
	Stored [sha256.Size]byte // H(ClientKey)
	Server [sha256.Size]byte // by which the server proves itself
}

// Stored is what a server tells and asks of one identity.
type Stored struct {
	Salt       []byte
	Iterations int
	Keys       []Keys // of each of its passwords, all made with that salt
}

// Derive makes the keys of a password.
func Derive(password string, salt []byte, iterations int) (Keys, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return Keys{}, fmt.Errorf("derive SCRAM keys: %w", err)
	}
	return Keys{Stored: sha256.Sum256(mac(salted, "Client Key")), Server: [sha256.Size]byte(mac(salted, "Server Key"))}, nil
}

// Equal compares without telling where the two differ.
func (k Keys) Equal(other Keys) bool {
	return subtle.ConstantTimeCompare(k.Stored[:], other.Stored[:]) == 1
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// proves reports whether the proof was made by who knows the password (RFC
// 5802, Section 3).
func (k Keys) proves(proof []byte, message string) bool {
	signature := mac(k.Stored[:], message)
	client := make([]byte, sha256.Size)
	subtle.XORBytes(client, proof, signature)
	hash := sha256.Sum256(client)
	return subtle.ConstantTimeCompare(hash[:], k.Stored[:]) == 1
}
