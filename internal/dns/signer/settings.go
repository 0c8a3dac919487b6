package signer

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// settings is what one signing goes by, the same for all names.
type settings struct {
	policy   Policy
	origin   name.Name
	text     string // of the origin
	now      int64
	negative uint32 // TTL of denial
	jitter   uint32 // in seconds
	grain    int64
	keySets  []dnssec.Key // sign the key sets
	data     []dnssec.Key // sign all others
	dnskey   zone.RRset
	asked    []zone.RRset // CDS and CDNSKEY
	fixed    []zone.RRset // what the apex has besides denial and ZONEMD
}

func newSettings(z *zone.Zone, keys []dnssec.Key, p Policy, now time.Time) (*settings, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	soa := z.SOA()
	s := &settings{policy: p, origin: z.Origin(), text: soa.Hdr.Name, now: now.Unix()}
	s.negative = min(soa.Minttl, soa.Hdr.Ttl) // RFC 9077, Section 3
	if p.Jitter == 0 {
		s.policy.Jitter = (p.Validity - p.Refresh) / 4
	}
	s.jitter = uint32(s.policy.Jitter / time.Second)
	s.grain = grainOf(s.policy)
	if p.DNSKEYTTL == 0 {
		s.policy.DNSKEYTTL = soa.Hdr.Ttl
	}
	if err := s.takeKeys(keys); err != nil {
		return nil, err
	}
	if err := s.ask(); err != nil {
		return nil, err
	}
	s.fixed = append([]zone.RRset{s.dnskey}, s.asked...)
	if p.Denial == NSEC3 {
		if len(s.origin)+1+dnssec.HashSize/5*8 > 255 {
			return nil, fmt.Errorf("%s: %w", s.origin, ErrLong)
		}
		s.fixed = append(s.fixed, s.nsec3param())
	}
	return s, nil
}

// nsec3param says that the chain is there (RFC 5155, Section 4). Its TTL is of
// no use to anybody but the zone's servers.
func (s *settings) nsec3param() zone.RRset {
	rr := &dns.NSEC3PARAM{
		Hdr:  dns.RR_Header{Name: s.text, Rrtype: dns.TypeNSEC3PARAM, Class: dns.ClassINET, Ttl: s.negative, Rdlength: 5},
		Hash: dns.SHA1,
	}
	return zone.RRset{Type: dns.TypeNSEC3PARAM, TTL: s.negative, RRs: []dns.RR{rr}}
}

// use is what a key does.
func (s *settings) use(k dnssec.Key) dnssec.Use {
	if k.Use != 0 {
		return k.Use
	}
	use := dnssec.InSet
	if k.Signer != nil && k.SEP() {
		use |= dnssec.SignsKeys
	}
	if k.Signer != nil && (!k.SEP() || s.policy.Model == CSK) {
		use |= dnssec.SignsData
	}
	return use
}

// takeKeys makes the DNSKEY set, and gives each key what it signs.
func (s *settings) takeKeys(keys []dnssec.Key) error {
	set := zone.RRset{Type: dns.TypeDNSKEY, TTL: s.policy.DNSKEYTTL}
	type whose struct {
		alg uint8
		tag uint16
	}
	seen := map[whose]bool{}
	for _, k := range keys {
		if k.Zone != s.origin || k.DNSKEY == nil || k.Flags&dnssec.FlagZone == 0 {
			return fmt.Errorf("%w: %s is no key of %s", ErrKeys, k, s.origin)
		}
		// A signature says no more of its key than these.
		if seen[whose{k.Alg, k.Tag}] {
			return fmt.Errorf("%w: two keys %s", ErrKeys, k)
		}
		seen[whose{k.Alg, k.Tag}] = true
		use := s.use(k)
		if use.Does(dnssec.InSet) {
			rr := *k.DNSKEY
			rr.Hdr.Name, rr.Hdr.Class, rr.Hdr.Ttl = s.text, dns.ClassINET, set.TTL
			set.RRs = append(set.RRs, &rr)
		}
		if use.Does(dnssec.SignsKeys) {
			s.keySets = append(s.keySets, k)
		}
		if use.Does(dnssec.SignsData) {
			s.data = append(s.data, k)
		}
		if use&(dnssec.SignsKeys|dnssec.SignsData) != 0 && k.Signer == nil {
			return fmt.Errorf("%w: %s is to sign and has no private part", ErrKeys, k)
		}
	}
	if len(set.RRs) == 0 {
		return fmt.Errorf("%w: there are none", ErrKeys)
	}
	if err := s.covered(keys); err != nil {
		return err
	}
	s.dnskey = set
	return sortSet(s.origin, &s.dnskey)
}

// covered holds that each set is signed by every algorithm of the DNSKEY set,
// with a key that is in it (RFC 4035, Section 2.2).
func (s *settings) covered(keys []dnssec.Key) error {
	for _, k := range keys {
		if !s.use(k).Does(dnssec.InSet) {
			continue
		}
		for _, does := range []dnssec.Use{dnssec.SignsKeys, dnssec.SignsData} {
			if !slices.ContainsFunc(keys, func(other dnssec.Key) bool {
				return other.Alg == k.Alg && s.use(other).Does(dnssec.InSet|does)
			}) {
				return fmt.Errorf("%w: nothing of %s's algorithm signs all of the zone", ErrKeys, k)
			}
		}
	}
	return nil
}

// sortSet puts a set's records in canonical order.
func sortSet(owner name.Name, set *zone.RRset) error {
	type keyed struct {
		wire []byte
		rr   dns.RR
	}
	all := make([]keyed, len(set.RRs))
	for i, rr := range set.RRs {
		wire, err := dnssec.AppendRecord(nil, owner, 0, rr)
		if err != nil {
			return err
		}
		all[i] = keyed{wire[len(owner)+10:], rr}
	}
	slices.SortFunc(all, func(a, b keyed) int { return bytes.Compare(a.wire, b.wire) })
	for i := range all {
		set.RRs[i] = all[i].rr
	}
	return nil
}

// goesOn reports whether a zone made by the earlier settings needs no more than
// what changed in it.
func (s *settings) goesOn(earlier *settings) bool {
	same := func(a, b dnssec.Key) bool { return a.Alg == b.Alg && a.Tag == b.Tag && sameKey(a.DNSKEY, b.DNSKEY) }
	return s.policy.Denial == earlier.policy.Denial && s.policy.OptOut == earlier.policy.OptOut &&
		s.negative == earlier.negative && s.grain == earlier.grain && s.policy.Refresh == earlier.policy.Refresh &&
		slices.EqualFunc(s.data, earlier.data, same) // what the others sign is at the apex, which is always looked at
}

func sameKey(a, b *dns.DNSKEY) bool {
	return a.Flags == b.Flags && a.Protocol == b.Protocol && a.Algorithm == b.Algorithm && a.PublicKey == b.PublicKey
}

// expiration is when a signature made now expires: the time of a name and type
// is always the same, and that of many is spread.
func (s *settings) expiration(owner name.Name, t uint16) uint32 {
	const prime = 1099511628211 // FNV-1a
	h := uint64(14695981039346656037)
	for i := range len(owner) {
		h = (h ^ uint64(owner[i])) * prime
	}
	h = (h ^ uint64(t&0xff)) * prime
	h = (h ^ uint64(t>>8)) * prime
	h ^= h >> 32
	early := h % (uint64(s.jitter) + 1)
	return uint32(s.now + int64(s.policy.Validity/time.Second) - int64(early))
}

func (s *settings) inception() uint32 { return uint32(s.now - int64(Backdate/time.Second)) }

// signsKeys reports whether a set is signed by the keys of the key sets.
func (s *settings) signsKeys(owner name.Name, t uint16) bool {
	return owner == s.origin && (t == dns.TypeDNSKEY || t == dns.TypeCDS || t == dns.TypeCDNSKEY)
}
