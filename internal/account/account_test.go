package account

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/store"
)

const good = "correct horse battery"

var (
	home   = netip.MustParseAddr("192.0.2.1")
	nearby = netip.MustParseAddr("192.0.2.77") // the same /24
	afar   = netip.MustParseAddr("198.51.100.9")
)

// clock is moved by hand.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newKeeper(t *testing.T, edit func(*Config)) (*Keeper, *clock) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	cl := &clock{time.Unix(1_800_000_000, 0)}
	c := Config{Store: s, Log: slog.New(slog.DiscardHandler), Cost: Cost{Memory: 16, Passes: 1, Threads: 1}, Now: cl.now}
	if edit != nil {
		edit(&c)
	}
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return k, cl
}

func create(t *testing.T, k *Keeper, login string, senders ...string) Account {
	t.Helper()
	acc, err := k.Create(t.Context(), login, good, senders)
	if err != nil {
		t.Fatal(err)
	}
	return acc
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "anna@example.test")
	for name, c := range map[string]struct {
		login, password string
		senders         []string
		want            error
	}{
		"login is no address":        {"anna", good, nil, ErrBadLogin},
		"short by one":               {"b@example.test", "elevenchars", nil, ErrShort},
		"characters, not octets":     {"b@example.test", "ääääääääää", nil, ErrShort},
		"too long":                   {"b@example.test", strings.Repeat("x", maxPassword+1), nil, ErrLong},
		"not UTF-8":                  {"b@example.test", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil, errNoPassword},
		"bad sender":                 {"b@example.test", good, []string{"nobody"}, ErrBadSender},
		"bad sender domain":          {"b@example.test", good, []string{"@"}, ErrBadSender},
		"exists":                     {"anna@example.test", good, nil, ErrExists},
		"exists in other letters":    {"ANNA@Example.TEST", good, nil, ErrExists},
		"sender with a line end":     {"b@example.test", good, []string{"a\r\n@example.test"}, ErrBadSender},
		"login with a quoted at":     {`"a@b`, good, nil, ErrBadLogin},
		"sender with a second login": {"b@example.test", good, []string{"a@b.test,c@d.test"}, ErrBadSender},
	} {
		if _, err := k.Create(t.Context(), c.login, c.password, c.senders); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "Anna@Example.test")
	create(t, k, "off@example.test")
	if err := k.Disable(t.Context(), "off@example.test"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ login, password string }{
		"wrong password":         {"anna@example.test", "correct horse batterx"},
		"longer by a letter":     {"anna@example.test", good + "x"},
		"empty":                  {"anna@example.test", ""},
		"unknown":                {"nobody@example.test", good},
		"disabled":               {"off@example.test", good},
		"not an address":         {"anna", good},
		"beyond what is hashed":  {"anna@example.test", strings.Repeat("x", maxPassword+1)},
		"quoted, another person": {`"anna "@example.test`, good},
	} {
		if _, err := k.Verify(t.Context(), c.login, c.password, home); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", name, err)
		}
	}
	acc, err := k.Verify(t.Context(), "ANNA@example.TEST", good, home)
	if err != nil || acc.Login != "anna@example.test" || !slices.Equal(acc.Senders, []string{"anna@example.test"}) {
		t.Errorf("%+v, %v", acc, err)
	}
	if n := k.Counters.LoginFailed.Value(); n != 8 {
		t.Errorf("%d failures counted, want 8", n)
	}
}

func TestLiveSessionsEnd(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(ctx context.Context, k *Keeper) error{
		"disable":     func(ctx context.Context, k *Keeper) error { return k.Disable(ctx, "a@b.test") },
		"password":    func(ctx context.Context, k *Keeper) error { return k.Passwd(ctx, "A@b.test", "another long secret") },
		"remove":      func(ctx context.Context, k *Keeper) error { return k.Remove(ctx, "a@b.test") },
		"new senders": func(ctx context.Context, k *Keeper) error { return k.SetSenders(ctx, "a@b.test", []string{"@b.test"}) },
		"removed and made again": func(ctx context.Context, k *Keeper) error {
			_, err := k.Create(ctx, "a@b.test", good, nil)
			return errors.Join(err, k.Remove(ctx, "a@b.test"), func() error {
				_, err := k.Create(ctx, "a@b.test", good, nil)
				return err
			}())
		},
		"disabled and enabled again": func(ctx context.Context, k *Keeper) error {
			return errors.Join(k.Disable(ctx, "a@b.test"), k.Enable(ctx, "a@b.test"))
		},
	} {
		k, _ := newKeeper(t, nil)
		acc := create(t, k, "a@b.test")
		if err := k.Active(t.Context(), acc); err != nil {
			t.Errorf("%s: before: %v", name, err)
		}
		if err := change(t.Context(), k); err != nil && !errors.Is(err, ErrExists) {
			t.Fatal(err)
		}
		if err := k.Active(t.Context(), acc); !errors.Is(err, ErrSignedOut) {
			t.Errorf("%s: %v, want ErrSignedOut", name, err)
		}
	}
}

func TestChangesOfUnknownAccounts(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	ctx := t.Context()
	for name, err := range map[string]error{
		"passwd":  k.Passwd(ctx, "no@b.test", good),
		"disable": k.Disable(ctx, "no@b.test"),
		"enable":  k.Enable(ctx, "no@b.test"),
		"remove":  k.Remove(ctx, "no@b.test"),
		"senders": k.SetSenders(ctx, "no@b.test", nil),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	create(t, k, "a@b.test")
	if err := k.Passwd(ctx, "a@b.test", "short"); !errors.Is(err, ErrShort) {
		t.Errorf("a short new password: %v", err)
	}
	if err := k.Passwd(ctx, "a@b.test", "another long secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(ctx, "a@b.test", good, home); !errors.Is(err, ErrDenied) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := k.Verify(ctx, "a@b.test", "another long secret", home); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestListAndPermits(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "b@example.test")
	create(t, k, "a@example.test", "a@example.test", "@Lists.test", "A@example.test", "info@bücher.test", "Kelvin@example.test", "Ärzte@example.test")
	all, err := k.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Login != "a@example.test" || all[1].Login != "b@example.test" {
		t.Fatalf("%+v, %v", all, err)
	}
	if want := []string{"@lists.test", "a@example.test", "info@xn--bcher-kva.test", "kelvin@example.test", "ärzte@example.test"}; !slices.Equal(all[0].Senders, want) {
		t.Errorf("senders %q, want %q", all[0].Senders, want)
	}
	for in, want := range map[string]bool{
		"b@example.test": false, "a@sub.lists.test": false, "a@notlists.test": false, `"a@example.test"@evil.test`: false,
		"A@Example.test": true, "anyone@LISTS.test": true, "info@bücher.test": true, "INFO@BÜCHER.test": true,
		"\u0130nfo@bücher.test": false, "kelvin@example.test": true, "\u212Aelvin@example.test": false, "ÄRZTE@example.test": true,
	} {
		a, err := address.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := all[0].Permits(a); got != want {
			t.Errorf("Permits(%s) = %v", in, got)
		}
	}
	if all[0].Permits(address.Address{}) {
		t.Error("the null sender belongs to nobody")
	}
}

func TestLockout(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	create(t, k, "a@b.test")
	create(t, k, "other@b.test")
	try := func(login, password string, from netip.Addr) error {
		_, err := k.Verify(t.Context(), login, password, from)
		return err
	}
	for range 10 {
		if err := try("a@b.test", "wrong", home); !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
	}
	if err := try("A@B.test", good, home); !errors.Is(err, ErrLocked) {
		t.Errorf("after ten failures from there: %v", err)
	}
	if err := try("a@b.test", good, afar); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	if err := try("other@b.test", good, nearby); err != nil {
		t.Errorf("another login from the same network: %v", err)
	}
	cl.at = cl.at.Add(10 * time.Minute)
	if err := try("a@b.test", good, home); err != nil {
		t.Errorf("after the window: %v", err)
	}
	if k.Counters.LoginLocked.Value() != 1 {
		t.Errorf("%d locked", k.Counters.LoginLocked.Value())
	}
}

// Nobody can lock a user out of a network from which the user has logged in: not
// by guesses at the account from there or from everywhere, nor by guesses at
// others. It is known for 30 days, over restarts, and of this user alone.
func TestKnownNetworkIsNeverLocked(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, nil)
	for _, login := range []string{"a@b.test", "new@b.test"} {
		create(t, k, login)
	}
	right := func(k *Keeper, login string, from netip.Addr) error {
		_, err := k.Verify(t.Context(), login, good, from)
		return err
	}
	if err := right(k, "a@b.test", nearby); err != nil {
		t.Fatal(err)
	}
	guess := func(login string, from netip.Addr) {
		if _, err := k.Verify(t.Context(), login, "wrong", from); err == nil {
			t.Fatal("let in")
		}
	}
	for i := range 120 {
		guess("a@b.test", home)
		guess("a@b.test", netip.AddrFrom4([4]byte{10, byte(i), 0, 1}))
		guess("other"+string(rune('a'+i%26))+"@b.test", home)
	}
	again, err := New(k.c) // a restart forgets failures, but not this
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := again.Verify(t.Context(), "a@b.test", "wrong", home); !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
	}
	for name, k := range map[string]*Keeper{"as it runs": k, "after a restart": again} {
		if err := right(k, "a@b.test", home); err != nil {
			t.Errorf("%s, the user at home: %v", name, err)
		}
	}
	if err := right(k, "a@b.test", afar); !errors.Is(err, ErrLocked) {
		t.Errorf("the user from a new network: %v", err)
	}
	if err := right(k, "new@b.test", nearby); !errors.Is(err, ErrLocked) {
		t.Errorf("another user at home: %v", err)
	}
	cl.at = cl.at.Add(knownFor + time.Hour)
	for range 10 {
		guess("a@b.test", home)
	}
	if err := right(k, "a@b.test", home); !errors.Is(err, ErrLocked) {
		t.Errorf("a month later: %v", err)
	}
}

// An address that tries many logins is locked before its network is.
func TestLockoutOfAddress(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "a@b.test")
	for i := range hostFactor * 10 {
		if _, err := k.Verify(t.Context(), string(rune('a'+i))+"x@b.test", "wrong", home); !errors.Is(err, ErrDenied) {
			t.Fatal(i, err)
		}
	}
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); !errors.Is(err, ErrLocked) {
		t.Errorf("from the address: %v", err)
	}
	if _, err := k.Verify(t.Context(), "a@b.test", good, nearby); err != nil {
		t.Errorf("from beside it: %v", err)
	}
}

// TestGuessesAtOnceDoNotOutrunTheLockout has many guesses wait for the slot
// before the first of them has failed.
func TestGuessesAtOnceDoNotOutrunTheLockout(t *testing.T) {
	t.Parallel()
	const slots, guesses = 2, 40
	k, _ := newKeeper(t, func(c *Config) { c.HashSlots = slots })
	create(t, k, "a@b.test")
	for range slots { // nobody gets on until all wait
		if err := k.hash.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ends := make(chan error)
	for range guesses {
		go func() {
			_, err := k.Verify(t.Context(), "a@b.test", "wrong", home)
			ends <- err
		}()
	}
	for k.hash.waiting.Load() < guesses {
		runtime.Gosched()
	}
	for range slots {
		k.hash.leave()
	}
	tried := 0
	for range guesses {
		switch err := <-ends; {
		case errors.Is(err, ErrDenied):
			tried++
		case !errors.Is(err, ErrLocked):
			t.Error(err)
		}
	}
	if tried < 10 || tried > 10+slots-1 {
		t.Errorf("%d guesses were tried, want 10 or what else was in a slot", tried)
	}
}

// A network that tries many logins is locked as a whole, but not for a user who
// has logged in from there before.
func TestLockoutOfNetworkSparesKnownUsers(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "a@b.test")
	create(t, k, "new@b.test")
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); err != nil {
		t.Fatal(err)
	}
	for i := range networkFactor * 10 {
		login := string(rune('a'+i%26)) + "x" + string(rune('a'+i/26)) + "@b.test"
		from := netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i%3)}) // none of them is locked by itself
		if _, err := k.Verify(t.Context(), login, "wrong", from); !errors.Is(err, ErrDenied) {
			t.Fatal(i, err)
		}
	}
	if _, err := k.Verify(t.Context(), "new@b.test", good, home); !errors.Is(err, ErrLocked) {
		t.Errorf("a new user from a bad network: %v", err)
	}
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); err != nil {
		t.Errorf("a known user from there: %v", err)
	}
	if _, err := k.Verify(t.Context(), "new@b.test", good, afar); err != nil {
		t.Errorf("a new user from elsewhere: %v", err)
	}
}

func TestUnlock(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, func(c *Config) { c.LockoutFailures = 1 })
	create(t, k, "a@b.test")
	if _, err := k.Verify(t.Context(), "a@b.test", "wrong", home); !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	if err := k.Unlock("A@b.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); err != nil {
		t.Error(err)
	}
}

func TestLockoutIsBounded(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, func(c *Config) { c.LockoutTracked = 8 })
	for i := range 100 {
		k.locks.failed("x", netip.AddrFrom4([4]byte{10, byte(i), 0, 1}), cl.at)
	}
	if n := len(k.locks.fails); n > 8 {
		t.Errorf("%d entries", n)
	}
	if k.Counters.Forgotten.Value() == 0 {
		t.Error("the bound was not counted")
	}
}

func TestIPv6CountsByPrefix(t *testing.T) {
	t.Parallel()
	k, cl := newKeeper(t, func(c *Config) { c.LockoutFailures = 1 })
	k.locks.failed("x", netip.MustParseAddr("2001:db8::1"), cl.at)
	if !k.locks.locked("x", netip.MustParseAddr("2001:db8::ffff:2"), cl.at) {
		t.Error("one host may use all of its /64")
	}
	if k.locks.locked("x", netip.MustParseAddr("2001:db8:0:1::1"), cl.at) {
		t.Error("its neighbour is another host")
	}
}

func TestParsePHC(t *testing.T) {
	t.Parallel()
	const salt, key = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for name, s := range map[string]string{
		"empty":                "",
		"another algorithm":    "$argon2i$v=19$m=16,t=1,p=1$" + salt + "$" + key,
		"another version":      "$argon2id$v=16$m=16,t=1,p=1$" + salt + "$" + key,
		"zero passes":          "$argon2id$v=19$m=16,t=0,p=1$" + salt + "$" + key,
		"all the memory":       "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
		"too many threads":     "$argon2id$v=19$m=16,t=1,p=255$" + salt + "$" + key,
		"costs in other order": "$argon2id$v=19$t=1,m=16,p=1$" + salt + "$" + key,
		"no key":               "$argon2id$v=19$m=16,t=1,p=1$" + salt + "$",
		"short salt":           "$argon2id$v=19$m=16,t=1,p=1$AAAA$" + key,
		"bad base64":           "$argon2id$v=19$m=16,t=1,p=1$" + salt + "$!" + key,
		"more behind":          "$argon2id$v=19$m=16,t=1,p=1$" + salt + "$" + key + "$x",
	} {
		if p, err := parsePHC(s); !errors.Is(err, ErrBadHash) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	in := "$argon2id$v=19$m=16,t=1,p=1$" + salt + "$" + key
	if p, err := parsePHC(in); err != nil || p.String() != in {
		t.Errorf("%s reads back as %s, %v", in, p, err)
	}
}

// A flood of logins waits for a bounded time, behind a bounded queue.
func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, err := newHasher(Config{HashSlots: 1, HashQueue: 1, HashWait: time.Second, Rand: strings.NewReader(strings.Repeat("s", 64))})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() { waited <- h.enter(t.Context()) }()
		synctest.Wait()
		if err := h.enter(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("behind a full queue: %v", err)
		}
		began := time.Now()
		if err := <-waited; !errors.Is(err, ErrBusy) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		h.leave()
		if err := h.enter(t.Context()); err != nil {
			t.Errorf("once free again: %v", err)
		}
	})
}

func TestDamagedRowIsNotADenial(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "a@b.test")
	if _, err := k.db.Exec("UPDATE accounts SET hash = 'x'"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(t.Context(), "a@b.test", good, home); !errors.Is(err, ErrBadHash) || errors.Is(err, ErrDenied) {
		t.Error(err)
	}
}

// What is stored and what errors say must not hold the password.
func TestPasswordIsNowhere(t *testing.T) {
	t.Parallel()
	k, _ := newKeeper(t, nil)
	create(t, k, "a@b.test")
	_, hash, err := k.load(t.Context(), "a@b.test")
	if err != nil || strings.Contains(hash, good) || !strings.HasPrefix(hash, "$argon2id$v=19$m=16,t=1,p=1$") {
		t.Errorf("stored %q, %v", hash, err)
	}
	if _, err := k.Create(t.Context(), "c@b.test", "tiny secret", nil); err == nil || strings.Contains(err.Error(), "tiny secret") {
		t.Errorf("error %v", err)
	}
}
