// Package dkim verifies the DKIM signatures of a message (RFC 6376, RFC 8301,
// RFC 8463) with go-msgauth over lookup.Resolver, and reads from the signature
// fields what a result is reported with: selector, algorithm and the first
// characters of b= (RFC 6008).
//
// It reads the message once per signature, from a source that can be read
// from several goroutines; those goroutines are the library's and have ended
// when Verify returns, as Fetch's have when it does. It keeps nothing. What the
// library leaves open is closed here: the number of signatures and of names in
// h=, the time and the size that hashing may take, bodies of empty lines, keys
// for other services, keys bound to the exact domain.
package dkim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postern/internal/lookup"
	"postern/internal/mail/address"
)

// Bounds on what is verified (RFC 6376, Section 6.1, leaves the number of
// signatures to us). Each costs a hash over the whole body.
const (
	MaxSignatures      = 10      // topmost first; more are ignored
	MaxLargeSignatures = 3       // the same for a large body
	LargeBody          = 5 << 20 // octets; a body of more is large
	maxNames           = 256     // in h=; each costs a look through the header
	maxTags            = 64      // in one signature field
	maxFuture          = 3600    // seconds that t= may lie ahead
)

// Status is a result of RFC 8601, Section 2.7.1. The zero value is none.
type Status uint8

// The results. Policy: the signature may be valid but is not one to rely on.
const (
	None Status = iota
	Pass
	Fail
	Policy
	Neutral
	TempError
	PermError
)

var names = [...]string{"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}

// String is the word of RFC 8601, Section 2.7.1.
func (s Status) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return names[None]
}

// Signature is the outcome for one DKIM-Signature field.
type Signature struct {
	Status    Status
	Domain    string // d= as A-labels in lower case; "" where it cannot be read
	Selector  string // s=
	Algorithm string // a=
	B         string // the first characters of b= that tell it from the others
	Testing   bool   // the key says t=y (RFC 6376, Section 3.6.1)
	Reason    string // why not pass, in the library's words or ours; "" for pass
}

// Result is the outcome for a message.
type Result struct {
	Signatures []Signature // topmost first
	Ignored    int         // signature fields beyond the bound
}

// Verify checks the signatures of a message that is not large: Fetch, then
// Check.Verify.
func Verify(ctx context.Context, r lookup.Resolver, now time.Time, header []byte, body io.Reader) (Result, error) {
	return Fetch(ctx, r, header, 0).Verify(ctx, now, body)
}

// Check is a message's signatures with their keys, which have been looked up.
type Check struct {
	header []byte
	found  Result
	fields []sigField
	keys   *keys
}

// Fetch reads the signature fields of a header block as received, in CRLF lines
// without the empty line, and looks up their keys, all at once. size is that of
// the body. It may last as long as ctx; what it costs meanwhile is waiting.
func Fetch(ctx context.Context, r lookup.Resolver, header []byte, size int64) *Check {
	c := &Check{header: header, keys: newKeys(ctx, r)}
	most := MaxSignatures
	if size > LargeBody {
		most = MaxLargeSignatures
	}
	c.found, c.fields = scan(header, most)
	var wg sync.WaitGroup
	for i, sig := range c.found.Signatures {
		if c.fields[i].refused == "" && sig.Domain != "" && sig.Selector != "" {
			wg.Go(func() { _, _ = c.keys.lookup(sig.Selector + "._domainkey." + sig.Domain) }) // kept for Verify
		}
	}
	wg.Wait()
	c.keys.closed = true
	return c
}

// Verify does the work; body is read from where it stands, until its end or
// that of ctx: then the signatures count as temporary errors. An error means
// that the message could not be read; what is wrong with a signature is in its
// Status.
func (c *Check) Verify(ctx context.Context, now time.Time, body io.Reader) (Result, error) {
	out, fields, keys := c.found, c.fields, c.keys
	if len(out.Signatures) == 0 {
		return out, nil
	}
	guarded := &guard{ctx: ctx, r: body}
	verifications, err := dkim.VerifyWithOptions(
		io.MultiReader(bytes.NewReader(veil(c.header, fields)), strings.NewReader("\r\n"), guarded),
		&dkim.VerifyOptions{LookupTXT: keys.lookup, MaxVerifications: MaxSignatures})
	if err == nil {
		err = guarded.err
	}
	if err != nil && !errors.Is(err, errBlank) && !errors.Is(err, errLate) {
		return Result{}, err
	}
	i := 0
	for j := range out.Signatures {
		sig := &out.Signatures[j]
		if fields[j].refused != "" {
			sig.Status, sig.Reason = PermError, fields[j].refused
			continue
		}
		if i < len(verifications) {
			sig.judge(verifications[i], keys, now)
			i++
		}
		switch {
		case errors.Is(err, errBlank):
			sig.Status, sig.Reason = Policy, errBlank.Error()
		case errors.Is(err, errLate) && (sig.Status == Pass || sig.Status == Fail): // of half a body
			sig.Status, sig.Reason = TempError, errLate.Error()
		}
	}
	return out, nil
}

// judge turns the library's verdict into ours.
func (s *Signature) judge(v *dkim.Verification, keys *keys, now time.Time) {
	key := keys.key(s.Selector, s.Domain)
	s.Testing = key.testing
	switch {
	case v.Err == nil:
		s.Status = Pass
	case dkim.IsTempFail(v.Err):
		s.Status = TempError
	case dkim.IsPermFail(v.Err):
		s.Status = PermError
	case strings.Contains(v.Err.Error(), "body length tag"):
		s.Status = Policy // RFC 6376, Section 8.2: what l= leaves out is unsigned
	default:
		s.Status = Fail
	}
	if v.Err != nil {
		s.Reason = strings.TrimPrefix(v.Err.Error(), "dkim: ")
		return
	}
	_, at, _ := strings.Cut(v.Identifier, "@")
	switch {
	case key.exact && !strings.EqualFold(strings.TrimSuffix(at, "."), strings.TrimSuffix(v.Domain, ".")):
		s.Status, s.Reason = PermError, "key is for the exact domain" // t=s, RFC 6376, Section 3.6.1
	case !v.Expiration.IsZero() && now.After(v.Expiration):
		s.Status, s.Reason = PermError, "signature has expired"
	case v.Time.After(now.Add(maxFuture * time.Second)):
		s.Status, s.Reason = Policy, "signature is from the future"
	case s.Domain == "":
		s.Status, s.Reason = PermError, "d= is not a domain name"
	case !strings.Contains(s.Domain, "."):
		s.Status, s.Reason = Policy, "signed by a top-level domain"
	}
}

// canonical is a domain as A-labels in lower case, "" if it is none.
func canonical(s string) string {
	d, err := address.ParseDomain(strings.TrimSuffix(strip(s), "."))
	if err != nil || strings.HasPrefix(d, "[") {
		return ""
	}
	return d
}

func strip(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, s)
}
