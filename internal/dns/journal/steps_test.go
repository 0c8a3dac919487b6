package journal

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/zone"
)

func stepTo(t *testing.T, from, to uint32, removed, added []string) zone.Delta {
	t.Helper()
	rr := func(text string) dns.RR {
		parsed, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		normal, _, err := zone.Normalise(parsed)
		if err != nil {
			t.Fatal(err)
		}
		return normal
	}
	var d zone.Delta
	for i, soa := range []**dns.SOA{&d.From, &d.To} {
		one, ok := rr("example.test. 60 IN SOA ns.example.test. h.example.test. 1 2 3 4 5").(*dns.SOA)
		if !ok {
			t.Fatal("no SOA")
		}
		one.Serial = [2]uint32{from, to}[i]
		*soa = one
	}
	for _, text := range removed {
		d.Removed = append(d.Removed, rr(text))
	}
	for _, text := range added {
		d.Added = append(d.Added, rr(text))
	}
	return d
}

// TestSteps: they are read as they were written, once; golden, bound and faults.
func TestSteps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(w atomicfile.Writer) *Store {
		s, err := Open(dir, w)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := []Steps{
		{"example.test.", "outside", []zone.Delta{
			stepTo(t, 4294967295, 3, []string{`a\.b\000.Example.test. 0 IN TXT "x\255" ""`}, []string{"*.example.test. 60 IN A 192.0.2.1", `y.example.test. 1 IN TYPE65280 \# 2 00ff`}),
			stepTo(t, 3, 4, nil, nil),
		}},
		{".", "inside", []zone.Delta{stepTo(t, 1, 2, nil, []string{"b. 60 IN NS ns.b."})}},
	}
	s := open(atomicfile.Writer{})
	if got, err := s.TakeSteps(); err != nil || got != nil {
		t.Errorf("nothing is there: %v %v", got, err)
	}
	if left, err := s.SaveSteps(want); err != nil || left != 0 {
		t.Fatal(left, err)
	}
	golden := filepath.Join("testdata", "steps1")
	written, err := os.ReadFile(filepath.Join(dir, stepsFile))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(golden); err != nil || string(kept) != string(written) {
		t.Errorf("%v: it is written as\n%s", err, written)
	}
	for i := range 2 {
		got, err := open(atomicfile.Writer{}).TakeSteps()
		if err != nil || i == 0 && !reflect.DeepEqual(got, want) || i == 1 && got != nil {
			t.Errorf("%d: %v, %v", i, got, err)
		}
	}
	for what, text := range map[string][]byte{"cut off": written[:len(written)-1], "changed": append([]byte("x"), written...), "empty": {}} {
		if err := os.WriteFile(filepath.Join(dir, stepsFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.TakeSteps(); err == nil || got != nil {
			t.Errorf("%s: %v", what, got)
		}
		if got, err := s.TakeSteps(); err != nil || got != nil {
			t.Errorf("%s, and again: %v, %v", what, got, err)
		}
	}
	large := Steps{Zone: "large.test.", View: "outside"}
	for range maxSteps/2 + 1 {
		large.Deltas = append(large.Deltas, want[0].Deltas[1])
	}
	if left, err := s.SaveSteps([]Steps{large, want[1]}); err != nil || left != 1 {
		t.Errorf("%d are left out, %v", left, err)
	}
	if got, err := s.TakeSteps(); err != nil || !reflect.DeepEqual(got, want[1:]) {
		t.Errorf("%v, %v", got, err)
	}
	broken := open(atomicfile.Writer{Fault: func(atomicfile.Step) error { return errors.New("no room") }})
	if _, err := broken.SaveSteps(want); err == nil {
		t.Error("there was no room")
	}
}
