package config

import (
	"fmt"
	"slices"
	"strings"
)

// standard is the name of the policy that is built in, off of the one that
// signs nothing.
const (
	standard = "standard"
	off      = "off"
)

// policies reads [dnssec.NAME].
func (b *builder) policies() {
	s := b.root.sub("dnssec")
	for _, name := range s.names() {
		t := s.sub(name)
		switch {
		case t.n == nil:
			continue
		case !isPlainName(name) || name == off:
			b.file.errorAt(t.at, fmt.Sprintf("bad policy name %q", name), `want letters, digits, - and _, and not "off"`)
			continue
		}
		b.checkPolicy(t)
		b.checked.Policies = append(b.checked.Policies, policyFrom(name, t))
	}
	if b.policy(standard) == nil {
		b.checked.Policies = append(b.checked.Policies, policyFrom(standard, table{l: s.l.sub(standard)}))
	}
	slices.SortFunc(b.checked.Policies, func(a, c Policy) int { return strings.Compare(a.Name, c.Name) })
}

func policyFrom(name string, t table) Policy {
	p := Policy{
		Name: name, Algorithm: t.text("algorithm"), Split: t.text("keys") == "ksk+zsk", NSEC3: t.text("denial") == "nsec3",
		OptOut: t.flag("opt_out"), Validity: t.duration("validity"), ZONEMD: t.text("zonemd"), Standby: t.flag("standby"), CDS: t.flag("cds"), CheckDS: t.flag("check_ds"),
		KeyLifetime: t.duration("csk_lifetime"),
	}
	if p.Split {
		p.KeyLifetime, p.ZoneKeyLifetime = t.duration("ksk_lifetime"), t.duration("zsk_lifetime")
	}
	return p
}

// checkPolicy looks at one policy alone.
func (b *builder) checkPolicy(t table) {
	if t.flag("opt_out") && t.text("denial") == "nsec" {
		b.file.errorAt(t.where("opt_out"), "opt_out needs nsec3", `set denial = "nsec3", or leave it out`)
	}
	for _, name := range otherModel(t) {
		if n := t.written(name); n != nil {
			b.file.errorAt(n.key, fmt.Sprintf("%s has no meaning for keys = %q", name, t.text("keys")), "leave it out")
		}
	}
}

// otherModel lists what is said of keys that the policy does not have.
func otherModel(t table) []string {
	if t.text("keys") == "ksk+zsk" {
		return []string{"csk_lifetime"}
	}
	return []string{"ksk_lifetime", "zsk_lifetime"}
}

func (b *builder) policy(name string) *Policy {
	for i := range b.checked.Policies {
		if b.checked.Policies[i].Name == name {
			return &b.checked.Policies[i]
		}
	}
	return nil
}

// policyOf reads which policy zones have; "" when it is not written.
func (b *builder) policyOf(t table) string {
	n := t.written("dnssec")
	if n == nil || n.text == off {
		return t.text("dnssec")
	}
	b.signing[n.text] = true
	if b.policy(n.text) == nil {
		if b.root.n.field("dnssec").field(n.text) == nil {
			var names []string
			for _, p := range b.checked.Policies {
				names = append(names, p.Name)
			}
			b.file.errorAt(n.at, fmt.Sprintf("there is no policy %q", n.text), meant(n.text, append(names, off), "add ["+dotted([]string{"dnssec", n.text})+"]"))
		}
		return ""
	}
	return n.text
}

// unusedPolicies warns of policies that sign nothing.
func (b *builder) unusedPolicies() {
	s := b.root.sub("dnssec")
	for _, name := range s.names() {
		if b.policy(name) != nil && !b.signing[name] {
			b.file.warnAt(s.sub(name).at, fmt.Sprintf("the policy %q signs no zone", name), "name it in dnssec")
		}
	}
}

// Policy returns what signs a zone, by its canonical name; nil where nothing
// does: then it is served as its file is, or off says that it must not be
// signed.
func (c *Checked) Policy(zone string) (p *Policy, isOff bool) {
	name := c.ZoneDefault.DNSSEC
	for _, z := range c.Zones {
		if z.Name == zone && z.DNSSEC != "" {
			name = z.DNSSEC
		}
	}
	for i := range c.Policies {
		if c.Policies[i].Name == name {
			return &c.Policies[i], false
		}
	}
	return nil, name == off
}

// signsStandard reports whether any zone has the built-in policy.
func (c *Checked) signsStandard() bool {
	return c.ZoneDefault.DNSSEC == standard || slices.ContainsFunc(c.Zones, func(z Zone) bool { return z.DNSSEC == standard })
}
