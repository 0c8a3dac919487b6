package authority

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"postern/internal/dns/update"
	"postern/internal/dns/zone"
)

// trusted says whether the start took the zone as its note has it, without reading
// the file.
func (b *bench) trusted() (is bool) {
	b.t.Helper()
	b.ok(b.a.do(b.t.Context(), func() { is = b.a.owner.served[key{exampleTest, "external"}].byNote }))
	return is
}

// TestUpdatedZoneIsNoted: a zone that updates changed is not read again at the
// next start, nor at the one after it; after another edit of the file it is.
func TestUpdatedZoneIsNoted(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	for i, line := range []string{"+ a.example.test. 60 A 192.0.2.9", "+ b.example.test. 60 A 192.0.2.9", "- a.example.test. A"} {
		b.wantUpdate(update.NoError, "", line)
		b.start()
		if !b.trusted() {
			t.Errorf("after %d updates the file is read", i+1)
		}
		b.start()
		if !b.trusted() {
			t.Errorf("after %d updates and another start the file is read", i+1)
		}
		b.want("external", "b.example.test", []string{"", "192.0.2.9", "192.0.2.9"}[i])
	}
	b.wantUpdate(update.NoError, "", "+ c.example.test. 60 A 192.0.2.9")
	b.stop()
	b.write("external/example.test.zone", external+"more A 192.0.2.7\n")
	b.start()
	if b.trusted() {
		t.Error("a file that changed is not read")
	}
	b.want("external", "more.example.test", "192.0.2.7")
	b.want("external", "c.example.test", "192.0.2.9")
	// What the file waits with is in no note.
	b.cfg.Manual = true
	b.start()
	b.write("external/example.test.zone", external+"waits A 192.0.2.7\n")
	b.settle()
	b.wantUpdate(update.NoError, "", "+ d.example.test. 60 A 192.0.2.9")
	b.start()
	if s := b.status("external", "example.test."); s.State != Planned || b.trusted() {
		t.Errorf("%+v", s)
	}
}

// walk applies the steps that lead from that serial to what is served, to what
// was served at it.
func (b *bench) walk(from *zone.Zone) *zone.Zone {
	b.t.Helper()
	_, deltas := b.a.Content(exampleTest, "external")
	z := from
	for _, d := range deltas {
		if d.From.Serial != z.Serial() {
			continue
		}
		next, _, err := z.Apply(d)
		if err != nil {
			b.t.Fatal(err)
		}
		z = next
	}
	return z
}

// TestStepsSurviveAStop: a secondary that is behind at a restart gets differences,
// of updates too, which make no version; after a crash it gets the zone.
func TestStepsSurviveAStop(t *testing.T) {
	t.Parallel()
	b := updateBench(t)
	b.start()
	first := b.zone("external", "example.test")
	path := filepath.Join(b.cfg.StateDir, "zones", "steps")
	there := func() bool { _, err := os.Stat(path); return !errors.Is(err, os.ErrNotExist) }
	for range 2 {
		b.wantUpdate(update.NoError, "", "+ a.example.test. 60 A 192.0.2.9", "- www.example.test. A")
		b.wantUpdate(update.NoError, "", "- a.example.test. A", "+ www.example.test. 60 A 192.0.2.80")
		b.start()
		if there() {
			t.Error("the steps lie there, and would after a crash")
		}
		now := b.zone("external", "example.test")
		if z := b.walk(first); z.Serial() != now.Serial() || len(zoneDiff(z, now)) > 0 {
			t.Errorf("the steps lead from %d to %d, and %d is served", first.Serial(), z.Serial(), now.Serial())
		}
		if _, deltas := b.a.Content(exampleTest, "internal"); len(deltas) == 0 {
			t.Error("the view that shows it has none")
		}
	}
	b.start() // nothing changed meanwhile, and they are there still
	if z := b.walk(first); z.Serial() == first.Serial() {
		t.Error("they are forgotten")
	}

	// Steps that do not lead to what the journal has are of no use.
	b.stop()
	old, err := os.ReadFile(path)
	b.ok(err)
	b.start()
	b.wantUpdate(update.NoError, "", "+ later.example.test. 60 A 192.0.2.9")
	b.stop()
	b.ok(os.WriteFile(path, old, 0o600))
	b.start()
	if _, deltas := b.a.Content(exampleTest, "external"); len(deltas) != 0 {
		t.Errorf("%d steps to another serial", len(deltas))
	}
	b.stop()
	b.ok(os.WriteFile(path, []byte("nonsense"), 0o600))
	b.start()
	if _, deltas := b.a.Content(exampleTest, "external"); len(deltas) != 0 || there() {
		t.Errorf("%d steps out of nonsense", len(deltas))
	}
}

func zoneDiff(a, b *zone.Zone) []string {
	removed, added := zone.Diff(a, b)
	var all []string
	for _, rr := range append(removed, added...) {
		all = append(all, rr.String())
	}
	return all
}
