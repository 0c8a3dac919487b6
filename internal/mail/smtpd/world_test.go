package smtpd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/smtpline"
)

// desk is a Session that remembers. What the addresses say decides:
// "no@…" is refused, and so is a message that holds "REFUSE".
type desk struct {
	mu    sync.Mutex // guards steps
	steps []string

	onData func(ctx context.Context, r io.Reader) *smtpline.Reply
}

func (d *desk) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps = append(d.steps, fmt.Sprintf(format, args...))
}

func (d *desk) log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.steps, "\n")
}

// sitting is one connection's session at the desk.
type sitting struct {
	*desk
	conn *Conn
}

func seated(d *desk, conn *Conn) sitting {
	d.note("from %s to %s", conn.Remote, conn.Local)
	return sitting{d, conn}
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func (s sitting) Hello(_ context.Context, name string) { s.note("hello %s", name) }

func (s sitting) Mail(_ context.Context, from address.Address, p MailParams) *smtpline.Reply {
	s.note("mail %s", from.Path())
	if from.Local == "no" {
		return smtpline.Refuse(550, "5.7.1", "test", "not you")
	}
	if from.Local == "panic" {
		panic("as asked")
	}
	return nil
}

func (s sitting) Rcpt(_ context.Context, to address.Address, p RcptParams) *smtpline.Reply {
	s.note("rcpt %s", to.Path())
	if to.Local == "no" {
		return smtpline.Refuse(550, "5.1.1", "test", "not here")
	}
	return nil
}

func (s sitting) Data(ctx context.Context, r io.Reader) *smtpline.Reply {
	if s.onData != nil {
		return s.onData(ctx, r)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		s.note("lost %v", err)
		return nil // the engine must refuse it all the same
	}
	s.note("data %q %s", b, s.conn.Protocol(false))
	if strings.Contains(string(b), "REFUSE") {
		return smtpline.Refuse(550, "5.7.1", "test", "not that")
	}
	return &smtpline.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as 1"}
}

func (s sitting) Reset() { s.note("reset") }
func (s sitting) Close() { s.note("close") }

// withLogin is a session that takes the password "open sesame".
type withLogin struct{ sitting }

func (s withLogin) Auth(_ context.Context, identity, password string) *smtpline.Reply {
	s.note("auth %s", identity)
	if password != "open sesame" {
		return smtpline.Refuse(535, "5.7.8", "bad-login", "wrong login or password")
	}
	return nil
}

// started runs a server on loopback with the desk behind it.
func started(t *testing.T, d *desk, edit func(*Config)) *Server {
	t.Helper()
	c := Config{
		Name: "test", Hostname: "edge.example.test", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: Plain,
		MaxSize: 1000, Log: slog.New(slog.DiscardHandler), Limits: Limits{GreetWait: time.Nanosecond},
		NewSession: func(_ context.Context, conn *Conn) (Session, *smtpline.Reply) { return seated(d, conn), nil },
	}
	if edit != nil {
		edit(&c)
	}
	s, err := New(c)
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
	return s
}

// secured adds a certificate and a login.
func secured(t *testing.T, d *desk, m Mode) func(*Config) {
	t.Helper()
	cert := certificate(t)
	return func(c *Config) {
		c.Mode = m
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		c.NewSession = func(_ context.Context, conn *Conn) (Session, *smtpline.Reply) {
			return withLogin{seated(d, conn)}, nil
		}
	}
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edge.example.test"}, DNSNames: []string{"edge.example.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// peer is the client's end of a dialogue.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, s *Server) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return over(t, conn)
}

func over(t *testing.T, conn net.Conn) *peer {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &peer{t, conn, bufio.NewReader(conn)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Logf("send %.40q: %v", s, err) // the server may have closed; what it says tells
	}
}

// want reads one reply for each code.
func (p *peer) want(codes ...int) {
	p.t.Helper()
	for _, code := range codes {
		if lines := p.reply(); !strings.HasPrefix(lines, strconv.Itoa(code)) {
			p.t.Fatalf("got %q, want %d", lines, code)
		}
	}
}

// reply reads one whole reply.
func (p *peer) reply() string {
	p.t.Helper()
	var all strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return all.String() + line + "!" + err.Error()
		}
		all.WriteString(line)
		if len(line) > 3 && line[3] == ' ' {
			return all.String()
		}
	}
}

func (p *peer) wantClosed() {
	p.t.Helper()
	rest, err := io.ReadAll(p.r)
	if err != nil && !errors.Is(err, net.ErrClosed) && !isReset(err) || len(rest) > 0 {
		p.t.Fatalf("the connection is open: read %q, %v", rest, err)
	}
}

func isReset(err error) bool {
	return strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "closed pipe")
}

// script plays a file of testdata: "> " lines are sent with CRLF, those behind
// one another in one segment; ">> " lines are sent as the Go string they hold;
// "< " lines are what must come; "< EOF" is the end.
func (p *peer) script(path string) {
	p.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	var out strings.Builder
	flush := func() {
		if out.Len() > 0 {
			p.send(out.String())
			out.Reset()
		}
	}
	for i, line := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		where := fmt.Sprintf("%s:%d", path, i+1)
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, ">> "):
			raw, err := strconv.Unquote(line[3:])
			if err != nil {
				p.t.Fatalf("%s: %v", where, err)
			}
			out.WriteString(raw)
		case strings.HasPrefix(line, "> "):
			out.WriteString(line[2:] + "\r\n")
		case line == "< EOF":
			flush()
			if rest, err := p.r.ReadString('\n'); err == nil {
				p.t.Fatalf("%s: got %q, want the end", where, rest)
			}
		case strings.HasPrefix(line, "< "):
			flush()
			got, err := p.r.ReadString('\n')
			if want := line[2:] + "\r\n"; err != nil || got != want {
				p.t.Fatalf("%s: got %q (%v), want %q", where, got, err, want)
			}
		default:
			p.t.Fatalf("%s: %q", where, line)
		}
	}
	flush()
}
