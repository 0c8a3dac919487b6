package account

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/address"
)

func TestPeople(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	a, b := create(t, k, "a@b.test"), create(t, k, "b@b.test")
	carl := address.Address{Local: "Carl", Domain: "other.test"}
	knows := func(id int64, who address.Address) bool {
		t.Helper()
		known, err := k.Knows(t.Context(), id, who)
		if err != nil {
			t.Fatal(err)
		}
		return known
	}
	if knows(a.ID, carl) {
		t.Error("known before they met")
	}
	began := cl.at
	for range 2 {
		if err := k.Met(t.Context(), a.ID, []address.Address{carl}); err != nil {
			t.Fatal(err)
		}
		cl.at = cl.at.Add(time.Hour)
	}
	if !knows(a.ID, address.Address{Local: "carl", Domain: "Other.test"}) || knows(b.ID, carl) {
		t.Error("not known in other letters, or known to another account")
	}
	if n, err := k.MetSince(t.Context(), a.ID, began); n != 1 || err != nil {
		t.Errorf("%d met, %v", n, err)
	}
	if n, err := k.MetSince(t.Context(), a.ID, began.Add(time.Minute)); n != 0 || err != nil {
		t.Errorf("%d met later, %v", n, err)
	}
	var text string
	if err := k.db.QueryRow("SELECT group_concat(person) FROM account_people").Scan(&text); err != nil || strings.Contains(strings.ToLower(text), "carl") {
		t.Errorf("addresses lie open: %q %v", text, err)
	}
}

func TestPeopleAreBounded(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	acc := create(t, k, "a@b.test")
	crowd := func(from, to int) (all []address.Address) {
		for i := from; i < to; i++ {
			all = append(all, address.Address{Local: fmt.Sprintf("p%d", i), Domain: "other.test"})
		}
		return all
	}
	for _, all := range [][]address.Address{crowd(0, 10), crowd(10, maxPeople+5)} {
		if err := k.Met(t.Context(), acc.ID, all); err != nil {
			t.Fatal(err)
		}
		cl.at = cl.at.Add(time.Hour)
	}
	n, err := k.MetSince(t.Context(), acc.ID, time.Unix(0, 0))
	if err != nil || n != maxPeople {
		t.Errorf("%d people, %v", n, err)
	}
	if known, err := k.Knows(t.Context(), acc.ID, crowd(maxPeople, maxPeople+1)[0]); !known || err != nil {
		t.Errorf("one of the last is forgotten, %v", err)
	}
}
