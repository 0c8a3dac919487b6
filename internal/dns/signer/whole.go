package signer

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/zone"
)

// whole makes all of a zone; of the old one, which may be nil, stays what is
// still right.
func (s *settings) whole(unsigned, old *zone.Zone) (*Signed, error) {
	if err := refuseMade(unsigned); err != nil {
		return nil, err
	}
	jobs, chain, err := s.plan(unsigned)
	if err != nil {
		return nil, err
	}
	nodes, err := s.run(jobs, chain, old)
	if err != nil {
		return nil, err
	}
	z, err := zone.Assemble(nodes[0], nodes[1:])
	if err != nil {
		return nil, fmt.Errorf("signed zone: %w", err)
	}
	if z, err = s.seal(z, chain, old); err != nil {
		return nil, err
	}
	signed := &Signed{zone: z, unsigned: unsigned, set: s, chain: chain, horizon: s.horizon()}
	for n := range z.Nodes() {
		signed.count(n.Set(dns.TypeRRSIG), 1)
	}
	return signed, nil
}

// refuseMade looks for records that signing makes: a file that has them is
// signed already, and is served as it is.
func refuseMade(unsigned *zone.Zone) error {
	var found []string
	more := 0
	for n := range unsigned.Nodes() {
		for i := range n.Sets {
			if t := n.Sets[i].Type; Makes(t, n.Name == unsigned.Origin()) {
				found, more = appendNamed(found, more, n.Name.String(), t)
			}
		}
	}
	return presigned(found, more)
}

func appendNamed(found []string, more int, owner string, t uint16) ([]string, int) {
	if len(found) == 5 {
		return found, more + 1
	}
	return append(found, owner+" "+dns.TypeToString[t]), more
}

func presigned(found []string, more int) error {
	switch {
	case len(found) == 0:
		return nil
	case more > 0:
		return fmt.Errorf("%w: %s and %d more", ErrPresigned, strings.Join(found, ", "), more)
	}
	return fmt.Errorf("%w: %s", ErrPresigned, strings.Join(found, ", "))
}

// plan lists what is to be made, in the order of the signed zone.
func (s *settings) plan(unsigned *zone.Zone) ([]job, []hash, error) {
	jobs := make([]job, 0, unsigned.Names())
	var members []member
	last := 0 // in the NSEC chain; the apex is its first
	err := walk(unsigned, func(n *zone.Node, k kind) error {
		if s.policy.Denial == NSEC && inNSEC(k) && len(jobs) > 0 {
			jobs[last].next = n
			last = len(jobs)
		}
		if s.policy.Denial == NSEC3 && s.hashed(unsigned, n, k) {
			members = append(members, member{dnssec.Hash(n.Name), n, k})
		}
		jobs = append(jobs, job{node: n, at: -1, kind: k})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if s.policy.Denial == NSEC {
		jobs[last].next = jobs[0].node
		return jobs, nil, nil
	}
	return s.plan3(jobs, members)
}

// member is a node that the NSEC3 chain has a record for.
type member struct {
	hash hash
	node *zone.Node
	kind kind
}

// plan3 puts the chain's records where they belong among the names.
func (s *settings) plan3(names []job, members []member) ([]job, []hash, error) {
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	chain := make([]hash, len(members))
	jobs := append(make([]job, 0, len(names)+len(members)), names[0])
	rest := names[1:]
	for i, m := range members {
		chain[i] = m.hash
		if i > 0 && m.hash == chain[i-1] {
			return nil, nil, fmt.Errorf("%w: %s and %s", ErrCollision, members[i-1].node.Name, m.node.Name)
		}
		owner, ok := dnssec.HashOwner(m.hash, s.origin)
		if !ok {
			return nil, nil, ErrLong
		}
		order := -1
		for len(rest) > 0 {
			if order = rest[0].node.Name.Compare(owner); order >= 0 {
				break
			}
			jobs, rest = append(jobs, rest[0]), rest[1:]
		}
		if order == 0 {
			return nil, nil, fmt.Errorf("%s: %w", owner, ErrClash)
		}
		jobs = append(jobs, job{node: m.node, at: int32(i), kind: m.kind})
	}
	return append(jobs, rest...), chain, nil
}
