package xfr

import (
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// Bounds of what a zone's SOA may ask of its secondaries (RFC 1035, Section
// 3.3.13), so that no primary makes us ask it without end, or never again.
const (
	leastRefresh = time.Minute
	mostRefresh  = 7 * 24 * time.Hour
	leastRetry   = 30 * time.Second
	mostRetry    = 24 * time.Hour
	mostExpire   = 24 * 7 * 24 * time.Hour

	firstRetry = 5 * time.Second // where nothing was taken yet; then twice as long
	mostFirst  = 15 * time.Minute

	// A transfer that was for nothing is not made again and again: after each the
	// wait is twice as long, and for NOTIFY too.
	mostSpoilt = 6 * time.Hour

	// A burst of NOTIFY is one question: the next comes so much later.
	notifyGap = time.Second
	// Who was told of a serial that no primary has yet asks again after that,
	// then twice as long, so often.
	hintWait  = 2 * time.Second
	mostHints = 5
)

func seconds(s uint32) time.Duration { return time.Duration(s) * time.Second }

func refreshOf(soa *dns.SOA) time.Duration {
	return min(max(seconds(soa.Refresh), leastRefresh), mostRefresh)
}

func retryOf(soa *dns.SOA) time.Duration {
	return min(max(seconds(soa.Retry), leastRetry), mostRetry)
}

// expireOfSOA is never so short that a zone expires before it was asked for a
// second time.
func expireOfSOA(soa *dns.SOA) time.Duration {
	return min(max(seconds(soa.Expire), refreshOf(soa)+retryOf(soa)), mostExpire)
}

// upkeep is what is to be done about one zone in one view, as rules that know no
// clock. It asks one target after the other what they have, until one has what
// we have or gives us what is newer:
//
//	waiting --due--> round: check --newer--> transfer --taken--> waiting (refresh)
//	   ^               |  ^  \--same--> waiting (refresh)
//	   |               |  +--failed: the next target
//	   +--(retry)------+ no target is left
type upkeep struct {
	soa     *dns.SOA  // what we have, as the primary gave it; nil: nothing
	expires time.Time // of it
	expired bool      // that has passed
	due     time.Time // the next round
	again   bool      // the next round is for the whole zone, of any serial
	forced  bool      // this one is
	told    bool      // somebody told of something during this one
	fails   int       // rounds on end that failed
	spoils  bool      // a transfer of this round came to nothing
	spoilt  int       // rounds on end with such a one
	hinted  bool      // somebody told of a serial
	hint    uint32
	hints   int // rounds since that found less

	checked time.Time // a round that ended well
	began   time.Time // the last round
	last    target    // that answered well
	reason  string    // of the last round; "": it ended well
	why     []string  // of this round: what came of each target

	busy   bool     // a round goes on
	round  []target // those of it not yet asked, the one at hand first
	want   *wanted  // of the one at hand; nil: it is checked
	same   *polled  // somebody has what we have
	sameAt target
}

// have takes what there is at the start.
func (u *upkeep) have(h Held, ok bool, now time.Time) {
	u.soa, u.due = nil, now
	if !ok || h.SOA == nil {
		return
	}
	u.soa = h.SOA
	if u.expires = h.Expires; u.expires.IsZero() {
		u.expires = now.Add(expireOfSOA(h.SOA))
	}
}

// wake is when there is something to do: the next round, or the expiry. While a
// round goes on, only the latter.
func (u *upkeep) wake() time.Time {
	if u.soa != nil && !u.expired && (u.busy || u.expires.Before(u.due)) {
		return u.expires
	}
	return u.due
}

// resting reports whether there is nothing to wait for but the end of a round.
func (u *upkeep) resting() bool { return u.busy && (u.soa == nil || u.expired) }

// expire reports, once, that what we have has expired.
func (u *upkeep) expire(now time.Time) bool {
	if u.soa == nil || u.expired || u.expires.After(now) {
		return false
	}
	u.expired = true
	return true
}

// notified takes a NOTIFY; the serial in it is a hint and no more (RFC 1996,
// Section 3.7). It reports whether that changes anything.
func (u *upkeep) notified(serial uint32, has bool, now time.Time) bool {
	if has && u.soa != nil && u.soa.Serial == serial && !u.expired {
		return false // told of what we have
	}
	if has && (!u.hinted || zone.SerialLess(u.hint, serial)) {
		u.hinted, u.hint, u.hints = true, serial, 0
	}
	u.told = u.told || !has && u.busy
	soonest := u.began.Add(notifyGap)
	if u.spoilt > 0 {
		soonest = u.began.Add(min(firstRetry<<min(u.spoilt, 10), mostFirst))
	}
	if now.After(soonest) {
		soonest = now
	}
	if soonest.Before(u.due) {
		u.due = soonest
	}
	return true
}

// retransfer asks for the whole zone, of any serial.
func (u *upkeep) retransfer(now time.Time) { u.again, u.due = true, now }

// start begins a round, with what there is now.
func (u *upkeep) start(soa *dns.SOA, targets []target, now time.Time) {
	if u.soa == nil && soa != nil { // from elsewhere than a transfer of ours
		u.expires, u.expired = now.Add(expireOfSOA(soa)), false
	}
	u.soa, u.round, u.same, u.why, u.began = soa, targets, nil, nil, now
	u.busy, u.forced, u.again, u.told, u.spoils = true, u.again, false, false, false
	u.choose()
}

// choose says what is wanted of the target at hand.
func (u *upkeep) choose() {
	u.want = nil
	if u.soa == nil || u.forced {
		// What has no version of its own takes any.
		u.want = &wanted{whole: true, any: true}
	}
}

// next goes on to the next target.
func (u *upkeep) next() {
	u.round = u.round[1:]
	u.choose()
}

// answered takes what the target at hand says of its version. It returns why
// that is of no use, err among the reasons.
func (u *upkeep) answered(p polled, err error) error {
	switch {
	case err != nil:
		u.failed(err)
	case zone.SerialLess(u.soa.Serial, p.serial):
		u.want = &wanted{have: u.soa}
	case p.serial == u.soa.Serial:
		if u.same == nil {
			u.same, u.sameAt = &p, u.round[0]
		}
		// Somebody told of more, and others may have it.
		if u.round = u.round[1:]; !u.behind(p.serial) {
			u.round = nil
		}
	case u.expired:
		// The primary's serial went backwards, and nobody has ours any more.
		u.want = &wanted{whole: true, any: true}
	default:
		err = fault(Older, "it has %d, and we %d", p.serial, u.soa.Serial)
		u.failed(err)
	}
	return err
}

// behind reports whether somebody told of a newer serial than that.
func (u *upkeep) behind(serial uint32) bool { return u.hinted && zone.SerialLess(serial, u.hint) }

// failed takes that nothing came of the target at hand.
func (u *upkeep) failed(err error) {
	if len(u.why) < mostWhy {
		u.why = append(u.why, u.round[0].Name+": "+err.Error())
	}
	u.spoils = u.spoils || u.want != nil && reasonOf(err) != Silent
	u.next()
}

// mostWhy bounds what is told of one round.
const mostWhy = 8

// over reports whether the round has no target left, and whether one had what
// we have.
func (u *upkeep) over() (over, same bool) { return len(u.round) == 0, u.same != nil }

// until is when what a target vouches for expires. RFC 7314, Section 4: who has
// it from others tells what is left of it, which never is more than the SOA
// allows.
func until(soa *dns.SOA, expire uint32, given bool, now time.Time) time.Time {
	whole := expireOfSOA(soa)
	if given {
		whole = min(whole, seconds(expire))
	}
	return now.Add(whole)
}

// fresh is until where a target has what we have: what was promised before
// stands.
func (u *upkeep) fresh(now time.Time) time.Time {
	until := until(u.soa, u.same.expire, u.same.expires, now)
	if until.Before(u.expires) {
		return u.expires
	}
	return until
}

// well ends a round: we have that, until then. jitter is from 0 to 1.
func (u *upkeep) well(soa *dns.SOA, by target, until, now time.Time, jitter float64) {
	u.soa, u.expires, u.expired = soa, until, false
	u.fails, u.spoilt, u.reason, u.checked, u.last = 0, 0, "", now, by
	u.busy, u.round, u.want, u.same = false, nil, nil, nil
	u.due = now.Add(spread(refreshOf(soa), jitter))
	switch {
	case u.again:
		u.due = now
	case u.told:
		u.hinted, u.due = false, u.began.Add(notifyGap)
	case !u.behind(soa.Serial):
		u.hinted = false
	case u.hints < mostHints:
		u.due = now.Add(hintWait << u.hints)
		u.hints++
	default:
		u.hinted = false
	}
}

// badly ends a round that nothing came of.
func (u *upkeep) badly(reason string, now time.Time, jitter float64) {
	u.busy, u.round, u.want, u.same = false, nil, nil, nil
	u.reason = reason
	if u.spoilt++; !u.spoils {
		u.spoilt = 0
	}
	wait := min(firstRetry<<min(u.fails, 10), mostFirst)
	if u.soa != nil {
		wait = retryOf(u.soa)
		wait = max(wait, min(wait<<min(max(u.spoilt-1, 0), 10), mostSpoilt))
	}
	u.fails++
	u.hinted = false
	u.due = now.Add(spread(wait, jitter))
	if u.again || u.told {
		u.due = u.began.Add(notifyGap)
	}
	u.again = u.again || u.forced
}

// spread makes a time up to a quarter shorter, so that zones which came together
// do not stay together.
func spread(d time.Duration, jitter float64) time.Duration {
	return d - time.Duration(jitter*float64(d)/4)
}

// state is how the zone stands.
func (u *upkeep) state() InState {
	switch {
	case u.soa == nil:
		return Missing
	case u.expired:
		return Expired
	case u.reason != "":
		return Stale
	}
	return Fresh
}
