package roster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
)

// A zone that a catalog lists no more is to be removed with all that is known of
// it (RFC 9432, Section 5.3). But a script that fails on somebody else's machine
// makes an empty catalog as well as one that succeeds makes a full one, and then
// all zones are gone from every secondary within seconds. So what comes is
// followed at once; what goes, if it is much of what followed from the catalog,
// waits until a person says that it is meant. It departs from RFC 9432, Section
// 5.3: a zone that is served for too long harms nobody, one that is gone does.

// LosesZones is the reason word, and the code that accepts it.
const LosesZones = "loses-zones"

// smallCatalog is the number of zones from which a part of them is much; of a
// smaller one it is all of several.
const smallCatalog = 10

// ErrNothingWaits is a catalog that is followed as it is.
var ErrNothingWaits = errors.New("nothing of the catalog waits")

// much reports whether so many zones of a catalog are too many to go at once;
// most is in percent, 0 for any number.
func much(lost, of, most int) bool {
	switch {
	case most == 0:
		return false
	case of < smallCatalog:
		return lost == of && of > 1 && most < 100
	}
	return lost*100 > most*of
}

// hold leaves a catalog's zones with it where it would lose too many at once:
// those that it does not list any more, and those that would begin anew.
func (t *pass) hold(at Place, s *catalog.Source, st *Standing) {
	listed := map[name.Name]string{}
	for _, m := range s.Members {
		listed[m.Zone] = m.ID
	}
	of, lost := 0, map[name.Name]string{}
	for _, z := range t.members[at.View] {
		if z.Catalog != at.Zone || t.plan.Own(Place{z.Zone, at.View}) {
			continue
		}
		of++
		if id, is := listed[z.Zone]; !is || id != z.ID {
			lost[z.Zone] = z.ID
			st.Held = append(st.Held, z.Zone)
		}
	}
	if !much(len(lost), of, t.plan.MostLost) || t.isAccepted(at, st.Held) {
		st.Held = nil
		return
	}
	s.Members = slices.DeleteFunc(slices.Clone(s.Members), func(m catalog.Member) bool { return lost[m.Zone] != "" })
	for _, n := range st.Held {
		s.Members = append(s.Members, catalog.Member{Zone: n, ID: lost[n]})
	}
}

// isAccepted reports whether somebody has seen that these go, and wants it.
func (t *pass) isAccepted(at Place, lost []name.Name) bool {
	seen := t.accepted[at]
	return len(seen) > 0 && !slices.ContainsFunc(lost, func(n name.Name) bool { return !seen[n] })
}

// Accept lets go of the zones that a catalog lists no more, as Standing has them,
// and says which they are. Others that it loses meanwhile wait on.
func (r *Roster) Accept(ctx context.Context, at Place) ([]name.Name, error) {
	var held []name.Name
	for _, s := range r.Standing() {
		if s.Place == at {
			held = s.Held
		}
	}
	if len(held) == 0 {
		return nil, fmt.Errorf("catalog %s in view %s: %w", at.Zone, at.View, ErrNothingWaits)
	}
	seen := map[name.Name]bool{}
	for _, n := range held {
		seen[n] = true
	}
	r.config.Lock.Lock()
	r.accepted[at] = seen
	r.config.Lock.Unlock()
	return held, r.turn(ctx)
}
