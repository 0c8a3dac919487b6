// Package signer makes a signed zone of an unsigned one: the DNSKEY set, what
// the parent is asked for (CDS and CDNSKEY), the denial chain (NSEC or NSEC3), ZONEMD and the signatures, whole (Sign) or by
// what has changed since the last time (Signed.Next). The unsigned zone is
// taken as it is, its serial too.
//
// Signing is deterministic: the same zone, keys, policy and time give the same
// octets, as far as the keys' signers do.
//
// It is pure: no disk, no clock. What is to be signed is shared out to a
// bounded number of goroutines (Policy.Workers); they begin and end within the
// call. When a signer fails, nothing is made. It knows nothing of rollovers:
// which keys there are and what each does is the caller's decision.
//
// RFC 4035, Section 2; RFC 5155, Section 7.1; RFC 6840; RFC 7344; RFC 8078;
// RFC 8976; RFC 9077; RFC 9276.
package signer

import (
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/zone"
)

// Why a zone cannot be signed.
var (
	ErrPolicy    = errors.New("policy does not fit")
	ErrKeys      = errors.New("keys do not fit")
	ErrPresigned = errors.New("unsigned zone holds records that signing makes")
	ErrClash     = errors.New("name is that of an NSEC3 record")
	ErrCollision = errors.New("two names have one NSEC3 hash")
	ErrStopped   = errors.New("signing was stopped")
	ErrLong      = errors.New("zone's name is too long for NSEC3")
)

// Model says which key signs what.
type Model uint8

// The models, for keys of which nothing else is said (dnssec.Use). CSK: a key
// with SEP flag signs all, one without all but the key sets. KSKZSK: keys with
// SEP flag sign the key sets, keys without all others. The key sets are DNSKEY,
// CDS and CDNSKEY (RFC 7344, Section 4.1).
const (
	CSK Model = 1 + iota
	KSKZSK
)

// Denial is how the zone proves what is not there.
type Denial uint8

// The ways. NSEC3 is made with no salt and no further iterations (RFC 9276,
// Section 3.1).
const (
	NSEC Denial = 1 + iota
	NSEC3
)

// Policy says how a zone is signed.
type Policy struct {
	Model  Model
	Denial Denial
	// OptOut leaves insecure delegations out of the NSEC3 chain (RFC 5155,
	// Section 6).
	OptOut bool
	ZONEMD bool
	// DNSKEYTTL is that of the DNSKEY set; 0: that of the SOA.
	DNSKEYTTL uint32
	// Ask is what the parent is asked for by CDS and CDNSKEY.
	Ask Ask
	// Validity is the time from signing to expiration, less the jitter.
	Validity time.Duration
	// Refresh: a signature is made anew when less time than this is left to it.
	Refresh time.Duration
	// Jitter is by how much expirations are spread, so that not all signatures
	// become due at once; 0: a quarter of Validity less Refresh.
	Jitter time.Duration
	// Workers is how many goroutines sign; 0: one.
	Workers int
	// Done, when closed, ends signing with ErrStopped; nil: nothing does.
	Done <-chan struct{}
}

// Backdate is how long before the time of signing a signature begins to be
// valid, for clocks that are slow.
const Backdate = time.Hour

func (p Policy) check() error {
	switch {
	case p.Model != CSK && p.Model != KSKZSK:
		return fmt.Errorf("%w: no model of keys", ErrPolicy)
	case p.Denial != NSEC && p.Denial != NSEC3:
		return fmt.Errorf("%w: no denial", ErrPolicy)
	case p.OptOut && p.Denial != NSEC3:
		return fmt.Errorf("%w: opt-out is for NSEC3", ErrPolicy)
	case p.Refresh <= 0 || p.Jitter < 0 || p.Validity-p.Jitter-p.Refresh < time.Second:
		return fmt.Errorf("%w: signatures would be due as soon as they are made", ErrPolicy)
	case p.Validity > 366*24*time.Hour:
		return fmt.Errorf("%w: validity above a year", ErrPolicy)
	case p.DNSKEYTTL > 1<<31-1:
		return fmt.Errorf("%w: %w", ErrPolicy, zone.ErrLongTTL)
	}
	return nil
}

// stopped reports whether Done is closed.
func (p *Policy) stopped() error {
	select {
	case <-p.Done:
		return ErrStopped
	default:
		return nil
	}
}

// Signed is a signed zone and what signing its next version begins with. It is
// immutable.
type Signed struct {
	zone     *zone.Zone
	unsigned *zone.Zone // nil where it was resumed
	set      *settings
	chain    []hash // of NSEC3, in order
	horizon  horizon
	newest   int64 // the latest inception
	resumed  bool  // what the zone was made with is not known
}

// hash is an NSEC3 hash.
type hash = [dnssec.HashSize]byte

// Zone returns the signed zone.
func (s *Signed) Zone() *zone.Zone { return s.zone }

// NextWake returns when the next signatures become due; calling Next then makes
// them anew.
func (s *Signed) NextWake() time.Time { return s.horizon.wake() }

// Expires returns when the first signature expires, to the horizon's grain:
// never later than it does.
func (s *Signed) Expires() time.Time { return s.horizon.first() }

// Sign signs a whole zone.
func Sign(unsigned *zone.Zone, keys []dnssec.Key, p Policy, now time.Time) (*Signed, error) {
	set, err := newSettings(unsigned, keys, p, now)
	if err != nil {
		return nil, err
	}
	return set.whole(unsigned, nil)
}

// Next signs the next version of the zone, by what differs from the last: sets
// that changed, their neighbours in the denial chain, and signatures that are
// due. All other records stay the very same, all other nodes keep their Sets.
// Where keys, policy or the times of denial changed, everything is looked at,
// and what is still right stays.
func (s *Signed) Next(unsigned *zone.Zone, keys []dnssec.Key, p Policy, now time.Time) (*Signed, error) {
	if unsigned.Origin() != s.zone.Origin() {
		return nil, fmt.Errorf("%w: %s is not %s", ErrPolicy, unsigned.Origin(), s.zone.Origin())
	}
	set, err := newSettings(unsigned, keys, p, now)
	if err != nil {
		return nil, err
	}
	apex := func(z *zone.Zone) *zone.Node { return z.Node(z.Origin()) }
	if s.resumed || !set.goesOn(s.set) || occludes(apex(s.unsigned), false) != occludes(apex(unsigned), false) {
		return set.whole(unsigned, s.zone)
	}
	return s.edit(unsigned, set)
}

// Resume returns what Sign or Next made once, from the zone alone: after a
// restart. The first Next looks at everything. The zone is trusted.
func Resume(signed *zone.Zone, keys []dnssec.Key, p Policy, now time.Time) (*Signed, error) {
	set, err := newSettings(signed, keys, p, now)
	if err != nil {
		return nil, err
	}
	s := &Signed{zone: signed, set: set, horizon: set.horizon(), resumed: true}
	for n := range signed.Nodes() {
		s.count(n.Set(dns.TypeRRSIG), 1)
	}
	return s, nil
}

// Strip returns a signed zone without what signing makes.
func Strip(signed *zone.Zone) (*zone.Zone, error) {
	b := zone.NewBuilder(signed.Origin())
	records, owners := unsignedIn(signed)
	b.Expect(records, owners)
	for n := range signed.Nodes() {
		for _, s := range n.Sets {
			if Makes(s.Type, n.Name == signed.Origin()) {
				continue
			}
			for _, rr := range s.RRs {
				if err := b.AddOwned(n.Name, rr); err != nil {
					return nil, fmt.Errorf("%s: %w", n.Name, err)
				}
			}
		}
	}
	return b.Build()
}

// unsignedIn counts what Strip leaves: its room stays for as long as the zone.
func unsignedIn(signed *zone.Zone) (records, owners int) {
	for n := range signed.Nodes() {
		before := records
		for i := range n.Sets {
			if s := &n.Sets[i]; !Makes(s.Type, n.Name == signed.Origin()) {
				records += len(s.RRs)
			}
		}
		if records > before {
			owners++
		}
	}
	return records, owners
}

// Makes reports whether records of the type, at the apex or elsewhere, are what
// signing makes: an unsigned zone has none of them.
func Makes(t uint16, apex bool) bool {
	switch t {
	case dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeZONEMD:
		return true
	case dns.TypeCDS, dns.TypeCDNSKEY: // elsewhere they speak of another zone (RFC 9615, Section 4.1)
		return apex
	}
	return false
}
