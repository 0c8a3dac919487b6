package authority

import (
	"maps"
	"slices"

	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/update"
	"postern/internal/dns/view"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

// Reason words of a candidate that is not published.
const (
	reasonLint    = "zone-unfit"    // the file reads, but makes no zone that can be served
	reasonBase    = "base-failed"   // the view below has no good state of the zone
	reasonJournal = "journal-write" // the state could not be made durable
)

// candidate is the next state of a (zone, view).
type candidate struct {
	key
	source   *source           // nil where the view has no file for it
	over     string            // the view whose records it is laid over; "": none
	beside   []zonefile.Record // of a full copy: those of the view below, which it is not laid over
	own      []zonefile.Record // what of the source went in
	records  []zonefile.Record
	content  *zone.Zone
	out      *zone.Zone // content, or that signed: see sign
	signed   *signer.Signed
	signedBy *SignPolicy
	problems []zonefile.Problem
	found    []zonefile.Problem // those among them that judging the records found

	diff difference // to what is served, see compare

	fed  *journal.Feed // how content came by a transfer; nil: it did not
	took bool          // just now

	changed   bool        // other content than is served, or a serial that moved ahead
	fallback  bool        // made of the records accepted before: it clears no refusal
	firstborn bool        // the zone never had a serial here
	amended   bool        // made the short way, see amend
	touched   []name.Name // by which it differs then from what is served
	order     *order
	who, why  string // of the version it makes

	kin       []kin
	laid      bool // what updates changed was laid over it, see lay: this
	dynamic   *update.Overlay
	overruled []update.Kept
}

// build makes what is dirty anew and publishes.
func (o *owner) build() {
	now := o.a.cfg.Now()
	o.advanceAll(now)
	o.gatherKin()
	o.settleTrusted()
	defer o.askParents(now)
	for k := range o.dirty {
		if st := o.served[k]; st != nil && st.content != nil && st.content.Records() >= o.a.editFrom {
			o.makeRoom()
			break
		}
	}
	o.saveUnsaved(o.a.cfg.Now())
	_ = o.commit(o.prepare(nil).made, false) // each failure is in its zone's status
	o.tabulate()
	if o.advanceAll(now) { // what is served now may be all that was waited for
		o.tabulate() // the status tells of it
	}
}

// zonesOf returns the zones that exist in the view, in order: those with a
// file or a last good state here, and those of the view below.
func (o *owner) zonesOf(v *viewPlan, base map[name.Name]bool) []name.Name {
	all := maps.Clone(base)
	if all == nil {
		all = map[name.Name]bool{}
	}
	for k := range o.sources {
		if k.view == v.Name && o.source(k) != nil {
			all[k.zone] = true
		}
	}
	for k, st := range o.served {
		if k.view == v.Name && st.content != nil {
			all[k.zone] = true
		}
	}
	for n := range v.fed {
		all[n] = true
	}
	return slices.SortedFunc(maps.Keys(all), name.Name.Compare)
}

// source returns the file of k once it has been looked into: one still being
// written for the first time is none yet.
func (o *owner) source(k key) *source {
	if s := o.sources[k]; s != nil && (s.good || s.reason != "") {
		return s
	}
	return nil
}

// inherit forgets a state of its own that the view no longer has.
func (o *owner) inherit(k key) {
	delete(o.dirty, k)
	if o.served[k] == nil {
		return
	}
	delete(o.served, k)
	delete(o.dynamics, k)
	if err := o.store.Remove(k.zone.String(), k.view); err != nil {
		o.log.Warn("zone journal", "err", err)
	}
}

// exposure tells the lint who sees the zones of a view.
func (o *owner) exposure(view string) zonelint.Exposure {
	if view == o.plan.external {
		return zonelint.Public
	}
	return zonelint.Inside
}

// assemble merges, judges and builds; false if the result cannot be served.
func (o *owner) assemble(c *candidate, base []zonefile.Record, hide, tree []name.Name) bool {
	overlay := c.over != ""
	file := c.zone.String()
	if c.source != nil {
		file = c.source.path()
	}
	c.records = c.own
	if overlay {
		c.records, c.problems = view.Materialise(view.Overlay{
			Origin: c.zone, File: file, External: base, Internal: c.own, Hide: hide, HideTree: tree,
			Inner: !o.plan.facesTheWorld(c.over), Notes: true,
		})
	}
	c.records = o.lay(c, c.records)
	if !overlay && c.view == o.plan.external {
		var yielded []zonefile.Problem
		c.records, yielded = o.withDerived(c.zone, c.records)
		c.problems = append(c.problems, yielded...)
	}
	c.problems = append(c.problems, o.join(c)...)
	c.found = o.findings(c)
	c.problems = append(c.problems, c.found...)
	if blocks(c.problems, o.plan.Strict) {
		return false
	}
	b := zone.NewBuilder(c.zone)
	b.Expect(len(c.records), ownersIn(c.records))
	for i := range c.records {
		r := &c.records[i]
		owner, err := r.Name()
		if err == nil {
			err = b.AddOwned(owner, r.RR)
		}
		if err != nil {
			c.problems = append(c.problems, r.At(zonefile.ERR, "bad-data", err.Error(), ""))
			return false
		}
	}
	content, err := b.Build()
	if err != nil {
		c.problems = append(c.problems, zonefile.Problem{File: file, Severity: zonefile.ERR, Code: "bad-zone", Message: err.Error()})
		return false
	}
	c.content = content
	return true
}

// refuse leaves k as it is and says why.
func (o *owner) refuse(k key, reason string, problems []zonefile.Problem) {
	st := o.served[k]
	if st == nil {
		st = &served{key: k}
		o.served[k] = st
	}
	st.reason, st.problems, st.held = reason, problems, nil
	if s := o.sources[k]; o.plan.Manual && !o.plan.fed(k) && st.content == nil && (s == nil || s.accepted == nil && !s.folded) {
		st.held = []string{ReasonPlanned} // nobody has applied it: it fails nobody either
	}
	o.a.Counters.Refused.Inc()
	o.tell(st)
}

// ownersIn counts the owners of records, those twice that come twice.
func ownersIn(records []zonefile.Record) int {
	count, before := 0, ""
	for i := range records {
		if text := records[i].RR.Header().Name; text != before {
			before = text
			count++
		}
	}
	return count
}
