package manage

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postern/internal/dns/name"
)

// peers are the secondaries of city.example in view out, if there are any.
type peers struct {
	list []Secondary
	told []string

	upstreams map[[2]string]Upstream
}

func (p *peers) List() []Secondary { return p.list }

func (p *peers) Notify(zone name.Name, view string) []Notified {
	if len(p.list) == 0 || zone != "" && zone.String() != "city.example." || view != "" && view != "out" {
		return nil
	}
	p.told = append(p.told, string(zone)+" "+view)
	return []Notified{{Zone: "city.example.", View: "out", Serial: 7, Peers: []string{"isp1"}}}
}

func TestZoneNotify(t *testing.T) {
	t.Parallel()
	o := open(t)
	_, e := do[[]Notified](o, VerbZoneNotify, NotifyArgs{})
	o.refused(e, ReasonNotThere, "no zone has secondaries")

	o.peers.list = []Secondary{{Zone: "city.example.", View: "out", Peer: "isp1", Address: "192.0.2.53:53", State: SecondaryOK, Serial: 7, Asked: time.Unix(1, 0)}}
	for _, c := range []struct {
		args          NotifyArgs
		reason, names string
	}{
		{NotifyArgs{Zone: "a..b"}, ReasonUsage, "a..b"},
		{NotifyArgs{Zone: "other.example"}, ReasonUnknown, "other.example"},
		{NotifyArgs{Zone: "city.example", View: "attic"}, ReasonUnknown, "attic"},
		{NotifyArgs{Zone: "alone.example"}, ReasonNotThere, "zone alone.example. has no secondaries that are told"},
		{NotifyArgs{Zone: "City.example.", View: "in"}, ReasonNotThere, `zone city.example. has no secondaries that are told of changes in view "in"`},
		{NotifyArgs{View: "in"}, ReasonNotThere, `no zone has secondaries that are told of changes in view "in"`},
	} {
		_, e := do[[]Notified](o, VerbZoneNotify, c.args)
		o.refused(e, c.reason, c.names)
	}
	if len(o.peers.told) > 0 {
		t.Errorf("told: %q", o.peers.told)
	}
	for _, a := range []NotifyArgs{{}, {View: "out"}, {Zone: "city.example"}, {Zone: "CITY.example.", View: "out"}} {
		told, e := do[[]Notified](o, VerbZoneNotify, a)
		if e != nil || len(told) != 1 || told[0].Serial != 7 || told[0].Peers[0] != "isp1" {
			t.Errorf("%+v: %v, %+v", a, e, told)
		}
	}
	if want := `verb="zone notify" args="{\"view\":\"out\",\"zone\":\"CITY.example.\"}" uid=1000 pid=7 outcome=done`; !strings.Contains(o.log.String(), want) {
		t.Errorf("no %q in the log:\n%s", want, o.log)
	}
}

func TestStatusShowsSecondaries(t *testing.T) {
	t.Parallel()
	o := open(t)
	s, e := do[Status](o, VerbStatus, nil)
	if e != nil || s.Secondaries == nil || len(s.Secondaries) != 0 {
		t.Errorf("%v, %+v", e, s.Secondaries)
	}
	o.peers.list = []Secondary{{Zone: "city.example.", View: "out", Peer: "isp1", Address: "192.0.2.53:53", State: SecondaryUnreachable, Reason: "no answer", Since: time.Unix(1, 0).UTC()}}
	if s, e = do[Status](o, VerbStatus, nil); e != nil || len(s.Secondaries) != 1 || s.Secondaries[0] != o.peers.list[0] {
		t.Errorf("%v, %+v", e, s.Secondaries)
	}
}

// Catalogs implements Catalogs: city.example is none, and comes from one.
func (p *peers) Catalogs() map[[2]string]Catalog {
	return map[[2]string]Catalog{{"cat.example.", "out"}: {Made: true, Known: true, Members: 1}}
}

func (p *peers) Accept(context.Context, string, string) ([]string, error) {
	return nil, errors.New("none")
}

func (p *peers) CatalogOf(view string) map[string]string {
	if view != "out" {
		return nil
	}
	return map[string]string{"city.example.": "cat.example."}
}
