package message

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/address"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func TestStripForged(t *testing.T) {
	t.Parallel()
	ours := func(id string) bool { return id == "edge.example.net" || id == "xn--bcher-kva.example" }
	for name, c := range map[string]struct {
		field string
		goes  bool
	}{
		"ours":                    {"Authentication-Results: edge.example.net; spf=pass", true},
		"any letter case":         {"AUTHENTICATION-results: EDGE.Example.Net; spf=pass", true},
		"folded":                  {"Authentication-Results:\r\n\tedge.example.net;\r\n spf=pass", true},
		"with a version":          {"Authentication-Results: edge.example.net 1; spf=pass", true},
		"version after a comment": {"Authentication-Results: edge.example.net (x) 1 (y); spf=pass", true},
		"version after a slash":   {"Authentication-Results: edge.example.net/1; spf=pass", true},
		"comment first":           {"Authentication-Results: (x) edge.example.net; spf=pass", true},
		"comment inside":          {"Authentication-Results: edge(x).(y)example.net; spf=pass", true},
		"comment inside a word":   {"Authentication-Results: ed(x)ge.example.net; spf=pass", true},
		"quoted":                  {`Authentication-Results: "edge.example.net"; spf=pass`, true},
		"quoted pairs":            {`Authentication-Results: "edge\.example.net"; spf=pass`, true},
		"semicolon in quotes":     {`Authentication-Results: "edge.example.net;x"; spf=pass`, true},
		"space in quotes":         {`Authentication-Results: "edge.example.net x"; spf=pass`, true},
		"quoted, someone else's":  {`Authentication-Results: "mx.example.org"; spf=pass`, false},
		"partly quoted":           {`Authentication-Results: "edge".example.net; spf=pass`, true},
		"spaces around the dots":  {"Authentication-Results: edge . example . net; spf=pass", true},
		"final dot":               {"Authentication-Results: edge.example.net.; spf=pass", true},
		"no result":               {"Authentication-Results: edge.example.net", true},
		"U-label":                 {"Authentication-Results: BÜCHER.example; spf=pass", true},
		"A-label":                 {"Authentication-Results: xn--bcher-kva.example; spf=pass", true},
		"obsolete colon":          {"Authentication-Results : edge.example.net; spf=pass", true},
		"no identifier":           {"Authentication-Results: spf=pass smtp.mailfrom=a.example", true},
		"empty":                   {"Authentication-Results:", true},
		"open comment":            {"Authentication-Results: (edge.example.net; spf=pass", true},
		"open quote":              {`Authentication-Results: "edge.example.net; spf=pass`, true},
		"someone else's":          {"Authentication-Results: mx.example.org; spf=pass", false},
		"ours only in a comment":  {"Authentication-Results: mx.example.org (edge.example.net); spf=pass", false},
		"ours only in a result":   {"Authentication-Results: mx.example.org; x=pass y.z=edge.example.net", false},
		"longer than ours":        {"Authentication-Results: not-edge.example.net; spf=pass", false},
		"Received-SPF":            {"Received-SPF: pass (x)", true},
		"Return-Path":             {"Return-path: <a@b.example>", true},
		"our mark":                {"x-postern-verdict: accept", true},
		"ARC":                     {"ARC-Authentication-Results: i=1; edge.example.net; spf=pass", false},
		"Subject":                 {"Subject: x", false},
	} {
		h, err := Parse([]byte(c.field + "\r\n"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, n := h.StripForged(ours); (n == 1) != c.goes {
			t.Errorf("%s: stripped %d, want gone %v", name, n, c.goes)
		}
	}
}

func TestReceived(t *testing.T) {
	t.Parallel()
	got := Trace{
		Helo: "mail.example.org", Client: netip.MustParseAddr("2001:db8::1"), Name: "mail.example.org.",
		By: "edge.example.net", With: Protocol(true, true, false, false), ID: "Q1",
		For: address.Address{Local: "a b", Domain: "example.net"}, Time: noon,
	}.Field()
	want := "Received: from mail.example.org (mail.example.org [IPv6:2001:db8::1]) by\r\n" +
		"\tedge.example.net with ESMTPS id Q1 for <\"a b\"@example.net>;\r\n" +
		"\tSat, 1 Aug 2026 12:00:00 +0000\r\n"
	if got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

// TestNothingBreaksOut feeds each value that a stranger chooses.
func TestDecode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":             "plain",
		"=?utf-8?q?a=40b?=": "a@b",
		"=?utf-8?q?a=?=":    "=?utf-8?q?a=?=",
		// One word in a charset unknown to us hid the others.
		"=?windows-1251?q?Hi?= =?utf-8?q?a=40b?=": "Hia@b",
		"=?x?q?a=40b?=": "a@b",
	} {
		if got := Decode(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestNothingBreaksOut(t *testing.T) {
	t.Parallel()
	evil := "x\r\nBcc: y\r\n\r\nbody (\") ; <\x00\xff" + strings.Repeat("z", 2000)
	trace := Trace{
		Helo: evil, Name: evil, By: evil, With: evil, ID: evil, Client: netip.MustParseAddr("192.0.2.1"), Time: noon,
		For: address.Address{Local: evil, Domain: evil},
	}
	for name, field := range map[string]string{
		"trace":   trace.Field(),
		"field":   FormatField("X-Test", evil, evil),
		"comment": FormatField("X-Test", Comment(evil)),
		"value":   FormatField("X-Test", Value(evil)),
	} {
		h, err := Parse([]byte(field))
		if err != nil || len(h.Fields()) != 1 {
			t.Errorf("%s: %v: %q", name, err, field)
		}
		for line := range strings.SplitSeq(field, "\r\n") {
			if len(line) > MaxLine {
				t.Errorf("%s: a line of %d octets", name, len(line))
			}
		}
	}
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"SMTP":       Protocol(false, true, true, false),
		"ESMTP":      Protocol(true, false, false, false),
		"ESMTPSA":    Protocol(true, true, true, false),
		"UTF8SMTPSA": Protocol(true, true, true, true),
		"UTF8SMTP":   Protocol(true, false, false, true),
	} {
		if got != want {
			t.Errorf("got %s, want %s (RFC 3848; RFC 6531, Section 4.3)", got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	h, err := parse(t, "From: a@b.example", "BCC: secret@c.example", " more@c.example", "Resent-Bcc: x@y.example").Complete(noon, "id1", "b.example")
	if err != nil {
		t.Fatal(err)
	}
	want := "Date: Sat, 1 Aug 2026 12:00:00 +0000\r\nMessage-ID: <id1@b.example>\r\nFrom: a@b.example\r\n"
	if string(h.Bytes()) != want {
		t.Errorf("got %q, want %q", h.Bytes(), want)
	}
	kept := parse(t, "date: 1 Aug 26 12:00 GMT (noon)", "message-id: <no at sign>", "From: a@b.example")
	if out, err := kept.Complete(noon, "id1", "b.example"); err != nil || strings.Contains(string(out.Bytes()), "no at sign") {
		t.Errorf("a Message-ID with blanks: %q %v", out.Bytes(), err)
	}
	kept = parse(t, "date: 1 Aug 26 12:00 GMT (noon)", "message-id: <y%z>", "From: a@b.example")
	if out, err := kept.Complete(noon, "id1", "b.example"); err != nil || string(out.Bytes()) != string(kept.Bytes()) {
		t.Errorf("what stands is kept: %q %v", out.Bytes(), err)
	}
	if kept.MessageID() != "<y%z>" {
		t.Errorf("Message-ID read as %q", kept.MessageID())
	}
}

// RFC 6409, Sections 8.2 and 8.3: what is there and no date or identifier is
// replaced; RFC 5322, Section 3.6: of several one stays, the first that is one.
func TestCompleteReplaces(t *testing.T) {
	t.Parallel()
	const date, made = "Date: Sat, 1 Aug 2026 12:00:00 +0000\r\n", "Message-ID: <id1@b.example>\r\n"
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"empty":               {[]string{"Date:", "Message-ID: "}, date + made},
		"nonsense":            {[]string{"Date: yesterday", "Message-ID: 17"}, date + made},
		"brackets with blank": {[]string{"Date: 2026-08-01", "Message-ID: <a b>"}, date + made},
		"empty brackets":      {[]string{"DATE : x", "message-id : <>"}, date + made},
		"two in one":          {[]string{"Message-ID: <a@b> <c@d>"}, date + made},
		"two dates":           {[]string{"Date: Sat, 01 Aug 2026 10:00:00 +0200", "Date: Sun, 2 Aug 2026 10:00:00 +0200"}, made + "Date: Sat, 01 Aug 2026 10:00:00 +0200\r\n"},
		"a bad one first":     {[]string{"Date: x", "Date: Sat, 01 Aug 2026 10:00:00 +0200", "Message-ID: x", "Message-ID: <a@b>", "Message-ID: <c@d>"}, "Date: Sat, 01 Aug 2026 10:00:00 +0200\r\nMessage-ID: <a@b>\r\n"},
		"folded":              {[]string{"Date:", " Sat, 01 Aug 2026", " 10:00:00 +0200", "Message-ID:", " <a@b>"}, "Date:\r\n Sat, 01 Aug 2026\r\n 10:00:00 +0200\r\nMessage-ID:\r\n <a@b>\r\n"},
		"without a weekday":   {[]string{"Date: 1 Aug 2026 10:00 EST", "Message-ID: <a@b>"}, "Date: 1 Aug 2026 10:00 EST\r\nMessage-ID: <a@b>\r\n"},
	} {
		h, err := parse(t, c.fields...).Complete(noon, "id1", "b.example")
		if err != nil || string(h.Bytes()) != c.want {
			t.Errorf("%s: got %q, want %q, %v", name, h.Bytes(), c.want, err)
		}
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"example.com": "example.com", "a@b.example": "a@b.example", "@b.example": "@b.example",
		"": `""`, "a b": `"a b"`, `a"\`: `"a\"\\"`, "a;dkim=pass": `"a;dkim=pass"`, "a@b@c": `"a@b@c"`,
	} {
		if got := Value(in); got != want {
			t.Errorf("Value(%q) = %s, want %s (RFC 8601, Section 2.2)", in, got, want)
		}
	}
}
