package zone

import (
	"errors"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// A zone taken apart and assembled is the same; nodes out of order or outside,
// and an apex without SOA, are refused.
func TestAssemble(t *testing.T) {
	t.Parallel()
	b := NewBuilder(wire(t, "example."))
	for _, text := range []string{
		"example. 1 IN SOA . . 1 2 3 4 5", "a.b.example. 1 IN TXT x", "a.b.example. 1 IN TXT y", "c.example. 1 IN A 192.0.2.1",
	} {
		rr, err := dns.NewRR(text)
		if err == nil {
			err = b.Add(rr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	var rest []Node
	for n := range z.Nodes() {
		if n.Name != z.Origin() {
			rest = append(rest, *n)
		}
	}
	apex := *z.Node(z.Origin())
	got, err := Assemble(apex, rest)
	if err != nil || got.Records() != z.Records() || got.Names() != z.Names() || got.Serial() != 1 {
		t.Errorf("assembled: %v %v", got, err)
	}
	if removed, added := Diff(z, got); len(removed)+len(added) > 0 {
		t.Errorf("assembled, the zone lost %v and got %v", removed, added)
	}
	swapped := slices.Clone(rest)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	for what, c := range map[string]struct {
		apex Node
		rest []Node
		want error
	}{
		"out of order": {apex, swapped, ErrOrder},
		"twice":        {apex, []Node{rest[0], rest[0]}, ErrOrder},
		"apex below":   {apex, []Node{apex}, ErrOrder},
		"outside":      {apex, []Node{{Name: wire(t, "test.")}}, ErrOutside},
		"no SOA":       {Node{Name: apex.Name}, rest, ErrNoSOA},
	} {
		if _, err := Assemble(c.apex, c.rest); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	if _, err := z.WithApex(nil); !errors.Is(err, ErrNoSOA) {
		t.Errorf("an apex without SOA: %v", err)
	}
	if other, err := z.WithApex(apex.Sets); err != nil || other.Records() != z.Records() || other.Names() != z.Names() {
		t.Errorf("with its own apex: %v", err)
	}
}

func TestFromAndBefore(t *testing.T) {
	t.Parallel()
	names := []string{"example.", "b.example.", "a.b.example.", "d.example."}
	rest := []Node{{Name: wire(t, names[1])}, {Name: wire(t, names[2])}, {Name: wire(t, names[3])}}
	for _, each := range []int{1, 2, 3} {
		z := &Zone{apex: &Node{Name: wire(t, names[0])}, rest: shelve(rest, each)}
		for at, c := range map[string]struct{ from, before []string }{
			"example.":   {names, names[:1]},
			"a.example.": {names[1:], names[:1]},
			"b.example.": {names[1:], names[:1]},
			"c.example.": {names[3:], names[:3]},
			"d.example.": {names[3:], names[:3]},
			"e.example.": {nil, names},
		} {
			var from, before []string
			for n := range z.From(wire(t, at)) {
				from = append(from, n.Name.String())
			}
			for n := range z.Before(wire(t, at)) {
				before = append([]string{n.Name.String()}, before...)
			}
			if !slices.Equal(from, c.from) || !slices.Equal(before, c.before) {
				t.Errorf("%s: from %v, before %v", at, from, before)
			}
		}
		for range z.From(name.Root) {
			break
		}
	}
}

func wire(t *testing.T, text string) name.Name {
	t.Helper()
	n, err := name.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
