package lab_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"postern/internal/lab"
)

// rcpts are swaks's arguments for a mail of Bob's to several at Alpha.
func rcpts(subject string, to ...string) []string {
	return []string{
		"--server", alphaMX, "--local-interface", betaMX, "--ehlo", "mx.beta.lab",
		"--from", "bob@beta.lab", "--to", strings.Join(to, ","), "--header", "From: bob@beta.lab", "--header", "Subject: " + subject,
	}
}

// TestVerifiedRecipients: Postfix behind us says who exists. It is killed, and
// comes back, and in the end it takes any name.
func TestVerifiedRecipients(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := tree(l, "")
		inner := l.Postfix(lab.PostfixConfig{
			Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"},
			Settings: map[string]string{"virtual_mailbox_maps": "inline:{ann@alpha.lab=all/,carl@alpha.lab=all/,postmaster@alpha.lab=all/}"},
		})
		edge := alphaPosternWith(l, in, nil, `recipients = "any"`, `recipients = "verify"`)

		l.Step("nobody is refused at RCPT, others are taken", func() {
			out := l.Swaks(rcpts("hello", "ann@alpha.lab", "nobody@alpha.lab", "noone@alpha.lab")...).Want(0)
			if strings.Count(out.Stdout, "<** 550 5.1.1 ") != 2 || strings.Contains(out.Stdout, "inner.alpha.lab") {
				l.T().Errorf("dialogue:\n%s", out)
			}
			inner.ReceiveWhere("hello", func(m *lab.Message) bool { return m.Header("Subject") == "hello" })
			l.Swaks(rcpts("nobody", "nobody@alpha.lab")...).Want(24)
		})

		l.Step("one conversation serves for the questions of a client", func() {
			before := strings.Count(inner.Log.String(), "connect from")
			l.Swaks(rcpts("many", "a1@alpha.lab", "a2@alpha.lab", "a3@alpha.lab", "a4@alpha.lab", "a5@alpha.lab")...).Want(24)
			if n := strings.Count(inner.Log.String(), "connect from") - before; n > 4 { // connect and disconnect, of at most two
				l.T().Errorf("%d lines about connections for five questions", n)
			}
		})

		l.Step("while it is down, who is known is taken and others are put off", func() {
			inner.Kill9()
			mark := edge.Log.Mark()
			l.Swaks(rcpts("while down", "ann@alpha.lab")...).Want(0)
			out := l.Swaks(rcpts("stranger", "carl@alpha.lab")...).Want(24)
			if !out.Has("<** 450 4.4.3 ") {
				l.T().Errorf("dialogue:\n%s", out)
			}
			edge.Log.Wait(mark, "verify-silent")
			edge.Run("status").Want(1, "silent")
			edge.Restart()
			l.Swaks(rcpts("after a restart", "ann@alpha.lab")...).Want(0)
		})

		l.Step("when it is back, the mail goes on and nobody is nobody again", func() {
			inner.Start()
			l.Eventually("the queue is tried", func() error {
				edge.Run("queue", "retry", "--domain", "alpha.lab")
				for _, m := range inner.All() {
					if m.Header("Subject") == "while down" {
						return nil
					}
				}
				return errors.New("not there")
			})
			l.Eventually("the next hop is asked again", func() error {
				if out := l.Swaks(rcpts("hello carl", "carl@alpha.lab")...); out.Code != 0 {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
			l.Swaks(rcpts("nobody", "nobody2@alpha.lab")...).Want(24, "<** 550 5.1.1 ")
			edge.Run("status").Want(0, "verify")
		})

		l.Step("a server that takes any name is found and told of", func() {
			inner.Kill9()
			inner.Set(map[string]string{"virtual_mailbox_maps": "static:all/"})
			inner.Start()
			mark := edge.Log.Mark()
			edge.Restart()
			edge.Log.Wait(mark, "accepts-anything", "alpha.lab")
			edge.Run("status").Want(1, "accepts-anything")
			l.Swaks(rcpts("whoever", "whoever@alpha.lab")...).Want(0)
		})
	})
}

// TestNoBackscatter: the inner server refuses what was taken already. Beta's SPF
// passes, so Beta is told; of a sender that anybody could have written nobody
// outside hears, and postmaster decides.
func TestNoBackscatter(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		in := tree(l, "")
		beta := betaPostfix(l)
		inner := l.Postfix(lab.PostfixConfig{
			Host: "inner.alpha.lab", Address: alphaInner, Domains: []string{"alpha.lab"},
			Settings: map[string]string{"smtpd_data_restrictions": "check_recipient_access inline:{{strict@alpha.lab=550 5.7.1 not this}}"},
		})
		edge := alphaPosternWith(l, in, nil)

		l.Swaks(rcpts("from beta", "strict@alpha.lab")...).Want(0)
		m := beta.Receive("bob@beta.lab")
		if m.Header("Return-Path") != "<>" || !strings.Contains(m.Raw, "strict@alpha.lab") {
			l.T().Errorf("no DSN:\n%s", m.Raw)
		}
		if strings.Contains(m.Raw, "inner.alpha.lab") || strings.Contains(m.Raw, "not this") {
			l.T().Errorf("tells of the inside:\n%s", m.Raw)
		}

		mark := edge.Log.Mark()
		l.Swaks("--server", alphaMX, "--local-interface", stranger, "--ehlo", "pc.other.lab",
			"--from", "bob@nothing.beta.lab", "--to", "strict@alpha.lab", "--header", "From: x@other.lab", "--header", "Subject: spoofed").Want(0)
		edge.Log.Wait(mark, "sender-unvouched", "held")
		notice := inner.Receive("postmaster@alpha.lab")
		if !strings.Contains(notice.Raw, "bob@nothing.beta.lab") || !strings.Contains(notice.Raw, "not this") {
			l.T().Errorf("notice:\n%s", notice.Raw)
		}
		edge.Run("queue", "list").Want(0, "held")
		if n := beta.Len(); n != 1 {
			l.T().Errorf("%d messages at Beta", n)
		}
		edge.Run("queue", "drop", "--all").Want(0)
		edge.Run("queue", "list").Want(0, "the queue is empty")
	})
}
