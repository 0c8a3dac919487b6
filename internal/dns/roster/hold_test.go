package roster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns/name"
)

func TestMuch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lost, of, most int
		want           bool
	}{
		{0, 0, 30, false}, {1, 1, 30, false}, // the only one is no more than one
		{1, 2, 30, false}, {2, 2, 30, true}, {8, 9, 30, false}, {9, 9, 30, true},
		{3, 10, 30, false}, {4, 10, 30, true}, {10, 10, 30, true}, {1, 10, 1, true},
		{10, 10, 100, false}, {5, 5, 100, false}, // max_change = "100%": whatever
		{10, 10, 0, false},
	} {
		if got := much(c.lost, c.of, c.most); got != c.want {
			t.Errorf("%d of %d, at most %d%%: %t", c.lost, c.of, c.most, got)
		}
	}
}

// listOf is a catalog's text: zones from..to, each at a label that ends so.
func listOf(from, to int, label string) string {
	var words []string
	for i := from; i < to; i++ {
		words = append(words, fmt.Sprintf("z%02d:l%02d%s", i, i, label))
	}
	return strings.Join(words, " ")
}

func zones(t *testing.T, from, to int) []name.Name {
	var all []name.Name
	for i := from; i < to; i++ {
		all = append(all, parse(t, fmt.Sprintf("z%02d", i)))
	}
	return all
}

// TestLossIsHeld: a catalog that empties, loses many or has all begin anew keeps
// them until somebody accepts it; what comes, comes at once.
func TestLossIsHeld(t *testing.T) {
	t.Parallel()
	at := func(s string) Place { return Place{parse(t, s), "v"} }
	for what, text := range map[string]string{
		"empty": "", "many": listOf(0, 13, ""), "anew": listOf(0, 20, "x"), "some of each": listOf(0, 13, "") + " z13:other z14:labels",
	} {
		w := newWorld(t)
		w.c.Most, w.most = 100, 30
		w.open()
		w.follow = []string{"cat"}
		w.text["cat"] = listOf(0, 20, "")
		w.turn(true, "v +"+names(zones(t, 0, 20))+" -")
		before := slices.Clone(w.r.Members("v"))
		w.text["cat"] = text + " new:n"
		for range 2 { // and it goes on so after a restart
			w.turn(true, map[bool][]string{true: {"v +new -"}}[len(w.r.Members("v")) == 20]...)
			if got := w.r.Members("v"); len(got) != 21 || !slices.Equal(got[1:], before) {
				t.Fatalf("%s: %v", what, got)
			}
			st := w.r.Standing()[0]
			if st.Members != 21 || !st.Known || len(st.Held) == 0 || len(st.Refused) != 0 || w.r.Counters.Held.Value() != 1 {
				t.Errorf("%s: %+v", what, st)
			}
			w.open()
		}
		if !strings.Contains(w.log.String(), "reason=loses-zones") {
			t.Errorf("%s: the log has\n%s", what, &w.log)
		}
		w.turn(true)

		// What it lost since nobody saw: that is not accepted with it.
		held := w.r.Standing()[0].Held
		w.text["cat"] = "new:n"
		if _, err := w.r.Accept(t.Context(), at("other")); !errors.Is(err, ErrNothingWaits) {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := w.r.Accept(t.Context(), at("cat")); err != nil || !slices.Equal(got, held) {
			t.Errorf("%s: accepted %v, %v", what, got, err)
		}
		if len(held) < 20 && len(w.r.Members("v")) != 21 {
			t.Errorf("%s: more went than was seen", what)
		}
		if len(held) < 20 {
			if got, err := w.r.Accept(t.Context(), at("cat")); err != nil || len(got) != 20 {
				t.Errorf("%s: accepted %v, %v", what, got, err)
			}
		}
		w.members("new:n=cat")
		w.turn(true)
		if _, err := w.r.Accept(t.Context(), at("cat")); !errors.Is(err, ErrNothingWaits) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestLossThatEnds: a catalog that is itself again needs nobody, and an order
// that cannot be carried out stays one.
func TestLossThatEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.c.Most, w.most = 100, 30
	w.open()
	w.follow = []string{"cat"}
	w.text["cat"] = listOf(0, 12, "")
	w.turn(true, "v +"+names(zones(t, 0, 12))+" -")
	w.text["cat"] = ""
	w.turn(true)
	w.text["cat"] = listOf(3, 12, "")
	w.turn(true, "v + -z00,z01,z02") // 3 of 12: that may be
	if st := w.r.Standing()[0]; len(st.Held) != 0 {
		t.Errorf("%+v", st)
	}
	w.text["cat"] = ""
	w.turn(true)
	w.failing = true
	if _, err := w.r.Accept(t.Context(), Place{parse(t, "cat"), "v"}); err == nil {
		t.Error("it could not be done")
	}
	w.failing = false
	w.turn(true, "v + -"+names(zones(t, 3, 12)))
	w.members()
	if n := w.r.Counters.Held.Value(); n != 2 {
		t.Errorf("held %d times", n)
	}
}
