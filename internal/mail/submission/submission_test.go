package submission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postern/internal/account"
	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/store"
)

const (
	login    = "anna@example.test"
	password = "correct horse battery"
)

// office is a submission listener with one account.
type office struct {
	server *smtpd.Server
	users  *account.Keeper
	door   *Door

	now func() time.Time // nil: time.Now

	mu   sync.Mutex // guards what follows
	envs []envelope.Envelope
	text []string
	say  *smtpline.Reply // what accept answers in place of taking it
}

func (o *office) clock() time.Time {
	if o.now == nil {
		return time.Now()
	}
	return o.now()
}

func (o *office) accept(ctx context.Context, c *smtpd.Conn, draft *spool.Draft, env envelope.Envelope, acc account.Account) *smtpline.Reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.say != nil {
		return o.say
	}
	b, err := io.ReadAll(draft.Open())
	if err == nil {
		_, err = draft.Commit(ctx, env, draft.Header())
	}
	if err != nil || acc.Login != login || c.User == "" {
		return smtpline.Refuse(451, "4.3.0", "test", "no")
	}
	o.envs, o.text = append(o.envs, env), append(o.text, string(b))
	return nil
}

func (o *office) taken() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.envs)
}

func open(t *testing.T, m smtpd.Mode, edit func(*Config)) *office {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db")})
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Config{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	o := &office{}
	o.users, err = account.New(account.Config{
		Now: o.clock, Store: db, Log: log, Cost: account.Cost{Memory: 16, Passes: 1, Threads: 1},
		Ended: func(ctx context.Context, id int64) {
			if o.door != nil {
				o.door.SignOut(ctx, id)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.users.Create(t.Context(), login, password, []string{login, "@lists.test"}); err != nil {
		t.Fatal(err)
	}
	c := Config{Accounts: o.users, Spool: sp, Accept: o.accept, Log: log}
	if edit != nil {
		edit(&c)
	}
	o.now = c.Now
	if o.door, err = New(c); err != nil {
		t.Fatal(err)
	}
	o.server, err = smtpd.New(smtpd.Config{
		Name: "submission", Hostname: "edge.example.test", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: m,
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, RequireTLS: true,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Limits: Limits(), Log: log, NewSession: o.door.Session,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own context has ended
		defer cancel()
		if err := errors.Join(o.server.Stop(ctx), sp.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return o
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// client connects with go-smtp, over TLS.
func (o *office) client(t *testing.T) *smtp.Client {
	t.Helper()
	c, err := smtp.DialTLS(o.server.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (o *office) loggedIn(t *testing.T) *smtp.Client {
	t.Helper()
	c := o.client(t)
	if err := c.Auth(sasl.NewPlainClient("", login, password)); err != nil {
		t.Fatal(err)
	}
	return c
}

// code returns the reply's code and enhanced code in an error of go-smtp.
func code(err error) (int, smtp.EnhancedCode) {
	var e *smtp.SMTPError
	if errors.As(err, &e) {
		return e.Code, e.EnhancedCode
	}
	return 0, smtp.EnhancedCode{}
}

const letter = "From: Anna <anna@example.test>\r\nSubject: x\r\n\r\ntext\r\n"

func TestSubmit(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]sasl.Client{
		"PLAIN": sasl.NewPlainClient("", login, password),
		"LOGIN": sasl.NewLoginClient(login, password),
		"authzid that is the login, and other letters": sasl.NewPlainClient("Anna@Example.test", "Anna@Example.test", password),
	} {
		o := open(t, smtpd.ImplicitTLS, nil)
		c := o.client(t)
		if err := c.Auth(m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.SendMail(login, []string{"bob@other.test", "carl@example.test"}, strings.NewReader(letter)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o.mu.Lock()
		env := o.envs[0]
		if env.Account != login || env.Origin != envelope.Submission || !env.TLS || len(env.To) != 2 || o.text[0] != letter {
			t.Errorf("%s: %+v %q", name, env, o.text)
		}
		o.mu.Unlock()
	}
}

func TestSTARTTLS(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.STARTTLS, nil)
	c, err := smtp.DialStartTLS(o.server.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", login, password)); err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail(login, []string{"bob@other.test"}, strings.NewReader(letter)); err != nil {
		t.Fatal(err)
	}
	clear, err := smtp.Dial(o.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer clear.Close()
	if ok, _ := clear.Extension("AUTH"); ok {
		t.Error("AUTH is offered in the clear")
	}
	if n, _ := code(clear.Auth(sasl.NewPlainClient("", login, password))); n != 530 {
		t.Errorf("AUTH in the clear: %d", n)
	}
	if n, _ := code(clear.Mail(login, nil)); n != 530 {
		t.Errorf("MAIL in the clear: %d", n)
	}
}

func TestNoMailBeforeLogin(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	c := o.client(t)
	if n, e := code(c.Mail(login, nil)); n != 530 || e != (smtp.EnhancedCode{5, 7, 0}) {
		t.Errorf("%d %v", n, e)
	}
	for name, m := range map[string]sasl.Client{
		"wrong password":     sasl.NewPlainClient("", login, "wrong horse battery"),
		"acting for another": sasl.NewPlainClient("boss@example.test", login, password), // CVE-2023-27582
	} {
		if n, e := code(c.Auth(m)); n != 535 || e != (smtp.EnhancedCode{5, 7, 8}) {
			t.Errorf("%s: %d %v", name, n, e)
		}
	}
	if n, _ := code(c.Mail(login, nil)); n != 530 {
		t.Errorf("MAIL after a failed login: %d", n)
	}
}

func TestSenders(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	c := o.loggedIn(t)
	for from, want := range map[string]int{
		"boss@example.test": 553, "anna@other.test": 553, "anna@sub.lists.test": 553, "anna@sub.example.test": 553,
		"anna@example.test": 250, "Anna@Example.Test": 250, "any@lists.test": 250, "": 250,
	} {
		err := c.Mail(from, nil)
		n, e := code(err)
		if (want == 250) != (err == nil) || want != 250 && (n != want || e != (smtp.EnhancedCode{5, 7, 1})) {
			t.Errorf("MAIL FROM:<%s>: %v", from, err)
		}
		if want == 553 && (!strings.Contains(err.Error(), "<"+from+">") || !strings.Contains(err.Error(), login)) {
			t.Errorf("the reply does not say which: %v", err)
		}
		if err := c.Reset(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	s := &session{door: o.door, conn: &smtpd.Conn{}, in: true, acc: account.Account{ID: 1, Login: login, Senders: []string{login}}}
	for to, want := range map[address.Address]int{
		{Local: "a@b", Domain: "other.test"}:             553,
		{Local: "a> NOTIFY=NEVER", Domain: "other.test"}: 553,
		{Local: "a b", Domain: "other.test"}:             553,
		{Local: `a"b`, Domain: "other.test"}:             553,
		{Local: "bob", Domain: "other.test"}:             0,
		{Local: "bob", Domain: "[192.0.2.1]"}:            0, // mail/route decides
		{Local: "list%owner", Domain: "other.test"}:      0, // a user may write to anybody
	} {
		r := s.Rcpt(t.Context(), to, smtpd.RcptParams{})
		if got := replyCode(r); got != want {
			t.Errorf("%s: %v, want %d", to, r, want)
		}
	}
	if r := s.Rcpt(t.Context(), address.Address{Local: "postmaster"}, smtpd.RcptParams{}); r != nil {
		t.Errorf("%v", r)
	}
	if last := s.tx.To[len(s.tx.To)-1]; last.String() != "postmaster@example.test" {
		t.Errorf("<postmaster> became %s", last)
	}
}

func replyCode(r *smtpline.Reply) int {
	if r == nil {
		return 0
	}
	return r.Code
}

// What was being sent when the account was stopped is not taken either.
func TestDisablingEndsAMessageUnderWay(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	c := o.loggedIn(t)
	if err := errors.Join(c.Mail(login, nil), c.Rcpt("bob@other.test", nil)); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, letter); err != nil {
		t.Fatal(err)
	}
	if err := o.users.Disable(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	if n, _ := code(w.Close()); n != 421 || o.taken() != 0 {
		t.Errorf("%d, %d taken", n, o.taken())
	}
}

func TestPasswordExpired(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, func(c *Config) { c.Accounts = aged{c.Accounts} })
	err := o.client(t).Auth(sasl.NewPlainClient("", login, password))
	if n, e := code(err); n != 535 || e != (smtp.EnhancedCode{5, 7, 8}) || !strings.Contains(err.Error(), "too old") {
		t.Errorf("%v", err)
	}
}

// aged is a database whose passwords have all grown old.
type aged struct{ Accounts }

func (aged) Verify(context.Context, string, string, netip.Addr) (account.Account, error) {
	return account.Account{}, account.ErrExpired
}

func TestDailyLimit(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	o := open(t, smtpd.ImplicitTLS, func(c *Config) { c.Day.Recipients, c.Now = 3, clock })
	c := o.loggedIn(t)
	two := []string{"a@other.test", "b@other.test"}
	o.mu.Lock()
	o.say = smtpline.Refuse(550, "5.7.1", "test", "no")
	o.mu.Unlock()
	for range 3 { // what was refused does not count
		if n, _ := code(c.SendMail(login, two, strings.NewReader(letter))); n != 550 {
			t.Fatal(n)
		}
	}
	o.mu.Lock()
	o.say = nil
	o.mu.Unlock()
	if err := c.SendMail(login, two, strings.NewReader(letter)); err != nil {
		t.Fatal(err)
	}
	if n, e := code(c.SendMail(login, two, strings.NewReader(letter))); n != 450 || e != (smtp.EnhancedCode{4, 7, 1}) {
		t.Errorf("two more of three: %d %v", n, e)
	}
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	if n, _ := code(c.Mail(login, nil)); n != 450 {
		t.Errorf("once stopped: %d", n)
	}
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	if err := c.SendMail(login, two, strings.NewReader(letter)); err != nil {
		t.Errorf("the next day: %v", err)
	}
}

func TestRenewKeepsTheDaysCounts(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, func(c *Config) { c.Day.Recipients = 3 })
	now := time.Now()
	if o.door.days.take(1, use{recipients: 3}, now).limit != "" {
		t.Fatal("no room at the start")
	}
	next := o.door.c
	next.Day.Recipients = 4
	door, err := o.door.Renew(next)
	if err != nil {
		t.Fatal(err)
	}
	if door.days.room(1, use{recipients: 1}, now).limit != "" || door.days.room(1, use{recipients: 2}, now).limit == "" {
		t.Error("the counts or the new limit were lost")
	}
	if door, err = door.Renew(next); err != nil || door.days.room(1, use{}, now).limit != "stopped" {
		t.Error("a reload that changes nothing lets a stopped account go on", err)
	}
	if next.Day.Recipients = 6; true {
		if door, err = door.Renew(next); err != nil || door.days.room(1, use{recipients: 2}, now).limit != "" {
			t.Error("a higher limit does not let it go on", err)
		}
	}
}

// Each limit of the day stops the account once, tells once, and lets it go on the
// next day or when it is forgiven.
func TestDayStopsTheAccount(t *testing.T) {
	t.Parallel()
	for limit, c := range map[string]struct {
		day  Day
		sent int // messages of two recipients each, the first the same
	}{
		"recipients": {Day{Recipients: 5}, 2}, "messages": {Day{Messages: 3}, 3}, "new recipients": {Day{New: 4}, 3},
	} {
		var mu sync.Mutex
		now := time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)
		var told []string
		o := open(t, smtpd.ImplicitTLS, func(conf *Config) {
			conf.Day, conf.Now = c.day, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
			conf.Stopped = func(_ context.Context, acc account.Account, limit string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, acc.Login+" "+limit)
			}
		})
		next := 0
		send := func(client *smtp.Client) error {
			next++
			err := client.SendMail(login, []string{"bob@other.test", strconv.Itoa(next) + "@other.test"}, strings.NewReader(letter))
			if err != nil {
				return errors.Join(err, client.Reset())
			}
			return nil
		}
		client := o.loggedIn(t)
		for i := range c.sent {
			if err := send(client); err != nil {
				t.Fatalf("%s: message %d: %v", limit, i+1, err)
			}
		}
		for range 3 {
			if n, e := code(send(client)); n != 450 || e != (smtp.EnhancedCode{4, 7, 1}) {
				t.Errorf("%s: one more: %d %v", limit, n, e)
			}
		}
		mu.Lock()
		if len(told) != 1 || told[0] != login+" "+limit {
			t.Errorf("%s: told %q", limit, told)
		}
		mu.Unlock()
		o.door.Forgive(1)
		if err := send(client); err != nil {
			t.Errorf("%s: forgiven: %v", limit, err)
		}
		mu.Lock()
		now = now.Add(24 * time.Hour)
		mu.Unlock()
		if err := send(client); err != nil {
			t.Errorf("%s: the next day: %v", limit, err)
		}
	}
}

// New recipients are counted over a restart, and known ones are not new.
func TestNewRecipientsOutliveARestart(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, func(c *Config) { c.Day.New = 2 })
	if err := o.loggedIn(t).SendMail(login, []string{"a@other.test", "b@other.test"}, strings.NewReader(letter)); err != nil {
		t.Fatal(err)
	}
	door, err := New(o.door.c)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{door: door, conn: &smtpd.Conn{}, in: true, acc: account.Account{ID: 1, Login: login, Senders: []string{login}, Generation: 1}}
	if r := s.Mail(t.Context(), address.Address{}, smtpd.MailParams{}); r != nil {
		t.Fatal(r)
	}
	for to, want := range map[string]int{"a": 0, "B": 0} {
		if r := s.Rcpt(t.Context(), address.Address{Local: to, Domain: "other.test"}, smtpd.RcptParams{}); replyCode(r) != want {
			t.Errorf("%s: %v", to, r)
		}
	}
	if r := s.Rcpt(t.Context(), address.Address{Local: "c", Domain: "other.test"}, smtpd.RcptParams{}); replyCode(r) != 450 {
		t.Errorf("a third: %v", r)
	}
}

// A damaged database closes submission and nothing else: the listener answers.
func TestWithoutAccounts(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, func(c *Config) { c.Accounts = nil })
	if n, _ := code(o.client(t).Hello("x")); n != 421 {
		t.Errorf("greeted with %d", n)
	}
}

// broken is a database that has gone bad.
type broken struct{ Accounts }

func (broken) Verify(context.Context, string, string, netip.Addr) (account.Account, error) {
	return account.Account{}, errors.New("disk I/O error at /var/lib/postern/postern.db")
}

func TestFaultsTellNothing(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, func(c *Config) { c.Accounts = broken{c.Accounts} })
	err := o.client(t).Auth(sasl.NewPlainClient("", login, password))
	if n, _ := code(err); n != 454 || strings.Contains(err.Error(), "postern.db") {
		t.Errorf("%v", err)
	}
}

func TestLockedOut(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	for range 10 {
		c := o.client(t)
		if n, _ := code(c.Auth(sasl.NewPlainClient("", login, "wrong horse battery"))); n != 535 {
			t.Fatal(n)
		}
	}
	if n, e := code(o.client(t).Auth(sasl.NewPlainClient("", login, password))); n != 454 || e != (smtp.EnhancedCode{4, 7, 0}) {
		t.Errorf("%d %v", n, e)
	}
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	c := o.loggedIn(t)
	if err := c.SendMail(login, []string{"bob@other.test"}, strings.NewReader(letter+strings.Repeat("x", 998)+"\r\n")); err != nil {
		t.Errorf("998: %v", err)
	}
	if n, _ := code(c.SendMail(login, []string{"bob@other.test"}, strings.NewReader(letter+strings.Repeat("x", 999)+"\r\n"))); n != 554 {
		t.Errorf("999: %d", n)
	}
	if o.taken() != 1 {
		t.Errorf("%d taken", o.taken())
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
	for mode, flag := range map[smtpd.Mode]string{smtpd.ImplicitTLS: "--tls-on-connect", smtpd.STARTTLS: "--tls"} {
		o := open(t, mode, nil)
		for secret, good := range map[string]bool{password: true, "wrong horse battery": false} {
			for _, mechanism := range []string{"PLAIN", "LOGIN"} {
				out, err := exec.CommandContext(t.Context(), path, "--server", o.server.Addr().String(), flag, "--auth", mechanism,
					"--auth-user", login, "--auth-password", secret, "--from", login, "--to", "bob@other.test").CombinedOutput()
				if strings.Contains(string(out), "Net::SSLeay") {
					if os.Getenv("CI") == "true" {
						t.Fatal("swaks lacks its TLS library")
					}
					t.Skip("swaks lacks its TLS library")
				}
				if (err == nil) != good {
					t.Errorf("%s %s: %v\n%s", flag, mechanism, err, out)
				}
			}
		}
		if o.taken() != 2 {
			t.Errorf("%s: %d taken", flag, o.taken())
		}
	}
}
