package authority

import (
	"fmt"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const exampleTest = name.Name("\x07example\x04test\x00")

// records lists a zone's records but its SOA, sorted.
func recordsOf(z *zone.Zone) []string {
	var all []string
	for node := range z.Nodes() {
		for _, set := range node.Sets {
			for _, rr := range set.RRs {
				if set.Type != dns.TypeSOA {
					all = append(all, rr.String())
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// replay does to the records what an incremental transfer says.
func replay(t *testing.T, records []string, d zone.Delta) []string {
	t.Helper()
	for _, rr := range d.Removed {
		i, found := slices.BinarySearch(records, rr.String())
		if !found {
			t.Fatalf("%d to %d takes away %s, which is not there", d.From.Serial, d.To.Serial, rr)
		}
		records = slices.Delete(records, i, i+1)
	}
	for _, rr := range d.Added {
		i, found := slices.BinarySearch(records, rr.String())
		if found {
			t.Fatalf("%d to %d brings %s, which is there", d.From.Serial, d.To.Serial, rr)
		}
		records = slices.Insert(records, i, rr.String())
	}
	return records
}

// TestDeltasLeadToTheContent: whoever has one of the states gets to the present
// one by what Content or Since says, in both views and after a restart.
func TestDeltasLeadToTheContent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	told := map[string]uint32{}
	b.cfg.Changed = func(n name.Name, view string, serial uint32) { told[view] = serial }
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.start()
	past := map[string]map[uint32][]string{"external": {}, "internal": {}}
	for step := range 12 {
		b.write("external/example.test.zone", external+fmt.Sprintf("new%d A 192.0.2.%d\nstays A 192.0.2.1\n", step%3, step))
		b.settle()
		for view, states := range past {
			z, deltas := b.a.Content(exampleTest, view)
			if told[view] != z.Serial() {
				t.Fatalf("view %s: told of serial %d, served is %d", view, told[view], z.Serial())
			}
			if len(deltas) != step+1 || deltas[step].To.Serial != z.Serial() {
				t.Fatalf("view %s, step %d: %d differences", view, step, len(deltas))
			}
			for serial, records := range states {
				at := slices.IndexFunc(deltas, func(d zone.Delta) bool { return d.From.Serial == serial })
				if at < 0 {
					t.Fatalf("view %s: nothing leads from serial %d", view, serial)
				}
				records = slices.Clone(records)
				for i, d := range deltas[at:] {
					if i > 0 && deltas[at+i-1].To.Serial != d.From.Serial {
						t.Fatalf("view %s: a gap before serial %d", view, d.From.Serial)
					}
					records = replay(t, records, d)
				}
				if !slices.Equal(records, recordsOf(z)) {
					t.Fatalf("view %s: from serial %d to\n%v\nwant\n%v", view, serial, records, recordsOf(z))
				}
			}
			states[z.Serial()] = recordsOf(z)
		}
	}
	b.start()
	z, deltas := b.a.Content(exampleTest, "external")
	if len(deltas) == 0 {
		t.Error("a restart forgets the differences")
	}
	for serial, records := range past["external"] {
		if serial == z.Serial() {
			continue
		}
		d, ok := b.a.Since(t.Context(), exampleTest, "external", serial)
		if !ok || d.From.Serial != serial || d.To.Serial != z.Serial() {
			t.Fatalf("since serial %d: %v %+v", serial, ok, d)
		}
		if got := replay(t, slices.Clone(records), d); !slices.Equal(got, recordsOf(z)) {
			t.Errorf("since serial %d: %v, want %v", serial, got, recordsOf(z))
		}
	}
	if _, ok := b.a.Since(t.Context(), exampleTest, "external", 4711); ok {
		t.Error("something leads from a serial that never was")
	}
	if z, _ := b.a.Content("\x04none\x00", "external"); z != nil {
		t.Error("a zone that is not there has content")
	}
}

func TestDeltasAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	for step := range maxDeltas + 5 {
		b.write("external/example.test.zone", external+fmt.Sprintf("new A 192.0.2.%d\n", step))
		b.settle()
	}
	if _, deltas := b.a.Content(exampleTest, "external"); len(deltas) != maxDeltas {
		t.Errorf("%d differences are kept, want %d", len(deltas), maxDeltas)
	}
	st := &served{}
	z, _ := b.a.Content(exampleTest, "external")
	many := slices.Repeat([]dns.RR{&dns.A{Hdr: dns.RR_Header{Rrtype: dns.TypeA}}}, maxDeltaRecords)
	for range 3 {
		st.remember(&zone.Delta{Added: many[:maxDeltaRecords/2]}, z.Records())
	}
	if len(st.deltas) != 1 {
		t.Errorf("%d differences of %d records are kept", len(st.deltas), maxDeltaRecords/2)
	}
	if st.remember(&zone.Delta{Added: many}, z.Records()); len(st.deltas) != 0 {
		t.Errorf("a difference beyond the bound is kept")
	}
}

// TestViewOfItsOwnGoesAhead: a view that showed the zone of the one below, and
// then has a file of its own, goes on from the serial that it showed, or its
// secondaries would not fetch what is in it.
func TestViewOfItsOwnGoesAhead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"new A 192.0.2.7\n")
	b.settle()
	shown, _ := b.a.Content(exampleTest, "internal")
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.settle()
	if z, deltas := b.a.Content(exampleTest, "internal"); !zone.SerialLess(shown.Serial(), z.Serial()) || len(deltas) != 0 {
		t.Errorf("serial %d after %d, %d differences", z.Serial(), shown.Serial(), len(deltas))
	}
	if z, _ := b.a.Content(exampleTest, "external"); z.Serial() != shown.Serial() {
		t.Errorf("outside serial %d, was %d", z.Serial(), shown.Serial())
	}
}

// TestNoDifferenceToAnotherViewsState: what a view had of its own is no state
// of the zone that it shows now, whatever the serials say.
func TestNoDifferenceToAnotherViewsState(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.start()
	own, _ := b.a.Content(exampleTest, "internal")
	b.write("external/example.test.zone", external+"new A 192.0.2.7\n")
	b.settle()
	b.remove("internal/example.test.zone")
	b.settle()
	if _, err := b.a.Remove(t.Context(), "example.test"); err != nil {
		t.Fatal(err)
	}
	if z, deltas := b.a.Content(exampleTest, "internal"); z == nil || len(deltas) != 0 {
		t.Errorf("%d differences lead to it, one of them from serial %d", len(deltas), deltas[0].From.Serial)
	}
	if d, ok := b.a.Since(t.Context(), exampleTest, "internal", own.Serial()); ok {
		t.Errorf("since serial %d: %+v", own.Serial(), d)
	}
	if _, deltas := b.a.Content(exampleTest, "external"); len(deltas) != 1 {
		t.Errorf("outside there are %d", len(deltas))
	}
}
