package accept

import (
	"maps"
	"strings"
	"testing"
	"time"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/inspect"
	"postern/internal/mail/seal"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

// internet is a sender with everything in order, and others without.
var internet = lookuptest.Map{
	"1.2.0.192.in-addr.arpa PTR": {"mail.example.org"},
	"mail.example.org A":         {"192.0.2.1"},
	"mail.example.org TXT":       {"v=spf1 a -all"},
	"example.org TXT":            {"v=spf1 ip4:192.0.2.1 -all"},
	"_dmarc.example.org TXT":     {"v=DMARC1; p=reject"},
	"_dmarc.victim.example TXT":  {"v=DMARC1; p=reject"},
	"_dmarc.soft.example TXT":    {"v=DMARC1; p=quarantine"},
	"_dmarc.none.example TXT":    {"v=DMARC1; p=none"},
	"_dmarc.broken.example TXT":  {"SERVFAIL"},
}

func TestInboundPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t, internet, nil)
	r := w.arrive("a@example.org", unix(
		"Return-Path: <x@y.example>", "Authentication-Results: edge.example.net; dmarc=pass header.from=victim.example",
		"Authentication-Results: inner.city.example; dmarc=pass", "Authentication-Results: other.example; none",
		"From: A <a@example.org>", "Subject: hello", "", "Body  text ", "..dots"))
	env, h, body := w.stored()
	if r == nil || r.Code != 250 || r.Enhanced != "2.0.0" || !strings.Contains(r.Text, string(env.ID)) {
		t.Errorf("reply %v, want 250 2.0.0 with %s", r, env.ID)
	}
	if len(w.queue.added) != 1 || w.queue.added[0] != env.ID {
		t.Errorf("queue got %v", w.queue.added)
	}
	var names []string
	for _, f := range h.Fields() {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, " "); got != "Authentication-Results Received Authentication-Results From Subject" {
		t.Errorf("fields %s", got)
	}
	want := "edge.example.net; iprev=pass (mail.example.org) policy.iprev=192.0.2.1; spf=pass smtp.mailfrom=example.org; " +
		"spf=pass smtp.helo=mail.example.org; dkim=none; dmarc=pass (p=reject) header.from=example.org"
	if got := value(h, "Authentication-Results"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	want = "from mail.example.org (mail.example.org [192.0.2.1]) by edge.example.net with ESMTPS id " + string(env.ID) +
		" for <b@city.example>; Sat, 1 Aug 2026 12:00:00 +0000"
	if got := value(h, "Received"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if body != "Body  text \r\n..dots\r\n" {
		t.Errorf("the body was touched: %q", body)
	}
	if w.door.Counters.Inbound.Value() != 1 || w.door.Counters.Forged.Value() != 3 {
		t.Errorf("counted %d accepted, %d forged", w.door.Counters.Inbound.Value(), w.door.Counters.Forged.Value())
	}
}

func TestInboundRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ from, msg, code, reason, text string }{
		"p=reject":                       {"a@example.org", unix("From: ceo@victim.example", "", "x"), "550 5.7.1", verdict.ReasonReject, "DMARC policy of victim.example"},
		"p=reject behind a display name": {"a@example.org", unix("From: x@example.org <ceo@victim.example>", "", "x"), "550 5.7.1", verdict.ReasonReject, "victim.example"},
		"p=reject among several":         {"a@example.org", unix("From: a@example.org, ceo@victim.example", "", "x"), "550 5.7.1", verdict.ReasonReject, "victim.example"},
		"p=reject of an ancestor":        {"a@example.org", unix("From: ceo@mail.victim.example", "", "x"), "550 5.7.1", verdict.ReasonReject, "mail.victim.example"},
		"two From fields":                {"a@example.org", unix("From: a@example.org", "From: ceo@victim.example", "", "x"), "550 5.6.0", verdict.ReasonManyFrom, ""},
		"no From":                        {"a@example.org", unix("Subject: x", "", "x"), "550 5.6.0", verdict.ReasonNoFrom, ""},
		"DNS does not answer":            {"a@example.org", unix("From: a@broken.example", "", "x"), "451 4.4.3", verdict.ReasonDNS, "broken.example"},
		"not a header":                   {"a@example.org", unix("From: a@example.org", "oops", "", "x"), "550 5.6.0", "malformed-header", ""},
		"a loop":                         {"a@example.org", strings.Repeat("Received: x\r\n", 50) + unix("From: a@example.org", "", "x"), "554 5.4.6", "mail-loop", ""},
		"a thousand fields":              {"a@example.org", strings.Repeat("X: y\r\n", 1001) + unix("", "x"), "552 5.3.4", "header-too-large", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, internet, nil)
			r := w.arrive(c.from, c.msg)
			if !strings.HasPrefix(r.String(), c.code) || r.Reason != c.reason || !strings.Contains(r.Text, c.text) {
				t.Errorf("got %s (%s), want %s (%s) %s", r, r.Reason, c.code, c.reason, c.text)
			}
			w.nothing()
		})
	}
}

func TestInboundSigned(t *testing.T) {
	t.Parallel()
	k, txt := key(t, "victim.example", "k")
	dns := maps.Clone(internet)
	dns["k._domainkey.victim.example TXT"] = []string{txt}
	w := newWorld(t, dns, nil)
	header, body := "From: ceo@victim.example\r\nSubject: x\r\n", "forwarded by example.org\r\n"
	sig, err := seal.Sign([]byte(header), strings.NewReader(body), []seal.Key{k})
	if err != nil {
		t.Fatal(err)
	}
	if r := w.arrive("a@example.org", string(sig)+header+"\r\n"+body); r.Code != 250 {
		t.Fatalf("got %v", r)
	}
	_, h, stored := w.stored()
	if got := value(h, "Authentication-Results"); !strings.Contains(got, "dkim=pass header.d=victim.example header.s=k header.a=ed25519-sha256 header.b=") ||
		!strings.Contains(got, "dmarc=pass (p=reject) header.from=victim.example") {
		t.Errorf("got %s", got)
	}
	if sigs := verified(t, dns, h, stored); len(sigs) != 1 || sigs[0].Status.String() != "pass" {
		t.Errorf("what we add must not break the signature: %+v", sigs)
	}
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	forged := unix("X-Postern-Verdict: accept", "From: a@soft.example", "", "x")

	w := newWorld(t, internet, nil)
	if r := w.arrive("a@example.org", forged); r.Code != 250 {
		t.Fatalf("hold: got %v", r)
	}
	env, h, _ := w.stored()
	if len(w.queue.added) != 0 || len(w.queue.held) != 1 {
		t.Errorf("hold: queue got %v to try, %v to hold", w.queue.added, w.queue.held)
	}
	states := w.spool.Journal().States(env.ID)
	if len(states) != 1 || states[0].Status != spool.Held || states[0].Text != verdict.ReasonQuarantine {
		t.Errorf("hold: journal says %+v", states)
	}
	if got := value(h, Mark); got != "quarantine; reason=dmarc-quarantine" || h.Count(Mark) != 1 {
		t.Errorf("hold: mark %q, %d times", got, h.Count(Mark))
	}

	w = newWorld(t, internet, func(c *Config) { c.Quarantine = Tag })
	if r := w.arrive("a@example.org", forged); r.Code != 250 {
		t.Fatalf("tag: got %v", r)
	}
	if _, h, _ = w.stored(); len(w.queue.added) != 1 || value(h, Mark) != "quarantine; reason=dmarc-quarantine" {
		t.Errorf("tag: queue got %v, mark %q", w.queue.added, value(h, Mark))
	}
	if w.door.Counters.Tagged.Value() != 1 {
		t.Error("tag: not counted")
	}
}

func TestHeldMessageWhoseCommitFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, internet, nil)
	d := w.draft(unix("From: a@soft.example", "", "x"))
	d.Abort() // as a failing disk would
	p := w.look.Begin(w.envelope(0, "").Client)
	defer p.Close()
	env := w.envelope(0, "a@example.org", "b@city.example")
	r := w.door.Inbound(t.Context(), d, env, p)
	if r.Code != 451 || r.Reason != "spool-fault" {
		t.Errorf("got %v", r)
	}
	if got := w.spool.Journal().States(d.ID()); len(got) != 0 {
		t.Errorf("state of a message that is not: %+v", got)
	}
	w.nothing()
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, internet, func(c *Config) { c.DMARC = verdict.Monitor })
	if r := w.arrive("a@example.org", unix("From: ceo@victim.example", "", "x")); r.Code != 250 {
		t.Fatalf("got %v", r)
	}
	if _, h, _ := w.stored(); !strings.Contains(value(h, "Authentication-Results"), "dmarc=fail (p=reject) header.from=victim.example policy.dmarc=reject") {
		t.Errorf("got %s", value(h, "Authentication-Results"))
	}
}

// TestForgedSenderIsSentTheBounce takes messages that the inner server may yet
// refuse. Who is told of it was not to be told unless its own domain vouches.
func TestForgedSenderIsSentTheBounce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, author string
		want         bool
	}{
		"SPF fails, no policy":             {"ceo@strict.example", "ceo@strict.example", true},
		"SPF fails, DMARC fails (p=none)":  {"ceo@strict.example", "a@none.example", true},
		"no SPF, DMARC fails (p=none)":     {"a@none.example", "a@none.example", true},
		"no SPF, DMARC fails (quarantine)": {"a@soft.example", "a@soft.example", true},
		"SPF passes, DMARC fails: a list":  {"a@example.org", "a@none.example", false},
		"SPF passes, DMARC passes":         {"a@example.org", "a@example.org", false},
		"SPF softfails, no policy":         {"a@weak.example", "a@weak.example", true},
		"no SPF, no policy":                {"a@plain.example", "a@plain.example", true},
		"null sender: there is none":       {"", "a@plain.example", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dns := maps.Clone(internet)
			dns["strict.example TXT"], dns["weak.example TXT"] = []string{"v=spf1 -all"}, []string{"v=spf1 ~all"}
			w := newWorld(t, dns, func(c *Config) { c.Quarantine = Tag })
			if r := w.arrive(c.from, unix("From: "+c.author, "", "x")); r.Code != 250 {
				t.Fatalf("got %v", r)
			}
			if env, _, _ := w.stored(); env.NoBounce != c.want {
				t.Errorf("no bounce %v, want %v", env.NoBounce, c.want)
			}
			if n := w.door.Counters.Suspect.Value(); (n == 1) != c.want {
				t.Errorf("counted %d", n)
			}
		})
	}
}

// TestForwardedMessageLostItsBounce has SPF fail for a forwarder, as it must, and
// the sender's own signature pass.
func TestForwardedMessageLostItsBounce(t *testing.T) {
	t.Parallel()
	k, txt := key(t, "strict.example", "k")
	dns := maps.Clone(internet)
	dns["strict.example TXT"], dns["k._domainkey.strict.example TXT"] = []string{"v=spf1 -all"}, []string{txt}
	for from, want := range map[string]bool{"a@strict.example": false, "a@mail.strict.example": false, "a@other.example": true} {
		dns["other.example TXT"], dns["mail.strict.example TXT"] = dns["strict.example TXT"], dns["strict.example TXT"]
		w := newWorld(t, dns, nil)
		header, body := "From: a@strict.example\r\n", "x\r\n"
		sig, err := seal.Sign([]byte(header), strings.NewReader(body), []seal.Key{k})
		if err != nil {
			t.Fatal(err)
		}
		if r := w.arrive(from, string(sig)+header+"\r\n"+body); r.Code != 250 {
			t.Fatalf("got %v", r)
		}
		if env, _, _ := w.stored(); env.NoBounce != want {
			t.Errorf("%s: no bounce %v, want %v", from, env.NoBounce, want)
		}
	}
}

// TestChecksThatWereOffAskedTheDNS takes a message where nothing is to be checked.
func TestChecksThatWereOffAskedTheDNS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, nil)
	asked := &lookuptest.Recorder{Map: internet}
	w.look = inspect.New(inspect.Config{Resolver: asked})
	t.Cleanup(func() { _ = w.look.Stop(t.Context()) })
	msg := unix("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=; b=", "From: a@example.org", "", "x")
	if r := w.arrive("a@example.org", msg); r.Code != 250 || len(asked.Asked()) != 0 {
		t.Errorf("got %v after asking %v", r, asked.Asked())
	}
	if env, _, _ := w.stored(); !env.NoBounce {
		t.Error("what was not checked counts as proved")
	}
}

// TestPatienceEnds keeps a domain's DNS failing for longer than we wait.
func TestPatienceEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, internet, nil)
	msg := unix("From: a@broken.example", "", "x")
	for _, step := range []struct {
		after time.Duration
		code  int
	}{
		{0, 451},
		{3 * time.Hour, 451},
		{2 * time.Hour, 250},
		{48 * time.Hour, 451}, // a new failure, as far as we know
	} {
		w.clock = w.clock.Add(step.after)
		if r := w.arrive("a@example.org", msg); r.Code != step.code {
			t.Errorf("after %s more: %v, want %d", step.after, r, step.code)
		}
	}
}

// TestPatienceEndsInQuarantineWherePolicyIsKnown has a forger sign with a key of
// the author's domain that cannot be looked up, for longer than we wait.
func TestPatienceEndsInQuarantineWherePolicyIsKnown(t *testing.T) {
	t.Parallel()
	dns := maps.Clone(internet)
	dns["s._domainkey.victim.example TXT"] = []string{"SERVFAIL"}
	w := newWorld(t, dns, nil)
	msg := unix("DKIM-Signature: v=1; a=rsa-sha256; d=victim.example; s=s; h=from; bh=; b=", "From: ceo@victim.example", "", "x")
	if r := w.arrive("a@example.org", msg); r.Code != 451 {
		t.Fatalf("at first: %v, want 451", r)
	}
	w.clock = w.clock.Add(5 * time.Hour)
	if r := w.arrive("a@example.org", msg); r.Code != 250 {
		t.Fatalf("after 5 h: %v, want 250", r)
	}
	if _, h, _ := w.stored(); len(w.queue.added) != 0 || len(w.queue.held) != 1 || value(h, Mark) != "quarantine; reason=dns-failing-quarantine" {
		t.Errorf("queue got %v to try, %v to hold; mark %q", w.queue.added, w.queue.held, value(h, Mark))
	}
}

func TestFailingIsBounded(t *testing.T) {
	t.Parallel()
	f := failing{since: map[string]span{}}
	for i := range maxFailing {
		if !f.note(strings.Repeat("a", 1+i%60)+string(rune('a'+i%26))+time.Duration(i).String(), noon) {
			t.Fatalf("no room at %d", i)
		}
	}
	if f.note("one.more.example", noon) {
		t.Error("the bound does not hold")
	}
	if !f.note("one.more.example", noon.Add(gap+time.Second)) {
		t.Error("what is over makes no room")
	}
}
