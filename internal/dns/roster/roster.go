// Package roster keeps the roster of zones that follow from catalogs (RFC 9432):
// which zones are here because somebody else's catalog lists them, and which of
// ours are listed in catalogs that Postern makes. dns/catalog decides; roster
// reads what catalogs say, has zones fed or dropped accordingly, and makes our
// own. Who fetches zones, and who serves them, is not known here.
//
// A turn looks at everything there is and does what lacks, so that it does not
// matter what a turn before did not come to. What follows from catalogs is
// written down, so that a restart serves the members at once, and knows which of
// them have another label than before. The order is: the zones first, then the
// file.
//
// Start begins with a turn, then one goroutine makes the next ones, soon after
// Look is called and each minute. Stop ends it.
package roster

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// Most is how many members a catalog of somebody else may have here: a catalog
// with more is broken.
const Most = 10_000

// Place is a zone in a view.
type Place struct {
	Zone name.Name
	View string
}

func (p Place) compare(q Place) int {
	return cmp.Or(p.Zone.Compare(q.Zone), strings.Compare(p.View, q.View))
}

// Plan is what the configuration, and the zones that there are, say.
type Plan struct {
	Follow []Place // catalogs of others, whose members are to be zones here
	Make   []Place // catalogs of our own
	// Own reports whether a zone is here for another reason than a catalog.
	Own func(at Place) bool
	// Members are the zones that a catalog of our own is to list. whole is false
	// where not all zones are known: then nothing is taken off the list.
	Members func(at Place) (all []Candidate, whole bool)
	// MostLost is how many of the zones that follow from a catalog may go at once,
	// in percent; more wait for Accept. 0: any number.
	MostLost int
}

// Candidate is a zone that is to be listed.
type Candidate struct {
	Zone name.Name
	// Served: others can transfer it now. One that is not served stays on the
	// list, and does not come onto it.
	Served bool
}

// Config is what a Roster works with.
type Config struct {
	Path   string // of the file
	Writer atomicfile.Writer
	Lock   sync.Locker // held during a turn: what Plan follows from does not change meanwhile

	Plan func() Plan // within Lock
	// Content is what a catalog holds; nil: that is not known.
	Content func(zone name.Name, view string) *zone.Zone
	// Held is the serial that a catalog of our own has; false: it was not made yet.
	Held func(zone name.Name, view string) (uint32, bool)
	// Feed has zones of a view fed, and others dropped with all that is known of
	// them. Those in the way of which something else is are returned.
	Feed func(ctx context.Context, view string, add, drop []name.Name) (inTheWay []name.Name, err error)
	// Publish makes records the content of a catalog of our own.
	Publish func(ctx context.Context, at Place, records []dns.RR) error
	// Changed hears, within Lock, that Members returns others than before, and of
	// the zones that were dropped, also where they are members again.
	Changed func(dropped []Place)

	Most int              // members of one catalog that is followed; 0: Most
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: silent
}

// Counters counts what followed from catalogs.
type Counters struct {
	Added     metrics.Counter // zones that came with a catalog
	Reset     metrics.Counter // zones that began anew, for their label is another
	Moved     metrics.Counter // zones that went from one catalog to another
	Removed   metrics.Counter // zones that went with a catalog
	Refused   metrics.Counter // zones that a catalog lists, and that are somebody else's
	Held      metrics.Counter // catalogs that would lose too many zones at once, each time that this is seen anew
	Broken    metrics.Counter // catalogs that mean nothing, each time that this is seen anew
	Published metrics.Counter // versions of catalogs of our own
	Failed    metrics.Counter // turns in which something could not be done
}

// Roster implements lifecycle.Part. A nil one has no members and no catalogs.
type Roster struct {
	Counters Counters

	config  Config
	workers lifecycle.Workers
	wake    chan struct{}

	// Only a turn touches these.
	members  map[string][]catalog.Assigned // by view
	accepted map[Place]map[name.Name]bool  // what catalogs may lose
	made     []Place
	told     map[Place]string // what was said of a catalog last
	dirty    bool             // the file is to be written

	mu       sync.Mutex // guards what follows: what others see
	follows  map[Place]bool
	shown    map[string][]catalog.Assigned
	shownOwn []Place
	standing []Standing
}

// Standing is how one catalog stands.
type Standing struct {
	Place
	Made    bool // by us
	Members int  // that follow from it, or that it lists
	Known   bool // what it lists is known
	Broken  string
	Refused []catalog.Refused
	Held    []name.Name // that it lists no more, or with another label, and that stay until Accept
}

// New returns a Roster with what the file holds. A file that cannot be read is
// set aside: catalogs say anew what it held.
func New(c Config) (*Roster, error) {
	c.Most = cmp.Or(c.Most, Most)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Lock == nil {
		c.Lock = &sync.Mutex{}
	}
	r := &Roster{config: c, wake: make(chan struct{}, 1), told: map[Place]string{}, accepted: map[Place]map[name.Name]bool{}}
	if err := r.load(); err != nil {
		return nil, err
	}
	r.show(nil, nil)
	return r, nil
}

// every is how often it is looked whether something was missed.
const every = time.Minute

// again is how soon after a turn that failed.
const again = 10 * time.Second

// rest is how much longer than a turn it is waited for the next: a turn looks at
// all zones, and while thousands come one after the other, one look serves many.
const rest = 10

// Start makes the first turn. What fails is tried again.
func (r *Roster) Start(ctx context.Context) error {
	failed, took := r.timed(ctx)
	r.workers.Go("roster", func(ctx context.Context) {
		for {
			wait := every
			if failed {
				wait = again
			}
			if !sleep(ctx, min(rest*took, time.Second), nil) || !sleep(ctx, wait, r.wake) {
				return
			}
			failed, took = r.timed(ctx)
		}
	})
	return nil
}

// timed makes a turn, and says how long it took.
func (r *Roster) timed(ctx context.Context) (failed bool, took time.Duration) {
	began := time.Now()
	failed = r.turn(ctx) != nil
	return failed, time.Since(began)
}

// sleep waits so long, or until it is woken; false: until ctx ends.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-timer.C:
	}
	return true
}

// Stop waits for the turn in hand.
func (r *Roster) Stop(ctx context.Context) error { return r.workers.Stop(ctx) }

// Look hears that something changed. It does not wait.
func (r *Roster) Look() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Follows reports whether a zone is a catalog that is followed.
func (r *Roster) Follows(at Place) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.follows[at]
}

// Members returns the zones of a view that are here because a catalog lists
// them, in order.
func (r *Roster) Members(view string) []catalog.Assigned {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown[view]
}

// Made returns the catalogs of our own that there are, those among them that
// are not to be made any more and are not dropped yet.
func (r *Roster) Made() []Place {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shownOwn
}

// Standing returns how all catalogs stand, by zone and view.
func (r *Roster) Standing() []Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.standing
}

// show makes what a turn left what others see.
func (r *Roster) show(follow []Place, standing []Standing) {
	shown := map[string][]catalog.Assigned{}
	for view, all := range r.members {
		shown[view] = slices.Clone(all)
	}
	follows := map[Place]bool{}
	for _, at := range follow {
		follows[at] = true
	}
	slices.SortFunc(standing, func(a, b Standing) int { return a.compare(b.Place) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown, r.shownOwn, r.follows, r.standing = shown, slices.Clone(r.made), follows, standing
}
