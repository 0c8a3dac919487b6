package app

import (
	"fmt"
	"time"

	"postern/config"
	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
)

// zoneKeys are the keys that sign our zones, as policies ask for them.
type zoneKeys struct{ ring *keyring.Ring }

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

// Ensure is authority.Keyring's.
func (k zoneKeys) Ensure(zone name.Name, p authority.SignPolicy, now time.Time) ([]dnssec.Key, error) {
	if p.Model == signer.KSKZSK {
		return k.ring.Ensure(zone, p.Algorithm, now, keyring.KSK, keyring.ZSK)
	}
	return k.ring.Ensure(zone, p.Algorithm, now, keyring.CSK)
}

// sign says in c which zones are signed, and how.
func (a *App) sign(c *authority.Config, cfg *config.Checked) {
	c.Keys, c.Signing = zoneKeys{a.zoneKeys}, map[string]*authority.SignPolicy{}
	policies := map[string]*authority.SignPolicy{}
	for _, p := range cfg.Policies {
		policies[p.Name] = signPolicy(p)
	}
	c.Sign = policies[cfg.ZoneDefault.DNSSEC]
	for _, z := range cfg.Zones {
		if z.DNSSEC != "" {
			c.Signing[z.Name] = policies[z.DNSSEC] // nil for "off"
		}
	}
}

func signPolicy(p config.Policy) *authority.SignPolicy {
	algorithm, _ := keyring.ParseAlgorithm(p.Algorithm) // config takes no others
	s := &authority.SignPolicy{
		Name: p.Name, Model: signer.CSK, Algorithm: algorithm, Denial: signer.NSEC, OptOut: p.OptOut,
		ZONEMD: p.ZONEMD != "off", Validity: p.Validity, // auto: on, as long as there are no updates
	}
	if p.Split {
		s.Model = signer.KSKZSK
	}
	if p.NSEC3 {
		s.Denial = signer.NSEC3
	}
	return s
}

// signaturesExpire is when the first signature of our zones does, in Unix
// seconds.
func (a *App) signaturesExpire() float64 {
	first := time.Time{}
	for _, z := range a.authority.Zones() {
		if !z.Expires.IsZero() && (first.IsZero() || z.Expires.Before(first)) {
			first = z.Expires
		}
	}
	if first.IsZero() {
		return 0
	}
	return float64(first.Unix())
}
