package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"

	"postern/internal/lookup"
)

// key is a key record (RFC 6376, Section 3.6.1), or why there is none.
type key struct {
	status  Status // None: it is there
	reason  string
	kind    string // "rsa" or "ed25519"
	rsa     *rsa.PublicKey
	ed25519 ed25519.PublicKey
	sha256  bool // h= allows it
	email   bool // s= does
	testing bool // t=y
	exact   bool // t=s
}

// fetch looks up the keys of the signatures that are not decided, each name
// once and all at the same time.
func fetch(ctx context.Context, r lookup.Resolver, sigs []*signature) map[string]key {
	var names []string
	for _, s := range sigs {
		if n := s.keyName(); s.Status == None && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	found := make([]key, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { found[i] = ask(ctx, r, n) })
	}
	wg.Wait()
	keys := make(map[string]key, len(names))
	for i, n := range names {
		keys[n] = found[i]
	}
	return keys
}

func ask(ctx context.Context, r lookup.Resolver, name string) key {
	answer, err := r.Query(ctx, name, lookup.TXT)
	switch {
	case err != nil && lookup.IsTemporary(err):
		return key{status: TempError, reason: "key unavailable: " + err.Error()}
	case err != nil || len(answer.Records) == 0:
		return noKey("no key for signature: " + name + " has none")
	case len(answer.Records) > 1: // RFC 6376, Section 3.6.2.2: undefined
		return noKey("multiple TXT records found for key")
	}
	return readKey(answer.Records[0].Text)
}

func noKey(why string) key { return key{status: PermError, reason: why} }

// readKey reads a key record. White space of any kind may stand in p=.
func readKey(txt string) key {
	tags, err := parseTags(txt)
	if err != nil {
		return noKey("key syntax error: " + err.Error())
	}
	if v, ok := tags["v"]; ok && v != "DKIM1" {
		return noKey("incompatible public key version")
	}
	p, ok := tags["p"]
	switch {
	case !ok:
		return noKey("key syntax error: no p=")
	case p == "":
		return noKey("key revoked")
	}
	raw, err := base64.StdEncoding.DecodeString(strip(p))
	if err != nil {
		return noKey("key syntax error: p= is not base64")
	}
	k := key{kind: "rsa", sha256: allows(tags, "h", "sha256"), email: allows(tags, "s", "email")}
	flags := list(tags["t"])
	k.testing, k.exact = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	if kind, ok := tags["k"]; ok {
		k.kind = strings.ToLower(strip(kind))
	}
	if why := k.read(raw); why != "" {
		k.status, k.reason = PermError, why
	}
	return k
}

func list(value string) []string { return strings.Split(strings.ToLower(strip(value)), ":") }

// allows reads a list that allows everything where it is absent, or says *.
func allows(tags map[string]string, name, word string) bool {
	value, ok := tags[name]
	words := list(value)
	return !ok || slices.Contains(words, word) || name == "s" && slices.Contains(words, "*")
}

// read takes the key itself; the answer says what is wrong with it.
func (k *key) read(raw []byte) string {
	switch k.kind {
	case "ed25519": // RFC 8463, Section 4
		if len(raw) != ed25519.PublicKeySize {
			return fmt.Sprintf("key syntax error: Ed25519 key of %d octets", len(raw))
		}
		k.ed25519 = raw
		return ""
	case "rsa":
	default:
		return "unsupported key algorithm"
	}
	if k.rsa = readRSA(raw); k.rsa == nil {
		return "key syntax error: not an RSA public key"
	}
	return k.size()
}

// size says what is wrong with the size of an RSA key.
func (k *key) size() string {
	switch bits := k.rsa.Size() * 8; {
	case bits < minRSA:
		return fmt.Sprintf("key is too short: %d bits", bits)
	case bits > maxRSA:
		return fmt.Sprintf("key is too long: %d bits", bits)
	}
	return ""
}

// readRSA reads both forms that are in use (RFC 6376, erratum 3017).
func readRSA(der []byte) *rsa.PublicKey {
	if pub, err := x509.ParsePKIXPublicKey(der); err == nil {
		k, _ := pub.(*rsa.PublicKey) // nil: another kind of key
		return k
	}
	k, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil
	}
	return k
}

// verifies tells whether sig is the key's over a SHA-256 sum. With Ed25519 the
// sum is the message (RFC 8463, Section 3).
func (k key) verifies(sum, sig []byte) bool {
	switch {
	case k.ed25519 != nil:
		return ed25519.Verify(k.ed25519, sum, sig)
	case k.rsa != nil:
		return rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, sum, sig) == nil
	}
	return false
}
