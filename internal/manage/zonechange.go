package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/roster"
	"postern/internal/dns/zonefile"
)

// PlanArgs names a zone; "" stands for all.
type PlanArgs struct {
	Zone string `json:"zone,omitempty"`
}

// ApplyArgs says which waiting changes to publish.
type ApplyArgs struct {
	Zones  []string `json:"zones,omitempty"`
	All    bool     `json:"all,omitempty"`
	Plan   string   `json:"plan,omitempty"`   // if given, exactly this plan
	Accept []string `json:"accept,omitempty"` // codes of dangers that are meant
	Reason string   `json:"reason,omitempty"` // needed where a danger is accepted
}

// RollbackArgs names a former version of a zone.
type RollbackArgs struct {
	Zone    string `json:"zone"`
	View    string `json:"view,omitempty"`
	Version int    `json:"version,omitempty"` // 0: the one before the present
	Reason  string `json:"reason,omitempty"`
}

// ZonePlans is what would be done, or was.
type ZonePlans struct {
	Plan  string     `json:"plan"` // names exactly this; "" where there is nothing to do
	Zones []ZonePlan `json:"zones"`
}

// ZonePlan is the change of one zone in one view. Of the records the first
// thousand of each kind are listed.
type ZonePlan struct {
	Zone       string   `json:"zone"`
	View       string   `json:"view"`
	File       string   `json:"file,omitempty"`
	FileHash   string   `json:"file_hash,omitempty"`
	Follows    bool     `json:"follows,omitempty"` // it changes because the view below does
	Catalog    bool     `json:"catalog,omitempty"` // of others, and loses zones; records stands for zones then
	Waits      []string `json:"waits,omitempty"`   // why it did not go out by itself
	Needs      []string `json:"needs,omitempty"`   // codes to accept
	OldSerial  uint32   `json:"old_serial,omitempty"`
	NewSerial  uint32   `json:"new_serial,omitempty"`
	OldRecords int      `json:"old_records"`
	NewRecords int      `json:"new_records"`
	Removed    int      `json:"removed"`
	Added      int      `json:"added"`
	Percent    int      `json:"percent"`
	Dynamic    int      `json:"dynamic,omitempty"` // RRsets that stay as updates made them
	Derived    int      `json:"derived,omitempty"` // records that Postern makes, which are in no file
	Gone       []string `json:"gone"`
	Come       []string `json:"come"`
	Reason     string   `json:"reason,omitempty"` // why it cannot be applied
	Problems   []string `json:"problems,omitempty"`
}

// ZoneVersion is one former or present state of a zone.
type ZoneVersion struct {
	View       string    `json:"view"`
	Version    int       `json:"version"`
	Present    bool      `json:"present"`
	Serial     uint32    `json:"serial"`
	FileSerial uint32    `json:"file_serial"`
	Published  time.Time `json:"published"`
	Who        string    `json:"who,omitempty"`
	Why        string    `json:"why,omitempty"`
}

// RemovedZone says from which views a zone went.
type RemovedZone struct {
	Zone  string   `json:"zone"`
	Views []string `json:"views"`
}

func (d *Desk) zonePlan(ctx context.Context, a PlanArgs) (ZonePlans, error) {
	if a.Zone != "" {
		if err := isZone(a.Zone); err != nil {
			return ZonePlans{}, err
		}
	}
	waits := d.catalogPlans(a.Zone)
	if a.Zone != "" && len(waits) > 0 {
		return ZonePlans{Zones: waits}, nil // the rest of it is what its primaries have
	}
	plans, err := d.cfg.Authority.Plan(ctx, a.Zone)
	all := zonePlans(plans)
	all.Zones = append(all.Zones, waits...)
	return all, zoneError(err)
}

func (d *Desk) zoneApply(ctx context.Context, a ApplyArgs) (ZonePlans, error) {
	if a.All == (len(a.Zones) > 0) {
		return ZonePlans{}, &Error{Reason: ReasonUsage, Text: "say which zones, or all", Hint: "postern zone plan shows what waits"}
	}
	for _, z := range a.Zones {
		if err := isZone(z); err != nil {
			return ZonePlans{}, err
		}
	}
	for _, code := range a.Accept {
		if all := append(authority.Dangers(), roster.LosesZones); !slices.Contains(all, code) {
			return ZonePlans{}, &Error{Reason: ReasonUsage, Text: fmt.Sprintf("%q is no danger that can be accepted", code), Hint: "these are: " + strings.Join(all, ", ")}
		}
	}
	catalogs, left, err := d.waitingCatalogs(a)
	if err != nil {
		return ZonePlans{}, err
	}
	all := ZonePlans{Zones: []ZonePlan{}}
	if len(left) > 0 || a.All {
		plans, err := d.cfg.Authority.Apply(ctx, authority.Apply{Zones: left, Plan: a.Plan, Accept: a.Accept, Who: who(ctx), Why: a.Reason})
		if err != nil {
			return ZonePlans{}, zoneError(err)
		}
		all = zonePlans(plans)
	}
	catalogs, err = d.acceptCatalogs(ctx, catalogs)
	all.Zones = append(all.Zones, catalogs...)
	return all, err
}

func (d *Desk) zoneHistory(ctx context.Context, r ZoneRef) ([]ZoneVersion, error) {
	if err := isZone(r.Zone); err != nil {
		return nil, err
	}
	all := []ZoneVersion{}
	views := d.viewsOf(r.Zone)
	if r.View != "" || len(views) == 0 {
		views = []string{r.View}
	}
	for _, view := range views {
		versions, err := d.cfg.Authority.History(ctx, r.Zone, view)
		if err != nil {
			return all, zoneError(err)
		}
		for _, v := range versions {
			all = append(all, ZoneVersion{view, v.Number, v.Present, v.Serial, v.FileSerial, v.Saved, v.Who, v.Why})
		}
	}
	return all, nil
}

// viewsOf returns the views that have a zone of their own by this name: a file,
// or primaries; not those that see it from below.
func (d *Desk) viewsOf(zone string) []string {
	var views []string
	for _, st := range d.cfg.Authority.Zones() {
		if strings.EqualFold(strings.TrimSuffix(st.Zone, "."), strings.TrimSuffix(zone, ".")) && !st.LoadedAt.IsZero() && (st.File != "" || st.Secondary || st.Left) {
			views = append(views, st.View)
		}
	}
	return views
}

func (d *Desk) zoneRollback(ctx context.Context, a RollbackArgs) (ZonePlans, error) {
	if err := isZone(a.Zone); err != nil {
		return ZonePlans{}, err
	}
	plans, err := d.cfg.Authority.Rollback(ctx, authority.Rollback{Zone: a.Zone, View: a.View, Version: a.Version, Who: who(ctx), Why: a.Reason})
	return zonePlans(plans), zoneError(err)
}

func (d *Desk) zoneRemove(ctx context.Context, a PlanArgs) (RemovedZone, error) {
	if err := isZone(a.Zone); err != nil {
		return RemovedZone{}, err
	}
	views, err := d.cfg.Authority.Remove(ctx, a.Zone)
	return RemovedZone{a.Zone, views}, zoneError(err)
}

func isZone(text string) error {
	if _, err := name.Parse(text); text == "" || err != nil {
		return &Error{Reason: ReasonUsage, Text: fmt.Sprintf("%q is not a zone's name", text), Hint: "such as city.example"}
	}
	return nil
}

// zoneError words what the zones' owner refused.
func zoneError(err error) error {
	var declined *authority.Declined
	switch {
	case err == nil:
		return nil
	case errors.Is(err, authority.ErrAmbiguous):
		return &Error{Reason: ReasonUsage, Text: err.Error(), Hint: "say which with --view"}
	case errors.Is(err, authority.ErrNoZone):
		return &Error{Reason: ReasonUnknown, Text: err.Error(), Hint: "postern zone list shows those that are served"}
	case !errors.As(err, &declined):
		return err
	}
	e := &Error{Reason: declined.Reason, Text: "nothing changed: " + declined.Detail}
	for _, p := range declined.Problems {
		if text := p.String(); !strings.Contains(e.Text, text) {
			e.Details = append(e.Details, text)
		}
	}
	switch declined.Reason {
	case authority.ReasonMoved:
		e.Hint = "postern zone plan shows what would be done now"
	case authority.ReasonAccept:
		e.Hint = fmt.Sprintf("if it is meant: --accept %s --reason TEXT", strings.Join(declined.Codes, ","))
	case authority.ReasonStill:
		e.Hint = "edit the zone's file first"
	case authority.ReasonPresent:
		e.Hint = "only a zone whose file is gone is removed"
	case authority.ReasonFed:
		e.Hint = "change it there; postern zone retransfer fetches it anew"
	case authority.ReasonNoVersion:
		e.Hint = "postern zone history shows those that are kept"
	}
	return e
}

func zonePlans(plans []authority.Plan) ZonePlans {
	all := ZonePlans{Plan: authority.HashOf(plans), Zones: []ZonePlan{}}
	for _, p := range plans {
		row := ZonePlan{
			Zone: p.Zone, View: p.View, File: p.File, FileHash: p.FileHash, Follows: p.Follows, Waits: p.Waits, Needs: p.Needs,
			OldSerial: p.OldSerial, NewSerial: p.NewSerial, OldRecords: p.OldRecords, NewRecords: p.NewRecords,
			Removed: len(p.Removed), Added: len(p.Added), Percent: p.Percent, Dynamic: p.Dynamic, Derived: p.Derived, Reason: p.Reason,
			Gone: recordTexts(p.Removed), Come: recordTexts(p.Added),
		}
		for _, problem := range p.Problems {
			row.Problems = append(row.Problems, problem.String())
		}
		all.Zones = append(all.Zones, row)
	}
	return all
}

func recordTexts(rrs []dns.RR) []string {
	const most = 1000
	texts := []string{}
	for _, rr := range rrs[:min(most, len(rrs))] {
		texts = append(texts, strings.ReplaceAll(zonefile.PrintRecord(rr), "\t", " "))
	}
	return texts
}
