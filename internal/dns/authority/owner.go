package authority

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// owner is all the state of an Authority. Only its goroutine touches it, and
// Start before that goroutine runs.
type owner struct {
	a     *Authority
	plan  *plan
	store *journal.Store
	log   *slog.Logger
	watch *watch

	sources  map[key]*source
	served   map[key]*served
	derived  []journal.Derived
	pins     map[key]journal.Pin
	dynamics map[key]*dynamic       // what updates changed, as far as it was asked for
	dirty    map[key]bool           // must be built again
	rolls    map[name.Name]*rolling // the keys of zones that are signed
	kin      map[key][]kin          // what zones have because of them, see gatherKin
	asks     int                    // parents that are being asked

	restarting bool // this is the first scan of Start
	starting   bool
	unsettled  bool          // a file is being written: look again soon
	lookIn     time.Duration // how soon, at most
	dirFault   map[string]string
	faults     map[string][]Fault // what is wrong beside the zones, by what looked
	recent     []recent
	report     *Report // where a call wants to hear of changes
	loaded     int     // records published since the last table
	untidy     bool    // many records were published: see tidy
	laid       int     // rows of tables that were made, for tests

	leave   func() // ends the room that loading takes; nil: none is taken
	reading int64  // octets of the files that were read since it was last left

	taken *candidate // of the transfer that is being taken

	unjudged     bool      // a zone was amended since the last look
	unjudgedFrom time.Time // the first of those that wait to be judged
}

// served is what one (zone, view) answers with.
type served struct {
	key
	content  *zone.Zone        // as its files make it; nil: no good state
	out      *zone.Zone        // what is served: content, or that signed
	signed   *signer.Signed    // how out came about; nil: not signed, or not since the start
	signedBy *SignPolicy       // by which out was signed; nil: not by us
	records  []zonefile.Record // what content was built from: the base of overlays
	facts    *facts            // of out, see showsNow
	compiled *answer.Zone
	kin      []kin        // that content was made with
	tried    []kin        // with which it was tried last
	deltas   []zone.Delta // by which content came about, see Content

	derived   []dns.RR // of a folded state: the records that Postern made
	folded    bool     // records are not read yet, see unfold
	note      *note    // as it is in the journal
	noteLater bool     // updates changed it since
	trusted   bool     // its file is as the note says

	reason   string // why the last candidate was refused; "" if it was not
	problems []zonefile.Problem
	found    []zonefile.Problem // those of the records that are served
	unjudged bool               // found is not all there is to say, see judge
	byNote   bool               // problems are the note's, found is not known
	held     []string           // reason words for which the newest records wait; nil if they do not
	fed      *journal.Feed      // how content came by a transfer; nil: it did not
	expired  bool               // it is not to be served any more: see Expire
	logged   string             // the refusal that was logged last

	who, why string // of the version that is served

	signAfter time.Time // before then it is not tried to sign again
	firstborn bool      // no serial of it was ever served before this start
	raise     bool      // it must be served with a higher serial, see raiseAll
	unsaved   bool      // what is served is not in the journal, see refreshUnsaved
	saveAfter time.Time // before then it is not tried again to keep it

	state    State
	since    time.Time
	loadedAt time.Time
}

// unborn reports that the zone is new and only planned: it does not exist yet.
func (st *served) unborn() bool { return st.content == nil && len(st.held) > 0 }

func newOwner(a *Authority, p *plan) *owner {
	return &owner{
		a: a, plan: p, log: a.cfg.Log, starting: true,
		sources: map[key]*source{}, served: map[key]*served{}, dirty: map[key]bool{},
		pins: map[key]journal.Pin{}, dynamics: map[key]*dynamic{},
		rolls:    map[name.Name]*rolling{},
		dirFault: map[string]string{}, faults: map[string][]Fault{},
	}
}

// restore takes what the journal holds: it is served unless a file says
// otherwise.
func (o *owner) restore() {
	snapshots, derived, problems := o.store.LoadContents()
	for _, err := range problems {
		o.log.Error("zone journal", "err", err)
	}
	o.derived = derived
	for _, pin := range o.store.Pins() {
		if n, err := name.Parse(pin.Zone); err == nil {
			o.pins[key{n, pin.View}] = pin
		}
	}
	for _, snap := range snapshots {
		o.take(snap)
	}
	o.takeSteps()
	o.dropFiles()
}

// take makes a snapshot the state of its (zone, view), if that view exists
// and has none yet.
func (o *owner) take(snap journal.Snapshot) {
	n, err := name.Parse(snap.Zone)
	k := key{n, snap.View}
	if err != nil || o.plan.view(snap.View) == nil || o.served[k] != nil {
		return
	}
	st := &served{
		key: k, compiled: answer.Compile(snap.Content), loadedAt: snap.Saved, who: snap.Who, why: snap.Why,
		derived: snap.Derived, folded: true, fed: snap.Feed,
	}
	if err := st.takeOut(snap.Content, snap.Signed); err != nil {
		o.log.Error("zone journal", "err", err)
		return
	}
	o.served[k] = st
	o.dirty[k] = true
	o.loaded += snap.Content.Records()
	if o.plan.fed(k) {
		if st.fed != nil {
			o.holdFed(st)
		}
		return
	}
	if !snap.HasSource {
		return
	}
	s := &source{key: k, file: snap.File, good: true, fileSOA: snap.FileSerial, folded: true, version: snap.Version}
	if v := o.plan.view(snap.View); v != nil {
		s.dir = v.Dir
	}
	o.sources[k] = s
}

// tidyAfter is how long after the last large load memory is given back.
// Answering leaves no garbage, so the collector would keep the room that
// loading needed for as long as nothing is edited; but who edits a zone may
// edit it again soon, and would need that room.
// After a start it is given back at once.
const tidyAfter = 3 * time.Second

// run is the owner's goroutine.
func (o *owner) run(ctx context.Context, w *watch) {
	o.starting, o.watch = false, w
	defer w.close()
	o.standBack()
	var poll <-chan time.Time
	if o.plan.Poll > 0 {
		t := time.NewTicker(o.plan.Poll)
		defer t.Stop()
		poll = t.C
	}
	settle, due := time.NewTimer(time.Hour), time.Time{} // zero: nothing is
	defer settle.Stop()
	lookIn := func(d time.Duration) { // or sooner
		if at := time.Now().Add(d); due.IsZero() || at.Before(due) {
			settle.Reset(d)
			due = at
		}
	}
	quiet, judge, stamp := time.NewTimer(time.Hour), time.NewTimer(time.Hour), time.NewTicker(stampEvery)
	defer quiet.Stop()
	defer judge.Stop()
	defer stamp.Stop()
	tidyIn := time.Duration(0)
	for {
		if o.untidy {
			quiet.Reset(tidyIn)
			o.untidy = false
		}
		tidyIn = tidyAfter
		if o.unjudged {
			judge.Reset(o.judgeIn(o.a.clock()))
			o.unjudged = false
		}
		select {
		case <-ctx.Done():
			o.judge() // what is known is known at the next start
			o.noteUpdated()
			o.stampAll()
			o.saveSteps()
			o.leaveRoom()
			return
		case f := <-o.a.ops:
			f()
		case w := <-o.a.updates:
			o.update(w)
		case <-o.a.raises.wake:
			o.raiseAll()
		case <-poll:
			o.scan(false)
			w.follow(o.directories())
		case <-settle.C:
			due = time.Time{}
			o.scan(false)
		case <-judge.C:
			o.judge()
		case <-stamp.C:
			o.noteUpdated()
			o.stampAll()
		case <-quiet.C:
			o.makeRoom()
			o.a.cfg.Tidy()
		case <-w.changed:
			// The first look starts a file's clock, the next ones read it when
			// the clock has run. A burst of events is one look.
			lookIn(min(o.plan.Settle/5, 25*time.Millisecond))
		}
		if o.unsettled && o.plan.Poll > 0 {
			lookIn(max(o.lookIn, 0) + time.Millisecond)
		}
		o.leaveRoom()
	}
}

// directories returns those with zone files and those with what these include.
func (o *owner) directories() map[string]bool {
	dirs := map[string]bool{}
	for _, v := range o.plan.views {
		if v.Dir != "" {
			dirs[filepath.Clean(v.Dir)] = true
		}
	}
	for _, s := range o.sources {
		for _, path := range s.includes {
			dirs[filepath.Dir(filepath.Join(s.dir, path))] = true
		}
	}
	return dirs
}

// reconfigure puts another plan in place. A directory that cannot be read
// stands in its way as little as in that of Start: else a server would come
// up after a power cut with a configuration that a reload refuses. It is a
// Fault, and what was served for the view is served on.
func (o *owner) reconfigure(ctx context.Context, p *plan) error {
	o.plan = p
	clear(o.dirFault)
	clear(o.faults)
	for k := range o.served {
		if p.view(k.view) == nil {
			delete(o.served, k)
		}
	}
	for k := range o.sources {
		if p.view(k.view) == nil {
			delete(o.sources, k)
		}
	}
	snapshots, _, problems := o.store.LoadContents()
	for _, err := range problems {
		o.log.Error("zone journal", "err", err)
	}
	for _, snap := range snapshots {
		o.take(snap)
	}
	o.dropFiles()
	for k := range o.served {
		o.dirty[k] = true
	}
	if o.watch != nil {
		o.watch.follow(o.directories())
	}
	o.starting = true // zones of new views are read at once
	o.scan(true)
	o.starting = false
	return o.settleDown(ctx)
}

// madeHere returns those of what is served that Postern made; of an overlay, not
// those that the view below has.
func (st *served) madeHere() []dns.RR {
	if st.folded {
		return st.derived
	}
	return derivedRRs(tail(st.records))
}

// tail is the end of a list where the records stand that Postern made.
func tail(records []zonefile.Record) []zonefile.Record {
	at := len(records)
	for at > 0 && records[at-1].File == derivedFile {
		at--
	}
	return records[at:]
}

// derivedRRs returns those of the records that Postern made.
func derivedRRs(records []zonefile.Record) []dns.RR {
	var made []dns.RR
	for _, r := range records {
		if r.File == derivedFile {
			made = append(made, r.RR)
		}
	}
	return made
}
