package account

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"postern/internal/argon"
	"postern/internal/metrics"
	"postern/internal/store"
)

// Rules are what is asked of passwords and of those who log in.
type Rules struct {
	MinLength       int           // of a password, in characters; 0: 12
	Reuse           int           // how many of the last passwords a new one must not be, the current one among them; 0: any
	MaxAge          time.Duration // of an account's own password; 0: any
	Blocklist       *Blocklist    // passwords that are refused; nil: none
	LockoutFailures int           // failures of a login from one host before it is locked there; 0: 10
	LockoutWindow   time.Duration // how long failures count; 0: 10m
}

func (r Rules) withDefaults() Rules {
	if r.MinLength == 0 {
		r.MinLength = 12
	}
	if r.LockoutFailures == 0 {
		r.LockoutFailures = 10
	}
	if r.LockoutWindow == 0 {
		r.LockoutWindow = 10 * time.Minute
	}
	return r
}

// Follow takes other rules. What has been counted stays, and is held against
// them; passwords that are set stay good, but for their age.
func (k *Keeper) Follow(r Rules) {
	r = r.withDefaults()
	k.rules.Store(&r)
	k.locks.follow(r.LockoutFailures, r.LockoutWindow)
}

// Rules returns those in force.
func (k *Keeper) Rules() Rules { return *k.rules.Load() }

// Config is what a Keeper needs. Zero values are the defaults named.
type Config struct {
	Store *store.Store // required
	Log   *slog.Logger // required

	Rules                        // at first; Follow takes others
	LockoutTracked int           // counts kept at once; 65536
	Cost           Cost          // of a hash
	HashSlots      int           // hashes at once; half the processors, at least 1
	HashWait       time.Duration // longest wait for a slot; 5s
	HashQueue      int           // logins waiting for a slot; 64
	// Aside makes a hash where it is in nobody's way. nil, or where it fails: it is
	// made here.
	Aside func(argon.Ask) ([]byte, error)
	// Room makes room for a hash that is made here while questions are answered,
	// until what it returns is called. nil: it goes beside all else.
	Room func() (leave func())
	// Ended is told of an account some of whose sessions must end, once that is
	// on disk: Active says which. nil: they end when they next ask.
	Ended func(ctx context.Context, id int64)
	// Guessed is told, once a day and account, that logins fail often: as often as
	// locks a login anywhere. nil: only the log is.
	Guessed func(ctx context.Context, acc Account, g Guesses)
	Now     func() time.Time // time.Now
	Rand    io.Reader        // crypto/rand
}

// maxPassword bounds what is hashed, in octets.
const maxPassword = 1024

// Counters are what a Keeper counts.
type Counters struct {
	LoginOK     metrics.Counter
	LoginFailed metrics.Counter
	LoginLocked metrics.Counter // not tried, after too many failures
	LoginSpared metrics.Counter // failed beyond a limit that locks nobody, from where the login is known
	Guessed     metrics.Counter // accounts told of for the failures of a day
	LoginOld    metrics.Counter // the right password, and too old
	LoginBusy   metrics.Counter // no slot for hashing came free
	Forgotten   metrics.Counter // lockout entries thrown out by their bound
}

// Keeper reads and changes accounts. It is safe for concurrent use.
type Keeper struct {
	Counters Counters

	c     Config
	rules atomic.Pointer[Rules]
	db    *sql.DB
	hash  *hasher
	locks *lockout
	apps  apps
	diary diary
}

// New returns a Keeper over an open store.
func New(c Config) (*Keeper, error) {
	if c.Store == nil || c.Log == nil {
		return nil, errors.New("accounts: store and log are required")
	}
	c = c.withDefaults()
	h, err := newHasher(c)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	k := &Keeper{c: c, db: c.Store.DB(), hash: h}
	k.rules.Store(&c.Rules)
	k.locks = newLockout(c.LockoutFailures, c.LockoutWindow, c.LockoutTracked, &k.Counters.Forgotten)
	// Background: a few rows of a database that has just been opened.
	ctx := context.Background()
	if err := errors.Join(k.openApps(ctx), k.openNetworks(ctx)); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return k, nil
}

func (c Config) withDefaults() Config {
	orInt := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	c.Rules = c.Rules.withDefaults()
	orInt(&c.LockoutTracked, 1<<16)
	orInt(&c.HashSlots, max(1, runtime.GOMAXPROCS(0)/2))
	orInt(&c.HashQueue, 64)
	if c.HashWait == 0 {
		c.HashWait = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c
}

// Verify checks a login. ErrDenied, ErrLocked and ErrBusy are the client's
// affair; any other error is ours, and the client may try again later.
func (k *Keeper) Verify(ctx context.Context, login, password string, from netip.Addr) (Account, error) {
	now := k.c.Now()
	name, err := Normalise(login)
	if err != nil {
		name = "" // counted and hashed like any unknown login
	}
	if k.locks.locked(name, from, now) {
		k.Counters.LoginLocked.Inc()
		return Account{}, ErrLocked
	}
	acc, stored, err := k.load(ctx, name)
	known := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Account{}, err
	}
	p := k.hash.decoy
	if known {
		if p, err = parsePHC(stored); err != nil {
			return Account{}, fmt.Errorf("account %s: %w", name, err)
		}
	}
	if err := k.hash.enter(ctx); err != nil {
		if errors.Is(err, ErrBusy) {
			k.Counters.LoginBusy.Inc()
		}
		return Account{}, err
	}
	defer k.hash.leave()
	// Asked once more: guesses that came together all found the count low.
	if k.locks.locked(name, from, now) {
		k.Counters.LoginLocked.Inc()
		return Account{}, ErrLocked
	}
	right := k.hash.matches(p, bounded(password)) && len(password) <= maxPassword
	app, err := k.appOf(ctx, acc.ID, name, password)
	if err != nil {
		return Account{}, err
	}
	if !right && app == 0 || !known || acc.Disabled {
		return Account{}, k.denied(ctx, acc, name, from, now)
	}
	if app == 0 && k.expired(acc, now) {
		k.Counters.LoginOld.Inc()
		return Account{}, ErrExpired
	}
	acc.App = app
	k.loggedIn(ctx, acc, from, now)
	return acc, nil
}

// loggedIn writes down a login that worked. A disk that is full keeps nobody out.
func (k *Keeper) loggedIn(ctx context.Context, acc Account, from netip.Addr, now time.Time) {
	k.Counters.LoginOK.Inc()
	if err := errors.Join(k.usedApp(ctx, acc.App, now), k.noteLogin(ctx, acc, from, now)); err != nil {
		k.c.Log.Error("login is not written down", "account", acc.Login, "err", err)
	}
}

// Guesses is how logins of an account have failed today (UTC).
type Guesses struct {
	Failures int
	From     netip.Addr // the last
	Known    bool       // it comes from a network of the user's own, where nothing locks it out
}

// denied writes down a login that failed, and returns what is said about it. acc
// is zero for a login that there is not.
func (k *Keeper) denied(ctx context.Context, acc Account, name string, from netip.Addr, now time.Time) error {
	k.Counters.LoginFailed.Inc()
	if k.locks.failed(name, from, now) {
		k.c.Log.Warn("many failed logins", "account", name[:min(len(name), 320)], "client", from.String(), "reason", "guessing",
			"known_network", !k.locks.locked(name, from, now))
	}
	over, known := k.locks.standing(name, from, now)
	if over && known {
		k.Counters.LoginSpared.Inc()
	}
	if acc.ID != 0 {
		today, err := k.noteFailure(ctx, acc.ID, from, now)
		if err != nil {
			k.c.Log.Error("failed login is not written down", "account", name, "err", err)
		}
		if today == anywhereFactor*k.rules.Load().LockoutFailures && !acc.Disabled {
			k.guessed(ctx, acc, Guesses{today, from, known})
		}
	}
	return ErrDenied
}

// guessed tells of an account at which somebody guesses, or a program of its own
// that has an old password.
func (k *Keeper) guessed(ctx context.Context, acc Account, g Guesses) {
	k.Counters.Guessed.Inc()
	k.c.Log.Warn("many failed logins in a day", "account", acc.Login, "failures", g.Failures, "client", g.From.String(), "reason", "guessing", "known_network", g.Known)
	if k.c.Guessed != nil {
		k.c.Guessed(ctx, acc, g)
	}
}

func bounded(password string) string { return password[:min(len(password), maxPassword)] }

// Active returns nil while what Verify returned still holds: the account exists,
// is enabled and has the same password, and the app password used is still there.
func (k *Keeper) Active(ctx context.Context, acc Account) error {
	now, _, err := k.load(ctx, acc.Login)
	if errors.Is(err, ErrNotFound) || err == nil && (now.Disabled || now.ID != acc.ID || now.Generation != acc.Generation) {
		return ErrSignedOut
	}
	if err == nil && acc.App != 0 {
		return k.appThere(ctx, acc.App)
	}
	return err
}

// Unlock forgets the failed logins of an account.
func (k *Keeper) Unlock(login string) error {
	name, err := Normalise(login)
	if err == nil {
		k.locks.unlock(name)
	}
	return err
}
