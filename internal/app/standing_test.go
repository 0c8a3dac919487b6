package app

import (
	"testing"

	"postern/config"
)

// TestStandingOfPeersAndPolicies: a reload that changes one of them says what.
func TestStandingOfPeersAndPolicies(t *testing.T) {
	t.Parallel()
	text := `[peer.isp]
notify = ["198.51.100.53:53"]
transfer_from = ["198.51.100.0/24"]
insecure_by_address = true
[[view]]
name = "out"
clients = ["any"]
[zone_default]
dnssec = "hashed"
secondaries = ["isp"]
[zone."a.test"]
dnssec = "off"
[zone."a.test".view.out]
secondaries = []
[dnssec.hashed]
keys = "ksk+zsk"
denial = "nsec3"
validity = "30d"
`
	cfg, problems := config.Parse([]byte(text), "postern.toml", t.TempDir())
	if cfg == nil {
		t.Fatal(problems)
	}
	got := map[string]string{}
	standingPeers(got, cfg)
	standingPolicies(got, cfg)
	want := map[string]string{
		"peer isp":                               "notify [198.51.100.53:53], keys [], transfers by tcp from [198.51.100.0/24], source [], address []",
		"secondaries of all zones in view out":   "[isp]",
		"secondaries of zone a.test in view out": "[]",
		"policy hashed":                          "ecdsap256sha256, keys ksk+zsk, denial nsec3, opt-out false, validity 720h0m0s, zonemd auto, lifetimes manual and 2160h0m0s, standby false, cds true, check_ds true",
		"policy standard":                        "ecdsap256sha256, keys csk, denial nsec, opt-out false, validity auto, zonemd auto, lifetimes manual and manual, standby false, cds true, check_ds true",
		"dnssec of all zones":                    "hashed",
		"dnssec of zone a.test":                  "off",
	}
	for what, is := range want {
		if got[what] != is {
			t.Errorf("%s: %q, want %q", what, got[what], is)
		}
		delete(got, what)
	}
	if len(got) > 0 {
		t.Errorf("and %q", got)
	}
}
