package app

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"postern/internal/mail/address"
	"postern/internal/mail/queue"
)

// TestRecipientsFollowTheConfiguration: a reload takes a file of recipients, and
// refuses one that is wrong, with everything else.
func TestRecipientsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	h := build(t)
	exists := func(local string) bool {
		_, refusal := h.app.recipients.Find(t.Context(), address.Address{Local: local, Domain: "city.example"})
		return refusal == nil
	}
	if !exists("nobody") {
		t.Error("any takes not all")
	}
	listed := strings.Replace(houseConfig, `["maildir:mail"]`, "[\"maildir:mail\"]\nrecipients = \"file:people\"", 1)
	h.write("people", "ann\ninfo: bob\n")
	h.write("postern.toml", listed)
	if _, err := h.app.reload(t.Context()); err == nil || !strings.Contains(err.Error(), filepath.Join(h.dir, "people")+":2: bob@city.example is nobody in this file") {
		t.Errorf("a wrong file: %v", err)
	}
	if !exists("nobody") {
		t.Error("a refused reload changed something")
	}
	h.write("people", "ann\nbob\ninfo: bob\n")
	h.reload("recipients of city.example: file:")
	if exists("nobody") || !exists("info") || !exists("postmaster") {
		t.Error("not as the file says")
	}
	if s := h.app.facts().Recipients; len(s) != 1 || s[0].Mode != "file" || s[0].State != "ok" || s[0].Known != 3 {
		t.Errorf("status %+v", s)
	}
}

// TestOurOwnFindRecipients: who exists holds for what our own users and hosts send
// to us, too: nobody is nobody, an alias leads where it leads, and <postmaster> is
// that of the domain.
func TestOurOwnFindRecipients(t *testing.T) {
	t.Parallel()
	config := strings.Replace(strings.Replace(submitConfig, "day = 3", "day = 30", 1), `["maildir:mail"]`, "[\"maildir:mail\"]\nrecipients = \"file:people\"", 1)
	config += strings.TrimSuffix(strings.TrimPrefix(forwardConfig, houseConfig), "[limits]\nexempt = [\"loopback\"]\n")
	h := buildWith(t, config, map[string]string{"people": "ann\nbob\nstaff: ann, bob\n"})
	if _, err := h.app.accounts.Create(t.Context(), anna, annaPassword, []string{anna}); err != nil {
		t.Fatal(err)
	}
	for door, client := range map[string]*smtp.Client{"submission": h.submitter(), "relay": h.speak("relay")} {
		if err := client.Mail(anna, nil); err != nil {
			t.Fatal(err)
		}
		for to, known := range map[string]bool{
			"nobody@city.example": false, "staff@city.example": true, "postmaster": true, "Ann+lists@city.example": true, "nobody@other.example": true,
		} {
			err := client.Rcpt(to, nil)
			var refused *smtp.SMTPError
			if known && err != nil || !known && (!errors.As(err, &refused) || refused.Code != 550 || refused.EnhancedCode != smtp.EnhancedCode{5, 1, 1}) {
				t.Errorf("%s: %s: %v", door, to, err)
			}
		}
		w, err := client.Data()
		if err != nil {
			t.Fatal(door, err)
		}
		_, err = io.WriteString(w, "From: anna@city.example\r\nSubject: x\r\n\r\nx\r\n")
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(door, err)
		}
	}
	all := h.entries(queue.Filter{From: anna})
	if len(all) != 2 {
		t.Fatalf("%d messages in the queue", len(all))
	}
	for _, e := range all {
		var to []string
		for _, r := range e.Recipients {
			to = append(to, r.Address.String())
		}
		slices.Sort(to)
		if !slices.Equal(to, []string{"Ann+lists@city.example", "ann@city.example", "bob@city.example", "nobody@other.example", "postmaster@city.example"}) {
			t.Errorf("%s: %q", e.Envelope.Origin, to)
		}
	}
}
