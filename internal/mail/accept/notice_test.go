package accept

import (
	"io"
	"net/mail"
	"testing"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
)

// A notice says who it is from and that no program should answer, and nothing in
// it can end a field.
func TestNotify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, nil)
	if err := w.door.Notify(t.Context(), Notice{Subject: "to nobody"}); err == nil {
		t.Error("to nobody")
	}
	to := address.Address{Local: "odd one", Domain: "city.example"}
	err := w.door.Notify(t.Context(), Notice{To: to, Subject: "Gr\u00fc\u00dfe\r\nBcc: x@y.example", Text: "one\r\ntw\u00f6\n"})
	if err != nil || len(w.queue.added) != 1 {
		t.Fatal(err, w.queue.added)
	}
	m, err := w.spool.Load(w.queue.added[0])
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	env := m.Envelope()
	if !env.From.IsZero() || len(env.To) != 1 || env.To[0] != to || env.Origin != envelope.Bounce {
		t.Errorf("%+v", env)
	}
	msg, err := mail.ReadMessage(m.Open())
	if err != nil {
		t.Fatal(err)
	}
	h := msg.Header
	if h.Get("From") != "Postern <postmaster@city.example>" || h.Get("To") != `<"odd one"@city.example>` || h.Get("Bcc") != "" || h.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("%v", h)
	}
	if _, err := h.Date(); err != nil || h.Get("Message-Id") == "" {
		t.Errorf("%v %v", h, err)
	}
	if text, err := io.ReadAll(msg.Body); err != nil || string(text) != "one\r\ntw\u00f6\r\n" {
		t.Errorf("%q %v", text, err)
	}
}
