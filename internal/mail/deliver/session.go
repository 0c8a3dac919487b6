package deliver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"postern/internal/mail/route"
)

// session is one conversation:
//
//	connected -> greeted -> helloed -> (STARTTLS: helloed again) -> (AUTH) -> ready
//
// connect leads there or fails; from ready, transactions follow each other.
type session struct {
	client  *Client
	peer    peer
	conn    net.Conn
	br      *bufio.Reader
	release func() bool // ends the watch over the context
	ext     map[string]string
	version string // of TLS; "" without
	lost    bool   // no QUIT can be said

	local   netip.Addr // where it comes from; zero: the system's choice
	begun   time.Time
	uses    int         // attempts
	replies int         // in this attempt
	reused  bool        // it waited in a pool before this attempt
	timer   *time.Timer // ends it while it waits there
}

// connect leads a new conversation to ready. Opportunistic TLS that fails in
// its handshake is followed by a second connection without (RFC 7435).
func (c *Client) connect(ctx context.Context, p peer, opportunistic bool) (*session, *trouble) {
	s, t := c.open(ctx, p, true)
	if t != nil && t.plain && opportunistic && ctx.Err() == nil {
		c.cfg.Log.Info("TLS handshake failed, going on without", "host", p.String(), "err", t.text)
		s, t = c.open(ctx, p, false)
	}
	return s, t
}

func (c *Client) open(ctx context.Context, p peer, useTLS bool) (*session, *trouble) {
	local, err := c.source(p)
	if err != nil {
		t := unreached(err, p)
		t.dead = false // it is we who cannot go there
		return nil, t
	}
	dialCtx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Connect)
	conn, err := c.cfg.Dial(dialCtx, p.network, p.addr, local)
	cancel()
	if err != nil {
		return nil, unreached(err, p)
	}
	s := &session{client: c, peer: p, local: local, begun: time.Now()}
	s.adopt(conn)
	s.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if t := s.begin(ctx, useTLS); t != nil {
		s.quit()
		s.close()
		return nil, t
	}
	return s, nil
}

func (s *session) adopt(conn net.Conn) {
	s.conn = conn
	s.br = bufio.NewReaderSize(conn, maxReplyLine)
}

// begin leads from connected to ready.
func (s *session) begin(ctx context.Context, useTLS bool) *trouble {
	if s.peer.hop.Protocol == route.SMTPS {
		if t := s.handshake(ctx); t != nil {
			return t
		}
	}
	if t := s.greeting(); t != nil {
		return t
	}
	if t := s.hello(); t != nil {
		return t
	}
	if t := s.secure(ctx, useTLS); t != nil {
		return t
	}
	s.client.cfg.Announced.note(s)
	return s.auth()
}

func (s *session) greeting() *trouble {
	r, t := s.read(s.timeouts().Greeting, "waiting for the greeting")
	if t != nil {
		t.dead = true
		return t
	}
	if !r.ok() {
		// RFC 5321, Section 3.1; RFC 7504: a host that takes no mail.
		t := refused(r, "greeting")
		t.dead = true
		return t
	}
	return s.quiet("after the greeting")
}

// quiet refuses bytes that came without being asked for: an attacker who puts
// them in before TLS begins would have them read as replies after it.
func (s *session) quiet(when string) *trouble {
	if s.br.Buffered() == 0 {
		return nil
	}
	s.lost = true
	return broken(errUnasked, "waiting "+when)
}

// hello says EHLO or LHLO, and HELO to a server that knows neither (RFC 5321,
// Section 3.2).
func (s *session) hello() *trouble {
	verb := "EHLO "
	if s.peer.hop.Protocol == route.LMTP {
		verb = "LHLO "
	}
	s.ext = map[string]string{}
	r, t := s.ask(verb+s.client.cfg.Hostname, s.timeouts().Hello, "saying hello")
	if t != nil {
		return t
	}
	if r.code/100 == 5 && verb == "EHLO " {
		if r, t = s.ask("HELO "+s.client.cfg.Hostname, s.timeouts().Hello, "saying hello"); t != nil {
			return t
		}
		r.lines = r.lines[:1]
	}
	if !r.ok() {
		return refused(r, "hello")
	}
	for _, line := range r.lines[1:] {
		word, params, _ := strings.Cut(line, " ")
		s.ext[strings.ToUpper(word)] = strings.ToUpper(params)
	}
	return s.quiet("after the hello")
}

func (s *session) has(ext string) bool { _, ok := s.ext[ext]; return ok }

// secure begins TLS where it is offered, and fails where it is demanded and
// cannot be had.
func (s *session) secure(ctx context.Context, useTLS bool) *trouble {
	required := s.peer.hop.TLS.Mode == route.Required
	switch {
	case s.version != "":
		return nil
	case !useTLS && !required:
		return nil
	case !s.has("STARTTLS"):
		if required {
			return noTLS("the server does not offer TLS")
		}
		return nil
	}
	r, t := s.ask("STARTTLS", s.timeouts().Hello, "starting TLS")
	if t != nil {
		return t
	}
	if r.code != 220 {
		if required {
			return noTLS("the server refuses TLS: " + r.text())
		}
		return nil // RFC 3207, Section 4: the conversation goes on as it was
	}
	if t := s.quiet("for TLS"); t != nil {
		return t
	}
	if t := s.handshake(ctx); t != nil {
		return t
	}
	return s.hello() // RFC 3207, Section 4.2: what was said before does not count
}

func noTLS(why string) *trouble {
	return &trouble{enhanced: "4.7.5", text: "TLS is required: " + why, reason: "tls"}
}

func (s *session) handshake(ctx context.Context) *trouble {
	limit := s.timeouts().TLS
	_ = s.conn.SetDeadline(time.Now().Add(limit)) // a failure shows in the handshake
	conn := tls.Client(s.conn, tlsConfig(s.peer.hop))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.lost = true
		t := &trouble{enhanced: "4.7.5", text: "TLS handshake failed", reason: "tls", plain: s.peer.hop.TLS.Mode != route.Required}
		var cert *tls.CertificateVerificationError
		if errors.As(err, &cert) {
			t.text = printable("the server's certificate does not verify: "+cert.Err.Error(), maxReplyText)
		}
		return t
	}
	s.version = tls.VersionName(conn.ConnectionState().Version)
	s.adopt(conn)
	return nil
}

// auth logs in where the hop has a user (RFC 4616). The password goes only to a
// server whose certificate was verified.
func (s *session) auth() *trouble {
	hop := s.peer.hop
	if hop.User == "" {
		return nil
	}
	if s.version == "" || hop.TLS.Mode != route.Required {
		return noTLS("a password is never sent without")
	}
	if !strings.Contains(" "+s.ext["AUTH"]+" ", " PLAIN ") {
		return &trouble{enhanced: "4.7.0", text: "the server does not offer AUTH PLAIN", reason: "auth"}
	}
	line := base64.StdEncoding.EncodeToString(append([]byte("\x00"+hop.User+"\x00"), hop.Secret.Reveal()...))
	r, t := s.ask("AUTH PLAIN "+line, s.timeouts().Hello, "logging in")
	if t != nil {
		t.text = withoutEcho(t.text, line, hop.Secret.Reveal())
		return t
	}
	if !r.ok() {
		// A wrong password is ours to mend: no sender is to lose mail for it.
		text := withoutEcho(r.text(), line, hop.Secret.Reveal())
		return &trouble{code: r.code, enhanced: "4.7.8", text: "the next hop refuses our login: " + text, reason: "auth"}
	}
	return nil
}

// ask sends one command and reads its reply. 421 is trouble wherever it comes
// (RFC 5321, Section 3.8).
func (s *session) ask(line string, limit time.Duration, while string) (reply, *trouble) {
	if t := s.send([]byte(line+"\r\n"), limit, while); t != nil {
		return reply{}, t
	}
	return s.read(limit, while)
}

func (s *session) send(b []byte, limit time.Duration, while string) *trouble {
	_ = s.conn.SetDeadline(time.Now().Add(limit)) // a failure shows in the write
	if _, err := s.conn.Write(b); err != nil {
		s.lost = true
		return broken(err, while)
	}
	return nil
}

func (s *session) read(limit time.Duration, while string) (reply, *trouble) {
	_ = s.conn.SetDeadline(time.Now().Add(limit)) // a failure shows in the read
	r, err := readReply(s.br)
	if err != nil {
		s.lost = true
		return r, broken(err, while)
	}
	if r.code == 421 {
		s.lost = true
		return r, refused(r, "closing")
	}
	s.replies++
	return r, nil
}

// stale reports that a conversation that waited came to its end before the
// server said anything about this message: a new one may do.
func (s *session) stale(t *trouble) bool {
	return s.reused && s.lost && s.replies == 0 && t.reason != "timeout"
}

// quit ends the conversation politely if there still is one. Nobody waits for
// the reply: the mail is delivered or not by now.
func (s *session) quit() {
	if !s.lost {
		_, _ = s.ask("QUIT", s.timeouts().Quit, "saying goodbye")
		s.lost = true
	}
}

func (s *session) close() {
	if s.release != nil {
		s.release()
	}
	_ = s.conn.Close() // all that matters has been answered
}

func (s *session) timeouts() Timeouts { return s.client.cfg.Timeouts }
