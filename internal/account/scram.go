package account

import (
	"context"
	"errors"
	"net/netip"

	"postern/internal/mail/sasl"
)

// Proof is a login by SCRAM under way.
type Proof struct {
	Stored sasl.Stored // what the client is told, and its proof held against

	name string
	apps []int64 // of each key
}

// Scram begins a login by SCRAM: only app passwords have the keys for it. A
// login that does not exist looks like one that does, to the end.
func (k *Keeper) Scram(ctx context.Context, login string, from netip.Addr) (*Proof, error) {
	name, err := Normalise(login)
	if err != nil {
		name = "" // its salt is that of the identity as it was given
	}
	p := &Proof{name: name, Stored: sasl.Stored{Salt: k.salt(name), Iterations: iterations}}
	if name == "" {
		p.Stored.Salt = k.salt("\x00" + login)
	}
	if k.locks.locked(name, from, k.c.Now()) {
		k.Counters.LoginLocked.Inc()
		return nil, ErrLocked
	}
	acc, _, err := k.load(ctx, name)
	if errors.Is(err, ErrNotFound) || err == nil && acc.Disabled {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.Stored.Keys, p.apps, err = k.keysOf(ctx, acc.ID)
	return p, err
}

// Prove ends a login by SCRAM: which is the key that was proven, -1 for none.
func (k *Keeper) Prove(ctx context.Context, p *Proof, which int, from netip.Addr) (Account, error) {
	now := k.c.Now()
	if k.locks.locked(p.name, from, now) { // asked again: many may have begun together
		k.Counters.LoginLocked.Inc()
		return Account{}, ErrLocked
	}
	acc, _, err := k.load(ctx, p.name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Account{}, err
	}
	if err == nil && which >= 0 && !acc.Disabled {
		acc.App = p.apps[which]
		if err = k.appThere(ctx, acc.App); err == nil {
			k.loggedIn(ctx, acc, from, now)
			return acc, nil
		}
		if !errors.Is(err, ErrSignedOut) {
			return Account{}, err
		}
	}
	return Account{}, k.denied(ctx, acc, p.name, from, now)
}
