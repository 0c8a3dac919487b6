package route

import (
	"strings"
	"testing"
)

func TestParseHop(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "10.0.0.5", "10.0.0.5:25", "http://x", "smtp:", "smtp://", "smtp://:25", "smtp://x:0", "smtp://x:65536", "smtp://x:port",
		"smtp://x/path", "smtp://x?q", "smtp://x#f", "smtp:///path", "smtps:///path", "maildir:", "lmtp:", "lmtp:///\x00", "smtps://u:hunter2@x", "smtps://u:hunter2@x:y", "smpt://u:hunter2@x", "smtps://hunter2@x/p", "smtp://x?password=hunter2", "u:hunter2@x", "hunter2@x", "smtp:u:hunter2@x", "smtps://hunter2@x:y", "hunter2@://x", "SMTP://x", "smtp:x",
	} {
		h, err := ParseHop(bad)
		if err == nil {
			t.Errorf("%q was read as %+v", bad, h)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	for in, want := range map[string]Hop{
		"smtp://10.0.0.5:25":        {Protocol: SMTP, Host: "10.0.0.5", Port: 25},
		"smtp://[2001:db8::1]:2525": {Protocol: SMTP, Host: "2001:db8::1", Port: 2525},
		"smtp://Mail.Example":       {Protocol: SMTP, Host: "mail.example", Port: 25},
		"smtps://user@relay.test":   {Protocol: SMTPS, Host: "relay.test", Port: 465, User: "user", TLS: TLS{Mode: Required}},
		"smtp://user@relay.test":    {Protocol: SMTP, Host: "relay.test", Port: 25, User: "user", TLS: TLS{Mode: Required}},
		"smtps://10.0.0.5":          {Protocol: SMTPS, Host: "10.0.0.5", Port: 465, TLS: TLS{Mode: Required}},
		"lmtp://[::1]:24":           {Protocol: LMTP, Host: "::1", Port: 24},
		"lmtp:/run/lmtp":            {Protocol: LMTP, Path: "/run/lmtp"},
		"lmtp:///run/lmtp":          {Protocol: LMTP, Path: "/run/lmtp"},
		"maildir:/var/mail/":        {Protocol: Maildir, Path: "/var/mail"},
		"maildir:var/maildir":       {Protocol: Maildir, Path: "var/maildir"},
	} {
		got, err := ParseHop(in)
		if err != nil || got.String() != want.String() || got.Protocol != want.Protocol || got.Host != want.Host || got.Port != want.Port ||
			got.Path != want.Path || got.User != want.User || got.TLS.Mode != want.TLS.Mode {
			t.Errorf("%q: %+v (%v), want %+v", in, got, err, want)
		}
	}
}

func TestHopString(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"smtps://user@relay.test": "smtps://relay.test:465",
		"lmtp://[::1]":            "lmtp://[::1]:24",
		"maildir:/var/mail":       "maildir:/var/mail",
	} {
		if h, err := ParseHop(in); err != nil || h.String() != want {
			t.Errorf("%q prints as %q (%v)", in, h, err)
		}
	}
	if Protocol(99).String() != "none" || Required.String() != "required" || Opportunistic.String() != "opportunistic" {
		t.Error("names")
	}
}
