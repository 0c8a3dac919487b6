package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// TestExpiry: a zone of a Knot that goes is served for as long as its SOA says,
// over a restart, and then no more; when Knot is back, so is the zone. The clock
// is the test's, so nothing is signed.
func TestExpiry(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		const zone = "away.lab."
		key := lab.TSIG{Name: "unused.", Algorithm: "hmac-sha256", Secret: "c2VjcmV0IHNlY3JldCBzZWNyZXQ="}
		p := l.Primary(lab.PrimaryConfig{Program: lab.Knot, Address: primaryAddress(0), Secondary: alphaDNS, Open: true, Zones: []lab.PrimaryZone{
			{Name: zone, Key: key, Text: lab.ZoneFile(zone, alphaDNS, 9, "www A 203.0.113.9")},
		}})
		now := time.Now()
		edge := l.Prepare(lab.PosternConfig{
			Config: sourcesConfig +
				fmt.Sprintf("[peer.main]\naddress = [\"%s:53\"]\ninsecure_by_address = true\n[zone.\"away.lab\".view.external]\nprimaries = [\"main\"]\n", p.Address),
			Args: []string{"--test-knobs", "--test-clock", "clock"},
		})
		tell := func(later time.Duration) {
			now = now.Add(later)
			edge.Write("clock", fmt.Sprintf("%d\n", now.Unix()))
		}
		tell(0)
		edge.Start()
		await := func(want string) {
			l.T().Helper()
			l.Eventually("www is "+want, func() error {
				m := new(dns.Msg).SetQuestion("www."+zone, dns.TypeA)
				m.SetEdns0(1232, false)
				r, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, alphaDNS+":53")
				if err != nil {
					return err
				}
				got := dns.RcodeToString[r.Rcode]
				for _, rr := range r.Answer {
					got += " " + rr.(*dns.A).A.String()
				}
				for _, o := range r.IsEdns0().Option {
					if e, ok := o.(*dns.EDNS0_EDE); ok {
						got += fmt.Sprintf(" %d", e.InfoCode)
					}
				}
				if got != want {
					return fmt.Errorf("it is %s", got)
				}
				return nil
			})
		}
		l.Step("served while the primary is away", func() {
			await("NOERROR 203.0.113.9")
			p.Down()
			tell(23 * time.Hour) // of the 24 that the SOA's expire gives
			await("NOERROR 203.0.113.9")
			edge.Kill9()
			edge.Start()
			await("NOERROR 203.0.113.9")
		})
		l.Step("expired", func() {
			tell(time.Hour + time.Minute)
			await("SERVFAIL 24")
			edge.Run("status").Want(1, "expired (zone-expired)")
			edge.Kill9()
			edge.Start()
			await("SERVFAIL 24")
		})
		l.Step("back", func() {
			p.Up()
			l.Eventually("the primary is back", func() error { _, err := lab.Serial(p.Address, zone); return err })
			tell(2 * time.Hour)
			await("NOERROR 203.0.113.9")
		})
	})
}
