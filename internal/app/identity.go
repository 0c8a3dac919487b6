package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"postern/config"
	"postern/internal/account"
	"postern/internal/argon"
	"postern/internal/certs"
	"postern/internal/store"
)

// buildCertificate opens what every TLS door shows. The demo's also vouches
// for loopback, so that clients there need no name.
func (a *App) buildCertificate(cfg *config.Checked) error {
	c := certs.Config{Dir: a.state.path("certs"), Hostname: hostname(cfg), Now: a.now, Log: a.log}
	if cfg.TLS.Issuer == "files" {
		c.CertFile, c.KeyFile = cfg.TLS.Cert, cfg.TLS.Key
	}
	for _, l := range cfg.Listen {
		for _, addr := range l.Addrs {
			if addr.Addr().IsLoopback() && !contains(c.Addrs, addr.Addr()) {
				c.Addrs = append(c.Addrs, addr.Addr())
			}
		}
	}
	var err error
	a.certs, err = certs.Open(c)
	return err
}

func contains[T comparable](list []T, x T) bool {
	for _, l := range list {
		if l == x {
			return true
		}
	}
	return false
}

// tlsConfig is what the doors show; the engine switches tickets off.
func (a *App) tlsConfig(cfg *config.Checked) *tls.Config {
	return a.certs.Server(leastTLS(cfg), false)
}

func leastTLS(cfg *config.Checked) uint16 {
	if cfg.TLS.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// accountRules reads the list of refused passwords, if there is one.
func accountRules(cfg *config.Checked) (account.Rules, error) {
	c := cfg.Accounts
	r := account.Rules{
		MinLength: c.MinLength, Reuse: c.Reuse, MaxAge: c.MaxAge, LockoutFailures: c.Lockout.Count, LockoutWindow: c.Lockout.Window,
	}
	if c.Blocklist == "" {
		return r, nil
	}
	var err error
	r.Blocklist, err = account.ReadBlocklist(c.Blocklist, c.MinLength)
	return r, err
}

// buildAccounts opens the database. A damaged one closes submission and
// nothing else: names are answered and mail from the world is taken.
func (a *App) buildAccounts(cfg *config.Checked) error {
	// Background: opening takes as long as it takes, before anything runs.
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: a.state.path("postern.db"), Now: a.now})
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrForeign) || errors.Is(err, store.ErrNewer) {
		a.log.Error("account database cannot be used; submission is closed", "reason", "accounts-unusable", "err", err,
			"hint", "put a copy back, or move it away and make the accounts again; then restart")
		return nil
	}
	if err != nil {
		return fmt.Errorf("account database: %w (hint: it must be a file in server.state that Postern's user owns)", err)
	}
	a.store = s
	rules, err := accountRules(cfg)
	if err != nil {
		return err
	}
	var aside func(argon.Ask) ([]byte, error)
	if len(a.opts.Hashing) > 0 {
		a.hashes = argon.New(argon.Config{Command: a.opts.Hashing, Log: a.log})
		aside = a.hashes.Key
	}
	a.accounts, err = account.New(account.Config{Store: s, Log: a.log, Now: a.now, Rules: rules, Aside: aside, Room: a.room.enter, Ended: a.signOut, Guessed: a.tellOfGuesses})
	if err == nil && a.opts.Config == "" {
		err = demoAccount(ctx, a.accounts)
	}
	return err
}
