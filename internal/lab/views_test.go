package lab_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

const (
	outsideClient = "203.0.113.7"
	insideClient  = "10.9.9.9"
)

// TestViews: three client programs agree on what both views answer, and the
// outside never sees an internal name.
func TestViews(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := tree(l, "",
			lab.Zone{Name: "gamma.net", Server: lab.BIND, Text: "www A 203.0.113.80\nalias CNAME www.delta.net."},
			lab.Zone{Name: "delta.net", Server: lab.Knot, Text: "www A 203.0.113.81"},
		)
		edge := alphaPostern(l, in)
		// Each key it publishes raises the serial, which dig and drill would
		// then not agree upon.
		for _, algorithm := range []string{"rsa2048", "ed25519"} {
			edge.Log.Wait(0, "dkim key published", algorithm)
		}

		l.Step("the world", func() {
			wantReplies(l, alphaDNS, outsideClient, []want{
				{"alpha.lab NS", "NOERROR", "ns.alpha.lab."},
				{"alpha.lab MX", "NOERROR", "10 edge.alpha.lab."},
				{"www.alpha.lab A", "NOERROR", "198.51.100.80"},
				{"www.alpha.lab AAAA", "NOERROR", "2001:db8:a::80"},
				{"www.alpha.lab MX", "NOERROR", ""},
				{"alias.alpha.lab A", "NOERROR", "www.alpha.lab. 198.51.100.80"},
				{"outside.alpha.lab A", "NOERROR", "mx.beta.lab."},
				{"x.y.wild.alpha.lab TXT", "NOERROR", `"covered"`},
				{"b.ent.alpha.lab A", "NOERROR", ""},
				{"none.alpha.lab A", "NXDOMAIN", ""},
				{"public.alpha.lab A", "NOERROR", "198.51.100.81"},
				{"www.beta.lab A", "REFUSED", ""},
				{"corp.lab SOA", "REFUSED", ""},
				{". NS", "REFUSED", ""},
			})
			referral := l.Agreed(lab.Question{Server: alphaDNS, From: outsideClient, Name: "host.sub.alpha.lab"})
			if referral.Has("aa") || len(referral.Answer) != 0 || len(referral.Authority) != 1 || len(referral.Additional) != 1 {
				l.T().Errorf("referral: %s", referral)
			}
		})

		l.Step("the inner network", func() {
			wantReplies(l, alphaInDNS, insideClient, []want{
				{"www.alpha.lab A", "NOERROR", "10.0.0.80"},
				// The internal file has the owner, so it replaces all of it.
				{"www.alpha.lab AAAA", "NOERROR", ""},
				{"vault.alpha.lab TXT", "NOERROR", `"inside-only"`},
				{"_ldap._tcp.alpha.lab SRV", "NOERROR", "0 0 389 db.corp.alpha.lab."},
				{"edge.alpha.lab A", "NOERROR", "198.51.100.25"},
				{"public.alpha.lab A", "NXDOMAIN", ""},
				{"alpha.lab MX", "NOERROR", "10 edge.alpha.lab."},
				{"ledger.corp.lab A", "NOERROR", "10.66.6.8"},
				{"alias.alpha.lab A", "NOERROR", "www.alpha.lab. 10.0.0.80"},
			})
		})

		l.Step("the inner network resolves the world", func() {
			reply := l.Agreed(lab.Question{Server: alphaInDNS, From: insideClient, Name: "mx.beta.lab"})
			if values(reply.Answer) != betaMX || reply.Has("aa") || !reply.Has("ra") {
				l.T().Errorf("%s", reply)
			}
			reply = l.Agreed(lab.Question{Server: alphaInDNS, From: insideClient, Name: "alias.gamma.net"})
			if values(reply.Answer) != "www.delta.net. 203.0.113.81" {
				l.T().Errorf("%s", reply)
			}
			if reply := l.Agreed(lab.Question{Server: alphaInDNS, From: insideClient, Name: "none.beta.lab"}); reply.Rcode != "NXDOMAIN" {
				l.T().Errorf("%s", reply)
			}
		})

		l.Step("the tree leads to us", func() {
			reply := l.Agreed(lab.Question{Server: in.Resolver, Name: "outside.alpha.lab"})
			if got := values(reply.Answer); got != betaMX+" mx.beta.lab." {
				l.T().Errorf("%s", reply)
			}
		})

		l.Step("the outside never sees an internal name", func() {
			names := []string{
				"vault.alpha.lab.", "db.corp.alpha.lab.", "corp.alpha.lab.", "_ldap._tcp.alpha.lab.", "_tcp.alpha.lab.", "www.alpha.lab.",
				"ledger.corp.lab.", "corp.lab.", "alpha.lab.", "6.6.66.10.in-addr.arpa.",
			}
			for _, client := range []string{outsideClient, "192.0.2.53", alphaDNS} {
				for _, name := range names {
					for _, kind := range queryTypes() {
						seeNothingInside(l, client, name, kind)
					}
				}
			}
			// Somebody outside cannot reach the inner listener at all.
			if reply := l.Ask(lab.Dig, lab.Question{Server: alphaInDNS, From: outsideClient, Name: "vault.alpha.lab", Flags: []string{"+tries=1", "+time=1"}}); reply.Rcode != "" && reply.Rcode != "REFUSED" {
				l.T().Errorf("%s", reply.Output)
			}
		})

		l.Step("no transfers", func() {
			for _, name := range []string{"alpha.lab", "corp.lab"} {
				for _, kind := range []string{"AXFR", "IXFR=1"} {
					for _, server := range []struct{ address, from string }{{alphaDNS, outsideClient}, {alphaInDNS, insideClient}} {
						out := l.Exec("dig", "+tcp", "+tries=1", "+time=3", "-b", server.from, "@"+server.address, name, kind)
						if !out.Has("Transfer failed") && !out.Has("REFUSED") && !out.Has("NOTIMP") {
							l.T().Errorf("not refused:\n%s", out)
						}
						if out.Has("10.66.6.") {
							l.T().Errorf("transferred:\n%s", out)
						}
					}
				}
			}
		})

		l.Step("the outside may not recurse, nor learn what is cached", func() {
			for _, name := range []string{"mx.beta.lab", "never-asked.beta.lab"} {
				reply := l.Agreed(lab.Question{Server: alphaDNS, From: outsideClient, Name: name})
				if reply.Rcode != "REFUSED" || reply.Has("ra") {
					l.T().Errorf("%s: %s", name, reply)
				}
			}
		})
	})
}

// want is one question, "NAME TYPE", and the data of the answer's records.
type want struct{ question, rcode, answer string }

func wantReplies(l *lab.Lab, server, from string, wants []want) {
	l.T().Helper()
	for _, w := range wants {
		name, kind, _ := strings.Cut(w.question, " ")
		reply := l.Agreed(lab.Question{Server: server, From: from, Name: name, Type: kind})
		if reply.Rcode != w.rcode || values(reply.Answer) != w.answer {
			l.T().Errorf("%s at %s: want %s %q, got %s", w.question, server, w.rcode, w.answer, reply)
		}
		if authoritative := w.rcode != "REFUSED"; reply.Has("aa") != authoritative || reply.Has("ad") {
			l.T().Errorf("%s at %s: flags %v", w.question, server, reply.Flags)
		}
	}
}

// values joins the data of records.
func values(records []string) string {
	var data []string
	for _, record := range records {
		fields := strings.Fields(record)
		data = append(data, strings.Join(fields[min(4, len(fields)):], " "))
	}
	return strings.Join(data, " ")
}

// queryTypes is every type with a name, and some without.
func queryTypes() []uint16 {
	types := []uint16{0, 1234, 65280, 65535}
	for kind := range dns.TypeToString {
		types = append(types, kind)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// seeNothingInside asks one question and looks for internal data in the reply.
func seeNothingInside(l *lab.Lab, client, name string, kind uint16) {
	l.T().Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	var reply *dns.Msg
	l.Eventually(fmt.Sprintf("reply to %s type %d", name, kind), func() error {
		conn, err := lab.DialFrom(client, "udp", alphaDNS+":53")
		if err != nil {
			return err
		}
		defer conn.Close()
		asker := &dns.Client{Timeout: 2 * time.Second}
		reply, _, err = asker.ExchangeWithConn(m, &dns.Conn{Conn: conn})
		return err
	})
	reply.Question = nil // what was asked is no leak
	text := reply.String()
	for _, secret := range []string{"10.66.6.", "10.0.0.", "inside-only", "vault", "ledger", "db.corp", "corp.lab", "_ldap"} {
		if strings.Contains(text, secret) {
			l.T().Errorf("%s type %d shows %q to %s:\n%s", name, kind, secret, client, text)
		}
	}
}
