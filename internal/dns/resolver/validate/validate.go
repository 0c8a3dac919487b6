// Package validate judges what the servers of a zone said, from a trust anchor
// down: a DNSKEY set by the DS set above it, a DS set or the proof that there
// is none by the keys of the parent, any other set by the keys of its zone.
//
// It is pure: messages, keys and the time go in, a verdict comes out. It asks
// nobody and remembers nothing; which message to ask for next is for its
// caller to decide. Keys that it has not judged can not be handed to it: Keys
// and Trust come from here or from an Anchor.
//
// A set is Secure, or Bogus, and Insecure only where a proof says that nothing
// below is signed (or only with algorithms we do not know): what is merely
// missing is never taken for that. Work is bounded by Limits, for all messages
// of a Judge together: a zone made to be costly (KeyTrap, NSEC3 with many
// hashes) is Bogus. Canonical form, signatures and hashes are dns/dnssec's,
// shared with the signer; dns/attest, which judges our own zones, shares
// neither.
//
// RFC 4035 (Section 5), 4509, 5155 (Section 8), 6840, 8914, 9276, 9364, 9904,
// 9905.
package validate

import (
	"errors"
	"fmt"
	"time"
)

// Security is a verdict (RFC 4035, Section 4.3).
type Security uint8

// The verdicts.
const (
	Unknown  Security = iota // no anchor is above it, or it could not be asked for
	Bogus                    // it should validate and does not
	Insecure                 // proven to lie below a cut without a usable DS
	Secure                   // validated from a trust anchor
)

// String returns the verdict in lower case.
func (s Security) String() string {
	switch s {
	case Bogus:
		return "bogus"
	case Insecure:
		return "insecure"
	case Secure:
		return "secure"
	}
	return "unknown"
}

// Reason says in one stable word why a verdict is what it is.
type Reason string

// The reasons.
const (
	Validated           Reason = "validated"
	NoAnchor            Reason = "no-anchor"            // no trust anchor is above the name
	NegativeAnchor      Reason = "negative-anchor"      // configured not to be judged
	NoReply             Reason = "no-reply"             // no server could be asked
	NoDS                Reason = "no-ds"                // a cut above has proven to have no DS
	OptOut              Reason = "opt-out"              // in a span of unsigned delegations
	UnknownAlgorithm    Reason = "unknown-algorithm"    // every DS names one we do not have
	UnknownDigest       Reason = "unknown-digest"       // every DS has a digest we do not have
	ManyIterations      Reason = "many-iterations"      // NSEC3 with more than a few
	RefusedIterations   Reason = "refused-iterations"   // NSEC3 with so many that it is no use
	SignatureMissing    Reason = "signature-missing"    // nothing by a key of the zone
	SignatureWrong      Reason = "signature-wrong"      // does not fit set and key
	SignatureExpired    Reason = "signature-expired"    // too late
	SignatureEarly      Reason = "signature-early"      // not yet valid
	KeyMissing          Reason = "key-missing"          // no key has the signature's tag and algorithm, or the zone has none
	DSMismatch          Reason = "ds-mismatch"          // no key is the one that a DS names
	ProofMissing        Reason = "proof-missing"        // neither the set nor a denial
	ProofWrong          Reason = "proof-wrong"          // a denial that does not deny
	WorkLimit           Reason = "work-limit"           // would cost more than Limits allow
	TooMany             Reason = "too-many-records"     // more keys or proofs than are looked at
	ContradictoryAnswer Reason = "contradictory-answer" // a proof says that the set exists
)

// Verdict is a judgement with its reason.
type Verdict struct {
	Security Security
	Reason   Reason
	Err      error // what went wrong, for a person; nil where nothing did
}

func (v Verdict) String() string {
	if v.Err != nil {
		return fmt.Sprintf("%s (%s: %v)", v.Security, v.Reason, v.Err)
	}
	return fmt.Sprintf("%s (%s)", v.Security, v.Reason)
}

// EDE returns the extended DNS error that tells a client of the verdict (RFC
// 8914, Section 4; 27 is RFC 9276's), and whether there is one.
func (v Verdict) EDE() (code uint16, ok bool) {
	switch v.Reason {
	case UnknownAlgorithm:
		return 1, true
	case UnknownDigest:
		return 2, true
	case SignatureExpired:
		return 7, true
	case SignatureEarly:
		return 8, true
	case KeyMissing, DSMismatch:
		return 9, true
	case SignatureMissing:
		return 10, true
	case ProofMissing:
		return 12, true
	case ManyIterations, RefusedIterations:
		return 27, true
	}
	switch v.Security {
	case Bogus:
		return 6, true
	case Unknown:
		return 5, true
	}
	return 0, false
}

// better returns the verdict that says more of two that went wrong.
func better(a, b Verdict) Verdict {
	rank := map[Reason]int{
		WorkLimit: 9, RefusedIterations: 8, ManyIterations: 7, SignatureExpired: 6, SignatureEarly: 5,
		SignatureWrong: 4, KeyMissing: 3, SignatureMissing: 2, ProofWrong: 1,
	}
	if rank[b.Reason] > rank[a.Reason] {
		return b
	}
	return a
}

func bogus(r Reason, format string, args ...any) Verdict {
	return Verdict{Security: Bogus, Reason: r, Err: fmt.Errorf(format, args...)}
}

var secure = Verdict{Security: Secure, Reason: Validated}

// Limits bound the work of one Judge. A zero field takes its default.
type Limits struct {
	Signatures int           // checked, in all (64)
	Hashes     int           // NSEC3 hashes of names, in all (160)
	PerSet     int           // signatures checked of one set (8)
	SameTag    int           // keys tried for one signature: those of its tag and algorithm (4)
	DS         int           // DS records compared with keys (8)
	Keys       int           // DNSKEY records of one set (48)
	Proofs     int           // NSEC or NSEC3 records of one message (8)
	Iterations int           // of NSEC3: with more, what they deny is insecure (50; RFC 9276, Section 3.2)
	Refused    int           // of NSEC3: with more, they are bogus (100)
	Skew       time.Duration // how far our clock may be wrong about signatures (0)
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&l.Signatures, 64},
		{&l.Hashes, 160},
		{&l.PerSet, 8},
		{&l.SameTag, 4},
		{&l.DS, 8},
		{&l.Keys, 48},
		{&l.Proofs, 8},
		{&l.Iterations, 50},
		{&l.Refused, 100},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return l
}

// Judge judges the messages of one walk, within one budget that is never
// reset. It is not safe for concurrent use.
type Judge struct {
	limits     Limits
	Signatures int // checked so far
	Hashes     int // made so far
}

// New returns a Judge that has done nothing yet.
func New(l Limits) *Judge { return &Judge{limits: l.withDefaults()} }

var errWork = errors.New("too much work")
