package manage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

func (d *Desk) zoneList(context.Context, none) ([]Zone, error) {
	zones := []Zone{}
	for _, z := range d.cfg.Authority.Zones() {
		row := Zone{
			Zone: z.Zone, View: z.View, File: z.File, FileSerial: z.FileSerial, Serial: z.ServedSerial,
			Records: z.Records, State: string(z.State), Reason: z.Reason, Since: z.Since,
		}
		for _, p := range z.Problems {
			row.Problems = append(row.Problems, p.String())
		}
		zones = append(zones, row)
	}
	return zones, nil
}

func (d *Desk) zoneExport(_ context.Context, r ZoneRef) (Text, error) {
	if _, err := name.Parse(r.Zone); err != nil {
		return Text{}, &Error{Reason: ReasonUsage, Text: fmt.Sprintf("%q is not a zone's name: %v", r.Zone, err), Hint: "such as city.example"}
	}
	z, err := d.cfg.Authority.Export(r.Zone, r.View)
	switch {
	case errors.Is(err, authority.ErrAmbiguous):
		return Text{}, &Error{Reason: ReasonUsage, Text: err.Error(), Hint: "say which with --view"}
	case errors.Is(err, authority.ErrNoZone):
		return Text{}, &Error{Reason: ReasonUnknown, Text: err.Error(), Hint: "postern zone list shows those that are served"}
	case err != nil:
		return Text{}, err
	}
	var b strings.Builder
	if err := zonefile.Print(&b, z); err != nil {
		return Text{}, err
	}
	return Text{b.String()}, nil
}

// Report words what a scan of the zones found, for people.
func Report(r authority.Report) (changes, kept []string) {
	for _, c := range r.Changes {
		if c.Reason == "" {
			line := fmt.Sprintf("zone %s view %s: serial %d, %d removed, %d added", c.Zone, c.View, c.NewSerial, c.Removed, c.Added)
			if len(c.First) > 0 {
				line += ": " + strings.Join(c.First, "; ")
			}
			changes = append(changes, line)
			continue
		}
		if c.Reason == authority.ReasonPlanned || c.Reason == authority.ReasonPinned { // as somebody wanted it
			changes = append(changes, fmt.Sprintf("zone %s view %s: waits for postern zone apply (%s)", c.Zone, c.View, c.Reason))
			continue
		}
		line := fmt.Sprintf("zone %s view %s: not changed (%s)", c.Zone, c.View, c.Reason)
		if c.Zone == "" { // a fault of the view itself
			line = fmt.Sprintf("view %s: %s", c.View, c.Reason)
		}
		for _, p := range c.Problems {
			line += "\n  " + p.String()
		}
		kept = append(kept, line)
	}
	return changes, kept
}
