package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// A zone of ViewConfig.Fed is fed by transfers: others hold it, and we are its
// secondary. It has no file, and is what its primaries have, serial included,
// whatever that is; where a policy signs it here, its serials are our own. Each
// transfer that is taken is a version in the journal. What makes a zone
// unservable blocks it; nothing else does, for its admin is somebody else.
//
//	waiting -> served <-> expired
//
// Who transfers and keeps the time is not known here: it calls Take, Fresh and
// Expire.

// Transfer is what one transfer brought.
type Transfer struct {
	SOA     *dns.SOA
	Full    []dns.RR     // the whole zone, records as zone.Normalise makes them; nil where Deltas are given
	Deltas  []zone.Delta // applied in this order to what is here
	Expires time.Time    // of what it brought, unless Fresh says later
	From    string       // whom it came from, for log and history
	Most    int          // records that the zone may have by it; 0: any number
}

// Held is what is here of a zone that is fed.
type Held struct {
	SOA     *dns.SOA // as it came
	Expires time.Time
	Expired bool
	At      time.Time // when Expires was known
}

// Reason words of zones that are fed.
const (
	ReasonFed     = "secondary-zone"  // an order that its primaries alone can have
	ReasonWaiting = "not-transferred" // nothing was transferred yet
	ReasonExpired = "zone-expired"    // no primary vouched for it for too long
	ReasonTooMany = "too-many"        // a transfer brought more records than the zone may have
)

// Unfit is why a transfer is not taken: with what it brought no zone can be
// served, or it could not be made durable or signed.
type Unfit struct {
	Reason string
	Detail string
}

// Error begins with the reason word.
func (u *Unfit) Error() string { return u.Reason + ": " + u.Detail }

// ErrNotFed is a zone that no transfer feeds, or not any more.
var ErrNotFed = errors.New("the zone is not a secondary one")

// held is what is here of zones that are fed, for those who transfer.
type held struct {
	mu    sync.Mutex // guards what follows
	zones map[key]Held
	dirty bool // stamps are to be written
}

// Held returns what is here of a zone that is fed, also where that has
// expired; false: nothing. It does not wait.
func (a *Authority) Held(zone name.Name, view string) (Held, bool) {
	a.held.mu.Lock()
	defer a.held.mu.Unlock()
	h, ok := a.held.zones[key{zone, view}]
	return h, ok
}

// Good returns until when what is served of the zone in that view is good, where
// it comes from primaries: also where the view shows it as the one below has it,
// or lies over that. false: it is our own.
func (a *Authority) Good(zone name.Name, view string) (time.Time, bool) {
	r := a.state.Load().rows[key{zone, view}]
	if r == nil {
		return time.Time{}, false
	}
	from := r.is.Load().source
	if from == (key{}) {
		return time.Time{}, false
	}
	h, ok := a.Held(from.zone, from.view)
	return h.Expires, ok
}

func (h *held) set(k key, now Held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.zones[k] = now
}

func (h *held) drop(k key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.zones, k)
}

// stamp moves the expiry of a zone that has not expired.
func (h *held) stamp(k key, until, now time.Time) (has, expired bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	z, has := h.zones[k]
	if !has || z.Expired {
		return has, z.Expired
	}
	z.Expires, z.At = until, now
	h.zones[k] = z
	h.dirty = true
	return true, false
}

// stamps returns what is to be written down; nil where it is as it was.
func (h *held) stamps() []journal.Stamp {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.dirty {
		return nil
	}
	h.dirty = false
	all := []journal.Stamp{}
	for k, z := range h.zones {
		all = append(all, journal.Stamp{Zone: k.zone.String(), View: k.view, Expires: z.Expires, At: z.At})
	}
	return all
}

// Take makes what a transfer brought the state of a zone that is fed: judged,
// durable and served when it returns nil. Where it is not, what was served is
// served on. An error that is zone.ErrMisfit says that the deltas are not of
// what is here; one that is an *Unfit, why it cannot be served.
func (a *Authority) Take(ctx context.Context, origin name.Name, view string, t Transfer) error {
	whole, err := t.build(origin)
	if err != nil {
		return &Unfit{Reason: reasonLint, Detail: err.Error()}
	}
	var failed error
	err = a.do(ctx, func() { failed = a.owner.takeTransfer(key{origin, view}, t, whole) })
	return errors.Join(err, failed)
}

// build makes the zone that was transferred whole; nil for deltas. The owner
// is not kept from its work by it.
func (t *Transfer) build(origin name.Name) (*zone.Zone, error) {
	if t.Full == nil {
		return nil, nil
	}
	b := zone.NewBuilder(origin)
	b.Expect(len(t.Full), len(t.Full))
	for _, rr := range t.Full {
		if err := b.AddNormal(rr); err != nil {
			return nil, fmt.Errorf("%s %s: %w", rr.Header().Name, dns.Type(rr.Header().Rrtype), err)
		}
	}
	return b.Build()
}

// Fresh notes that what is here of the zone is what a primary has, and may be
// served until then. It brings back what had expired.
func (a *Authority) Fresh(ctx context.Context, zone name.Name, view string, until time.Time) error {
	k := key{zone, view}
	switch has, expired := a.held.stamp(k, until, a.cfg.Now()); {
	case !has:
		return ErrNotFed
	case !expired:
		return nil
	}
	return a.do(ctx, func() { a.owner.revive(k, until) })
}

// Expire takes a zone that is fed out of service: its names get SERVFAIL, for
// what is here may be wrong by now. It stays on disk, to go on from.
func (a *Authority) Expire(ctx context.Context, zone name.Name, view string) error {
	return a.do(ctx, func() { a.owner.expire(key{zone, view}) })
}

// fedProblem is one of a zone that is fed, as a whole.
func fedProblem(k key, reason, message, hint string) zonefile.Problem {
	return zonefile.Problem{File: k.zone.String(), Severity: zonefile.ERR, Code: reason, Message: message, Hint: hint}
}
