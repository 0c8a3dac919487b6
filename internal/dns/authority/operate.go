package authority

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// Plan is what Apply would do to one (zone, view).
type Plan struct {
	Zone, View, File     string
	FileHash             string   // of the text of the file and what it includes
	Waits                []string // reason words for which it did not go out by itself
	Needs                []string // the codes among them that must be accepted
	Follows              bool     // it changes because the view below does
	OldSerial, NewSerial uint32   // 0: there is none yet
	OldRecords           int
	NewRecords           int
	Removed, Added       []dns.RR // without a SOA of which the serial alone changes
	Percent              int      // of the records that are served
	Dynamic              int      // RRsets that updates changed and that stay so
	Derived              int      // records among NewRecords that Postern makes, which are in no file

	Reason   string // why it cannot be applied; "" if it can
	Problems []zonefile.Problem
}

// HashOf names exactly these plans: other files, or another difference to
// what is served, give another hash. It is "" where there is nothing to do.
func HashOf(plans []Plan) string {
	h := sha256.New()
	for _, p := range plans {
		fmt.Fprintf(h, "%q %q %q %q\n", p.Zone, p.View, p.FileHash, p.Reason)
		for _, rr := range p.Removed {
			_, _ = io.WriteString(h, "-"+rr.String()+"\n") // a hash never fails
		}
		for _, rr := range p.Added {
			_, _ = io.WriteString(h, "+"+rr.String()+"\n")
		}
	}
	if len(plans) == 0 {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}

// Reason words of what an operator asked for and does not get.
const (
	ReasonMoved     = "plan-moved"   // the files, or what is served, are not what the plan was made of
	ReasonAccept    = "needs-accept" // a danger is not accepted
	ReasonStill     = "still-pinned" // the file is the one that was rolled back
	ReasonNoFile    = "no-own-file"  // the view has no file for the zone to roll back
	ReasonNoVersion = "no-version"   // the history does not hold it
	ReasonPresent   = "file-present" // the zone's file is there
)

// Declined is why an operator's order is not carried out; nothing changed.
type Declined struct {
	Reason   string
	Detail   string
	Codes    []string // to accept, where that is the reason
	Problems []zonefile.Problem
}

// Error says what stands in the way.
func (d *Declined) Error() string { return d.Reason + ": " + d.Detail }

// Plan looks at the files and returns what waits to be applied in the zone,
// and what follows from it in other views; "" stands for all zones.
func (a *Authority) Plan(ctx context.Context, zoneName string) ([]Plan, error) {
	var plans []Plan
	var failed error
	err := a.do(ctx, func() {
		o := a.owner
		if failed = o.refresh(ctx); failed != nil {
			return
		}
		var names []string
		if zoneName != "" {
			names = []string{zoneName}
		}
		var orders map[key]*order
		if orders, failed = o.ordersFor(names, order{}); failed == nil {
			_, _, plans = o.proposal(orders)
		}
	})
	return plans, errors.Join(err, failed)
}

// Apply is an order to publish what waits.
type Apply struct {
	Zones    []string // none: all
	Plan     string   // if given, exactly the plans with this hash
	Accept   []string // dangers that are meant
	Who, Why string   // for the history; a danger is accepted with a reason only
}

// Apply publishes what waits, all of it or, on an error, nothing. It returns
// what was done and, of all zones, what had to stand aside, with a Reason.
func (a *Authority) Apply(ctx context.Context, do Apply) ([]Plan, error) {
	var plans []Plan
	var failed error
	err := a.lookFirst(ctx, do.Zones...)
	if err != nil {
		return nil, err
	}
	err = a.do(ctx, func() {
		if failed = a.owner.refresh(ctx); failed == nil {
			plans, failed = a.owner.apply(do)
		}
	})
	return plans, errors.Join(err, failed)
}

// refresh takes in the files as they are now.
func (o *owner) refresh(ctx context.Context) error {
	o.scan(false)
	return o.settleDown(ctx)
}

// ordersFor returns an order for all that waits in the named zones, or
// anywhere, and for what would wait if its file could be used.
func (o *owner) ordersFor(names []string, by order) (map[key]*order, error) {
	wanted := map[name.Name]bool{}
	for _, s := range names {
		n, err := name.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("zone %q: %w", s, err)
		}
		wanted[n] = true
	}
	found := map[name.Name]bool{}
	orders := map[key]*order{}
	for k, st := range o.served {
		found[k.zone] = true
		if len(names) > 0 && !wanted[k.zone] {
			continue
		}
		s := o.sources[k]
		_, pinned := o.pins[k]
		reason, _ := o.trouble(st)
		switch {
		case o.plan.fed(k) && len(st.held) > 0:
			orders[k] = new(by) // it may lose its signatures
		case s != nil && s.good && (len(st.held) > 0 || pinned && !o.still(k)):
			orders[k] = new(by)
		case reason != "" && reason != reasonMissing && (len(names) > 0 || s != nil && s.reason == reason):
			// To hear why it cannot be: of all zones those whose file says it. A
			// vanished file changes nothing.
			orders[k] = new(by)
		}
	}
	for n := range wanted {
		if !found[n] {
			return nil, fmt.Errorf("zone %s: %w", n, ErrNoZone)
		}
	}
	return orders, nil
}

// still reports whether the file of a pinned zone is the one rolled back.
func (o *owner) still(k key) bool {
	s := o.sources[k]
	return s == nil || s.hash == "" || s.hash == o.pins[k].Hash
}

// planOf describes what a round with orders made.
func (o *owner) planOf(r *round) []Plan {
	var plans []Plan
	for _, c := range r.made {
		if c.order == nil && !c.changed {
			continue
		}
		p := Plan{Zone: c.zone.String(), View: c.view, Follows: c.order == nil, NewSerial: c.content.Serial(), NewRecords: c.content.Records()}
		var old *zone.Zone
		if st := o.served[c.key]; st != nil {
			old, p.Waits = st.content, st.held
		}
		if old != nil {
			p.OldSerial, p.OldRecords = old.Serial(), old.Records()
		}
		if p.Removed, p.Added = o.compare(c).removed, o.compare(c).added; old == nil {
			_, p.Added = zone.Diff(nil, c.content)
		}
		if p.OldRecords > 0 {
			p.Percent = 100 * max(len(p.Removed), len(p.Added)) / p.OldRecords
		}
		p.Dynamic, p.Derived = len(c.dynamic.Kept()), len(tail(c.records))
		if s := c.source; s != nil {
			p.File, p.FileHash = s.path(), s.hash
		}
		if c.order != nil {
			p.Problems = c.problems
			p.Needs = slices.Compact(codes(o.dangers(p.File, c)))
			o.obstacle(&p, c)
		}
		plans = append(plans, p)
	}
	for _, p := range r.refused {
		if s := o.sources[keyOf(p)]; s != nil {
			p.File, p.FileHash = s.path(), s.hash
		}
		plans = append(plans, p)
	}
	slices.SortFunc(plans, func(a, b Plan) int { return keyOf(a).compare(keyOf(b)) })
	return plans
}

func keyOf(p Plan) key {
	n, _ := name.Parse(p.Zone) // it came from a Name
	return key{n, p.View}
}

// obstacle notes why a candidate that makes a zone cannot be applied all the
// same.
func (o *owner) obstacle(p *Plan, c *candidate) {
	s := c.source
	_, pinned := o.pins[c.key]
	switch {
	case s == nil: // a secondary zone
	case s.reason != "":
		p.Reason, p.Problems = s.reason, s.problems
	case s.waiting != "":
		p.Reason = ReasonMoved
		p.Problems = []zonefile.Problem{{File: s.path(), Severity: zonefile.ERR, Code: ReasonMoved, Message: "the file is being written"}}
	case pinned && o.still(c.key):
		p.Reason = ReasonStill
		p.Problems = []zonefile.Problem{pinnedProblem(s.path(), o.pins[c.key])}
	}
}

func (o *owner) apply(do Apply) ([]Plan, error) {
	orders, err := o.ordersFor(do.Zones, order{who: do.Who, why: do.Why})
	if err != nil {
		return nil, err
	}
	r, orders, plans := o.proposal(orders)
	if do.Plan != "" && do.Plan != HashOf(plans) {
		return nil, &Declined{Reason: ReasonMoved, Detail: "the files, or what is served, are not what that plan was made of"}
	}
	asked := plans
	if len(do.Zones) == 0 {
		asked = slices.DeleteFunc(slices.Clone(plans), func(p Plan) bool { return p.Reason != "" })
	}
	if err := permitted(asked, do); err != nil {
		return nil, err
	}
	if err := o.commit(r.made, true); err != nil {
		return nil, notCommitted(err)
	}
	err = o.unpin(orders)
	o.build()
	return plans, err
}

// proposal makes what orders ask for. Those that meet an obstacle stand aside:
// their plans say why, and change nothing, here or in a view above.
func (o *owner) proposal(orders map[key]*order) (*round, map[key]*order, []Plan) {
	var aside []Plan
	for {
		r := o.prepare(orders)
		plans := o.planOf(r)
		kept := possible(plans, orders)
		if len(kept) == len(orders) {
			plans = append(plans, aside...)
			slices.SortFunc(plans, func(a, b Plan) int { return keyOf(a).compare(keyOf(b)) })
			return r, orders, plans
		}
		for _, p := range plans {
			if p.Reason != "" {
				p.NewSerial, p.NewRecords, p.Removed, p.Added, p.Percent, p.Needs = p.OldSerial, p.OldRecords, nil, nil, 0, nil
				aside = append(aside, p)
			}
		}
		orders = kept
	}
}

// possible returns the orders without those that meet an obstacle.
func possible(plans []Plan, orders map[key]*order) map[key]*order {
	kept := map[key]*order{}
	for _, p := range plans {
		if k := keyOf(p); p.Reason == "" && orders[k] != nil {
			kept[k] = orders[k]
		}
	}
	return kept
}

// permitted refuses the whole order where a part cannot be done, or is
// dangerous and not accepted.
func permitted(plans []Plan, do Apply) error {
	var lacking, texts []string
	for _, p := range plans {
		if p.Reason != "" {
			detail := fmt.Sprintf("zone %s in view %s", p.Zone, p.View)
			if len(p.Problems) > 0 {
				detail += ": " + p.Problems[0].String()
			}
			return &Declined{Reason: p.Reason, Detail: detail, Problems: p.Problems}
		}
		for _, code := range p.Needs {
			if !slices.Contains(do.Accept, code) {
				lacking = append(lacking, code)
				texts = append(texts, fmt.Sprintf("zone %s in view %s: %s", p.Zone, p.View, code))
			} else if strings.TrimSpace(do.Why) == "" {
				return &Declined{Reason: ReasonAccept, Detail: code + " is accepted with a reason only", Codes: []string{code}}
			}
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	slices.Sort(lacking)
	return &Declined{Reason: ReasonAccept, Detail: strings.Join(texts, "; "), Codes: slices.Compact(lacking)}
}

// notCommitted is why an order that was permitted was not carried out.
func notCommitted(err error) *Declined {
	if u := (*unsignable)(nil); errors.As(err, &u) {
		return &Declined{Reason: u.reason, Detail: strings.Join(u.problems, "; ")}
	}
	return &Declined{Reason: reasonJournal, Detail: err.Error()}
}
