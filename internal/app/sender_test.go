package app

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net/textproto"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"postern/internal/mail/queue"
)

// Forms of the header by which somebody could seem to be somebody else: each at
// the socket, by an account that has anna@ and info@city.example and no more.
func TestNobodyWritesAsAnother(t *testing.T) {
	t.Parallel()
	h := office(t)
	var client *smtp.Client
	i := 0
	send := func(header string) int {
		t.Helper()
		if i++; client == nil || i%10 == 0 { // a connection ends by its refusals
			client = h.submitter()
		}
		err := client.SendMail(anna, []string{"bob@other.example"}, strings.NewReader(header+"\r\n\r\ntext\r\n"))
		var refused *smtp.SMTPError
		if errors.As(err, &refused) {
			return refused.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		return 250
	}
	for _, c := range []struct {
		header string
		want   int
	}{
		// Hers, in unusual dress.
		{"From: ANNA@CITY.EXAMPLE", 250},
		{"From: \"anna\"@city.example", 250},
		{"From: anna @ city . example (at work)", 250},
		{"From:\r\n =?utf-8?q?J=C3=B6rg?=\r\n\t<anna@city.example>", 250},
		{"From: \"boss@city.example\" <anna@city.example>", 250}, // what a name says is the reader's to judge
		{"From: staff: anna@city.example, Info <info@city.example>;", 250},
		{"From: a b <anna@city.example>\r\nSender: <info@city.example>\r\nReply-To: boss@city.example", 250},
		{"fRoM \t: anna@city.example", 250},
		{"From: anna@city.example\r\nResent-From: info@city.example\r\nResent-Sender: anna@city.example", 250},
		// Another's mailbox.
		{"From: anna+x@city.example", 550},
		{"From: anna.@city.example", 550},
		{"From: anna@city.example.", 550},
		{"From: anna@www.city.example", 550},
		{"From: anna@city.example.other.example", 550},
		{"From: anna@xn--cit-8ib.example", 550},
		{"From: anna@c\u0456ty.example", 550},
		{"From: \u0430nna@city.example", 550},
		{"From: an\u200bna@city.example", 550},
		{"From: anna\u00ad@city.example", 550},
		{"From: anna@[192.0.2.1]", 550},
		{"From: anna@city", 550},
		{"From: =?utf-8?q?anna?=@city.example", 550},
		{"From: =?utf-8?q?anna=40city.example?=", 550},
		{"From: \"anna@city.example\"@city.example", 550},
		{"From: \"anna\\@city.example\"", 550},
		{"From: \"anna \"@city.example", 550},
		{"From: \"an\"na@city.example", 550},
		{"From: an.\"na\"@city.example", 550},
		{"From: anna%other.example@city.example", 550},
		{"From: boss!anna@city.example", 550},
		// Two readings.
		{"From: boss@city.example <anna@city.example>", 550},
		{"From: \"boss\"@city.example <anna@city.example>", 550},
		{"From: <boss@city.example> <anna@city.example>", 550},
		{"From: <anna@city.example> <boss@city.example>", 550},
		{"From: <anna@city.example>, <boss@city.example>", 550},
		{"From: anna@city.example; boss@city.example", 550},
		{"From: anna@city.example boss@city.example", 550},
		{"From: <<boss@city.example>anna@city.example>", 550},
		{"From: <anna@city.example", 550},
		{"From: anna@city.example>", 550},
		{"From: a: anna@city.example; <boss@city.example>", 550},
		{"From: a: b: anna@city.example;;", 550},
		{"From: anna@city.example, a: boss@city.example;", 550},
		{"From: \"anna@city.example", 550},
		{"From: (anna@city.example", 550},
		{"From: anna@city.example (", 550},
		{"From: boss(\\)anna@city.example)@city.example", 550},
		{"From: anna@city.example\\, boss@city.example", 550},
		{"From: anna@boss@city.example", 550},
		{"From: anna@city.example\tboss@city.example", 550},
		{"From: \xe9 <anna@city.example>\r\nFrom: boss@city.example", 550},
		{"From: ann\xe9@city.example", 550},
		// More than one field, or one that only some read.
		{"From: anna@city.example\r\nFROM: anna@city.example", 550},
		{"From: anna@city.example\r\nFrom\t: boss@city.example", 550},
		{"From:\r\nFrom: anna@city.example", 550},
		{"From: boss@city.example\r\n\t, anna@city.example", 550},
		{"X: y\r\n \r\nFrom: boss@city.example\r\nFrom: anna@city.example", 550},
		{"From: anna@city.example\r\n \r\n\tboss@city.example", 550},
		{"From: a:;", 550},
		{"From:", 550},
		{" From: anna@city.example", 550},
		{"From boss@city.example Sat Aug  1 12:00:00 2026\r\nFrom: anna@city.example", 550},
		{"From: anna@city.example\r\nno field\r\nFrom: boss@city.example", 550},
		{"From: anna@city.example\r\nFr\u043em : x\r\n", 550},
		// Who else has a hand in it.
		{"From: anna@city.example\r\nSender: anna@city.example\r\nSender: boss@city.example", 550},
		{"From: anna@city.example\r\nSENDER :\r\n boss@city.example", 550},
		{"From: anna@city.example\r\nSender: anna@city.example, boss@city.example", 550},
		{"From: anna@city.example\r\nSender: <", 550},
		{"From: anna@city.example\r\nResent-From: boss@city.example", 550},
		{"From: anna@city.example\r\nresent-from: anna@city.example\r\nResent-From: boss@city.example", 550},
		{"From: anna@city.example\r\nResent-Sender: boss@city.example", 550},
	} {
		if got := send(c.header); got != c.want {
			t.Errorf("%q: %d, want %d", c.header, got, c.want)
		}
	}
	for _, e := range h.entries(queue.Filter{}) {
		m, err := h.app.spool.Load(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(m.Open())
		if err := errors.Join(err, m.Close()); err != nil {
			t.Fatal(err)
		}
		if head, _, _ := strings.Cut(string(b), "\r\n\r\n"); strings.Count(strings.ToLower(head), "\r\nfrom") != 1 {
			t.Errorf("%s", head)
		}
	}
}

// The same for the envelope.
func TestNobodySendsAsAnother(t *testing.T) {
	t.Parallel()
	h := office(t)
	for path, want := range map[string]int{
		"<anna@city.example>": 250, "<ANNA@City.Example>": 250, "<\"anna\"@city.example>": 250, "<info@city.example>": 250, "<>": 250,
		"<@relay.example:anna@city.example>": 553, // RFC 5321, Appendix C: a route is not accepted
		"<boss@city.example>":                553, "<anna+x@city.example>": 553, "<anna@www.city.example>": 553, "<anna@[127.0.0.1]>": 553,
		"<\"anna@city.example\"@city.example>": 553, "<\"anna \"@city.example>": 553, "<anna@xn--cit-8ib.example>": 553,
		"<anna%city.example@city.example>": 553, "<@city.example:boss@city.example>": 553,
		"<anna@city.example.>": 501, "<anna>": 501, "<postmaster>": 501, "anna@city.example": 501, "<\u0430nna@city.example>": 553, "< anna@city.example>": 501,
		"<anna@city.example> X": 555, "<anna@boss@city.example>": 501, "<\"anna\"boss@city.example>": 501,
	} {
		c := h.talker()
		code, text, err := c.says("MAIL FROM:" + path)
		if err != nil || code != want {
			t.Errorf("MAIL FROM:%s: %d %s, want %d, %v", path, code, text, want, err)
		}
		_ = c.Close()
	}
}

// talker is logged in and says what it likes.
type talker struct{ *textproto.Conn }

func (h *house) talker() talker {
	h.t.Helper()
	for k, s := range h.app.doors.servers {
		if k.name != "submission" {
			continue
		}
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = conn.Close() })
		c := talker{textproto.NewConn(conn)}
		_, _, err1 := c.ReadResponse(220)
		_, _, err2 := c.says("EHLO laptop")
		code, _, err3 := c.says("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+anna+"\x00"+annaPassword)))
		if err := errors.Join(err1, err2, err3); err != nil || code != 235 {
			h.t.Fatal(code, err)
		}
		return c
	}
	h.t.Fatal("no submission listener")
	return talker{}
}

func (c talker) says(line string) (code int, text string, err error) {
	if err := c.PrintfLine("%s", line); err != nil {
		return 0, "", err
	}
	return c.hears()
}

func (c talker) hears() (code int, text string, err error) { return c.ReadResponse(0) }

func (c talker) want(t *testing.T, line string, want int) {
	t.Helper()
	if code, text, err := c.says(line); code != want || err != nil {
		t.Fatalf("%q: %d %s, want %d, %v", line, code, text, want, err)
	}
}
