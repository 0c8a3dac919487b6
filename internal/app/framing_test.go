package app

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/account"
	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/mx"
	"postern/internal/mail/relay"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/mail/submission"
)

// tray is where the three doors put what they were given.
type tray struct {
	mu   sync.Mutex // guards text
	text []string
}

func (y *tray) take(draft *spool.Draft) *smtpline.Reply {
	b, err := io.ReadAll(draft.Open())
	if err != nil {
		return smtpline.Refuse(451, "4.3.0", "test", "no")
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.text = append(y.text, string(b))
	return nil
}

func (y *tray) empty() []string {
	y.mu.Lock()
	defer y.mu.Unlock()
	all := y.text
	y.text = nil
	return all
}

// unchecked is an mx.Inspection that looks at nothing.
type unchecked struct{ *tray }

func (unchecked) Hello(string)         {}
func (unchecked) Mail(address.Address) {}
func (unchecked) Close()               {}

func (u unchecked) Inbound(_ context.Context, draft *spool.Draft, _ envelope.Envelope) *smtpline.Reply {
	return u.take(draft)
}

// anyone lets everybody in, as one account.
type anyone struct{ submission.Accounts }

func (anyone) Verify(context.Context, string, string, netip.Addr) (account.Account, error) {
	return account.Account{ID: 1, Login: "a@city.example", Senders: []string{"a@city.example"}}, nil
}
func (anyone) Active(context.Context, account.Account) error { return nil }
func (anyone) HasApps() bool                                 { return false }

func (anyone) Knows(context.Context, int64, address.Address) (bool, error) { return true, nil }
func (anyone) Met(context.Context, int64, []address.Address) error         { return nil }
func (anyone) MetSince(context.Context, int64, time.Time) (int, error)     { return 0, nil }

// entrance is one way in: a door and how it is come to.
type entrance struct {
	name  string
	addr  string
	tls   string // "", "at once", "on request"
	login bool
	tray  *tray
}

// entrances are the three doors of the engine's own making, over TCP and TLS.
func entrances(t *testing.T, edits ...func(*smtpd.Config)) []entrance {
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
	var all []entrance
	for _, g := range []entrance{
		{name: "mx"}, {name: "mx", tls: "on request"}, {name: "relay"}, {name: "relay", tls: "on request"},
		{name: "submission", tls: "on request", login: true}, {name: "submission", tls: "at once", login: true},
	} {
		g.tray = &tray{}
		c := smtpd.Config{
			Name: g.name, Hostname: "edge.city.example", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: smtpd.STARTTLS,
			TLS: selfSigned(t), Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Log: log,
		}
		if g.tls == "at once" {
			c.Mode = smtpd.ImplicitTLS
		}
		c.NewSession, c.Limits = sessionsOf(t, g, sp, log)
		for _, edit := range edits {
			edit(&c)
		}
		s, err := smtpd.New(c)
		if err == nil {
			err = s.Start(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own context has ended
			defer cancel()
			if err := s.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
		g.addr = s.Addr().String()
		all = append(all, g)
	}
	return all
}

func sessionsOf(t *testing.T, g entrance, sp *spool.Spool, log *slog.Logger) (func(context.Context, *smtpd.Conn) (smtpd.Session, *smtpline.Reply), smtpd.Limits) {
	t.Helper()
	switch g.name {
	case "mx":
		d, err := mx.New(mx.Config{
			Domains: []string{"city.example"}, Spool: sp, Log: log,
			Begin: func(context.Context, *smtpd.Conn) mx.Inspection { return unchecked{g.tray} },
		})
		if err != nil {
			t.Fatal(err)
		}
		return d.Session, mx.Limits()
	case "relay":
		d, err := relay.New(relay.Config{
			Hosts:      []relay.Host{{Name: "inner", Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Senders: []string{"@city.example"}}},
			Postmaster: "edge.city.example", Spool: sp, Log: log,
			Accept: func(_ context.Context, _ *smtpd.Conn, d *spool.Draft, _ envelope.Envelope, _ string) *smtpline.Reply {
				return g.tray.take(d)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return d.Session, smtpd.Limits{}
	}
	d, err := submission.New(submission.Config{
		Accounts: anyone{}, Spool: sp, Log: log, Day: submission.Day{Recipients: 1 << 20, Messages: 1 << 20, New: 1 << 20},
		Accept: func(_ context.Context, _ *smtpd.Conn, d *spool.Draft, _ envelope.Envelope, _ account.Account) *smtpline.Reply {
			return g.tray.take(d)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.Session, submission.Limits()
}

func selfSigned(t *testing.T) *tls.Config {
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
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestFraming: around a line of one dot stands every pair of line ends and
// near line ends, cut into two segments at every octet, at every door, over TCP
// and TLS. Behind it comes another message, which must never become one.
func TestFraming(t *testing.T) {
	t.Parallel()
	ends := map[string]string{"CR": "\r", "LF": "\n", "CRLF": "\r\n", "NUL": "\x00", "dot": "."}
	doors := entrances(t)
	for before, a := range ends {
		for after, b := range ends {
			head := "From: a@city.example\r\nSubject: x\r\n\r\ntext"
			sent := head + a + "." + b + "MAIL FROM:<a@city.example>\r\nRCPT TO:<b@city.example>\r\nDATA\r\nFrom: a@city.example\r\n\r\nsmuggled\r\n.\r\nQUIT\r\n"
			want := oneMessage(sent)
			for cut := len(head); cut <= len(head)+len(a)+1+len(b); cut++ {
				for _, g := range doors {
					if err := g.play(sent[:cut], sent[cut:]); err != nil {
						t.Errorf("%s, TLS %q, %s.%s cut at %d: %v", g.name, g.tls, before, after, cut, err)
					}
					got := g.tray.empty()
					if len(got) > 1 || strings.Join(got, "") != want {
						t.Errorf("%s, TLS %q, %s.%s cut at %d: %d messages: %q, want %q", g.name, g.tls, before, after, cut, len(got), got, want)
					}
				}
			}
		}
	}
}

// oneMessage is what RFC 5321, Section 4.5.2 makes of what follows 354, in the
// plainest way: the text before the first CRLF.CRLF without its stuffing, and
// nothing where that has a CR, LF or NUL of its own.
func oneMessage(sent string) string {
	text, _, _ := strings.Cut(sent, "\r\n.\r\n")
	lines := strings.Split(text, "\r\n")
	for i, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			return ""
		}
		lines[i] = strings.TrimPrefix(line, ".")
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// play sends a message in pieces and waits until the server ends the
// connection.
func (g entrance) play(pieces ...string) error {
	conn, in, err := g.enter()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := say(conn, in, []string{"MAIL FROM:<a@city.example>", "250", "RCPT TO:<b@city.example>", "250", "DATA", "354"}); err != nil {
		return err
	}
	for _, piece := range pieces {
		if _, err := io.WriteString(conn, piece); err != nil {
			break // the server has closed, having seen enough
		}
	}
	_, err = io.Copy(io.Discard, in)
	if errors.Is(err, io.ErrUnexpectedEOF) || err != nil && strings.Contains(err.Error(), "reset by peer") {
		return nil
	}
	return err
}

// enter connects and comes as far as mail can be sent.
func (g entrance) enter() (_ net.Conn, _ *bufio.Reader, err error) {
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, nil, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	in := bufio.NewReader(conn)
	if g.tls == "at once" {
		conn, in = secure, bufio.NewReader(secure)
	}
	script := []string{"220", "EHLO client.example", "250"}
	if g.tls == "on request" {
		if err := say(conn, in, append(script, "STARTTLS", "220")); err != nil {
			return nil, nil, err
		}
		conn, in, script = secure, bufio.NewReader(secure), script[1:]
	}
	if g.login {
		script = append(script, "AUTH PLAIN AGEAYg==", "235")
	}
	return conn, in, say(conn, in, script)
}

// say plays commands and the codes of their replies, in turn.
func say(conn net.Conn, in *bufio.Reader, script []string) error {
	for _, step := range script {
		if len(step) != 3 {
			if _, err := io.WriteString(conn, step+"\r\n"); err != nil {
				return err
			}
			continue
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("waiting for %s: %w", step, err)
			}
			if !strings.HasPrefix(line, step) {
				return fmt.Errorf("%q, want %s", line, step)
			}
			if line[3] == ' ' {
				break
			}
		}
	}
	return nil
}
