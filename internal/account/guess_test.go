package account

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Guesses from a network of the user's own lock nobody out. They are counted, and
// told of once a day; so are those from elsewhere, as far as they are tried.
func TestGuessesAreToldOf(t *testing.T) {
	t.Parallel()
	var told []Guesses
	k, cl := newKeeper(t, func(c *Config) {
		c.LockoutFailures = 3
		c.Guessed = func(_ context.Context, acc Account, g Guesses) {
			if acc.Login != "a@b.test" {
				t.Errorf("%s was told", acc.Login)
			}
			told = append(told, g)
		}
	})
	create(t, k, "a@b.test")
	create(t, k, "off@b.test")
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); err != nil {
		t.Fatal(err)
	}
	if err := k.Disable(t.Context(), "off@b.test"); err != nil {
		t.Fatal(err)
	}
	cl.at = time.Date(2027, 1, 1, 6, 0, 0, 0, time.UTC)
	guess := func(login string, from netip.Addr, n int, want error) {
		t.Helper()
		for i := range n {
			if _, err := k.Verify(t.Context(), login, "a wrong guess", from); !errors.Is(err, want) {
				t.Fatalf("guess %d: %v, want %v", i, err, want)
			}
		}
	}
	guess("a@b.test", nearby, 29, ErrDenied)
	if n := k.Counters.LoginSpared.Value(); n != 27 || len(told) != 0 {
		t.Errorf("%d spared, want 27; told %v", n, told)
	}
	guess("a@b.test", nearby, 100, ErrDenied)
	if _, err := k.Verify(t.Context(), "a@b.test", good, nearby); err != nil {
		t.Errorf("the user among them: %v", err)
	}
	guess("a@b.test", nearby, 100, ErrDenied) // a login that worked in between washes nothing clean
	for i := range 10 {                       // a page that was written is not one that is forgotten
		cl.at = cl.at.Add(2 * time.Minute)
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(i, err)
		}
	}
	guess("a@b.test", nearby, 100, ErrDenied)
	if want := []Guesses{{30, nearby, true}}; !slices.Equal(told, want) || k.Counters.Guessed.Value() != 1 {
		t.Errorf("told %v, want %v", told, want)
	}
	cl.at = cl.at.AddDate(0, 0, 1)
	for i := range 20 { // three from each of many, as the lockout lets them
		from := netip.AddrFrom4([4]byte{203, 0, byte(i), 1})
		guess("a@b.test", from, 1, ErrDenied)
		guess("off@b.test", from, 1, ErrDenied)
	}
	cl.at = cl.at.Add(time.Hour)
	for i := range 20 {
		guess("a@b.test", netip.AddrFrom4([4]byte{203, 1, byte(i), 1}), 1, ErrDenied)
		guess("off@b.test", netip.AddrFrom4([4]byte{203, 1, byte(i), 1}), 1, ErrDenied)
	}
	if len(told) != 2 || told[1].Known || told[1].Failures != 30 {
		t.Errorf("told %v", told)
	}
}

// Whoever logs in from ever new networks makes those of others unknown to nobody:
// each login has its own room.
func TestKnownNetworksAreBoundedByLogin(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, func(c *Config) { c.LockoutTracked = 100 })
	k.locks.worked("a@b.test", home, cl.at)
	for i := range 5000 {
		cl.at = cl.at.Add(time.Second)
		k.locks.worked("mover@b.test", netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), cl.at)
	}
	if _, known := k.locks.standing("a@b.test", nearby, cl.at); !known || k.locks.places != 1+maxNetworks {
		t.Errorf("known %t, %d places", known, k.locks.places)
	}
	if _, known := k.locks.standing("mover@b.test", netip.MustParseAddr("10.19.135.9"), cl.at); !known {
		t.Error("the last network of the mover is not known")
	}
	if k.Counters.Forgotten.Value() != 0 {
		t.Error("what a login's own room threw out was counted as lost")
	}
	for i := range 300 {
		k.locks.worked(string(rune('a'+i%26))+string(rune('a'+i/26))+"@c.test", home, cl.at)
	}
	sum := 0
	for _, all := range k.locks.known {
		sum += len(all)
	}
	if sum != k.locks.places || sum > 100 || k.Counters.Forgotten.Value() == 0 {
		t.Errorf("%d networks, %d counted, %d lost", sum, k.locks.places, k.Counters.Forgotten.Value())
	}
	k.locks.forget("mover@b.test")
	sum = 0
	for _, all := range k.locks.known {
		sum += len(all)
	}
	if sum != k.locks.places {
		t.Errorf("%d networks, %d counted", sum, k.locks.places)
	}
}
