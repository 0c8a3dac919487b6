package authority

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

func TestOverlayFollowsBothFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "$TTL 60\nmail A 10.0.0.25\nintranet A 10.0.0.1\n")
	b.start()
	b.want("internal", "mail.example.test", "10.0.0.25")
	b.want("internal", "www.example.test", "192.0.2.80")
	b.want("external", "intranet.example.test", "")
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	r := b.settle()
	if len(r.Changes) != 2 {
		t.Errorf("an external change rebuilds both: %+v", r)
	}
	b.want("internal", "www.example.test", "192.0.2.81")

	// A broken internal file holds up neither the external zone nor what
	// comes through from it.
	b.write("internal/example.test.zone", "$TTL 60\nmail A 10.0.0\n")
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.82", 1))
	b.settle()
	b.want("internal", "www.example.test", "192.0.2.82")
	b.want("internal", "mail.example.test", "10.0.0.25")
	b.wantState("internal", LastGood, "internal/example.test.zone:2:8")
	b.wantState("external", OK, "")

	// So too after a restart, from the journal's copy of the internal records.
	b.stop()
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.83", 1))
	b.start()
	b.want("internal", "www.example.test", "192.0.2.83")
	b.want("internal", "intranet.example.test", "10.0.0.1")
}

// An internal record at an inherited cut is an error, and the delegation may
// come after the record: then the internal view keeps its state.
func TestOverlayCollisionKeepsTheView(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "$TTL 60\nhost.sub A 10.0.0.1\n")
	b.start()
	b.write("external/example.test.zone", external+"sub NS ns.else.test.\n")
	b.settle()
	b.wantState("external", OK, "")
	b.wantState("internal", LastGood, "internal/example.test.zone:2:1: ERR below-cut")
	b.want("internal", "host.sub.example.test", "10.0.0.1")
	b.start()
	b.wantState("internal", LastGood, "below-cut")
	b.want("internal", "host.sub.example.test", "10.0.0.1")
}

func TestNewOverlayFileIsNoGapWhileItSettles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.write("external/new.test.zone", "$TTL 60\n")
	b.scan()
	if b.failed("internal", "www.example.test") || b.failed("external", "new.test") {
		t.Error("a file that is not read yet took the zone away")
	}
	b.remove("external/new.test.zone")
	b.settle()
	b.want("internal", "intranet.example.test", "10.0.0.1")
	if s := b.status("external", "new.test."); s.State != "" {
		t.Errorf("a file that came and went is no zone: %+v", s)
	}
}

func TestZoneInOneViewOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/corp.test.zone", external)
	b.start()
	n, _ := name.Parse("www.corp.test")
	if _, ok := b.a.Table().Named("external").Zone(n, dns.TypeA); ok {
		t.Error("an internal zone shows outside")
	}
	if _, ok := b.a.Table().Named("internal").Zone(n, dns.TypeA); !ok {
		t.Error("an internal zone is missing inside")
	}
	b.want("internal", "www.example.test", "192.0.2.80")
	if s := b.status("internal", "example.test."); s.State != "" {
		t.Errorf("an inherited zone is listed twice: %+v", s)
	}
	if z, err := b.a.Export("example.test", ""); err != nil || z != b.zone("external", "example.test") {
		t.Errorf("what both views show alike: %v, %v", z, err)
	}
	b.write("internal/example.test.zone", "www 300 A 10.0.0.1\n")
	b.settle()
	if _, err := b.a.Export("example.test", ""); !errors.Is(err, ErrAmbiguous) {
		t.Error(err)
	}
	if _, err := b.a.Export("corp.test", ""); err != nil {
		t.Error(err)
	}
}

func TestHideWithoutAFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Views[0].Hide = []string{"www.example.test", "nowhere.other.test"}
	b.write("external/example.test.zone", external)
	b.write("external/plain.test.zone", external)
	b.start()
	b.want("internal", "www.example.test", "")
	b.want("internal", "mail.example.test", "192.0.2.25")
	b.want("external", "www.example.test", "192.0.2.80")
	if s := b.status("internal", "plain.test."); s.State != "" {
		t.Error("a zone that nothing is hidden in is shared")
	}
	if !strings.Contains(b.log.String(), "nowhere.other.test.: no zone of view external holds it") {
		t.Errorf("hiding nothing:\n%s", b.log)
	}
	b.start()
	b.want("internal", "www.example.test", "")
	b.cfg.Views[0].Hide = nil
	b.start()
	b.want("internal", "www.example.test", "192.0.2.80")
}

func TestFullCopyIsNoOverlay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Views[0].Full = []string{"example.test"}
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", strings.Replace(external, "www", "only", 1))
	b.start()
	b.want("internal", "only.example.test", "192.0.2.80")
	b.want("internal", "www.example.test", "")
}
