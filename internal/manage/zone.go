package manage

import (
	"context"
	"fmt"
	"strings"

	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

func (d *Desk) zoneList(context.Context, none) ([]Zone, error) {
	zones, upstreams, lists := []Zone{}, d.cfg.Primaries.Upstreams(), d.cfg.Catalogs.Catalogs()
	from := map[string]map[string]string{}
	for _, z := range d.cfg.Authority.Zones() {
		row := Zone{
			Zone: z.Zone, View: z.View, File: z.File, FileSerial: z.FileSerial, Serial: z.ServedSerial, Dynamic: z.Dynamic,
			Records: z.Records, State: string(z.State), Reason: z.Reason, Since: z.Since,
			Policy: z.Policy, SignedUntil: z.Expires, Parent: ParentOf(z.Keys),
		}
		if u, ok := upstreams[[2]string{z.Zone, z.View}]; ok && z.Secondary {
			row.Upstream = &u
		}
		if c, ok := lists[[2]string{z.Zone, z.View}]; ok {
			row.Lists = &c
		}
		if from[z.View] == nil {
			from[z.View] = d.cfg.Catalogs.CatalogOf(z.View)
		}
		row.Catalog = from[z.View][z.Zone]
		for _, p := range z.Problems {
			row.Problems = append(row.Problems, p.String())
		}
		zones = append(zones, row)
	}
	return zones, nil
}

// pageOctets is about how large a page is: a zone may have many times what one
// reply can hold (control.MaxReply), and it is in memory several times over
// while it is encoded.
const pageOctets = 4 << 20

func (d *Desk) zoneExport(ctx context.Context, a ExportArgs) (ZonePage, error) {
	if a.Dynamic {
		text, err := d.dynamicText(ctx, a)
		return ZonePage{Text: text.Text}, err
	}
	z, err := d.served(a.Zone, a.View)
	if err != nil {
		return ZonePage{}, err
	}
	from := name.Name("")
	if a.From != "" {
		if from, err = name.Parse(a.From); err != nil {
			return ZonePage{}, &Error{Reason: ReasonUsage, Text: fmt.Sprintf("page from %q: %v", a.From, err), Hint: "a page begins where the one before says"}
		}
	}
	// A file that somebody else signed has no other state than the signed one.
	if !a.Signed && d.signsIt(z.Origin(), a.View) {
		if z, err = signer.Strip(z); err != nil {
			return ZonePage{}, err
		}
	}
	var b strings.Builder
	next, err := zonefile.PrintPage(&b, z, from, d.page)
	if err != nil {
		return ZonePage{}, err
	}
	page := ZonePage{Serial: z.Serial()}
	if next == "" {
		d.tellDerived(&b, z, a.View)
	} else {
		page.Next = next.String()
	}
	page.Text = b.String()
	return page, nil
}

// tellDerived ends an export with those of its records that are in no file, as
// comments.
func (d *Desk) tellDerived(b *strings.Builder, z *zone.Zone, view string) {
	for _, s := range d.cfg.Authority.Zones() {
		if s.Zone != z.Origin().String() || view != "" && s.View != view || len(s.Derived) == 0 {
			continue
		}
		b.WriteString("; derived by Postern, and in no file:\n")
		for _, rr := range s.Derived {
			fmt.Fprintf(b, "; %s\n", record(rr))
		}
		return
	}
}

// served returns a zone as it is answered from.
func (d *Desk) served(named, view string) (*zone.Zone, error) {
	if err := isZone(named); err != nil {
		return nil, err
	}
	z, err := d.cfg.Authority.Export(named, view)
	return z, zoneError(err)
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
