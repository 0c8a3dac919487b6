package app

import (
	"testing"

	"github.com/miekg/dns"

	"postern/config"
	"postern/internal/dns/name"
)

// TestUpdatedZonesHaveNoDigest: zonemd = "auto" is on, but off where updates
// are allowed; what is written holds. The rules reach the zones' owner as they
// are written.
func TestUpdatedZonesHaveNoDigest(t *testing.T) {
	t.Setenv("UPD_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	text := `
[server]
hostname = "edge.example.net"
state = "state"
[key."upd."]
secret = "env:UPD_KEY"
[[view]]
name = "external"
clients = ["any"]
[zone_default]
dnssec = "standard"
[dnssec.digest]
zonemd = "on"
[zone."auto.test".view.external]
dynamic = [{ key = "Upd", names = ["*.dyn.auto.test", "Auto.test."], types = ["a", "TYPE65280"] }]
[zone."on.test"]
dnssec = "digest"
[zone."on.test".view.external]
dynamic = [{ key = "upd.", names = ["on.test"], types = ["A"] }]
[zone."off.test"]
dnssec = "off"
[zone."off.test".view.external]
dynamic = [{ key = "upd.", names = ["off.test"], types = ["A"] }]
`
	cfg, problems := config.Parse([]byte(text), "postern.toml", t.TempDir())
	if cfg == nil {
		t.Fatal(problems)
	}
	a := &App{}
	c := a.zonesOf(cfg)
	if c.Sign == nil || !c.Sign.ZONEMD {
		t.Errorf("of all zones: %+v", c.Sign)
	}
	if p := c.Signing["auto.test"]; p == nil || p.ZONEMD || p.Name != "standard" {
		t.Errorf("auto: %+v", p)
	}
	if p := c.Signing["on.test"]; p == nil || !p.ZONEMD {
		t.Errorf("on: %+v", p)
	}
	if p, there := c.Signing["off.test"]; p != nil || !there {
		t.Errorf("off: %+v", p)
	}
	rules := c.Dynamic["auto.test"]["external"]
	key, _ := name.Parse("upd.")
	if len(rules) != 1 || rules[0].Key != key || len(rules[0].Names) != 2 || rules[0].Names[0].String() != "*.dyn.auto.test." || rules[0].Names[1].String() != "auto.test." ||
		len(rules[0].Types) != 2 || rules[0].Types[0] != dns.TypeA || rules[0].Types[1] != 65280 {
		t.Errorf("%+v", rules)
	}
}
