package lab_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// What others make of hard zones that Postern signs.

// signings are the ways to sign: both models of keys, each with both denials.
func signings() []string { return []string{"csk-nsec", "csk-nsec3", "pair-nsec", "pair-nsec3"} }

// signingPolicies are the policies of these names.
func signingPolicies() string {
	var b strings.Builder
	for _, how := range signings() {
		model, denial, _ := strings.Cut(how, "-")
		fmt.Fprintf(&b, "\n[dnssec.%s]\nkeys = %q\ndenial = %q\n", how, map[string]string{"csk": "csk", "pair": "ksk+zsk"}[model], denial)
	}
	return b.String()
}

// signedZone is the zone, below lab., that is signed in one of these ways.
func signedZone(prefix, how string) string { return prefix + how + ".lab." }

// underConfig serves zones below a signed tree to the world, and some of them
// otherwise to the inner network.
const underConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[networks]
	inner = ["10.0.0.0/8"]

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]
	views     = ["external"]
` + rollsInner + `
	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"

	[limits]
	exempt = ["192.0.2.0/24", "198.51.100.53", "203.0.113.0/24", "inner"]

	[resolver]
	root_hints   = "HINTS"
	trust_anchor = "ANCHOR"
`

// under is the configuration of zones below that tree, each signed in its way.
func under(tree *lab.SignedTree, zones map[string]string) string {
	config := strings.NewReplacer("HINTS", tree.Hints, "ANCHOR", tree.Anchor).Replace(underConfig) + signingPolicies()
	for zone, how := range zones {
		config += fmt.Sprintf("[zone.%q]\ndnssec = %q\n", strings.TrimSuffix(zone, "."), how)
	}
	return config
}

// hardInside is what the inner network has otherwise of a hard zone.
func hardInside(zone string) string {
	return "$ORIGIN " + zone + "\n$TTL 300\nwww.deep.b.ent A 10.66.6.1\nvault A 10.66.6.6\n*.InSide TXT inside-only\n"
}

// hardQuestions are those of a hard zone that are hard to answer, and to prove
// the answer of. Each can be asked of a cache once: see below.
func hardQuestions(zone string) []dns.Question {
	all := questions(zone, "mAiL.mIxEd A", "www A", "www.DEEP.b.ent A", "b.ent A", "x.y.z.empty TXT", "y.z.empty A", "empty TXT",
		"any.wild TXT", "a.b.any.wild MX", "any2.wild A", "*.wild TXT", "wild A", "a.*.wild A", "x.a.*.wild A", "a.*.wild MX", `star\* A`,
		"q.twice A", "*.twice A", "r.*.twice A", "old DNAME", "old TXT", "a.b.old TXT", "lost MX",
		"sub DS", "other DS", "far DS", "x.ns.empty A", "_svc._tcp SRV", "_tcp A", "raw TYPE65280", "none A", "nothing A", "a.zero A", "zero A", "late A",
		`dot\.in\.label TXT`, "dot.in.label TXT", `sp\032ace\@at\;semi TXT`, `\000\001\255\010 TXT`, `\000\001\255\011 TXT`, `back\\slash A`,
		`\"quoted\" A`, `\(paren\)\$ A`, "0 A", "-dash_under A", "own-none CNAME", "many AAAA")
	for _, rtype := range []uint16{dns.TypeMX, dns.TypeSOA, dns.TypeDNSKEY, dns.TypeHTTPS, dns.TypePTR} {
		all = append(all, dns.Question{Name: zone, Qtype: rtype, Qclass: dns.ClassINET})
	}
	return all
}

// wantHard wants a judge's verdict on all of these, and tells how many there were.
func wantHard(t *testing.T, who, want string, verdict func(name string, rtype uint16) string, asked []dns.Question) int {
	t.Helper()
	for _, q := range asked {
		if got := verdict(q.Name, q.Qtype); got != want {
			t.Errorf("%s %s is %s by %s, want %s", q.Name, dns.Type(q.Qtype), got, who, want)
		}
	}
	return len(asked)
}

// vouched wants a signed zone, as Postern has it in a view, to hold these
// records, and to be whole to the verifiers of BIND and Knot.
func vouched(l *lab.Lab, edge *lab.Postern, view, zone, how string, has []dns.RR) {
	l.T().Helper()
	text := edge.Run("zone", "export", zone, "--view", view, "--signed").Want(0).Stdout
	all := byOctets(l.T(), parsed(l.T(), text))
	kinds := map[uint16]int{}
	for _, rr := range all {
		kinds[rr.Header().Rrtype]++
	}
	denial := map[bool]uint16{false: dns.TypeNSEC, true: dns.TypeNSEC3}[strings.HasSuffix(how, "nsec3")]
	keys := map[bool]int{false: 1, true: 2}[strings.HasPrefix(how, "pair")]
	if kinds[denial] == 0 || kinds[dns.TypeDNSKEY] != keys || kinds[dns.TypeZONEMD] != 1 {
		l.T().Errorf("%s of view %s is not signed by policy %s: %d, %d, %d", zone, view, how, kinds[denial], kinds[dns.TypeDNSKEY], kinds[dns.TypeZONEMD])
	}
	for _, rr := range has {
		if all[wireOf(l.T(), rr)] == nil {
			l.T().Errorf("%s of view %s lacks %.200s", zone, view, rr)
		}
	}
	wellMade(l, zone, how, text)
}

// wellMade has BIND's and Knot's verifiers look at a zone.
func wellMade(l *lab.Lab, zone, how, text string) {
	l.T().Helper()
	file := l.Write(l.Path("vouched", zone+"zone"), text)
	data := map[bool]string{false: "-z", true: "-x"}[strings.HasPrefix(how, "pair")]
	l.Shell(filepath.Dir(file), fmt.Sprintf("dnssec-verify -q %s -o %s %[2]szone && kzonecheck -o %[2]s -d on %[2]szone", data, zone)).Want(0)
}

// besides are a hard zone's records without its SOA, which is made anew, as
// the inner network has them or as the world has them.
func besides(t *testing.T, hard *hardZone, view string) []dns.RR {
	t.Helper()
	all := slices.DeleteFunc(hard.records(t, 0), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
	if view == "external" {
		return all
	}
	own := parsed(t, hardInside(hard.origin))
	all = slices.DeleteFunc(all, func(rr dns.RR) bool {
		return slices.ContainsFunc(own, func(o dns.RR) bool { return strings.EqualFold(o.Header().Name, rr.Header().Name) })
	})
	return append(all, own...)
}
