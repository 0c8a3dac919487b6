package lab_test

import (
	"maps"
	"strings"

	"postern/internal/lab"
)

// The world of the tests below: we are Alpha, behind a Postern; Beta is the
// other organisation, with Postfix.
const (
	alphaDNS   = "198.51.100.53" // Postern's, for the world
	alphaInDNS = "10.0.0.53"     // Postern's, for the inner network
	alphaMX    = "198.51.100.25" // Postern's, mx and submission
	alphaRelay = "10.0.0.25"     // Postern's third door
	alphaInner = "10.0.0.5"      // the inner mail server
	betaMX     = "203.0.113.25"
	stranger   = "203.0.113.66" // neither
	password   = "correct horse battery"
)

const alphaConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[networks]
	internal = ["10.0.0.0/8"]

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]
	views     = ["external"]

	[[listen]]
	serve     = "dns"
	address   = ["10.0.0.53:53"]
	transport = ["udp", "tcp"]
	clients   = ["internal"]

	[[listen]]
	serve   = "mx"
	address = ["198.51.100.25:25"]

	[[listen]]
	serve     = "submission"
	address   = ["198.51.100.25:465"]
	transport = ["tls"]

	[[listen]]
	serve     = "submission"
	address   = ["198.51.100.25:587"]
	transport = ["starttls"]

	[[listen]]
	serve   = "relay"
	address = ["10.0.0.25:25"]

	[[view]]
	name      = "internal"
	clients   = ["internal"]
	zones     = "zones/internal"
	overlay   = "external"
	hide      = ["public.alpha.lab"]
	recursion = true

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones/external"

	[resolver]
	root_hints = "root.hints"

	[mail]
	domains = ["alpha.lab"]

	[mail.route."alpha.lab"]
	next_hop   = ["smtp://10.0.0.5:25"]
	recipients = "any"

	[[mail.relay]]
	name    = "inner"
	clients = ["10.0.0.5/32"]
	senders = ["@alpha.lab", "<>"]

	[mail.outbound]
	mode   = "deliver"
	source = ["198.51.100.25"]

	# The leak matrix asks more in a second than a stranger may.
	[limits]
	exempt = ["203.0.113.7", "192.0.2.53", "198.51.100.53"]
`

// alphaExternal is Alpha's zone as the world sees it.
const alphaExternal = `$ORIGIN alpha.lab.
$TTL 300
@       SOA   ns hostmaster 1 3600 600 86400 60
@       NS    ns
@       MX    10 edge
@       TXT   "v=spf1 ip4:198.51.100.25 -all"
_dmarc  TXT   "v=DMARC1; p=reject; adkim=s; aspf=s"
ns      A     198.51.100.53
edge    A     198.51.100.25
edge    TXT   "v=spf1 a -all"
www     A     198.51.100.80
www     AAAA  2001:db8:a::80
public  A     198.51.100.81
alias   CNAME www
outside CNAME mx.beta.lab.
*.wild  TXT   "covered"
a.b.ent A     198.51.100.82
sub     NS    ns.sub
ns.sub  A     198.51.100.54
`

// alphaInternal is what differs on the inner network.
const alphaInternal = `$ORIGIN alpha.lab.
$TTL 300
www           A    10.0.0.80
vault         A    10.66.6.6
vault         TXT  "inside-only"
db.corp       A    10.66.6.7
_ldap._tcp    SRV  0 0 389 db.corp
`

// corpInternal is a zone that exists inside only.
const corpInternal = `$ORIGIN corp.lab.
$TTL 300
@      SOA ns hostmaster 1 3600 600 86400 60
@      NS  ns
ns     A   10.0.0.53
ledger A   10.66.6.8
`

// alphaPostern is Alpha's Postern in a tree.
func alphaPostern(l *lab.Lab, in *lab.Internet) *lab.Postern {
	l.T().Helper()
	return alphaPosternWith(l, in, nil)
}

// alphaPosternWith has other settings: pairs of what stands in the configuration
// and what stands there instead.
func alphaPosternWith(l *lab.Lab, in *lab.Internet, files map[string]string, instead ...string) *lab.Postern {
	l.T().Helper()
	all := map[string]string{
		"root.hints":                    in.HintsText(),
		"zones/external/alpha.lab.zone": alphaExternal,
		"zones/internal/alpha.lab.zone": alphaInternal,
		"zones/internal/corp.lab.zone":  corpInternal,
	}
	maps.Copy(all, files)
	return l.Postern(lab.PosternConfig{Config: alphaWith(l, instead...), Files: all})
}

// alphaWith is Alpha's configuration with other settings, in the same pairs.
func alphaWith(l *lab.Lab, instead ...string) string {
	l.T().Helper()
	config := alphaConfig
	for i := 0; i < len(instead); i += 2 {
		if !strings.Contains(config, instead[i]) {
			l.T().Fatalf("no %q in the configuration", instead[i])
		}
		config = strings.Replace(config, instead[i], instead[i+1], 1)
	}
	return config
}

// tree holds Beta's zone with further records, and refers to us for ours.
func tree(l *lab.Lab, betaRecords string, more ...lab.Zone) *lab.Internet {
	l.T().Helper()
	return l.Internet(append(more,
		lab.Zone{Name: "alpha.lab", At: alphaDNS},
		lab.Zone{Name: "beta.lab", Text: `
@      MX  10 mx
@      TXT "v=spf1 ip4:203.0.113.25 -all"
_dmarc TXT "v=DMARC1; p=reject"
mx     A   203.0.113.25
mx     TXT "v=spf1 a -all"
` + betaRecords},
	)...)
}

func betaPostfix(l *lab.Lab) *lab.Postfix {
	l.T().Helper()
	return l.Postfix(lab.PostfixConfig{Host: "mx.beta.lab", Address: betaMX, Domains: []string{"beta.lab"}})
}
