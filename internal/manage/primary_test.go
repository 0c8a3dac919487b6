package manage

import (
	"strings"
	"testing"
	"time"

	"postern/internal/dns/name"
)

func (p *peers) Upstreams() map[[2]string]Upstream { return p.upstreams }

func (p *peers) Retransfer(zone name.Name, view string) []Retransferred {
	var begun []Retransferred
	for at, u := range p.upstreams {
		if at[0] == zone.String() && (view == "" || at[1] == view) {
			begun = append(begun, Retransferred{at[0], at[1], u.Serial})
		}
	}
	return begun
}

// TestZoneRetransfer: of zones that have primaries, and of no other.
func TestZoneRetransfer(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.peers.upstreams = map[[2]string]Upstream{{"city.example.", "out"}: {State: UpstreamStale, Serial: 7}}
	for _, c := range []struct {
		args          RetransferArgs
		reason, names string
	}{
		{RetransferArgs{}, ReasonUsage, "not a zone's name"},
		{RetransferArgs{Zone: "a..b"}, ReasonUsage, "a..b"},
		{RetransferArgs{Zone: "other.example"}, ReasonUnknown, "zone other.example.: no such zone"},
		{RetransferArgs{Zone: "city.example", View: "attic"}, ReasonUnknown, `zone city.example. in view "attic": no such zone`},
		{RetransferArgs{Zone: "City.example", View: "in"}, ReasonNotThere, `zone city.example. in view "in" has no primaries`},
		{RetransferArgs{Zone: "alone.example"}, ReasonNotThere, "zone alone.example. has no primaries"},
	} {
		_, e := do[[]Retransferred](o, VerbZoneRetransfer, c.args)
		o.refused(e, c.reason, c.names)
	}
	got, e := do[[]Retransferred](o, VerbZoneRetransfer, RetransferArgs{Zone: "CITY.example."})
	if e != nil || len(got) != 1 || got[0] != (Retransferred{"city.example.", "out", 7}) {
		t.Errorf("%v %+v", e, got)
	}
	if want := `verb="zone retransfer" args="{\"zone\":\"CITY.example.\"}" uid=1000 pid=7 outcome=done`; !strings.Contains(o.log.String(), want) {
		t.Errorf("no %s in\n%s", want, o.log)
	}
}

// TestUpstreamOfOwnZones: what is no secondary zone stands with nobody.
func TestUpstreamOfOwnZones(t *testing.T) {
	t.Parallel()
	o := open(t)
	o.peers.upstreams = map[[2]string]Upstream{{"city.example.", "out"}: {State: UpstreamFresh, Checked: time.Unix(1, 0)}}
	zones, e := do[[]Zone](o, VerbZoneList, none{})
	if e != nil || len(zones) == 0 {
		t.Fatal(e)
	}
	for _, z := range zones {
		if z.Upstream != nil {
			t.Errorf("%+v", z)
		}
	}
}
