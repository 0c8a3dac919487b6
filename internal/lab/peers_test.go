package lab_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/lab"
)

// TestNamespaceHasNoWayOut: documentation addresses work, all others do not.
func TestNamespaceHasNoWayOut(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		listener, err := net.Listen("tcp", "203.0.113.77:25")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		conn, err := net.DialTimeout("tcp", "203.0.113.77:25", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		for _, outside := range []string{"1.1.1.1:53", "172.16.0.1:53", "[2606:4700::1111]:53"} {
			_, err := net.DialTimeout("tcp", outside, time.Second)
			if !errors.Is(err, syscall.ENETUNREACH) {
				t.Errorf("dial %s: %v, want network is unreachable", outside, err)
			}
		}
		interfaces, err := net.Interfaces()
		if err != nil || len(interfaces) != 1 {
			t.Errorf("interfaces %v (%v), want lo alone", interfaces, err)
		}
	})
}

// TestTree: every program serves, and Unbound finds its way from the root.
func TestTree(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := l.Internet(
			lab.Zone{Name: "beta.lab", Text: `
				@    MX 10 mx
				mx   A 203.0.113.25
				mx   AAAA 2001:db8:113::25`},
			lab.Zone{Name: "gamma.net", Server: lab.BIND, Text: "www A 203.0.113.80"},
			lab.Zone{Name: "delta.net", Server: lab.Knot, Text: "www A 203.0.113.81"},
			lab.Zone{Name: "deep.beta.lab", Text: "www A 203.0.113.82"},
			lab.Zone{Name: "113.0.203.in-addr.arpa", Text: "25 PTR mx.beta.lab."},
			lab.Zone{Name: "lost.lab", At: "198.51.100.53"},
		)
		for _, q := range []struct{ name, kind, want string }{
			{"mx.beta.lab", "A", "IN A 203.0.113.25"},
			{"beta.lab", "MX", "IN MX 10 mx.beta.lab."},
			{"www.gamma.net", "A", "IN A 203.0.113.80"},
			{"www.delta.net", "A", "IN A 203.0.113.81"},
			{"www.deep.beta.lab", "A", "IN A 203.0.113.82"},
			{"25.113.0.203.in-addr.arpa", "PTR", "IN PTR mx.beta.lab."},
		} {
			reply := l.Agreed(lab.Question{Server: in.Resolver, Name: q.name, Type: q.kind})
			if len(reply.Answer) != 1 || !strings.HasSuffix(reply.Answer[0], q.want) {
				t.Errorf("%s %s: %s", q.name, q.kind, reply)
			}
		}

		l.Step("the root only refers", func() {
			reply := l.Agreed(lab.Question{Server: in.Address("."), Name: "mx.beta.lab"})
			if len(reply.Answer) != 0 || len(reply.Authority) != 1 || !strings.HasPrefix(reply.Authority[0], "lab. ") {
				l.T().Errorf("%s", reply)
			}
		})
		l.Step("the system's resolver is Unbound", func() {
			addrs, err := net.DefaultResolver.LookupHost(context.Background(), "mx.beta.lab.")
			if err != nil || len(addrs) != 2 {
				l.T().Errorf("%v (%v)", addrs, err)
			}
		})
		l.Step("a zone can change", func() {
			for _, name := range []string{"beta.lab", "gamma.net", "delta.net"} {
				in.Change(name, "www A 203.0.113.99")
				reply := l.Ask(lab.Dig, lab.Question{Server: in.Resolver, Name: "www." + name})
				if len(reply.Answer) != 1 || !strings.HasSuffix(reply.Answer[0], " 203.0.113.99") {
					l.T().Errorf("%s", reply.Output)
				}
			}
		})
		l.Step("a level can vanish", func() {
			in.Cut("gamma.net")
			reply := l.Ask(lab.Dig, lab.Question{Server: in.Address("gamma.net"), Name: "www.gamma.net", Flags: []string{"+tries=1", "+time=1"}})
			if reply.Rcode != "" {
				l.T().Errorf("%s", reply.Output)
			}
		})
	})
}

// TestPostfix: a mail of swaks at Alpha is relayed by Alpha's Postfix to the
// MX that the tree names; a bounce comes back.
func TestPostfix(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		l.Internet(
			lab.Zone{Name: "alpha.lab", Text: `
				@  MX 10 mx
				@  TXT "v=spf1 ip4:198.51.100.25 -all"
				mx A 198.51.100.25`},
			lab.Zone{Name: "beta.lab", Text: "@ MX 10 mx\nmx A 203.0.113.25"},
		)
		alpha := l.Postfix(lab.PostfixConfig{
			Host: "mx.alpha.lab", Address: "198.51.100.25", Domains: []string{"alpha.lab"}, Networks: []string{"198.51.100.9/32"},
		})
		beta := l.Postfix(lab.PostfixConfig{
			Host: "mx.beta.lab", Address: "203.0.113.25", Domains: []string{"beta.lab"},
			Settings: map[string]string{"smtpd_recipient_restrictions": "inline:{nobody@beta.lab=REJECT}, permit_mynetworks, reject_unauth_destination"},
		})
		l.Swaks("--server", alpha.Address, "--local-interface", "198.51.100.9", "--ehlo", "pc.alpha.lab", "--tls",
			"--from", "ann@alpha.lab", "--to", "bob@beta.lab", "--header", "Subject: over there").Want(0)
		m := beta.Receive("bob@beta.lab")
		if m.Header("Subject") != "over there" || !strings.Contains(m.Headers("Received")[0], "[198.51.100.25]") {
			t.Errorf("received:\n%s", m.Raw)
		}
		if got := l.SPF("198.51.100.25", "ann@alpha.lab", "mx.alpha.lab"); got != "pass" {
			t.Errorf("SPF %s", got)
		}
		if got := l.DKIM(m); !strings.HasPrefix(got, "fail") {
			t.Errorf("DKIM of an unsigned mail: %s", got)
		}

		alpha.Send("ann@alpha.lab", "nobody@nowhere.lab", "From: ann@alpha.lab\nSubject: lost\n\nhello\n")
		if m := alpha.Receive("ann@alpha.lab"); m.Header("Return-Path") != "<>" || !strings.Contains(m.Raw, "nowhere.lab") {
			t.Errorf("bounce:\n%s", m.Raw)
		}
	})
}

// TestSink: what Postfix makes of a mail server that misbehaves.
func TestSink(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		faults := []struct {
			name    string
			address string
			at      lab.Stage
			do      lab.Fault
		}{
			{"good.lab", "203.0.113.100", "", ""},
			{"later.lab", "203.0.113.101", lab.AtRCPT, "451 4.7.1 come back later"},
			{"drop.lab", "203.0.113.102", lab.AtDot, lab.Drop},
			{"garbage.lab", "203.0.113.103", lab.AtEHLO, lab.Garbage},
			{"slow.lab", "203.0.113.104", lab.AtDATA, lab.Slow},
			{"hang.lab", "203.0.113.105", lab.AtConnect, lab.Hang},
			{"never.lab", "203.0.113.106", lab.AtMAIL, "550 5.7.1 not from you"},
		}
		zones := []lab.Zone{{Name: "alpha.lab", Text: "@ MX 10 mx\nmx A 198.51.100.25"}}
		sinks := map[string]*lab.Sink{}
		for _, f := range faults {
			zones = append(zones, lab.Zone{Name: f.name, Text: "@ MX 10 mx\nmx A " + f.address})
			times := 1
			if f.name == "hang.lab" {
				times = 0
			}
			sinks[f.name] = l.Sink(lab.SinkConfig{Name: "mx." + f.name, Address: f.address, At: f.at, Do: f.do, Times: times})
		}
		l.Internet(zones...)
		alpha := l.Postfix(lab.PostfixConfig{
			Host: "mx.alpha.lab", Address: "198.51.100.25", Domains: []string{"alpha.lab"},
			// A destination that failed once is not given up for minutes.
			Settings: map[string]string{"default_destination_concurrency_failed_cohort_limit": "0", "smtp_helo_timeout": "1s"},
		})
		for _, f := range faults {
			alpha.Send("ann@alpha.lab", "x@"+f.name, "From: ann@alpha.lab\nSubject: "+f.name+"\n\n.dot\n")
		}
		for _, name := range []string{"good.lab", "later.lab", "slow.lab"} {
			messages := sinks[name].Messages(1)
			if !strings.Contains(messages[0], "Subject: "+name+"\r\n") || !strings.HasSuffix(messages[0], "\r\n\r\n.dot\r\n") {
				t.Errorf("%s got %q", name, messages[0])
			}
		}
		// Dropped after the dot: it has to be sent again.
		sinks["drop.lab"].Messages(2)
		for _, name := range []string{"hang.lab", "garbage.lab"} {
			sinks[name].Wait("a session given up", func(all []lab.SinkSession) bool { return len(all) > 0 && all[0].Ended })
		}
		if m := alpha.Receive("ann@alpha.lab"); !strings.Contains(m.Raw, "550 5.7.1 not from you") {
			t.Errorf("bounce:\n%s", m.Raw)
		}
	})
}
