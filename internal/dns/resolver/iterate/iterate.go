// Package iterate decides how a question is followed from a known zone cut
// down to its answer: what to ask next, which part of a reply may be believed,
// and when to give up. It is the iterating half of a resolver as a step
// machine: an event goes in, an action comes out.
//
// It is pure: no clock (now is an argument), no socket, no disk, no goroutine,
// no cache. Every rule about what a server may speak of stands in scrub.go and
// is applied before anything leaves this package, so that what a caller puts
// into a cache has passed it. It never judges signatures and never marks
// anything as validated.
//
// RFC 1034 (Section 5.3.3), 2181 (Section 5.4.1), 2308, 6604, 6672, 9156.
package iterate

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Question is what is asked for. Class is always IN here.
type Question struct {
	Name name.Name
	Type uint16
	// DO asks for signatures and proofs too (RFC 3225). Such a question ends at
	// the first reply of a server that should know: no alias is followed, and
	// the Result holds the message as it came, for a validator to read.
	DO bool
}

// String returns the question as "NAME TYPE".
func (q Question) String() string { return q.Name.String() + " " + dns.Type(q.Type).String() }

// Rank says how far a set may be trusted, lowest first (RFC 2181, Section
// 5.4.1). Glue has no rank: it lives and dies inside its Delegation and never
// answers anybody.
type Rank uint8

// The ranks.
const (
	Unranked Rank = iota
	Part          // not authoritative: the server did not claim to be, or it is a later link of an alias chain
	Answer        // the answer section of an authoritative answer
)

// Kind says what a Set proves.
type Kind uint8

// The kinds of set.
const (
	None     Kind = iota
	Positive      // RRs is the RRset
	NoData        // the name has no such type; RRs is the SOA (RFC 2308, Section 2.2)
	NXDomain      // the name does not exist, for any type; RRs is the SOA (RFC 2308, Section 2.1)
)

// Set is one RRset, or the proof that there is none.
type Set struct {
	Name name.Name
	Type uint16 // of the RRset, or the type that is absent; 0 with NXDomain
	Kind Kind
	Rank Rank
	TTL  uint32 // seconds it may be kept, capped; 0: not at all
	// RRs of an alias that a DNAME made are the DNAME and the CNAME
	// (RFC 6672, Section 3.1). Otherwise all are of Name and Type, or the SOA.
	RRs []dns.RR
}

// Server is one NS name of a delegation with the addresses known for it.
type Server struct {
	Name  name.Name
	Addrs []netip.Addr
}

// Delegation is a zone cut as the parent described it.
type Delegation struct {
	Zone    name.Name
	Servers []Server
	// Until is when the parent's word ends. A child can not move it, and what
	// hangs below it can not outlive it. Zero: never (the root hints).
	Until time.Time
	// Inside marks a cut found in one of our own zones, or below such a cut:
	// its servers may have private addresses.
	Inside bool
}

// Minimise says how much of a name a server above the cut gets to see.
type Minimise uint8

// The degrees of QNAME minimisation (RFC 9156).
const (
	Relaxed Minimise = iota // a server that can not cope gets the whole name
	Strict                  // NXDOMAIN above the name is believed
	Whole                   // off: every server sees the whole name
)
