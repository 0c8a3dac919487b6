// Package authority owns the zones: it watches the admin's zone files, merges
// views, judges, compiles, keeps each accepted state in the journal, and
// publishes one immutable table. Whatever changes a zone, a file edit, an
// operator or a derived record, goes through here.
//
// The steps of a change are: read the file once it has stopped changing,
// parse, materialise the overlay, lint, build, choose the serial, write the
// journal and fsync (the commit point), compile, swap. What fails before the
// commit point leaves the last good zone serving, also after a restart, with
// a reason word in log and status. The admin's files are never written.
//
// One goroutine, started by Start and ended by Stop, owns all state; others
// send it a message or read the published snapshot. RFC 1034, Section 4.3;
// RFC 1982.
package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/update"
	"postern/internal/dns/view"
	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// Config says which views there are and where their zone files lie.
type Config struct {
	Views []ViewConfig // in order of precedence

	// External names the view outsiders see: derived records are published
	// there and inherited. Default: the first view without an overlay that
	// serves any address, else the last view without an overlay.
	External string

	StateDir string            // the journal lies in its directory zones/
	Files    map[string]string // zone name -> file name in the views' directories, where it is not NAME.zone
	Serial   SerialPolicy      // default keep
	Strict   bool              // every ERR blocks a zone, not only what makes it unservable

	Manual    bool // new and changed files wait for Apply
	MaxChange int  // percent of a zone's records that may change without Apply; default 30

	Poll   time.Duration // how often files are looked at besides being watched; default 2 s; below zero: only when Scan is called
	Settle time.Duration // how long a file must be left alone before it is read; default 450 ms: who writes in place may pause, and a change is to be served within a second

	// Sign is how zones are signed that Signing does not name; nil: not at all,
	// they are served as their files are. Signing names zones, with nil for those
	// that are not signed. Both need Keys.
	Sign    *SignPolicy
	Signing map[string]*SignPolicy
	Keys    Keyring

	// DeriveDS puts the DS of zones into those above them, where both are signed
	// here and not secondary; DeriveSignals what RFC 9615 wants of zones without
	// a DS into those of their name servers.
	DeriveDS, DeriveSignals bool

	// Dynamic says who may update what, by zone and view.
	Dynamic map[string]map[string][]update.Rule

	// Parent looks at the DS of a zone at its parent, and may take its time;
	// nil: there is nobody to ask. Secondaries lists those of all zones; nil:
	// there are none. Up is a clock that is never set; default: the system's.
	Parent      func(ctx context.Context, zone name.Name) (Parent, error)
	Secondaries func() []Secondary
	Up          func() time.Duration

	// Changed hears of every (zone, view) that is served with another serial,
	// once readers see it. It must not wait for anything. Default:
	// nobody is told.
	Changed func(zone name.Name, view string, serial uint32)

	// Gone hears of every (zone, view) that is not served any more, as Changed
	// does.
	Gone func(zone name.Name, view string)

	// Room makes room for long work while questions are answered, until what it
	// returns is called. Default: nothing is done.
	Room func() (leave func())

	// Tidy gives memory back, once edits of much have come to rest. Default:
	// debug.FreeOSMemory.
	Tidy func()

	Now    func() time.Time // default time.Now
	Log    *slog.Logger     // default: discard
	Writer atomicfile.Writer
}

// ViewConfig is one view.
type ViewConfig struct {
	Name           string
	Dir            string   // every NAME.zone in it is a zone; "": no files of its own
	Overlay        string   // the view whose zones this one changes; "": none
	Hide, HideTree []string // names of the overlaid view that do not exist here
	Full           []string // zones of this view that are full copies, not overlays
	Fed            []string // zones of this view that come by transfers, see Take: full copies without a file; Feed changes them
	Made           []string // those of Fed that Postern makes itself: they have no primaries
	Private        []string // zones that exist only for those who may transfer them: catalogs
	Clients        []netip.Prefix
	Keys           []name.Name // of TSIG; requests signed with them belong here
	Recursion      bool
}

// Counters counts what happened since the start.
type Counters struct {
	Published metrics.Counter // zones published after a change
	Amended   metrics.Counter // those among them that were amended, not made anew
	Refused   metrics.Counter // candidates that were not published
	Held      metrics.Counter // candidates that wait for Apply
	Journal   metrics.Counter // writes to the journal that failed
	Raised    metrics.Counter // serials that went above those of secondaries
	Unsaved   metrics.Counter // signatures made anew that could not be kept
	Taken     metrics.Counter // transfers that were taken
	Expired   metrics.Counter // secondary zones that expired

	Updates        metrics.Counter // updates carried out, those that changed nothing among them
	UpdatesRefused metrics.Counter // updates that were not
	UpdatesBusy    metrics.Counter // updates for which there was no room, or no time
}

// Authority is the owner of all zones. It implements lifecycle.Part.
type Authority struct {
	Counters Counters

	cfg     Config
	ops     chan func()
	updates chan *waiting
	workers lifecycle.Workers
	state   atomic.Pointer[published]
	started atomic.Bool
	raises  raises
	owner   *owner
	clock   func() time.Time // for settling: never the test clock
	held    held
	began   time.Time

	build    string // which program this is, see note
	noteFrom int
	editFrom int
}

// ErrStopped is returned by calls before Start and after Stop.
var ErrStopped = errors.New("authority is not running")

// New checks the configuration and returns an Authority that serves nothing
// until Start.
func New(cfg Config) (*Authority, error) {
	cfg = withDefaults(cfg)
	p, err := newPlan(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.StateDir == "" {
		return nil, errors.New("authority: no state directory")
	}
	a := &Authority{cfg: cfg, ops: make(chan func()), updates: make(chan *waiting, maxWaiting), clock: time.Now, began: time.Now(), build: buildID(), noteFrom: noteFrom, editFrom: editFrom}
	a.held.zones = map[key]Held{}
	a.raises.wake = make(chan struct{}, 1)
	a.owner = newOwner(a, p)
	a.state.Store(&published{table: view.NewTable(nil)})
	return a, nil
}

// up is a clock that is never set.
func (a *Authority) up() time.Duration {
	if a.cfg.Up != nil {
		return a.cfg.Up()
	}
	return time.Since(a.began)
}

func withDefaults(cfg Config) Config {
	if cfg.Poll == 0 {
		cfg.Poll = 2 * time.Second
	}
	if cfg.Settle <= 0 {
		cfg.Settle = 450 * time.Millisecond
	}
	if cfg.MaxChange == 0 {
		cfg.MaxChange = 30
	}
	if cfg.Tidy == nil {
		cfg.Tidy = debug.FreeOSMemory
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// Start loads every zone, from its file or from its last good state, and then
// watches the files. A broken zone is no error; a journal that cannot be
// opened is.
func (a *Authority) Start(ctx context.Context) error {
	store, err := journal.Open(filepath.Join(a.cfg.StateDir, "zones"), a.cfg.Writer)
	if err != nil {
		return err
	}
	o := a.owner
	o.store = store
	store.Warn = func(err error) { a.cfg.Log.Warn("zone journal", "err", err) }
	o.restore()
	o.restarting = true
	o.scan(true)
	o.restarting = false
	if err := o.settleDown(ctx); err != nil {
		return err
	}
	o.firstLooks(ctx)
	w := newWatch(a.cfg.Log, a.clock, a.cfg.Poll > 0)
	w.follow(o.directories())
	a.started.Store(true)
	if !a.workers.Go("authority", func(ctx context.Context) { o.run(ctx, w) }) {
		w.close()
		return ErrStopped
	}
	return nil
}

// Stop ends the owner. What was published last stays readable.
func (a *Authority) Stop(ctx context.Context) error { return a.workers.Stop(ctx) }

// Table returns what is served now. It never waits.
func (a *Authority) Table() *view.Table { return a.state.Load().table }

// do runs f in the owner's goroutine and waits for it.
func (a *Authority) do(ctx context.Context, f func()) error {
	if !a.started.Load() {
		return ErrStopped
	}
	done := make(chan struct{})
	select {
	case a.ops <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return fmt.Errorf("authority is busy: %w", ctx.Err())
	case <-a.workers.Context().Done():
		return ErrStopped
	}
	// Once taken, f runs to its end: the caller must learn its outcome.
	<-done
	return nil
}

// Reload reads all files again, waiting for those being written to come to
// rest, and reports what changed and what is wrong.
func (a *Authority) Reload(ctx context.Context) (Report, error) {
	return a.scan(ctx, func(o *owner) error {
		o.tellRecent()
		o.scan(true)
		return o.settleDown(ctx)
	})
}

// Scan looks at the files once, as the timer does.
func (a *Authority) Scan(ctx context.Context) (Report, error) {
	return a.scan(ctx, func(o *owner) error {
		o.scan(false)
		return nil
	})
}

func (a *Authority) scan(ctx context.Context, f func(*owner) error) (Report, error) {
	var report Report
	var failed error
	err := a.do(ctx, func() {
		o := a.owner
		o.report = &report
		failed = f(o)
		o.judge()
		o.reportTrouble()
		o.report = nil
	})
	return report, errors.Join(err, failed)
}

// Reconfigure changes views and policies. Everything new is prepared first;
// on an error nothing has changed.
func (a *Authority) Reconfigure(ctx context.Context, cfg Config) error {
	cfg = withDefaults(cfg)
	p, err := newPlan(cfg)
	if err != nil {
		return err
	}
	if cfg.StateDir != a.cfg.StateDir {
		return errors.New("authority: the state directory cannot change while running")
	}
	var failed error
	err = a.do(ctx, func() { failed = a.owner.reconfigure(ctx, p) })
	return errors.Join(err, failed)
}
