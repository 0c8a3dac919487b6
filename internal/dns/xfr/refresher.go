package xfr

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/dns/name"
	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// RefresherCounters counts what primaries were asked and gave, and told.
type RefresherCounters struct {
	Checked         metrics.Counter // questions for a serial, answered
	Current         metrics.Counter // zones found to be what a primary has
	Full            metrics.Counter // whole zones taken
	Incremental     metrics.Counter // differences taken
	FellBack        metrics.Counter // zones asked for whole after differences came to nothing
	Messages        metrics.Counter // of transfers, whatever became of them
	Octets          metrics.Counter // of those messages
	Reused          metrics.Counter // requests within TLS on a connection that was there already
	Failed          metrics.Counter // zones that no primary gave or vouched for, each time
	Expired         metrics.Counter // zones that expired
	Notified        metrics.Counter // NOTIFY of a primary
	NotifyRefused   metrics.Counter // NOTIFY of somebody else; REFUSED
	NotifyUnknown   metrics.Counter // NOTIFY of a zone that is none here; NOTAUTH
	NotifyMalformed metrics.Counter // NOTIFY that says nothing; FORMERR
	Dropped         metrics.Counter // zones beyond Most: not asked for
}

// Refresher keeps zones that others are primary for: it asks whether they have
// changed, transfers them, and says when nobody vouches for them any more. It is
// a lifecycle.Part. A nil one keeps nothing.
type Refresher struct {
	Counters RefresherCounters
	Faults   Faults

	config  RefresherConfig
	client  client
	workers lifecycle.Workers
	wake    chan struct{} // the loop has something to look at

	mu     sync.Mutex // guards what follows
	follow bool       // Zones is to be asked
	zones  map[place]*feed
	views  map[name.Name][]*feed // the same, by zone
	queue  feeds                 // those that wait for their time
	lanes  [2]lane
	bad    map[netip.AddrPort]time.Time // until when an address that did not answer is asked last
}

// feed is a zone in the Refresher's hands.
type feed struct {
	upkeep
	in     *Inbound // never changed, but another one at times
	at     int      // in the queue; -1: not there
	gone   bool     // no longer fed
	lane   int      // of the job that it waits for, or that runs
	runs   bool
	prefer string // the primary that told of a new version; "": none
	news   string // what was complained about last

	// hooks is held while somebody outside hears of the zone, so that its
	// expiry and a transfer do not overtake each other.
	hooks sync.Mutex
}

// NewRefresher returns a Refresher that knows no zone yet.
func NewRefresher(c RefresherConfig) *Refresher {
	c.Transfers = cmp.Or(c.Transfers, 10)
	c.PerPrimary = cmp.Or(c.PerPrimary, 2)
	c.Checks = cmp.Or(c.Checks, 32)
	c.Most = cmp.Or(c.Most, 50_000)
	c.Longest = cmp.Or(c.Longest, 2*time.Hour)
	c.Idle = cmp.Or(c.Idle, 30*time.Second)
	if c.Exchange == nil {
		c.Exchange = exchangeUDP
	}
	if c.Dial == nil {
		c.Dial = dialTCP
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Refresher{
		config: c, wake: make(chan struct{}, 1), follow: true,
		zones: map[place]*feed{}, views: map[name.Name][]*feed{}, bad: map[netip.AddrPort]time.Time{},
	}
	r.lanes[checking] = newLane(c.Checks, max(1, c.Checks/4))
	r.lanes[transferring] = newLane(c.Transfers, c.PerPrimary)
	r.client = client{keys: c.Keys, exchange: c.Exchange, dial: c.Dial, wait: c.Idle, idle: new(idle), reused: r.Counters.Reused.Inc, now: r.now, rand: c.Rand, messages: func(octets int) {
		r.Counters.Messages.Inc()
		r.Counters.Octets.Add(uint64(octets))
	}}
	return r
}

// Start begins with the zones there are. It waits for nobody.
func (r *Refresher) Start(context.Context) error {
	r.workers.Go("refresher", r.run)
	return nil
}

// Stop breaks off what is under way.
func (r *Refresher) Stop(ctx context.Context) error {
	defer r.client.idle.close()
	return r.workers.Stop(ctx)
}

// Follow hears that zones, primaries or keys are others. It does not wait.
func (r *Refresher) Follow() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.follow = true
	r.mu.Unlock()
	r.look()
}

// Forget hears that what we had of a zone is gone: where it is to be fed, it
// begins anew. It does not wait.
func (r *Refresher) Forget(zone name.Name, view string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	if f := r.zones[place{zone, view}]; f != nil {
		r.forgetLocked(place{zone, view}, f)
	}
	r.follow = true
	r.mu.Unlock()
	r.look()
}

// Notified hears that a primary told of a new version; from is who told, to be
// asked first. It does not wait.
func (r *Refresher) Notified(zone name.Name, view string, from netip.Addr) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.syncLocked()
	if f := r.zones[place{zone, view}]; f != nil {
		r.toldLocked(f, 0, false, from)
	}
}

// Again transfers zones whole, also where the primary's serial is lower than
// ours or the same: that one, or all where it is ""; in that view, or in all. It
// does not wait. Listed are those it does so for.
func (r *Refresher) Again(zone name.Name, view string) []InStanding {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	r.syncLocked()
	now := r.now()
	for at, f := range r.zones {
		if (zone == "" || at.zone == zone) && (view == "" || at.view == view) {
			f.retransfer(now)
			r.queueLocked(f)
		}
	}
	r.mu.Unlock()
	r.look()
	return slices.DeleteFunc(r.Standing(), func(s InStanding) bool {
		return zone != "" && s.Zone != zone || view != "" && s.View != view
	})
}

// Standing returns how all zones stand, by zone and view.
func (r *Refresher) Standing() []InStanding {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]InStanding, 0, len(r.zones))
	for at, f := range r.zones {
		s := InStanding{
			Zone: at.zone, View: at.view, State: f.state(), Checked: f.checked, Next: f.due, Tried: f.began, Reason: f.reason,
		}
		if f.soa != nil {
			s.Serial, s.Expires = f.soa.Serial, f.expires
		}
		if f.last.Primary != nil {
			s.Primary, s.Address = f.last.Name, f.last.addr
		}
		if f.runs {
			s.Running = laneWords[f.lane]
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b InStanding) int { return cmp.Or(a.Zone.Compare(b.Zone), strings.Compare(a.View, b.View)) })
	return all
}

func (r *Refresher) look() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (r *Refresher) now() time.Time {
	if r.config.Now != nil {
		return r.config.Now()
	}
	return time.Now()
}

// jitter is a number from 0 to 1.
func (r *Refresher) jitter() float64 {
	var b [2]byte
	if _, err := io.ReadFull(r.config.Rand, b[:]); err != nil {
		return 0
	}
	return float64(binary.BigEndian.Uint16(b[:])) / (1 << 16)
}
