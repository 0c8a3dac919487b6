package manage

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/update"
)

// What updates changed is shown, counted, and given up by who may order that.
func TestDynamic(t *testing.T) {
	t.Parallel()
	o := open(t)
	key, _ := name.Parse("dhcp.")
	below, err := update.ParsePattern("*.alone.example")
	o.must(err)
	o.must(o.cfg.Authority.Reconfigure(t.Context(), authority.Config{
		Views:    []authority.ViewConfig{{Name: "in", Dir: filepath.Join(o.dir, "in"), Overlay: "out"}, {Name: "out", Dir: filepath.Join(o.dir, "out")}},
		StateDir: filepath.Join(o.dir, "state"), External: "out", Poll: -1,
		Dynamic: map[string]map[string][]update.Rule{"alone.example": {"out": {{Key: key, Names: []update.Pattern{below}, Types: []uint16{dns.TypeA}}}}},
	}))
	if text, e := do[Text](o, VerbZoneExport, ExportArgs{Zone: "alone.example", Dynamic: true}); e != nil || text.Text != "" {
		t.Errorf("%v %q", e, text.Text)
	}
	m := new(dns.Msg).SetUpdate("alone.example.")
	for _, line := range []string{"new.alone.example. 60 A 192.0.2.9", "ns.alone.example. 300 A 192.0.2.2"} {
		rr, err := dns.NewRR(line)
		o.must(err)
		m.Insert([]dns.RR{rr})
	}
	wire, err := m.Pack()
	o.must(err)
	outline, ok := update.Read(wire)
	if !ok {
		t.Fatal(m)
	}
	request, refused := outline.Request()
	if refused != nil {
		t.Fatal(refused)
	}
	if out := o.cfg.Authority.Update(t.Context(), authority.Update{Request: request, Key: key}); out.Rcode != update.NoError {
		t.Fatalf("%+v", out)
	}

	text, e := do[Text](o, VerbZoneExport, ExportArgs{Zone: "alone.example", Dynamic: true})
	for _, line := range []string{"; new.alone.example. A, by key dhcp. at 20", "\nnew.alone.example. 60 IN A 192.0.2.9\n", "; instead of: ns.alone.example. 300 IN A 192.0.2.1\n"} {
		if e != nil || !strings.Contains(text.Text, line) {
			t.Errorf("%v: no %q in\n%s", e, line, text.Text)
		}
	}
	zones, e := do[[]Zone](o, VerbZoneList, nil)
	if e != nil || len(zones) == 0 || zones[0].Zone != "alone.example." || zones[0].Dynamic != 2 {
		t.Errorf("%v %+v", e, zones)
	}
	_, e = do[Dropped](o, VerbZoneDrop, DropArgs{Zone: "a..b"})
	o.refused(e, ReasonUsage, "a..b")
	_, e = do[Dropped](o, VerbZoneDrop, DropArgs{Zone: "none.example"})
	o.refused(e, ReasonUnknown, "none.example")
	gone, e := do[Dropped](o, VerbZoneDrop, DropArgs{Zone: "alone.example", Name: "new.alone.example"})
	if e != nil || len(gone.Sets) != 1 || gone.Sets[0].Owner != "new.alone.example." || gone.Sets[0].Type != "A" || gone.Sets[0].Key != "dhcp." || len(gone.Sets[0].Below) != 0 {
		t.Errorf("%v %+v", e, gone)
	}
	if gone, e = do[Dropped](o, VerbZoneDrop, DropArgs{Zone: "alone.example", View: "out"}); e != nil || len(gone.Sets) != 1 || gone.Sets[0].Below[0] != "ns.alone.example. 300 IN A 192.0.2.1" {
		t.Errorf("%v %+v", e, gone)
	}
	if !strings.Contains(o.log.String(), `verb="zone drop"`) {
		t.Error("the order is not in the log")
	}
}
