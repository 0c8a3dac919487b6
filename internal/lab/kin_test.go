package lab_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// kinConfig serves a zone to one client otherwise than to others, and one below it
// to that client alone.
const kinConfig = `
	[server]
	hostname = "edge.corp.example"
	state    = "state"
	control  = "run/control.sock"

	[networks]
	inner = ["203.0.113.53/32", "203.0.113.52/32"]

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]

	[[view]]
	name    = "inside"
	clients = ["inner"]
	zones   = "inside"
	overlay = "external"

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"

	[limits]
	exempt = ["203.0.113.0/24"]

	[zone_default]
	dnssec = "below"

	[zone."corp.example"]
	dnssec = "above"
`

const innerUnbound = `server:
	do-daemonize: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: %[1]q
	use-syslog: no
	num-threads: 1
	interface: %[3]s
	outgoing-interface: %[3]s
	do-ip6: no
	access-control: 0.0.0.0/0 allow
	module-config: "validator iterator"
	trust-anchor-file: %[2]q
	local-zone: "example." nodefault
stub-zone:
	name: "corp.example"
	stub-addr: 198.51.100.53
remote-control:
	control-enable: no
`

// kinTree is a hard zone that two views have, and another below it that one has.
type kinTree struct {
	l          *lab.Lab
	edge       *lab.Postern
	now        time.Time
	upper, low *hardZone
	how        string
	anchor     string
}

const (
	kinUpper = "corp.example."
	kinLow   = "under.corp.example."
	kinCuts  = "under NS ns.under\nns.under A 198.51.100.53\nbare NS ns.bare\nns.bare A 198.51.100.99\n"
)

// TestInternalTree: a hard zone of an internal view, below one that the world has
// otherwise, validates in Unbound from the anchor of the upper one, once its DS is
// derived there; before that it is provably insecure. By the same anchor it is
// proven to the world that nothing of it exists.
func TestInternalTree(t *testing.T) {
	t.Parallel()
	ways := []string{"csk-nsec", "pair-nsec3"}
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		ways = signings()
	}
	for _, how := range ways {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			lab.In(t, func(l *lab.Lab) {
				w := newKinTree(l, how)
				l.Step("insecure before caches can have the key", func() {
					u := w.unbound("early", "203.0.113.52")
					below := questions(kinLow, "mail.mixed A", "b.ent A", "any.wild TXT", "nothing A", "a.b.old TXT", "sub DS")
					wantHard(l.T(), "early", "insecure", w.verdict("203.0.113.52"), below)
					wantHard(l.T(), "early", "secure", w.verdict("203.0.113.52"), questions(kinUpper, "mail.mixed A", "vault A", "under DS", "bare DS"))
					u.Stop(20 * time.Second)
				})
				l.Step("secure from one anchor", w.secure)
				l.Step("and proven not to exist outside", func() {
					w.unbound("outer", "203.0.113.54")
					outside := append(w.questions(kinUpper), questions(kinUpper, "under DS", "under SOA", "www.under A", "vault A", "x.inside TXT")...)
					count := wantHard(l.T(), "outer", "secure", w.verdict("203.0.113.54"), outside)
					l.T().Logf("%d verdicts", count)
					if m, err := w.ask("203.0.113.54", "www.deep.b.ent."+kinLow, dns.TypeA); err != nil || m.Rcode != dns.RcodeNameError {
						l.T().Errorf("%v %v", m, err)
					}
				})
			})
		})
	}
}

func newKinTree(l *lab.Lab, how string) *kinTree {
	l.T().Helper()
	w := &kinTree{l: l, now: time.Now(), how: how}
	w.upper, w.low = newHardZone(l.T(), kinUpper, 1).short().brief(600), newHardZone(l.T(), kinLow, 2).short().brief(600)
	model, denial, _ := strings.Cut(how, "-")
	policy := fmt.Sprintf("keys = %q\ndenial = %q\n", map[string]string{"csk": "csk", "pair": "ksk+zsk"}[model], denial)
	w.edge = l.Postern(lab.PosternConfig{
		Config: kinConfig + "[dnssec.below]\n" + policy + "[dnssec.above]\ncheck_ds = false\n" + policy,
		Files: map[string]string{
			"zones/corp.example.zone": w.upper.file(), "inside/corp.example.zone": hardInside(kinUpper) + kinCuts,
			"inside/under.corp.example.zone": w.low.file(), "clock": fmt.Sprintf("%d\n", w.now.Unix()),
		},
		Args: []string{"--test-knobs", "--test-clock", "clock"},
	})
	// Nobody can be asked whether the world has a DS of it; that is not waited for
	// for long.
	w.later(2 * time.Minute)
	l.Eventually("both are signed", func() error {
		if out := w.edge.Run("zone", "export", "under.corp.example", "--view", "inside", "--signed"); !out.Has("RRSIG") {
			return fmt.Errorf("%.200s", out)
		}
		return nil
	})
	w.anchor = l.Write(l.Path("inner", "anchor"), w.edge.Run("dnssec", "ds", "corp.example").Want(0).Stdout)
	return w
}

// later sets the clock, and has Postern look at it.
func (w *kinTree) later(by time.Duration) {
	w.l.T().Helper()
	w.edge.Write("clock.new", fmt.Sprintf("%d\n", w.now.Add(by).Unix()))
	if err := os.Rename(w.edge.Path("clock.new"), w.edge.Path("clock")); err != nil {
		w.l.T().Fatal(err)
	}
	w.edge.Reload()
}

// unbound starts one that asks Postern from this address.
func (w *kinTree) unbound(name, address string) *lab.Process {
	w.l.T().Helper()
	dir := w.l.Path("inner")
	conf := w.l.Write(dir+"/"+name+".conf", fmt.Sprintf(innerUnbound, dir, w.anchor, address))
	return w.l.Start(name, "unbound", "-d", "-p", "-c", conf)
}

func (w *kinTree) ask(resolver, name string, rtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(name, rtype)
	m.SetEdns0(4096, true)
	r, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, resolver+":53")
	return r, err
}

// verdict is what the one at an address makes of a question.
func (w *kinTree) verdict(resolver string) func(name string, rtype uint16) string {
	return func(name string, rtype uint16) string {
		w.l.T().Helper()
		var r *dns.Msg
		w.l.Eventually("unbound about "+name, func() (err error) { r, err = w.ask(resolver, name, rtype); return err })
		switch {
		case r.Rcode == dns.RcodeServerFailure:
			return "bogus"
		case r.AuthenticatedData:
			return "secure"
		}
		return "insecure"
	}
}

// questions are the hard ones that need nobody but Postern.
func (w *kinTree) questions(zone string) []dns.Question {
	return slices.DeleteFunc(hardQuestions(zone), func(q dns.Question) bool { return strings.HasPrefix(q.Name, "lost.") })
}

func (w *kinTree) secure() {
	w.later(22 * time.Minute)
	w.l.Eventually("the DS is derived", func() error {
		w.edge.Reload()
		if out := w.edge.Run("zone", "export", "corp.example", "--view", "inside").Stdout; !strings.Contains(out, "; derived by Postern") || !strings.Contains(out, "; under.corp.example. 300 IN DS ") {
			return fmt.Errorf("%.2000s", out)
		}
		return nil
	})
	w.unbound("inner", "203.0.113.53")
	count := wantHard(w.l.T(), "inner", "secure", w.verdict("203.0.113.53"), append(w.questions(kinUpper), w.questions(kinLow)...))
	count += wantHard(w.l.T(), "inner", "secure", w.verdict("203.0.113.53"), questions(kinUpper, "under DS", "bare DS", "vault A", "vault MX", "x.inside TXT", "x.inside A"))
	w.l.T().Logf("%d verdicts", count)
	w.edge.Run("dnssec", "status", "under.corp.example").Want(0, " ds ")
	w.edge.Run("dnssec", "ds", "under.corp.example").Want(0, "; the DS is derived into zone corp.example. view inside")
	for _, view := range []string{"external", "inside"} {
		vouched(w.l, w.edge, view, kinUpper, w.how, besides(w.l.T(), w.upper, view))
	}
	vouched(w.l, w.edge, "inside", kinLow, w.how, besides(w.l.T(), w.low, "external"))
}
