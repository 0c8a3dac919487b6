package keyring

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// ErrPolicy is a zone whose keys are not those that its policy asks for: only
// a roll leads from one to the other.
var ErrPolicy = errors.New("the keys of the zone are not those of its policy")

// Ensure returns the keys of a zone and makes them where it has none: one of
// each role, CSK alone or KSK and ZSK. What is there must be of these roles and
// of the algorithm; else it is ErrPolicy, and nothing is made.
//
// The key that the parent points at is made first. So a zone with a KSK alone
// is one whose first keys a crash cut short, and gets its ZSK; a zone without
// one has lost it, or an import was cut short, and gets no other: the DS would
// point at nothing.
func (r *Ring) Ensure(zone name.Name, alg uint8, now time.Time, roles ...Role) ([]dnssec.Key, error) {
	slices.Sort(roles) // KSK before ZSK
	missing, err := r.missing(zone, alg, roles)
	if err != nil {
		return nil, err
	}
	for _, role := range missing {
		if _, err := r.Generate(zone, role, alg, now); err != nil {
			return nil, err
		}
	}
	return r.Of(zone)
}

// missing are the roles of which a key must be made.
func (r *Ring) missing(zone name.Name, alg uint8, roles []Role) ([]Role, error) {
	if !slices.Equal(roles, []Role{CSK}) && !slices.Equal(roles, []Role{KSK, ZSK}) {
		return nil, fmt.Errorf("dnssec keys of %s: roles %v: want csk, or ksk and zsk", zone, roles)
	}
	h := r.state.Load()
	if err := h.problem(zone); err != nil {
		return nil, err
	}
	have := h.zones[zone]
	for _, e := range have {
		if e.Alg != alg || !slices.Contains(roles, e.Role) {
			return nil, fmt.Errorf("%w: %s has a %s of %s, the policy says %v of %s (hint: write the policy as the keys are)",
				ErrPolicy, zone, e.Role, AlgorithmName(e.Alg), roles, AlgorithmName(alg))
		}
	}
	var missing []Role
	for _, role := range roles {
		if !slices.ContainsFunc(have, func(e entry) bool { return e.Role == role }) {
			missing = append(missing, role)
		}
	}
	if len(have) > 0 && slices.Contains(missing, KSK) {
		return nil, fmt.Errorf("%w: %s has a zsk and no ksk (hint: import the keys again, or remove those that are left)", ErrPolicy, zone)
	}
	return missing, nil
}
