package submission

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"

	"postern/internal/account"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
)

// talker is a client that hears what it did not ask for.
type talker struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// talk connects and logs in with AUTH PLAIN.
func (o *office) talk(t *testing.T, m smtpd.Mode, password string) *talker {
	t.Helper()
	conn, err := net.Dial("tcp", o.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &talker{t, conn, bufio.NewReader(conn)}
	secure := func() {
		c.Conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		c.in = bufio.NewReader(c.Conn)
	}
	if m == smtpd.ImplicitTLS {
		secure()
	}
	c.want("220")
	if m == smtpd.STARTTLS {
		c.say("EHLO laptop", "250")
		c.say("STARTTLS", "220")
		secure()
	}
	c.say("EHLO laptop", "250")
	c.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+login+"\x00"+password)), "235")
	return c
}

// want reads a reply.
func (c *talker) want(code string) string {
	c.t.Helper()
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%v, want %s", err, code)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, code) {
			c.t.Fatalf("%q, want %s", line, code)
		}
		return line
	}
}

func (c *talker) say(line, code string) {
	c.t.Helper()
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	c.want(code)
}

// isOver wants 421 without having said anything, and then the end.
func (c *talker) isOver() {
	c.t.Helper()
	if line := c.want("421 4.7.0"); !strings.Contains(line, "log in again") {
		c.t.Errorf("%q", line)
	}
	if n, err := c.in.Read(make([]byte, 1)); n > 0 || err == nil {
		c.t.Error("the connection lives on")
	}
}

// A login that does not hold any more ends the sessions that it opened at once,
// idle ones too, and no others.
func TestChangeEndsLiveSessions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(o *office) error{
		"disabled":        func(o *office) error { return o.users.Disable(t.Context(), login) },
		"removed":         func(o *office) error { return o.users.Remove(t.Context(), login) },
		"other password":  func(o *office) error { return o.users.Passwd(t.Context(), login, "another long secret") },
		"other senders":   func(o *office) error { return o.users.SetSenders(t.Context(), login, nil) },
		"made once more":  remade,
		"its app is gone": func(o *office) error { return o.users.RemoveApp(t.Context(), login, "phone") },
	} {
		for _, m := range []smtpd.Mode{smtpd.ImplicitTLS, smtpd.STARTTLS} {
			t.Run(fmt.Sprintf("%s, mode %d", name, m), func(t *testing.T) {
				t.Parallel()
				o := open(t, m, nil)
				bystander := "carl@example.test"
				if _, err := o.users.Create(t.Context(), bystander, password, nil); err != nil {
					t.Fatal(err)
				}
				secret, err := o.users.AddApp(t.Context(), login, "phone")
				if err != nil {
					t.Fatal(err)
				}
				idle, app := o.talk(t, m, password), o.talk(t, m, secret)
				app.say("MAIL FROM:<"+login+">", "250")
				app.say("RCPT TO:<bob@other.test>", "250")
				if err := change(o); err != nil {
					t.Fatal(err)
				}
				app.isOver()
				ended := uint64(2)
				if name == "its app is gone" {
					ended = 1
					idle.say("MAIL FROM:<"+login+">", "250")
				} else {
					idle.isOver()
				}
				if n := o.door.Counters.SignedOut.Value(); n != ended {
					t.Errorf("%d sessions counted, want %d", n, ended)
				}
			})
		}
	}
}

func remade(o *office) error {
	ctx := context.Background() // that of the test is not at hand
	if err := o.users.Remove(ctx, login); err != nil {
		return err
	}
	_, err := o.users.Create(ctx, login, password, nil)
	return err
}

// A reload changes the door, and the sessions of the old one are still known.
func TestSessionsAreKnownOverAReload(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	c := o.talk(t, smtpd.ImplicitTLS, password)
	next, err := o.door.Renew(o.door.c)
	if err != nil {
		t.Fatal(err)
	}
	o.door = next
	if err := o.users.Disable(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	c.isOver()
}

// A session that is gone is not kept.
func TestSessionsAreForgotten(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, nil)
	for range 3 {
		c := o.talk(t, smtpd.ImplicitTLS, password)
		c.say("QUIT", "221")
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := o.server.Stop(ctx); err != nil { // waits for the connections' ends
		t.Fatal(err)
	}
	if n := len(o.door.live.sessions); n != 0 {
		t.Errorf("%d accounts are kept", n)
	}
}

// An account that is stopped between its password and its session: the look that
// follows the login ends it.
func TestStoppedWhileLoggingIn(t *testing.T) {
	t.Parallel()
	o := open(t, smtpd.ImplicitTLS, func(c *Config) { c.Accounts = hasty{c.Accounts} })
	c := o.client(t)
	if n, _ := code(c.Auth(sasl.NewPlainClient("", login, password))); n != 421 {
		t.Errorf("%d, want 421", n)
	}
}

// hasty is a database in which everybody is stopped right after a login.
type hasty struct{ Accounts }

func (hasty) Active(context.Context, account.Account) error { return account.ErrSignedOut }

// What is past the last look at its login is waited for, so that whoever drops
// the account's queue finds it there.
func TestSettleWaitsForWhatIsBeingHandedOver(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	o := open(t, smtpd.ImplicitTLS, func(c *Config) {
		inner := c.Accept
		c.Accept = func(ctx context.Context, conn *smtpd.Conn, d *spool.Draft, e envelope.Envelope, acc account.Account) *smtpline.Reply {
			close(begun)
			<-goOn
			return inner(ctx, conn, d, e, acc)
		}
	})
	acc, err := o.users.Get(t.Context(), login)
	if err != nil {
		t.Fatal(err)
	}
	c := o.loggedIn(t)
	sent := make(chan error, 1)
	go func() { sent <- c.SendMail(login, []string{"bob@other.test"}, strings.NewReader(letter)) }()
	<-begun
	if err := o.users.Disable(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if o.door.Settle(short, acc.ID) {
		t.Error("settled, while a message is being handed over")
	}
	close(goOn)
	if !o.door.Settle(t.Context(), acc.ID) || o.taken() != 1 {
		t.Errorf("%d taken", o.taken())
	}
	if err := <-sent; err != nil { // it was promised
		t.Error(err)
	}
}

// What other sessions of an account are sending when one of them goes beyond a
// limit is not taken any more, and told of where it was in the queue already.
func TestStoppedWhileOthersSend(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	late := make(chan string, 10)
	o := open(t, smtpd.ImplicitTLS, func(c *Config) {
		c.Day = Day{New: 3}
		c.Late = func(_ context.Context, acc account.Account) { late <- acc.Login }
		inner := c.Accept
		c.Accept = func(ctx context.Context, conn *smtpd.Conn, d *spool.Draft, e envelope.Envelope, acc account.Account) *smtpline.Reply {
			if e.To[0].Local == "slow" {
				close(begun)
				<-goOn
			}
			return inner(ctx, conn, d, e, acc)
		}
	})
	inData, inQueue, over := o.talk(t, smtpd.ImplicitTLS, password), o.loggedIn(t), o.loggedIn(t)
	inData.say("MAIL FROM:<"+login+">", "250")
	inData.say("RCPT TO:<quick@other.test>", "250")
	inData.say("DATA", "354")
	sent := make(chan error, 1)
	go func() { sent <- inQueue.SendMail(login, []string{"slow@other.test"}, strings.NewReader(letter)) }()
	<-begun
	if n, _ := code(over.SendMail(login, []string{"a@other.test", "b@other.test"}, strings.NewReader(letter))); n != 450 {
		t.Errorf("beyond the limit: %d", n)
	}
	if len(late) != 0 {
		t.Error("told too early")
	}
	inData.say(strings.ReplaceAll(letter, "\n.", "\n..")+".", "450")
	close(goOn)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if len(late) != 1 || <-late != login || o.taken() != 1 {
		t.Errorf("%d taken, told %d times", o.taken(), len(late))
	}
}
