package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parse(t testing.TB, text string, opts Options) ([]Record, []Problem) {
	t.Helper()
	return Parse(strings.NewReader(text), "z", parsed(t, "example."), opts)
}

// texts prints problems without their hints.
func texts(problems []Problem) []string {
	out := []string{}
	for _, p := range problems {
		p.Hint = ""
		out = append(out, p.String())
	}
	return out
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule, text string
		want       []string
	}{
		{"every error is told, and where", "$TTL 1\na A 1.2.3\nb A 192.0.2.1\n\n  c  MX  x mail\nd AAAA 192.0.2.1\n", []string{
			`z:2:5: ERR bad-data "1.2.3" is not an IPv4 address`, `z:5:3: ERR bad-type "c" is no record type`, `z:6:8: ERR bad-data "192.0.2.1" is not an IPv6 address`,
		}},
		{"the broken token is pointed at", "a 1 SOA ns1 admin 1 2 x 4 5\n", []string{`z:1:23: ERR bad-data "x" is not a time for retry`}},
		{"also on a later line", "a 1 SOA ns1 admin (\n 1 ; serial\n 2\n   x\n 4 5 )\n", []string{`z:4:4: ERR bad-data "x" is not a time for retry`}},
		{"data that ends early", "a 1 SOA ns1 admin 1 2\nb 1 A 1.2.3\n", []string{
			`z:1:21: ERR bad-data SOA ends too early: the retry is missing`, `z:2:7: ERR bad-data "1.2.3" is not an IPv4 address`,
		}},
		{"no data", "a 1 A\n", []string{`z:1:5: ERR no-data A has no data`}},
		{"empty data of a known type", `a 1 A \# 0` + "\n", []string{`z:1:7: ERR no-data A: record data is empty`}},
		{"trailing garbage", "a 1 A 192.0.2.1 192.0.2.2\n", []string{`z:1:17: ERR bad-data "192.0.2.2" is too much: the data of A is complete before it`}},
		{"open quote", "a 1 TXT \"abc\nb 1 A 1.2.3\n", []string{`z:1:9: ERR syntax quote is not closed on its line`, `z:2:7: ERR bad-data "1.2.3" is not an IPv4 address`}},
		{"open parenthesis", "a 1 SOA ns1 admin (\n 1 2 3 4 5\nb 1 A 1.2.3\n", []string{`z:1:19: ERR syntax "(" is never closed`, `z:3:7: ERR bad-data "1.2.3" is not an IPv4 address`}},
		{"closing parenthesis", "a 1 A 192.0.2.1 )\n  1 TXT x\nb 1 A 1.2.3\n", []string{`z:1:17: ERR syntax ")" without a "(" before it`, `z:3:7: ERR bad-data "1.2.3" is not an IPv4 address`}},
		{"backslash at the end", "a 1 TXT x\\\nb 1 A 192.0.2.1\n", []string{`z:1:10: ERR syntax "\" at the end of the line`}},
		{"zero octet", "a 1 TXT x\x00\n", []string{`z:1:10: ERR syntax zero octet in the text`}},
		{"blank owner at the start", "  1 A 192.0.2.1\n", []string{`z:1:3: ERR no-owner line begins with a blank, but no owner name stands before it`}},
		{"owner lost: lines that carry it are not blamed", "a..b 1 A 192.0.2.1\n 1 TXT x\n", []string{`z:1:1: ERR bad-name owner a..b: empty label`}},
		{"owner escape", `a\999 1 A 192.0.2.1` + "\n", []string{`z:1:1: ERR bad-name owner a\999: bad escape: \ is followed by a character or by three digits up to 255`}},
		{"unknown type", "a 1 IN FOO x\n", []string{`z:1:8: ERR bad-type "FOO" is no record type`}},
		{"question type", "a 1 ANY x\n", []string{`z:1:9: ERR bad-data the data of ANY: unknown RR type: "ANY"`}},
		{"a word as long as a file is not told whole", "a 1 " + strings.Repeat("x", 9999) + " x\n", []string{`z:1:5: ERR bad-type "` + strings.Repeat("x", 249) + " ... " + strings.Repeat("x", 231) + `" is no record type`}},
		{"what a terminal obeys is not told as it is", "\x1b[2J\xff..b 1 A 192.0.2.1\n", []string{`z:1:1: ERR bad-name owner \x1b[2J\xff..b: empty label`}},
		{"class", "a 1 CH TXT x\nb CLASS3 1 TXT x\n", []string{`z:1:5: ERR bad-class class CH is not served`, `z:2:3: ERR bad-class class CLASS3 is not served`}},
		{"TTL above 2^31-1", "a 2147483648 A 192.0.2.1\n", []string{`z:1:3: ERR bad-ttl TTL 2147483648 is above 2147483647 seconds`}},
		{"$TTL", "$TTL x\n$TTL\n$TTL 1 2\n", []string{`z:1:6: ERR bad-ttl "x" is no TTL`, `z:2:1: ERR syntax $TTL takes one value`, `z:3:1: ERR syntax $TTL takes one value`}},
		{"$ORIGIN", "$ORIGIN a..b\n", []string{`z:1:9: ERR bad-name $ORIGIN a..b: empty label`}},
		{"$ORIGIN outside", "$ORIGIN other.\n", []string{`z:1:9: WARN origin-outside other. is outside the zone example.`}},
		{"$GENERATE is short", "$GENERATE 1-9 a$ A\n", []string{`z:1:1: ERR bad-generate $GENERATE has 3 items, at least 4 are needed`}},
		{"$GENERATE ranges", "$TTL 1\n$GENERATE 9-1 a A 1\n$GENERATE 1 a A 1\n$GENERATE 1-9/0 a A 1\n$GENERATE -1-9 a A 1\n$GENERATE 1-99999999999 a A 1\n", []string{
			`z:2:11: ERR bad-generate "9-1" is no range`, `z:3:11: ERR bad-generate "1" is no range`, `z:4:11: ERR bad-generate "1-9/0" is no range`,
			`z:5:11: ERR bad-generate "-1-9" is no range`, `z:6:11: ERR bad-generate "1-99999999999" is no range`,
		}},
		{"$GENERATE modifiers", "$TTL 1\n$GENERATE 1-2 a${0 A 192.0.2.$\n$GENERATE 1-2 a${x} A 192.0.2.$\n$GENERATE 1-2 a$ A 192.0.2.${-2}\n$GENERATE 1-2 a${0,3,q} A 192.0.2.$\n$GENERATE 1-2 a${0,999} A 192.0.2.$\n", []string{
			`z:2:15: ERR bad-generate "${" is never closed`, `z:3:15: ERR bad-generate ${x} with the number 1 is no number`, `z:4:20: ERR bad-generate ${-2} with the number 1 is no number`,
			`z:5:15: ERR bad-generate ${0,3,q} with the number 1 is no number`, `z:6:15: ERR bad-generate ${0,999} with the number 1 is no number`,
		}},
		{"$GENERATE tells the first record that is wrong", "$TTL 1\n$GENERATE 250-300 a$ A 192.0.2.$\n", []string{`z:2:24: ERR bad-data "192.0.2.256" is not an IPv4 address`}},
		{"$GENERATE warns once", "$TTL 1\n$GENERATE 1-9 a$ TXT x;y\n", []string{`z:2:22: WARN txt-cut the text ends at "x": what follows the semicolon is a comment`}},
		{"$GENERATE does not change the owner", "$TTL 1\n$GENERATE 1-2 a$ A 192.0.2.$\n TXT x\n", []string{`z:3:2: ERR no-owner line begins with a blank, but no owner name stands before it`}},
		{"$GENERATE limit of a line", "$TTL 1\n$GENERATE 0-65536 a$ A 192.0.2.1\n", []string{`z:2:11: ERR too-large $GENERATE would make 65537 records, the limit for one line (MaxGenerate) is 65536`}},
		{"unknown directive", "$FOO\n", []string{`z:1:1: ERR syntax unknown directive "$FOO"`}},
		{"$INCLUDE without a reader", "$INCLUDE /etc/passwd\n", []string{`z:1:10: ERR include $INCLUDE is not allowed here`}},
		{"an indented directive is no record", "a 1 A 192.0.2.1\n $INCLUDE /etc/passwd\n", []string{`z:2:2: ERR bad-type "$INCLUDE" is no record type`}},
		{"a directive cannot hide in the data", "a 1 TXT \"x\ny\"\n$INCLUDE /etc/passwd\n", []string{
			`z:1:9: ERR syntax quote is not closed on its line`, `z:2:2: ERR syntax quote is not closed on its line`, `z:3:10: ERR include $INCLUDE is not allowed here`,
		}},
		{"bad base64 is found", "a 1 DNSKEY 257 3 13 !!!!\n", []string{`z:1:21: ERR bad-data the key is not base64`}},
		{"base64 is pointed into", "a 1 DNSKEY 257 3 13 AAAA AA!A\n", []string{`z:1:28: ERR bad-data the key is not base64`}},
		{"an address of the other kind", "a 1 A 2001:db8::1\nb 1 A 192.0.2.01\nc 1 AAAA fe80::1%eth0\n", []string{
			`z:1:7: ERR bad-data "2001:db8::1" is not an IPv4 address`, `z:2:7: ERR bad-data "192.0.2.01" is not an IPv4 address`, `z:3:10: ERR bad-data "fe80::1%eth0" is not an IPv6 address`,
		}},
		{"MX", "a 1 MX mail\nb 1 MX 10\nc 1 MX 65536 mail\nd 1 MX 1 a..b\n", []string{
			`z:1:8: ERR bad-data preference "mail" is not a number from 0 to 65535`, `z:2:8: ERR bad-data MX ends too early: the mail host is missing`,
			`z:3:8: ERR bad-data preference "65536" is not a number from 0 to 65535`, `z:4:10: ERR bad-data "a..b" is no name: empty label`,
		}},
		{"SRV and NAPTR", "a 1 SRV 0 0 99999 b\nb 1 NAPTR 1 2 \"u\" \"x\" \"y\"\n", []string{
			`z:1:13: ERR bad-data port "99999" is not a number from 0 to 65535`, `z:2:23: ERR bad-data NAPTR ends too early: the replacement is missing`,
		}},
		{"text", "a 1 TXT \"a\\999\"\nb 1 HINFO \"" + strings.Repeat("x", 256) + "\" y\n", []string{
			`z:1:11: ERR bad-data bad escape: \ is followed by a character or by three digits up to 255`, `z:2:11: ERR bad-data the CPU has 256 octets, a string has at most 255`,
		}},
		{"DS, hexadecimal digits", "a 1 DS 1 13 2 00x1\nb 1 DS 1 13 2 001\nc 1 DS 1 13 2\nd 1 DS 1 FOO 2 00\n", []string{
			`z:1:17: ERR bad-data 'x' in the digest is no hexadecimal digit`, `z:2:15: ERR bad-data the digest has an odd number of hexadecimal digits, 3`,
			`z:3:13: ERR bad-data DS ends too early: the digest is missing`, `z:4:10: ERR bad-data "FOO" is no DNSSEC algorithm`,
		}},
		{"RRSIG", "a 1 RRSIG X 13 2 60 20260101000000 20250101000000 1 @ AAAA\nb 1 RRSIG A 13 2 60 20261301000000 0 1 @ AAAA\n", []string{
			`z:1:11: ERR bad-data "X" is no record type`, `z:2:21: ERR bad-data "20261301000000" is not a time for the expiration`,
		}},
		{"NSEC", "a 1 NSEC b A FOO\n", []string{`z:1:14: ERR bad-data "FOO" is no record type`}},
		{"NSEC3 with a next name of no octets (RFC 5155, Section 3.1.6)", "a 1 NSEC3 1 1 0 - 0\nb 1 NSEC3 \\# 6 010100000000\n", []string{
			`z:1:19: ERR bad-data "0" is no hash`, `z:2:11: ERR bad-data NSEC3: record data does not fit its type`,
		}},
		{"NSEC3", "a 1 NSEC3 1 0 0 xy 00\nb 1 NSEC3 1 0 0 aa W000000G A\nc 1 NSEC3 1 0 70000 - 00 A\nd 1 NSEC3 1 0 0\ne 1 NSEC3 1 0 0 - 00000000 FOO\n", []string{
			`z:1:17: ERR bad-data "xy" is no salt`, `z:2:20: ERR bad-data "W000000G" is no hash`, `z:3:15: ERR bad-data iterations "70000" is not a number from 0 to 65535`,
			`z:4:15: ERR bad-data NSEC3 ends too early: the salt is missing`, `z:5:28: ERR bad-data "FOO" is no record type`,
		}},
		{"CAA", "a 1 CAA 0 is-sue x\nb 1 CAA 0 issue a b\nc 1 CAA 256 issue a\n", []string{
			`z:1:11: ERR bad-data "is-sue" is no tag: letters and digits only`, `z:2:19: ERR bad-data "b" is too much: the data of CAA is complete before it`,
			`z:3:9: ERR bad-data flags "256" is not a number from 0 to 255`,
		}},
		{"RFC 9460 2.1: parameters once", "a 1 HTTPS 1 . alpn=h2 alpn=h3\n", []string{`z:1:23: ERR bad-data parameter alpn is given twice`}},
		{"RFC 9460 8: mandatory", "a 1 SVCB 1 . mandatory=alpn\nb 1 SVCB 1 . mandatory=mandatory\nc 1 SVCB 1 . mandatory=port,port port=1\n", []string{
			`z:1:14: ERR bad-data mandatory lists alpn, which the record does not have`, `z:2:14: ERR bad-data mandatory lists itself`, `z:3:14: ERR bad-data mandatory lists port twice`,
		}},
		{"SVCB values", "a 1 HTTPS 1 . port\nb 1 HTTPS 1 . no-default-alpn=x\nc 1 HTTPS 1 . ipv4hint=1.2.3\nd 1 HTTPS 1 . Port=1\ne 1 HTTPS 1 . ipv6hint=::ffff:192.0.2.1\nf 1 HTTPS 1 . alpn=h2,\n", []string{
			`z:1:15: ERR bad-data port needs a value`, `z:2:15: ERR bad-data no-default-alpn takes no value`, `z:3:15: ERR bad-data ipv4hint holds "1.2.3", which is not an IPv4 address`,
			`z:4:15: ERR bad-data "Port" is no parameter`, `z:5:15: ERR bad-data ipv6hint holds an IPv4 address in the form of IPv6, which belongs in ipv4hint`,
			`z:6:15: ERR bad-data alpn has an empty protocol, or one of more than 255 octets`,
		}},
		{"SVCB values in octets", "a 1 HTTPS 1 . key1\nb 1 HTTPS 1 . key3=x\nc 1 HTTPS 1 . key1=\\003h2\nd 1 HTTPS 1 . port=1 key3=ab\n", []string{
			`z:1:15: ERR bad-data key1 needs a value`, `z:2:11: ERR bad-data the octets are no data of HTTPS`,
			`z:3:11: ERR bad-data the octets are no data of HTTPS`, `z:4:22: ERR bad-data parameter key3 is given twice`,
		}},
		{"LOC", "a 1 LOC 90 0 0.001 N 4 E 0m\nb 1 LOC 1 2 3.0005 N 4 E 0m\nc 1 LOC 1 60 N 4 E 0m\nd 1 LOC 1 N 4 E -100000.01m\ne 1 LOC 1 N 4 E 42849672.96m\nf 1 LOC 1 N 181 E 0\ng 1 LOC N 4 E 0\nh 1 LOC 1 N 4 E\ni 1 LOC 1 2 3 4 N 4 E 0\nj 1 LOC 1 N 4 E 0 1 1 1 1\nk 1 LOC 1 N 4 N 0\nl 1 LOC -1 N 4 E 0\nm 1 LOC 1 N 4 E 0 90000000.01\nn 1 LOC 1 N 4 E .5\n", []string{
			`z:1:20: ERR bad-data the latitude is above 90 degrees`, `z:2:13: ERR bad-data the latitude cannot go on with "3.0005": seconds are awaited`,
			`z:3:11: ERR bad-data the latitude cannot go on with "60": minutes are awaited`, `z:4:17: ERR bad-data the altitude "-100000.01m" is no length in metres from -100000 to 42849672.95`,
			`z:5:17: ERR bad-data the altitude "42849672.96m" is no length in metres from -100000 to 42849672.95`, `z:6:13: ERR bad-data the longitude cannot go on with "181": degrees are awaited`,
			`z:7:9: ERR bad-data the latitude cannot go on with "N": degrees are awaited`, `z:8:15: ERR bad-data LOC ends too early: the altitude is missing`,
			`z:9:15: ERR bad-data the latitude cannot go on with "4": N or S are awaited`, `z:10:25: ERR bad-data "1" is too much: the data of LOC is complete before it`,
			`z:11:15: ERR bad-data the longitude cannot go on with "N": minutes are awaited`, `z:12:9: ERR bad-data the latitude cannot go on with "-1": degrees are awaited`,
			`z:13:19: ERR bad-data the size "90000000.01" is no length in metres from 0 to 90000000.00`, `z:14:17: ERR bad-data the altitude ".5" is no length in metres from -100000 to 42849672.95`,
		}},
		{"AMTRELAY with the discovery bit", "a 1 AMTRELAY 10 1 3 b\nc 1 AMTRELAY 10 0 3 b\nd 1 AMTRELAY 10 1 0 .\n", []string{`z:1:17: ERR bad-data AMTRELAY with the discovery bit and a relay is not supported`}},
		{"RFC 3597 5: octets", "a 1 A \\# 3 c00002\nb 1 A \\# 4 c00002\nc 1 TYPE999 abc\nd 1 NS \\# 2 c000\ne 1 TYPE999 \\# 1 0g\nf 1 MX \\# 4 0001c000\n", []string{
			`z:1:7: ERR bad-data the octets are no data of A`, `z:2:12: ERR bad-data the length is given as 4 octets, the data has 3`,
			`z:3:13: ERR bad-data the data of TYPE999 is not known here`, `z:4:8: ERR bad-data the octets are no data of NS`,
			`z:5:19: ERR bad-data 'g' in the data is no hexadecimal digit`, `z:6:8: ERR bad-data the octets are no data of MX`,
		}},
		{"a text of 256 octets", "a 1 TXT " + strings.Repeat("x", 5000) + "\n", nil},
		{"an unquoted semicolon cuts a TXT", "a 1 TXT v=DKIM1; k=rsa; p=AAAA\n", []string{`z:1:9: WARN txt-cut the text ends at "v=DKIM1": what follows the semicolon is a comment`}},
		{"a comment behind a TXT does not", "a 1 TXT x ; comment\nb 1 TXT \"x\";comment\n", nil},
		{"no TTL anywhere", "a A 192.0.2.1\n", []string{`z:1:1: WARN no-ttl no TTL is given; an hour, 3600 s, is used for 1 records`}},
	} {
		_, problems := parse(t, c.text, Options{})
		for _, p := range problems {
			if p.Hint == "" {
				t.Errorf("%s: no hint: %v", c.rule, p)
			}
		}
		if got := texts(problems); !slices.Equal(got, append([]string{}, c.want...)) {
			t.Errorf("%s:\n got %q\nwant %q", c.rule, got, c.want)
		}
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	_, problems := parse(t, "a 1 A mail\n", Options{})
	if len(problems) != 1 || problems[0].String() != `z:1:7: ERR bad-data "mail" is not an IPv4 address (such as 192.0.2.1; another name for a host is a CNAME)` || !problems[0].Blocks() {
		t.Error(problems)
	}
}

// lines prints what was read, one record a line.
func lines(records []Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%d:%d %s\n", r.Line, r.Col, strings.Join(strings.Fields(r.RR.String()), " "))
	}
	return b.String()
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, text, want string }{
		{"empty", "", ""},
		{"only comments", "; a\n\n  ; b\n", ""},
		{"BOM and CRLF", "\xef\xbb\xbf$TTL 5\r\na A 192.0.2.1\r\n\tTXT \"x\"\r\n", "2:1 a.example. 5 IN A 192.0.2.1\n3:2 a.example. 5 IN TXT \"x\"\n"},
		{"no newline at the end", "a 5 A 192.0.2.1", "1:1 a.example. 5 IN A 192.0.2.1\n"},
		{
			"TTL and class in either order", "a 5 IN A 192.0.2.1\nb IN 6 A 192.0.2.1\nc IN A 192.0.2.1\nd 7 A 192.0.2.1\n",
			"1:1 a.example. 5 IN A 192.0.2.1\n2:1 b.example. 6 IN A 192.0.2.1\n3:1 c.example. 6 IN A 192.0.2.1\n4:1 d.example. 7 IN A 192.0.2.1\n",
		},
		{"RFC 2308 4: $TTL rules what has none", "$TTL 1h30m\na 5 A 192.0.2.1\nb A 192.0.2.1\n", "2:1 a.example. 5 IN A 192.0.2.1\n3:1 b.example. 5400 IN A 192.0.2.1\n"},
		{
			"owners", "@ 5 A 192.0.2.1\na.b A 192.0.2.1\nC.Example. A 192.0.2.1\n\\100 A 192.0.2.1\n* A 192.0.2.1\nA\\.b A 192.0.2.1\n",
			"1:1 example. 5 IN A 192.0.2.1\n2:1 a.b.example. 5 IN A 192.0.2.1\n3:1 c.example. 5 IN A 192.0.2.1\n4:1 d.example. 5 IN A 192.0.2.1\n5:1 *.example. 5 IN A 192.0.2.1\n6:1 a\\.b.example. 5 IN A 192.0.2.1\n",
		},
		{
			"origins", "$ORIGIN sub\na 5 NS ns\n$ORIGIN deep\nb CNAME @\n$ORIGIN .\nexample MX 1 mail.example\n",
			"2:1 a.sub.example. 5 IN NS ns.sub.example.\n4:1 b.deep.sub.example. 5 IN CNAME deep.sub.example.\n6:1 example. 5 IN MX 1 mail.example.\n",
		},
		{"parentheses anywhere", "a 5 ( TXT ; one\n\n \"x\" ; two )\n\"y;z\" )\nb TXT x\n", "1:1 a.example. 5 IN TXT \"x\" \"y;z\"\n5:1 b.example. 5 IN TXT \"x\"\n"},
		{"words that look like types", "a 5 A 192.0.2.1\nmx MX 5 ns\nin IN TXT in\n", "1:1 a.example. 5 IN A 192.0.2.1\n2:1 mx.example. 5 IN MX 5 ns.example.\n3:1 in.example. 5 IN TXT \"in\"\n"},
		{"RFC 3597", "a 5 TYPE1 \\# 4 C0000201\nb CLASS1 TYPE65280 \\# 2 ABCD\n", "1:1 a.example. 5 IN A 192.0.2.1\n2:1 b.example. 5 CLASS1 TYPE65280 \\# 2 abcd\n"},
		{"lower case words", "a 5 in txt x\n", "1:1 a.example. 5 IN TXT \"x\"\n"},
		{"RFC 3597 5: no data of an unknown type", "a 5 TYPE999 \\# 0\n", "1:1 a.example. 5 CLASS1 TYPE999 \\# 0\n"},
		{"$GENERATE", "$TTL 7\n$GENERATE 1-5/2 h$ A 192.0.2.$\n", "2:17 h1.example. 7 IN A 192.0.2.1\n2:17 h3.example. 7 IN A 192.0.2.3\n2:17 h5.example. 7 IN A 192.0.2.5\n"},
		{"$GENERATE with a TTL, class and step past the end", "$GENERATE 0-5/4 $ 9 IN PTR h${1,3,d}\n", "1:17 0.example. 9 IN PTR h001.example.\n1:17 4.example. 9 IN PTR h005.example.\n"},
		{"$GENERATE bases", "$GENERATE 30-30 a${0,4,x}b${0,0,X}c${0,0,o}d${-10,0,d}e\\$ 9 TXT \"$ $$\"\n", "1:17 a001eb1ec36d20e$.example. 9 IN TXT \"30 $\"\n"},
		{"$GENERATE nibbles", "$GENERATE 291-291 ${0,7,n}.${0,0,N} 9 TXT ${0,4,n}\n", "1:19 3.2.1.0.3.2.1.example. 9 IN TXT \"3.2.1\"\n"},
		{"$GENERATE of data in quotes", "$GENERATE 5-5 h$ 9 MX \"1$ m$\"\n$GENERATE 5-5 h$ 9 TXT \"1$ m$\"\n", "1:15 h5.example. 9 IN MX 15 m5.example.\n2:15 h5.example. 9 IN TXT \"15 m5\"\n"},
		{
			"LOC (RFC 1876, Section 3)", "a 5 LOC 52 22 23 N 4 53 32.05 E -2.00m 0.00m 10000m 10m\nb LOC 42 s 71 6 W -24m 35\nc LOC 90 N 180 W 42849672.95 90000000 0.01 0.19m\n",
			"1:1 a.example. 5 IN LOC 52 22 23.000 N 04 53 32.050 E -2m 0.00m 10000m 10m\n2:1 b.example. 5 IN LOC 42 00 0.000 S 71 06 0.000 W -24m 30m 10000m 10m\n3:1 c.example. 5 IN LOC 90 00 0.000 N 180 00 0.000 W 42849672.95m 90000000m 0.01m 0.10m\n",
		},
		{"SVCB values in octets (RFC 9460, Section 2.1)", "a 5 HTTPS 1 . key1=\\002h2 key3=\\000\\053\n", "1:1 a.example. 5 IN HTTPS 1 . alpn=\"h2\" port=\"53\"\n"},
		{"quotes close a string", "a 5 TXT \"a\"b c\"d\"\n", "1:1 a.example. 5 IN TXT \"a\" \"b\" \"c\" \"d\"\n"},
		{"long unquoted CAA, quoted tag", "a 5 CAA 0 \"issue\" " + strings.Repeat("x", 300) + "\n", "1:1 a.example. 5 IN CAA 0 issue \"" + strings.Repeat("x", 300) + "\"\n"},
		{
			"SVCB", "a 5 HTTPS 1 . port=\"8443\" alpn=h2,h3 mandatory=port,alpn ipv6hint=2001:db8::1 ipv4hint=192.0.2.1 key999=\"a b\" no-default-alpn\nb 5 SVCB 0 Svc\n",
			"1:1 a.example. 5 IN HTTPS 1 . mandatory=\"alpn,port\" alpn=\"h2,h3\" no-default-alpn=\"\" port=\"8443\" ipv4hint=\"192.0.2.1\" ipv6hint=\"2001:db8::1\" key999=\"a\\ b\"\n2:1 b.example. 5 IN SVCB 0 Svc.example.\n",
		},
		{
			"keys and digests with blanks", "a 5 DS 1 ECDSAP256SHA256 2 00ff ( 11\n 22 )\na SSHFP 4 2 ab cd\n_1._tcp.a TLSA 3 1 1 AB\na DNSKEY 257 3 13 AAAA BBBB\n",
			"1:1 a.example. 5 IN DS 1 13 2 00FF1122\n3:1 a.example. 5 IN SSHFP 4 2 ABCD\n4:1 _1._tcp.a.example. 5 IN TLSA 3 1 1 ab\n5:1 a.example. 5 IN DNSKEY 257 3 13 AAAABBBB\n",
		},
		{
			"DNSSEC", "a 5 RRSIG A 13 2 60 20300101000000 20250101000000 7 Example. AAAA\na NSEC B.a A TYPE999 MX\nb NSEC \\065.EXAMPLE. A\nc NSEC @ A\nd NSEC b A\n$ORIGIN .\ne.example NSEC F.example A\n",
			"1:1 a.example. 5 IN RRSIG A 13 2 60 20300101000000 20250101000000 7 example. AAAA\n2:1 a.example. 5 IN NSEC B.a.example. A MX TYPE999\n3:1 b.example. 5 IN NSEC A.EXAMPLE. A\n4:1 c.example. 5 IN NSEC example. A\n5:1 d.example. 5 IN NSEC b.example. A\n7:1 e.example. 5 IN NSEC F.example. A\n",
		},
		{"quotes in the middle", "a 5 HTTPS 1 . alpn=\"h2,h3\" port=443\n", "1:1 a.example. 5 IN HTTPS 1 . alpn=\"h2,h3\" port=\"443\"\n"},
	} {
		records, problems := parse(t, c.text, Options{})
		if len(problems) > 0 || lines(records) != c.want {
			t.Errorf("%s:\n got %s%v\nwant %s", c.rule, lines(records), texts(problems), c.want)
		}
	}
}

func TestTTLWithoutDirective(t *testing.T) {
	t.Parallel()
	records, problems := parse(t, "@ NS ns\n@ SOA ns admin 1 2 3 4 77\n@ NS ns2\na 5 A 192.0.2.1\nb A 192.0.2.1\n", Options{})
	want := []uint32{77, 77, 77, 5, 5}
	for i, r := range records {
		if r.RR.Header().Ttl != want[i] {
			t.Errorf("%v, want TTL %d", r.RR, want[i])
		}
	}
	if len(problems) != 1 || problems[0].Code != "no-ttl" || problems[0].Blocks() || problems[0].Line != 1 {
		t.Error(texts(problems))
	}
}

func TestInclude(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"hosts":  "$ORIGIN in\na 5 A 192.0.2.1\n",
		"tail":   " 5 TXT carried\n",
		"ring":   "$INCLUDE ring\n",
		"broken": "x 5 A 1.2.3\n",
		"big":    strings.Repeat(";", 3000),
	}
	opts := Options{MaxSize: 4096, MaxDepth: 3, Include: func(path string) ([]byte, string, error) {
		text, ok := files[path]
		if !ok {
			return nil, "", ErrOutside
		}
		return []byte(text), "dir/" + path, nil
	}}
	records, problems := parse(t, "b 5 A 192.0.2.2\n$INCLUDE tail\n$INCLUDE hosts\n$INCLUDE hosts other.example.\nc 5 A 192.0.2.3\n", opts)
	want := "1:1 b.example. 5 IN A 192.0.2.2\n1:2 b.example. 5 IN TXT \"carried\"\n2:1 a.in.example. 5 IN A 192.0.2.1\n2:1 a.in.other.example. 5 IN A 192.0.2.1\n5:1 c.example. 5 IN A 192.0.2.3\n"
	if len(problems) > 0 || lines(records) != want {
		t.Errorf("%s%v", lines(records), texts(problems))
	}
	if records[1].File != "dir/tail" {
		t.Error("file", records[1].File)
	}
	for text, want := range map[string]string{
		"$INCLUDE broken\n":                            "dir/broken:1:7: ERR bad-data",
		"$INCLUDE /etc/passwd\n":                       "z:1:10: ERR include $INCLUDE /etc/passwd: leads out of the zone's directory",
		"$INCLUDE\n":                                   "z:1:1: ERR syntax",
		"$INCLUDE a b c\n":                             "z:1:1: ERR syntax",
		"$INCLUDE ring\n":                              "dir/ring:1:10: ERR include $INCLUDE is nested more than 3 deep",
		"$INCLUDE big\n$INCLUDE big\n":                 "dir/big:1:1: ERR too-large",
		"$INCLUDE hosts a..b\n":                        "z:1:16: ERR bad-name",
		strings.Repeat("$INCLUDE tail x\n", 1) + "x\n": "",
	} {
		_, problems := parse(t, text, opts)
		if len(problems) == 0 || !strings.HasPrefix(problems[0].String(), want) {
			t.Errorf("%q: %v", text, texts(problems))
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("a 1 A x\n", 300)
	if _, problems := parse(t, many, Options{MaxProblems: 5}); len(problems) != 6 || problems[5].Code != "too-many" {
		t.Error(texts(problems))
	}
	if _, problems := parse(t, many, Options{MaxSize: 100}); len(problems) != 1 || problems[0].Code != "too-large" {
		t.Error(texts(problems))
	}
	good := strings.Repeat("a 1 A 192.0.2.1\n", 9)
	if records, problems := parse(t, good, Options{MaxRecords: 5}); len(records) != 5 || len(problems) != 1 || problems[0].Code != "too-large" {
		t.Error(len(records), texts(problems))
	}
	for text, want := range map[string]string{"$GENERATE 1-5 a A 192.0.2.1\n": "MaxGenerate)", "$GENERATE 1-4 a 1 A 192.0.2.1\n$GENERATE 1-4 a 1 A 192.0.2.1\n": "MaxGenerated)"} {
		if _, problems := parse(t, text, Options{MaxGenerate: 4, MaxGenerated: 6}); len(problems) != 1 || problems[0].Code != "too-large" || !strings.Contains(problems[0].Message, want) {
			t.Error(text, texts(problems))
		}
	}
	_, problems := Parse(iotest.ErrReader(errors.New("disk on fire")), "z", name.Root, Options{})
	if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "z:1:1: ERR unreadable disk on fire") {
		t.Error(problems)
	}
}

// What is printed reads back as the same zone.
func TestPrint(t *testing.T) {
	t.Parallel()
	text := `$TTL 60
@ SOA ns admin 1 2 3 4 5
@ NS ns
ns A 192.0.2.1
\$include TXT "no directive"
a\.b TXT "semi;colon" "quo\"te" back\\slash "\200"
x TYPE65280 \# 2 abcd
s SRV 1 2 3 ns
h HTTPS 1 . alpn=h2
c CAA 0 issue "ca.example; x=y"
n NAPTR 1 2 "u" "E2U+sip" "!^.*$!sip:a@b!" .
hx HTTPS 1 . alpn="a\\\,b,h2" key999="x\"\200;" dohpath=/q{?dns}
hi HINFO "a b" ""
l LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
`
	build := func(text string) *zone.Zone {
		records, problems := parse(t, text, Options{})
		if len(problems) > 0 {
			t.Fatal(texts(problems))
		}
		b := zone.NewBuilder(parsed(t, "example."))
		for _, r := range records {
			if err := b.Add(r.RR); err != nil {
				t.Fatal(r.RR, err)
			}
		}
		z, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	z := build(text)
	var out bytes.Buffer
	if err := Print(&out, z); err != nil {
		t.Fatal(err)
	}
	for octets := range 200 {
		var pages bytes.Buffer
		count := 0
		for from := name.Name(""); from != "" || count == 0; count++ {
			var err error
			if from, err = PrintPage(&pages, z, from, octets); err != nil {
				t.Fatal(err)
			}
		}
		if pages.String() != out.String() || octets < 10 && count != z.Names() {
			t.Fatalf("in %d pages of %d octets:\n%s\nwant\n%s", count, octets, pages.String(), out.String())
		}
	}
	removed, added := zone.Diff(z, build(out.String()))
	if len(removed)+len(added) > 0 {
		t.Errorf("printed as\n%s\n- %v\n+ %v", &out, removed, added)
	}
	if !strings.HasPrefix(out.String(), "example.\t60\tIN\tSOA") {
		t.Error("the SOA comes first:", out.String())
	}
	if err := Print(failing{}, z); err == nil {
		t.Error("a failed write is told")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestEntriesAreAbout(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]int{
		"": 1, "a A 1\n": 2, "a A 1\nb A 1": 2, "a SOA (\n1\n2\n)\nb A 1\n": 3, "a TXT (\n": 1, "a (\n) (\n\n)\n\n": 3, ")\n(": 2,
	} {
		if got := entries(src); got != want {
			t.Errorf("%q: %d, want %d", src, got, want)
		}
	}
}

// What is not read again before it is printed could be.
func TestPlainlyWritten(t *testing.T) {
	t.Parallel()
	read := func(rr dns.RR) bool {
		records, _ := ParseText(rr.String()+"\n", "", name.Root, Options{})
		return len(records) == 1 && same(records[0].RR, rr)
	}
	h := dns.RR_Header{Name: "a.example.", Class: dns.ClassINET, Ttl: 60}
	plain := 0
	for c := range 1 << 16 {
		covered := uint16(c)
		for _, rr := range []dns.RR{
			&dns.RRSIG{Hdr: h, TypeCovered: covered, Algorithm: uint8(c), Labels: 2, OrigTtl: 60, Expiration: uint32(c) << 16, Inception: ^uint32(c), KeyTag: covered, SignerName: "example.", Signature: "AAAA"},
			&dns.NSEC{Hdr: h, NextDomain: `B\.\000.example.`, TypeBitMap: []uint16{covered}},
			&dns.NSEC3{Hdr: h, Hash: 1, Iterations: covered, HashLength: 5, NextDomain: "0P9MHAVE", TypeBitMap: []uint16{covered}},
		} {
			switch rr.(type) {
			case *dns.RRSIG:
				rr.Header().Rrtype = dns.TypeRRSIG
			case *dns.NSEC:
				rr.Header().Rrtype = dns.TypeNSEC
			case *dns.NSEC3:
				rr.Header().Rrtype = dns.TypeNSEC3
			}
			if !plainlyWritten(rr) {
				continue
			}
			if plain++; c < 300 || c%251 == 0 || dns.TypeToString[covered] != "" {
				if !read(rr) {
					t.Errorf("%s is not read again", rr)
				}
			}
		}
	}
	if plain < 3*(1<<16-10) {
		t.Errorf("%d are written plainly", plain)
	}
	for _, rr := range []dns.RR{&dns.RRSIG{Hdr: h, TypeCovered: 1}, &dns.NSEC3{Hdr: h}, &dns.NSEC{Hdr: h, TypeBitMap: []uint16{0}}, &dns.TXT{Hdr: h}} {
		if plainlyWritten(rr) {
			t.Errorf("%s is written plainly", rr)
		}
	}
}
