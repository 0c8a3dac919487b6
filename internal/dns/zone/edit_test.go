package zone

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// normal is a record as Normalise makes it, and its owner.
func normal(t testing.TB, text string) (name.Name, dns.RR) {
	t.Helper()
	clean, owner, err := Normalise(record(t, text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return owner, clean
}

// whole builds a zone of all the records.
func whole(t testing.TB, records map[name.Name][]dns.RR) (*Zone, error) {
	t.Helper()
	b := NewBuilder(parsed(t, "example.test."))
	for owner, rrs := range records {
		for _, rr := range rrs {
			if err := b.AddOwned(owner, rr); err != nil {
				return nil, err
			}
		}
	}
	return b.Build()
}

// shown is all that can be seen of a zone.
func shown(z *Zone) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records, %d names, serial %d\n", z.Records(), z.Names(), z.Serial())
	for node := range z.Nodes() {
		fmt.Fprintf(&b, "%s\n", node.Name)
		for _, set := range node.Sets {
			fmt.Fprintf(&b, "  %d %d %v\n", set.Type, set.TTL, set.RRs)
		}
	}
	return b.String()
}

// TestEditIsABuild: a chain of random edits leaves what a build of all records
// would, empty non-terminals and all, and the zone before as it was.
func TestEditIsABuild(t *testing.T) {
	t.Parallel()
	labels := []string{"a", "b", "*", "c"}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 8))
		random := func() name.Name {
			text := "example.test."
			for range r.IntN(5) {
				text = labels[r.IntN(len(labels))] + "." + text
			}
			return parsed(t, text)
		}
		records := map[name.Name][]dns.RR{}
		put := func(owner name.Name) {
			var rrs []dns.RR
			if owner == parsed(t, "example.test.") {
				_, soa := normal(t, fmt.Sprintf("example.test. 60 SOA ns.example.test. h.example.test. %d 3600 600 864000 300", r.IntN(9)))
				rrs = append(rrs, soa)
			}
			for range r.IntN(4) {
				text := []string{"A 192.0.2.%d", "TXT t%d", "MX %d mx.example.test."}[r.IntN(3)]
				_, rr := normal(t, fmt.Sprintf("%s %d ", owner, 60*(1+r.IntN(2)))+fmt.Sprintf(text, r.IntN(3)))
				rrs = append(rrs, rr)
			}
			records[owner] = rrs
		}
		put(parsed(t, "example.test."))
		for range r.IntN(12) {
			put(random())
		}
		z, err := whole(t, records)
		if err != nil {
			t.Fatal(err)
		}
		z.rest = shelve(slices.Concat(z.rest.boards...), 1+int(seed)%4) // more than one board
		for step := range 20 {
			before := shown(z)
			edits := map[name.Name][]dns.RR{}
			for range 1 + r.IntN(4) {
				owner := random()
				put(owner)
				edits[owner] = records[owner]
			}
			want, err := whole(t, records)
			if err != nil {
				t.Fatal(err)
			}
			got, err := z.Edit(edits)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := shown(got), shown(want); a != b {
				t.Fatalf("seed %d, step %d: edited\n%s\nto\n%s\nwant\n%s", seed, step, before, a, b)
			}
			if after := shown(z); after != before {
				t.Fatalf("seed %d, step %d: the zone before changed:\n%s\nwas\n%s", seed, step, after, before)
			}
			removed, added := Diff(z, got)
			wholeRemoved, wholeAdded := Diff(z, want)
			if join(removed) != join(wholeRemoved) || join(added) != join(wholeAdded) {
				t.Fatalf("seed %d, step %d: the difference is -%v +%v, of a build -%v +%v", seed, step, removed, added, wholeRemoved, wholeAdded)
			}
			z = got
		}
	}
}

func TestEditRefuses(t *testing.T) {
	t.Parallel()
	apex := parsed(t, "example.test.")
	_, first := normal(t, "example.test. 60 SOA ns.example.test. h.example.test. 1 3600 600 864000 300")
	_, a := normal(t, "a.example.test. 60 A 192.0.2.1")
	base, err := whole(t, map[name.Name][]dns.RR{apex: {first}, parsed(t, "a.example.test."): {a}})
	if err != nil {
		t.Fatal(err)
	}
	before := shown(base)
	soa := "60 SOA ns.example.test. h.example.test. 2 3600 600 864000 300"
	for _, c := range []struct {
		name  string
		lines []string
		goes  string // an owner that loses all
		want  error
	}{
		{"outside", []string{"a.example.net. 60 A 192.0.2.1"}, "", ErrOutside},
		{"SOA below the apex", []string{"b.example.test. " + soa}, "", ErrSOA},
		{"no SOA", []string{"example.test. 60 NS ns.example.test."}, "", ErrNoSOA},
		{"two SOA", []string{"example.test. " + soa, "example.test. 60 SOA ns.example.test. h.example.test. 3 3600 600 864000 300"}, "", ErrManySOA},
		{"nothing at the apex", nil, "example.test.", ErrNoSOA},
	} {
		edits := map[name.Name][]dns.RR{}
		for _, line := range c.lines {
			owner, rr := normal(t, line)
			edits[owner] = append(edits[owner], rr)
		}
		if c.goes != "" {
			edits[parsed(t, c.goes)] = nil
		}
		if _, err := base.Edit(edits); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if after := shown(base); after != before {
		t.Errorf("a refused edit left traces:\n%s", after)
	}
}

// TestEditShares: nodes that do not change are the same in both zones, so that
// comparing them costs nothing.
func TestEditShares(t *testing.T) { // counts allocations: not parallel
	records := map[name.Name][]dns.RR{}
	add := func(text string) name.Name {
		owner, rr := normal(t, text)
		records[owner] = append(records[owner], rr)
		return owner
	}
	add("example.test. 60 SOA ns.example.test. h.example.test. 1 3600 600 864000 300")
	for i := range 2000 {
		add(fmt.Sprintf("h%d.example.test. 60 A 192.0.2.1", i))
	}
	z, err := whole(t, records)
	if err != nil {
		t.Fatal(err)
	}
	_, rr := normal(t, "new.example.test. 60 A 192.0.2.9")
	next, err := z.Edit(map[name.Name][]dns.RR{parsed(t, "new.example.test."): {rr}, parsed(t, "h7.example.test."): nil})
	if err != nil {
		t.Fatal(err)
	}
	for _, owner := range slices.Collect(maps.Keys(records)) {
		if owner == parsed(t, "h7.example.test.") {
			continue
		}
		if a, b := z.Node(owner), next.Node(owner); &a.Sets[0] != &b.Sets[0] {
			t.Fatalf("%s was made again", owner)
		}
	}
	if n := testing.AllocsPerRun(10, func() { Diff(z, next) }); n > 20 {
		t.Errorf("comparing two zones that share all but two nodes takes %v allocations", n)
	}
}
