package xfr

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// TestApplyIsStrict: what does not fit is ErrUnfit, and says why.
func TestApplyIsStrict(t *testing.T) {
	t.Parallel()
	have, next := zoneOf(t, 1, "a A 192.0.2.1\nb A 192.0.2.1\n"), zoneOf(t, 2, "a A 192.0.2.2\nc A 192.0.2.1\n")
	delta := zone.NewDelta(have, next)
	edited := func(f func(d *zone.Delta)) []zone.Delta {
		d := zone.Delta{From: delta.From, To: delta.To, Removed: slices.Clone(delta.Removed), Added: slices.Clone(delta.Added)}
		f(&d)
		return []zone.Delta{d}
	}
	soa := func(serial, refresh uint32) *dns.SOA {
		s := *next.SOA()
		s.Serial, s.Refresh = serial, refresh
		return &s
	}
	for _, c := range []struct {
		name, want string
		deltas     []zone.Delta
	}{
		{"a removal of what is not there", "goes, and is not there", edited(func(d *zone.Delta) { d.Removed = append(d.Removed, parse(t, "x A 192.0.2.1\n")...) })},
		{"a removal with another TTL", "goes, and is not there", edited(func(d *zone.Delta) { d.Removed = parse(t, "b 300 A 192.0.2.1\n") })},
		{"a removal twice", "goes, and is not there", edited(func(d *zone.Delta) { d.Removed = append(d.Removed, d.Removed[0]) })},
		{"an addition of what is there", "comes, and is there", edited(func(d *zone.Delta) { d.Added = append(d.Added, parse(t, "ns1 A 192.0.2.1\n")...) })},
		{"an addition twice", "comes, and is there", edited(func(d *zone.Delta) { d.Added = append(d.Added, d.Added[0]) })},
		{"from another serial", "another SOA", edited(func(d *zone.Delta) { d.From = soa(7, 3600) })},
		{"from another SOA of this serial", "another SOA", edited(func(d *zone.Delta) { d.From = soa(1, 7) })},
		{"from nothing", "another SOA", edited(func(d *zone.Delta) { d.From = nil })},
		{"a gap between steps", "another SOA", append(edited(func(*zone.Delta) {}), zone.Delta{From: soa(3, 3600), To: soa(4, 3600)})},
		{"a SOA below the apex", "SOA stands below", edited(func(d *zone.Delta) { d.Added = append(d.Added, parse(t, "b SOA . . 1 2 3 4 5\n")...) })},
		{"a second SOA", "several SOA", edited(func(d *zone.Delta) { d.Added = append(d.Added, soa(9, 1)) })},
		{"out of the zone", "outside", edited(func(d *zone.Delta) {
			d.Added = append(d.Added, parse(t, "$ORIGIN elsewhere.\nb A 192.0.2.1\n")...)
		})},
	} {
		if _, _, err := Apply(have, c.deltas); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	got, owners, err := Apply(have, []zone.Delta{delta})
	if err != nil || !slices.Equal(content(got), content(next)) || len(owners) != 4 {
		t.Errorf("%v, %d owners: %v", err, len(owners), content(got))
	}
	if got, _, err := Apply(have, nil); got != have || err != nil {
		t.Errorf("no deltas: %v", err)
	}
}

// TestApplyEdits: deltas of random edits, one by one and many at once, make the
// zone that was edited; what they touch is all that changed.
func TestApplyEdits(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 2))
		have, serial := map[string]bool{}, r.Uint32()
		var versions []*zone.Zone
		for range 30 {
			edit(r, have)
			lines := make([]string, 0, len(have))
			for line := range have {
				lines = append(lines, line)
			}
			versions = append(versions, zoneOf(t, serial, strings.Join(lines, "\n")))
			serial = zone.NextSerial(serial)
		}
		steps, last := history(versions...), versions[len(versions)-1]
		for i, v := range versions {
			got, owners, err := Apply(v, steps[i:])
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if removed, added := zone.Diff(got, last); len(removed)+len(added) > 0 {
				t.Fatalf("seed %d, from %d: %v %v", seed, v.Serial(), removed, added)
			}
			removed, added := zone.Diff(v, last)
			for _, rr := range append(removed, added...) {
				if !slices.Contains(owners, mustName(t, rr.Header().Name)) {
					t.Errorf("seed %d: %s changed, and is not among the owners", seed, rr.Header().Name)
				}
			}
		}
	}
}
