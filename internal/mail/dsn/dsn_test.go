package dsn

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"postern/internal/mail/address"
)

var update = flag.Bool("update", false, "write the golden files anew")

func addr(s string) address.Address {
	a, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

func sample() Report {
	at := time.Date(2026, 3, 1, 12, 30, 0, 0, time.FixedZone("", 3600))
	return Report{
		ID: "0006c9m0s1k0a2v3g1.abc", Hostname: "edge.example.test", To: addr("sender@example.test"), QueueID: "0006c9m0s1k0a2v3g1",
		Arrived: at.Add(-time.Hour), Now: at,
		Recipients: []Recipient{
			{Final: addr("gone@example.net"), Action: Failed, Status: "5.1.1", Code: 550, Text: "no such user here", RemoteMTA: "mx.example.net", LastTry: at},
			{Final: addr(`"odd one"@example.net`), Original: "rfc822;orig+2B1@example.org", Action: Failed, Status: "4.4.7", Text: "connection timed out", LastTry: at, Note: "Delivery was tried for 5 days and has been given up."},
		},
		EnvID:  "q+3D1",
		Header: []byte("Received: from a\r\n\tby b\r\nSubject: hello\r\n"),
	}
}

// TestGolden compares whole notifications with files a person can read.
func TestGolden(t *testing.T) {
	t.Parallel()
	delayed := sample()
	delayed.Recipients = delayed.Recipients[1:]
	delayed.Recipients[0].Action, delayed.Recipients[0].RetryUntil = Delayed, delayed.Now.Add(96*time.Hour)
	global := sample()
	global.UTF8, global.Header = true, []byte("Subject: \u00fcber\r\n")
	global.To, global.Recipients[0].Final, global.Recipients[0].Text = addr("\u9001@example.test"), addr("\u00fc@example.net"), "unbekannt: \u00fc"
	for name, r := range map[string]Report{"failed": sample(), "delayed": delayed, "global": global} {
		m := Build(r)
		got := append(append(append([]byte(nil), m.Header...), "\r\n"...), m.Body...)
		file := filepath.Join("testdata", name+".eml")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
		if m.To != r.To || m.UTF8 != (name == "global") || m.Body8Bit != (name == "global") {
			t.Errorf("%s: to %v, utf8 %v, 8bit %v", name, m.To, m.UTF8, m.Body8Bit)
		}
	}
}

// read takes a notification apart with other code than ours.
func read(t *testing.T, m Message) (head mail.Header, parts []string, kinds []string) {
	t.Helper()
	whole := append(append(append([]byte(nil), m.Header...), "\r\n"...), m.Body...)
	if bytes.Contains(bytes.ReplaceAll(whole, []byte("\r\n"), nil), []byte("\n")) || bytes.Contains(bytes.ReplaceAll(whole, []byte("\r\n"), nil), []byte("\r")) || bytes.IndexByte(whole, 0) >= 0 {
		t.Fatalf("bare CR, LF or NUL in %q", whole)
	}
	for line := range strings.Lines(string(whole)) {
		if len(line) > 1000 {
			t.Fatalf("a line of %d octets", len(line))
		}
	}
	msg, err := mail.ReadMessage(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatal(kind, params, err)
	}
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF {
			return msg.Header, parts, kinds
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range text {
			if c >= 0x80 && p.Header.Get("Content-Transfer-Encoding") != "8bit" {
				t.Fatalf("8 bits in a part of %s that does not say so", kind)
			}
		}
		parts, kinds = append(parts, string(text)), append(kinds, kind)
	}
}

// TestHostileText puts what servers and senders might say into every field.
func TestHostileText(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		"a\r\nSubject: injected\r\n\r\nbody", "a\nStatus: 2.0.0\n", "\r\n--=_0006c9m0s1k0a2v3g1.abc.report--\r\n", "\x00\x01\x7f\x85", "\xff\xfe\xc3", "\u2028x\u202ey", "",
		strings.Repeat("x", 100_000), strings.Repeat("\u00fc", 5000), strings.Repeat("word ", 5000), "<script>",
	} {
		for _, utf8OK := range []bool{false, true} {
			r := sample()
			r.UTF8 = utf8OK
			r.EnvID, r.QueueID = evil, evil
			r.Recipients = append(r.Recipients, Recipient{Final: addr("x@example.net"), Original: evil + ";" + evil, Action: Failed, Status: evil, Code: 550, Text: evil, RemoteMTA: evil, Note: evil})
			if utf8OK {
				r.Recipients[2].Final.Local = "\u00fc"
			}
			head, parts, kinds := read(t, Build(r))
			if len(parts) != 3 || head.Get("Subject") != "Your message could not be delivered" || head.Get("Auto-Submitted") != "auto-replied" {
				t.Fatalf("%.40q: %d parts, %v", evil, len(parts), head)
			}
			if want := map[bool]string{false: "text/rfc822-headers", true: "message/global-headers"}[utf8OK]; kinds[2] != want {
				t.Errorf("%.40q: kinds %v", evil, kinds)
			}
			groups := strings.Split(strings.TrimRight(parts[1], "\r\n"), "\r\n\r\n")
			if len(groups) != 1+len(r.Recipients) {
				t.Errorf("%.40q: %d groups in\n%s", evil, len(groups), parts[1])
			}
			for _, g := range groups[1:] {
				fields, err := textproto.NewReader(bufio.NewReader(strings.NewReader(g + "\r\n\r\n"))).ReadMIMEHeader()
				if err != nil && err != io.EOF {
					t.Errorf("%.40q: %v in\n%s", evil, err, g)
				}
				if len(fields["Status"]) != 1 || len(fields["Action"]) != 1 || fields.Get("Status")[0] == '2' {
					t.Errorf("%.40q: %v", evil, fields)
				}
			}
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action Action
		status string
		want   string
	}{
		{Failed, "", "5.0.0"}, {Failed, "x", "5.0.0"}, {Failed, "5.1", "5.0.0"}, {Failed, "5.1.1.1", "5.0.0"}, {Failed, "3.1.1", "5.0.0"}, {Failed, "2.1.5", "5.0.0"},
		{Failed, "5.01.1", "5.0.0"}, {Failed, "5.1.1000", "5.0.0"}, {Failed, "5.1.1\r\n", "5.0.0"}, {Failed, "5.-1.1", "5.0.0"}, {Failed, "5.+1.1", "5.0.0"},
		{Failed, "5.7.350", "5.7.350"}, {Failed, "4.4.7", "4.4.7"},
		{Delayed, "4.4.1", "4.4.1"}, {Delayed, "5.1.1", "4.0.0"}, {Delayed, "", "4.0.0"},
	} {
		if got := statusOf(Recipient{Action: c.action, Status: c.status}); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.action, c.status, got, c.want)
		}
	}
}

// TestHeaderIsBounded and never the body.
func TestHeaderIsBounded(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Header = bytes.Repeat([]byte("X-Filler: 0123456789\r\n"), 20_000)
	_, parts, _ := read(t, Build(r))
	if len(parts[2]) > maxHeader || !strings.HasSuffix(parts[2], "0123456789\r\n") && !strings.HasSuffix(parts[2], "0123456789") {
		t.Errorf("%d octets, ends in %q", len(parts[2]), parts[2][len(parts[2])-30:])
	}
	// Eight bits of a sender without SMTPUTF8 do not make it a global report.
	r.Header = []byte("Subject: \xe9\x80\r\n")
	m := Build(r)
	if _, parts, kinds := read(t, m); m.UTF8 || m.Body8Bit || kinds[2] != "text/rfc822-headers" || !strings.Contains(parts[2], "Subject: ??") {
		t.Errorf("%v %q", kinds, parts)
	}
}

func TestUnxtext(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "a+2Bb": "a+b", "a+": "a+", "a+2": "a+2", "a+zz": "a+zz", "+41+42": "AB"} {
		if got := unxtext(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzBuild: whatever goes in, the notification can be taken apart.
func FuzzBuild(f *testing.F) {
	f.Add("550 no\r\n", "rfc822;x", []byte("Subject: x\r\n"), true)
	f.Fuzz(func(t *testing.T, text, original string, header []byte, utf8OK bool) {
		// The spool never holds other headers than these.
		header = append(bytes.ReplaceAll(bytes.ReplaceAll(bytes.ReplaceAll(header, []byte("\r"), nil), []byte("\n"), nil), []byte{0}, nil), "\r\n"...)
		if len(header) > 900 {
			return
		}
		r := sample()
		r.UTF8, r.Header = utf8OK, header
		r.Recipients[0].Text, r.Recipients[0].Original = text, original
		m := Build(r)
		if _, parts, _ := read(t, m); len(parts) != 3 {
			t.Fatalf("%d parts", len(parts))
		}
		if !utf8.Valid(m.Header) || !utf8.Valid(m.Body) {
			t.Fatal("not UTF-8")
		}
	})
}
