package smtpline

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
)

var all = Extensions{Size: true, EightBit: true, UTF8: true, Auth: true, DSN: true, RequireTLS: true}

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		verb Verb
		arg  string
		code int
	}{
		"NOOP\x00":                {code: 500},
		"MAIL FROM:<a\rb@c.test>": {code: 500},
		"EHLO \xff":               {code: 500},
		"DATA now":                {code: 501},
		"STARTTLS x":              {code: 501},
		"QUIT 0":                  {code: 501},
		"":                        {verb: Unknown},
		"XYZZY a b":               {verb: Unknown, arg: "a b"},
		"MAIL\tFROM:<>":           {verb: Unknown},
		"ehlo Host":               {verb: Ehlo, arg: "Host"},
		"MAIL FROM:<> ":           {verb: Mail, arg: "FROM:<>"},
		"DATA  \t":                {verb: Data},
		"GET / HTTP/1.1":          {verb: HTTP, arg: "/ HTTP/1.1"},
		"Host: example.test":      {verb: HTTP, arg: "example.test"},
		"noop anything":           {verb: Noop, arg: "anything"},
	} {
		c, refusal := ParseCommand([]byte(in))
		if code(refusal) != want.code || c.Verb != want.verb || c.Arg != want.arg {
			t.Errorf("ParseCommand(%q) = %v %q, %v; want %v %q, code %d", in, c.Verb, c.Arg, refusal, want.verb, want.arg, want.code)
		}
	}
}

func code(r *Reply) int {
	if r == nil {
		return 0
	}
	return r.Code
}

func TestParseHelo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "a b": "", "a;b": "", "a(b)": "", "bücher.test": "", "[192.0.2.300]": "", "[": "", strings.Repeat("a", 256): "",
		"mail.example.test": "mail.example.test", "WORK_STATION": "WORK_STATION", "localhost": "localhost",
		"[192.0.2.1]": "[192.0.2.1]", "[IPv6:2001:DB8::1]": "[IPv6:2001:db8::1]",
	} {
		got, refusal := ParseHelo(in)
		if got != want || (refusal == nil) != (want != "") {
			t.Errorf("ParseHelo(%q) = %q, %v; want %q", in, got, refusal, want)
		}
	}
}

func TestParseMail(t *testing.T) {
	t.Parallel()
	a := address.Address{Local: "a", Domain: "b.test"}
	for in, want := range map[string]struct {
		from address.Address
		p    MailParams
		code int
	}{
		"":                                          {code: 501},
		"TO:<a@b.test>":                             {code: 501},
		"FROM:a@b.test":                             {code: 501},
		"FROM:<a@b.test":                            {code: 501},
		"FROM:<a@b@c.test>":                         {code: 501},
		"FROM:<a@b.test>SIZE=1":                     {code: 501},
		"FROM:<<a@b.test>>":                         {code: 501},
		"FROM:<@c.test:a@b.test>":                   {code: 553},
		"FROM:<ü@b.test>":                           {code: 553},
		"FROM:<a@bücher.test>":                      {code: 553},
		"FROM:<a@b.test> SIZE=1 SIZE=2":             {code: 501},
		"FROM:<a@b.test> SIZE=1 size=1":             {code: 501},
		"FROM:<a@b.test> SIZE=-1":                   {code: 501},
		"FROM:<a@b.test> SIZE":                      {code: 501},
		"FROM:<a@b.test> SIZE=":                     {code: 501},
		"FROM:<a@b.test> BODY=BINARY":               {code: 501},
		"FROM:<a@b.test> SMTPUTF8=1":                {code: 501},
		"FROM:<a@b.test> REQUIRETLS=1":              {code: 501},
		"FROM:<a@b.test> requiretls":                {from: a, p: MailParams{RequireTLS: true}},
		"FROM:<a@b.test> HOLDFOR=1":                 {code: 555},
		"FROM:<a@b.test> RET=SOME":                  {code: 501},
		"FROM:<a@b.test> ENVID=a+0D+0Ab":            {code: 501},
		"FROM:<a@b.test> AUTH=+4":                   {code: 501},
		"FROM:<>":                                   {},
		"FROM: <a@b.test>":                          {from: a},
		"from:<A@B.test>":                           {from: address.Address{Local: "A", Domain: "b.test"}},
		"FROM:<a@b.test> SIZE=99999999999999999999": {from: a, p: MailParams{Size: 1<<63 - 1}},
		"FROM:<a@b.test> SIZE=1000 body=8bitmime":   {from: a, p: MailParams{Size: 1000, Body: Body8Bit}},
		"FROM:<ü@bücher.test> SMTPUTF8": {
			from: address.Address{Local: "ü", Domain: "xn--bcher-kva.test"}, p: MailParams{UTF8: true},
		},
		"FROM:<a@b.test> RET=hdrs ENVID=QQ+2B1":                {from: a, p: MailParams{Ret: "HDRS", EnvID: "QQ+2B1"}},
		"FROM:<a@b.test> AUTH=e+3Dmc2@example.test":            {from: a, p: MailParams{Auth: "e=mc2@example.test"}},
		`FROM:<"v@evil.test> NOTIFY=NEVER"@b.test>`:            {from: address.Address{Local: "v@evil.test> NOTIFY=NEVER", Domain: "b.test"}},
		`FROM:<"a\">"@b.test> SIZE=5`:                          {from: address.Address{Local: `a">`, Domain: "b.test"}, p: MailParams{Size: 5}},
		"FROM:<> A=1 B=1 C=1 D=1 E=1 F=1 G=1 H=1 I=1 J=1 K=1L": {code: 501},
	} {
		from, p, refusal := ParseMail(in, all)
		if from != want.from || p != want.p || code(refusal) != want.code {
			t.Errorf("ParseMail(%q) = %+v %+v %v; want %+v %+v code %d", in, from, p, refusal, want.from, want.p, want.code)
		}
	}
	for _, in := range []string{"SIZE=1", "BODY=7BIT", "SMTPUTF8", "REQUIRETLS", "AUTH=<>", "RET=FULL", "ENVID=x"} {
		if _, _, refusal := ParseMail("FROM:<> "+in, Extensions{}); code(refusal) != 555 {
			t.Errorf("RFC 5321, Section 4.1.1.11: %s of an extension that was not announced: %v, want 555", in, refusal)
		}
	}
}

func TestParseRcpt(t *testing.T) {
	t.Parallel()
	a := address.Address{Local: "a", Domain: "b.test"}
	for in, want := range map[string]struct {
		to   address.Address
		p    RcptParams
		code int
	}{
		"TO:<>":                                  {code: 501},
		"TO:<a>":                                 {code: 501},
		"TO:<@x.test,@y.test:a@b.test>":          {code: 553},
		"TO:<ü@b.test>":                          {code: 553},
		"TO:<a@b.test> NOTIFY=NEVER,DELAY":       {code: 501},
		"TO:<a@b.test> NOTIFY=DELAY,NEVER":       {code: 501},
		"TO:<a@b.test> NOTIFY=DELAY,DELAY":       {code: 501},
		"TO:<a@b.test> NOTIFY=":                  {code: 501},
		"TO:<a@b.test> ORCPT=a@b.test":           {code: 501},
		"TO:<a@b.test> ORCPT=rfc822;a+0Ab":       {code: 501},
		"TO:<a@b.test> SIZE=1":                   {code: 555},
		"TO:<a@b.test>":                          {to: a},
		"TO:<PostMaster>":                        {to: address.Address{Local: "postmaster"}},
		"TO:<a@b.test> NOTIFY=success,FAILURE":   {to: a, p: RcptParams{Notify: envelope.Success | envelope.Failure}},
		"TO:<a@b.test> ORCPT=rfc822;a+2Bb@c.tes": {to: a, p: RcptParams{ORcpt: "rfc822;a+2Bb@c.tes"}},
	} {
		to, p, refusal := ParseRcpt(in, all, false)
		if refusal == nil && (to != want.to || p != want.p) || code(refusal) != want.code {
			t.Errorf("ParseRcpt(%q) = %+v %+v %v; want %+v %+v code %d", in, to, p, refusal, want.to, want.p, want.code)
		}
	}
}

func TestReplyAppend(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r    Reply
		want string
	}{
		"a line end cannot be forged": {
			Reply{Code: 550, Enhanced: "5.1.1", Text: "no <a\r250 ok>\x00ü"}, "550 5.1.1 no <a?250 ok>???\r\n",
		},
		"plain":           {Reply{Code: 354, Text: "go"}, "354 go\r\n"},
		"several lines":   {Reply{Code: 250, Text: "edge\nSIZE 5\nHELP"}, "250-edge\r\n250-SIZE 5\r\n250 HELP\r\n"},
		"enhanced on all": {Reply{Code: 550, Enhanced: "5.7.1", Text: "a\r\nb"}, "550-5.7.1 a\r\n550 5.7.1 b\r\n"},
		"empty":           {Reply{Code: 250, Enhanced: "2.0.0"}, "250 2.0.0 \r\n"},
	} {
		if got := string(c.r.Append(nil)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestReplyLinesStayShort(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("word ", 400), strings.Repeat("x", 2000)} {
		r := Reply{Code: 550, Enhanced: "5.7.1", Text: text}
		for line := range bytes.Lines(r.Append(nil)) {
			if len(line) > maxReply || !bytes.HasPrefix(line, []byte("550")) {
				t.Errorf("line of %d octets: %q", len(line), line)
			}
		}
	}
}

func TestReplyClasses(t *testing.T) {
	t.Parallel()
	var none *Reply
	if !none.Positive() || none.Temporary() || none.Permanent() || none.String() != "ok" {
		t.Error("a nil reply is success")
	}
	r := Refuse(451, "4.3.0", "full", "try later")
	r.Cause = errors.New("disk")
	if r.Positive() || !r.Temporary() || r.Permanent() || strings.Contains(string(r.Append(nil)), "disk") {
		t.Errorf("%v: the cause is for the log", r)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{
		"EHLO a.test", "MAIL FROM:<a@b.test> SIZE=1 SMTPUTF8", `RCPT TO:<"a b>"@c.test> NOTIFY=NEVER`,
		"RCPT TO:<postmaster>", "MAIL FROM:<> AUTH=<> RET=FULL ENVID=+41", "GET / HTTP/1.1", "RCPT TO:<a@b> ORCPT=rfc822;+3D",
		"XCLIENT ADDR=IPV6:2001:db8::1 PORT=25 PROTO=ESMTP NAME=a+2Eb", "BDAT 17 LAST",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, refusal := ParseCommand(line)
		if refusal != nil {
			return
		}
		if strings.ContainsAny(c.Arg, "\r\n\x00") {
			t.Fatalf("argument %q", c.Arg)
		}
		switch c.Verb {
		case Mail:
			from, p, refusal := ParseMail(c.Arg, all)
			roundTrip(t, from, p.UTF8, refusal)
		case Rcpt:
			to, _, refusal := ParseRcpt(c.Arg, all, true)
			if to.Domain != "" {
				roundTrip(t, to, true, refusal)
			}
		case XClientVerb:
			x, refusal := ParseXClient(c.Arg)
			if refusal == nil && (x.Addr.Is4In6() || x.Addr.IsValid() && x.Addr.IsUnspecified() || strings.ContainsAny(x.Helo, " ();<>\"\\")) {
				t.Fatalf("%+v", x)
			}
		case Bdat:
			if chunk, refusal := ParseBdat(c.Arg); refusal == nil && chunk.Size < 0 {
				t.Fatalf("%+v", chunk)
			}
		case Helo, Ehlo:
			if h, refusal := ParseHelo(c.Arg); refusal == nil && strings.ContainsAny(h, " ();<>\"\\") {
				t.Fatalf("helo %q", h)
			}
		}
	})
}

// roundTrip writes the address into a command again: it must come back alone.
func roundTrip(t *testing.T, a address.Address, utf8 bool, refusal *Reply) {
	t.Helper()
	if refusal != nil || a.IsZero() {
		return
	}
	again, p, refusal := ParseMail("FROM:"+a.Path()+" SMTPUTF8", all)
	if refusal != nil || again != a || p != (MailParams{UTF8: true}) {
		t.Fatalf("%+v written as %q reads back as %+v %+v %v (utf8 %v)", a, a.Path(), again, p, refusal, utf8)
	}
}
