// Package tsig holds the keys shared with those who sign their messages, and
// what their TSIG records prove: Verify weighs the record of one request, and
// the Verdict signs the reply, or with Stream each message of a long one; Ask
// signs a request of our own, and Asked weighs the reply to it, or with Replies
// each message of a long one. The MAC is taken over the octets as they came, so
// nothing is unpacked and packed again in between.
//
// It is pure: the time is an argument, and keys are given to it as values that
// cannot print. It never decides what a key may do, and owns no goroutine. RFC
// 8945, and RFC 4635 for the algorithms.
package tsig

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"

	"postern/internal/dns/name"
	"postern/internal/secret"
)

// Algorithm is how a MAC is made. The zero value is none.
type Algorithm uint8

// The algorithms of RFC 8945, Section 6 that are not deprecated, and SHA-1,
// which still must be there. HMAC-MD5 is unknown here: it must not be used.
const (
	SHA1 Algorithm = iota + 1
	SHA224
	SHA256
	SHA384
	SHA512
)

var algorithms = [...]struct {
	word string
	wire name.Name // RFC 8945, Section 6: the word is the only label
	new  func() hash.Hash
	size int
}{
	SHA1:   {"hmac-sha1", "\x09hmac-sha1\x00", sha1.New, sha1.Size},
	SHA224: {"hmac-sha224", "\x0bhmac-sha224\x00", sha256.New224, sha256.Size224},
	SHA256: {"hmac-sha256", "\x0bhmac-sha256\x00", sha256.New, sha256.Size},
	SHA384: {"hmac-sha384", "\x0bhmac-sha384\x00", sha512.New384, sha512.Size384},
	SHA512: {"hmac-sha512", "\x0bhmac-sha512\x00", sha512.New, sha512.Size},
}

// maxMAC is the length of the longest MAC.
const maxMAC = sha512.Size

// ParseAlgorithm reads "hmac-sha256"; it reports false for what is not known.
func ParseAlgorithm(word string) (Algorithm, bool) {
	for a := SHA1; a.known(); a++ {
		if algorithms[a].word == word {
			return a, true
		}
	}
	return 0, false
}

// String is the algorithm's name.
func (a Algorithm) String() string {
	if !a.known() {
		return "none"
	}
	return algorithms[a].word
}

// Size is the length of a whole MAC in octets; 0 for none.
func (a Algorithm) Size() int {
	if !a.known() {
		return 0
	}
	return algorithms[a].size
}

func (a Algorithm) known() bool { return a > 0 && int(a) < len(algorithms) }

// Key is a secret shared with those who may use it.
type Key struct {
	Name      name.Name
	Algorithm Algorithm
	Secret    secret.Value // the octets themselves
	// Shortest is the length of the shortest MAC that is taken of a client
	// that cuts it off (RFC 8945, Section 5.2.4), in octets; 0: only whole ones.
	Shortest int
}

// new returns a running MAC.
func (k *Key) new() hash.Hash { return hmac.New(algorithms[k.Algorithm].new, k.Secret.Reveal()) }

// Keys is an immutable set of keys. A nil one holds none.
type Keys struct {
	named map[name.Name]*Key
}

// What is wrong with a key.
var (
	ErrTwice     = errors.New("the name stands twice")
	ErrAlgorithm = errors.New("no algorithm")
	ErrSecret    = errors.New("no secret")
)

// NewKeys returns the set of these keys.
func NewKeys(all []Key) (*Keys, error) {
	k := &Keys{named: make(map[name.Name]*Key, len(all))}
	for _, key := range all {
		switch {
		case k.named[key.Name] != nil:
			return nil, fmt.Errorf("key %s: %w", key.Name, ErrTwice)
		case !key.Algorithm.known():
			return nil, fmt.Errorf("key %s: %w", key.Name, ErrAlgorithm)
		case key.Secret.IsZero():
			return nil, fmt.Errorf("key %s: %w", key.Name, ErrSecret)
		}
		k.named[key.Name] = &key
	}
	return k, nil
}

// Has reports whether there is a key of that name.
func (k *Keys) Has(n name.Name) bool { return k.find(n) != nil }

func (k *Keys) find(n name.Name) *Key {
	if k == nil {
		return nil
	}
	return k.named[n]
}
