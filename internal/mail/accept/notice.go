package accept

import (
	"context"
	"fmt"
	"mime"
	"strings"

	"postern/internal/mail/address"
	"postern/internal/mail/dsn"
	"postern/internal/mail/message"
)

// Notice is a message of our own to a person: that a password grows old, that an
// account has been stopped.
type Notice struct {
	To      address.Address
	Subject string
	Text    string // lines that end in "\n"
}

// Postmaster is whom notices for the operator go to: the one of the first mail
// domain. Without any domain it is zero.
func (a *Acceptor) Postmaster() address.Address {
	if len(a.cfg.Domains) == 0 {
		return address.Address{}
	}
	return address.Address{Local: "postmaster", Domain: a.cfg.Domains[0]}
}

// Notify makes a notice durable and queues it, with the null reverse-path and
// signed like our users' mail. Its marks keep responders from answering (RFC
// 3834, Section 5).
func (a *Acceptor) Notify(ctx context.Context, n Notice) error {
	from := a.Postmaster()
	if from.IsZero() {
		from = address.Address{Local: "postmaster", Domain: strings.ToLower(a.cfg.Hostname)}
	}
	if n.To.IsZero() {
		return fmt.Errorf("notice %q: nobody to tell", n.Subject)
	}
	id := fmt.Sprintf("notice.%x", a.cfg.Now().UnixNano())
	var h strings.Builder
	for _, f := range []struct{ name, value string }{
		{"Date", message.Date(a.cfg.Now())},
		{"From", "Postern <" + from.String() + ">"},
		{"To", "<" + n.To.String() + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", n.Subject)},
		{"Message-ID", "<" + id + "@" + strings.ToLower(a.cfg.Hostname) + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "8bit"},
	} {
		h.WriteString(f.name + ": " + strings.Map(oneLine, f.value) + "\r\n")
	}
	body := strings.ReplaceAll(strings.ReplaceAll(n.Text, "\r", ""), "\n", "\r\n")
	return a.Bounce(ctx, dsn.Message{To: n.To, Header: []byte(h.String()), Body: []byte(body), UTF8: !n.To.IsASCII(), Body8Bit: true})
}

// oneLine keeps what is told from ending a field.
func oneLine(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
