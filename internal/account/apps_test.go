package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"postern/internal/mail/sasl"
)

func makeApp(t *testing.T, k *Keeper, login, name string) string {
	t.Helper()
	p, err := k.AddApp(t.Context(), login, name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAddAppRefuses(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "anna@example.test")
	makeApp(t, k, "anna@example.test", "phone")
	for name, c := range map[string]struct {
		login, app string
		want       error
	}{
		"no name":         {"anna@example.test", "", ErrAppName},
		"control":         {"anna@example.test", "a\nb", ErrAppName},
		"long name":       {"anna@example.test", strings.Repeat("x", 65), ErrAppName},
		"not UTF-8":       {"anna@example.test", "\xff", ErrAppName},
		"twice":           {"Anna@Example.test", "phone", ErrAppExists},
		"unknown account": {"bob@example.test", "phone", ErrNotFound},
		"no account":      {"bob", "phone", ErrBadLogin},
	} {
		if p, err := k.AddApp(t.Context(), c.login, c.app); !errors.Is(err, c.want) || p != "" {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for i := range maxApps - 1 {
		makeApp(t, k, "anna@example.test", fmt.Sprintf("app %d", i))
	}
	if _, err := k.AddApp(t.Context(), "anna@example.test", "one more"); !errors.Is(err, ErrAppMany) {
		t.Errorf("one more than %d: %v", maxApps, err)
	}
}

func TestAppPasswordInTheClear(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "anna@example.test")
	create(t, k, "bob@example.test")
	phone, laptop := makeApp(t, k, "anna@example.test", "phone"), makeApp(t, k, "anna@example.test", "laptop")
	if phone == laptop || !isApp(phone) {
		t.Fatalf("%q %q", phone, laptop)
	}
	for name, c := range map[string]struct{ login, password string }{
		"another account's": {"bob@example.test", phone},
		"unknown account":   {"carl@example.test", phone},
		"a letter changed":  {"anna@example.test", strings.Map(func(r rune) rune { return r ^ 1 }, phone[:1]) + phone[1:]},
		"in capitals":       {"anna@example.test", strings.ToUpper(phone)},
	} {
		if _, err := k.Verify(t.Context(), c.login, c.password, home); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range []string{phone, laptop} {
		if acc, err := k.Verify(t.Context(), "Anna@example.test", p, home); err != nil || acc.App == 0 {
			t.Errorf("%+v %v", acc, err)
		}
	}
	if acc, err := k.Verify(t.Context(), "anna@example.test", good, home); err != nil || acc.App != 0 {
		t.Errorf("the account's own: %+v %v", acc, err)
	}
}

// prove runs both sides of SCRAM, as far as the Keeper is concerned.
func prove(ctx context.Context, k *Keeper, login, password string) (Account, error) {
	p, err := k.Scram(ctx, login, home)
	if err != nil {
		return Account{}, err
	}
	given, err := sasl.Derive(password, p.Stored.Salt, p.Stored.Iterations)
	if err != nil {
		return Account{}, err
	}
	which := -1
	for i, key := range p.Stored.Keys {
		if key.Equal(given) {
			which = i
		}
	}
	return k.Prove(ctx, p, which, home)
}

func TestScram(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "anna@example.test")
	create(t, k, "off@example.test")
	if k.HasApps() {
		t.Error("an app password before there is one")
	}
	phone, off := makeApp(t, k, "anna@example.test", "phone"), makeApp(t, k, "off@example.test", "phone")
	if err := k.Disable(t.Context(), "off@example.test"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ login, password string }{
		"the account's own": {"anna@example.test", good},
		"another's":         {"anna@example.test", off},
		"disabled":          {"off@example.test", off},
		"unknown":           {"carl@example.test", phone},
		"no address":        {"anna", phone},
	} {
		if _, err := prove(t.Context(), k, c.login, c.password); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if acc, err := prove(t.Context(), k, "ANNA@example.test", phone); err != nil || acc.Login != "anna@example.test" || acc.App == 0 {
		t.Errorf("%+v %v", acc, err)
	}
	for range 10 {
		if _, err := prove(t.Context(), k, "bob@example.test", "x"); !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
	}
	if _, err := k.Scram(t.Context(), "bob@example.test", home); !errors.Is(err, ErrLocked) {
		t.Errorf("after ten failures: %v", err)
	}
}

// Nobody can tell from the first answer who has an account: its salt is there
// before the account is, stays while it comes and goes, and is another for each.
func TestScramTellsNobody(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	salt := func(k *Keeper, login string) []byte {
		p, err := k.Scram(t.Context(), login, home)
		if err != nil || p.Stored.Iterations != iterations || len(p.Stored.Salt) != saltLen {
			t.Fatalf("%s: %+v %v", login, p, err)
		}
		return p.Stored.Salt
	}
	before := salt(k, "anna@example.test")
	create(t, k, "anna@example.test")
	made := salt(k, "ANNA@example.test")
	makeApp(t, k, "anna@example.test", "phone")
	with := salt(k, "anna@example.test")
	if err := k.Remove(t.Context(), "anna@example.test"); err != nil {
		t.Fatal(err)
	}
	gone := salt(k, "anna@example.test")
	again, err := New(k.c) // a restart
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string][]byte{"made": made, "with an app password": with, "gone": gone, "after a restart": salt(again, "anna@example.test")} {
		if !bytes.Equal(s, before) {
			t.Errorf("%s: another salt", name)
		}
	}
	if bytes.Equal(before, salt(k, "bob@example.test")) || bytes.Equal(salt(k, "x"), salt(k, "y")) {
		t.Error("two logins share a salt")
	}
	other, _ := newKeeper(t, nil)
	if bytes.Equal(before, salt(other, "anna@example.test")) {
		t.Error("another server has the same salts")
	}
	if k.HasApps() {
		t.Error("the app password outlived its account")
	}
}

func TestRemovedAppEndsItsSessions(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	create(t, k, "anna@example.test")
	phone, laptop := makeApp(t, k, "anna@example.test", "phone"), makeApp(t, k, "anna@example.test", "laptop")
	var in [2]Account
	var err error
	for i, p := range []string{phone, laptop} {
		if in[i], err = prove(t.Context(), k, "anna@example.test", p); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.RemoveApp(t.Context(), "anna@example.test", "tablet"); !errors.Is(err, ErrAppUnknown) {
		t.Errorf("one that is not there: %v", err)
	}
	underWay, err := k.Scram(t.Context(), "anna@example.test", home)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.RemoveApp(t.Context(), "Anna@example.test", "phone"); err != nil {
		t.Fatal(err)
	}
	if err := k.Active(t.Context(), in[0]); !errors.Is(err, ErrSignedOut) {
		t.Errorf("its own session: %v", err)
	}
	if err := k.Active(t.Context(), in[1]); err != nil {
		t.Errorf("the other's: %v", err)
	}
	if _, err := k.Prove(t.Context(), underWay, 0, home); !errors.Is(err, ErrDenied) {
		t.Errorf("a login under way: %v", err)
	}
	apps, err := k.Apps(t.Context(), in[1])
	if err != nil || len(apps) != 1 || apps[0].Name != "laptop" || !apps[0].Used.Equal(cl.at.UTC()) {
		t.Errorf("%+v %v", apps, err)
	}
}
