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
			`z:2:5: ERR bad-data A: bad A A: "1.2.3"`, `z:5:3: ERR bad-type "c" is no record type`, `z:6:8: ERR bad-data AAAA: bad AAAA AAAA: "192.0.2.1"`,
		}},
		{"the broken token is pointed at", "a 1 SOA ns1 admin 1 2 x 4 5\n", []string{`z:1:23: ERR bad-data SOA: bad SOA zone parameter: "x"`}},
		{"also on a later line", "a 1 SOA ns1 admin (\n 1 ; serial\n 2\n   x\n 4 5 )\n", []string{`z:4:4: ERR bad-data SOA: bad SOA zone parameter: "x"`}},
		{"data that ends early", "a 1 SOA ns1 admin 1 2\nb 1 A 1.2.3\n", []string{
			`z:1:21: ERR bad-data SOA has 4 fields of data, at least 7 are needed`, `z:2:7: ERR bad-data A: bad A A: "1.2.3"`,
		}},
		{"no data", "a 1 A\n", []string{`z:1:5: ERR no-data A has no data`}},
		{"empty data of a known type", `a 1 A \# 0` + "\n", []string{`z:1:7: ERR no-data A: record data is empty`}},
		{"trailing garbage", "a 1 A 192.0.2.1 192.0.2.2\n", []string{`z:1:17: ERR bad-data A: garbage after rdata: "192.0.2.2"`}},
		{"open quote", "a 1 TXT \"abc\nb 1 A 1.2.3\n", []string{`z:1:9: ERR syntax quote is not closed on its line`, `z:2:7: ERR bad-data A: bad A A: "1.2.3"`}},
		{"open parenthesis", "a 1 SOA ns1 admin (\n 1 2 3 4 5\nb 1 A 1.2.3\n", []string{`z:1:19: ERR syntax "(" is never closed`, `z:3:7: ERR bad-data A: bad A A: "1.2.3"`}},
		{"closing parenthesis", "a 1 A 192.0.2.1 )\n  1 TXT x\nb 1 A 1.2.3\n", []string{`z:1:17: ERR syntax ")" without a "(" before it`, `z:3:7: ERR bad-data A: bad A A: "1.2.3"`}},
		{"backslash at the end", "a 1 TXT x\\\nb 1 A 192.0.2.1\n", []string{`z:1:10: ERR syntax "\" at the end of the line`}},
		{"zero octet", "a 1 TXT x\x00\n", []string{`z:1:10: ERR syntax zero octet in the text`}},
		{"blank owner at the start", "  1 A 192.0.2.1\n", []string{`z:1:3: ERR no-owner line begins with a blank, but no owner name stands before it`}},
		{"owner lost: lines that carry it are not blamed", "a..b 1 A 192.0.2.1\n 1 TXT x\n", []string{`z:1:1: ERR bad-name owner a..b: empty label`}},
		{"owner escape", `a\999 1 A 192.0.2.1` + "\n", []string{`z:1:1: ERR bad-name owner a\999: bad escape: \ is followed by a character or by three digits up to 255`}},
		{"unknown type", "a 1 IN FOO x\n", []string{`z:1:8: ERR bad-type "FOO" is no record type`}},
		{"question type", "a 1 ANY x\n", []string{`z:1:9: ERR bad-data ANY: unknown RR type: "ANY"`}},
		{"class", "a 1 CH TXT x\nb CLASS3 1 TXT x\n", []string{`z:1:5: ERR bad-class class CH is not served`, `z:2:3: ERR bad-class class CLASS3 is not served`}},
		{"TTL above 2^31-1", "a 2147483648 A 192.0.2.1\n", []string{`z:1:3: ERR bad-type "2147483648" is no record type`}},
		{"$TTL", "$TTL x\n$TTL\n$TTL 1 2\n", []string{`z:1:6: ERR bad-ttl "x" is no TTL`, `z:2:1: ERR syntax $TTL takes one value`, `z:3:1: ERR syntax $TTL takes one value`}},
		{"$ORIGIN", "$ORIGIN a..b\n", []string{`z:1:9: ERR bad-name $ORIGIN a..b: empty label`}},
		{"$ORIGIN outside", "$ORIGIN other.\n", []string{`z:1:9: WARN origin-outside other. is outside the zone example.`}},
		{"$GENERATE", "$GENERATE 1-9 a$ A 192.0.2.$\n", []string{`z:1:1: ERR not-available $GENERATE is not available yet`}},
		{"unknown directive", "$FOO\n", []string{`z:1:1: ERR syntax unknown directive "$FOO"`}},
		{"$INCLUDE without a reader", "$INCLUDE /etc/passwd\n", []string{`z:1:10: ERR include $INCLUDE is not allowed here`}},
		{"an indented directive is no record", "a 1 A 192.0.2.1\n $INCLUDE /etc/passwd\n", []string{`z:2:2: ERR bad-type "$INCLUDE" is no record type`}},
		{"a directive cannot hide in the data", "a 1 TXT \"x\ny\"\n$INCLUDE /etc/passwd\n", []string{
			`z:1:9: ERR syntax quote is not closed on its line`, `z:2:2: ERR syntax quote is not closed on its line`, `z:3:10: ERR include $INCLUDE is not allowed here`,
		}},
		{"bad base64 is found", "a 1 DNSKEY 257 3 13 !!!!\n", []string{`z:1:12: ERR bad-data DNSKEY: record data does not fit its type: illegal base64 data at input byte 0`}},
		{"a text of 256 octets", "a 1 TXT " + strings.Repeat("x", 5000) + "\n", nil},
		{"an unquoted semicolon cuts a TXT", "a 1 TXT v=DKIM1; k=rsa; p=AAAA\n", []string{`z:1:9: WARN txt-cut the text ends at "v=DKIM1": what follows the semicolon is a comment`}},
		{"a comment behind a TXT does not", "a 1 TXT x ; comment\nb 1 TXT \"x\";comment\n", nil},
		{"no TTL anywhere", "a A 192.0.2.1\n", []string{`z:1:1: WARN no-ttl no TTL is given; an hour, 3600 s, is used for 1 records`}},
	} {
		_, problems := parse(t, c.text, Options{})
		if got := texts(problems); !slices.Equal(got, append([]string{}, c.want...)) {
			t.Errorf("%s:\n got %q\nwant %q", c.rule, got, c.want)
		}
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	_, problems := parse(t, "a 1 A mail\n", Options{})
	if len(problems) != 1 || problems[0].String() != `z:1:7: ERR bad-data A: bad A A: "mail" (an IPv4 address such as 192.0.2.1)` || !problems[0].Blocks() {
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
		"$INCLUDE big\n$INCLUDE big\n":                 "dir/big: ERR too-large",
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
	_, problems := Parse(iotest.ErrReader(errors.New("disk on fire")), "z", name.Root, Options{})
	if len(problems) != 1 || problems[0].String() != "z: ERR unreadable disk on fire" {
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
a\.b TXT "semi;colon" "quo\"te" back\\slash "\200"
x TYPE65280 \# 2 abcd
s SRV 1 2 3 ns
h HTTPS 1 . alpn=h2
c CAA 0 issue "ca.example; x=y"
n NAPTR 1 2 "u" "E2U+sip" "!^.*$!sip:a@b!" .
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

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"$TTL 60\n@ SOA ns admin (\n1 2 3 4 5 )\n", "a 1 TXT \"x;y\" z ; c\n", "$ORIGIN a\n$INCLUDE b c\n", "a 1 TYPE9 \\# 1 00\n",
		"\xef\xbb\xbfa\r\n b\\\n", "a 1 HTTPS 1 . alpn=\"h2\" mandatory=port\n", "a 1 LOC 1 N 1 E 1\n", "a 1 APL 1:1.2.3.4/8\n",
	} {
		f.Add(s)
	}
	origin := parsed(f, "example.")
	f.Fuzz(func(t *testing.T, text string) {
		opts := Options{MaxRecords: 1000, Include: func(string) ([]byte, string, error) { return []byte("i 1 A 192.0.2.1\n"), "i", nil }}
		records, problems := Parse(strings.NewReader(text), "z", origin, opts)
		lineCount := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.File == "z" && (p.Line < 0 || p.Line > lineCount) {
				t.Fatalf("%v is on no line of %d", p, lineCount)
			}
			if strings.Contains(p.String(), "root:") {
				t.Fatalf("a foreign file leaked: %v", p)
			}
		}
		for _, r := range records {
			again, _, err := zone.Normalise(r.RR)
			if err != nil || !dns.IsDuplicate(again, r.RR) {
				t.Fatalf("%v is not normal: %v, %v", r.RR, again, err)
			}
		}
	})
}
