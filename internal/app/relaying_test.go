package app

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const relayingConfig = `[server]
hostname = "edge.city.example"
state    = "state"
control  = "c.sock"
[[listen]]
serve   = "mx"
address = ["127.0.0.1:0"]
proxy   = true
[[listen]]
serve   = "relay"
address = ["127.0.0.1:0"]
proxy   = true
[[listen]]
serve     = "submission"
address   = ["127.0.0.1:0"]
transport = ["tls"]
proxy     = true
[mail]
domains = ["city.example", "town.example"]
[mail.route."city.example"]
next_hop = ["maildir:mail"]
[mail.route."town.example"]
next_hop = ["maildir:mail"]
[mail.inbound]
trusted_proxies = ["127.0.0.1"]
trusted_xclient = ["127.0.0.1"]
[[mail.relay]]
name    = "inner"
clients = ["10.0.0.5", "fd00::5"]
senders = ["@city.example", "<>"]
[mail.outbound]
mode = "hold"
[limits]
exempt = ["any"]
`

// what a recipient is to the doors.
type leading uint8

const (
	nowhere leading = iota // not an address
	home                   // ours
	abroad                 // somebody else's
	through                // ours by its domain, and further by its local part
	past                   // somebody else's by its domain, and further by its local part
	blurred                // ours or not, with octets that a reader may cut at
)

var relayForms = map[string]leading{
	"<ann@city.example>": home, "<ANN@CITY.EXAMPLE>": home, "<ann+tag@city.example>": home, "<postmaster>": home, "<Postmaster>": home,
	"<postmaster@town.example>": home, `<"ann"@city.example>`: home, `<"ann.b"@city.example>`: home, `<"a\nn"@city.example>`: home, "<ann@town.example>": home,

	"<bob@other.example>": abroad, "<bob@sub.city.example>": abroad, "<bob@notcity.example>": abroad, "<bob@city.example.other.example>": abroad,
	"<bob@example>": abroad, "<bob@edge.city.example>": abroad, "<bob@localhost>": abroad, "<bob@[127.0.0.1]>": abroad, "<bob@[10.0.0.5]>": abroad,
	"<bob@[IPv6:::1]>": abroad, "<bob@[192.0.2.1]>": abroad, "<postmaster@other.example>": abroad, "<bob@xn--city-abc.example>": abroad, "<bob@city.example.com>": abroad,

	"<bob%other.example@city.example>": through, "<bob%other.example%city.example@town.example>": through, "<other.example!bob@city.example>": through,
	"<a!b!c@city.example>": through, "<bob%other.example@other.example>": past, "<other.example!bob@other.example>": past,

	`<"bob@other.example"@city.example>`: blurred, `<"bob@other.example>"@city.example>`: blurred, `<"bob other.example"@city.example>`: blurred,
	`<"bob@other.example> NOTIFY=NEVER"@city.example>`: blurred, `<"bob\@other.example"@city.example>`: blurred, `<"a,bob@other.example"@city.example>`: blurred,
	`<"a;b"@city.example>`: blurred, `<"(x)bob"@city.example>`: blurred, `<"\"bob\""@city.example>`: blurred, `<"@other.example:bob"@city.example>`: blurred,
	`<"bob@other.example"@other.example>`: blurred, `<" "@city.example>`: blurred, `<"a\\b"@city.example>`: blurred, `<"[bob]"@city.example>`: blurred,

	"<@city.example:bob@other.example>": nowhere, "<@other.example:ann@city.example>": nowhere, "<@city.example,@other.example:ann@city.example>": nowhere,
	"<bob@other.example@city.example>": nowhere, "<bob@city.example@other.example>": nowhere, "<ann@city.example.>": nowhere, "<bob@>": nowhere, "<bob>": nowhere,
	"<@city.example>": nowhere, "<>": nowhere, "bob@other.example": nowhere, "ann@city.example": nowhere, "<ann@city.example": nowhere, "<ann@city.example>x": nowhere,
	"<ann @city.example>": nowhere, "<ann@city .example>": nowhere, "<ann@city.example >": nowhere, "<ann@[city.example]>": nowhere, "<ann@[10.0.0]>": nowhere,
	"<a..b@city.example>": nowhere, "<.a@city.example>": nowhere, "<a.@city.example>": nowhere, `<"ann@city.example>`: nowhere, `<ann"@city.example>`: nowhere,
	"<ann@city.example><bob@other.example>": nowhere, "<ann@city.example>,<bob@other.example>": nowhere, "<ann@1.2.3.4>": nowhere, "<ann@city..example>": nowhere,
	"<ann@city.example>\tNOTIFY=NEVER": nowhere, "<\xc3\xa4@city.example>": nowhere, "<ann@city_example.>": nowhere, "<ann@-city.example>": nowhere,
}

// visitors are where clients come from, and whether the relay door names them.
var visitors = map[string]bool{
	"203.0.113.9": false, "2001:db8::9": false, // the world
	"10.9.9.9": false, "10.0.0.6": false, "fd00::6": false, "192.168.1.1": false, "172.16.0.1": false, "169.254.0.1": false, // near
	"127.0.0.1": false, "127.0.0.9": false, "::1": false, // ourselves
	"10.0.0.5": true, "fd00::5": true,
}

// TestRelaying: none of many forms of a recipient, from any kind of address, at
// any of the three doors, leads further than it may.
func TestRelaying(t *testing.T) {
	t.Parallel()
	h := buildWith(t, relayingConfig, nil)
	if _, err := h.app.accounts.Create(t.Context(), "ann@city.example", "correct horse battery", []string{"ann@city.example"}); err != nil {
		t.Fatal(err)
	}
	var forms []string
	for form := range relayForms {
		forms = append(forms, form)
	}
	if len(forms) < 40 {
		t.Fatalf("%d forms", len(forms))
	}
	for from, named := range visitors {
		a := netip.MustParseAddr(from)
		for part := 0; part < len(forms); part += 15 { // a connection bears 20 refusals
			some := forms[part:min(part+15, len(forms))]
			for _, byXClient := range []bool{false, true} {
				v := h.visit("mx", a, byXClient)
				v.want("220")
				v.ask("EHLO client.example", "250")
				v.holds(some, func(l leading) bool { return l == home })
			}

			v := h.visit("relay", a, false)
			if !named {
				v.want("554")
			} else {
				v.want("220")
				v.ask("EHLO client.example", "250")
				v.holds(some, func(l leading) bool { return l == home || l == abroad })
			}

			v = h.visit("submission", a, false)
			v.want("220")
			v.ask("EHLO client.example", "250")
			v.ask("MAIL FROM:<ann@city.example>", "530")
			v.ask("RCPT TO:<bob@other.example>", "503")
			if part == 0 || from == "203.0.113.9" { // a login costs much, by intent
				v.ask("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00ann@city.example\x00correct horse battery")), "235")
				v.holds(some, func(l leading) bool { return l == home || l == abroad || l == through || l == past })
			}
		}
	}
	for name, c := range map[string]struct{ door, addr, command, code string }{
		"XCLIENT at the relay door":                 {"relay", "10.0.0.5", "XCLIENT ADDR=10.0.0.5", "550"},
		"XCLIENT at submission":                     {"submission", "127.0.0.1", "XCLIENT ADDR=10.0.0.5", "550"},
		"XCLIENT of one who is not trusted":         {"mx", "203.0.113.9", "XCLIENT ADDR=10.0.0.5", "550"},
		"a foreign sender at the relay door":        {"relay", "10.0.0.5", "MAIL FROM:<bob@other.example>", "550"},
		"nearly our domain at the relay door":       {"relay", "10.0.0.5", "MAIL FROM:<ann@city.example.other.example>", "550"},
		"a domain below ours at the relay door":     {"relay", "10.0.0.5", "MAIL FROM:<ann@sub.city.example>", "550"},
		"the null sender where it is named":         {"relay", "10.0.0.5", "MAIL FROM:<>", "250"},
		"a login at the relay door":                 {"relay", "10.0.0.5", "AUTH PLAIN AGEAYg==", "502"},
		"a login at port 25":                        {"mx", "203.0.113.9", "AUTH PLAIN AGEAYg==", "502"},
		"our own sender from the world, for abroad": {"mx", "10.0.0.5", "MAIL FROM:<ann@city.example>\r\nRCPT TO:<bob@other.example>", "250"},
	} {
		v := h.visit(c.door, netip.MustParseAddr(c.addr), false)
		v.want("220")
		v.ask("EHLO client.example", "250")
		v.ask(c.command, c.code)
		if t.Failed() {
			t.Fatal(name)
		}
		if strings.Contains(c.command, "RCPT") {
			v.want("550")
		}
	}
}

// visitor is a client of a door.
type visitor struct {
	t    *testing.T
	who  string
	conn net.Conn
	in   *bufio.Reader
}

// visit comes to a door from an address, by a PROXY block or by XCLIENT.
func (h *house) visit(serve string, from netip.Addr, byXClient bool) *visitor {
	h.t.Helper()
	addr := ""
	for _, l := range h.app.listeners(h.app.cfg) {
		if l.Serve == serve {
			addr = l.Address
		}
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		h.t.Fatal(err)
	}
	said := from
	if byXClient {
		said = netip.MustParseAddr("127.0.0.1")
	}
	if _, err := conn.Write(proxyBlock(said)); err != nil {
		h.t.Fatal(err)
	}
	if serve == "submission" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	v := &visitor{h.t, fmt.Sprintf("%s from %s", serve, from), conn, bufio.NewReader(conn)}
	if byXClient {
		tag := ""
		if from.Is6() {
			tag = "IPV6:"
		}
		v.want("220")
		v.say("XCLIENT ADDR=" + tag + from.String())
		v.who += " by XCLIENT"
	}
	return v
}

// proxyBlock says in the PROXY protocol that a client comes from an address.
func proxyBlock(from netip.Addr) []byte {
	family, to := byte(0x11), netip.MustParseAddr("192.0.2.1")
	if from.Is6() {
		family, to = 0x21, netip.MustParseAddr("2001:db8::1")
	}
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, family)
	ends := bytes.Join([][]byte{from.AsSlice(), to.AsSlice(), {0x10, 0, 0, 25}}, nil)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(ends))), ends...)
}

func (v *visitor) say(line string) {
	v.t.Helper()
	if _, err := io.WriteString(v.conn, line+"\r\n"); err != nil {
		v.t.Fatalf("%s: %v", v.who, err)
	}
}

// reply reads one and returns its code.
func (v *visitor) reply() string {
	v.t.Helper()
	for {
		line, err := v.in.ReadString('\n')
		if err != nil || len(line) < 4 {
			v.t.Fatalf("%s: %q, %v", v.who, line, err)
		}
		if line[3] == ' ' {
			return line[:3]
		}
	}
}

func (v *visitor) want(code string) {
	v.t.Helper()
	if got := v.reply(); got != code {
		v.t.Fatalf("%s: %s, want %s", v.who, got, code)
	}
}

func (v *visitor) ask(line, code string) {
	v.t.Helper()
	v.say(line)
	if got := v.reply(); got != code {
		v.t.Fatalf("%s: %s: %s, want %s", v.who, line, got, code)
	}
}

// holds offers recipients in transactions of their own.
func (v *visitor) holds(forms []string, may func(leading) bool) {
	v.t.Helper()
	for _, form := range forms {
		v.ask("MAIL FROM:<ann@city.example>", "250")
		v.say("RCPT TO:" + form)
		got := v.reply()
		if good := may(relayForms[form]); good != (got == "250") || !good && got[0] != '5' {
			v.t.Errorf("%s: RCPT TO:%s: %s", v.who, form, got)
		}
		v.ask("RSET", "250")
	}
	v.ask("QUIT", "221")
}
