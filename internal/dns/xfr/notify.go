package xfr

import (
	"cmp"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// Exchange sends one request, from one of our addresses where that is valid,
// and returns the reply that has its id. It ends with ctx.
type Exchange func(ctx context.Context, from netip.Addr, to netip.AddrPort, request []byte) ([]byte, error)

// NotifierConfig is what a Notifier needs.
type NotifierConfig struct {
	Source   Source
	Rules    func() *Rules     // called often; a new table is a new pointer
	Keys     func() *tsig.Keys // with those that the peers name
	Exchange Exchange          // nil: by UDP
	// Ahead hears of a secondary that serves a higher serial than we; proven says
	// that its answer was signed. It must not wait. nil: nobody.
	Ahead  func(zone name.Name, view string, serial uint32, proven bool)
	AtOnce int              // requests in flight; 0: 16
	Most   int              // zones of secondaries that are followed; 0: 50,000
	Now    func() time.Time // told to others, and in a Standing; nil: time.Now. Waiting is by the system's clock.
	Rand   io.Reader        // ids; nil: crypto/rand
	Log    *slog.Logger     // nil: silent
}

// NotifierCounters counts what secondaries were told and asked.
type NotifierCounters struct {
	Sent     metrics.Counter // NOTIFY sent, retries among them
	Answered metrics.Counter // NOTIFY answered well
	Refused  metrics.Counter // NOTIFY answered with an error, or by somebody who proves nothing
	Lost     metrics.Counter // NOTIFY not answered
	Asked    metrics.Counter // questions for a serial
	Failed   metrics.Counter // of these without a useful answer
	Dropped  metrics.Counter // zones of secondaries beyond Most: neither told nor asked
}

// Notifier tells secondaries what is new, and asks them until they have it. It
// is a lifecycle.Part. A nil one does nothing.
type Notifier struct {
	Counters NotifierCounters

	config  NotifierConfig
	workers lifecycle.Workers
	wake    chan struct{} // the loop has something to look at

	mu      sync.Mutex // guards what follows
	rules   *Rules     // that all was last made from
	all     map[entryKey]*entry
	places  map[place][]*entry
	queue   queue          // those that wait
	changed map[place]bool // since the loop looked
	flying  int
}

// place is one zone in one view.
type place struct {
	zone name.Name
	view string
}

type entryKey struct {
	place
	peer string
	addr netip.AddrPort
}

// entry is a secondary in the Notifier's hands.
type entry struct {
	secondary
	peer  *Peer
	at    int  // in the queue; -1: not there
	busy  bool // a request is in flight
	anew  bool // changed meanwhile
	gone  bool // no longer a secondary
	place place
}

// NewNotifier returns a Notifier that knows nobody yet.
func NewNotifier(c NotifierConfig) *Notifier {
	c.AtOnce = cmp.Or(c.AtOnce, 16)
	c.Most = cmp.Or(c.Most, 50_000)
	if c.Exchange == nil {
		c.Exchange = exchangeUDP
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Notifier{
		config: c, wake: make(chan struct{}, 1),
		all: map[entryKey]*entry{}, places: map[place][]*entry{}, changed: map[place]bool{},
	}
}

// Start begins with what was changed before. It waits for nobody.
func (n *Notifier) Start(context.Context) error {
	n.workers.Go("notifier", n.run)
	return nil
}

// Stop ends requests in flight.
func (n *Notifier) Stop(ctx context.Context) error { return n.workers.Stop(ctx) }

// Changed hears that a zone is served with another serial, and readers see it
// already: a secondary may come at once. It does not wait.
func (n *Notifier) Changed(zone name.Name, view string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	n.changed[place{zone, view}] = true
	n.mu.Unlock()
	n.look()
}

// Follow hears that rules or keys are others. It does not wait.
func (n *Notifier) Follow() {
	if n != nil {
		n.look()
	}
}

func (n *Notifier) look() {
	select {
	case n.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Told is a zone whose secondaries are being told.
type Told struct {
	Zone   name.Name
	View   string
	Serial uint32
	Peers  []string
}

// Again tells secondaries once more: of that zone, or of all where it is ""; in
// that view, or in all. It does not wait. Listed are the zones that have
// somebody to tell.
func (n *Notifier) Again(zone name.Name, view string) []Told {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.syncLocked()
	var told []Told
	for at, entries := range n.places {
		if zone != "" && at.zone != zone || view != "" && at.view != view || len(entries) == 0 {
			continue
		}
		t := Told{Zone: at.zone, View: at.view, Serial: entries[0].Served}
		for _, e := range entries {
			t.Peers = append(t.Peers, e.Peer)
		}
		slices.Sort(t.Peers)
		t.Peers = slices.Compact(t.Peers)
		told = append(told, t)
		n.changed[at] = true
	}
	slices.SortFunc(told, func(a, b Told) int { return cmp.Or(a.Zone.Compare(b.Zone), strings.Compare(a.View, b.View)) })
	n.look()
	return told
}

// Standing returns how all secondaries stand, by zone, view, peer and address.
func (n *Notifier) Standing() []Standing {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.syncLocked()
	all := make([]Standing, 0, len(n.all))
	for _, e := range n.all {
		all = append(all, e.Standing)
	}
	slices.SortFunc(all, func(a, b Standing) int {
		return cmp.Or(a.Zone.Compare(b.Zone), strings.Compare(a.View, b.View), strings.Compare(a.Peer, b.Peer), a.Address.Compare(b.Address))
	})
	return all
}

func (n *Notifier) now() time.Time {
	if n.config.Now != nil {
		return n.config.Now()
	}
	return time.Now()
}
