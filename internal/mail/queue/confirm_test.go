package queue

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
)

// TestConfirm: RFC 3461, Section 5.2: success is told by the next hop where it
// can, else by us, and only where it was asked for.
func TestConfirm(t *testing.T) {
	t.Parallel()
	success := []envelope.Notify{envelope.Success | envelope.Failure}
	for name, c := range map[string]struct {
		change  func(*envelope.Envelope)
		deliver func(*deliver.Result)
		want    string // the action; "": nobody is told
	}{
		"nothing was asked for":       {nil, nil, ""},
		"failures alone":              {func(e *envelope.Envelope) { e.Notify = []envelope.Notify{envelope.Failure} }, nil, ""},
		"never":                       {func(e *envelope.Envelope) { e.Notify = []envelope.Notify{envelope.Never} }, nil, ""},
		"the next hop tells":          {func(e *envelope.Envelope) { e.Notify = success }, func(r *deliver.Result) { r.Tells = true }, ""},
		"no sender":                   {func(e *envelope.Envelope) { e.Notify, e.From = success, address.Address{} }, nil, ""},
		"a sender nobody vouches for": {func(e *envelope.Envelope) { e.Notify, e.NoBounce = success, true }, nil, ""},
		"the next hop does not tell":  {func(e *envelope.Envelope) { e.Notify = success }, nil, "relayed"},
		"into a mailbox":              {func(e *envelope.Envelope) { e.Notify = success }, func(r *deliver.Result) { r.Code, r.Host = 0, "" }, "delivered"},
		"REQUIRETLS":                  {func(e *envelope.Envelope) { e.Notify, e.RequireTLS = success, true }, nil, "relayed"},
	} {
		inWorld(t, nil, func(w *world) {
			if c.deliver != nil {
				w.deliver = func(_ context.Context, _ string, r *deliver.Result) { c.deliver(r) }
			}
			w.start()
			w.put(c.change, "a@one.example")
			w.wantEmpty()
			if (len(w.bounces) == 1) != (c.want != "") || w.queue.Counters.Confirmed.Value() != uint64(len(w.bounces)) {
				t.Errorf("%s: %d notices, want %q", name, len(w.bounces), c.want)
				return
			}
			if c.want == "" {
				return
			}
			m := w.bounces[0]
			for _, want := range []string{"\r\nAction: " + c.want + "\r\n", "\r\nStatus: 2.0.0\r\n", "\r\nFinal-Recipient: rfc822; a@one.example\r\n", "was delivered to the recipients below"} {
				if !strings.Contains(string(m.Body), want) {
					t.Errorf("%s: no %q in\n%s", name, want, m.Body)
				}
			}
			if !strings.Contains(string(m.Header), "Subject: Your message was delivered\r\n") || m.To != addr("sender@example.test") {
				t.Errorf("%s: %s", name, m.Header)
			}
			if held := strings.Contains(string(m.Body), "Subject: x"); held == strings.Contains(name, "REQUIRETLS") {
				t.Errorf("%s: the header of the message is in it: %v", name, held)
			}
		})
	}
}

// A notice that cannot be stored does not bring the message a second time.
func TestConfirmThatFails(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.bounce = func(dsn.Message) error { return errors.New("no room") }
		w.start()
		w.put(func(e *envelope.Envelope) { e.Notify = []envelope.Notify{envelope.Success} }, "a@one.example")
		w.wantEmpty()
		if len(w.tries) != 1 || w.queue.Counters.Confirmed.Value() != 0 {
			t.Errorf("%d tries", len(w.tries))
		}
	})
}
