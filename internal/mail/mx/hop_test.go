package mx

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
)

// What the next hop would refuse is refused here: for a recipient at RCPT, and
// at the dot where all are refused for what only the message tells.
func TestNextHopThatRefuses(t *testing.T) {
	t.Parallel()
	refuse := func(to address.Address, n Needs) *smtpline.Reply {
		switch {
		case to.Domain != "example.test":
			return nil // takes all
		case n.UTF8:
			return smtpline.Refuse(550, "5.6.7", "test", "no")
		case n.Size > 200:
			return smtpline.Refuse(552, "5.3.4", "test", "no")
		}
		return nil
	}
	utf8 := "Subject: \u00fc\r\n\r\nx\r\n"
	for name, c := range map[string]struct {
		mail, rcpt, text string
		codes            []string // RCPT, and the dot
	}{
		"a recipient beyond ASCII":                 {"MAIL FROM:<a@example.net> SMTPUTF8", "<\u00fc@example.test>", "", []string{"550"}},
		"a sender beyond ASCII":                    {"MAIL FROM:<\u00fc@example.net> SMTPUTF8", "<b@example.test>", "", []string{"550"}},
		"a size that was said":                     {"MAIL FROM:<a@example.net> SIZE=201", "<b@example.test>", "", []string{"552"}},
		"a size that was not said":                 {"MAIL FROM:<a@example.net>", "<b@example.test>", "A: 1\r\n\r\n" + strings.Repeat("x", 200) + "\r\n", []string{"250", "552"}},
		"a header beyond ASCII":                    {"MAIL FROM:<a@example.net> SMTPUTF8", "<b@example.test>", utf8, []string{"250", "550"}},
		"SMTPUTF8 that is not needed":              {"MAIL FROM:<a@example.net> SMTPUTF8", "<b@example.test>", "A: 1\r\n\r\n\u00fc\r\n", []string{"250", "250"}},
		"old eight-bit header, nobody said UTF-8":  {"MAIL FROM:<a@example.net> BODY=8BITMIME", "<b@example.test>", utf8, []string{"250", "250"}},
		"another domain, whose next hop takes all": {"MAIL FROM:<a@example.net> SMTPUTF8", "<\u00fc@xn--bcher-kva.test>", utf8, []string{"250", "250"}},
	} {
		s, k := world(t, func(c *Config) { c.Refuse = refuse })
		conn, read := talk(t, s)
		ask := func(line string) string {
			send(t, conn, line)
			return read()[:3]
		}
		ask("EHLO client")
		ask(c.mail)
		got := []string{ask("RCPT TO:" + c.rcpt)}
		if got[0] == "250" {
			ask("DATA")
			got = append(got, ask(c.text+"."))
		}
		if strings.Join(got, " ") != strings.Join(c.codes, " ") {
			t.Errorf("%s: %v, want %v", name, got, c.codes)
		}
		if envs, _ := k.taken(); (len(envs) == 1) != (c.codes[len(c.codes)-1] == "250") {
			t.Errorf("%s: %d taken", name, len(envs))
		}
	}
}

// TestSwaksSaysWhoItIs by PROXY and by XCLIENT: a real client's idea of both.
func TestSwaksSaysWhoItIs(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("swaks")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("swaks is not installed")
		}
		t.Skip("swaks is not installed")
	}
	self := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	proxy := func(c *smtpd.Config) { c.Proxy, c.Proxies, c.Limits.Proxy = true, self, time.Second }
	xclient := func(c *smtpd.Config) { c.XClient = self }
	v4 := []string{"--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM", "--proxy-command", "PROXY", "--proxy-source", "203.0.113.7", "--proxy-source-port", "4000", "--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25"}
	v6 := []string{"--proxy-version", "2", "--proxy-family", "AF_INET6", "--proxy-protocol", "STREAM", "--proxy-command", "PROXY", "--proxy-source", "2001:db8::7", "--proxy-source-port", "4000", "--proxy-dest", "2001:db8::1", "--proxy-dest-port", "25"}
	v1 := append([]string{"--proxy-version", "1", "--proxy-family", "TCP4"}, v4[8:]...)
	for name, c := range map[string]struct {
		edit   func(*smtpd.Config)
		args   []string
		client string // "": refused
	}{
		"PROXY of IPv4":          {proxy, v4, "203.0.113.7"},
		"PROXY of IPv6":          {proxy, v6, "2001:db8::7"},
		"PROXY version 1":        {proxy, v1, ""},
		"PROXY that is missing":  {proxy, nil, ""},
		"PROXY not asked for":    {nil, v4, ""},
		"XCLIENT":                {xclient, []string{"--xclient-addr", "203.0.113.8", "--xclient-name", "host.example.net", "--xclient-helo", "helo.example.net", "--xclient-proto", "ESMTP"}, "203.0.113.8"},
		"XCLIENT of IPv6":        {xclient, []string{"--xclient-addr", "IPV6:2001:db8::8", "--xclient-port", "99"}, "2001:db8::8"},
		"XCLIENT not trusted":    {nil, []string{"--xclient-addr", "203.0.113.8"}, ""},
		"XCLIENT with a login":   {xclient, []string{"--xclient", "ADDR=203.0.113.8 LOGIN=ann@example.test"}, ""},
		"XCLIENT behind a proxy": {func(c *smtpd.Config) { proxy(c); xclient(c) }, append([]string{"--xclient-addr", "203.0.113.8"}, v4...), ""},
	} {
		s, k := worldOn(t, nil, c.edit)
		args := append([]string{"--server", s.Addr().String(), "--from", "a@example.net", "--to", "user@example.test", "--helo", "client"}, c.args...)
		out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
		envs, _ := k.taken()
		got := ""
		if len(envs) == 1 {
			got = envs[0].Client.String()
		}
		if got != c.client || (err == nil) != (c.client != "") {
			t.Errorf("%s: client %q, want %q; %v\n%s", name, got, c.client, err, out)
		}
	}
}
