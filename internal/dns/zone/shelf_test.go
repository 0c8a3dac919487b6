package zone

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"postern/internal/dns/name"
)

// A shelf goes through edits as one list does, and keeps its boards in bounds
// and those that are not touched.
func TestShelfIsAList(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 12))
		each, span := 1+r.IntN(20), 10+r.IntN(200)
		named := func(i int) name.Name { return wire(t, fmt.Sprintf("n%04d.example.", i)) }
		byName := func(a, b Node) int { return a.Name.Compare(b.Name) }
		var list []Node
		for i := range span {
			if r.IntN(3) > 0 {
				list = append(list, Node{Name: named(i)})
			}
		}
		s := shelve(slices.Clone(list), each)
		for range 12 {
			var changes []change
			low := r.IntN(span)
			for i := low; i < min(span, low+1+r.IntN(span)); i++ {
				switch r.IntN(4) {
				case 0:
					changes = append(changes, change{named(i), &Node{Name: named(i)}})
				case 1:
					changes = append(changes, change{named(i), nil})
				}
			}
			before, old := slices.Concat(s.boards...), s
			s = s.with(changes)
			if !slices.EqualFunc(slices.Concat(old.boards...), before, func(a, b Node) bool { return a.Name == b.Name }) {
				t.Fatalf("seed %d: the shelf before changed", seed)
			}
			for _, c := range changes {
				at, found := slices.BinarySearchFunc(list, Node{Name: c.name}, byName)
				if found {
					list = slices.Delete(slices.Clone(list), at, at+1)
				}
				if c.node != nil {
					list = slices.Insert(slices.Clone(list), at, *c.node)
				}
			}
			sameAsList(t, &s, list, named, span)
			if len(changes) == 1 && len(s.boards) == len(old.boards) {
				shared := 0
				for i := range s.boards {
					if &s.boards[i][0] == &old.boards[i][0] {
						shared++
					}
				}
				if shared < len(s.boards)-2 {
					t.Fatalf("seed %d: of %d boards one change leaves %d", seed, len(s.boards), shared)
				}
			}
		}
	}
}

func sameAsList(t *testing.T, s *shelf, list []Node, named func(int) name.Name, span int) {
	t.Helper()
	same := func(got, want []Node) bool {
		return slices.EqualFunc(got, want, func(a, b Node) bool { return a.Name == b.Name })
	}
	if s.count != len(list) || !same(slices.Concat(s.boards...), list) {
		t.Fatalf("%d nodes on the shelf, want %d", s.count, len(list))
	}
	for _, board := range s.boards {
		if len(board) == 0 || len(board) > 2*s.each {
			t.Fatalf("a board of %d, made by %d", len(board), s.each)
		}
	}
	for i := range span {
		n := named(i)
		want, there := slices.BinarySearchFunc(list, n, func(a Node, n name.Name) int { return a.Name.Compare(n) })
		at, found := s.search(n)
		var from, before []Node
		for node := range s.from(at) {
			from = append(from, *node)
		}
		for node := range s.before(at) {
			before = append(before, *node)
		}
		slices.Reverse(before)
		if found != there || found && s.at(at).Name != n || !same(from, list[want:]) || !same(before, list[:want]) {
			t.Fatalf("%s is found %v at %v of %d boards", n, found, at, len(s.boards))
		}
	}
}
