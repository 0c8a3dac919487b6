package signer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// job is one node to be made.
type job struct {
	// node is the unsigned zone's; of an NSEC3 record, the one whose types it
	// lists, or nil: those it listed before.
	node *zone.Node
	next *zone.Node // in the NSEC chain
	at   int32      // of an NSEC3 record: in the chain; else -1
	kind kind
}

// work makes nodes, each by itself.
type work struct {
	*settings
	chain []hash
	old   *zone.Zone // of which what is right stays; may be nil
	known []dnssec.Key
}

// run does all jobs, shared out to the workers. The first error ends it.
func (s *settings) run(jobs []job, chain []hash, old *zone.Zone) ([]zone.Node, error) {
	w := work{s, chain, old, s.knownTo(old)}
	out := make([]zone.Node, len(jobs))
	workers := max(s.policy.Workers, 1)
	piece := min(max(len(jobs)/(8*workers), 1), 256)
	var next atomic.Int64
	var failure atomic.Pointer[error]
	share := func() {
		m, err := newMaker(w)
		for err == nil && failure.Load() == nil {
			end := int(next.Add(int64(piece)))
			if end-piece >= len(jobs) {
				return
			}
			for i := end - piece; i < min(end, len(jobs)) && err == nil && failure.Load() == nil; i++ {
				out[i], err = m.make(jobs[i])
			}
			if err == nil {
				err = s.policy.stopped()
			}
		}
		if err != nil {
			failure.CompareAndSwap(nil, &err)
		}
	}
	var all sync.WaitGroup
	for range min(workers, (len(jobs)+piece-1)/piece) - 1 {
		all.Go(share)
	}
	share()
	all.Wait()
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	return out, nil
}

// knownTo returns the keys whose tags the old zone's signatures have, and not
// others with the same tags: those in its DNSKEY set, and those that are not
// there but have signed what the apex has.
func (s *settings) knownTo(old *zone.Zone) []dnssec.Key {
	var known []dnssec.Key
	if old == nil {
		return nil
	}
	apex := old.Node(s.origin)
	have := apex.Set(dns.TypeDNSKEY)
	for _, k := range slices.Concat(s.keySets, s.data) {
		if have != nil && slices.ContainsFunc(have.RRs, func(rr dns.RR) bool {
			other, ok := rr.(*dns.DNSKEY)
			return ok && sameKey(other, k.DNSKEY)
		}) || s.hasSigned(k, apex) {
			known = append(known, k)
		}
	}
	return known
}

// hasSigned reports whether a key's is the first signature with its tag at the
// node, whatever that covers.
func (s *settings) hasSigned(k dnssec.Key, n *zone.Node) bool {
	sigs := n.Set(dns.TypeRRSIG)
	if sigs == nil {
		return false
	}
	for _, rr := range sigs.RRs {
		sig, ok := rr.(*dns.RRSIG)
		if !ok || sig.KeyTag != k.Tag || sig.Algorithm != k.Alg {
			continue
		}
		set := n.Set(sig.TypeCovered)
		return set != nil && dnssec.Verify(k.DNSKEY, sig, n.Name, set.RRs, time.Unix(int64(sig.Inception), 0)) == nil
	}
	return false
}

// maker makes the nodes of one worker.
type maker struct {
	work
	room     room
	forKeys  []*dnssec.Signatory
	forData  []*dnssec.Signatory
	setsRoom []zone.RRset
	sigsRoom []dns.RR
	typeRoom []uint16
	textRoom []byte
}

func newMaker(w work) (*maker, error) {
	m := &maker{work: w}
	for _, k := range w.keySets {
		s, err := dnssec.NewSignatory(k)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeys, err)
		}
		m.forKeys = append(m.forKeys, s)
	}
	for _, k := range w.data {
		s, err := dnssec.NewSignatory(k)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeys, err)
		}
		m.forData = append(m.forData, s)
	}
	return m, nil
}

func (m *maker) make(j job) (zone.Node, error) {
	if j.at >= 0 {
		return m.hashed(j)
	}
	sets := append(m.setsRoom[:0], j.node.Sets...)
	text := m.text
	if len(sets) > 0 {
		text = sets[0].RRs[0].Header().Name
	}
	if j.node.Name == m.origin {
		sets = append(sets, m.fixed...)
	}
	if j.next != nil {
		sets = append(sets, m.nsec(j, text))
	}
	m.setsRoom = sets
	return m.finish(j.node.Name, text, sets, j.kind)
}

// nsec makes the NSEC set of a name.
func (m *maker) nsec(j job, owner string) zone.RRset {
	next := m.text
	if j.next.Name != m.origin {
		next = j.next.Sets[0].RRs[0].Header().Name
	}
	types := m.types(j.node, j.kind)
	rr := put(&m.room.nsecs, 440, dns.NSEC{
		Hdr:        dns.RR_Header{Name: owner, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: m.negative},
		NextDomain: next, TypeBitMap: types,
	})
	rr.Hdr.Rdlength = uint16(len(j.next.Name) + m.room.bitmapSize(types))
	return zone.RRset{Type: dns.TypeNSEC, TTL: m.negative, RRs: keep(&m.room.records, 2048, []dns.RR{rr})}
}

// hashed makes a node of the NSEC3 chain.
func (m *maker) hashed(j job) (zone.Node, error) {
	h, next := m.chain[j.at], m.chain[(int(j.at)+1)%len(m.chain)]
	owner, ok := dnssec.HashOwner(h, m.origin)
	if !ok {
		return zone.Node{}, ErrLong
	}
	var types []uint16
	if j.node != nil {
		types = m.types(j.node, j.kind)
	} else if before := m.old.Node(owner).Set(dns.TypeNSEC3); before != nil {
		types = before.RRs[0].(*dns.NSEC3).TypeBitMap
	}
	m.textRoom = owner.AppendText(m.textRoom[:0])
	var text [64]byte
	rr := put(&m.room.nsec3s, 312, dns.NSEC3{
		Hdr: dns.RR_Header{
			Name:   m.room.string(m.textRoom),
			Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: m.negative,
		},
		Hash: dns.SHA1, HashLength: dnssec.HashSize, TypeBitMap: types,
		// In upper case, as the library reads it.
		NextDomain: strings.ToUpper(string(dnssec.AppendHash(text[:0], next))),
	})
	if m.policy.OptOut {
		rr.Flags = 1 // RFC 5155, Section 3.1.2.1
	}
	rr.Hdr.Rdlength = uint16(6 + dnssec.HashSize + m.room.bitmapSize(types))
	set := zone.RRset{Type: dns.TypeNSEC3, TTL: m.negative, RRs: keep(&m.room.records, 2048, []dns.RR{rr})}
	m.setsRoom = append(m.setsRoom[:0], set)
	return m.finish(owner, rr.Hdr.Name, m.setsRoom, own)
}

// types returns what a denial record of the node lists.
func (m *maker) types(n *zone.Node, k kind) []uint16 {
	types := m.typeRoom[:0]
	signed := false
	for i := range n.Sets {
		t := n.Sets[i].Type
		// RFC 4035, Section 2.3: of a delegation, what is authoritative.
		if k == cut && t != dns.TypeNS && t != dns.TypeDS {
			continue
		}
		types = append(types, t)
		signed = signed || signs(k, t)
	}
	if n.Name == m.origin {
		for i := range m.fixed {
			types = append(types, m.fixed[i].Type)
		}
		if m.policy.ZONEMD {
			types = append(types, dns.TypeZONEMD)
		}
	}
	if m.policy.Denial == NSEC {
		types, signed = append(types, dns.TypeNSEC), true
	}
	if signed {
		types = append(types, dns.TypeRRSIG)
	}
	slices.Sort(types)
	m.typeRoom = types
	return m.room.types(types)
}

// finish puts a node's sets in order and signs them. What the old zone has and
// is still right is taken from there.
func (m *maker) finish(owner name.Name, text string, sets []zone.RRset, k kind) (zone.Node, error) {
	slices.SortFunc(sets, func(a, b zone.RRset) int { return int(a.Type) - int(b.Type) })
	var old *zone.Node
	if m.old != nil {
		old = m.old.Node(owner)
	}
	sigs := m.sigsRoom[:0]
	for i := range sets {
		set := &sets[i]
		before := old.Set(set.Type)
		if same(set, before) {
			set.RRs = before.RRs
		} else {
			before = nil
		}
		if !signs(k, set.Type) {
			continue
		}
		var err error
		if sigs, err = m.sign(sigs, owner, text, set, before != nil, old); err != nil {
			return zone.Node{}, fmt.Errorf("%s %s: %w", owner, dns.TypeToString[set.Type], err)
		}
	}
	m.sigsRoom = sigs
	if len(sigs) > 0 {
		set, err := m.sigSet(owner, sigs)
		if err != nil {
			return zone.Node{}, err
		}
		at, _ := slices.BinarySearchFunc(sets, set.Type, func(s zone.RRset, t uint16) int { return int(s.Type) - int(t) })
		sets = slices.Insert(sets, at, set)
	}
	m.setsRoom = sets[:0]
	if old != nil && identical(sets, old.Sets) {
		return zone.Node{Name: owner, Sets: old.Sets}, nil
	}
	return zone.Node{Name: owner, Sets: keep(&m.room.sets, 1024, sets)}, nil
}

// sigSet makes the set of a node's signatures, which keep the TTLs of what they
// cover.
func (m *maker) sigSet(owner name.Name, sigs []dns.RR) (zone.RRset, error) {
	set := zone.RRset{Type: dns.TypeRRSIG, TTL: sigs[0].Header().Ttl, RRs: keep(&m.room.records, 2048, sigs)}
	for _, rr := range sigs[1:] {
		set.TTL = min(set.TTL, rr.Header().Ttl)
	}
	// One key's are in order, since the type that they cover stands first.
	if len(m.forData) > 1 || len(m.forKeys) > 1 {
		if err := sortSet(owner, &set); err != nil {
			return set, err
		}
	}
	return set, nil
}

// sign appends the signatures over a set, of each key the old one where the set
// is what it was and it is as it would be made but for its times.
func (m *maker) sign(to []dns.RR, owner name.Name, text string, set *zone.RRset, unchanged bool, old *zone.Node) ([]dns.RR, error) {
	by := m.forData
	if m.signsKeys(owner, set.Type) {
		by = m.forKeys
	}
	labels := dnssec.Labels(owner)
	inception, expiration := m.inception(), m.expiration(owner, set.Type)
	for _, s := range by {
		if unchanged {
			if sig := m.standing(s.Key(), set, labels, old); sig != nil {
				to = append(to, sig)
				continue
			}
		}
		rdata, err := s.Sign(owner, set, inception, expiration)
		if err != nil {
			return to, err
		}
		to = append(to, m.room.rrsig(text, m.text, len(m.origin), set, s.Key(), labels, inception, expiration, rdata))
	}
	return to, nil
}

// standing returns a key's old signature over a set that is what it was, or nil
// where there is none that can stay.
func (m *maker) standing(k dnssec.Key, set *zone.RRset, labels uint8, old *zone.Node) dns.RR {
	sigs := old.Set(dns.TypeRRSIG)
	if sigs == nil || !slices.ContainsFunc(m.known, func(o dnssec.Key) bool { return o.Tag == k.Tag && o.Alg == k.Alg }) {
		return nil
	}
	for _, rr := range sigs.RRs {
		sig, ok := rr.(*dns.RRSIG)
		if !ok || sig.TypeCovered != set.Type || sig.KeyTag != k.Tag || sig.Algorithm != k.Alg {
			continue
		}
		if !m.due(sig) && sig.Labels == labels && sig.OrigTtl == set.TTL && sig.Hdr.Ttl == set.TTL && sig.SignerName == m.text {
			return rr
		}
	}
	return nil
}

// same reports whether a set is what it was.
func same(a, b *zone.RRset) bool {
	if b == nil || a.TTL != b.TTL || len(a.RRs) != len(b.RRs) {
		return false
	}
	for i := range a.RRs {
		if !sameRecord(a.RRs[i], b.RRs[i]) {
			return false
		}
	}
	return true
}

// sameRecord is zone.SameRecord, fast for denial records of one owner.
func sameRecord(a, b dns.RR) bool {
	switch x := a.(type) {
	case *dns.NSEC:
		if y, ok := b.(*dns.NSEC); ok {
			return x.Hdr.Ttl == y.Hdr.Ttl && x.NextDomain == y.NextDomain && slices.Equal(x.TypeBitMap, y.TypeBitMap)
		}
	case *dns.NSEC3:
		if y, ok := b.(*dns.NSEC3); ok {
			return x.Hdr.Ttl == y.Hdr.Ttl && x.NextDomain == y.NextDomain && x.Flags == y.Flags && x.Hash == y.Hash &&
				x.Iterations == y.Iterations && x.Salt == y.Salt && slices.Equal(x.TypeBitMap, y.TypeBitMap)
		}
	}
	return zone.SameRecord(a, b)
}

// identical reports whether two lists of sets hold the very same records.
func identical(a, b []zone.RRset) bool {
	return slices.EqualFunc(a, b, func(x, y zone.RRset) bool {
		return x.Type == y.Type && x.TTL == y.TTL && slices.Equal(x.RRs, y.RRs)
	})
}
