package app

import (
	"postern/config"
	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/update"
)

// dynamicOf says in c who may update what.
func dynamicOf(c *authority.Config, cfg *config.Checked) {
	c.Dynamic = map[string]map[string][]update.Rule{}
	for _, z := range cfg.Zones {
		for _, v := range z.Views {
			for _, r := range v.Dynamic {
				if c.Dynamic[z.Name] == nil {
					c.Dynamic[z.Name] = map[string][]update.Rule{}
				}
				c.Dynamic[z.Name][v.View] = append(c.Dynamic[z.Name][v.View], ruleOf(r))
			}
		}
	}
}

// ruleOf is a rule as the zones' owner takes it. What config let pass can be
// read.
func ruleOf(r config.DynamicRule) update.Rule {
	rule := update.Rule{}
	rule.Key, _ = name.Parse(r.Key)
	for _, text := range r.Names {
		if p, err := update.ParsePattern(text); err == nil {
			rule.Names = append(rule.Names, p)
		}
	}
	for _, word := range r.Types {
		if t, err := update.ParseType(word); err == nil {
			rule.Types = append(rule.Types, t)
		}
	}
	return rule
}

// withoutDigest is a policy for a zone that is updated: unless the admin wants
// it, no digest is made of all its records for each of them.
func withoutDigest(p *authority.SignPolicy, name string, cfg *config.Checked) *authority.SignPolicy {
	for _, written := range cfg.Policies {
		if p != nil && written.Name == name && written.ZONEMD == "auto" {
			own := *p
			own.ZONEMD = false
			return &own
		}
	}
	return p
}
