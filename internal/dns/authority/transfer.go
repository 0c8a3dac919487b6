package authority

import (
	"context"
	"slices"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// The differences that are kept for incremental transfers, of each (zone,
// view): a secondary that was away for longer gets what lies between from the
// history, or the whole zone.
const (
	maxDeltas       = 64
	maxDeltaRecords = 10_000 // or a quarter of the zone's
)

// Content returns what is served of the zone in that view, nil if nothing is,
// and what it changed by of late, oldest first: each begins where the one
// before ends, the last ends at the content. It never waits.
func (a *Authority) Content(n name.Name, view string) (*zone.Zone, []zone.Delta) {
	if r := a.state.Load().rows[key{n, view}]; r != nil {
		is := r.is.Load()
		return is.zone, is.deltas
	}
	return nil, nil
}

// Since returns what the zone changed by since it had that serial, in one
// piece, from the versions that the history keeps; false where none of them
// had it.
func (a *Authority) Since(ctx context.Context, n name.Name, view string, serial uint32) (zone.Delta, bool) {
	var d zone.Delta
	found := false
	err := a.do(ctx, func() { d, found = a.owner.since(n, view, serial) })
	return d, found && err == nil
}

func (o *owner) since(n name.Name, view string, serial uint32) (zone.Delta, bool) {
	k := key{n, view}
	for o.served[k] == nil { // as the view below has it
		v := o.plan.view(k.view)
		if v == nil || v.Overlay == "" || o.hadOwn(k) {
			return zone.Delta{}, false
		}
		k.view = v.Overlay
	}
	content := o.served[k].out
	versions, err := o.store.History(k.zone.String(), k.view)
	if err != nil || content == nil {
		return zone.Delta{}, false
	}
	i := slices.IndexFunc(versions, func(v Version) bool { return v.Serial == serial && !v.Present })
	if i < 0 {
		return zone.Delta{}, false
	}
	snap, err := o.store.Former(k.zone.String(), k.view, versions[i].Number)
	if err != nil || snap.Content.Serial() != serial {
		o.log.Warn("zone history", "err", err)
		return zone.Delta{}, false
	}
	return zone.NewDelta(snap.Content, content), true
}

// hadOwn reports whether the view ever had a state of its own of the zone: then
// a serial does not tell which state a secondary of that view has.
func (o *owner) hadOwn(k key) bool {
	_, ever := o.store.HighWater(k.zone.String(), k.view)
	return ever
}

// remember keeps the difference to what is served next, of so many records.
// What readers have of the list stays as it is.
func (st *served) remember(d *zone.Delta, records int) {
	if d == nil {
		st.deltas = nil
		return
	}
	all := append(slices.Clip(st.deltas), *d)
	most, from := max(maxDeltaRecords, records/4), len(all)
	for sum := 0; from > max(0, len(all)-maxDeltas); from-- {
		if sum += all[from-1].Records(); sum > most {
			break
		}
	}
	st.deltas = slices.Clone(all[from:])
}
