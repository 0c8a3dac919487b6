package serve

import (
	"sync"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/wire"
)

// A question that comes again changes nothing, so that package tsig takes a
// signed message as often as it comes while its time is good. An update does
// change something: who saw one on its way could undo with it what came after
// it. So each is carried out once. The same one again, whoever sends it, gets
// the reply of the first, as a client that heard none and asks again needs it.
// What was signed before this process began is not taken where it is not known
// what the one before carried out (see Recall): it hears BADTIME, as RFC 8945,
// Section 5.2.3, has it for what is older than what came already.

const (
	// updateFudge is how far, in seconds, the time of an update may be from ours,
	// whatever the client allows (RFC 8945, Section 10 recommends it).
	updateFudge = 300
	// maxSeen bounds the updates that are remembered, which takes as long as
	// their time is good; beyond it an update gets SERVFAIL.
	maxSeen = 100_000
	// burst is how many updates a key that was silent may send at once, in
	// seconds of its rate.
	burst = 4
)

// replays remembers the updates that came. The zero value is ready.
type replays struct {
	mu    sync.Mutex // guards all below
	since int64      // Unix seconds: what was signed before is not taken; 0: all that came is known
	seen  map[string]int
	queue []remembered // as they came
	rates map[name.Name]bucket
}

type remembered struct {
	mac   string
	until int64 // Unix seconds
}

// bucket is what is left of a key's rate.
type bucket struct {
	left float64
	at   time.Time
}

// In the place of an rcode: an update is under way; its time is not good.
const (
	pending = -1
	badTime = -2
)

// known returns what is to be said about an update that is not to be carried
// out: pending, that is nothing, badTime, or an rcode.
func (r *replays) known(v *tsig.Verdict, now time.Time) (rcode int, again bool) {
	mac, signed := v.Signed()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now.Unix())
	if rcode, again = r.seen[mac]; again {
		return rcode, true
	}
	if apart := now.Unix() - signed; apart > updateFudge || apart < -updateFudge || signed < r.since {
		return badTime, true
	}
	return 0, false
}

// note remembers an update that is to be carried out; not so where there is no
// room, or it came again in the meantime.
func (r *replays) note(v *tsig.Verdict, now time.Time) (rcode int, noted bool) {
	mac, signed := v.Signed()
	r.mu.Lock()
	defer r.mu.Unlock()
	if rcode, again := r.seen[mac]; again {
		return rcode, false
	}
	if len(r.seen) >= maxSeen {
		return wire.ServFail, false
	}
	if r.seen == nil {
		r.seen = map[string]int{}
	}
	r.seen[mac] = pending
	r.queue = append(r.queue, remembered{mac, max(signed, now.Unix()) + updateFudge + 1})
	return 0, true
}

// answered notes what an update got.
func (r *replays) answered(v *tsig.Verdict, rcode int) {
	mac, _ := v.Signed()
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.seen[mac]; there {
		r.seen[mac] = rcode
	}
}

// forget drops those whose time is no longer good. They are in order but for
// the clocks of clients, so that some stay a little longer.
func (r *replays) forget(now int64) {
	for len(r.queue) > 0 && r.queue[0].until < now {
		delete(r.seen, r.queue[0].mac)
		r.queue = r.queue[1:]
	}
}

// within takes one update off what a key may send, rate a second; 0: anything.
// There are as many buckets as there are keys.
func (r *replays) within(key name.Name, rate int, now time.Time) bool {
	if rate == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rates == nil {
		r.rates = map[name.Name]bucket{}
	}
	b, known := r.rates[key]
	most := float64(rate * burst)
	if b.left = min(most, b.left+now.Sub(b.at).Seconds()*float64(rate)); !known {
		b.left = most
	}
	b.at = now
	ok := b.left >= 1
	if ok {
		b.left--
	}
	r.rates[key] = b
	return ok
}
