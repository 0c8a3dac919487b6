package authority

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// commit makes the candidates durable and then their zones' state: all views
// of a zone together. Where the journal cannot be written, none of these
// changes, and it is tried again at the next scan. An operator's candidates
// are one for all: they change together, or nothing does and nothing is tried
// again.
func (o *owner) commit(made []*candidate, operator bool) error {
	now := o.a.cfg.Now()
	changed, err := o.signAll(made, operator, now)
	if err != nil {
		return err
	}
	var snapshots, ours []journal.Snapshot
	for _, c := range changed {
		snap := o.snapshot(c, now)
		if snapshots = append(snapshots, snap); !passing(&snap) {
			ours = append(ours, snap)
		} else {
			o.store.Raise(snap.Zone, snap.View, snap.Content.Serial())
		}
	}
	failed := o.store.Reserve(ours)
	for _, group := range together(changed, operator) {
		err := failed
		if err == nil {
			var batch []journal.Snapshot
			for _, i := range group {
				batch = append(batch, snapshots[i])
			}
			err = o.store.Save(batch...)
		}
		if err != nil && operator {
			o.a.Counters.Journal.Inc()
			return err
		}
		for _, i := range group {
			if err != nil {
				o.journalFailed(changed[i], err)
				o.refreshUnsaved(changed[i].key, now)
			} else {
				o.accept(changed[i], now)
				o.loaded += changed[i].out.Records()
			}
		}
	}
	for _, c := range made {
		if !c.changed {
			o.settleUnchanged(c, now)
		}
	}
	return nil
}

// signAll signs the candidates that change, and returns those that could be
// signed. A key step is taken in all views of a zone or in none: where one
// cannot take it, the others are signed as they were.
func (o *owner) signAll(made []*candidate, operator bool, now time.Time) ([]*candidate, error) {
	failed := map[name.Name]bool{}
	var signed []*candidate
	for _, c := range made {
		if !c.changed {
			continue
		}
		err := o.sign(c, now)
		if err != nil && operator {
			return nil, err
		}
		if err != nil {
			o.notSigned(c, now, err)
			failed[c.zone] = true
			continue
		}
		signed = append(signed, c)
	}
	return slices.DeleteFunc(signed, func(c *candidate) bool {
		if !failed[c.zone] || !o.steps(c) {
			return false
		}
		err := o.signAsBefore(c, now)
		if err != nil {
			o.notSigned(c, now, err)
		}
		return err != nil
	}), nil
}

// together returns the indices of candidates that are made durable at once.
func together(all []*candidate, operator bool) [][]int {
	var groups [][]int
	at := map[name.Name]int{}
	for i, c := range all {
		zone := c.zone
		if operator {
			zone = "" // all in one
		}
		g, ok := at[zone]
		if !ok {
			g = len(groups)
			at[zone], groups = g, append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// changes decides by content whether c must be published, and gives it its
// serial if so.
func (o *owner) changes(c *candidate, now time.Time) bool {
	if c.fed != nil && o.policyFor(c) == nil {
		return o.changesFed(c)
	}
	file := c.content.Serial()
	if o.same(c) && !o.refed(c) {
		if old := o.standing(c.key); !o.plan.Serial.bump(file, old.Serial()) && !o.stale(c.key, now) && !o.served[c.key].raise && !(c.order != nil && o.unsigns(c)) {
			c.renumber(old.Serial())
			return false
		}
	}
	last, known := o.lastSerial(c.key)
	c.firstborn = !known
	c.renumber(o.plan.Serial.next(file, last, known, now))
	return true
}

// lastSerial returns the highest serial that the zone had in the view: its own
// there and, until it has a state of its own, those of the views below, which
// showed through.
func (o *owner) lastSerial(k key) (last uint32, known bool) {
	last, known = o.store.HighWater(k.zone.String(), k.view)
	if o.standing(k) != nil {
		return last, known
	}
	for v := o.plan.view(o.plan.view(k.view).Overlay); v != nil; v = o.plan.view(v.Overlay) {
		high, ok := o.store.HighWater(k.zone.String(), v.Name)
		if ok && (!known || zone.SerialLess(last, high)) {
			last, known = high, true
		}
	}
	return last, known
}

// settleUnchanged takes over positions and problems; the journal is written
// only where it would bring back other source records.
func (o *owner) settleUnchanged(c *candidate, now time.Time) {
	st := o.served[c.key]
	if c.fed != nil {
		st.fed, c.out = c.fed, st.out
		o.finish(c, st)
		o.noteFed(st)
		return
	}
	if st.out == st.content {
		st.out = c.content
	}
	st.content, st.records, st.folded = c.content, c.records, false // equal, but these two share their records
	st.derived, st.kin = nil, c.kin
	c.out, c.signed, c.signedBy = st.out, st.signed, st.signedBy
	moved := false
	if s := c.source; s != nil {
		overlaid := o.plan.view(c.view).Overlay != ""
		moved = overlaid && !sameRecords(c.own, o.accepted(s))
	}
	if moved || o.relaid(c) {
		snap := o.snapshot(c, now)
		snap.New = false // it answers as before
		if err := o.store.Save(snap); err != nil {
			o.journalFailed(c, err)
			return
		}
		o.keep(c)
	}
	if s := c.source; s != nil {
		s.accepted, s.folded = c.own, false
	}
	o.finish(c, st)
	o.noteDown(c, st)
}

// finish clears the refusal, unless the candidate was made of the records
// accepted before: that does not make the newest ones good.
func (o *owner) finish(c *candidate, st *served) {
	if c.fallback {
		return
	}
	st.reason, st.held = "", nil
	st.found, st.problems, st.byNote = c.found, c.problems, false
	// What is made anew is judged whole, whatever was left to say before.
	st.unjudged = c.amended && (st.unjudged || len(c.touched) > 0)
	o.unjudged = o.unjudged || st.unjudged
	if c.source != nil && c.source.reason == "" {
		st.problems = slices.Concat(c.source.problems, c.problems)
	}
	o.tell(st)
}

func sameRecords(a, b []zonefile.Record) bool {
	if (a == nil) != (b == nil) || len(a) != len(b) {
		return false
	}
	for i := range a {
		if !zone.SameRecord(a[i].RR, b[i].RR) {
			return false
		}
	}
	return true
}

func (o *owner) snapshot(c *candidate, now time.Time) journal.Snapshot {
	snap := journal.Snapshot{Zone: c.zone.String(), View: c.view, Saved: now, Content: c.out, Signed: c.signedBy.text(), Derived: derivedRRs(c.records)}
	snap.New = c.source != nil && !sameRecords(c.own, o.accepted(c.source))
	snap.Who, snap.Why = byFile, ""
	if c.fed != nil {
		snap.Feed, snap.New, snap.Who = c.fed, c.took, byTransfer
		snap.Why = "from " + c.fed.From
	}
	if c.order != nil && !c.order.update {
		snap.Who, snap.Why = c.order.who, c.order.why
	} else if st := o.served[c.key]; st != nil && st.who != "" && !snap.New {
		snap.Who, snap.Why = st.who, st.why // the admin's part is as it was
	}
	c.who, c.why = snap.Who, snap.Why
	snap.Dynamic, snap.Updated = c.dynamic, o.relaid(c)
	if c.own != nil {
		snap.File, snap.FileSerial = c.source.file, c.source.fileSOA
		snap.Source = make([]dns.RR, 0, len(c.own))
		for _, r := range c.own {
			snap.Source = append(snap.Source, r.RR)
		}
	}
	return snap
}

func (o *owner) journalFailed(c *candidate, err error) {
	o.a.Counters.Journal.Inc()
	o.dirty[c.key] = true
	o.refuse(c.key, reasonJournal, []zonefile.Problem{{
		File: o.fileOf(c.key), Severity: zonefile.ERR, Code: reasonJournal, Message: err.Error(),
		Hint: "is the disk full? the change is tried again by itself",
	}})
}

// accept swaps the state of c's zone: it is durable now.
func (o *owner) accept(c *candidate, now time.Time) {
	st := o.served[c.key]
	if st == nil {
		st = &served{key: c.key}
		o.served[c.key] = st
	}
	st.raise, st.firstborn = false, c.firstborn || st.firstborn && !st.raise // whoever it was, once
	diff := o.compare(c)                                                     // while the old content stands
	var delta *zone.Delta
	if st.out != nil {
		d := outDelta(diff, st, c)
		delta = &d
	}
	if st.out != nil && !zone.SerialLess(st.out.Serial(), c.out.Serial()) {
		st.deltas, delta = nil, nil // a primary went back: no secondary can go along step by step
	}
	st.remember(delta, c.out.Records())
	st.compiled = compiled(c.out, st.compiled, delta)
	st.content, st.records, st.loadedAt = c.content, c.records, now
	st.out, st.signed, st.signedBy, st.signAfter = c.out, c.signed, c.signedBy, time.Time{}
	st.unsaved = false
	st.who, st.why = c.who, c.why
	st.folded, st.derived, st.kin = false, nil, c.kin
	if st.fed = c.fed; c.fed != nil {
		st.folded = true // see contents
	}
	if c.took {
		st.expired = false
	}
	if c.source != nil {
		c.source.accepted, c.source.folded = c.own, false
	}
	o.keep(c)
	o.finish(c, st)
	o.a.Counters.Published.Inc()
	if c.amended {
		o.a.Counters.Amended.Inc()
	}
	o.noteDown(c, st)
	o.noteFed(st)
	o.announce(st, diff)
}

// outDelta returns by what c and what is served differ, as they are served.
func outDelta(d *difference, st *served, c *candidate) zone.Delta {
	if st.out == st.content && c.out == c.content {
		return zone.DeltaOf(d.old, d.next, d.removed, d.added)
	}
	return zone.NewDelta(st.out, c.out)
}

// compiled returns the answers of a zone, from those before where it can.
func compiled(out *zone.Zone, old *answer.Zone, d *zone.Delta) *answer.Zone {
	if d != nil {
		if touched, few := ownersOfDelta(d, out.Origin()); few {
			if z, ok := answer.Amend(out, old, touched); ok {
				return z
			}
		}
	}
	return answer.Recompile(out, old)
}

// announce logs what changed and puts it into the report.
func (o *owner) announce(st *served, diff *difference) {
	old, removed, added := diff.old, diff.removed, diff.added
	ch := Change{Zone: st.zone.String(), View: st.view, NewSerial: st.content.Serial()}
	ch.Removed, ch.Added = len(removed), len(added)
	if old == nil {
		ch.Added = st.content.Records()
		o.log.Info("zone is loaded", "zone", ch.Zone, "view", ch.View, "serial", ch.NewSerial, "records", st.content.Records())
	} else {
		ch.OldSerial = old.Serial()
		const few = 3
		for _, rr := range removed[:min(few, len(removed))] {
			ch.First = append(ch.First, "- "+oneLine(rr))
		}
		for _, rr := range added[:min(few, len(added))] {
			ch.First = append(ch.First, "+ "+oneLine(rr))
		}
		o.log.Info("zone changed", "zone", ch.Zone, "view", ch.View, "serial", ch.NewSerial, "was", ch.OldSerial,
			"removed", ch.Removed, "added", ch.Added, "first", ch.First)
	}
	if o.report != nil {
		o.report.Changes = append(o.report.Changes, ch)
	} else if !o.starting {
		o.remindLater(ch)
	}
}

// A file is taken as soon as its writer is done, which may be a moment before
// the same hand asks for a reload: that tells of it all the same.
const (
	tellFor   = 2 * time.Second
	maxRecent = 100
)

// recent is a change that nobody asked for.
type recent struct {
	Change
	at time.Time
}

func (o *owner) remindLater(ch Change) {
	now := o.a.clock()
	o.recent = slices.DeleteFunc(o.recent, func(r recent) bool { return now.Sub(r.at) > tellFor })
	if len(o.recent) < maxRecent {
		o.recent = append(o.recent, recent{ch, now})
	}
}

// tellRecent puts what changed a moment ago into the report.
func (o *owner) tellRecent() {
	now := o.a.clock()
	for _, r := range o.recent {
		if now.Sub(r.at) <= tellFor {
			o.report.Changes = append(o.report.Changes, r.Change)
		}
	}
	o.recent = nil
}

// withoutSerial drops the SOA from both lists if its serial alone differs.
func withoutSerial(removed, added []dns.RR) ([]dns.RR, []dns.RR) {
	isSOA := func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA }
	i, j := slices.IndexFunc(removed, isSOA), slices.IndexFunc(added, isSOA)
	if i < 0 || j < 0 {
		return removed, added
	}
	a, aok := removed[i].(*dns.SOA)
	b, bok := dns.Copy(added[j]).(*dns.SOA)
	if !aok || !bok {
		return removed, added
	}
	if b.Serial = a.Serial; a.String() != b.String() {
		return removed, added
	}
	return slices.Delete(removed, i, i+1), slices.Delete(added, j, j+1)
}

// oneLine prints a record for a log line.
func oneLine(rr dns.RR) string {
	const most = 120
	b := []byte(rr.String())
	for i, c := range b {
		if c == '\t' {
			b[i] = ' '
		}
	}
	if len(b) > most {
		return fmt.Sprintf("%s... (%d octets)", b[:most], len(b))
	}
	return string(b)
}

// reportTrouble ends a report with what stands in the way of a zone or view.
func (o *owner) reportTrouble() {
	for _, s := range o.a.state.Load().statuses() {
		if s.Reason != "" {
			o.report.Changes = append(o.report.Changes, Change{
				Zone: s.Zone, View: s.View, OldSerial: s.ServedSerial, NewSerial: s.ServedSerial, Reason: s.Reason, Problems: s.Problems,
			})
		}
	}
	for _, f := range o.a.state.Load().faults {
		if f.Problem.Severity == zonefile.ERR {
			o.report.Changes = append(o.report.Changes, Change{View: f.View, Reason: f.Problem.Code, Problems: []zonefile.Problem{f.Problem}})
		}
	}
}

func (o *owner) status(st *served) Status {
	s := Status{Zone: st.zone.String(), View: st.view, State: OK, LoadedAt: st.loadedAt}
	if src := o.sources[st.key]; src != nil {
		s.File, s.FileSerial = src.path(), src.fileSOA
	}
	if s.Secondary = o.plan.fed(st.key); s.Secondary && st.fed != nil {
		s.FileSerial = st.fed.Serial
	}
	s.Made, s.Left = o.plan.made(st.key), st.fed != nil && !s.Secondary
	s.Secondary = s.Secondary && !s.Made
	if st.signedBy != nil {
		s.Policy = st.signedBy.Name
	}
	if st.signed != nil {
		s.Expires, s.Renews = st.signed.Expires(), st.signed.NextWake()
	}
	s.Keys = o.rolls[st.zone].status()
	kept, _ := o.dynamic(st.key)
	s.Dynamic, s.Derived = len(kept.Kept()), st.madeHere()
	s.Reason, s.Problems = o.trouble(st)
	if len(s.Problems) > 0 {
		s.Problem = s.Problems[0].String()
	}
	if st.content != nil {
		s.ServedSerial, s.Records = st.content.Serial(), st.content.Records()
	}
	if pin, ok := o.pins[st.key]; ok && s.Reason == "" {
		s.Reason = ReasonPinned
		s.Problems = append([]zonefile.Problem{pinnedProblem(s.File, pin)}, s.Problems...)
		s.Problem = s.Problems[0].String()
	}
	switch {
	case s.Reason == ReasonPinned && o.still(st.key): // nothing waits
		s.State = Pinned
	case len(st.held) > 0 && s.Reason == st.reason:
		s.State = Planned
	case s.Reason == ReasonPinned:
		s.State = Pinned
	case st.expired, o.lies(st.key, func(below *served) bool { return below.expired }):
		s.State = Expired
	case st.content == nil && (s.Reason == ReasonWaiting || o.lies(st.key, func(below *served) bool { return below.reason == ReasonWaiting })):
		s.State = Waiting
	case st.content == nil:
		s.State = Failed
	case s.Reason == reasonMissing:
		s.State = Missing
	case s.Reason != "":
		s.State = LastGood
	}
	if s.State != st.state {
		st.state, st.since = s.State, o.a.cfg.Now()
	}
	s.Since = st.since
	return s
}
