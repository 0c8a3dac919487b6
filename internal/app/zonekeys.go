package app

import (
	"context"
	"errors"
	"fmt"

	"postern/internal/dns/authority"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver"
	"postern/internal/dns/resolver/validate"
	"postern/internal/dns/rollover"
)

// openZoneKeys opens the directory of the keys. A key file that cannot be used
// keeps its zone from being signed, and is told, but stops nothing else.
func (a *App) openZoneKeys() error {
	ring, err := keyring.Open(a.state.path("keys", "dnssec"))
	if err != nil {
		return fmt.Errorf("DNSSEC keys: %w", err)
	}
	for _, problem := range ring.Problems() {
		a.log.Error("a DNSSEC key cannot be used; its zone is served as it was signed last", "err", problem)
	}
	a.zoneKeys = ring
	return nil
}

// parentOf is what the resolver finds about a zone at its parent. Of a name that
// the world's root leads nobody to, with a DS, nobody need be asked: such a zone
// is signed at once also where there is no network. With another trust anchor
// there may be another root.
func (a *App) parentOf(ctx context.Context, zone name.Name) (authority.Parent, error) {
	if len(a.inForce().Resolver.TrustAnchors) == 0 && resolver.Nowhere(zone) {
		return authority.Parent{At: a.now(), Security: rollover.Insecure}, nil
	}
	return parentFrom(a.resolver.Delegation(ctx, zone))
}

// parentFrom words a delegation as the owner of zones wants it.
func parentFrom(d resolver.Delegation, err error) (authority.Parent, error) {
	p := authority.Parent{At: d.At}
	if errors.Is(err, resolver.ErrRootZone) {
		p.Security = rollover.Insecure // it has none anywhere
		return p, nil
	}
	if err != nil {
		return p, err
	}
	switch {
	case d.Reason == validate.NoAnchor || d.Reason == validate.NegativeAnchor:
		// We trust nobody who could tell; others may, and find a DS.
	case d.Security == validate.Bogus:
		p.Security = rollover.Bogus
	case d.Security == validate.Secure && len(d.DS) > 0:
		p.Security = rollover.Secure
	case d.Security != validate.Unknown: // proven to have no DS, or without a signed parent
		p.Security = rollover.Insecure
	}
	for _, ds := range d.DS {
		own := *ds
		own.Hdr.Ttl = d.TTL // as the parent gives it
		p.DS = append(p.DS, &own)
	}
	return p, nil
}

// seenSecondaries is how the notifier saw them last.
func (a *App) seenSecondaries() []authority.Secondary {
	var all []authority.Secondary
	for _, s := range a.notifier.Standing() {
		all = append(all, authority.Secondary{
			Zone: s.Zone, View: s.View, Name: s.Peer + " " + s.Address.String(), Serial: s.Serial, Answered: s.Seen,
		})
	}
	return all
}
