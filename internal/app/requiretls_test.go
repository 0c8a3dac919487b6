package app

import (
	"crypto/tls"
	"errors"
	"testing"

	"github.com/emersion/go-smtp"
)

const keepingConfig = submitConfig + `[[listen]]
serve   = "relay"
address = ["127.0.0.1:0"]
[[mail.relay]]
name    = "inner"
clients = ["127.0.0.1"]
senders = ["@city.example"]
`

// TestUsersAndHostsAskForTLS: REQUIRETLS is offered where users and named hosts
// are under TLS, is kept for the domains of ours whose next hop keeps it, and
// refused at once for the others (RFC 8689, Section 4.2.1).
func TestUsersAndHostsAskForTLS(t *testing.T) {
	t.Parallel()
	h := officeWith(t, keepingConfig)
	sure := &smtp.MailOptions{RequireTLS: true}
	for name, client := range map[string]*smtp.Client{"submission": h.submitter(), "relay": h.inner()} {
		if ok, _ := client.Extension("REQUIRETLS"); !ok {
			t.Errorf("%s: not offered", name)
			continue
		}
		var refused *smtp.SMTPError
		if err := client.Mail(anna, sure); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := client.Rcpt("bob@other.example", nil); !errors.As(err, &refused) || refused.EnhancedCode != (smtp.EnhancedCode{5, 7, 30}) {
			t.Errorf("%s: the world: %v", name, err)
		}
		err := client.Rcpt("bob@city.example", nil)
		if err == nil {
			err = sendText(client, "From: "+anna+"\r\nTLS-Required: No\r\nSubject: "+name+"\r\n\r\nx\r\n")
		}
		if err != nil {
			t.Errorf("%s: ours: %v", name, err)
		}
	}
	if n := &h.app.mail.Load().acceptor.Counters; n.Submitted.Value() != 1 || n.Relayed.Value() != 1 {
		t.Errorf("%d of a user and %d of a host were taken", n.Submitted.Value(), n.Relayed.Value())
	}
}

func sendText(c *smtp.Client, text string) error {
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.Close()
}

// inner is a named host under TLS, which was offered nothing before it.
func (h *house) inner() *smtp.Client {
	h.t.Helper()
	for k, s := range h.app.doors.servers {
		if k.name != "relay" {
			continue
		}
		plain, err := smtp.Dial(s.Addr().String())
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = plain.Close() })
		if ok, _ := plain.Extension("REQUIRETLS"); ok {
			h.t.Error("offered in the clear")
		}
		c, err := smtp.DialStartTLS(s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = c.Close() })
		return c
	}
	h.t.Fatal("no relay listener")
	return nil
}
