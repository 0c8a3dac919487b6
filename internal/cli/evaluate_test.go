package cli

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// worldOf serves TXT and A records until the test ends, and is asked by UDP alone
// but for texts that do not fit. A text SERVFAIL fails.
func worldOf(t *testing.T, records map[string]string) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Skipf("the port is taken for TCP: %v", err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		asked := q.Question[0]
		data, ok := records[strings.ToLower(asked.Name)+" "+dns.TypeToString[asked.Qtype]]
		switch {
		case data == "SERVFAIL":
			m.Rcode = dns.RcodeServerFailure
		case !ok:
			m.Rcode = dns.RcodeNameError
		default:
			rr, err := dns.NewRR(asked.Name + " 60 IN " + dns.TypeToString[asked.Qtype] + " " + data)
			if err != nil {
				panic(err) // a record that a test wrote
			}
			m.Answer = []dns.RR{rr}
		}
		if w.RemoteAddr().Network() == "udp" && m.Len() > 600 {
			m.Answer, m.Truncated = nil, true
		}
		_ = w.WriteMsg(m) // a lost reply is asked for again
	})
	ended := make(chan error, 2)
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		go func() { ended <- s.ActivateAndServe() }()
	}
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		<-ended
		<-ended
	})
	return udp.LocalAddr().String()
}

const signedByRFC8463 = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`

func TestOneCase(t *testing.T) {
	t.Parallel()
	server := worldOf(t, map[string]string{
		"good.example. TXT":                             `"v=spf1 ip4:192.0.2.1 -all"`,
		"long.example. TXT":                             `"v=spf1 ` + strings.Repeat("ip4:198.51.100.7 ", 14) + `" "` + strings.Repeat("ip4:198.51.100.7 ", 14) + `" "` + strings.Repeat("ip4:198.51.100.7 ", 14) + `ip4:192.0.2.1 -all"`,
		"broken.example. TXT":                           "SERVFAIL",
		"football.example.com. TXT":                     `"v=spf1 -all"`,
		"_dmarc.example.com. TXT":                       `"v=DMARC1; p=reject"`,
		"brisbane._domainkey.football.example.com. TXT": `"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`,
	})
	for _, c := range []struct {
		line, stdin string
		code        int
		want        string
	}{
		{"test", "", exitUsage, "dkim, dmarc, spf"},
		{"test spf", "", exitUsage, "--ip"},
		{"test spf --ip 192.0.2.1 --from nobody", "", exitUsage, "--from"},
		{"test spf --ip 192.0.2.1 --helo good.example --resolver nowhere", "", exitUsage, "--resolver"},
		{"test dkim", "", exitUsage, "--message"},
		{"test dkim --message - --now noon", "x: y\n\nz", exitUsage, "--now"},
		{"test dkim --message /nowhere", "", exitWrong, "/nowhere"},

		{"test spf --ip 192.0.2.1 --helo good.example", "", exitFine, "spf      pass smtp.helo=good.example (matched ip4)"},
		{"test spf --ip ::ffff:192.0.2.1 --helo x --from a@long.example", "", exitFine, "spf      pass smtp.mailfrom=long.example"},
		{"test spf --ip 192.0.2.9 --helo good.example --from a@good.example", "", exitWrong, "spf      fail smtp.mailfrom=good.example"},
		{"test spf --ip 192.0.2.1 --from a@broken.example", "", exitWrong, "spf      temperror smtp.mailfrom=broken.example"},
		{"test spf --ip 192.0.2.9 --from @good.example", "", exitWrong, "spf      fail smtp.mailfrom=good.example"}, // RFC 7208, Section 4.3
		{"test spf --ip 192.0.2.1 --from a@b..example", "", exitFine, "spf      none smtp.mailfrom=b..example"},
		{"test spf --ip 192.0.2.1 --from a@none.example", "", exitFine, "spf      none"},

		{"test dkim --message -", signedByRFC8463, exitFine, "dkim     pass header.d=football.example.com header.s=brisbane header.a=ed25519-sha256"},
		{"test dkim --message -", strings.ReplaceAll(signedByRFC8463, "\n", "\r\n"), exitFine, "dkim     pass"},
		{"test dkim --message - --now 1528600000", signedByRFC8463, exitWrong, "dkim     policy header.d=football.example.com header.s=brisbane header.a=ed25519-sha256 (signature is from the future)"},
		{"test dkim --message - --now 2018-06-11T00:00:00Z", signedByRFC8463, exitFine, "dkim     pass"},
		{"test dkim --message -", signedByRFC8463 + "x\n", exitWrong, "dkim     fail"},
		{"test dkim --message -", "From: a@b.example\n\nx\n", exitFine, "dkim     none: not signed"},

		{"test dmarc --message - --ip 192.0.2.1 --helo good.example --from a@good.example", signedByRFC8463, exitFine, "aligned  spf no, dkim yes"},
		{"test dmarc --message - --ip 192.0.2.1 --from a@good.example", signedByRFC8463 + "x\n", exitWrong, "verdict  reject (dmarc-reject)"},
		{"test dmarc --message - --ip 192.0.2.1", "Subject: x\n\ny\n", exitWrong, "reply    550 5.6.0"},
		{"test dmarc --message - --ip 192.0.2.1", "From: a@none.example\n\ny\n", exitFine, "verdict  accept (no-policy)"},
	} {
		args := strings.Fields(c.line)
		if len(args) > 2 && !strings.Contains(c.line, "--resolver") {
			args = append(args, "--resolver", server)
		}
		code, out, errs := command(t, c.stdin, args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("postern %s: exit %d\n%s%swant exit %d with %q", c.line, code, out, errs, c.code, c.want)
		}
	}
	code, out, _ := command(t, signedByRFC8463, "test", "dmarc", "--message", "-", "--ip", "192.0.2.1", "--resolver", server, "--json")
	var got struct {
		DMARC   string
		Author  string
		At      string
		Action  string
		Aligned bool   `json:"dkim_aligned"`
		Results string `json:"authentication_results"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitFine || got.DMARC != "pass" || got.Author != "football.example.com" ||
		got.At != "example.com" || got.Action != "accept" || !got.Aligned || !strings.Contains(got.Results, "dmarc=pass") {
		t.Errorf("exit %d, %+v, %v", code, got, err)
	}
}
