package config

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestPolicies is which policy signs a zone, and what it says.
func TestPolicies(t *testing.T) {
	t.Parallel()
	text := "[dnssec.hashed]\nalgorithm = \"ed25519\"\nkeys = \"ksk+zsk\"\ndenial = \"nsec3\"\nopt_out = true\nvalidity = \"30d\"\nzonemd = \"off\"\nzsk_lifetime = \"manual\"\n" +
		"[dnssec.rolled]\nkeys = \"ksk+zsk\"\nksk_lifetime = \"400d\"\ncds = false\nstandby = true\n[zone.\"rolled.test\"]\ndnssec = \"rolled\"\n" +
		"[dnssec.one]\ncsk_lifetime = \"365d\"\n[zone.\"one.test\"]\ndnssec = \"one\"\n" +
		"[zone_default]\ndnssec = \"standard\"\n[zone.\"Hashed.test.\"]\ndnssec = \"hashed\"\n[zone.\"off.test\"]\ndnssec = \"off\"\n[zone.\"file.test\"]\nfile = \"f\"\n"
	o := Options{}
	c, problems := o.Parse([]byte(text), "postern.toml", t.TempDir())
	if c == nil {
		t.Fatal(problems)
	}
	const day = 24 * time.Hour
	builtIn := Policy{Name: "standard", Algorithm: "ecdsap256sha256", ZONEMD: "auto", CDS: true, CheckDS: true}
	for zone, want := range map[string]Policy{
		"other.test": builtIn, "file.test": builtIn,
		"hashed.test": {Name: "hashed", Algorithm: "ed25519", Split: true, NSEC3: true, OptOut: true, Validity: 30 * day, ZONEMD: "off", CDS: true, CheckDS: true},
		"rolled.test": {Name: "rolled", Algorithm: "ecdsap256sha256", Split: true, ZONEMD: "auto", KeyLifetime: 400 * day, ZoneKeyLifetime: 90 * day, Standby: true, CheckDS: true},
		"one.test":    {Name: "one", Algorithm: "ecdsap256sha256", ZONEMD: "auto", KeyLifetime: 365 * day, CDS: true, CheckDS: true},
	} {
		if p, isOff := c.Policy(zone); p == nil || *p != want || isOff {
			t.Errorf("%s: %+v, %t", zone, p, isOff)
		}
	}
	if p, isOff := c.Policy("off.test"); p != nil || !isOff {
		t.Errorf("off: %+v, %t", p, isOff)
	}
	// What is built in is said, that the parent is told too.
	first := Effective(c)
	if !strings.Contains(string(first), "[dnssec.standard]\nalgorithm = \"ecdsap256sha256\"\n") || !strings.Contains(string(first), "\ncds = true\n") {
		t.Errorf("%s", first)
	}
	again, problems := o.Parse(first, "effective.toml", t.TempDir())
	if again == nil {
		t.Fatalf("%v\n%s", problems, first)
	}
	if second := Effective(again); !bytes.Equal(first, second) {
		t.Errorf("not the same:\n%s\n%s", first, second)
	}
}

// TestPolicyAsPromised: written out with the values that are promised for what is
// left out, a policy is the one that is built in, for either model of keys.
func TestPolicyAsPromised(t *testing.T) {
	t.Parallel()
	const rest = "algorithm = \"ecdsap256sha256\"\ndenial = \"nsec\"\nopt_out = false\nvalidity = \"auto\"\nzonemd = \"auto\"\ncds = true\n"
	for _, c := range [][2]string{
		{"", rest + "keys = \"csk\"\ncsk_lifetime = \"manual\"\n"},
		{"keys = \"ksk+zsk\"\n", rest + "keys = \"ksk+zsk\"\nksk_lifetime = \"manual\"\nzsk_lifetime = \"90d\"\n"},
	} {
		var got [2]Policy
		for i, text := range c {
			file, problems := Parse([]byte("[zone_default]\ndnssec = \"standard\"\n[dnssec.standard]\n"+text), "postern.toml", t.TempDir())
			if file == nil {
				t.Fatal(problems)
			}
			p, _ := file.Policy("a.test")
			got[i] = *p
		}
		if got[0] != got[1] {
			t.Errorf("left out: %+v, written: %+v", got[0], got[1])
		}
	}
}

// TestNoPolicy: where nothing is said zones are served as their files are, and
// no policy is shown.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	c, problems := Parse([]byte("[zone.\"a.test\"]\ndnssec = \"off\"\n"), "postern.toml", t.TempDir())
	if c == nil {
		t.Fatal(problems)
	}
	if p, isOff := c.Policy("b.test"); p != nil || isOff {
		t.Errorf("%+v, %t", p, isOff)
	}
	if _, isOff := c.Policy("a.test"); !isOff {
		t.Error("off is not off")
	}
	if strings.Contains(string(Effective(c)), "[dnssec") {
		t.Error("a policy of nobody is shown")
	}
}
