package app

import (
	"errors"
	"slices"
	"time"

	"postern/config"
	"postern/internal/dns/authority"
	"postern/internal/dns/keyring"
	"postern/internal/dns/rollover"
	"postern/internal/dns/signer"
	"postern/internal/manage"
	"postern/internal/metrics"
)

// sign says in c which zones are signed, and how.
func (a *App) sign(c *authority.Config, cfg *config.Checked) {
	c.Keys, c.Signing = a.zoneKeys, map[string]*authority.SignPolicy{}
	c.DeriveDS, c.DeriveSignals = cfg.Derived.DS, cfg.Derived.Signals
	c.Parent, c.Secondaries = a.parentOf, a.seenSecondaries
	if a.opts.TestClock != "" {
		c.Up = func() time.Duration { return a.now().Sub(a.started) } // the only clock that there is
	}
	policies := map[string]*authority.SignPolicy{}
	for _, p := range cfg.Policies {
		policies[p.Name] = signPolicy(p)
	}
	c.Sign = policies[cfg.ZoneDefault.DNSSEC]
	for _, z := range cfg.Zones {
		policy := z.DNSSEC
		if policy == "" {
			policy = cfg.ZoneDefault.DNSSEC
		}
		switch {
		case z.Dynamic():
			c.Signing[z.Name] = withoutDigest(policies[policy], policy, cfg)
		case z.DNSSEC != "":
			c.Signing[z.Name] = policies[z.DNSSEC] // nil for "off"
		}
	}
	for _, v := range c.Views {
		for _, catalog := range v.Private {
			c.Signing[catalog] = nil // nobody looks at that
		}
	}
}

func signPolicy(p config.Policy) *authority.SignPolicy {
	algorithm, _ := keyring.ParseAlgorithm(p.Algorithm) // config takes no others
	s := &authority.SignPolicy{
		Name: p.Name, Model: signer.CSK, Algorithm: algorithm, Denial: signer.NSEC, OptOut: p.OptOut,
		ZONEMD: p.ZONEMD != "off", Validity: p.Validity, // auto: on; see withoutDigest
		Roll: authority.RollPolicy{KeyLifetime: p.KeyLifetime, ZoneKeyLifetime: p.ZoneKeyLifetime, Standby: p.Standby, CDS: p.CDS, NoParent: !p.CheckDS},
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

// keyAlarms counts what is wrong with the keys of zones, once for each zone.
func (a *App) keyAlarms() float64 {
	n := 0
	for _, k := range a.signedZones() {
		if n += len(k.Alarms); k.Failed != "" {
			n++
		}
	}
	return float64(n)
}

func (a *App) withoutDS() float64 {
	n := 0
	for _, k := range a.signedZones() {
		if len(k.DS) == 0 {
			n++
		}
	}
	return float64(n)
}

// keyGauges are what alert rules go by: zones by what is wrong with their keys
// and by what their parents have, and the roll that waits longest.
func (a *App) keyGauges() error {
	var errs []error
	count := func(is func(*authority.Keys) bool) func() float64 {
		return func() float64 {
			n := 0
			for _, k := range a.signedZones() {
				if is(k) {
					n++
				}
			}
			return float64(n)
		}
	}
	for _, word := range rollover.Reasons() {
		errs = append(errs, a.registry.Gauge("postern_dns_zones_key_alarm", "Zones with that alarm about their keys: see postern dnssec status.",
			count(func(k *authority.Keys) bool {
				return slices.ContainsFunc(k.Alarms, func(alarm rollover.Alarm) bool { return alarm.Reason == word })
			}), metrics.Labels{"reason": word}))
	}
	for _, word := range manage.ParentStates() {
		errs = append(errs, a.registry.Gauge("postern_dns_zones_parent", "Zones that are signed here, by what their parents were seen to have.",
			count(func(k *authority.Keys) bool { return manage.ParentOf(k) == word }), metrics.Labels{"state": word}))
	}
	return errors.Join(append(errs,
		a.registry.Gauge("postern_dns_zones_keys_failed", "Zones whose keys cannot be used, or a step of them not be written down.", count(func(k *authority.Keys) bool { return k.Failed != "" }), nil),
		a.registry.Gauge("postern_dns_zones_rolling", "Zones of which a key is on its way out.", count(func(k *authority.Keys) bool { return !k.Stepped.IsZero() }), nil),
		a.registry.Gauge("postern_dns_roll_stepped_seconds", "When the last step was taken of the roll that waits longest, in Unix seconds; 0 where none is under way.", a.rollStepped, nil))...)
}

// rollStepped is when the roll that waits longest took its last step.
func (a *App) rollStepped() float64 {
	first := time.Time{}
	for _, k := range a.signedZones() {
		if !k.Stepped.IsZero() && (first.IsZero() || k.Stepped.Before(first)) {
			first = k.Stepped
		}
	}
	if first.IsZero() {
		return 0
	}
	return float64(first.Unix())
}

// signedZones are the keys of zones that have some.
func (a *App) signedZones() map[string]*authority.Keys {
	all := map[string]*authority.Keys{}
	for _, z := range a.authority.Zones() {
		if z.Keys != nil {
			all[z.Zone] = z.Keys
		}
	}
	return all
}
