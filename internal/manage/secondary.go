package manage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/dns/authority"
	"postern/internal/dns/name"
)

// Secondary is how one address of a peer stands with one zone in one view.
type Secondary struct {
	Zone    string         `json:"zone"`
	View    string         `json:"view"`
	Peer    string         `json:"peer"`
	Address string         `json:"address"`
	State   SecondaryState `json:"state"`
	Serial  uint32         `json:"serial,omitempty"` // the one last seen there
	Asked   time.Time      `json:"asked,omitzero"`   // when that was
	Since   time.Time      `json:"since,omitzero"`   // since when it does not have what is served
	Reason  string         `json:"reason,omitempty"` // why it is unreachable
}

// SecondaryState is a word for the state of a secondary.
type SecondaryState string

// The states of a secondary.
const (
	SecondaryOK          SecondaryState = "ok"
	SecondaryLagging     SecondaryState = "lagging"     // it answers, with another serial
	SecondaryUnreachable SecondaryState = "unreachable" // it does not answer, or not usefully
	SecondaryUnknown     SecondaryState = "unknown"     // it was not asked yet
)

// NotifyArgs names the zones whose secondaries are to be told; "" stands for
// all, and for every view.
type NotifyArgs struct {
	Zone string `json:"zone,omitempty"`
	View string `json:"view,omitempty"`
}

// Notified is a zone in a view whose secondaries are being told.
type Notified struct {
	Zone   string   `json:"zone"`
	View   string   `json:"view"`
	Serial uint32   `json:"serial"`
	Peers  []string `json:"peers"`
}

// Secondaries keeps account of those who transfer zones from us.
type Secondaries interface {
	// List returns how each secondary stands, in the order of a Status.
	List() []Secondary
	// Notify tells secondaries again of what is served and asks them for their
	// serials: those of the zone, or of all if it is ""; in that view, or in
	// any. It waits for none of them. Zones without secondaries that want to be
	// told are not listed.
	Notify(zone name.Name, view string) []Notified
}

func (d *Desk) zoneNotify(_ context.Context, a NotifyArgs) ([]Notified, error) {
	var zone name.Name
	what := "no zone has secondaries that are told of changes"
	if a.Zone != "" {
		if err := isZone(a.Zone); err != nil {
			return nil, err
		}
		_, err := d.cfg.Authority.Export(a.Zone, a.View)
		if err != nil && !errors.Is(err, authority.ErrAmbiguous) { // all of its views are meant
			return nil, zoneError(err)
		}
		zone, _ = name.Parse(a.Zone) // isZone has tried
		what = fmt.Sprintf("zone %s has no secondaries that are told of changes", zone)
	}
	if a.View != "" {
		what += fmt.Sprintf(" in view %q", a.View)
	}
	told := d.cfg.Secondaries.Notify(zone, a.View)
	if len(told) == 0 {
		return nil, &Error{Reason: ReasonNotThere, Text: what, Hint: "postern help transfers says how to name them"}
	}
	return told, nil
}
