package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/validate"
)

// Security says how far what a parent says of a zone may be believed.
type Security = validate.Security

// The verdicts.
const (
	Unknown  = validate.Unknown
	Bogus    = validate.Bogus
	Insecure = validate.Insecure
	Secure   = validate.Secure
)

// Delegation is what a zone's parent says of it.
//
// Secure speaks of the DS set, not of the zone: the set is as it is here, also
// when it is empty, and signatures from the trust anchor down say so. Insecure
// means that nobody can know: the parent itself is not signed, or lies below a
// cut without DS. In no other case than Secure is there a DS set.
type Delegation struct {
	Zone     name.Name
	Parent   name.Name // the zone that would hold the DS; with Secure it is proven, else as far as was seen
	Security Security
	Reason   validate.Reason
	Standing validate.Standing // with Secure: whether there is a delegation at all
	DS       []*dns.DS         // nobody changes them
	TTL      uint32            // of the DS set or its denial, as the parent gives it, not what is left of it
	At       time.Time         // when a server of the parent said so
	Err      error             // what went wrong; for a person
}

// EDE returns the extended DNS error of the verdict, if it has one.
func (d Delegation) EDE() (code uint16, ok bool) {
	return validate.Verdict{Security: d.Security, Reason: d.Reason}.EDE()
}

// NoDS reports proof that no validator that trusts what we trust finds a DS that
// it could use: the set is empty, or the parent lies below a cut without one.
// It is not enough that we can not follow: where a zone above has algorithms or
// iterations that we do not take, others may go on and find a DS.
func (d Delegation) NoDS() bool {
	switch d.Security {
	case Secure:
		return len(d.DS) == 0
	case Insecure:
		return d.Reason == validate.NoDS || d.Reason == validate.OptOut || d.Reason == validate.NegativeAnchor
	}
	return false
}

// ErrRootZone is why the root has no delegation.
var ErrRootZone = errors.New("the root has no parent")

// Delegation returns what the parent of the zone says of it, validated from a
// trust anchor above it. It asks servers of the parent, and of the zones above
// it, where they were not asked a moment ago; never our own zones, nor our own
// addresses. An error means that it could not be found out now; the verdict is
// Unknown then.
func (r *Resolver) Delegation(ctx context.Context, zone name.Name) (Delegation, error) {
	r.chain.Counters.Walks.Inc()
	d := Delegation{Zone: zone, Parent: zone.Parent(), At: r.cfg.Now()}
	if zone == name.Root {
		d.Reason, d.Err = validate.NoAnchor, ErrRootZone
		return d, ErrRootZone
	}
	c, err := r.down(ctx, zone, nil)
	d.Security, d.Reason, d.Err = c.cut.Security, c.cut.Reason, c.cut.Err
	if c.cut.Parent != "" {
		d.Parent = c.cut.Parent
	}
	if d.Security == Secure {
		d.Standing, d.DS, d.TTL = c.cut.Standing, c.cut.DS, c.cut.TTL
	}
	if !c.at.IsZero() {
		d.At = c.at
	}
	r.chain.Counters.count(d.Security, d.Reason)
	if err != nil {
		d.Security, d.Reason, d.Err = Unknown, validate.NoReply, err
		return d, fmt.Errorf("delegation of %s: %w", zone, err)
	}
	return d, nil
}
