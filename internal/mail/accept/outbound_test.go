package accept

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/address"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/seal"
)

func only(list ...string) func(address.Address) bool {
	return func(a address.Address) bool {
		for _, s := range list {
			if a.String() == s {
				return true
			}
		}
		return false
	}
}

func signing(t *testing.T) (func(*Config), lookuptest.Map) {
	t.Helper()
	k, txt := key(t, "city.example", "s")
	return func(c *Config) { c.Keys = ring{"city.example": []seal.Key{k}} }, lookuptest.Map{"s._domainkey.city.example TXT": {txt}}
}

func TestSubmittedRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ msg, code, reason string }{
		"no From":                        {unix("Subject: x", "", "x"), "550 5.6.0", "no-from"},
		"two From":                       {unix("From: a@city.example", "From: a@city.example", "", "x"), "550 5.6.0", "several-from"},
		"malformed From":                 {unix("From: <a@city.example", "", "x"), "550 5.6.0", "from-syntax"},
		"a colleague's From":             {unix("From: ceo@city.example", "", "x"), "550 5.7.1", "foreign-from"},
		"one foreign of two":             {unix("From: a@city.example, ceo@city.example", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign in a group":             {unix("From: us: a@city.example, ceo@city.example;", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign display name":           {unix("From: ceo@city.example <a@city.example>", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign in a comment":           {unix("From: a@city.example (<ceo@city.example>)", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign comment first":          {unix("From: (me (<ceo@city.example>)) <a@city.example>", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign in quotes":              {unix(`From: "<ceo@city.example>" <a@city.example>`, "", "x"), "550 5.7.1", "foreign-from"},
		"foreign behind a quote":         {unix(`From: "a\" <ceo@city.example>" <a@city.example>`, "", "x"), "550 5.7.1", "foreign-from"},
		"foreign, escaped":               {unix(`From: "\<ceo@city\.example\>" <a@city.example>`, "", "x"), "550 5.7.1", "foreign-from"},
		"foreign behind many":            {unix("From: a@city.example ("+strings.Repeat("<a@city.example>\r\n ", 101)+"<ceo@city.example>)", "", "x"), "550 5.6.0", "sender-syntax"},
		"foreign, folded":                {unix("From: a@city.example (", " <ceo@city.example> )", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign encoded":                {unix("From: =?utf-8?q?=3Cceo=40city.example=3E?= <a@city.example>", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign encoded in two":         {unix("From: =?utf-8?b?PGNlb0BjaXR5?= =?utf-8?q?.example=3E?= <a@city.example>", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign in another charset":     {unix("From: =?x-none?q?=3Cceo=40city.example=3E?= <a@city.example>", "", "x"), "550 5.7.1", "foreign-from"},
		"foreign in a comment of Sender": {unix("From: a@city.example", "Sender: a@city.example (<ceo@city.example>)", "", "x"), "550 5.7.1", "foreign-from"},
		"source route":                   {unix("From: <@ceo.city.example:a@city.example>", "", "x"), "550 5.6.0", "sender-syntax"},
		"foreign Sender":                 {unix("From: a@city.example", "Sender: ceo@city.example", "", "x"), "550 5.7.1", "foreign-from"},
		"second Sender":                  {unix("From: a@city.example", "Sender: a@city.example", "Sender: ceo@city.example", "", "x"), "550 5.7.1", "foreign-from"},
		"malformed Sender":               {unix("From: a@city.example", "Sender: <", "", "x"), "550 5.6.0", "sender-syntax"},
		"empty group":                    {unix("From: us:;", "", "x"), "550 5.6.0", "no-from"},
		"loop":                           {strings.Repeat("Received: x\r\n", 50) + unix("From: a@city.example", "", "x"), "554 5.4.6", "mail-loop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, nil)
			r := w.door.Submitted(t.Context(), w.draft(c.msg), w.envelope(envelope.Submission, "a@city.example", "b@example.org"), only("a@city.example"))
			if !strings.HasPrefix(r.String(), c.code) || r.Reason != c.reason {
				t.Errorf("got %s (%s), want %s (%s)", r, r.Reason, c.code, c.reason)
			}
			if c.reason == "foreign-from" && !strings.Contains(r.Text, "<ceo@city.example>") {
				t.Errorf("the reply does not name the address: %s", r)
			}
			w.nothing()
		})
	}
}

func TestSubmitted(t *testing.T) {
	t.Parallel()
	change, dns := signing(t)
	w := newWorld(t, nil, change)
	env := w.envelope(envelope.Submission, "a@city.example", "b@example.org", "secret@example.org")
	env.Client, env.Helo = netip.MustParseAddr("198.51.100.77"), "laptop.private.lan"
	r := w.door.Submitted(t.Context(), w.draft(unix(
		"From: A <a@city.example>", "To: b@example.org", "Bcc: secret@example.org,", " other@example.org",
		"Authentication-Results: edge.example.net; auth=pass", "Subject: x", "", "Hello")), env, only("a@city.example"))
	if r.Code != 250 {
		t.Fatalf("got %v", r)
	}
	stored, h, body := w.stored()
	all := string(h.Bytes())
	for _, leak := range []string{"198.51.100.77", "laptop", "secret", "Bcc", "Authentication-Results"} {
		if strings.Contains(all, leak) {
			t.Errorf("the header tells %q:\n%s", leak, all)
		}
	}
	if got := value(h, "Received"); got != "by edge.example.net with ESMTPSA id "+string(stored.ID)+"; Sat, 1 Aug 2026 12:00:00 +0000" {
		t.Errorf("Received: %s", got)
	}
	if value(h, "Date") == "" || value(h, "Message-ID") != "<"+string(stored.ID)+"@city.example>" {
		t.Errorf("Date %q, Message-ID %q", value(h, "Date"), value(h, "Message-ID"))
	}
	if sigs := verified(t, dns, h, body); len(sigs) != 1 || sigs[0].Status.String() != "pass" || sigs[0].Domain != "city.example" {
		t.Errorf("signatures %+v", sigs)
	}
	if h.Fields()[0].Name() != "DKIM-Signature" {
		t.Error("the signature stands in front")
	}
	if w.door.Counters.Submitted.Value() != 1 || w.door.Counters.Signed.Value() != 1 {
		t.Error("not counted")
	}
}

func TestUnsignedWithoutKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, func(c *Config) { c.Keys = ring{} })
	r := w.door.Submitted(t.Context(), w.draft(unix("From: a@city.example", "", "x")), w.envelope(envelope.Submission, "a@city.example", "b@example.org"), only("a@city.example"))
	if _, h, _ := w.stored(); r.Code != 250 || h.Count("DKIM-Signature") != 0 || w.door.Counters.Unsigned.Value() != 1 {
		t.Errorf("got %v, %d unsigned", r, w.door.Counters.Unsigned.Value())
	}
}

func TestRelayed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, msg string
		policy    RelayPolicy
		reason    string // "" for taken
		signed    bool
		completed bool
	}{
		"foreign, refused":         {"a@city.example", unix("From: x@example.org", "", "x"), RelayPolicy{}, "foreign-from", false, false},
		"foreign, kept":            {"a@city.example", unix("From: x@example.org", "", "x"), RelayPolicy{KeepForeign}, "", false, false},
		"one foreign of two":       {"a@city.example", unix("From: a@city.example, x@example.org", "", "x"), RelayPolicy{}, "foreign-from", false, false},
		"no From":                  {"a@city.example", unix("Subject: x", "", "x"), RelayPolicy{KeepForeign}, "no-from", false, false},
		"ours":                     {"a@city.example", unix("From: a@city.example", "", "x"), RelayPolicy{}, "", true, true},
		"a printer below":          {"a@city.example", unix("From: scan@printer.city.example", "", "x"), RelayPolicy{}, "", true, true},
		"the inner server's DSN":   {"", unix("From: MAILER-DAEMON@inner.city.example", "Date: x", "Message-ID: <1@inner.city.example>", "", "x"), RelayPolicy{}, "", true, true},
		"foreign with null sender": {"", unix("From: x@example.org", "", "x"), RelayPolicy{}, "foreign-from", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change, dns := signing(t)
			w := newWorld(t, nil, change)
			r := w.door.Relayed(t.Context(), w.draft(c.msg), w.envelope(envelope.Relay, c.from, "b@example.org"), c.policy)
			if c.reason != "" {
				if r.Reason != c.reason || !r.Permanent() {
					t.Errorf("got %v (%s), want %s", r, r.Reason, c.reason)
				}
				w.nothing()
				return
			}
			if r.Code != 250 {
				t.Fatalf("got %v", r)
			}
			env, h, body := w.stored()
			if env.From != addr(t, c.from) {
				t.Errorf("sender became %q", env.From)
			}
			sigs := verified(t, dns, h, body)
			if signed := len(sigs) == 1 && sigs[0].Status.String() == "pass" && sigs[0].Domain == "city.example"; signed != c.signed {
				t.Errorf("signatures %+v, want %v", sigs, c.signed)
			}
			if got := h.Count("Date") == 1 && h.Count("Message-ID") == 1; got != c.completed {
				t.Errorf("Date and Message-ID %v, want %v", got, c.completed)
			}
			if strings.Contains(value(h, "Received"), "192.0.2.1") || !strings.Contains(value(h, "Received"), "with ESMTPS id") {
				t.Errorf("Received: %s", value(h, "Received"))
			}
		})
	}
}

func TestBounce(t *testing.T) {
	t.Parallel()
	k, txt := key(t, "example.net", "s")
	w := newWorld(t, nil, func(c *Config) {
		c.Domains, c.Keys = []string{"example.net"}, ring{"example.net": []seal.Key{k}}
	})
	m := dsn.Build(dsn.Report{
		ID: "r1", Hostname: "edge.example.net", To: addr(t, "a@example.org"), Arrived: noon, Now: noon.Add(time.Hour),
		Recipients: []dsn.Recipient{{Final: addr(t, "b@city.example"), Action: dsn.Failed, Status: "5.1.1"}},
		Header:     []byte("Subject: x\r\n"),
	})
	if err := w.door.Bounce(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	env, h, body := w.stored()
	if !env.From.IsZero() || len(env.To) != 1 || env.To[0].String() != "a@example.org" || env.Origin != envelope.Bounce {
		t.Errorf("envelope %+v", env)
	}
	if sigs := verified(t, lookuptest.Map{"s._domainkey.example.net TXT": {txt}}, h, body); len(sigs) != 1 || sigs[0].Status.String() != "pass" {
		t.Errorf("signatures %+v", sigs)
	}
	if len(w.queue.added) != 1 || w.door.Counters.Bounces.Value() != 1 {
		t.Errorf("queue got %v", w.queue.added)
	}
}

func TestNewWants(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("nothing configured, no error")
	}
	w := newWorld(t, nil, nil)
	bad := Config{Spool: w.spool, Queue: w.queue, Hostname: "x.example", Domains: []string{"a b"}}
	if _, err := New(bad); err == nil {
		t.Error("a malformed domain, no error")
	}
	if _, err := w.door.Renew(bad); err == nil {
		t.Error("a malformed domain at a reload, no error")
	}
	bad.Domains = nil
	if next, err := w.door.Renew(bad); err != nil || next.failing != w.door.failing {
		t.Errorf("a reload forgets which domains were failing: %v", err)
	}
}
