package app

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/mail"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postern/internal/mail/queue"
	"postern/internal/mail/spool"
	"postern/internal/manage"
)

const (
	anna         = "anna@city.example"
	annaPassword = "correct horse battery"
)

const submitConfig = houseConfig + `new_per_account_per_day = 3
[[listen]]
serve     = "submission"
address   = ["127.0.0.1:0"]
transport = ["tls"]
[limits]
exempt = ["loopback"]
`

// office is a house with a submission listener and one account.
func office(t *testing.T) *house {
	t.Helper()
	return officeWith(t, submitConfig)
}

func officeWith(t *testing.T, config string) *house {
	t.Helper()
	h := buildWith(t, config, nil)
	if _, err := h.app.accounts.Create(t.Context(), anna, annaPassword, []string{anna, "info@city.example"}); err != nil {
		t.Fatal(err)
	}
	return h
}

// submitter is logged in.
func (h *house) submitter() *smtp.Client {
	h.t.Helper()
	c := h.stranger()
	if err := c.Auth(sasl.NewPlainClient("", anna, annaPassword)); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// stranger is connected to the submission listener.
func (h *house) stranger() *smtp.Client {
	h.t.Helper()
	for k, s := range h.app.doors.servers {
		if k.name != "submission" {
			continue
		}
		c, err := smtp.DialTLS(s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = c.Close() })
		if err := c.Hello("laptop-of-anna.lan"); err != nil {
			h.t.Fatal(err)
		}
		return c
	}
	h.t.Fatal("no submission listener")
	return nil
}

func (h *house) entries(f queue.Filter) []queue.Entry {
	h.t.Helper()
	all, err := h.app.queue.List(f)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// What the header names as sender must belong to the account, however it is
// written; what RFC 6409 wants is put right; and nothing tells where the user
// sits or who was meant to be hidden.
func TestSubmittedHeader(t *testing.T) {
	t.Parallel()
	h := office(t)
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"own":                            {"From: Anna <anna@city.example>\r\n", 250},
		"another of hers":                {"From: info@city.example\r\nSender: Anna@City.example\r\n", 250},
		"both of hers":                   {"From: anna@city.example, info@city.example\r\n", 250},
		"boss":                           {"From: boss@city.example\r\n", 550},
		"boss behind her own name":       {"From: \"anna@city.example\" <boss@city.example>\r\n", 550},
		"boss beside her own":            {"From: anna@city.example, boss@city.example\r\n", 550},
		"boss in the place of a name":    {"From: boss@city.example <anna@city.example>\r\n", 550},
		"boss in a group":                {"From: us: anna@city.example, boss@city.example;\r\n", 550},
		"boss with a comment":            {"From: boss(anna@city.example)@city.example\r\n", 550},
		"two From fields":                {"From: anna@city.example\r\nFrom: boss@city.example\r\n", 550},
		"a folded second From":           {"From: anna@city.example\r\nfrom :\r\n boss@city.example\r\n", 550},
		"Sender is the boss":             {"From: anna@city.example\r\nSender: boss@city.example\r\n", 550},
		"no From":                        {"Subject: x\r\n", 550},
		"a subdomain of hers":            {"From: anna@sub.city.example\r\n", 550},
		"quoted":                         {"From: \"anna@city.example\"@other.example\r\n", 550},
		"encoded word in the place of @": {"From: =?utf-8?q?anna=40city.example?= <boss@city.example>\r\n", 550},
	} {
		client := h.submitter()
		msg := c.header + "Bcc: hidden@other.example,\r\n more@other.example\r\n \r\n\thidden@third.example\r\nbCC :\r\n hidden@other.example\r\nResent-Bcc: hidden@other.example\r\nResent-BCC\t: hidden@other.example\r\nAuthentication-Results: city.example; dkim=pass\r\nSubject: hello\r\n\r\nBcc: this is text\r\n"
		err := client.SendMail(anna, []string{"bob@other.example"}, strings.NewReader(msg))
		var refused *smtp.SMTPError
		switch {
		case c.want != 250 && (!errors.As(err, &refused) || refused.Code != c.want):
			t.Errorf("%s: %v, want %d", name, err, c.want)
		case c.want == 250 && err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
	all := h.entries(queue.Filter{Account: anna})
	if len(all) != 3 {
		t.Errorf("%d messages in the queue", len(all))
	}
	for _, e := range all {
		m, err := h.app.spool.Load(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(m.Open())
		if err := errors.Join(err, m.Close()); err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, hidden := range []string{"hidden@", "more@", "\nBcc:\r", "127.0.0.1", "laptop-of-anna", "dkim=pass"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%q is told:\n%s", hidden, text)
			}
		}
		for field, n := range map[string]int{"\r\nDate: ": 1, "\r\nMessage-ID: <": 1, "Received: ": 1, "Bcc: this is text\r\n": 1, "with ESMTPSA": 1} {
			if strings.Count(text, field) != n {
				t.Errorf("%q stands %d times:\n%s", field, strings.Count(text, field), text)
			}
		}
	}
}

// An account that wants more than a limit of the day has its queue held, what it is
// sending meanwhile is refused, and owner and postmaster are told, once, by mail that
// nobody answers and that is not held. The operator lets all of it go on; or stops
// the account for good and empties its queue, by one command.
func TestStoppedAccount(t *testing.T) {
	t.Parallel()
	h := office(t)
	client, other := h.submitter(), h.talker()
	send := func(to string) error {
		return client.SendMail(anna, []string{to + "@other.example"}, strings.NewReader("From: anna@city.example\r\n\r\ntext\r\n"))
	}
	for _, to := range []string{"a", "b", "c", "a"} {
		if err := send(to); err != nil {
			t.Fatal(err)
		}
	}
	other.want(t, "MAIL FROM:<"+anna+">", 250)
	other.want(t, "RCPT TO:<a@other.example>", 250)
	other.want(t, "DATA", 354)
	var refused *smtp.SMTPError
	for range 3 {
		if err := send("d"); !errors.As(err, &refused) || refused.Code != 450 {
			t.Fatalf("a fourth of three: %v", err)
		}
		_ = client.Reset()
	}
	other.want(t, "From: anna@city.example\r\n\r\nunder way\r\n.", 450)
	held := func(want string) {
		t.Helper()
		all := h.entries(queue.Filter{Account: anna})
		for _, e := range all {
			if (e.Phase == "held") != (want == "held") {
				t.Errorf("%s is %s, want %s", e.ID, e.Phase, want)
			}
		}
		if len(all) != 4 {
			t.Errorf("%d messages in the queue", len(all))
		}
	}
	held("held")
	h.notices(map[string]string{anna: "Your mail account was stopped for today", "postmaster@city.example": "Account anna@city.example was stopped for today"})

	do := func(verb string, args any) manage.User {
		t.Helper()
		raw, err := h.app.desk.Do(t.Context(), manage.Caller{}, verb, asJSON(t, args))
		if err != nil {
			t.Fatal(err)
		}
		u, _ := raw.(manage.User)
		return u
	}
	do(manage.VerbUserUnlock, manage.UserArgs{Login: anna})
	held("held") // that is another decision
	do(manage.VerbQueueRelease, manage.QueueArgs{Account: anna})
	held("released")
	if err := send("d"); err != nil {
		t.Errorf("unlocked: %v", err)
	}
	if u := do(manage.VerbUserDisable, manage.UserArgs{Login: anna, DropQueue: true}); !u.Disabled || u.Dropped != 5 {
		t.Errorf("%+v", u)
	}
	if left := h.entries(queue.Filter{Account: anna}); len(left) != 0 {
		t.Errorf("%d messages are left, the first %v", len(left), left[0].Recipients[0].Status == spool.Dropped)
	}
	if code, text, err := other.hears(); code != 421 || err != nil {
		t.Errorf("its idle session: %d %s %v", code, text, err)
	}
	h.notices(map[string]string{anna: "Your mail account was stopped for today", "postmaster@city.example": "Account anna@city.example was stopped for today"})
}

// notices wants these messages of our own, by recipient and subject, and no others,
// in the maildir. None can be answered by a program (RFC 3834, Section 5; RFC 5321,
// Section 4.5.5).
func (h *house) notices(want map[string]string) {
	h.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(30 * time.Second)
	got := h.delivered()
	for len(got) < len(want) {
		select {
		case <-look.C:
			got = h.delivered()
		case <-late:
			h.t.Fatalf("%d notices, want %d", len(got), len(want))
		}
	}
	told := map[string]string{}
	for _, m := range got {
		if m.Header.Get("Return-Path") != "<>" || m.Header.Get("Auto-Submitted") != "auto-generated" {
			h.t.Errorf("%v", m.Header)
		}
		told[strings.Trim(m.Header.Get("To"), "<>")] = m.Header.Get("Subject")
	}
	if len(got) != len(want) || !maps.Equal(told, want) {
		h.t.Errorf("%d notices %v, want %v", len(got), told, want)
	}
}

// delivered is what stands in the maildir.
func (h *house) delivered() []*mail.Message {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "mail", "new", "*"))
	if err != nil {
		h.t.Fatal(err)
	}
	var all []*mail.Message
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			h.t.Fatal(err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// A password grows old under a clock that is moved: a warning comes by mail, then
// the login is refused with the reason, which only who knows the password hears. An
// app password goes on, and a new password heals it.
func TestPasswordAgeAtTheDoor(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	at := func(days int) string { return strconv.FormatInt(begin.AddDate(0, 0, days).Unix(), 10) + "\n" }
	h := buildWith(t, submitConfig+"[accounts]\nmax_age = \"70d\"\n", map[string]string{"clock": at(0)})
	if _, err := h.app.accounts.Create(t.Context(), anna, annaPassword, nil); err != nil {
		t.Fatal(err)
	}
	app, err := h.app.accounts.AddApp(t.Context(), anna, "phone")
	if err != nil {
		t.Fatal(err)
	}
	look, ok := h.app.buildUsers().(*users)
	if !ok {
		t.Fatal("no accounts")
	}
	login := func(password, want string) {
		t.Helper()
		err := h.stranger().Auth(sasl.NewPlainClient("", anna, password))
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, step := range []struct {
		days      int
		own, told string
	}{
		{59, "<nil>", ""},
		{61, "<nil>", "Your mail password ends on " + begin.UTC().AddDate(0, 0, 70).Format("2 January 2006")},
		{71, "too old", ""}, // warned ten days ago
	} {
		h.write("clock", at(step.days))
		if err := look.warn(t.Context()); err != nil {
			t.Fatal(err)
		}
		login(annaPassword, step.own)
		login("a wrong password", "wrong login or password")
		login(app, "<nil>")
		if step.told != "" {
			h.notices(map[string]string{anna: step.told})
		}
	}
	if err := h.app.accounts.Passwd(t.Context(), anna, "another long secret"); err != nil {
		t.Fatal(err)
	}
	login("another long secret", "<nil>")
}

func asJSON(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// SCRAM is offered once somebody has an app password, where the listener does not
// leave it out: for clients that would choose it with a password that cannot pass
// by it. Who fails by it is told so.
func TestWhereScramIsOffered(t *testing.T) {
	t.Parallel()
	h := office(t)
	offered := func() string {
		t.Helper()
		_, list := h.submitter().Extension("AUTH")
		return list
	}
	if got := offered(); got != "PLAIN LOGIN" {
		t.Errorf("nobody has an app password: %s", got)
	}
	app, err := h.app.accounts.AddApp(t.Context(), anna, "phone")
	if err != nil {
		t.Fatal(err)
	}
	all := "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"
	if got := offered(); got != all {
		t.Errorf("somebody has one: %s", got)
	}
	const where = "transport = [\"tls\"]\n"
	h.write("postern.toml", strings.Replace(submitConfig, where, where+"scram = false\n", 1))
	h.reload()
	if got := offered(); got != "PLAIN LOGIN" {
		t.Errorf("the listener leaves it out: %s", got)
	}
	c := h.stranger()
	var refused *smtp.SMTPError
	if err := c.Auth(firstOf{"SCRAM-SHA-256", "n,,n=" + anna + ",r=0123456789abcdef"}); !errors.As(err, &refused) || refused.Code != 504 {
		t.Errorf("SCRAM all the same: %v", err)
	}
	if err := c.Auth(sasl.NewPlainClient("", anna, app)); err != nil {
		t.Errorf("an app password by PLAIN: %v", err)
	}
}

// firstOf is a client that says its first message and no more.
type firstOf struct{ mechanism, message string }

func (f firstOf) Start() (string, []byte, error) { return f.mechanism, []byte(f.message), nil }
func (firstOf) Next([]byte) ([]byte, error)      { return nil, errors.New("asked to go on") }
