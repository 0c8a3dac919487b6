// Package dkim verifies the DKIM signatures of a message (RFC 6376, RFC 8301,
// RFC 8463, RFC 8616) over lookup.Resolver, and reads from the signature fields
// what a result is reported with: selector, algorithm and the first characters
// of b= (RFC 6008). It validates ARC chains (RFC 8617) by the same rules, for
// who wants them as evidence.
//
// Fetch looks up all keys at once; Verify reads the body once, however many
// signatures there are, in memory that does not grow with it. Both run in their
// caller's goroutine, and those that Fetch starts have ended when it returns.
// Nothing is kept. Bounded are the number of signatures, of tags and of names in
// h=, the size of keys, and by the context the time that hashing takes.
package dkim

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"postern/internal/lookup"
)

// Bounds on what is verified (RFC 6376, Section 6.1, leaves the number of
// signatures to us).
const (
	MaxSignatures = 10   // topmost first; more are ignored
	maxNames      = 256  // in h=
	maxTags       = 64   // in one signature field or key
	maxFuture     = 3600 // seconds that t= may lie ahead
	minRSA        = 1024 // bits; RFC 8301, Section 3.2
	maxRSA        = 8192 // bits; RFC 8301, Section 3.2, wants 4096 and leaves more to us
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
	Reason    string // why not pass; "" for pass
}

// Result is the outcome for a message.
type Result struct {
	Signatures []Signature // topmost first
	Ignored    int         // signature fields beyond the bound
}

// Verify is Fetch, then Check.Verify.
func Verify(ctx context.Context, r lookup.Resolver, now time.Time, header []byte, body io.Reader) (Result, error) {
	return Fetch(ctx, r, header).Verify(ctx, now, body)
}

// Check is a message's signatures with their keys, which have been looked up.
type Check struct {
	fields  *fields
	sigs    []*signature
	ignored int
	keys    map[string]key
}

// Fetch reads the signature fields of a header block as received, in CRLF lines
// without the empty line, and looks up their keys, all at once. It may last as
// long as ctx; what it costs meanwhile is waiting.
func Fetch(ctx context.Context, r lookup.Resolver, header []byte) *Check {
	c := &Check{fields: readFields(header)}
	for _, raw := range c.fields.all("dkim-signature") {
		if len(c.sigs) == MaxSignatures {
			c.ignored++
			continue
		}
		c.sigs = append(c.sigs, readSignature(raw))
	}
	c.keys = fetch(ctx, r, c.sigs)
	return c
}

// Verify does the work; body is read from where it stands, until its end or
// that of ctx: then the signatures count as temporary errors. An error means
// that the message could not be read; what is wrong with a signature is in its
// Status.
func (c *Check) Verify(ctx context.Context, now time.Time, body io.Reader) (Result, error) {
	out := Result{Ignored: c.ignored}
	var open []*signature
	for _, s := range c.sigs {
		if s.match(c.keys[s.keyName()]) {
			open = append(open, s)
		}
	}
	if err := c.fields.verify(ctx, open, c.keys, body); err != nil {
		return Result{}, err
	}
	for _, s := range c.sigs {
		if s.Status == Pass {
			s.rely(c.keys[s.keyName()], now)
		}
		out.Signatures = append(out.Signatures, s.Signature)
	}
	tellApart(out.Signatures)
	return out, nil
}

// errLate ends a body that the time was not enough for.
var errLate = errors.New("time-out")

// verify decides over signatures by body and header, reading the body once.
func (f *fields) verify(ctx context.Context, sigs []*signature, keys map[string]key, body io.Reader) error {
	if len(sigs) == 0 {
		return nil
	}
	sums, err := hashBody(ctx, sigs, body)
	if err != nil && !errors.Is(err, errLate) {
		return err
	}
	for _, s := range sigs {
		switch {
		case err != nil:
			s.Status, s.Reason = TempError, errLate.Error()
		case subtle.ConstantTimeCompare(sums[s.bodyCanon], s.bodyHash) != 1:
			s.Status, s.Reason = Fail, "body hash did not verify"
		case !keys[s.keyName()].verifies(f.hash(s), s.bytes):
			s.Status, s.Reason = Fail, "signature did not verify"
		default:
			s.Status = Pass
		}
	}
	return nil
}

// match holds the signature against its key (RFC 6376, Section 6.1.2), and
// decodes it; false means that it is decided.
func (s *signature) match(k key) bool {
	if s.Status != None {
		return false
	}
	s.Testing = k.testing
	refuse := func(st Status, why string) bool {
		s.Status, s.Reason = st, why
		return false
	}
	switch {
	case k.status != None:
		return refuse(k.status, k.reason)
	case k.kind != s.kind:
		return refuse(PermError, "inappropriate key algorithm")
	case !k.sha256:
		return refuse(PermError, "inappropriate hash algorithm")
	case !k.email:
		return refuse(PermError, "inappropriate service")
	case s.limited:
		return refuse(Policy, "body length tag l= leaves a part unsigned") // RFC 6376, Section 8.2
	}
	var err error
	if s.bodyHash, err = base64.StdEncoding.DecodeString(s.bh); err != nil {
		return refuse(PermError, "malformed body hash")
	}
	if s.bytes, err = base64.StdEncoding.DecodeString(s.b); err != nil {
		return refuse(PermError, "malformed signature")
	}
	return true
}

// rely asks of a signature that verified whether it is one to rely on.
func (s *signature) rely(k key, now time.Time) {
	switch {
	case k.exact && s.auid != s.Domain: // t=s, RFC 6376, Section 3.6.1
		s.Status, s.Reason = PermError, "key is for the exact domain"
	case s.expires > 0 && now.Unix() > s.expires:
		s.Status, s.Reason = PermError, "signature has expired"
	case s.made > now.Unix()+maxFuture:
		s.Status, s.Reason = Policy, "signature is from the future"
	case s.topLevel():
		s.Status, s.Reason = Policy, "signed by a top-level domain"
	}
}
