package lab_test

import (
	"fmt"
	"strings"
	"testing"

	"postern/internal/lab"
)

// TestMailBothWays is the life of mail between two organisations, without a
// mock: out through submission and through the relay door, in through port 25.
func TestMailBothWays(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		signer := l.Signer("beta.lab", "b1")
		in := tree(l, signer.Record)
		beta := betaPostfix(l)
		inner := l.Postfix(lab.PostfixConfig{
			Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"},
			Relayhost: "[" + alphaRelay + "]:25",
			Settings: map[string]string{
				"myorigin": "alpha.lab",
				// Gone is taken at RCPT and bounced afterwards.
				"transport_maps":                  "inline:{{gone@alpha.lab=error:5.1.6 moved away}}",
				"smtpd_reject_unlisted_recipient": "no",
			},
		})
		edge := alphaPostern(l, in)
		edge.AddUser("ann@alpha.lab", password)

		l.Step("submitted mail reaches Beta and is authentic there", func() {
			for _, door := range [][]string{{"--tlsc", "--port", "465"}, {"--tls", "--port", "587"}} {
				l.Swaks(append(door, submit("LOGIN", "hello from ann")...)...).Want(0)
				m := beta.Receive("bob@beta.lab")
				l.WantAuthentic(m, "alpha.lab", alphaMX, "edge.alpha.lab")
				wantHeaders(l, m, "Date", "Message-ID")
				if m.Header("Bcc") != "" {
					l.T().Errorf("Bcc went out:\n%s", m.Raw)
				}
				if received := m.Headers("Received")[0]; !strings.Contains(received, "["+alphaMX+"]") || !strings.Contains(received, "TLS") {
					l.T().Errorf("handed over without TLS, or from elsewhere: %s", received)
				}
				if strings.Contains(m.Raw, stranger) {
					l.T().Errorf("the submitter's address went out:\n%s", m.Raw)
				}
			}
			if got := l.DMARCPolicy("alpha.lab"); got != "reject" {
				l.T().Errorf("opendmarc reads our policy as %q", got)
			}
		})

		l.Step("a reply passes our checks and reaches the inner server", func() {
			beta.Send("bob@beta.lab", "ann@alpha.lab", signer.Sign(`
				From: Bob <bob@beta.lab>
				To: ann@alpha.lab
				Subject: Re: hello
				Date: Sat, 21 Nov 2026 12:00:00 +0000
				Message-ID: <reply@beta.lab>
				Authentication-Results: edge.alpha.lab; dkim=pass header.d=bank.lab

				Good to hear from you.
				`))
			m := inner.Receive("ann@alpha.lab")
			results := m.Headers("Authentication-Results")
			if len(results) != 1 {
				l.T().Fatalf("%d Authentication-Results, the forged one not stripped?\n%s", len(results), m.Raw)
			}
			for _, want := range []string{"edge.alpha.lab;", "spf=pass", "smtp.mailfrom=", "dkim=pass", "header.d=beta.lab", "dmarc=pass", "header.from=beta.lab"} {
				if !strings.Contains(results[0], want) {
					l.T().Errorf("no %s in %s", want, results[0])
				}
			}
			if strings.Contains(m.Raw, "bank.lab") {
				l.T().Errorf("forged results kept:\n%s", m.Raw)
			}
			if body := m.Body(); body != "Good to hear from you.\n" {
				l.T().Errorf("body %q", body)
			}
		})

		l.Step("a forged message is refused at DATA", func() {
			out := l.Swaks(deliver(stranger, "bob@beta.lab", "ann@alpha.lab", "mx.beta.lab")...)
			if out.Code == 0 || !out.Has("550 5.7.1 ") {
				l.T().Errorf("want 550 5.7.1:\n%s", out)
			}
			if !strings.Contains(out.Stdout, "-> DATA") {
				l.T().Errorf("refused before DATA:\n%s", out)
			}
			edge.Log.Wait(0, "dmarc", "beta.lab")
		})

		l.Step("port 25 does not relay", func() {
			out := l.Swaks(deliver(stranger, "x@other.lab", "bob@beta.lab", "mail.other.lab")...)
			if out.Code == 0 || !out.Has("<** 5") && !out.Has("<** 4") {
				l.T().Errorf("relayed:\n%s", out)
			}
		})

		l.Step("the inner server sends through the relay door", func() {
			inner.Send("ann@alpha.lab", "bob@beta.lab", `
				From: ann@alpha.lab
				To: bob@beta.lab
				Subject: from inside

				Written on the inner server.
				`)
			m := beta.Receive("bob@beta.lab")
			if m.Header("Subject") != "from inside" {
				l.T().Errorf("received:\n%s", m.Raw)
			}
			l.WantAuthentic(m, "alpha.lab", alphaMX, "edge.alpha.lab")
		})

		l.Step("the inner server's DSN goes out too", func() {
			beta.Send("bob@beta.lab", "gone@alpha.lab", "From: bob@beta.lab\nTo: gone@alpha.lab\nSubject: are you there\n\nHm.\n")
			m := beta.Receive("bob@beta.lab")
			if m.Header("Return-Path") != "<>" || !strings.Contains(m.Raw, "moved away") {
				l.T().Errorf("no DSN:\n%s", m.Raw)
			}
			if got := l.SPF(alphaMX, "", "edge.alpha.lab"); got != "pass" {
				l.T().Errorf("SPF of the EHLO name: %s", got)
			}
		})

		l.Step("the relay door is closed to others", func() {
			for _, c := range []struct{ client, from string }{
				{"10.0.0.99", "ann@alpha.lab"},      // another host
				{alphaInner, "mallory@other.lab"},   // another sender
				{stranger, "ann@alpha.lab"},         // the world
				{alphaInner, "ann@alpha.lab.other"}, // nearly our domain
			} {
				out := l.Swaks("--server", alphaRelay, "--local-interface", c.client, "--ehlo", "inner.alpha.lab",
					"--from", c.from, "--to", "bob@beta.lab", "--header", "Subject: closed")
				if out.Code == 0 {
					l.T().Errorf("%s from %s was taken:\n%s", c.from, c.client, out)
				}
			}
		})

		l.Step("submission asks who you are", func() {
			for name, args := range map[string][]string{
				"wrong password": {"--tlsc", "--port", "465", "--auth", "PLAIN", "--auth-user", "ann@alpha.lab", "--auth-password", "guess", "--from", "ann@alpha.lab"},
				"no login":       {"--tlsc", "--port", "465", "--from", "ann@alpha.lab"},
				"no TLS":         {"--port", "587", "--auth", "PLAIN", "--auth-user", "ann@alpha.lab", "--auth-password", password, "--from", "ann@alpha.lab"},
				"other sender":   {"--tlsc", "--port", "465", "--auth", "PLAIN", "--auth-user", "ann@alpha.lab", "--auth-password", password, "--from", "bob@alpha.lab"},
				"other From":     {"--tlsc", "--port", "465", "--auth", "PLAIN", "--auth-user", "ann@alpha.lab", "--auth-password", password, "--from", "ann@alpha.lab", "--header", "From: chief@alpha.lab"},
			} {
				out := l.Swaks(append(args, "--server", alphaMX, "--local-interface", stranger, "--ehlo", "pc", "--to", "bob@beta.lab")...)
				if out.Code == 0 {
					l.T().Errorf("%s: taken:\n%s", name, out)
				}
			}
		})

		l.Step("nothing more arrived than was meant to", func() {
			if left := edge.Run("queue", "list", "--json"); left.Code != 0 {
				l.T().Errorf("%s", left)
			}
			for _, m := range append(beta.All(), inner.All()...) {
				if subject := m.Header("Subject"); subject == "closed" || subject == "forged" {
					l.T().Errorf("arrived:\n%s", m.Raw)
				}
			}
		})
	})
}

// TestBrokenMailServers: what our queue makes of servers that misbehave. What
// fails for now is kept, what fails for good comes back to the sender.
func TestBrokenMailServers(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		faults := []lab.SinkConfig{
			{Name: "good.beta.lab"},
			{Name: "greet.beta.lab", At: lab.AtConnect, Do: "421 4.3.2 busy"},
			{Name: "drop.beta.lab", At: lab.AtDot, Do: lab.Drop},
			{Name: "garbage.beta.lab", At: lab.AtEHLO, Do: lab.Garbage},
			{Name: "endless.beta.lab", At: lab.AtEHLO, Do: lab.Endless},
			{Name: "slow.beta.lab", At: lab.AtMAIL, Do: lab.Slow},
			{Name: "later.beta.lab", At: lab.AtRCPT, Do: "451 4.7.1 come back later"},
			{Name: "never.beta.lab", At: lab.AtRCPT, Do: "550 5.1.1 nobody of that name"},
			{Name: "data.beta.lab", At: lab.AtDATA, Do: "554 5.6.0 no data from you"},
		}
		var records strings.Builder
		sinks := map[string]*lab.Sink{}
		for i, f := range faults {
			f.Address = fmt.Sprintf("203.0.113.%d", 100+i)
			label := strings.TrimSuffix(f.Name, ".beta.lab")
			fmt.Fprintf(&records, "%s A %s\n%s MX 10 %s\n", label, f.Address, label, label)
			sinks[label] = l.Sink(f)
		}
		in := tree(l, records.String())
		inner := l.Postfix(lab.PostfixConfig{Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"}})
		edge := alphaPostern(l, in)
		edge.AddUser("ann@alpha.lab", password)

		var to []string
		for label := range sinks {
			to = append(to, "x@"+label+".beta.lab")
		}
		l.Swaks("--server", alphaMX, "--port", "465", "--tlsc", "--local-interface", stranger, "--ehlo", "pc",
			"--auth", "PLAIN", "--auth-user", "ann@alpha.lab", "--auth-password", password,
			"--from", "ann@alpha.lab", "--to", strings.Join(to, ","), "--header", "Subject: to all", "--body", ".dot").Want(0)

		for _, good := range []string{"good", "slow"} {
			if m := sinks[good].Messages(1)[0]; !strings.Contains(m, "Subject: to all\r\n") || !strings.Contains(m, "\r\n.dot\r\n") {
				l.T().Errorf("%s got %q", good, m)
			}
		}
		for _, bad := range []string{"never", "data"} {
			m := inner.ReceiveWhere("a DSN about "+bad, func(m *lab.Message) bool {
				return strings.Contains(m.Raw, "x@"+bad+".beta.lab")
			})
			if m.Header("Return-Path") != "<>" || !strings.Contains(m.Header("Content-Type"), "report-type=delivery-status") {
				t.Errorf("not a DSN:\n%s", m.Raw)
			}
		}
		for _, retried := range []string{"greet", "drop", "garbage", "endless", "later"} {
			sinks[retried].Wait("a session that ends", func(all []lab.SinkSession) bool { return len(all) > 0 && all[0].Ended })
			l.Eventually(retried+" stays in the queue", func() error {
				if out := edge.Run("queue", "list", "--json"); !out.Has("x@" + retried + ".beta.lab") {
					return fmt.Errorf("not in:\n%s", out)
				}
				return nil
			})
		}
	})
}

// submit are swaks's arguments for a mail of ann's to bob, from anywhere.
func submit(mechanism, subject string) []string {
	return []string{
		"--server", alphaMX, "--local-interface", stranger, "--ehlo", "pc.home.lab",
		"--auth", mechanism, "--auth-user", "ann@alpha.lab", "--auth-password", password,
		"--from", "ann@alpha.lab", "--to", "bob@beta.lab",
		"--header", "Subject: " + subject, "--header", "Bcc: carl@beta.lab",
	}
}

// deliver are swaks's arguments for a mail to our port 25.
func deliver(client, from, to, ehlo string) []string {
	return []string{
		"--server", alphaMX, "--local-interface", client, "--ehlo", ehlo,
		"--from", from, "--to", to, "--header", "Subject: forged",
	}
}

func wantHeaders(l *lab.Lab, m *lab.Message, names ...string) {
	l.T().Helper()
	for _, name := range names {
		if len(m.Headers(name)) != 1 {
			l.T().Errorf("%d %s fields:\n%s", len(m.Headers(name)), name, m.Raw)
		}
	}
}
