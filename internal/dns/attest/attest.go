// Package attest judges a signed zone before it is published: whether every
// validating resolver would find each of its answers, positive and negative,
// secure. It is the second opinion on the signer's work and on presigned
// files, so it shares no code with those who sign but the order and wire form
// of records that package zone gives everyone: signatures, hashes, bitmaps,
// chains and digests are computed here anew.
//
// It is pure: no disk, no clock; goroutines start and end within a call, at
// most Context.Workers of them and one more that writes out what is digested. RFC 4033 to 4035, 5155, 6605, 6840, 8080, 8976,
// 9077, 9276.
package attest

import (
	"fmt"
	"math"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Context is what is known about a zone besides its records.
type Context struct {
	// Remaining is how long every signature must be good from now on. Zero
	// stands for the SOA's expire and the largest TTL, the longest that
	// anybody keeps it; below zero nothing is asked but that it is good now.
	Remaining time.Duration

	// Presigned says that others signed the zone: what is merely unusual, such
	// as NSEC3 with iterations, is then accepted.
	Presigned bool

	OptOut bool      // NSEC3 records may leave out insecure delegations; always so in a presigned zone
	ZONEMD bool      // the zone must have a digest
	DS     []*dns.DS // what the parent has; none: not asked

	// Outside are keys that sign though they are not in the DNSKEY set (RFC 6781,
	// Section 4.1.4): their signatures must be right, and nobody needs them.
	Outside []*dns.DNSKEY

	Workers int // how many goroutines work at most; zero: one
	// Done, when closed, ends the work early: what is returned then says nothing.
	Done <-chan struct{}
}

// Problem is one thing that is wrong. The Code is one of Codes, a stable reason
// word; Name and Type say where.
type Problem struct {
	Code string
	Name name.Name
	Type uint16 // zero: the name or the zone as a whole
	Text string
}

// String returns the problem as one line.
func (p Problem) String() string {
	at := p.Name.String()
	if p.Type != 0 {
		at += " " + dns.Type(p.Type).String()
	}
	return p.Code + " " + at + ": " + p.Text
}

// Check returns what is wrong with a signed zone: nothing, or all of it, of
// each code the first so many. What it costs grows with the zone; the records
// are read only.
func Check(z *zone.Zone, now time.Time, c Context) []Problem {
	j := newJudge(z, now, c)
	all := make([]int32, len(j.spots))
	for i := range all {
		all[i] = int32(i)
	}
	return j.check(all, nil)
}

// check judges the zone, of signatures those at the names that are asked for;
// of the chain what was edited, where that is known and right.
func (j *judge) check(signed []int32, e *edit) []Problem {
	var found findings
	if !j.takeKeys(&found) {
		j.digests(&found)
		return found.all()
	}
	chain := j.apex(&found)
	found.merge(j.inParallel(len(signed), func(i int, w *worker, f *findings) { j.spot(int(signed[i]), w, f) }, j.digests))
	switch {
	case chain == byNSEC && (e == nil || !e.links(j)):
		found.merge(j.inParallel(len(j.owners), j.link))
	case chain == byNSEC3 && (e == nil || !e.hops(j)):
		j.chains(&found)
	}
	return found.all()
}

// judge is a zone, surveyed, and what its records must meet.
type judge struct {
	zone    *zone.Zone
	context Context
	survey

	now   uint32 // as RRSIG records count time
	until uint32 // how many seconds from now signatures must last
	ttl   uint32 // of NSEC and NSEC3 records

	keys       []key
	outside    []key   // of signatures that nobody needs
	algorithms []uint8 // that must sign everything
	labels     int     // of the origin
}

func newJudge(z *zone.Zone, now time.Time, c Context) *judge {
	j := &judge{zone: z, context: c, survey: look(z), now: uint32(now.Unix()), labels: z.Origin().Labels()}
	soa := z.SOA()
	j.ttl = min(soa.Minttl, soa.Hdr.Ttl) // RFC 9077, Section 3
	switch remaining := c.Remaining; {
	case remaining == 0:
		j.until = uint32(min(uint64(soa.Expire)+uint64(j.largest), math.MaxInt32))
	case remaining > 0:
		j.until = uint32(min(remaining/time.Second, math.MaxInt32))
	}
	return j
}

// kind is how a zone denies what it does not have.
type kind int

const (
	byNothing kind = iota
	byNSEC
	byNSEC3
)

// denial decides which chain the zone has: one, and not both (RFC 5155,
// Section 7.1 lets a zone have both only while it changes from one to the
// other, which nobody who sees the zone whole has need of).
func (j *judge) denial(f *findings) kind {
	origin, apex := j.zone.Origin(), j.spots[0].node
	hashed := apex.Set(dns.TypeNSEC3PARAM) != nil || len(j.hashes) > 0
	plain := apex.Set(dns.TypeNSEC) != nil || j.nsecs > 0
	switch {
	case hashed && plain:
		f.add("denial-both", origin, 0, "the zone has %d NSEC and %d NSEC3 sets", j.nsecs, len(j.hashes))
		return byNSEC3
	case hashed:
		return byNSEC3
	case plain:
		return byNSEC
	}
	f.add("denial-none", origin, 0, "the zone has neither NSEC nor NSEC3 records")
	return byNothing
}

// apex judges what only stands, or must not stand, at the zone's own name.
func (j *judge) apex(f *findings) kind {
	apex := j.spots[0].node
	if apex.Set(dns.TypeDS) != nil {
		// RFC 4035, Section 2.4: the parent has it.
		f.add("ds-apex", apex.Name, dns.TypeDS, "the DS of a zone stands in its parent")
	}
	j.childSigns(f)
	return j.denial(f)
}

// denialTTL reports whether NSEC and NSEC3 records may have that TTL. Zones that
// others signed may keep to RFC 4034, Section 4, from before RFC 9077.
func (j *judge) denialTTL(ttl uint32) bool {
	return ttl == j.ttl || j.context.Presigned && ttl == j.zone.SOA().Minttl
}

func plural(n int, what string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
