package signer

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/zone"
)

// seal adds the ZONEMD record and its signature, where the policy has it
// (RFC 8976, Section 3.1): last, since it covers all else.
func (s *settings) seal(z *zone.Zone, chain []hash, old *zone.Zone) (*zone.Zone, error) {
	if !s.policy.ZONEMD {
		return z, nil
	}
	sum, err := Digest(z, s.policy.Workers)
	if err != nil {
		return nil, err
	}
	soa := z.SOA()
	set := zone.RRset{Type: dns.TypeZONEMD, TTL: soa.Hdr.Ttl, RRs: []dns.RR{&dns.ZONEMD{
		Hdr:    dns.RR_Header{Name: s.text, Rrtype: dns.TypeZONEMD, Class: dns.ClassINET, Ttl: soa.Hdr.Ttl, Rdlength: uint16(6 + len(sum))},
		Serial: soa.Serial, Scheme: dns.ZoneMDSchemeSimple, Hash: dns.ZoneMDHashAlgSHA384, Digest: hex.EncodeToString(sum),
	}}}
	m, err := newMaker(work{s, chain, old, s.knownTo(old)})
	if err != nil {
		return nil, err
	}
	node, err := m.finish(s.origin, s.text, []zone.RRset{set}, own)
	if err != nil {
		return nil, err
	}
	// What was signed here joins what the apex has.
	sets := append(slices.Clone(z.Node(s.origin).Sets), *node.Set(dns.TypeZONEMD))
	slices.SortFunc(sets, func(a, b zone.RRset) int { return int(a.Type) - int(b.Type) })
	for i := range sets {
		if sets[i].Type == dns.TypeRRSIG {
			if sets[i], err = m.sigSet(s.origin, append(slices.Clone(sets[i].RRs), node.Set(dns.TypeRRSIG).RRs...)); err != nil {
				return nil, err
			}
		}
	}
	if old != nil {
		if before := old.Node(s.origin).Sets; identical(sets, before) {
			sets = before
		}
	}
	if z, err = z.WithApex(sets); err != nil {
		return nil, fmt.Errorf("signed zone: %w", err)
	}
	return z, nil
}

// Digest returns the SHA-384 digest of a zone by the scheme SIMPLE: all records
// in canonical order but the apex's ZONEMD and its signatures (RFC 8976,
// Section 3.3). Up to that many goroutines write records down.
func Digest(z *zone.Zone, workers int) ([]byte, error) {
	nodes := make([]*zone.Node, 0, z.Names())
	for n := range z.Nodes() {
		nodes = append(nodes, n)
	}
	const piece = 512
	in := stream{into: sha512.New384(), waiting: map[int][]byte{}, room: make(chan struct{}, 4*max(workers, 1))}
	var next atomic.Int64
	var failure atomic.Pointer[error]
	share := func() {
		for failure.Load() == nil {
			// Whoever has the next piece to be hashed has room already.
			in.room <- struct{}{}
			i := int(next.Add(1)) - 1
			if i*piece >= len(nodes) {
				<-in.room
				return
			}
			wire := in.empty()
			for _, n := range nodes[i*piece : min((i+1)*piece, len(nodes))] {
				var err error
				if wire, err = appendNode(wire, n, n.Name == z.Origin()); err != nil {
					failure.CompareAndSwap(nil, &err)
					<-in.room
					return
				}
			}
			in.put(i, wire)
		}
	}
	var all sync.WaitGroup
	for range min(max(workers, 1), len(nodes)/piece+1) - 1 {
		all.Go(share)
	}
	share()
	all.Wait()
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	return in.into.Sum(nil), nil
}

// appendNode appends what the digest covers of a node.
func appendNode(to []byte, n *zone.Node, apex bool) ([]byte, error) {
	for i := range n.Sets {
		for _, rr := range n.Sets[i].RRs {
			if apex && coversDigest(rr) {
				continue
			}
			var err error
			if to, err = dnssec.AppendRecord(to, n.Name, rr.Header().Ttl, rr); err != nil {
				return to, fmt.Errorf("%s: %w", n.Name, err)
			}
		}
	}
	return to, nil
}

func coversDigest(rr dns.RR) bool {
	sig, ok := rr.(*dns.RRSIG)
	return rr.Header().Rrtype == dns.TypeZONEMD || ok && sig.TypeCovered == dns.TypeZONEMD
}

// stream hashes pieces in order, whoever brings them: the one who brings the
// next hashes all that wait.
type stream struct {
	into interface {
		io.Writer
		Sum([]byte) []byte
	}
	room chan struct{} // bounds what is written down and not yet hashed

	mu      sync.Mutex // guards all below; into belongs to the busy one
	busy    bool
	next    int
	waiting map[int][]byte
	free    [][]byte
}

// empty returns a buffer.
func (s *stream) empty() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return nil
}

func (s *stream) put(i int, wire []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[i] = wire
	if s.busy {
		return
	}
	s.busy = true
	for wire, ok := s.waiting[s.next]; ok; wire, ok = s.waiting[s.next] {
		delete(s.waiting, s.next)
		s.next++
		s.mu.Unlock()
		s.into.Write(wire) // never fails
		s.mu.Lock()
		s.free = append(s.free, wire[:0])
		<-s.room
	}
	s.busy = false
}
