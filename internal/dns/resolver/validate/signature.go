package validate

import (
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// proven is a set that a key of its zone signed.
type proven struct {
	sig   *dns.RRSIG
	ttl   uint32    // as the zone gives it: the signature's original TTL
	until time.Time // when the set's TTL, or the signature, ends
	// expanded: the signature is over a wildcard. That nothing stands nearer
	// is still to be proven.
	expanded bool
}

// signed looks for one good signature over the set by one of the keys (RFC
// 6840, Section 5.11: one is enough).
func (j *Judge) signed(k Keys, s Set, now time.Time) (proven, Verdict) {
	worst := bogus(SignatureMissing, "%s %s has no signature by %s", s.Owner, dns.Type(s.Type), k.zone)
	tried := 0
	for _, sig := range s.Sigs {
		err := fitting(k.zone, sig, s.Owner)
		at := now
		if err == nil {
			at, err = j.clock(sig, now)
		}
		if err != nil {
			worst = better(worst, wrong(s, sig, err))
			continue
		}
		candidates := k.named(sig)
		if len(candidates) == 0 {
			worst = better(worst, wrong(s, sig, errNoKey))
		}
		// KeyTrap: keys of one tag times signatures.
		for _, key := range candidates[:min(len(candidates), j.limits.SameTag)] {
			if tried++; tried > j.limits.PerSet || j.Signatures >= j.limits.Signatures {
				return proven{}, wrong(s, sig, errWork)
			}
			j.Signatures++
			err := dnssec.Verify(key, sig, s.Owner, s.RRs, at)
			if err == nil {
				return prove(s, sig, now), secure
			}
			worst = better(worst, wrong(s, sig, err))
		}
	}
	return proven{}, worst
}

var (
	errNoKey  = errors.New("the zone has no such key")
	errSigner = errors.New("signer is not the zone")
	errEarly  = errors.New("signature is not valid yet")
)

// fitting checks what costs nothing before anything is computed. The signer
// must be the zone, not just above it: neither the parent nor the child may
// sign in its stead (RFC 4035, Section 5.3.1). A signature over a wildcard
// above the zone's own name is none.
func fitting(zone name.Name, sig *dns.RRSIG, owner name.Name) error {
	signer, err := name.Parse(sig.SignerName)
	switch {
	case err != nil:
		return err
	case signer != zone || !owner.IsBelow(zone):
		return errSigner
	case int(sig.Labels) < zone.Labels() || sig.Labels > dnssec.Labels(owner):
		return dnssec.ErrLabels
	}
	return nil
}

// clock returns the time to verify the signature at: now, or the nearest time
// within Skew at which it is valid.
func (j *Judge) clock(sig *dns.RRSIG, now time.Time) (time.Time, error) {
	// RFC 4034, Section 3.1.5: serial number arithmetic.
	early := time.Duration(int32(sig.Inception-uint32(now.Unix()))) * time.Second
	late := time.Duration(int32(uint32(now.Unix())-sig.Expiration)) * time.Second
	switch {
	case int32(sig.Expiration-sig.Inception) < 0:
		return now, dnssec.ErrTime // ends before it begins
	case early > j.limits.Skew:
		return now, errEarly
	case late > j.limits.Skew:
		return now, dnssec.ErrTime
	case early > 0:
		return now.Add(early), nil
	case late > 0:
		return now.Add(-late), nil
	}
	return now, nil
}

func wrong(s Set, sig *dns.RRSIG, err error) Verdict {
	v := Verdict{Security: Bogus, Reason: SignatureWrong}
	switch {
	case errors.Is(err, errWork):
		v.Reason = WorkLimit
	case errors.Is(err, errEarly):
		v.Reason = SignatureEarly
	case errors.Is(err, dnssec.ErrTime):
		v.Reason = SignatureExpired
	case errors.Is(err, errNoKey):
		v.Reason = KeyMissing
	case errors.Is(err, errSigner):
		v.Reason = SignatureMissing
	}
	v.Err = fmt.Errorf("%s %s by %s/%d/%d: %w", s.Owner, dns.Type(s.Type), sig.SignerName, sig.Algorithm, sig.KeyTag, err)
	return v
}

// prove says for how long a set may be believed (RFC 4035, Section 5.3.3).
func prove(s Set, sig *dns.RRSIG, now time.Time) proven {
	ttl := min(s.TTL, sig.OrigTtl, sig.Hdr.Ttl)
	left := max(0, int64(int32(sig.Expiration-uint32(now.Unix()))))
	return proven{
		sig: sig, ttl: sig.OrigTtl, expanded: dnssec.Expanded(sig, s.Owner),
		until: now.Add(time.Duration(min(int64(ttl), left)) * time.Second),
	}
}
