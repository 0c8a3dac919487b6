package app

import (
	"encoding/json"
	"strings"
	"testing"

	"postern/internal/mail/envelope"
	"postern/internal/manage"
)

// desked has the desk do something, as the control socket would.
func desked[R any](h *house, verb string, args any) R {
	h.t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		h.t.Fatal(err)
	}
	got, err := h.app.desk.Do(h.t.Context(), manage.Caller{}, verb, raw)
	if err != nil {
		h.t.Fatal(err)
	}
	r, ok := got.(R)
	if !ok {
		h.t.Fatalf("%s answers with %T", verb, got)
	}
	return r
}

func steps(t manage.Trace) string {
	var all []string
	for _, l := range t.Lines {
		all = append(all, l.Text)
	}
	for _, m := range t.Queue {
		all = append(all, "queue:"+m.State)
	}
	return strings.Join(all, ", ")
}

// TestTrace follows messages from the door until they are dropped, by each of
// their names.
func TestTrace(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	h := verdictHouse(t, p.world(), verdictConfig, nil)
	d := h.connect("127.0.0.9", "x.example")
	held := d.send("x@stranger.example", "From: a@quarantine.example\r\nMessage-ID: <held@quarantine.example>\r\n\r\nx")
	if word, _ := h.outcome(held); word != "hold dmarc-quarantine" {
		t.Fatal(word)
	}
	id := queuedAs.FindStringSubmatch(held)[1]
	d.send("x@stranger.example", "From: a@reject.example\r\nMessage-ID: <gone@reject.example>\r\n\r\nx")
	d.say("MAIL FROM:<y@stranger.example>")
	d.say("RCPT TO:<somebody@elsewhere.example>")
	for query, want := range map[string]string{
		"nobody@nowhere.example":     "",
		id:                           "message queued, message accepted, queue:held",
		"<held@quarantine.example>":  "message queued, message accepted, queue:held",
		"<gone@reject.example>":      "message refused",
		"somebody@elsewhere.example": "refused",
		"x@stranger.example":         "message queued, message accepted, message refused, queue:held",
		"b@city.example":             "message queued, message accepted, message refused, queue:held",
	} {
		if got := steps(desked[manage.Trace](h, manage.VerbTrace, manage.TraceArgs{Query: query})); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if err := h.app.queue.Drop(envelope.ID(id)); err != nil {
		t.Fatal(err)
	}
	got := desked[manage.Trace](h, manage.VerbTrace, manage.TraceArgs{Query: id})
	if want := "message queued, message accepted, dropped, message done"; steps(got) != want {
		t.Errorf("when it is gone: %s, want %s", steps(got), want)
	}
	if f := got.Lines[1].Fields; f["dmarc"] != "fail" || f["author"] != "quarantine.example" || f["client"] != "127.0.0.9" || f["reason"] != "dmarc-quarantine" {
		t.Errorf("the checks: %v", f)
	}
}
