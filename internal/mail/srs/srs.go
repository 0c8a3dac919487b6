// Package srs rewrites the sender of what is forwarded, so that it is one of our
// domain and passes SPF there, and finds the way back for what bounces (the Sender
// Rewriting Scheme: SRS0 for a sender, SRS1 for one that another host has rewritten
// already). The time and the secrets are the caller's; it opens nothing.
//
// An address is good for Days, and only as one of our making: an HMAC of 40 bits
// stands in it. Letter case does not count, since some hosts change it. Local
// parts stay apart from domains here and are quoted where they are written, so
// that an odd one makes no other address.
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"postern/internal/mail/address"
)

// Days is how long a bounce finds its way back: longer than anybody tries.
const Days = 21

// Why an address is not one of ours to send back.
var (
	ErrForged  = errors.New("not an address that was made here")
	ErrExpired = errors.New("address is too old")
	ErrTooLong = errors.New("address is too long to be rewritten")
	errSecrets = errors.New("srs: a domain and a secret of 16 octets are required")
)

// Rewriter rewrites to one domain. It is immutable.
type Rewriter struct {
	domain  string
	secrets [][]byte // the first makes, all are good
}

// New returns a Rewriter.
func New(domain string, secrets [][]byte) (*Rewriter, error) {
	d, err := address.ParseDomain(domain)
	if err != nil || len(secrets) == 0 || len(secrets[0]) < 16 {
		return nil, errors.Join(errSecrets, err)
	}
	return &Rewriter{d, secrets}, nil
}

var digits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// mark counts the kind in: what SRS0 has vouched for is nothing to SRS1.
func mark(secret []byte, kind, text string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(kind + strings.ToLower(text)))
	return digits.EncodeToString(h.Sum(nil)[:5])
}

// day is two digits of base 32: the days since 1970, modulo 1024.
func day(now time.Time) string {
	const d = "abcdefghijklmnopqrstuvwxyz234567"
	n := now.Unix() / 86400 % 1024
	return string([]byte{d[n/32], d[n%32]})
}

// kind tells SRS0 and SRS1 local parts, and what follows their name with the
// separator, which others may write as + or -.
func kind(local string) (name, rest string) {
	if len(local) < 6 || !strings.ContainsRune("=+-", rune(local[4])) {
		return "", ""
	}
	if name = strings.ToUpper(local[:4]); name != "SRS0" && name != "SRS1" {
		return "", ""
	}
	return name, local[4:]
}

// Formed reports an address that has the form of a rewritten one, of whatever host.
func Formed(a address.Address) bool {
	name, _ := kind(a.Local)
	return name != ""
}

// Forward returns the sender that is used in place of from. The null sender stays.
func (r *Rewriter) Forward(from address.Address, now time.Time) (address.Address, error) {
	if from.IsZero() {
		return from, nil
	}
	text := day(now) + "=" + from.Domain + "=" + from.Local
	out := "SRS0=" + mark(r.secrets[0], "SRS0", text) + "=" + text
	switch name, rest := kind(from.Local); name {
	case "SRS0":
		text = from.Domain + "=" + rest
		out = "SRS1=" + mark(r.secrets[0], "SRS1", text) + "=" + text
	case "SRS1": // the first host stays the one that knows the way
		if _, first, ok := strings.Cut(rest[1:], "="); ok {
			out = "SRS1=" + mark(r.secrets[0], "SRS1", first) + "=" + first
		}
	}
	a := address.Address{Local: out, Domain: r.domain}
	if again, err := address.Parse(a.String()); err != nil || again != a {
		return address.Address{}, ErrTooLong
	}
	return a, nil
}

// Is reports an address that has the form of a rewritten one at our domain.
func (r *Rewriter) Is(a address.Address) bool {
	return Formed(a) && strings.EqualFold(a.Domain, r.domain)
}

// Back returns whom a rewritten address stands for.
func (r *Rewriter) Back(a address.Address, now time.Time) (address.Address, error) {
	name, rest := kind(a.Local)
	if !r.Is(a) {
		return address.Address{}, ErrForged
	}
	given, text, ok := strings.Cut(rest[1:], "=")
	if !ok || !r.made(name, given, text) {
		return address.Address{}, ErrForged
	}
	if name == "SRS0" {
		return r.sender(text, now)
	}
	domain, inner, ok := strings.Cut(text, "=")
	if !ok {
		return address.Address{}, ErrForged
	}
	return whole("SRS0"+inner, domain)
}

func (r *Rewriter) made(kind, given, text string) bool {
	good := 0
	for _, s := range r.secrets {
		good |= subtle.ConstantTimeCompare([]byte(strings.ToLower(given)), []byte(mark(s, kind, text)))
	}
	return good == 1
}

// sender reads TT=domain=local of an address that was made here.
func (r *Rewriter) sender(text string, now time.Time) (address.Address, error) {
	made, rest, ok1 := strings.Cut(text, "=")
	domain, local, ok2 := strings.Cut(rest, "=")
	if !ok1 || !ok2 {
		return address.Address{}, ErrForged
	}
	for back := range Days + 1 {
		if strings.EqualFold(made, day(now.AddDate(0, 0, -back))) {
			return whole(local, domain)
		}
	}
	return address.Address{}, ErrExpired
}

// whole is an address that can be written and read again.
func whole(local, domain string) (address.Address, error) {
	a, err := address.Parse(address.Address{Local: local, Domain: domain}.String())
	if err != nil {
		return address.Address{}, errors.Join(ErrForged, err)
	}
	return a, nil
}
