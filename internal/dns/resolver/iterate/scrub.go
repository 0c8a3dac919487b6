package iterate

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// This file holds every rule about what the servers of a zone may speak of.
// All else in a message is dropped as if it had not been there.
//
//   - The answer section is read as a chain that begins at the question:
//     records of the asked name and type, else one alias, and so on while the
//     target stays in the zone. Other records are dropped. What an alias leads
//     to outside is asked for again, elsewhere.
//   - Only the first link is authoritative; the rest ranks lower (RFC 2181,
//     Section 5.4.1).
//   - NS records count only in a referral: no answer, a cut strictly below the
//     zone and at or above the question. In the authority section of an answer
//     they are dropped ("promiscuous" NS records replaced delegations).
//   - Glue counts only in a referral, for the names in its NS records, in the
//     zone. It is part of the delegation and never an answer.
//   - A denial needs an SOA in the zone, at or above the name, to be kept.
//   - A referral to the zone itself, upward or sideways means the server is
//     lame.
//   - TTLs and sizes are capped.

const (
	maxTTL       = 24 * 3600 // seconds; RFC 8767, Section 4 asks for a cap of days, not weeks
	maxDenialTTL = 3 * 3600  // RFC 2308, Section 5
)

// ReplyKind says what a reply amounts to.
type ReplyKind uint8

// The kinds of reply.
const (
	Unusable ReplyKind = iota // lame, refused, broken: ask another server
	Answered                  // the records asked for
	Aliased                   // the first link of a chain; ask for Target
	Referred                  // ask the servers of Cut
	Denied                    // NoData or NXDomain
)

// Reply is what is left of a message.
type Reply struct {
	Kind   ReplyKind
	Sets   []Set     // all that may be kept; the first is the one asked for
	Target name.Name // Aliased
	Cut    Delegation
	CutTTL uint32 // Referred: how long the parent's word holds
	Why    error  // Unusable; also ErrLongName with Aliased
	// Doubtful: it comes from some cache; for when no server does better.
	Doubtful bool
}

var (
	errRcode     = errors.New("server answered with an error")
	errLame      = errors.New("server is not an authority for the zone")
	errTruncated = errors.New("reply is cut short")
	errSetSize   = errors.New("too many records of one name and type")
)

// Scrub reads the reply of one of zone's servers to the question.
func Scrub(zone name.Name, q Question, msg *dns.Msg, l Limits) Reply {
	s := scrub{zone: zone, q: q, msg: msg, limits: l.withDefaults()}
	if err := s.unfit(); err != nil {
		return Reply{Why: err}
	}
	s.answer = owned(msg.Answer, zone)
	s.authority = owned(msg.Ns, zone)
	r := s.read()
	r.Doubtful = s.doubtful()
	return r
}

func (s *scrub) read() Reply {
	if r, ok := s.chain(); ok {
		return r
	}
	if r, ok := s.referral(); ok {
		return r
	}
	return s.denial(s.q.Name)
}

type scrub struct {
	zone              name.Name
	q                 Question
	msg               *dns.Msg
	limits            Limits
	answer, authority []record
}

// record is a record of class IN with its owner, which is in the zone.
type record struct {
	owner name.Name
	rr    dns.RR
}

func owned(rrs []dns.RR, zone name.Name) []record {
	var out []record
	for _, rr := range rrs {
		if rr == nil || rr.Header().Class != dns.ClassINET {
			continue
		}
		if n, err := name.Parse(rr.Header().Name); err == nil && n.IsBelow(zone) {
			out = append(out, record{n, rr})
		}
	}
	return out
}

func find(records []record, owner name.Name, rtype uint16) []dns.RR {
	var out []dns.RR
	for _, r := range records {
		if r.owner == owner && (r.rr.Header().Rrtype == rtype || rtype == dns.TypeANY) {
			out = append(out, r.rr)
		}
	}
	return out
}

func (s *scrub) unfit() error {
	switch {
	case s.msg.Truncated:
		return errTruncated
	case s.msg.Rcode != dns.RcodeSuccess && s.msg.Rcode != dns.RcodeNameError && s.msg.Rcode != dns.RcodeYXDomain:
		return fmt.Errorf("%w: %s", errRcode, dns.RcodeToString[s.msg.Rcode])
	}
	return nil
}

// doubtful reports a forwarder or an open resolver: its cache is not the zone.
func (s *scrub) doubtful() bool {
	return s.msg.RecursionAvailable && !s.msg.Authoritative && !s.refers()
}

// refers reports whether the message has the shape of a referral.
func (s *scrub) refers() bool {
	return len(s.msg.Answer) == 0 && len(s.msg.Ns) > 0 && s.msg.Ns[0].Header().Rrtype == dns.TypeNS
}

func (s *scrub) rank() Rank {
	if s.msg.Authoritative {
		return Answer
	}
	return Part
}

// chain reads the answer section from the question on. It reports false where
// the section says nothing about the question.
func (s *scrub) chain() (Reply, bool) {
	var out Reply
	at, rank := s.q.Name, s.rank()
	for range s.limits.Restarts + 1 {
		if rrs := find(s.answer, at, s.q.Type); len(rrs) > 0 {
			set, err := s.positive(at, s.q.Type, rrs, rank)
			if err != nil {
				return Reply{Why: err}, true
			}
			out.Sets = append(out.Sets, set)
			if out.Kind != Aliased {
				out.Kind = Answered
			}
			return out, true
		}
		link, target, err := s.link(at, rank)
		if err == errNoLink {
			break
		}
		out.Sets = append(out.Sets, link)
		if out.Kind != Aliased {
			out.Kind, out.Target, out.Why = Aliased, target, err
		}
		if err != nil || !target.IsBelow(s.zone) {
			return out, true
		}
		at, rank = target, Part
	}
	if out.Kind != Aliased {
		return Reply{}, false
	}
	// RFC 6604, Section 3: the rcode is about the last name of the chain.
	if d := s.denial(at); d.Kind == Denied && len(d.Sets[0].RRs) > 0 {
		d.Sets[0].Rank = Part
		out.Sets = append(out.Sets, d.Sets...)
	}
	return out, true
}

var errNoLink = errors.New("no alias")

// link returns the alias at a name. A DNAME above the name comes before a
// CNAME at it: that CNAME can only have been made from the DNAME, and is made
// again here rather than believed (RFC 6672, Section 3.4).
func (s *scrub) link(at name.Name, rank Rank) (Set, name.Name, error) {
	for _, r := range s.answer {
		d, ok := r.rr.(*dns.DNAME)
		if !ok || at == r.owner || !at.IsBelow(r.owner) {
			continue
		}
		to, err := name.Parse(d.Target)
		if err != nil {
			continue
		}
		set := Set{Name: at, Type: dns.TypeCNAME, Kind: Positive, Rank: rank, TTL: capTTL(d.Hdr.Ttl, maxTTL)}
		set.RRs = []dns.RR{s.clean(r.owner, d, set.TTL)}
		target, ok := at.Replace(r.owner, to)
		if !ok {
			set.TTL = 0 // the DNAME alone is no answer for the name
			return set, "", ErrLongName
		}
		cname := &dns.CNAME{Hdr: dns.RR_Header{Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: target.String()}
		set.RRs = append(set.RRs, s.clean(at, cname, set.TTL))
		return set, target, nil
	}
	for _, rr := range find(s.answer, at, dns.TypeCNAME) {
		c, ok := rr.(*dns.CNAME)
		if !ok {
			continue
		}
		// Of several CNAMEs, which no zone may have, the first counts.
		if target, err := name.Parse(c.Target); err == nil {
			set := Set{Name: at, Type: dns.TypeCNAME, Kind: Positive, Rank: rank, TTL: capTTL(c.Hdr.Ttl, maxTTL)}
			set.RRs = []dns.RR{s.clean(at, c, set.TTL)}
			return set, target, nil
		}
	}
	return Set{}, "", errNoLink
}

// positive makes a set of records with one owner: no duplicates, one TTL (RFC
// 2181, Sections 5 and 5.2).
func (s *scrub) positive(owner name.Name, rtype uint16, rrs []dns.RR, rank Rank) (Set, error) {
	if len(rrs) > s.limits.SetSize {
		return Set{}, errSetSize
	}
	set := Set{Name: owner, Type: rtype, Kind: Positive, Rank: rank, TTL: maxTTL}
	for _, rr := range rrs {
		set.TTL = min(set.TTL, capTTL(rr.Header().Ttl, maxTTL))
	}
	for i, rr := range rrs {
		twice := false
		for _, earlier := range rrs[:i] {
			twice = twice || dns.IsDuplicate(rr, earlier)
		}
		if !twice {
			set.RRs = append(set.RRs, s.clean(owner, rr, set.TTL))
		}
	}
	return set, nil
}

// clean returns a copy with the owner in lower case.
func (s *scrub) clean(owner name.Name, rr dns.RR, ttl uint32) dns.RR {
	c := dns.Copy(rr)
	c.Header().Name, c.Header().Ttl = owner.String(), ttl
	return c
}

// capTTL bounds a TTL; one with the highest bit set is none (RFC 2181, Section
// 8).
func capTTL(ttl, bound uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return min(ttl, bound)
}

// referral reads a delegation that leads down towards the question.
func (s *scrub) referral() (Reply, bool) {
	if s.msg.Rcode != dns.RcodeSuccess || len(find(s.authority, s.soaOwner(), dns.TypeSOA)) > 0 {
		return Reply{}, false
	}
	for _, r := range s.authority {
		if r.rr.Header().Rrtype != dns.TypeNS || r.owner == s.zone || !s.q.Name.IsBelow(r.owner) {
			continue
		}
		if s.q.Type == dns.TypeDS && r.owner == s.q.Name {
			continue // the DS stands on this side of the cut (RFC 4035, Section 3.1.4.1)
		}
		out := Reply{Kind: Referred, CutTTL: maxTTL}
		out.Cut = delegation(r.owner, find(s.authority, r.owner, dns.TypeNS), s.msg.Extra, s.zone, s.limits)
		for _, rr := range find(s.authority, r.owner, dns.TypeNS) {
			out.CutTTL = min(out.CutTTL, capTTL(rr.Header().Ttl, maxTTL))
		}
		return out, true
	}
	return Reply{}, false
}

// delegation keeps a bounded number of servers, and of glue only what belongs
// to them and lies in bailiwick.
func delegation(at name.Name, ns, extra []dns.RR, bailiwick name.Name, l Limits) Delegation {
	d := Delegation{Zone: at}
	index := map[name.Name]int{}
	for _, rr := range ns {
		rec, ok := rr.(*dns.NS)
		if !ok || len(d.Servers) >= l.Servers {
			continue
		}
		n, err := name.Parse(rec.Ns)
		if _, twice := index[n]; err != nil || twice {
			continue
		}
		index[n] = len(d.Servers)
		d.Servers = append(d.Servers, Server{Name: n})
	}
	for _, r := range owned(extra, bailiwick) {
		addr, isAddr := Addr(r.rr)
		i, known := index[r.owner]
		if isAddr && known && len(d.Servers[i].Addrs) < l.Addrs && !d.has(addr) {
			d.Servers[i].Addrs = append(d.Servers[i].Addrs, addr)
		}
	}
	return d
}

func (s *scrub) soaOwner() name.Name {
	for _, r := range s.authority {
		if r.rr.Header().Rrtype == dns.TypeSOA && s.q.Name.IsBelow(r.owner) {
			return r.owner
		}
	}
	return ""
}

// denial reads a negative answer for the name, which the answer section did
// not mention.
func (s *scrub) denial(at name.Name) Reply {
	set := Set{Name: at, Type: s.q.Type, Kind: NoData, Rank: s.rank()}
	if s.msg.Rcode == dns.RcodeNameError {
		set.Kind, set.Type = NXDomain, 0
	}
	for _, r := range s.authority {
		soa, ok := r.rr.(*dns.SOA)
		if !ok || !at.IsBelow(r.owner) {
			continue
		}
		if s.q.Type == dns.TypeDS && r.owner == at && at != name.Root {
			return Reply{Why: errLame} // the child speaks, who can not know
		}
		set.TTL = min(capTTL(soa.Hdr.Ttl, maxDenialTTL), capTTL(soa.Minttl, maxDenialTTL)) // RFC 2308, Section 5
		set.RRs = []dns.RR{s.clean(r.owner, soa, set.TTL)}
		return Reply{Kind: Denied, Sets: []Set{set}}
	}
	if s.msg.Rcode == dns.RcodeYXDomain {
		return Reply{Why: errRcode}
	}
	// No SOA: a denial that may not be kept (RFC 2308, Section 5), unless NS
	// records show that the server sends us elsewhere.
	if set.Kind == NoData && s.sendsAway() {
		return Reply{Why: errLame}
	}
	return Reply{Kind: Denied, Sets: []Set{set}}
}

// sendsAway reports NS records that make an empty message a referral to where
// we are or to where we come from. An authority may add those of its own zone
// (RFC 2308, Section 2.2, type 3).
func (s *scrub) sendsAway() bool {
	for _, rr := range s.msg.Ns {
		if rr.Header().Rrtype != dns.TypeNS {
			continue
		}
		owner, err := name.Parse(rr.Header().Name)
		if !s.msg.Authoritative || err != nil || !owner.IsBelow(s.zone) {
			return true
		}
	}
	return false
}
