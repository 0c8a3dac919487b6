package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// Role is what a key signs.
type Role uint8

// The roles.
const (
	unknownRole Role = iota
	CSK              // everything
	KSK              // the DNSKEY set; the parent's DS points at it
	ZSK              // the rest
)

// String returns the role as it is written in the file.
func (r Role) String() string { return [...]string{"unknown", "csk", "ksk", "zsk"}[min(r, ZSK)] }

// ParseRole reads what String writes.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{CSK, KSK, ZSK} {
		if r.String() == s {
			return r, nil
		}
	}
	return unknownRole, fmt.Errorf("role %q: want csk, ksk or zsk", s)
}

func (r Role) flags() uint16 {
	if r == ZSK {
		return dnssec.FlagZone
	}
	return dnssec.FlagZone | dnssec.FlagSEP
}

// algorithm is one that Postern signs with.
type algorithm struct {
	number uint8
	text   string
	make   func() (crypto.Signer, error)
}

// bits is the size of the RSA keys made here; longer ones are taken in.
const (
	bits    = 2048
	maxBits = 4096
)

func algorithms() []algorithm {
	return []algorithm{
		{dnssec.ECDSAP256SHA256, "ecdsap256sha256", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
		{dnssec.ECDSAP384SHA384, "ecdsap384sha384", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
		{dnssec.ED25519, "ed25519", func() (crypto.Signer, error) {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			return private, err
		}},
		{dnssec.RSASHA256, "rsasha256", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) }},
	}
}

// ParseAlgorithm reads the name of an algorithm as the configuration has it.
func ParseAlgorithm(s string) (uint8, error) {
	for _, a := range algorithms() {
		if a.text == s {
			return a.number, nil
		}
	}
	return 0, fmt.Errorf("algorithm %q: want ecdsap256sha256, ecdsap384sha384, ed25519 or rsasha256", s)
}

// AlgorithmName returns what ParseAlgorithm reads, or the number of one that
// Postern does not sign with.
func AlgorithmName(number uint8) string {
	if a, err := algorithmOf(number); err == nil {
		return a.text
	}
	return fmt.Sprint(number)
}

func algorithmOf(number uint8) (algorithm, error) {
	for _, a := range algorithms() {
		if a.number == number {
			return a, nil
		}
	}
	known := fmt.Sprint(number)
	if text, ok := dns.AlgorithmToString[number]; ok {
		known += " (" + text + ")"
	}
	return algorithm{}, fmt.Errorf("algorithm %s is none that Postern signs with (hint: roll to ecdsap256sha256 first)", known)
}

// Field is one line of a key file that means nothing here: states and times
// that a rollover keeps with its key.
type Field struct{ Name, Value string }

// Info is a key for an operator.
type Info struct {
	Zone    name.Name
	Role    Role
	Alg     uint8
	Tag     uint16
	Created time.Time
	Fields  []Field // in their order
	File    string
}

// entry is a key with what is known about it.
type entry struct {
	Info
	key dnssec.Key
}

// newEntry joins a private key to the rest. The fields are left to the caller.
func newEntry(zone name.Name, role Role, alg uint8, created time.Time, private crypto.Signer) (entry, error) {
	if _, err := algorithmOf(alg); err != nil {
		return entry{}, err
	}
	if p, ok := private.Public().(*rsa.PublicKey); ok {
		if n := p.N.BitLen(); n < bits || n > maxBits {
			return entry{}, fmt.Errorf("RSA key of %d bits: want %d to %d (hint: roll it first)", n, bits, maxBits)
		}
	}
	key, err := dnssec.NewKey(zone, role.flags(), alg, closed(private))
	if err != nil {
		return entry{}, fmt.Errorf("private key: %w", err)
	}
	e := entry{Info: Info{Zone: zone, Role: role, Alg: alg, Tag: key.Tag, Created: created.UTC().Truncate(time.Second)}, key: key}
	e.File = fileName(e.Info)
	return e, nil
}

// signer shuts a private key in. What is inside hides behind a function, since
// package fmt prints unexported fields without asking their methods.
type signer struct {
	public crypto.PublicKey
	sign   func(digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// closed returns a Signer that ignores the source of randomness it is given:
// without one ECDSA is deterministic (RFC 6979), and the other algorithms need
// none. Signing twice gives the same octets.
func closed(private crypto.Signer) signer {
	return signer{private.Public(), func(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		return private.Sign(nil, digest, opts)
	}}
}

// Public returns the public key.
func (s signer) Public() crypto.PublicKey { return s.public }

// Sign signs as crypto.Signer says.
func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(digest, opts)
}

const placeholder = "[secret]"

// String returns a placeholder.
func (signer) String() string { return placeholder }

// GoString returns a placeholder.
func (signer) GoString() string { return placeholder }

// Format writes a placeholder for every verb.
func (signer) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, placeholder) }

// MarshalText returns a placeholder, so that JSON cannot leak the key.
func (signer) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// LogValue returns a placeholder.
func (signer) LogValue() slog.Value { return slog.StringValue(placeholder) }

// samePublic reports whether two records hold the same key, whatever its flags.
func samePublic(a, b *dns.DNSKEY) bool {
	return a.Algorithm == b.Algorithm && strings.Join(strings.Fields(a.PublicKey), "") == strings.Join(strings.Fields(b.PublicKey), "")
}
