package selector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// A key takes the place of another in these steps, each durable before the next:
//
//	made --> published --settle--> signs --linger--> the one before is withdrawn
//
// settle is for secondaries that do not have its record yet; nobody can have
// asked for it before, so there is no TTL to wait for. linger is for mail that
// was signed with the old one and is still on its way: 5 days in our queue, and
// as long in that of whoever forwards it.
const (
	settle = time.Hour
	linger = 14 * 24 * time.Hour
)

// Why keys are not rotated.
var (
	ErrForeign  = errors.New("is no domain of ours")
	ErrRotating = errors.New("new keys are waiting to sign already")
	ErrIdle     = errors.New("has no key that signs yet")
	errStopped  = errors.New("the DKIM keys are not looked after")
)

// order asks the goroutine to rotate.
type order struct {
	domain string
	done   chan error
}

// Rotate makes new keys for a domain, which sign in place of the present ones
// once they are known to the world.
func (r *Ring) Rotate(ctx context.Context, domain string) error {
	o := order{domain, make(chan error, 1)}
	select {
	case r.orders <- o:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errStopped, ctx.Err())
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errStopped, ctx.Err())
	}
}

func (r *Ring) rotate(ctx context.Context, domain string) error {
	if !slices.Contains(r.cfg.Domains, domain) {
		return fmt.Errorf("%s %w", domain, ErrForeign)
	}
	keys := *r.keys.Load()
	for _, a := range r.cfg.Algorithms {
		old, ok := signing(keys, domain, a)
		if !ok {
			return fmt.Errorf("%s %w (%s)", domain, ErrIdle, a)
		}
		if slices.ContainsFunc(keys, func(k key) bool { return k.same(old) && k.Began.IsZero() }) {
			return fmt.Errorf("%s: %w (%s)", domain, ErrRotating, a)
		}
	}
	var errs []error
	for _, a := range r.cfg.Algorithms {
		errs = append(errs, r.make(domain, a))
	}
	r.publish(ctx)
	r.turn(ctx)
	return errors.Join(errs...)
}

// same reports whether two keys are of one kind.
func (k key) same(other key) bool { return k.Domain == other.Domain && k.Algorithm == other.Algorithm }

// turn has keys begin to sign, and withdraws those that others have replaced for
// long enough.
func (r *Ring) turn(ctx context.Context) {
	now := r.cfg.Now()
	keys := slices.Clone(*r.keys.Load())
	for i := range keys {
		k := &keys[i]
		if k.Published && k.known.IsZero() {
			k.known = now
		}
		if !k.Published || !k.Began.IsZero() {
			continue
		}
		if firstborn(keys, *k) {
			k.Began = k.Created
			continue
		}
		if now.Sub(k.known) < settle {
			continue
		}
		k.Began = now.UTC().Truncate(time.Second)
		if err := r.save(*k); err != nil {
			k.Began = time.Time{}
			r.cfg.Log.Error("dkim key does not sign yet: that cannot be written down", "reason", "dkim-key-write", "domain", k.Domain, "selector", k.Selector, "err", err)
			continue
		}
		r.Counters.Switched.Inc()
		r.cfg.Log.Info("dkim key signs", "domain", k.Domain, "selector", k.Selector, "algorithm", k.Algorithm)
	}
	keys = slices.DeleteFunc(keys, func(k key) bool {
		at := replaced(keys, k)
		return !at.IsZero() && now.Sub(at) >= linger && r.withdraw(ctx, k)
	})
	r.keys.Store(&keys)
}

// firstborn reports whether a key takes nobody's place: it is the first of its
// kind, or was that before the one that signs. Nothing is written down of it.
func firstborn(keys []key, k key) bool {
	first := true
	for _, o := range keys {
		if o.same(k) && !o.Began.IsZero() {
			if o.Created.After(k.Created) {
				return true
			}
			first = false
		}
	}
	return first
}

// replaced is when another key began to sign in this one's place; zero: none did.
func replaced(keys []key, k key) time.Time {
	var at time.Time
	for _, o := range keys {
		if o.same(k) && o.Began.After(k.Began) && !k.Began.IsZero() && (at.IsZero() || o.Began.Before(at)) {
			at = o.Began
		}
	}
	return at
}

// next is when something happens to a key.
func next(keys []key, k key) time.Time {
	at := replaced(keys, k)
	switch {
	case !at.IsZero():
		return at.Add(linger)
	case k.Began.IsZero() && k.Published && !k.known.IsZero():
		return k.known.Add(settle)
	}
	return time.Time{}
}

// withdraw takes the record of a key back, and then destroys the key.
func (r *Ring) withdraw(ctx context.Context, k key) bool {
	if r.cfg.Publisher != nil {
		ctx, cancel := context.WithTimeout(ctx, publishTime)
		defer cancel()
		r.busy.Store(true)
		err := r.cfg.Publisher.Withdraw(ctx, k.Owner(), publisherKey)
		r.busy.Store(false)
		if err != nil {
			r.cfg.Log.Warn("dkim key is not withdrawn yet", "domain", k.Domain, "selector", k.Selector, "err", err)
			return false
		}
	}
	if err := os.Remove(r.path(k.Status)); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.cfg.Log.Error("dkim key is withdrawn, and its file cannot be removed", "domain", k.Domain, "selector", k.Selector, "err", err)
		return false
	}
	r.Counters.Withdrawn.Inc()
	r.cfg.Log.Info("dkim key withdrawn", "domain", k.Domain, "selector", k.Selector, "algorithm", k.Algorithm)
	return true
}
