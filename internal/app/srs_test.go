package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/mail/address"
	"postern/internal/mail/dsn"
	"postern/internal/mail/queue"
	"postern/internal/mail/srs"
)

const forwardConfig = houseConfig + `[[listen]]
serve   = "relay"
address = ["127.0.0.1:0"]
[[mail.relay]]
name         = "inner"
clients      = ["127.0.0.1"]
senders      = ["@city.example", "<>"]
foreign_from = "srs"
[limits]
exempt = ["loopback"]
`

// speak connects to a door.
func (h *house) speak(door string) *smtp.Client {
	h.t.Helper()
	for k, s := range h.app.doors.servers {
		if k.name == door {
			c, err := smtp.Dial(s.Addr().String())
			if err != nil {
				h.t.Fatal(err)
			}
			h.t.Cleanup(func() { _ = c.Close() })
			return c
		}
	}
	h.t.Fatal("no door", door)
	return nil
}

// What the inner server forwards goes out from an address of ours; what bounces
// to that address, from outside or here, goes to whom it stands for; and nothing
// else gets through by it.
func TestForwarding(t *testing.T) {
	t.Parallel()
	h := buildWith(t, forwardConfig, nil)
	inner := h.speak("relay")
	const letter = "From: Bob <bob@other.example>\r\nSubject: x\r\n\r\ntext\r\n"
	for from, rewritten := range map[string]bool{"bob@other.example": true, "ann@city.example": false, "": false} {
		if err := inner.SendMail(from, []string{"carl@third.example"}, strings.NewReader(letter)); err != nil {
			t.Fatal(from, err)
		}
		all := h.entries(queue.Filter{Account: "inner"})
		last := all[len(all)-1].Envelope.From
		if srs.Formed(last) != rewritten || rewritten && last.Domain != "city.example" {
			t.Errorf("<%s> went out as %s", from, last.Path())
		}
	}
	var made address.Address
	for _, e := range h.entries(queue.Filter{Account: "inner"}) {
		if srs.Formed(e.Envelope.From) {
			made = e.Envelope.From
		}
	}
	forged := made.String()[:5] + "aaaaaaaa" + made.String()[13:]
	for _, c := range []struct {
		from, to string
		want     int
	}{
		{"", made.String(), 250}, {"", strings.ToLower(made.String()), 250}, {"", forged, 550}, {"x@y.example", made.String(), 550},
		{"", strings.Replace(made.String(), "city", "other", 1), 550}, {"", "bob@other.example", 550},
	} {
		client := h.speak("mx")
		err := client.Mail(c.from, nil)
		if err == nil {
			err = client.Rcpt(c.to, nil)
		}
		var refused *smtp.SMTPError
		if got := 250; errors.As(err, &refused) {
			if got = refused.Code; got != c.want {
				t.Errorf("from <%s> to %s: %v, want %d", c.from, c.to, err, c.want)
			}
		} else if c.want != 250 {
			t.Errorf("from <%s> to %s: taken", c.from, c.to)
		}
	}
	header := []byte("Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nFrom: MAILER-DAEMON@edge.city.example\r\nSubject: x\r\n")
	if err := h.app.bounce(t.Context(), dsn.Message{To: made, Header: header}); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range h.entries(queue.Filter{From: "<>"}) {
		found = found || e.Recipients[0].Address.String() == "bob@other.example"
	}
	if !found {
		t.Error("a bounce of our own did not go to the sender")
	}
}

// Secrets are renewed each month and outlive a restart; an address is good as
// long as srs.Days says, and no longer.
func TestSendersKeepTheirSecrets(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "srs")
	fresh := func() *senders {
		return &senders{path: path, domain: "city.example", now: func() time.Time { return now }}
	}
	from := address.Address{Local: "odd one", Domain: "other.example"}
	s := fresh()
	for month := range 4 {
		made, err := s.forward(from)
		if err != nil {
			t.Fatal(err)
		}
		now = now.AddDate(0, 0, srs.Days)
		for name, s := range map[string]*senders{"as it runs": s, "after a restart": fresh()} {
			if back, ours, err := s.back(made); back != from || !ours || err != nil {
				t.Errorf("month %d, %s: %v %v %v", month, name, back, ours, err)
			}
		}
		now = now.AddDate(0, 0, 20)
		if _, ours, err := s.back(made); !ours || err == nil {
			t.Errorf("month %d: still good after %d days", month, srs.Days+20)
		}
	}
	if n := len(s.secrets); n < 2 || n > 3 {
		t.Errorf("%d secrets are kept", n)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh().forward(from); err == nil {
		t.Error("a damaged file is read")
	}
}
