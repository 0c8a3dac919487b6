package authority

import (
	"slices"

	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// saveSteps keeps by which steps zones came about, for the next start: zones that
// changed last are the first to be kept.
func (o *owner) saveSteps() {
	var all []journal.Steps
	for _, st := range slices.SortedFunc(o.stepping(), func(a, b *served) int { return b.loadedAt.Compare(a.loadedAt) }) {
		all = append(all, journal.Steps{Zone: st.zone.String(), View: st.view, Deltas: st.deltas})
	}
	left, err := o.store.SaveSteps(all)
	if err != nil {
		o.a.Counters.Journal.Inc()
		o.log.Warn("zone journal", "err", err)
	}
	if left > 0 {
		o.log.Info("zones will be transferred whole to secondaries that are behind", "zones", left)
	}
}

func (o *owner) stepping() func(func(*served) bool) {
	return func(yield func(*served) bool) {
		for _, st := range o.served {
			if len(st.deltas) > 0 && !st.unsaved && !yield(st) {
				return
			}
		}
	}
}

// takeSteps takes what the process before this one kept, where it leads to what
// the journal has.
func (o *owner) takeSteps() {
	all, err := o.store.TakeSteps()
	if err != nil {
		o.log.Warn("zone journal", "err", err)
	}
	for _, of := range all {
		n, err := name.Parse(of.Zone)
		st := o.served[key{n, of.View}]
		if err != nil || st == nil || st.out == nil || len(of.Deltas) == 0 {
			continue
		}
		if zone.SameRecord(of.Deltas[len(of.Deltas)-1].To, st.out.SOA()) {
			st.deltas = of.Deltas
		}
	}
}
