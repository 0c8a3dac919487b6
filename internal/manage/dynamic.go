package manage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/authority"
	"postern/internal/dns/update"
)

// DropArgs says which of a zone's updates to give up.
type DropArgs struct {
	Zone string `json:"zone"`
	View string `json:"view,omitempty"`
	Name string `json:"name,omitempty"` // only there; "": everywhere
}

// Dropped is what updates had changed and what is as the file has it again.
type Dropped struct {
	Zone string       `json:"zone"`
	Sets []DynamicSet `json:"sets"`
}

// DynamicSet is an RRset that updates made another one than the file has.
type DynamicSet struct {
	Owner string    `json:"owner"`
	Type  string    `json:"type"`
	Now   []string  `json:"now"`   // the records; none: it was removed
	Below []string  `json:"below"` // what the file has
	Key   string    `json:"key"`   // which signed the last update of it
	At    time.Time `json:"at"`
}

func (d *Desk) zoneDrop(ctx context.Context, a DropArgs) (Dropped, error) {
	if err := isZone(a.Zone); err != nil {
		return Dropped{}, err
	}
	gone, err := d.cfg.Authority.Drop(ctx, authority.Drop{Zone: a.Zone, View: a.View, Name: a.Name})
	return Dropped{a.Zone, dynamicSets(gone)}, zoneError(err)
}

// dynamicText is what updates changed in a zone, as a piece of a zone file.
func (d *Desk) dynamicText(ctx context.Context, a ExportArgs) (Text, error) {
	kept, err := d.cfg.Authority.Dynamic(ctx, a.Zone, a.View)
	if err != nil {
		return Text{}, zoneError(err)
	}
	var b strings.Builder
	for _, s := range dynamicSets(kept) {
		fmt.Fprintf(&b, "; %s %s, by key %s at %s\n", s.Owner, s.Type, s.Key, s.At.UTC().Format(time.RFC3339))
		for _, rr := range s.Below {
			fmt.Fprintf(&b, "; instead of: %s\n", rr)
		}
		for _, rr := range s.Now {
			fmt.Fprintln(&b, rr)
		}
	}
	return Text{b.String()}, nil
}

func dynamicSets(kept []update.Kept) []DynamicSet {
	all := []DynamicSet{}
	for _, k := range kept {
		all = append(all, DynamicSet{
			Owner: k.Owner.String(), Type: dns.Type(k.Type).String(), Now: recordTexts(k.Now), Below: recordTexts(k.Below), Key: k.Key.String(), At: k.At,
		})
	}
	return all
}
