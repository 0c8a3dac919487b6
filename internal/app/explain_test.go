package app

import (
	"encoding/json"
	"strings"
	"testing"

	"postern/internal/mail/envelope"
	"postern/internal/manage"
)

// TestExplainMail asks what would become of messages, and leaves nothing behind.
func TestExplainMail(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	h := verdictHouse(t, listed(t, p), withInbound(verdictConfig, exceptionsConfig), nil)
	for _, c := range []struct{ ip, helo, from, to, want string }{
		{"127.0.0.2", "x.example", "x@reject.example", "b@elsewhere.example", "550 5.7.1 (relay-denied)"},
		{"127.0.0.2", "x.example", "x@reject.example", "b@city.example", `"250" [b@city.example] "" [helo none x.example mailfrom pass reject.example] "pass" "reject" reject.example accept dmarc-pass`},
		{"127.0.0.30", "", "x@reject.example", "b@city.example", `"fail" "reject" reject.example reject dmarc-reject 550 5.7.1`},
		{"127.0.0.20", "", "x@reject.example", "b@city.example", `accept forwarder`},
		{"127.0.0.9", "", "x@stranger.example", "b@city.example", `bl.example=127.0.0.2`},
		{"127.0.0.9", "", "x@stranger.example", "b@city.example", `reject dnsbl 550 5.7.1`},
		{"127.0.0.9", "", "x@stranger.example", "postmaster@city.example", `accept no-policy`},
		{"127.0.0.30", "localhost", "<>", "b@city.example", `[no-reverse-name helo-not-a-name]`},
	} {
		x := desked[manage.MailExplanation](h, manage.VerbExplainMail, manage.MailArgs{IP: c.ip, Helo: c.helo, From: c.from, To: c.to})
		got := strings.TrimSpace(strings.Join([]string{
			inQuotes(x.Recipient), inBrackets(x.To), inQuotes(x.Name), inBrackets(x.SPF), inQuotes(x.DMARC), inQuotes(x.Policy), x.PolicyAt, x.Action, x.Reason, x.Reply,
		}, " ")) + " " + strings.Join(x.Listed, " ") + inBrackets(x.Marks)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %s %s %s: %s\nwant %s", c.ip, c.helo, c.from, c.to, got, c.want)
		}
	}
	for _, bad := range []manage.MailArgs{{IP: "x", To: "b@city.example"}, {IP: "192.0.2.1", To: "b"}, {IP: "192.0.2.1", To: "b@city.example", From: "@"}} {
		raw, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbExplainMail, raw); err == nil {
			t.Errorf("%+v: %v", bad, got)
		}
	}
	if ids, err := h.app.spool.IDs(); err != nil || len(ids) > 0 || h.app.queue.Len() > 0 {
		t.Errorf("left behind: %v %v", ids, err)
	}
}

const routesConfig = `
[mail.route."aliased.example"]
next_hop = ["smtp://127.0.0.1:1", "smtp://127.0.0.1:2"]
tls = "required"
name = "mail.inner.example"
recipients = "file:people"
`

// TestExplainRoute asks where mail for addresses goes: by a file, with everything
// that it can say, through a rewritten sender, and to the world.
func TestExplainRoute(t *testing.T) {
	t.Parallel()
	config := strings.Replace(houseConfig, `domains = ["city.example"]`, `domains = ["city.example", "aliased.example"]`, 1) + routesConfig
	h := buildWith(t, config, map[string]string{"people": "ann\ninfo: ann, bob\nbob@aliased.example\nshop-*: ann\nonly: ann@city.example\n"})
	const hops = " by the route of aliased.example: smtp://127.0.0.1:1 required mail.inner.example, smtp://127.0.0.1:2 required mail.inner.example"
	for _, c := range []struct{ address, want string }{
		{"ann@aliased.example", "file (ok); people:1: ann, a mailbox; 250; ann@aliased.example" + hops},
		{"Ann+x@ALIASED.example", "file (ok); people:1: ann, a mailbox; 250; Ann+x@aliased.example" + hops},
		{"info+y@aliased.example", "file (ok); people:2: info, an alias; 250; ann+y@aliased.example" + hops + "; bob+y@aliased.example" + hops},
		{"shop-7@aliased.example", "file (ok); people:4: shop-*, an alias; 250; ann@aliased.example" + hops},
		{"only@aliased.example", "file (ok); people:5: only, an alias; 250; ann@city.example by the route of city.example: maildir:mail  "},
		{"abuse@aliased.example", "file (ok); postmaster and abuse are always taken; 250; abuse@aliased.example" + hops},
		{"nobody@aliased.example", "file (ok); not listed in people; 550 5.1.1 no such user here (user-unknown)"},
		{"postmaster", "any (ok); every recipient is taken; 250; postmaster@city.example by the route of city.example: maildir:mail  "},
		{"x@elsewhere.example", "; not a domain of ours: only from users and named hosts; 550 5.7.1 (relay-denied); x@elsewhere.example by the MX records of elsewhere.example held"},
		{"x@[127.0.0.1]", "; not a domain of ours: only from users and named hosts; 550 5.7.1 (relay-denied); x@[127.0.0.1] by the address that it names held 550 5.4.6"},
	} {
		x := desked[manage.RouteExplanation](h, manage.VerbExplainRoute, manage.RouteArgs{Address: c.address})
		if got := strings.ReplaceAll(routed(x), h.dir+"/", ""); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.address, got, c.want)
		}
	}
	for _, bad := range []string{"", "x", "@city.example", "a@b@c", "<a@city.example>"} {
		raw, err := json.Marshal(manage.RouteArgs{Address: bad})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbExplainRoute, raw); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if n := h.app.recipients.Counters.Unknown.Value(); n != 0 {
		t.Errorf("counted %d refusals", n)
	}
}

func routed(x manage.RouteExplanation) string {
	out := x.Recipients + "; " + x.How + "; " + x.Recipient
	for _, d := range x.To {
		out += "; " + d.Address + " by " + d.Why
		if d.Held {
			out += " held"
		}
		if d.Problem != "" {
			out += " " + d.Problem
		}
		for i, hop := range d.Hops {
			out += []string{": ", ", "}[min(i, 1)] + hop.Hop + " " + hop.TLS + " " + hop.Name
		}
	}
	return out
}

func inQuotes(s string) string       { return `"` + s + `"` }
func inBrackets(all []string) string { return "[" + strings.Join(all, " ") + "]" }

// TestQuarantine is the queue's commands, for what is held by itself alone.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	h := verdictHouse(t, p.world(), verdictConfig, nil)
	d := h.connect("127.0.0.9", "x.example")
	id := func(author string) string {
		m := queuedAs.FindStringSubmatch(d.send("x@stranger.example", "From: a@"+author+"\r\n\r\nx"))
		if m == nil {
			t.Fatal("not taken")
		}
		return m[1]
	}
	held, other, plain := id("quarantine.example"), id("quarantine.example"), id("stranger.example")
	if err := h.app.queue.Hold(envelope.ID(plain)); err != nil { // by an operator: not quarantined
		t.Fatal(err)
	}
	list := func(a manage.QueueArgs) string {
		var all []string
		for _, m := range desked[[]manage.Message](h, manage.VerbQueueList, a) {
			all = append(all, m.ID+":"+m.Reason)
		}
		return strings.Join(all, " ")
	}
	both := held + ":dmarc-quarantine " + other + ":dmarc-quarantine"
	for want, a := range map[string]manage.QueueArgs{
		both:                     {Quarantine: true},
		both + " " + plain + ":": {},
		"":                       {Quarantine: true, Reason: "malware"},
	} {
		if got := list(a); got != want {
			t.Errorf("%+v: %s, want %s", a, got, want)
		}
	}
	if got := list(manage.QueueArgs{Reason: "dmarc-quarantine"}); got != both {
		t.Errorf("by reason: %s", got)
	}
	for _, verb := range []string{manage.VerbQueueShow, manage.VerbQueueRelease, manage.VerbQueueDrop} {
		raw := json.RawMessage(`{"ids":["` + plain + `"],"quarantine":true}`)
		if _, err := h.app.desk.Do(t.Context(), manage.Caller{}, verb, raw); err == nil {
			t.Errorf("%s reached what an operator holds", verb)
		}
		if _, err := h.app.desk.Do(t.Context(), manage.Caller{}, verb, json.RawMessage(`{"quarantine":true}`)); err == nil {
			t.Errorf("%s without a word of which", verb)
		}
	}
	desked[manage.Done](h, manage.VerbQueueRelease, manage.QueueArgs{IDs: []string{held}, Quarantine: true})
	desked[manage.Done](h, manage.VerbQueueDrop, manage.QueueArgs{All: true, Quarantine: true})
	if got := list(manage.QueueArgs{}); got != held+": "+plain+":" {
		t.Errorf("in the end: %s", got)
	}
}

func TestTypeOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint16{"a": 1, "AAAA": 28, "axfr": 252, "TYPE65534": 65534, "type1": 1} {
		if got, ok := typeOf(text); !ok || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "FOO", "65534", "TYPE", "TYPE65536", "TYPE-1", "TYPE1x"} {
		if got, ok := typeOf(text); ok {
			t.Errorf("%q: %d", text, got)
		}
	}
}
