package authority

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"postern/internal/dns/journal"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

// stampEvery is how often at most the times of expiry are written down: what a
// crash loses of them makes a zone expire sooner, never later.
const stampEvery = 30 * time.Second

// fed reports whether transfers feed k.
func (p *plan) fed(k key) bool {
	v := p.view(k.view)
	return v != nil && v.fed[k.zone]
}

// ofPrimary returns what is here of a zone that is fed, as it came; nil: nothing
// came yet.
func (st *served) ofPrimary() *zone.Zone {
	if st == nil || st.fed == nil || st.content == nil {
		return nil
	}
	return st.content.WithSerial(st.fed.Serial)
}

// takeTransfer does what Take says.
func (o *owner) takeTransfer(k key, t Transfer, whole *zone.Zone) error {
	if !o.plan.fed(k) {
		return fmt.Errorf("zone %s in view %s: %w", k.zone, k.view, ErrNotFed)
	}
	now := o.a.cfg.Now()
	c := &candidate{key: k, fed: &journal.Feed{Expires: t.Expires, From: t.From}, took: true, content: whole}
	if whole == nil {
		if err := o.applyDeltas(c, t); err != nil {
			return err
		}
	}
	c.fed.Serial = c.content.Serial()
	if n := c.content.Records(); t.Most > 0 && n > t.Most {
		return &Unfit{Reason: ReasonTooMany, Detail: fmt.Sprintf("the zone would have %d records, and may have %d", n, t.Most)}
	}
	if c.content.Records() >= o.a.editFrom {
		o.makeRoom()
	}
	o.judgeFed(c)
	if blocks(c.problems, false) {
		o.refuse(k, reasonLint, c.problems)
		o.replace(k)
		first := slices.IndexFunc(c.problems, zonefile.Problem.Blocks)
		return &Unfit{Reason: reasonLint, Detail: c.problems[first].String()}
	}
	if !o.takeAlone(c) {
		o.taken = c
		o.build()
		o.taken = nil
	}
	st := o.served[k]
	if st.fed == nil || st.reason != "" && !slices.Contains(st.held, st.reason) {
		return &Unfit{Reason: st.reason, Detail: first(st.problems)}
	}
	o.a.Counters.Taken.Inc()
	st.fed.Expires = t.Expires
	o.a.held.set(k, Held{SOA: st.ofPrimary().SOA(), Expires: t.Expires, At: now})
	if !c.changed {
		o.a.held.stamp(k, t.Expires, now) // it is in no snapshot
	}
	return nil
}

func first(problems []zonefile.Problem) string {
	if len(problems) == 0 {
		return ""
	}
	return problems[0].String()
}

// applyDeltas makes the next content of what is here.
func (o *owner) applyDeltas(c *candidate, t Transfer) error {
	content := o.served[c.key].ofPrimary()
	if content == nil {
		return fmt.Errorf("%w: nothing is here", zone.ErrMisfit)
	}
	seen := map[string]bool{}
	for _, d := range t.Deltas {
		next, owners, err := content.Apply(d)
		if err != nil {
			return fmt.Errorf("zone %s: from serial %d: %w", c.zone, content.Serial(), err)
		}
		content = next
		for _, n := range owners {
			if !seen[string(n)] {
				seen[string(n)] = true
				c.touched = append(c.touched, n)
			}
		}
	}
	c.content, c.amended = content, true
	return nil
}

// judgeFed judges what came: after deltas, of a large zone, what can block it
// of the owners that they touch, and the rest later.
func (o *owner) judgeFed(c *candidate) {
	if c.amended && c.content.Records() >= o.a.editFrom && len(c.touched) <= maxEdited {
		touched := make([]zonefile.Record, 0, len(c.touched))
		for _, n := range c.touched { // the apex is among them
			touched = appendNode(touched, c.content.Node(n), c.zone.String())
		}
		c.problems = zonelint.Unfit(touched, c.zone, zonelint.Context{File: c.zone.String()})
		c.problems = append(c.problems, o.presigned(c.zone, touched)...)
		c.found = o.served[c.key].found
		return
	}
	c.amended = false
	c.found = append([]zonefile.Problem{}, o.findings(&candidate{key: c.key, records: asRecords(c.content)})...)
	c.problems = c.found
}

// asRecords returns the records of a zone that has no file.
func asRecords(z *zone.Zone) []zonefile.Record {
	records, file := make([]zonefile.Record, 0, z.Records()), z.Origin().String()
	for node := range z.Nodes() {
		records = appendNode(records, node, file)
	}
	return records
}

// appendNode appends the records of a node; file stands for where they are.
func appendNode(to []zonefile.Record, node *zone.Node, file string) []zonefile.Record {
	if node == nil {
		return to
	}
	for i := range node.Sets {
		for _, rr := range node.Sets[i].RRs {
			to = append(to, zonefile.Record{RR: rr, Owner: node.Name, File: file})
		}
	}
	return to
}

// visitFed makes the next state of a zone that is fed: what was taken just now,
// or what is here, where that is to be signed anew or in another way.
func (r *round) visitFed(k key) {
	o := r.o
	st, c := o.served[k], o.taken
	if c != nil && (c.key != k || r.orders != nil) {
		c = nil
	}
	switch {
	case c == nil && (st == nil || st.fed == nil):
		if r.orders == nil && !o.plan.made(k) && (st == nil || st.reason != ReasonWaiting) {
			o.refuse(k, ReasonWaiting, []zonefile.Problem{fedProblem(k, ReasonWaiting, "nothing was transferred from its primaries yet", "postern status says what they answer")})
		}
		if st = o.served[k]; r.orders[k] != nil && st != nil {
			r.refuse(k, st.reason, st.problems)
		}
		return
	case c == nil && r.orders[k] == nil && (r.orders != nil || !o.dirty[k] && !o.due(k, r.now)):
		return
	case c == nil:
		feed := *st.fed
		c = &candidate{key: k, fed: &feed, content: st.ofPrimary(), found: st.found, problems: st.problems, order: r.orders[k]}
		c.fallback = c.order == nil // nothing came that could clear a refusal
	}
	if r.orders == nil {
		delete(o.dirty, k)
	}
	if o.unsigns(c) && c.order == nil {
		o.hold(c, o.dangers(k.zone.String(), c))
		c.fallback = true // it goes on being signed
	}
	c.changed = o.changes(c, r.now)
	r.made, r.latest[k] = append(r.made, c), c
	if c.changed {
		r.touch(k)
	}
}

// changesFed decides whether a zone that is served as it came must be published.
func (o *owner) changesFed(c *candidate) bool {
	st := o.served[c.key]
	return st == nil || st.content == nil || st.fed == nil || st.signedBy != nil || st.content.Serial() != c.content.Serial() || !o.same(c)
}

// expire does what Expire says.
func (o *owner) expire(k key) {
	st := o.served[k]
	if st == nil || st.fed == nil || !o.plan.fed(k) {
		return
	}
	if !st.expired {
		o.a.Counters.Expired.Inc()
	}
	o.expired(st)
	o.rebuild(k)
}

// expired marks a state that is not to be served.
func (o *owner) expired(st *served) {
	h, _ := o.a.Held(st.zone, st.view)
	st.expired = true
	if st.reason != ReasonExpired {
		message := fmt.Sprintf("no primary vouched for it since it came from %s with serial %d", st.fed.From, st.fed.Serial)
		o.refuse(st.key, ReasonExpired, []zonefile.Problem{fedProblem(st.key, ReasonExpired, message, "are its primaries there? postern status says what they answer")})
	}
	h.SOA, h.Expired = st.ofPrimary().SOA(), true
	o.a.held.set(st.key, h)
}

// revive serves again what had expired.
func (o *owner) revive(k key, until time.Time) {
	st := o.served[k]
	if st == nil || !st.expired {
		return
	}
	st.expired, st.reason, st.problems, st.logged = false, "", st.found, ""
	st.fed.Expires = until
	now := o.a.cfg.Now()
	o.a.held.set(k, Held{SOA: st.ofPrimary().SOA(), Expires: until, At: now})
	o.a.held.stamp(k, until, now)
	o.log.Info("zone is served again", "zone", k.zone, "view", k.view, "serial", st.content.Serial())
	o.rebuild(k)
}

// rebuild publishes k, and has what lies over it, or shows it, built again.
func (o *owner) rebuild(k key) {
	if _, alone := o.alone(k); alone {
		o.replace(k)
		return
	}
	for _, v := range o.plan.views {
		if v.Overlay != "" {
			o.dirty[key{k.zone, v.Name}] = true
		}
	}
	o.build()
}

// holdFed takes a state from the journal that came by a transfer: with what is
// left of its time.
func (o *owner) holdFed(st *served) {
	h := Held{SOA: st.ofPrimary().SOA(), Expires: st.fed.Expires, At: st.loadedAt}
	for _, s := range o.store.Stamps() {
		if s.View == st.view && s.Zone == st.zone.String() && s.At.After(h.At) {
			h.Expires, h.At = s.Expires, s.At
		}
	}
	o.a.held.set(st.key, h)
	if !h.Expires.IsZero() && !h.Expires.After(o.a.cfg.Now()) {
		o.expired(st)
	}
}

// stampAll writes the times of expiry down.
func (o *owner) stampAll() {
	all := o.a.held.stamps()
	if all == nil {
		return
	}
	slices.SortFunc(all, func(a, b journal.Stamp) int {
		return slices.Compare([]string{a.Zone, a.View}, []string{b.Zone, b.View})
	})
	if err := o.store.SaveStamps(all); err != nil {
		o.a.Counters.Journal.Inc()
		o.log.Warn("zone journal", "err", err)
		o.a.held.again()
	}
}

// again has stamps written that were not.
func (h *held) again() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dirty = true
}

// refed reports whether a zone comes from others with another serial than
// before, or for the first time: that is kept, be the content the same.
func (o *owner) refed(c *candidate) bool {
	st := o.served[c.key]
	return c.fed != nil && (st == nil || st.fed == nil || st.fed.Serial != c.fed.Serial)
}

// dropFiles lets go of what files brought of zones that are fed now. What they
// made is served until the first transfer.
func (o *owner) dropFiles() {
	pins := maps.Clone(o.pins)
	maps.DeleteFunc(o.sources, func(k key, _ *source) bool { return o.plan.fed(k) })
	maps.DeleteFunc(pins, func(k key, _ journal.Pin) bool { return o.plan.fed(k) })
	if len(pins) < len(o.pins) {
		if err := o.replacePins(pins); err != nil {
			o.log.Warn("zone journal", "err", err)
		}
	}
	for k, st := range o.served {
		switch has := o.plan.fed(k) && st.fed != nil; {
		case !has:
			o.a.held.drop(k)
		case !st.unjudged && st.found == nil && !o.foundBefore(st):
			st.unjudged, o.unjudged = true, true
		}
	}
}

// fedRules names what judges a zone that is fed, as rules does.
func (o *owner) fedRules(k key) string {
	if o.a.build == "" {
		return ""
	}
	return fmt.Sprintf("%s transfer %d", o.a.build, o.exposure(k.view))
}

// noteFed keeps what was found about a large zone that is fed, as noteDown does.
func (o *owner) noteFed(st *served) {
	if st.fed == nil || !o.plan.fed(st.key) || st.unjudged || st.reason != "" || st.content.Records() < o.a.noteFrom {
		return
	}
	n := &note{Rules: o.fedRules(st.key), Serial: st.content.Serial(), Saved: st.loadedAt, Found: st.found}
	if n.Rules == "" || st.note != nil && st.note.about(n) {
		return
	}
	if err := o.store.SaveNote(st.zone.String(), st.view, n); err != nil {
		o.log.Warn("zone journal", "err", err)
		return
	}
	st.note = n
}

// foundBefore takes what was found about it before the restart.
func (o *owner) foundBefore(st *served) bool {
	if st.content.Records() < o.a.noteFrom {
		return false
	}
	n := &note{}
	if err := o.store.LoadNote(st.zone.String(), st.view, n); err != nil {
		o.log.Warn("zone journal", "err", err)
		return false
	}
	if n.Rules == "" || !n.about(&note{Rules: o.fedRules(st.key), Serial: st.content.Serial(), Saved: st.loadedAt}) {
		return false
	}
	if st.found, st.note = n.Found, n; st.reason == "" {
		st.problems = n.Found
	}
	return true
}

// lies reports whether k lies over a zone that is so.
func (o *owner) lies(k key, is func(below *served) bool) bool {
	for v := o.plan.view(k.view); v != nil && v.Overlay != "" && !v.full[k.zone]; {
		k.view = v.Overlay
		if below := o.served[k]; below != nil {
			return is(below) || o.lies(k, is)
		}
		v = o.plan.view(k.view)
	}
	return false
}
