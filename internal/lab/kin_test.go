package lab_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// kinConfig serves two zones to one client, and nothing to others.
const kinConfig = `
	[server]
	hostname = "edge.corp.example"
	state    = "state"
	control  = "run/control.sock"

	[networks]
	inner = ["203.0.113.53/32"]

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]

	[[view]]
	name    = "inside"
	clients = ["inner"]
	zones   = "zones"

	[[view]]
	name    = "external"
	clients = ["any"]

	[zone_default]
	dnssec = "POLICY"

	[dnssec.hashed]
	keys   = "ksk+zsk"
	denial = "nsec3"
`

const innerUnbound = `server:
	do-daemonize: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: %[1]q
	use-syslog: no
	num-threads: 1
	interface: 203.0.113.53
	outgoing-interface: 203.0.113.53
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

// TestInternalTree: zones of an internal view, one below the other, validate in
// Unbound from the anchor of the upper one, once the DS of the lower one is
// derived into it; before that the lower one is provably insecure.
func TestInternalTree(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"standard", "hashed"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			lab.In(t, func(l *lab.Lab) {
				const soa = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 198.51.100.53\n"
				now := time.Now()
				edge := l.Prepare(lab.PosternConfig{
					Config: strings.Replace(kinConfig, "POLICY", policy, 1),
					Files: map[string]string{
						"zones/corp.example.zone":     soa + "sub NS ns.sub\nns.sub A 198.51.100.53\nbare NS ns.bare\nns.bare A 198.51.100.99\n",
						"zones/sub.corp.example.zone": soa + "www A 10.0.0.80\n*.wild TXT \"wild\"\n",
						"clock":                       fmt.Sprintf("%d\n", now.Unix()),
					},
					Args: []string{"--test-knobs", "--test-clock", "clock"},
				})
				edge.Start()
				dir := l.Path("inner")
				anchor := l.Write(dir+"/anchor", edge.Run("dnssec", "ds", "corp.example").Want(0).Stdout)
				start := func(name string) *lab.Process {
					conf := l.Write(dir+"/"+name+".conf", fmt.Sprintf(innerUnbound, dir, anchor))
					return l.Start(name, "unbound", "-d", "-p", "-c", conf)
				}
				ask := func(name string, rtype uint16) (*dns.Msg, error) {
					m := new(dns.Msg).SetQuestion(name, rtype)
					m.SetEdns0(1232, true)
					r, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, "203.0.113.53:53")
					return r, err
				}
				want := func(secure bool) {
					t.Helper()
					for _, q := range []struct {
						name  string
						rtype uint16
						rcode int
					}{
						{"www.sub.corp.example.", dns.TypeA, dns.RcodeSuccess}, {"any.wild.sub.corp.example.", dns.TypeTXT, dns.RcodeSuccess},
						{"none.sub.corp.example.", dns.TypeA, dns.RcodeNameError}, {"www.sub.corp.example.", dns.TypeMX, dns.RcodeSuccess},
					} {
						var r *dns.Msg
						l.Eventually("unbound about "+q.name, func() (err error) { r, err = ask(q.name, q.rtype); return err })
						if r.Rcode != q.rcode || r.AuthenticatedData != secure {
							t.Errorf("%s %s: %s, secure %t, want %t\n%v", q.name, dns.Type(q.rtype), dns.RcodeToString[r.Rcode], r.AuthenticatedData, secure, r)
						}
					}
				}
				l.Step("insecure before caches can have the key", func() {
					u := start("unbound1")
					want(false)
					u.Stop(20 * time.Second)
				})
				l.Step("secure from one anchor", func() {
					edge.Write("clock", fmt.Sprintf("%d\n", now.Add(20*time.Minute).Unix()))
					l.Eventually("the DS is derived", func() error {
						if out := edge.Run("zone", "export", "corp.example").Stdout; !strings.Contains(out, "; derived by Postern") || !strings.Contains(out, "; sub.corp.example. 300 IN DS ") {
							return fmt.Errorf("%s", out)
						}
						return nil
					})
					start("unbound2")
					want(true)
					edge.Run("dnssec", "status", "sub.corp.example").Want(0, " ds ")
					edge.Run("dnssec", "ds", "sub.corp.example").Want(0, "; the DS is derived into zone corp.example. view inside")
				})
			})
		})
	}
}
