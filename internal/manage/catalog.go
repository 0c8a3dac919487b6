package manage

import (
	"context"
	"fmt"
	"slices"

	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/roster"
)

// Catalog is how a catalog zone stands.
type Catalog struct {
	Made    bool     `json:"made"`              // by Postern, of its zones; else it is somebody else's, and followed
	Members int      `json:"members"`           // that it lists, or that follow from it
	Known   bool     `json:"known"`             // what it lists is known; else what followed from it before stays
	Broken  string   `json:"broken,omitempty"`  // why it means nothing
	Refused []string `json:"refused,omitempty"` // zones that it lists, and that are not taken
	Held    []string `json:"held,omitempty"`    // zones that it lists no more, and that stay until somebody accepts it
}

// Catalogs knows the zones that list zones.
type Catalogs interface {
	// Catalogs returns how each catalog stands, by zone and view.
	Catalogs() map[[2]string]Catalog
	// CatalogOf returns the zones of a view that are here because a catalog lists
	// them, and that catalog.
	CatalogOf(view string) map[string]string
	// Accept lets go of the zones that a catalog lists no more, and says which.
	Accept(ctx context.Context, zone, view string) ([]string, error)
}

// catalogPlans is what waits of the catalogs that are followed: of one zone, or
// of all where that is "".
func (d *Desk) catalogPlans(zone string) []ZonePlan {
	var all []ZonePlan
	for at, c := range d.cfg.Catalogs.Catalogs() {
		if len(c.Held) == 0 || zone != "" && !sameZone(zone, at[0]) {
			continue
		}
		codes := []string{roster.LosesZones}
		all = append(all, ZonePlan{
			Zone: at[0], View: at[1], Catalog: true, Waits: codes, Needs: codes, OldRecords: c.Members, NewRecords: c.Members - len(c.Held),
			Removed: len(c.Held), Percent: 100 * len(c.Held) / max(1, c.Members), Gone: few("zone ", c.Held), Come: []string{},
			Problems: []string{fmt.Sprintf("the catalog lists %d of its %d zones no more, or with another label: they would be removed with their history", len(c.Held), c.Members)},
		})
	}
	slices.SortFunc(all, func(a, b ZonePlan) int { return slices.Compare([]string{a.Zone, a.View}, []string{b.Zone, b.View}) })
	return all
}

func few(word string, zones []string) []string {
	const most = 1000
	texts := []string{}
	for _, z := range zones[:min(most, len(zones))] {
		texts = append(texts, word+z)
	}
	return texts
}

// waitingCatalogs returns what an order to apply says of catalogs, and the zones
// that are left. Of all, those are left out that need what is not accepted.
func (d *Desk) waitingCatalogs(a ApplyArgs) (plans []ZonePlan, left []string, err error) {
	accepted := slices.Contains(a.Accept, roster.LosesZones)
	if a.All && accepted {
		plans = d.catalogPlans("")
	}
	for _, zone := range a.Zones {
		of := d.catalogPlans(zone)
		if len(of) == 0 {
			left = append(left, zone)
		}
		plans = append(plans, of...)
	}
	switch {
	case len(plans) == 0:
	case !accepted:
		return nil, nil, &Error{
			Reason: authority.ReasonAccept, Text: "nothing changed: " + plans[0].Problems[0], Details: plans[0].Gone,
			Hint: fmt.Sprintf("if it is meant: --accept %s --reason TEXT", roster.LosesZones),
		}
	case a.Reason == "":
		return nil, nil, &Error{Reason: ReasonUsage, Text: "nothing changed: a danger is accepted with a reason only", Hint: "--reason TEXT"}
	}
	return plans, left, nil
}

// acceptCatalogs lets catalogs lose what waits.
func (d *Desk) acceptCatalogs(ctx context.Context, plans []ZonePlan) ([]ZonePlan, error) {
	for i := range plans {
		p := &plans[i]
		held, err := d.cfg.Catalogs.Accept(ctx, p.Zone, p.View)
		if err != nil {
			return nil, err
		}
		p.Gone, p.Removed = few("zone ", held), len(held)
	}
	return plans, nil
}

func sameZone(one, other string) bool {
	a, err := name.Parse(one)
	b, also := name.Parse(other)
	return err == nil && also == nil && a == b
}
