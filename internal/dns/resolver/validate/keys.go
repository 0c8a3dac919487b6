package validate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// Anchor is where trust begins: DS and DNSKEY records of one zone, as an
// operator gave them. Any one of them is enough.
type Anchor struct {
	Zone name.Name
	DS   []*dns.DS
	Keys []*dns.DNSKEY
}

// Trust returns what the anchor vouches for.
func (a Anchor) Trust() Trust { return Trust{zone: a.Zone, ds: a.DS, keys: a.Keys, anchor: true} }

// Trust vouches for some keys of a zone: an anchor, or a validated DS set.
type Trust struct {
	zone   name.Name
	ds     []*dns.DS
	keys   []*dns.DNSKEY
	anchor bool
	until  time.Time // zero: an anchor, which has no end
}

// Usable is Secure where something is vouched for that we can check, else what
// that makes of the zone.
func (t Trust) Usable() Verdict {
	_, v := t.usable()
	return v
}

// Zone is the zone whose keys are vouched for.
func (t Trust) Zone() name.Name { return t.zone }

// Keys is the validated DNSKEY set of a zone, as far as it is of use.
type Keys struct {
	zone  name.Name
	keys  []tagged
	until time.Time
}

type tagged struct {
	tag uint16
	key *dns.DNSKEY
}

// Zone is the zone whose keys they are.
func (k Keys) Zone() name.Name { return k.zone }

// Until is when they have to be validated again.
func (k Keys) Until() time.Time { return k.until }

// named returns the keys that a signature can be by.
func (k Keys) named(sig *dns.RRSIG) []*dns.DNSKEY {
	var out []*dns.DNSKEY
	for _, t := range k.keys {
		if t.tag == sig.KeyTag && t.key.Algorithm == sig.Algorithm {
			out = append(out, t.key)
		}
	}
	return out
}

// KnownAlgorithm reports whether we verify signatures of the algorithm. SHA-1
// is not trusted any more (RFC 9905, Section 2); Ed448 is not available.
func KnownAlgorithm(alg uint8) bool {
	switch alg {
	case dnssec.RSASHA256, dnssec.RSASHA512, dnssec.ECDSAP256SHA256, dnssec.ECDSAP384SHA384, dnssec.ED25519:
		return true
	}
	return false
}

// KnownDigest reports whether we compute the DS digest.
func KnownDigest(digest uint8) bool { return digest == dns.SHA256 || digest == dns.SHA384 }

// Keys judges the answer to a zone's DNSKEY question by what vouches for it
// (RFC 4035, Section 5.2): the set must be signed by a key that is vouched
// for.
func (j *Judge) Keys(t Trust, msg *dns.Msg, now time.Time) (Keys, Verdict) {
	t, v := t.usable()
	if v.Security != Secure {
		return Keys{}, v
	}
	s, ok := find(Collect(msg.Answer), t.zone, dns.TypeDNSKEY)
	switch {
	case !ok:
		return Keys{}, bogus(KeyMissing, "%s has no DNSKEY", t.zone)
	case len(s.RRs) > j.limits.Keys:
		return Keys{}, bogus(TooMany, "%s has %d DNSKEY records", t.zone, len(s.RRs))
	}
	all := keysOf(t.zone, s)
	entry, v := j.entry(t, all)
	if v.Security != Secure {
		return Keys{}, v
	}
	p, v := j.signed(entry, s, now)
	if v.Security != Secure {
		return Keys{}, v
	}
	if p.expanded { // a wildcard at a zone's own name would lie above it
		return Keys{}, bogus(SignatureWrong, "DNSKEY of %s is signed as a wildcard", t.zone)
	}
	all.until = p.until
	if !t.until.IsZero() && t.until.Before(all.until) {
		all.until = t.until // a child can not outlive its parent's word
	}
	return all, secure
}

// usable leaves what we have the algorithms for. A zone of which none is left
// is insecure (RFC 4035, Section 5.2; RFC 4509, Section 3); of an anchor that
// would be a surprise.
func (t Trust) usable() (Trust, Verdict) {
	out := t
	out.ds, out.keys = nil, nil
	digestOnly := false
	for _, ds := range t.ds {
		switch {
		case !KnownAlgorithm(ds.Algorithm):
		case !KnownDigest(ds.DigestType):
			digestOnly = true
		default:
			out.ds = append(out.ds, ds)
		}
	}
	for _, k := range t.keys {
		if KnownAlgorithm(k.Algorithm) {
			out.keys = append(out.keys, k)
		}
	}
	if len(out.ds)+len(out.keys) > 0 {
		return out, secure
	}
	v := Verdict{Security: Insecure, Reason: UnknownAlgorithm, Err: fmt.Errorf("no DS of %s has an algorithm we know", t.zone)}
	switch {
	case t.anchor:
		v = Verdict{Security: Unknown, Reason: NoAnchor, Err: fmt.Errorf("no trust anchor of %s has an algorithm we know", t.zone)}
	case digestOnly:
		v.Reason, v.Err = UnknownDigest, fmt.Errorf("no DS of %s has a digest we know", t.zone)
	}
	return out, v
}

// keysOf returns the keys of a set that may sign a zone's data: zone keys (RFC
// 4034, Section 2.1.1) that are not revoked (RFC 5011, Section 2.1).
func keysOf(zone name.Name, s Set) Keys {
	out := Keys{zone: zone}
	for _, rr := range s.RRs {
		k, ok := rr.(*dns.DNSKEY)
		if !ok || k.Flags&dnssec.FlagZone == 0 || k.Flags&dnssec.FlagRevoke != 0 || k.Protocol != 3 || !KnownAlgorithm(k.Algorithm) {
			continue
		}
		if tag, err := dnssec.Tag(k); err == nil {
			out.keys = append(out.keys, tagged{tag, k})
		}
	}
	return out
}

// entry returns the keys that are vouched for.
func (j *Judge) entry(t Trust, all Keys) (Keys, Verdict) {
	out := Keys{zone: all.zone}
	add := func(k tagged) {
		if !slices.ContainsFunc(out.keys, func(o tagged) bool { return o.key == k.key }) {
			out.keys = append(out.keys, k)
		}
	}
	for _, k := range all.keys {
		for _, trusted := range t.keys {
			if k.key.Algorithm == trusted.Algorithm && k.key.PublicKey == trusted.PublicKey {
				add(k)
			}
		}
	}
	for _, ds := range t.ds[:min(len(t.ds), j.limits.DS)] {
		same := 0
		for _, k := range all.keys {
			if k.tag != ds.KeyTag || k.key.Algorithm != ds.Algorithm {
				continue
			}
			if same++; same > j.limits.SameTag {
				break
			}
			if err := names(t.zone, ds, k.key); err == nil {
				add(k)
			}
		}
	}
	if len(out.keys) == 0 {
		return out, bogus(DSMismatch, "no DNSKEY of %s is one that is vouched for", t.zone)
	}
	return out, secure
}

var errDigest = errors.New("digest is of another key")

// names reports whether the DS record is the key's (RFC 4034, Section 5.1.4).
func names(zone name.Name, ds *dns.DS, k *dns.DNSKEY) error {
	made, err := dnssec.DS(zone, k, ds.DigestType)
	if err != nil {
		return err
	}
	if !strings.EqualFold(made.Digest, ds.Digest) {
		return errDigest
	}
	return nil
}
