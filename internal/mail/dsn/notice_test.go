package dsn

import (
	"net/mail"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/address"
)

// TestNotice: what strangers wrote cannot break out of its line, and none of
// their message goes along.
func TestNotice(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	evil := address.Address{Local: "a\r\nBcc: all", Domain: "x.example"}
	m := Notice(Kept{
		Report: Report{
			ID: "n1", Hostname: "edge.example.net", To: address.Address{Local: "postmaster", Domain: "city.example"}, QueueID: "Q1",
			Arrived: at, Now: at, Header: []byte("Subject: buy\r\n"),
			Recipients: []Recipient{{Final: address.Address{Local: "ä", Domain: "city.example"}, Action: Failed, Code: 550, Status: "5.7.1", Text: "no\r\n.\r\nQUIT", RemoteMTA: "mail.inner"}},
		},
		From: evil, Others: 3,
	})
	whole := string(m.Header) + "\r\n" + string(m.Body)
	parsed, err := mail.ReadMessage(strings.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header.Get("Bcc") != "" || strings.Contains(whole, "\r\n.\r\n") || strings.Contains(whole, "Subject: buy") {
		t.Errorf("broken out:\n%s", whole)
	}
	if parsed.Header.Get("Auto-Submitted") != "auto-generated" || parsed.Header.Get("To") != "<postmaster@city.example>" || !m.Body8Bit || m.UTF8 {
		t.Errorf("header:\n%s", m.Header)
	}
	for _, want := range []string{"<ä@city.example>", "mail.inner said: 550 5.7.1 no", "postern queue release Q1", "\r\n3 more were held"} {
		if !strings.Contains(whole, want) {
			t.Errorf("no %q in\n%s", want, whole)
		}
	}
}
