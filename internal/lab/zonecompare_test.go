package lab_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postern/internal/lab"
)

const compareConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]

	[dns]
	source = ["198.51.100.53"]

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"

	[key."move."]
	algorithm = "hmac-sha256"
	secret    = "file:secrets/move"

	[key."other."]
	algorithm = "hmac-sha256"
	secret    = "file:secrets/other"
`

// moved is what both sides have at first.
const moved = `
	@ MX 10 mail
	mail A 192.0.2.25
	mail AAAA 2001:db8::25
	www CNAME mail
	*.shop A 192.0.2.80
	*.shop MX 10 mail
	text TXT "one" "two"
	_sip._tcp SRV 1 2 5060 mail
	sub NS ns.sub
	sub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
	ns.sub A 192.0.2.99
	deep.er TXT x
`

type comparedZone struct {
	Equal       bool     `json:"equal"`
	Transfer    bool     `json:"transfer"`
	HereSerial  uint32   `json:"here_serial"`
	ThereSerial uint32   `json:"there_serial"`
	Here        []string `json:"here"`
	There       []string `json:"there"`
	TTLs        []struct{ Owner string }
	Open        []string `json:"unanswered"`
	ThereMade   struct {
		Records int
		Keys    []string
	} `json:"there_signing"`
}

// TestZoneCompare: a zone is held against the same zone on BIND, NSD and Knot,
// by transfer where our key is known there, else by questions.
func TestZoneCompare(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		f := &fleet{l: l, keys: map[string]lab.TSIG{}}
		f.key("move", "hmac-sha256")
		f.key("other", "hmac-sha256")
		files := map[string]string{}
		programs := []lab.Program{lab.BIND, lab.NSD, lab.Knot}
		for i, program := range programs {
			var zones []lab.PrimaryZone
			for _, kind := range []string{"same", "changed", "signed"} {
				zone := kind + "-" + string(program) + ".lab."
				text := moved
				if kind == "changed" {
					text = strings.Replace(text, "192.0.2.25", "192.0.2.26", 1)
					text = strings.Replace(text, "text TXT", "text 60 TXT", 1)
					text += "\tforgotten A 192.0.2.9\n\tmail TXT v\n"
				}
				signed := kind == "signed" && signs(program)
				zones = append(zones, lab.PrimaryZone{Name: zone, Key: f.keys["move"], Text: lab.ZoneFile(zone, primaryAddress(i), 7, text), Signed: signed})
				files["zones/"+zone+"zone"] = lab.ZoneFile(zone, primaryAddress(i), 1, moved)
			}
			l.Primary(lab.PrimaryConfig{Program: program, Address: primaryAddress(i), Secondary: alphaDNS, Zones: zones})
		}
		f.edge = l.Prepare(lab.PosternConfig{Config: compareConfig, Files: files})
		f.secrets()
		f.edge.Start()
		for i, program := range programs {
			l.Step(string(program), func() { f.compare(program, "@"+primaryAddress(i)) })
		}
		l.Step("what is no comparison", func() {
			same := "same-" + string(lab.BIND) + ".lab"
			run := func(code int, words string, args ...string) {
				l.T().Helper()
				f.edge.Run(append([]string{"zone", "compare"}, args...)...).Want(code, words)
			}
			run(1, "key-refused", same, "--against", "@"+primaryAddress(0), "--key", "other.")
			run(2, "no key nobody", same, "--against", "@"+primaryAddress(0), "--key", "nobody")
			run(1, "unreachable", same, "--against", "@"+primaryAddress(3)) // nobody is there
			run(0, "serial 1 here, 1 at", same, "--against", "@"+alphaDNS+":53")
		})
	})
}

func (f *fleet) compare(program lab.Program, server string) {
	f.l.T().Helper()
	ask := func(kind string, code int, args ...string) comparedZone {
		f.l.T().Helper()
		args = append([]string{"zone", "compare", kind + "-" + string(program) + ".lab", "--against", server, "--json"}, args...)
		out := f.edge.Run(args...).Want(code).Stdout
		var c comparedZone
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			f.l.T().Fatalf("%v: %s", err, out)
		}
		return c
	}
	check := func(what string, c comparedZone, transfer bool, here, there, ttls int) {
		f.l.T().Helper()
		if c.Equal != (here+there+ttls == 0) || c.Transfer != transfer || len(c.Here) != here || len(c.There) != there || len(c.TTLs) != ttls || len(c.Open) > 0 || c.HereSerial != 1 || c.ThereSerial < 7 {
			f.l.T().Errorf("%s: %+v", what, c)
		}
	}
	check("by transfer", ask("same", 0, "--key", "move."), true, 0, 0, 0)
	check("by questions", ask("same", 0), false, 0, 0, 0)
	c := ask("changed", 1, "--key", "move.")
	check("changed, by transfer", c, true, 1, 3, 1)
	if text := fmt.Sprint(c.There); !strings.Contains(text, "forgotten.") || !strings.Contains(text, "192.0.2.26") {
		f.l.T().Error(text)
	}
	check("changed, by questions", ask("changed", 1), false, 1, 2, 1)
	c = ask("signed", 0, "--key", "move.")
	check("signed", c, true, 0, 0, 0)
	if (c.ThereMade.Records > 0) != signs(program) || (len(c.ThereMade.Keys) > 0) != signs(program) {
		f.l.T().Errorf("signed: %+v", c.ThereMade)
	}
	check("signed, by questions", ask("signed", 0), false, 0, 0, 0)
	if signs(program) {
		all := ask("signed", 1, "--key", "move.", "--signed")
		if len(all.There) < 20 || len(all.Here) > 0 {
			f.l.T().Errorf("with signatures: %+v", all)
		}
		f.edge.Run("zone", "compare", "signed-"+string(program)+".lab", "--against", server, "--signed").Want(1, "--signed needs a transfer")
	}
	text := f.edge.Run("zone", "compare", "changed-"+string(program)+".lab", "--against", server).Want(1).Stdout
	for _, line := range []string{
		"serial 1 here, 7 at " + server[1:] + ":53, seen by", "  here  mail.", "  there mail.", "  TTL   text.", "no transfer (",
	} {
		if !strings.Contains(text, line) {
			f.l.T().Errorf("no %q in\n%s", line, text)
		}
	}
}
