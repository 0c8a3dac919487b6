package account

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestGuessable(t *testing.T) {
	t.Parallel()
	for password, bad := range map[string]bool{
		"password1234": true, "Password2026!": true, "P@ssw0rd2026!": true, "passwordpassword": true, "Passwort12345": true,
		"qwertyuiop12": true, "1qaz2wsx3edc": true, "123456789012": true, "098765432109": true, "abcdefghijklm": true,
		"aaaaaaaaaaaa": true, "abababababab": true, "Summer2026!!": true, "welcome-hello": true, "iloveyou1234": true,
		"anna.schmidt1": true, "annaschmidt12": true, "Stadtwerke2026": true, "4nn4schm1dt99": true, "adminadmin123": true,
		"correct horse battery": false, "another long secret": false, "Tr0ub4dor&3xyz": false, "ein ganz langer Satz": false,
		"jx8Q-mmw2-zzK0": false, "пароль на каждый день": false, "letmein to the sea": false,
	} {
		err := guessable("anna.schmidt@stadtwerke.test", password)
		if errors.Is(err, ErrCommon) != bad {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	for reuse, want := range map[int][]bool{0: {true, true, true}, 1: {false, true, true}, 3: {false, false, false}} {
		k, _ := newKeeper(t, func(c *Config) { c.Reuse = reuse })
		create(t, k, "a@b.test")
		for i := range 2 {
			if err := k.Passwd(t.Context(), "a@b.test", fmt.Sprintf("a new long phrase %d", i)); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range []string{"a new long phrase 1", "a new long phrase 0", good} {
			if err := k.checkReuse(t.Context(), "a@b.test", p); (err == nil) != want[i] || err != nil && !errors.Is(err, ErrReused) {
				t.Errorf("reuse %d: %q, the %d. last: %v", reuse, p, i+1, err)
			}
		}
		var kept int
		if err := k.db.QueryRow("SELECT count(*) FROM old_passwords").Scan(&kept); err != nil || kept != min(2, max(0, reuse-1)) {
			t.Errorf("reuse %d: %d old hashes are kept, %v", reuse, kept, err)
		}
	}
	k, _ := newKeeper(t, func(c *Config) { c.Reuse = 2 })
	create(t, k, "a@b.test")
	if err := k.Passwd(t.Context(), "A@b.test", good); !errors.Is(err, ErrReused) {
		t.Errorf("the same again: %v", err)
	}
}

// A password of its own grows old, with warnings, and is refused then by a reason
// that only who knows it is told; an app password does not.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	const age = 70 * 24 * time.Hour
	k, cl := newKeeper(t, func(c *Config) { c.MaxAge = age })
	create(t, k, "a@b.test")
	create(t, k, "off@b.test")
	if err := k.Disable(t.Context(), "off@b.test"); err != nil {
		t.Fatal(err)
	}
	app := makeApp(t, k, "a@b.test", "phone")
	made := cl.at
	warnings := func() int {
		t.Helper()
		all, err := k.Warnings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			if w.Account.Login != "a@b.test" || !w.Ends.Equal(made.Add(age)) {
				t.Errorf("%+v", w)
			}
			if err := k.Warned(t.Context(), w); err != nil {
				t.Fatal(err)
			}
		}
		return len(all)
	}
	for _, step := range []struct {
		days     int
		warnings int
		own      error
	}{{0, 0, nil}, {59, 0, nil}, {61, 1, nil}, {62, 0, nil}, {69, 1, nil}, {71, 0, ErrExpired}, {77, 1, ErrExpired}} {
		cl.at = made.Add(time.Duration(step.days) * 24 * time.Hour)
		if n := warnings(); n != step.warnings {
			t.Errorf("day %d: %d warnings, want %d", step.days, n, step.warnings)
		}
		if _, err := k.Verify(t.Context(), "a@b.test", good, home); !errors.Is(err, step.own) {
			t.Errorf("day %d: its own: %v", step.days, err)
		}
		if _, err := k.Verify(t.Context(), "a@b.test", "not "+good, afar); !errors.Is(err, ErrDenied) {
			t.Errorf("day %d: a wrong one: %v", step.days, err)
		}
		if _, err := k.Verify(t.Context(), "a@b.test", app, home); err != nil {
			t.Errorf("day %d: of an app: %v", step.days, err)
		}
	}
	if err := k.Passwd(t.Context(), "a@b.test", "another long secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(t.Context(), "a@b.test", "another long secret", home); err != nil {
		t.Errorf("a new one: %v", err)
	}
	if n := warnings(); n != 0 {
		t.Errorf("%d warnings about a new one", n)
	}
}

func TestLoginsAreWrittenDown(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	acc := create(t, k, "a@b.test")
	began := cl.at
	look := func(k *Keeper) Logins {
		t.Helper()
		l, err := k.Logins(t.Context(), acc)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := look(k); !l.Last.IsZero() || l.Failures != 0 || len(l.Networks) != 0 {
		t.Errorf("before any: %+v", l)
	}
	for range 5 {
		if _, err := k.Verify(t.Context(), "a@b.test", "wrong", afar); !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
		cl.at = cl.at.Add(time.Second)
	}
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*Keeper{k, func() *Keeper {
		again, err := New(k.c)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}()} {
		l := look(k)
		if !l.Last.Equal(began.Add(5*time.Second)) || l.From != home.String() || l.Failures != 5 ||
			!l.LastFailed.Equal(began.Add(4*time.Second)) || l.FailedFrom != afar.String() {
			t.Errorf("%+v", l)
		}
		if len(l.Networks) != 1 || l.Networks[0].Prefix.String() != "192.0.2.0/24" {
			t.Errorf("networks %+v", l.Networks)
		}
	}
}

// A flood of guesses writes once a minute, and unknown logins write nothing.
func TestFloodWritesLittle(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, func(c *Config) { c.LockoutFailures = 1 << 20 })
	acc := create(t, k, "a@b.test")
	changes := func() (n int) {
		if err := k.db.QueryRow("SELECT failures FROM accounts WHERE id = ?", acc.ID).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 50 {
		for _, login := range []string{"a@b.test", "nobody@b.test"} {
			if _, err := k.Verify(t.Context(), login, "wrong", home); !errors.Is(err, ErrDenied) {
				t.Fatal(err)
			}
		}
	}
	if n := changes(); n != 1 {
		t.Errorf("%d failures were written at once, want the first", n)
	}
	cl.at = cl.at.Add(time.Minute)
	if _, err := k.Verify(t.Context(), "a@b.test", "wrong", home); !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	if n := changes(); n != 51 {
		t.Errorf("%d were written after a minute, want 51", n)
	}
	if n := len(k.diary.pages); n != 1 {
		t.Errorf("%d pages", n)
	}
}

func TestKnownNetworksAreBounded(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	acc := create(t, k, "a@b.test")
	for i := range maxNetworks + 5 {
		cl.at = cl.at.Add(time.Hour)
		if err := k.noteNetwork(t.Context(), acc.ID, network(addrOf(i)), cl.at); err != nil {
			t.Fatal(err)
		}
	}
	l, err := k.Logins(t.Context(), acc)
	if err != nil || len(l.Networks) != maxNetworks || l.Networks[0].Prefix != network(addrOf(maxNetworks+4)) {
		t.Errorf("%d networks, the newest %v, %v", len(l.Networks), l.Networks[0], err)
	}
}

func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i), 0, 1}) }
