package mx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
)

// taker commits what it is given and remembers it.
type taker struct {
	mu   sync.Mutex // guards what follows
	envs []envelope.Envelope
	text []string
}

func (*taker) Hello(string)         {}
func (*taker) Mail(address.Address) {}
func (*taker) Close()               {}

func (k *taker) Inbound(ctx context.Context, draft *spool.Draft, env envelope.Envelope) *smtpline.Reply {
	b, err := io.ReadAll(draft.Open())
	if err != nil {
		return smtpline.Refuse(451, "4.3.0", "test", "no")
	}
	id, err := draft.Commit(ctx, env, draft.Header())
	if err != nil {
		return smtpline.Refuse(451, "4.3.0", "test", "no")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.envs, k.text = append(k.envs, env), append(k.text, string(b))
	return &smtpline.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as " + string(id)}
}

func (k *taker) begin(context.Context, *smtpd.Conn) Inspection { return k }

func (k *taker) taken() ([]envelope.Envelope, []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.envs, k.text
}

// full is a spool without room.
type full struct{}

func (full) Create() (*spool.Draft, error) { return nil, spool.ErrFull }

func world(t *testing.T, edit func(*Config)) (*smtpd.Server, *taker) {
	t.Helper()
	return worldOn(t, edit, nil)
}

// worldOn is a world whose listener is changed, too.
func worldOn(t *testing.T, edit func(*Config), listener func(*smtpd.Config)) (*smtpd.Server, *taker) {
	t.Helper()
	sp, err := spool.Open(spool.Config{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	log := slog.New(slog.DiscardHandler)
	k := &taker{}
	c := Config{Domains: []string{"Example.test", "bücher.test"}, Spool: sp, Begin: k.begin, Log: log}
	if edit != nil {
		edit(&c)
	}
	door, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	listen := smtpd.Config{
		Name: "mx", Hostname: "edge.example.test", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: smtpd.Plain,
		MaxSize: 1_000_000, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Limits: Limits(),
		Log: log, NewSession: door.Session,
	}
	if listener != nil {
		listener(&listen)
	}
	s, err := smtpd.New(listen)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own context has ended
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s, k
}

// REQUIREMENTS, E-mail 2.3.3.1 (1)(a): whatever an outsider writes, only our own
// domains get mail through this door.
func TestNoRelay(t *testing.T) {
	t.Parallel()
	s, k := world(t, nil)
	for name, c := range map[string]struct {
		rcpt string
		code int
	}{
		"another domain":             {"<user@other.test>", 550},
		"a domain below ours":        {"<user@sub.example.test>", 550},
		"a domain that ends as ours": {"<user@notexample.test>", 550},
		"the domain above":           {"<user@test>", 550},
		"percent hack":               {"<user%other.test@example.test>", 550},
		"percent hack, quoted":       {`<"user%other.test"@example.test>`, 550},
		"bang path":                  {"<other.test!user@example.test>", 550},
		"address in quotes":          {`<"user@other.test"@example.test>`, 550},
		"path smuggled in quotes":    {`<"user@other.test> NOTIFY=NEVER"@example.test>`, 550},
		"space in quotes":            {`<"a b"@example.test>`, 550},
		"source route":               {"<@example.test:user@other.test>", 553},
		"source route to us":         {"<@other.test:user@example.test>", 553},
		"two at signs":               {"<user@other.test@example.test>", 501},
		"two at signs, turned":       {"<user@example.test@other.test>", 501},
		"literal":                    {"<user@[192.0.2.1]>", 550},
		"literal of ours":            {"<user@[127.0.0.1]>", 550},
		"loopback name":              {"<user@localhost>", 550},
		"our host name":              {"<user@edge.example.test>", 550},
		"no domain":                  {"<user>", 501},
		"no brackets":                {"user@example.test", 501},
		"final dot":                  {"<user@example.test.>", 501},
		"null":                       {"<>", 501},
		"ours":                       {"<user@example.test>", 250},
		"ours in other letters":      {"<User@EXAMPLE.Test>", 250},
		"ours with a tag":            {"<user+tag@example.test>", 250},
		"ours, international":        {"<user@xn--bcher-kva.test>", 250},
		"bare postmaster":            {"<Postmaster>", 250},
	} {
		conn, read := talk(t, s)
		for _, line := range []string{"EHLO x", "MAIL FROM:<a@example.test>", "RCPT TO:" + c.rcpt} {
			send(t, conn, line)
			if r := read(); strings.HasPrefix(line, "RCPT") && !strings.HasPrefix(r, strconv.Itoa(c.code)) {
				t.Errorf("%s: %s: %q, want %d", name, c.rcpt, r, c.code)
			}
		}
		if c.code != 250 {
			send(t, conn, "DATA")
			if r := read(); !strings.HasPrefix(r, "554") {
				t.Errorf("%s: DATA: %q", name, r)
			}
		}
	}
	if envs, _ := k.taken(); len(envs) != 0 {
		t.Errorf("%d messages taken", len(envs))
	}
}

func TestNoLoginOnPort25(t *testing.T) {
	t.Parallel()
	s, _ := world(t, nil)
	conn, read := talk(t, s)
	send(t, conn, "EHLO x")
	if r := read(); strings.Contains(r, "AUTH") {
		t.Errorf("%q", r)
	}
	send(t, conn, "AUTH PLAIN AGEAYg==")
	if r := read(); !strings.HasPrefix(r, "502") {
		t.Errorf("%q", r)
	}
}

// The same through a client that others wrote.
func TestWithGoSMTP(t *testing.T) {
	t.Parallel()
	s, k := world(t, nil)
	c, err := smtp.Dial(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("client.example.net"); err != nil {
		t.Fatal(err)
	}
	const text = "From: a@example.net\r\nSubject: x\r\n\r\n.dot\r\n..two\r\n\r\nend\r\n"
	for range 2 {
		if err := c.SendMail("a@example.net", []string{"b@example.test", "c@example.test", "B@Example.test", "b@EXAMPLE.test"}, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	err = c.SendMail("a@example.net", []string{"b@other.test"}, strings.NewReader(text))
	var refused *smtp.SMTPError
	if !errors.As(err, &refused) || refused.Code != 550 || refused.EnhancedCode != (smtp.EnhancedCode{5, 7, 1}) {
		t.Errorf("relay: %v", err)
	}
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	err = c.SendMail("", []string{"b@example.test"}, strings.NewReader(text+strings.Repeat("x\r\n", 400_000)))
	if !errors.As(err, &refused) || refused.Code != 552 {
		t.Errorf("too large: %v", err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	envs, texts := k.taken()
	if len(envs) != 2 || texts[0] != text {
		t.Fatalf("%d taken: %q", len(envs), texts)
	}
	env := envs[0]
	want := []address.Address{{Local: "b", Domain: "example.test"}, {Local: "c", Domain: "example.test"}, {Local: "B", Domain: "example.test"}}
	if env.From.String() != "a@example.net" || len(env.To) != 3 || env.To[0] != want[0] || env.To[1] != want[1] || env.To[2] != want[2] {
		t.Errorf("envelope %+v", env)
	}
	if env.Origin != envelope.MX || env.Helo != "client.example.net" || env.Client != netip.MustParseAddr("127.0.0.1") || env.Account != "" || env.TLS {
		t.Errorf("envelope %+v", env)
	}
}

func TestFullSpool(t *testing.T) {
	t.Parallel()
	s, _ := world(t, func(c *Config) { c.Spool = full{} })
	conn, read := talk(t, s)
	for _, step := range []struct{ line, code string }{
		{"EHLO x", "250"}, {"MAIL FROM:<>", "250"}, {"RCPT TO:<a@example.test>", "250"}, {"DATA", "452 4.3.1"}, {"NOOP", "250"},
	} {
		send(t, conn, step.line)
		if r := read(); !strings.HasPrefix(r, step.code) {
			t.Errorf("%s: %q", step.line, r)
		}
	}
}

func TestHeaderTooLarge(t *testing.T) {
	t.Parallel()
	s, k := world(t, nil)
	for lines, code := range map[int]string{90: "250", 300: "552 5.3.4"} {
		conn, read := talk(t, s)
		for _, line := range []string{"EHLO x", "MAIL FROM:<>", "RCPT TO:<a@example.test>", "DATA"} {
			send(t, conn, line)
			read()
		}
		send(t, conn, strings.Repeat("X-Long: "+strings.Repeat("x", 990)+"\r\n", lines)+"\r\nbody\r\n.")
		if r := read(); !strings.HasPrefix(r, code) {
			t.Errorf("%d kB of header: %q, want %s", lines, r, code)
		}
		send(t, conn, "NOOP")
		if r := read(); !strings.HasPrefix(r, "250") {
			t.Errorf("the dialogue afterwards: %q", r)
		}
	}
	if envs, _ := k.taken(); len(envs) != 1 {
		t.Errorf("%d taken", len(envs))
	}
}

// A message cut off, or made of two readings, leaves nothing behind.
func TestNothingIsKeptOfABadMessage(t *testing.T) {
	t.Parallel()
	s, k := world(t, nil)
	for _, body := range []string{"a\n.\r\n", "a\r\n.\nb\r\n.\r\n", "a\rb\r\n.\r\n", "a\x00\r\n.\r\n", "a\r\n"} {
		conn, read := talk(t, s)
		for _, line := range []string{"EHLO x", "MAIL FROM:<>", "RCPT TO:<a@example.test>", "DATA"} {
			send(t, conn, line)
			read()
		}
		if _, err := io.WriteString(conn, "Subject: x\r\n\r\n"+body); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if r := read(); strings.HasPrefix(r, "2") {
			t.Errorf("%q: %q", body, r)
		}
	}
	if envs, _ := k.taken(); len(envs) != 0 {
		t.Errorf("%d messages taken", len(envs))
	}
}

func TestWithSwaks(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("swaks")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("swaks is not installed")
		}
		t.Skip("swaks is not installed")
	}
	s, k := world(t, nil)
	for to, good := range map[string]bool{"user@example.test": true, "user@other.test": false} {
		out, err := exec.CommandContext(t.Context(), path, "--server", s.Addr().String(), "--from", "a@example.net", "--to", to, "--helo", "client").CombinedOutput()
		if (err == nil) != good {
			t.Errorf("%s: %v\n%s", to, err, out)
		}
	}
	if envs, _ := k.taken(); len(envs) != 1 {
		t.Errorf("%d taken", len(envs))
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Config{Domains: []string{"a.test"}, Spool: full{}, Begin: (&taker{}).begin, Log: slog.New(slog.DiscardHandler)}
	for name, edit := range map[string]func(*Config){
		"no domains": func(c *Config) { c.Domains = nil },
		"bad domain": func(c *Config) { c.Domains = []string{"a.test", "a b"} },
		"no spool":   func(c *Config) { c.Spool = nil },
		"no checks":  func(c *Config) { c.Begin = nil },
		"no log":     func(c *Config) { c.Log = nil },
	} {
		c := good
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// talk dials and returns a reader of whole replies; the greeting has been read.
func talk(t *testing.T, s *smtpd.Server) (net.Conn, func() string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		var all bytes.Buffer
		one := make([]byte, 1)
		for start := 0; ; {
			if _, err := conn.Read(one); err != nil {
				return all.String()
			}
			all.WriteByte(one[0])
			if one[0] == '\n' {
				line := all.Bytes()[start:]
				start = all.Len()
				if len(line) > 3 && line[3] == ' ' {
					return all.String()
				}
			}
		}
	}
	if r := read(); !strings.HasPrefix(r, "220") {
		t.Fatalf("greeting %q", r)
	}
	return conn, read
}

func send(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
		t.Fatal(err)
	}
}

// TestRecipientsAtTheDoor: who is not there is refused at RCPT, an alias goes
// to each of its addresses once, and not even an alias leads out.
func TestRecipientsAtTheDoor(t *testing.T) {
	t.Parallel()
	ann := address.Address{Local: "ann", Domain: "example.test"}
	s, k := world(t, func(c *Config) {
		c.Find = func(_ context.Context, to address.Address) ([]address.Address, *smtpline.Reply) {
			switch to.Local {
			case "ann":
				return []address.Address{to}, nil
			case "all":
				return []address.Address{ann, {Local: "bob", Domain: "example.test"}}, nil
			case "out":
				return []address.Address{ann, {Local: "x", Domain: "other.test"}}, nil
			}
			return nil, smtpline.Refuse(550, "5.1.1", "user-unknown", "no such user here")
		}
	})
	conn, read := talk(t, s)
	for _, step := range []struct{ line, want string }{
		{"EHLO x", "250"}, {"MAIL FROM:<a@example.net>", "250"},
		{"RCPT TO:<nobody@example.test>", "550 5.1.1 "},
		{"RCPT TO:<out@example.test>", "550 5.7.1 "},
		{"DATA", "554"},
		{"RCPT TO:<all@example.test>", "250"},
		{"RCPT TO:<ann@example.test>", "250"},
		{"DATA", "354"},
		{"Subject: x\r\n\r\nx\r\n.", "250"},
	} {
		send(t, conn, step.line)
		if r := read(); !strings.HasPrefix(r, step.want) {
			t.Errorf("%s: %q, want %q", step.line, r, step.want)
		}
	}
	if envs, _ := k.taken(); len(envs) != 1 || len(envs[0].To) != 2 || !envs[0].To[0].Equal(ann) || envs[0].To[1].Local != "bob" {
		t.Errorf("taken %+v", envs)
	}
}

// TestAliasMadeAHundredThousandOfAThousand: each detail of an alias (team+1,
// team+2) led to a hundred addresses more.
func TestAliasMadeAHundredThousandOfAThousand(t *testing.T) {
	t.Parallel()
	s, k := worldOn(t, func(c *Config) {
		c.Find = func(_ context.Context, to address.Address) ([]address.Address, *smtpline.Reply) {
			var all []address.Address
			for i := range 100 {
				all = append(all, address.Address{Local: to.Local + "-" + strconv.Itoa(i), Domain: to.Domain})
			}
			return all, nil
		}
	}, func(c *smtpd.Config) { c.Limits.Recipients = 250 })
	conn, read := talk(t, s)
	for _, step := range []struct{ line, want string }{
		{"EHLO x", "250"}, {"MAIL FROM:<a@example.net>", "250"},
		{"RCPT TO:<team+1@example.test>", "250"}, {"RCPT TO:<team+2@example.test>", "250"},
		{"RCPT TO:<team+3@example.test>", "452 4.5.3 "},
		{"DATA", "354"}, {"Subject: x\r\n\r\nx\r\n.", "250"},
		{"MAIL FROM:<a@example.net>", "250"}, {"RCPT TO:<team+3@example.test>", "250"}, // in the next message, as 452 says
	} {
		send(t, conn, step.line)
		if r := read(); !strings.HasPrefix(r, step.want) {
			t.Errorf("%s: %q, want %q", step.line, r, step.want)
		}
	}
	if envs, _ := k.taken(); len(envs) != 1 || len(envs[0].To) != 200 {
		t.Errorf("taken %+v", envs)
	}
}
