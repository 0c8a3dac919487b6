package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/update"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// Updates (RFC 2136) change what is served, never the admin's file: what they
// changed is kept beside it (update.Overlay) and laid over its records whenever
// either changes. Those that wait when the owner turns to them are judged one
// after the other, each on what the one before made, and made durable and
// served together: one serial, one signing, one NOTIFY. So a burst costs what
// a few cost, and one alone waits for nobody.

const (
	// maxWaiting bounds the updates that wait for the owner; the rest gets
	// SERVFAIL.
	maxWaiting = 256
	// maxTogether bounds those that are made durable at once.
	maxTogether = 100
	// maxKept bounds the records that updates keep in a (zone, view), those of
	// the file that they replace among them; more is REFUSED.
	maxKept = 50_000
)

// Reason words of updates that are not carried out, besides those of package
// update and of candidates.
const (
	ReasonNoZone    = "update-no-zone"   // NOTAUTH: the zone is not served to who asks
	ReasonPresigned = "update-presigned" // REFUSED: somebody else signed the zone
	ReasonFull      = "update-full"      // REFUSED: maxKept
	ReasonBusy      = "update-busy"      // SERVFAIL: maxWaiting, or no time left
	ReasonNotReady  = "update-not-ready" // SERVFAIL: the zone has no good state
	ReasonDynamic   = "dynamic-broken"   // SERVFAIL: what updates changed before cannot be read
)

// Update is a request that its key has proven.
type Update struct {
	Request *update.Request
	Key     name.Name
	View    string // where the zone is looked for if no rule names the key; "": nowhere
}

// Outcome is what became of an update.
type Outcome struct {
	Rcode  int
	Reason string // reason word where that is not NOERROR
	Detail string
	View   string
	Serial uint32 // of what is served since, where it changed something
}

// waiting is an update that waits for the owner.
type waiting struct {
	Update
	done  chan Outcome // takes one
	taken atomic.Bool  // by the owner, or by who no longer waits
}

// Update carries a request out. It returns once what it changed is durable and
// served, or with the reason why nothing changed.
func (a *Authority) Update(ctx context.Context, u Update) Outcome {
	busy := Outcome{Rcode: update.ServFail, Reason: ReasonBusy}
	if !a.started.Load() {
		return busy
	}
	w := &waiting{Update: u, done: make(chan Outcome, 1)}
	select {
	case a.updates <- w:
	default:
		a.Counters.UpdatesBusy.Inc()
		return busy
	}
	select {
	case out := <-w.done:
		return out
	case <-ctx.Done():
	case <-a.workers.Context().Done():
	}
	if w.taken.CompareAndSwap(false, true) {
		a.Counters.UpdatesBusy.Inc()
		return busy
	}
	return <-w.done // it is being carried out: its outcome must be told
}

// update carries out first and what waits behind it, zone by zone.
func (o *owner) update(first *waiting) {
	batch := []*waiting{first}
	for len(batch) < maxTogether {
		select {
		case w := <-o.a.updates:
			batch = append(batch, w)
			continue
		default:
		}
		break
	}
	var order []key
	of := map[key][]*waiting{}
	for _, w := range batch {
		if !w.taken.CompareAndSwap(false, true) {
			continue
		}
		k, refused := o.updated(w.Update)
		if refused != nil {
			o.answer(w, *refused)
			continue
		}
		if of[k] == nil {
			order = append(order, k)
		}
		of[k] = append(of[k], w)
	}
	for _, k := range order {
		o.updateZone(k, of[k])
	}
}

func (o *owner) answer(w *waiting, out Outcome) {
	if out.Rcode == update.NoError {
		o.a.Counters.Updates.Inc()
	} else {
		o.a.Counters.UpdatesRefused.Inc()
	}
	w.done <- out
}

// updated returns the (zone, view) that an update is for: the key decides, and
// never the address (VIEWS). Who has no rule for it hears whether his view has
// such a zone, which it would tell him anyway.
func (o *owner) updated(u Update) (key, *Outcome) {
	n := u.Request.Zone
	p := o.a.state.Load()
	for _, v := range o.plan.views {
		k := key{n, v.Name}
		named := slices.ContainsFunc(o.plan.dynamic[k], func(r update.Rule) bool { return r.Key == u.Key })
		if st := o.served[k]; named && st != nil && !st.unborn() {
			return k, nil
		}
	}
	if o.plan.fed(key{n, u.View}) { // RFC 2136, Section 6: nothing is forwarded to its primary
		return key{}, &Outcome{Rcode: update.NotAuth, Reason: ReasonFed, View: u.View}
	}
	if p.zone(key{n, u.View}) != nil {
		return key{}, &Outcome{Rcode: update.Refused, Reason: update.ReasonRule, View: u.View}
	}
	return key{}, &Outcome{Rcode: update.NotAuth, Reason: ReasonNoZone}
}

// session is updates of one (zone, view) that are made durable together.
type session struct {
	state *update.State
	draft *update.Draft
	rules []update.Rule
	first int // of those that change something; -1: none yet
}

// updateZone judges these updates, publishes what they change, and answers.
func (o *owner) updateZone(k key, all []*waiting) {
	s, failed := o.begin(k)
	if failed != nil {
		for _, w := range all {
			o.answer(w, *failed)
		}
		return
	}
	outcomes := make([]Outcome, len(all))
	changing := 0
	for i, w := range all {
		var changed bool
		if outcomes[i], changed = o.judgeUpdate(s, w.Update); changed {
			if changing++; changing == 1 {
				s.first = i
			}
		}
		outcomes[i].View = k.view
	}
	if changing > 0 {
		switch err := o.commitUpdates(k, s.draft.Overlay()); {
		case err != nil && changing > 1 && isUnfit(err):
			// One of them makes no zone: the others must not suffer for it.
			for _, w := range all {
				o.updateZone(k, []*waiting{w})
			}
			return
		case err != nil:
			out := outcomeOf(err)
			out.View = k.view
			for i := s.first; i < len(all); i++ { // those after it were judged on what is not
				outcomes[i] = out
			}
		default:
			for i := s.first; i < len(all); i++ {
				outcomes[i].Serial = o.served[k].content.Serial()
			}
		}
	}
	for i, w := range all {
		o.answer(w, outcomes[i])
	}
}

// begin returns the state that updates of k are judged on.
func (o *owner) begin(k key) (*session, *Outcome) {
	st := o.served[k]
	kept, err := o.dynamic(k)
	switch {
	case err != nil:
		return nil, &Outcome{Rcode: update.ServFail, Reason: ReasonDynamic, Detail: err.Error(), View: k.view}
	case st.content == nil:
		return nil, &Outcome{Rcode: update.ServFail, Reason: ReasonNotReady, View: k.view}
	case st.content.Node(k.zone).Set(dns.TypeRRSIG) != nil:
		return nil, &Outcome{Rcode: update.Refused, Reason: ReasonPresigned, View: k.view}
	}
	below, err := update.Below(st.content, derivedRRs(o.base(st)))
	if err != nil {
		return nil, &Outcome{Rcode: update.ServFail, Reason: ReasonNotReady, Detail: err.Error(), View: k.view}
	}
	return &session{state: update.NewState(below), draft: kept.Draft(), rules: o.plan.dynamic[k], first: -1}, nil
}

// judgeUpdate judges one update, and notes what it changes.
func (o *owner) judgeUpdate(s *session, u Update) (out Outcome, changed bool) {
	changes, refused := s.state.Apply(u.Request, u.Key, s.rules)
	if refused != nil {
		return Outcome{Rcode: refused.Rcode, Reason: refused.Reason, Detail: refused.Error()}, false
	}
	more := 0
	for _, c := range changes {
		more += len(c.New) - len(c.Old)
	}
	if more > 0 && s.draft.Records()+more > maxKept {
		return Outcome{Rcode: update.Refused, Reason: ReasonFull, Detail: fmt.Sprintf("%d records are kept", s.draft.Records())}, false
	}
	s.state.Take(changes)
	s.draft.Take(changes, u.Key, o.a.cfg.Now().UTC())
	return Outcome{}, len(changes) > 0
}

// commitUpdates publishes k with another overlay of updates, on the records of
// its file that are served: those that wait go on waiting.
func (o *owner) commitUpdates(k key, next *update.Overlay) error {
	st := o.served[k]
	if st.content.Records() >= o.a.editFrom {
		o.makeRoom()
	}
	by := &order{update: true, dynamic: next, who: st.who, why: st.why}
	if s := o.source(k); s != nil {
		if by.own = o.accepted(s); by.own == nil {
			return &Declined{Reason: reasonJournal, Detail: "the records that were accepted last cannot be read back"}
		}
	}
	waits := st.reason != "" || len(st.held) > 0
	r := o.prepare(map[key]*order{k: by})
	if len(r.refused) > 0 {
		d := &Declined{Reason: r.refused[0].Reason, Detail: "it makes no zone", Problems: r.refused[0].Problems}
		for _, p := range d.Problems {
			if p.Severity == zonefile.ERR {
				d.Detail = p.String()
			}
		}
		return d
	}
	if err := o.commit(r.made, true); err != nil {
		return notCommitted(err)
	}
	if waits {
		o.dirty[k] = true // what was refused or waits is looked at again
	}
	o.tabulate()
	return nil
}

// isUnfit reports whether an update failed for what it would make of the zone.
func isUnfit(err error) bool {
	var d *Declined
	return errors.As(err, &d) && d.Reason == reasonLint
}

func outcomeOf(err error) Outcome {
	out := Outcome{Rcode: update.ServFail, Reason: reasonJournal, Detail: err.Error()}
	if d := (*Declined)(nil); errors.As(err, &d) {
		out.Reason = d.Reason
	}
	if isUnfit(err) {
		out.Rcode = update.Refused
	}
	return out
}

// dynamic returns what updates changed in k. The journal is asked once.
func (o *owner) dynamic(k key) (*update.Overlay, error) {
	d, known := o.dynamics[k]
	if !known {
		d = &dynamic{}
		if d.overlay, d.broken = o.store.Dynamic(k.zone.String(), k.view); d.broken != nil {
			o.log.Error("zone journal", "err", d.broken)
		}
		o.dynamics[k] = d
	}
	return d.overlay, d.broken
}

// dynamic is what updates changed in a (zone, view), or why that is not known.
type dynamic struct {
	overlay *update.Overlay
	broken  error
}

// updatable reports whether k has a state of its own for its updates' sake.
func (o *owner) updatable(k key) bool {
	kept, err := o.dynamic(k)
	return len(o.plan.dynamic[k]) > 0 || err != nil || len(kept.Kept()) > 0
}

// ReasonOverruled is of what updates changed and the file changed after them.
const ReasonOverruled = "dynamic-overruled"

// lay lays what updates changed over a candidate's records, and notes what of
// it gives way to an edit of the file.
func (o *owner) lay(c *candidate, records []zonefile.Record) []zonefile.Record {
	from, _ := o.dynamic(c.key) // gather has looked
	if c.order != nil && c.order.update {
		from = c.order.dynamic
	}
	records, c.dynamic, c.overruled = from.Lay(records)
	c.laid = true
	for _, k := range c.overruled {
		c.problems = append(c.problems, zonefile.Problem{
			File: o.fileOf(c.key), Severity: zonefile.WARN, Code: ReasonOverruled,
			Message: fmt.Sprintf("%s %s, as key %s had updated it, gives way to the file, which changed since", k.Owner, dns.Type(k.Type), k.Key),
		})
	}
	return records
}

// relaid reports whether what updates changed is not what is kept for c's zone.
func (o *owner) relaid(c *candidate) bool {
	kept, _ := o.dynamic(c.key)
	return c.laid && c.dynamic != kept
}

// keep makes what a candidate was laid over with what is kept for its zone.
func (o *owner) keep(c *candidate) {
	if !c.laid {
		return
	}
	o.dynamics[c.key] = &dynamic{overlay: c.dynamic}
	for _, k := range c.overruled {
		o.log.Warn("an update gave way to the zone's file", "zone", c.zone, "view", c.view, "owner", k.Owner, "type", dns.Type(k.Type).String(), "key", k.Key)
	}
}

// updates reports whether c is other updates over the same file.
func (c *candidate) updates() bool { return c.order != nil && c.order.update }

// Dynamic returns what updates changed in a (zone, view). The view may be left
// out where one alone has a file for the zone.
func (a *Authority) Dynamic(ctx context.Context, zoneName, viewName string) ([]update.Kept, error) {
	var kept []update.Kept
	var failed error
	err := a.do(ctx, func() {
		var k key
		if k, failed = a.owner.find(zoneName, viewName); failed == nil {
			var o *update.Overlay
			if o, failed = a.owner.dynamic(k); failed == nil {
				kept = o.Kept()
			}
		}
	})
	return kept, errors.Join(err, failed)
}

// Drop is an order to forget what updates changed.
type Drop struct {
	Zone, View string
	Name       string // only there; "": everywhere
}

// Drop publishes the zone as its file has it, where updates had changed it, and
// returns what they had changed.
func (a *Authority) Drop(ctx context.Context, do Drop) ([]update.Kept, error) {
	var gone []update.Kept
	var failed error
	err := a.do(ctx, func() { gone, failed = a.owner.drop(do) })
	return gone, errors.Join(err, failed)
}

func (o *owner) drop(do Drop) ([]update.Kept, error) {
	k, err := o.find(do.Zone, do.View)
	if err != nil {
		return nil, err
	}
	n := k.zone
	if do.Name != "" {
		if n, err = name.Parse(do.Name); err != nil || !n.IsBelow(k.zone) {
			return nil, fmt.Errorf("name %q: %w", do.Name, errors.Join(err, zone.ErrOutside))
		}
	}
	kept, broken := o.dynamic(k)
	if broken != nil {
		if do.Name != "" {
			return nil, &Declined{Reason: ReasonDynamic, Detail: broken.Error()}
		}
		if err := o.store.DropDynamic(k.zone.String(), k.view); err != nil {
			return nil, &Declined{Reason: reasonJournal, Detail: err.Error()}
		}
		o.dynamics[k], o.dirty[k] = &dynamic{}, true
		o.build()
		return nil, nil
	}
	next, gone := kept.Without(func(k update.Kept) bool { return do.Name == "" || k.Owner == n })
	if len(gone) == 0 {
		return nil, nil
	}
	if err := o.commitUpdates(k, next); err != nil {
		return nil, err
	}
	return gone, nil
}
