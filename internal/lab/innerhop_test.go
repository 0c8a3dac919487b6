package lab_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"postern/internal/lab"
)

// TestInnerHop: what comes from the world goes to Postfix over TLS whose
// certificate is pinned and with a login, then to Dovecot by LMTP. Where the
// certificate or the password is not right, mail waits, and nothing goes out in
// the clear.
func TestInnerHop(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		const dovecotAt = "10.0.0.6"
		authority, other := l.Issue(nil, "ca.alpha.lab", false), l.Issue(nil, "ca.other.lab", false)
		paper := l.Issue(authority, "inner.alpha.lab", false)
		dovecot := l.Dovecot(lab.DovecotConfig{
			Name: "imap.alpha.lab", Address: dovecotAt, Paper: paper, Users: map[string]string{"postern": "open sesame", "ann": "x"},
		})
		in := tree(l, "")
		inner := l.Postfix(lab.PostfixConfig{
			Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"},
			Settings: map[string]string{
				"virtual_mailbox_maps":  "inline:{ann@alpha.lab=all/}",
				"smtpd_tls_chain_files": paper.Key + ", " + paper.Cert, "smtpd_tls_auth_only": "yes",
				"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": dovecot.Auth,
				"smtpd_recipient_restrictions": "reject_unlisted_recipient, permit_sasl_authenticated, reject",
			},
		})
		const hop = "next_hop   = [\"smtp://10.0.0.5:25\"]\n\trecipients = \"any\""
		route := func(nextHop, recipients, ca, name string) string {
			return fmt.Sprintf("next_hop = [%q]\n\trecipients = %q\n\ttls = \"required\"\n\tca = \"file:%s\"\n\tname = %q", nextHop, recipients, ca, name)
		}
		login := "\n\tuser = \"postern\"\n\tsecret = \"file:run/inner\""
		right := route("smtp://10.0.0.5:25", "any", authority.Cert, "inner.alpha.lab") + login
		edge := alphaPosternWith(l, in, nil)
		set := func(route, password string) {
			l.T().Helper()
			path := l.Write(edge.Path("run", "inner"), password+"\n")
			if err := os.Chmod(path, 0o600); err != nil {
				l.T().Fatal(err)
			}
			if err := os.Chown(path, nobody, nobody); err != nil {
				l.T().Fatal(err)
			}
			edge.Write("postern.toml", alphaWith(l, hop, route))
			edge.Reload()
		}

		for name, c := range map[string]struct{ route, password, reason string }{
			"another authority": {route("smtp://10.0.0.5:25", "any", other.Cert, "inner.alpha.lab") + login, "open sesame", "reason=tls"},
			"another name":      {route("smtp://10.0.0.5:25", "any", authority.Cert, "mail.alpha.lab") + login, "open sesame", "reason=tls"},
			"a wrong password":  {right, "open barley", "reason=auth"},
		} {
			l.Step(name+" has mail wait", func() {
				set(c.route, c.password)
				mark, seen := edge.Log.Mark(), inner.Log.Mark()
				l.Swaks(rcpts(name, "ann@alpha.lab")...).Want(0)
				edge.Log.Wait(mark, "deferred", c.reason, "to=ann@alpha.lab")
				if said := inner.Log.Since(seen); strings.Contains(said, "client=") {
					l.T().Errorf("mail was begun:\n%s", said)
				}
			})
		}

		l.Step("with what is right all of it goes, over TLS and logged in", func() {
			set(strings.Replace(right, `"any"`, `"verify"`, 1), "open sesame")
			seen := inner.Log.Mark()
			l.Eventually("the queue is tried", func() error {
				edge.Run("queue", "retry", "--all")
				if n := inner.Len(); n != 3 {
					return fmt.Errorf("%d messages", n)
				}
				return nil
			})
			inner.Log.Wait(seen, "sasl_username=postern")
			for _, m := range inner.All() {
				if !strings.Contains(m.Headers("Received")[0], "with ESMTPSA") {
					l.T().Errorf("without TLS or login: %s", m.Headers("Received")[0])
				}
			}
			l.Swaks(rcpts("nobody", "nobody@alpha.lab")...).Want(24, "<** 550 5.1.1 ")
			l.Swaks(rcpts("verified", "ann@alpha.lab")...).Want(0)
			inner.ReceiveWhere("the verified one", func(m *lab.Message) bool { return m.Header("Subject") == "verified" })
		})

		l.Step("Dovecot by LMTP, over TLS, says who exists and takes it", func() {
			edge.Write("postern.toml", alphaWith(l, hop, route("lmtp://"+dovecotAt, "verify", authority.Cert, "inner.alpha.lab")))
			edge.Reload()
			l.Swaks(rcpts("by LMTP", "ann@alpha.lab", "nobody@alpha.lab")...).Want(0, "<** 550 5.1.1 ")
			m := dovecot.Mailbox("ann").ReceiveWhere("by LMTP", func(m *lab.Message) bool { return m.Header("Subject") == "by LMTP" })
			if got := m.Headers("Received")[0]; !strings.Contains(got, "with LMTP") {
				l.T().Errorf("received %s", got)
			}
			edge.Log.Wait(0, "delivered", "host=\"10.0.0.6 10.0.0.6:24\"", "tls=\"TLS 1.3\"")
			edge.Run("status").Want(0, "verify")
		})
	})
}
