package manage

import (
	"context"
	"fmt"
	"time"

	"postern/internal/dns/name"
)

// Upstream is how a secondary zone stands with its primaries.
type Upstream struct {
	State   UpstreamState `json:"state"`
	Serial  uint32        `json:"serial,omitempty"`  // as its primaries gave it
	Primary string        `json:"primary,omitempty"` // the one that answered well last
	Address string        `json:"address,omitempty"` // of it
	Checked time.Time     `json:"checked,omitzero"`  // when that was
	Next    time.Time     `json:"next,omitzero"`     // when they are asked again
	Expires time.Time     `json:"expires,omitzero"`
	Running string        `json:"running,omitempty"` // check or transfer, while one is under way
	Reason  string        `json:"reason,omitempty"`  // why the last check or transfer came to nothing
}

// UpstreamState is a word for how a secondary zone stands.
type UpstreamState string

// The states of a secondary zone.
const (
	UpstreamMissing UpstreamState = "missing" // nothing was transferred yet
	UpstreamFresh   UpstreamState = "fresh"   // a primary vouched for it
	UpstreamStale   UpstreamState = "stale"   // none did when they were asked last
	UpstreamExpired UpstreamState = "expired" // none did for too long
)

// RetransferArgs names the secondary zones to fetch anew; in every view where
// View is "".
type RetransferArgs struct {
	Zone string `json:"zone"`
	View string `json:"view,omitempty"`
}

// Retransferred is a zone in a view that is being fetched whole.
type Retransferred struct {
	Zone   string `json:"zone"`
	View   string `json:"view"`
	Serial uint32 `json:"serial,omitempty"` // that is here until then
}

// Primaries keeps account of those whom zones come from.
type Primaries interface {
	// Upstreams returns how each secondary zone stands with them, by zone and
	// view.
	Upstreams() map[[2]string]Upstream
	// Retransfer fetches a zone whole, in that view or in any, whatever serial is
	// there. It does not wait. Zones of our own are not listed.
	Retransfer(zone name.Name, view string) []Retransferred
}

func (d *Desk) zoneRetransfer(_ context.Context, a RetransferArgs) ([]Retransferred, error) {
	if err := isZone(a.Zone); err != nil {
		return nil, err
	}
	zone, _ := name.Parse(a.Zone) // isZone has tried
	begun := d.cfg.Primaries.Retransfer(zone, a.View)
	if len(begun) > 0 {
		return begun, nil
	}
	what, known := fmt.Sprintf("zone %s", zone), false
	if a.View != "" {
		what += fmt.Sprintf(" in view %q", a.View)
	}
	for _, z := range d.cfg.Authority.Zones() {
		known = known || z.Zone == zone.String() && (a.View == "" || z.View == a.View)
	}
	if known {
		return nil, &Error{Reason: ReasonNotThere, Text: what + " has no primaries: it is our own", Hint: "postern help secondary says how to name them"}
	}
	return nil, &Error{Reason: ReasonUnknown, Text: what + ": no such zone", Hint: "postern zone list shows those that are served"}
}
