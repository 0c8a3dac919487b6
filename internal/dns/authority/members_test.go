package authority

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// TestFeedChangesWhatIsFed: a zone that is added waits for its transfer, one
// that is dropped goes with its history, and neither needs another
// configuration.
func TestFeedChangesWhatIsFed(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	b.cfg.Views[1].Fed = nil
	var gone []string
	b.cfg.Gone = func(zone name.Name, view string) { gone = append(gone, view+" "+zone.String()) }
	b.start()
	feed := func(add, drop []name.Name, inTheWay ...name.Name) {
		t.Helper()
		got, err := b.a.Feed(t.Context(), "external", add, drop)
		if err != nil || !slices.Equal(got, inTheWay) {
			t.Fatalf("in the way: %v; %v", got, err)
		}
	}
	it := []name.Name{exampleTest}
	if err := b.full("external", primary(t, external, 4)); err == nil {
		t.Fatal("what nobody feeds is taken")
	}
	feed(it, nil)
	b.wantState("external", Waiting, "not-transferred")
	feed(it, nil)
	one := primary(t, external, 4)
	b.ok(b.full("external", one))
	b.wantFed("external", one)
	b.want("internal", "www.example.test", "192.0.2.80")

	feed(nil, it)
	if b.a.Table().Named("external").Has(exampleTest) || len(b.a.Zones()) != 0 {
		t.Errorf("it is there still: %+v", b.a.Zones())
	}
	if _, held := b.a.Held(exampleTest, "external"); held {
		t.Error("something is held of what was dropped")
	}
	slices.Sort(gone)
	if want := []string{"external example.test.", "internal example.test."}; !slices.Equal(gone, want) {
		t.Errorf("gone: %v, want %v", gone, want)
	}
	feed(it, it)
	b.wantState("external", Waiting, "not-transferred")
	b.cfg.Views[1].Fed = []string{"example.test"}
	b.start()
	b.wantState("external", Waiting, "not-transferred")
	two := primary(t, external, 2)
	b.ok(b.full("external", two))
	b.start()
	b.wantFed("external", two)
	if _, err := b.a.Feed(t.Context(), "nowhere", it, it); err != nil {
		t.Error(err)
	}
}

// TestFeedLeavesTheAdminsOwn: a file is in the way of what is added, is passed
// over while that is fed, and is read when it is dropped.
func TestFeedLeavesTheAdminsOwn(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	b.cfg.Views[1].Fed = nil
	b.write("external/example.test.zone", external)
	b.start()
	it := []name.Name{exampleTest}
	for range 2 {
		got, err := b.a.Feed(t.Context(), "external", it, it)
		if err != nil || !slices.Equal(got, it) {
			t.Fatalf("in the way: %v; %v", got, err)
		}
		b.want("external", "www.example.test", "192.0.2.80")
		b.start()
	}
	b.remove("external/example.test.zone")
	b.settle()
	b.ok(b.removed())
	if _, err := b.a.Feed(t.Context(), "external", it, nil); err != nil {
		t.Fatal(err)
	}
	b.ok(b.full("external", primary(t, external, 4)))
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.settle()
	b.want("external", "www.example.test", "192.0.2.80")
	if _, err := b.a.Feed(t.Context(), "external", nil, it); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.want("external", "www.example.test", "192.0.2.81")
}

// TestFeedOfWhatTheJournalHas: it is served at once, and until then as it was.
func TestFeedOfWhatTheJournalHas(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	b.start()
	one := primary(t, external, 4)
	b.ok(b.full("external", one))
	b.cfg.Views[1].Fed = nil
	b.start()
	b.want("external", "www.example.test", "192.0.2.80")
	if _, err := b.a.Feed(t.Context(), "external", []name.Name{exampleTest}, nil); err != nil {
		t.Fatal(err)
	}
	b.wantFed("external", one)
}

// TestPrivateZones: they are for those who may transfer them, in their view
// alone, and the lint has nothing to say about names that nobody resolves.
func TestPrivateZones(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	b.cfg.Views[1].Private = []string{"example.test"}
	b.cfg.Views[1].Made = []string{"example.test"}
	b.start()
	if got := b.a.Zones(); len(got) != 0 {
		t.Errorf("before it is made: %+v", got)
	}
	one := primary(t, "@ 0 SOA invalid. invalid. 1 1 1 1 0\n@ 0 NS invalid.\nversion 0 TXT \"2\"\n", 4)
	b.ok(b.full("external", one))
	for range 2 {
		for _, view := range []string{"external", "internal"} {
			if z, ours := b.a.Table().Named(view).Zone(exampleTest, dns.TypeSOA); ours || z != nil {
				t.Errorf("%s answers with it", view)
			}
		}
		if z, ours := b.a.Table().ForPeers("external").Zone(exampleTest, dns.TypeSOA); !ours || z == nil {
			t.Error("its peers find nothing")
		}
		if z, _ := b.a.Content(exampleTest, "external"); z == nil || z.Serial() != 4 {
			t.Errorf("content: %v", z)
		}
		if z, _ := b.a.Content(exampleTest, "internal"); z != nil {
			t.Error("the view above gives it away")
		}
		if s := b.status("external", "example.test."); s.State != OK || s.Secondary || !s.Made || len(s.Problems) > 0 {
			t.Errorf("%+v", s)
		}
		b.start()
	}
	wantDeclined(t, b.removed(), ReasonFed)
	b.ok(b.a.Expire(t.Context(), exampleTest, "external"))
	if z, ours := b.a.Table().ForPeers("external").Zone(exampleTest, dns.TypeSOA); !ours || z != nil {
		t.Error("an expired one is answered with")
	}
	if z, _ := b.a.Content(exampleTest, "external"); z != nil {
		t.Error("an expired one is given away")
	}
}
