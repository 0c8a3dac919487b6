package signer

import (
	"maps"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// horizon counts signatures by when they expire. All that expire within one
// grain of time become due together: else a large zone would wake its owner
// every second.
type horizon struct {
	grain   int64 // in seconds
	refresh int64
	counts  map[int64]int
}

func grainOf(p Policy) int64 {
	return min(max(int64((p.Validity-p.Refresh)/time.Second)/32, 1), 3600)
}

func (s *settings) horizon() horizon {
	return horizon{s.grain, int64(s.policy.Refresh / time.Second), map[int64]int{}}
}

func (h horizon) clone() horizon {
	h.counts = maps.Clone(h.counts)
	return h
}

// earliest returns the first grain that holds a signature.
func (h horizon) earliest() int64 {
	first, any := int64(0), false
	for g := range h.counts {
		if !any || g < first {
			first, any = g, true
		}
	}
	return first
}

func (h horizon) first() time.Time { return time.Unix(h.earliest()*h.grain, 0) }

func (h horizon) wake() time.Time { return time.Unix(h.earliest()*h.grain-h.refresh, 0) }

// add counts a signature; by is 1 or -1.
func (h horizon) add(expires int64, by int) {
	g := expires / h.grain
	if h.counts[g] += by; h.counts[g] == 0 {
		delete(h.counts, g)
	}
}

// seconds returns a time of an RRSIG as seconds since 1970: the one that is
// nearest to now (RFC 4034, Section 3.1.5).
func seconds(t uint32, now int64) int64 { return now + int64(int32(t-uint32(now))) }

// count adds a node's signatures to the horizon, or takes them off.
func (s *Signed) count(sigs *zone.RRset, by int) {
	if sigs == nil {
		return
	}
	for _, rr := range sigs.RRs {
		if sig, ok := rr.(*dns.RRSIG); ok {
			s.horizon.add(seconds(sig.Expiration, s.set.now), by)
			if by > 0 {
				s.newest = max(s.newest, seconds(sig.Inception, s.set.now))
			}
		}
	}
}

// due reports whether a signature is to be made anew: too little time is left
// to it, or the clock was set back to before it.
func (s *settings) due(sig *dns.RRSIG) bool {
	expires := seconds(sig.Expiration, s.now)
	return expires-expires%s.grain-int64(s.policy.Refresh/time.Second) <= s.now || seconds(sig.Inception, s.now) > s.now
}
