package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
)

// Reason words of what an operator asks of keys and does not get.
const (
	ReasonUnsigned = "not-signed"     // no policy signs the zone
	ReasonUnder    = "roll-under-way" // of these keys
	ReasonNoKeys   = "no-such-key"
	ReasonKeys     = "keys-in-use"  // the zone has keys of its own
	ReasonDS       = "ds-at-parent" // the parent has a DS
	ReasonOther    = "other-policy" // the configuration says something else
)

// Roll is an order to replace keys.
type Roll struct {
	Zone        string
	Which       rollover.Which
	Algorithm   uint8 // to change to; 0: it stays
	Compromised bool  // the old keys go as soon as caches allow
	Who         string
}

// Roll begins to replace keys of a zone. What follows takes its time.
func (a *Authority) Roll(ctx context.Context, do Roll) error {
	n, err := name.Parse(do.Zone)
	if err != nil {
		return fmt.Errorf("zone %q: %w", do.Zone, err)
	}
	var failed error
	err = a.do(ctx, func() { failed = a.owner.roll(n, do) })
	return errors.Join(err, failed)
}

func (o *owner) roll(n name.Name, do Roll) error {
	p := o.plan.policyOf(n)
	r, err := o.rolled(n, p)
	if err != nil {
		return err
	}
	if do.Algorithm != 0 {
		if do.Algorithm != p.Algorithm {
			return &Declined{Reason: ReasonOther, Detail: fmt.Sprintf("policy %s has algorithm %s: change it there first", p.Name, keyring.AlgorithmName(p.Algorithm))}
		}
		if r.has(func(k rollover.Key) bool { return k.Alg == p.Algorithm && k.Set.On && k.Retire == rollover.Stays }) {
			return &Declined{Reason: ReasonNoKeys, Detail: "the keys are of that algorithm already"}
		}
		do.Which = rollover.All
	}
	state, err := r.state.Roll(p.roll(), do.Which, do.Compromised)
	switch {
	case errors.Is(err, rollover.ErrUnder):
		return &Declined{Reason: ReasonUnder, Detail: err.Error()}
	case errors.Is(err, rollover.ErrNothing):
		return &Declined{Reason: ReasonNoKeys, Detail: err.Error()}
	case err != nil:
		return &Declined{Reason: ReasonOther, Detail: err.Error()}
	}
	o.log.Info("dnssec keys are to be replaced", "zone", n, "by", do.Who)
	return o.decide(n, r, p, state)
}

// rolled returns the keys of a zone that a policy signs.
func (o *owner) rolled(n name.Name, p *SignPolicy) (*rolling, error) {
	if p == nil || !o.hasZone(n) {
		return nil, &Declined{Reason: ReasonUnsigned, Detail: fmt.Sprintf("no policy signs a zone %s here", n)}
	}
	r := o.rollingOf(n, p, nil, o.a.cfg.Now())
	if r.err != nil {
		return nil, fmt.Errorf("zone %s: %w", n, r.err)
	}
	return r, nil
}

// hasZone reports whether any view has the zone.
func (o *owner) hasZone(n name.Name) bool {
	for k := range o.served {
		if k.zone == n {
			return true
		}
	}
	return false
}

func (r *rolling) has(is func(rollover.Key) bool) bool {
	for _, k := range r.state.Keys {
		if is(k) {
			return true
		}
	}
	return false
}

// decide writes down what somebody decided, and takes the steps that follow.
func (o *owner) decide(n name.Name, r *rolling, p *SignPolicy, state rollover.State) error {
	if err := o.keepKeys(n, r, &state); err != nil {
		return fmt.Errorf("zone %s: %w", n, err)
	}
	r.state = state
	o.advance(n, r, p, nil, o.a.cfg.Now())
	o.build()
	return r.err
}

// Disable lets a zone go insecure: first the parent's DS, then, when nobody can
// have it any more, the signatures. With undo it is signed on, or again.
func (a *Authority) Disable(ctx context.Context, zone string, undo bool, who string) error {
	n, err := name.Parse(zone)
	if err != nil {
		return fmt.Errorf("zone %q: %w", zone, err)
	}
	var failed error
	err = a.do(ctx, func() {
		o := a.owner
		p := o.signed(n)
		r, err := o.rolled(n, p)
		if err != nil {
			failed = err
			return
		}
		state := r.state.Disable()
		if undo {
			state = r.state.Enable()
		}
		o.log.Info("dnssec is to be switched off", "zone", n, "undo", undo, "by", who)
		failed = o.decide(n, r, p, state)
	})
	return errors.Join(err, failed)
}

// Import is an order to take over keys that another server signs the zone with.
type Import struct {
	Zone string
	// Adopt: caches may know them, and the parent may point at them. Without it
	// they are as new.
	Adopt bool
	Who   string
	Take  func() ([]dnssec.Key, error) // puts them into the keyring
}

// Import has a zone signed with keys of another server.
func (a *Authority) Import(ctx context.Context, do Import) ([]dnssec.Key, error) {
	n, err := name.Parse(do.Zone)
	if err != nil {
		return nil, fmt.Errorf("zone %q: %w", do.Zone, err)
	}
	look, asked := Parent{}, a.cfg.Parent != nil
	if asked {
		look = a.lookAt(ctx, n)
	}
	var keys []dnssec.Key
	var failed error
	err = a.do(ctx, func() {
		if o := a.owner; asked {
			if own, ours := o.ownParent(n); ours {
				look = own
			}
		} else {
			look.Security = rollover.Insecure
		}
		keys, failed = a.owner.takeKeysOf(n, do, look)
	})
	return keys, errors.Join(err, failed)
}

func (o *owner) takeOver(n name.Name) *rolling {
	if o.rolls[n] == nil {
		o.rolls[n] = &rolling{}
	}
	return o.rolls[n]
}

// takeKeysOf puts keys of another server in the place of none.
func (o *owner) takeKeysOf(n name.Name, do Import, look Parent) ([]dnssec.Key, error) {
	r, p := o.takeOver(n), o.plan.policyOf(n)
	if err := o.takeKeys(n, r); err != nil {
		return nil, fmt.Errorf("zone %s: %w", n, err)
	}
	if err := r.mayTake(n, do, look); err != nil {
		return nil, err
	}
	old := r.keys
	keys, err := do.Take()
	if err != nil {
		return nil, err
	}
	for tag, k := range old { // made here, and never used
		if imported(k) {
			continue // of an import that was cut short
		}
		if err := o.plan.Keys.Remove(n, tag); err != nil {
			return nil, fmt.Errorf("zone %s: %w", n, err)
		}
	}
	r.look = look
	if err := o.takeKeys(n, r); err != nil {
		return nil, fmt.Errorf("zone %s: %w", n, err)
	}
	state := r.state
	for tag, k := range r.keys {
		if do.Adopt {
			state = state.Forget(tag).Adopt(rollKey(k))
		}
	}
	o.log.Info("dnssec keys are taken over", "zone", n, "keys", len(keys), "adopted", do.Adopt, "by", do.Who)
	if p != nil {
		return keys, o.decide(n, r, p, state)
	}
	if err := o.keepKeys(n, r, &state); err != nil {
		return nil, fmt.Errorf("zone %s: %w", n, err)
	}
	r.state = state // until a policy says that it is signed
	return keys, nil
}

// imported reports whether a key comes from another server.
func imported(k keyring.Held) bool {
	return slices.ContainsFunc(k.Fields, func(f keyring.Field) bool { return f.Name == keyring.FieldOrigin })
}

// mayTake reports why keys are not taken over.
func (r *rolling) mayTake(n name.Name, do Import, look Parent) error {
	if r.has(func(k rollover.Key) bool { return k.Set.On || k.Keys.On || k.Data.On || k.Want.On }) {
		return &Declined{Reason: ReasonKeys, Detail: fmt.Sprintf("zone %s is signed with keys that are here: dnssec roll replaces them", n)}
	}
	switch {
	case do.Adopt:
		return nil
	case len(look.DS) > 0:
		return &Declined{Reason: ReasonDS, Detail: fmt.Sprintf("the parent of %s has a DS: if it is of these keys, say --adopt", n)}
	case look.Security != rollover.Insecure:
		return &Declined{Reason: rollover.ReasonParentUnknown, Detail: fmt.Sprintf("whether the parent of %s has a DS cannot be learned: if another server signs the zone with these keys, say --adopt", n)}
	}
	return nil
}
