package xfr

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// timed is a SOA of these timers, in seconds.
func timed(serial, refresh, retry, expire uint32) *dns.SOA {
	return &dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: ".", Mbox: ".", Serial: serial, Refresh: refresh, Retry: retry, Expire: expire}
}

var epoch = time.Unix(1_800_000_000, 0)

// TestTimers: what a SOA asks for, within bounds (RFC 1035, Section 3.3.13).
func TestTimers(t *testing.T) {
	t.Parallel()
	const day = 86400
	for _, c := range []struct {
		name                   string
		refresh, retry, expire uint32
		want                   [3]time.Duration
	}{
		{"as asked", 3600, 600, 7 * day, [3]time.Duration{time.Hour, 10 * time.Minute, 7 * 24 * time.Hour}},
		{"nothing", 0, 0, 0, [3]time.Duration{leastRefresh, leastRetry, leastRefresh + leastRetry}},
		{"for ever", 1<<32 - 1, 1<<32 - 1, 1<<32 - 1, [3]time.Duration{mostRefresh, mostRetry, mostExpire}},
		{"an expiry before the second question", 3600, 600, 60, [3]time.Duration{time.Hour, 10 * time.Minute, 70 * time.Minute}},
	} {
		s := timed(1, c.refresh, c.retry, c.expire)
		if got := [3]time.Duration{refreshOf(s), retryOf(s), expireOfSOA(s)}; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, jitter := range []float64{0, 0.5, 0.999} {
		if d := spread(time.Hour, jitter); d > time.Hour || d < 45*time.Minute {
			t.Errorf("jitter %v: %s", jitter, d)
		}
	}
}

// TestUntil: EXPIRE (RFC 7314, Section 4) never promises more than the SOA.
func TestUntil(t *testing.T) {
	t.Parallel()
	soa := timed(1, 3600, 600, 86400)
	for _, c := range []struct {
		name   string
		expire uint32
		given  bool
		want   time.Duration
	}{
		{"not given", 7, false, 24 * time.Hour},
		{"less", 7, true, 7 * time.Second},
		{"nothing is left", 0, true, 0},
		{"more", 90000, true, 24 * time.Hour},
	} {
		if got := until(soa, c.expire, c.given, epoch).Sub(epoch); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// A primary that has the zone from others never shortens what was promised.
	u := upkeep{soa: soa, expires: epoch.Add(time.Hour), same: &polled{expire: 60, expires: true}}
	if got := u.fresh(epoch); !got.Equal(epoch.Add(time.Hour)) {
		t.Errorf("%s", got)
	}
	u.same.expire = 7200
	if got := u.fresh(epoch); !got.Equal(epoch.Add(2 * time.Hour)) {
		t.Errorf("%s", got)
	}
}

var someTargets = []target{
	{&Primary{Name: "first"}, netip.MustParseAddrPort("192.0.2.1:53"), false},
	{&Primary{Name: "second"}, netip.MustParseAddrPort("192.0.2.2:53"), false},
}

// TestRound: what is asked of whom, until somebody has what we have or gives us
// what is newer.
func TestRound(t *testing.T) {
	t.Parallel()
	soa, no := timed(5, 3600, 600, 86400), errors.New("no")
	type say struct {
		serial uint32
		err    error
	}
	for _, c := range []struct {
		name    string
		soa     *dns.SOA
		edit    func(u *upkeep)
		answers []say
		want    string
	}{
		{"the first is fresh", soa, nil, []say{{5, nil}}, "same"},
		{"the first is silent", soa, nil, []say{{0, no}, {5, nil}}, "same"},
		{"the first is behind", soa, nil, []say{{4, nil}, {5, nil}}, "same"},
		{"RFC 1982, 3.2: the first is nowhere", soa, nil, []say{{5 + 1<<31, nil}, {5, nil}}, "same"},
		{"the first is newer", soa, nil, []say{{6, nil}}, "transfer from first"},
		{"the second is newer, across the end", timed(1<<32-1, 1, 1, 1), nil, []say{{0, no}, {1, nil}}, "transfer from second"},
		{"all are silent", soa, nil, []say{{0, no}, {0, no}}, "failed"},
		{"all are behind", soa, nil, []say{{4, nil}, {3, nil}}, "failed"},
		{"behind, and ours has expired", soa, func(u *upkeep) { u.expired = true }, []say{{4, nil}}, "whole from first"},
		{"the same, and ours has expired", soa, func(u *upkeep) { u.expired = true }, []say{{5, nil}}, "same"},
		{"nothing is there", nil, nil, nil, "whole from first"},
		{"a retransfer", soa, func(u *upkeep) { u.again = true }, nil, "whole from first"},
		{"told of more: the next may have it", soa, func(u *upkeep) { u.hinted, u.hint = true, 7 }, []say{{5, nil}, {6, nil}}, "transfer from second"},
		{"told of more: nobody has it", soa, func(u *upkeep) { u.hinted, u.hint = true, 7 }, []say{{5, nil}, {0, no}}, "same"},
		{"told of less", soa, func(u *upkeep) { u.hinted, u.hint = true, 4 }, []say{{5, nil}}, "same"},
	} {
		u := upkeep{soa: c.soa, expires: epoch.Add(time.Hour)}
		if c.edit != nil {
			c.edit(&u)
		}
		u.start(c.soa, someTargets, epoch)
		for _, a := range c.answers {
			if u.want != nil {
				t.Fatalf("%s: a transfer too early", c.name)
			}
			_ = u.answered(polled{serial: a.serial}, a.err)
		}
		over, same := u.over()
		got := "failed"
		switch {
		case over && same:
			got = "same"
		case !over && u.want == nil:
			got = "check of " + u.round[0].Name
		case !over && u.want.any && u.want.whole:
			got = "whole from " + u.round[0].Name
		case !over:
			got = "transfer from " + u.round[0].Name
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestWhenAgain: the next round after a good one, a bad one, and a NOTIFY.
func TestWhenAgain(t *testing.T) {
	t.Parallel()
	soa := timed(5, 3600, 600, 86400)
	at := func(u *upkeep) time.Duration { return u.due.Sub(epoch) }
	fresh := func() *upkeep {
		u := new(upkeep)
		u.have(Held{SOA: soa}, true, epoch)
		u.start(soa, someTargets, epoch)
		_ = u.answered(polled{serial: 5}, nil)
		u.well(soa, someTargets[0], epoch.Add(24*time.Hour), epoch, 0)
		return u
	}
	if u := fresh(); at(u) != time.Hour || u.state() != Fresh {
		t.Errorf("after a good round: %s, %s", at(u), u.state())
	}
	u := fresh()
	for i := range 3 { // RFC 1035: the retry interval stays
		u.start(soa, someTargets, epoch)
		u.badly("no", epoch, 0)
		if at(u) != 10*time.Minute || u.state() != Stale {
			t.Errorf("after %d bad rounds: %s, %s", i+1, at(u), u.state())
		}
	}
	missing := new(upkeep)
	for i, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 900, 900} {
		missing.start(nil, someTargets, epoch)
		missing.badly("no", epoch, 0)
		if at(missing) != want*time.Second || missing.state() != Missing {
			t.Errorf("%d: with nothing, after %s", i, at(missing))
		}
	}
	u = fresh()
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 320, 360, 360} { // transfers for nothing
		u.start(soa, someTargets[:1], epoch)
		_ = u.answered(polled{serial: 6}, nil)
		u.failed(fault(TooManyOctets, "again"))
		u.badly("no", epoch, 0)
		if at(u) != want*time.Minute {
			t.Errorf("after %d transfers for nothing: %s", i+1, at(u))
		}
	}
	if u.notified(7, true, epoch.Add(time.Second)); at(u) != mostFirst {
		t.Errorf("told of a newer one after transfers for nothing: %s", at(u))
	}
	u.start(soa, someTargets, epoch)
	u.badly("no", epoch, 0)
	if u.notified(7, true, epoch.Add(time.Minute)); at(u) != time.Minute {
		t.Errorf("told of a newer one after nobody answered: %s", at(u))
	}
	u = fresh()
	if u.notified(5, true, epoch.Add(time.Minute)) || at(u) != time.Hour {
		t.Errorf("told of what we have: %s", at(u))
	}
	for range 100 { // a burst
		u.notified(6, true, epoch.Add(time.Minute))
		u.notified(0, false, epoch.Add(time.Minute))
	}
	if at(u) != time.Minute {
		t.Errorf("told of a newer one: %s", at(u))
	}
	u.start(soa, someTargets, epoch.Add(time.Minute))
	u.notified(6, true, epoch.Add(time.Minute))
	u.notified(0, false, epoch.Add(time.Minute))
	u.well(timed(6, 3600, 600, 86400), someTargets[0], epoch.Add(24*time.Hour), epoch.Add(time.Minute), 0)
	if at(u) != time.Minute+notifyGap {
		t.Errorf("told of something meanwhile: %s", at(u))
	}
	// NOTIFY ahead of the serial: asked again, soon and not for ever.
	u = fresh()
	u.notified(6, true, epoch)
	now := epoch
	for i := range mostHints + 1 {
		u.start(soa, someTargets, now)
		u.well(soa, someTargets[0], epoch.Add(24*time.Hour), now, 0)
		want := hintWait << i
		if i == mostHints {
			want = time.Hour
		}
		if got := u.due.Sub(now); got != want {
			t.Errorf("%d: a serial that nobody has: %s, want %s", i, got, want)
		}
		now = u.due
	}
	u = fresh()
	u.retransfer(epoch)
	u.start(soa, someTargets, epoch)
	u.badly("no", epoch, 0)
	u.start(soa, someTargets, epoch)
	if u.want == nil || !u.want.any {
		t.Error("a retransfer that failed was forgotten")
	}
	u.retransfer(epoch) // meanwhile
	u.well(soa, someTargets[0], epoch.Add(24*time.Hour), epoch, 0)
	if u.start(soa, someTargets, u.due); at(u) != 0 || u.want == nil {
		t.Errorf("a retransfer that was asked for during another: %s", at(u))
	}
}

// TestExpiry: once, at its time, also during a round and after a restart.
func TestExpiry(t *testing.T) {
	t.Parallel()
	soa := timed(5, 3600, 600, 86400)
	for _, c := range []struct {
		name string
		held Held
		want time.Duration
	}{
		{"not known: the SOA's", Held{SOA: soa}, 24 * time.Hour},
		{"what is left", Held{SOA: soa, Expires: epoch.Add(time.Minute)}, time.Minute},
		{"long past", Held{SOA: soa, Expires: epoch.Add(-time.Hour)}, -time.Hour},
	} {
		u := new(upkeep)
		u.have(c.held, true, epoch)
		u.start(soa, someTargets, epoch)
		if got := u.wake().Sub(epoch); got != c.want {
			t.Errorf("%s: wakes after %s", c.name, got)
		}
		if at := epoch.Add(c.want); u.expire(at.Add(-1)) || !u.expire(at) || u.expire(at) || u.state() != Expired || !u.resting() {
			t.Errorf("%s: %s", c.name, u.state())
		}
		u.same = new(polled)
		u.well(soa, someTargets[0], u.fresh(epoch.Add(48*time.Hour)), epoch.Add(48*time.Hour), 0)
		if u.state() != Fresh || u.expire(epoch.Add(72*time.Hour-1)) || !u.expire(epoch.Add(72*time.Hour)) {
			t.Errorf("%s: it did not come back: %s", c.name, u.state())
		}
	}
}

// TestUpkeepNeverStops throws events at it: there always is something to wait
// for, and nothing is waited for or promised beyond the bounds.
func TestUpkeepNeverStops(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		u, now, have := new(upkeep), epoch, (*dns.SOA)(nil)
		rounds, told := 0, 0
		for range 2000 {
			if r.IntN(10) == 0 {
				u.notified(r.Uint32N(9), r.IntN(2) == 0, now)
				told++
			}
			if r.IntN(200) == 0 {
				u.retransfer(now)
				told++
			}
			u.expire(now)
			if !u.due.After(now) {
				rounds++
				u.start(have, someTargets, now)
				for over, _ := u.over(); !over; over, _ = u.over() {
					switch {
					case r.IntN(3) == 0:
						u.failed(errors.New("no"))
					case u.want != nil:
						have = timed(r.Uint32N(9), r.Uint32N(100_000), r.Uint32N(100_000), r.Uint32N(1_000_000))
						u.well(have, u.round[0], until(have, r.Uint32N(1_000_000), r.IntN(2) == 0, now), now, r.Float64())
					default:
						_ = u.answered(polled{serial: r.Uint32N(9), expire: r.Uint32N(1_000_000), expires: r.IntN(2) == 0}, nil)
					}
				}
				if u.busy {
					if _, same := u.over(); same {
						u.well(have, u.sameAt, u.fresh(now), now, r.Float64())
					} else {
						u.badly("no", now, r.Float64())
					}
				}
			}
			wake := u.wake()
			if u.busy || wake.After(now.Add(mostRefresh)) || u.expires.After(now.Add(mostExpire)) {
				t.Fatalf("seed %d: %+v at %s", seed, u, now)
			}
			now = now.Add(time.Duration(r.Int64N(int64(2 * max(wake.Sub(now), time.Second)))))
		}
		if rounds < 100 || told < 100 {
			t.Errorf("seed %d: %d rounds", seed, rounds)
		}
	}
}
