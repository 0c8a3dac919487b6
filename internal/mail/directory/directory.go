// Package directory asks a directory (LDAP) whether somebody is in it. It only
// ever searches: nothing is written there, and no attribute is read.
//
// A Call is one connection, in TLS and logged in as the configuration demands; it
// belongs to one goroutine. The package starts none and remembers nothing: that
// is mail/recipient's trade.
package directory

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/ldap"
	"postern/internal/secret"
)

// Server is one place where the directory is.
type Server struct {
	Host string // a name or an address
	Port uint16
	TLS  bool // from the first octet (ldaps); else by StartTLS
}

// Config is one directory.
type Config struct {
	Servers []Server // tried in turn
	// Plain servers that are not TLS from the first octet are spoken to in the
	// clear; then there must be no User.
	Plain   bool
	Roots   *x509.CertPool // nil: the system's
	Name    string         // in the certificate; "": the server's Host
	User    string         // a DN to bind with; "": nobody
	Secret  secret.Value
	Base    string // a DN: entries below it are searched
	Filter  ldap.Filter
	Timeout time.Duration // of a connection until it is ready, and of a search; 0: 5 s

	// Addresses finds those of a server.
	Addresses func(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error)
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer
	Now       func() time.Time                                                     // nil: time.Now; certificates are judged by it
}

const (
	usualTimeout = 5 * time.Second
	maxAddrs     = 6   // that one call tries
	maxAnswers   = 100 // messages to one search: references to elsewhere come before its end
)

// Directory makes calls. It is immutable.
type Directory struct{ cfg Config }

// New checks a configuration.
func New(cfg Config) (*Directory, error) {
	switch {
	case len(cfg.Servers) == 0 || cfg.Addresses == nil:
		return nil, errors.New("directory: servers, and a way to find them, are required")
	case (cfg.User == "") != cfg.Secret.IsZero():
		return nil, errors.New("directory: a user and a secret go together")
	case cfg.Plain && cfg.User != "":
		return nil, errors.New("directory: no secret goes out in the clear")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = usualTimeout
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Directory{cfg}, nil
}

// Call is a connection that is ready for questions.
type Call struct {
	cfg  *Config
	conn net.Conn
	in   *bufio.Reader
	id   int32 // of the last request
	stop func() bool
}

// Call connects to the first server that can be asked. The connection ends with
// ctx at the latest.
func (d *Directory) Call(ctx context.Context) (*Call, error) {
	last, tried := errors.New("directory: no server could be asked"), 0
	for _, s := range d.cfg.Servers {
		addrs, err := d.addresses(ctx, s)
		if err != nil {
			last = err
		}
		for _, a := range addrs {
			if tried++; tried > maxAddrs || ctx.Err() != nil {
				return nil, last
			}
			c, err := d.connect(ctx, s, a)
			if err == nil {
				return c, nil
			}
			last = fmt.Errorf("directory %s (%s): %w", s.Host, a, err)
		}
	}
	return nil, last
}

func (d *Directory) addresses(ctx context.Context, s Server) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	return d.cfg.Addresses(ctx, s.Host, s.Port)
}

func (d *Directory) connect(ctx context.Context, s Server, a netip.AddrPort) (*Call, error) {
	short, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	conn, err := d.cfg.Dial(short, "tcp", a.String())
	if err != nil {
		return nil, err
	}
	c := &Call{cfg: &d.cfg, conn: conn, in: bufio.NewReader(conn)}
	// Whoever waits in a read or a write is woken by it.
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := c.begin(short, s); err != nil {
		c.hangUp()
		return nil, err
	}
	return c, nil
}

// begin makes a connection ready: TLS, then who we are.
func (c *Call) begin(ctx context.Context, s Server) error {
	if err := c.deadline(); err != nil {
		return err
	}
	if !s.TLS && !c.cfg.Plain {
		if _, err := c.request(ldap.StartTLS(c.next()), ldap.Extended); err != nil {
			return fmt.Errorf("StartTLS: %w", err)
		}
		// What came before TLS is not believed in it.
		if c.in.Buffered() > 0 {
			return errors.New("StartTLS: the server spoke on before TLS")
		}
	}
	if s.TLS || !c.cfg.Plain {
		if err := c.encrypt(ctx, s); err != nil {
			return err
		}
	}
	if c.cfg.User == "" {
		return nil // RFC 4511, Section 4.2: nobody need not bind
	}
	bind, err := ldap.Bind(c.next(), c.cfg.User, c.cfg.Secret.Reveal())
	if err == nil {
		_, err = c.request(bind, ldap.BindDone)
	}
	if err != nil && bytes.Contains([]byte(err.Error()), c.cfg.Secret.Reveal()) {
		return errors.New("bind: refused, in words that repeat the password")
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func (c *Call) encrypt(ctx context.Context, s Server) error {
	name := c.cfg.Name
	if name == "" {
		name = s.Host
	}
	secure := tls.Client(c.conn, &tls.Config{ServerName: name, RootCAs: c.cfg.Roots, MinVersion: tls.VersionTLS12, Time: c.cfg.Now})
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.conn, c.in = secure, bufio.NewReader(secure)
	return nil
}

func (c *Call) next() int32 {
	c.id++
	return c.id
}

func (c *Call) deadline() error { return c.conn.SetDeadline(time.Now().Add(c.cfg.Timeout)) }

// Exists asks for one address. After an error the Call is of no more use.
func (c *Call) Exists(a address.Address) (bool, error) {
	if err := c.deadline(); err != nil {
		return false, err
	}
	seconds := max(1, int32(c.cfg.Timeout/time.Second))
	n, err := c.request(ldap.Search(c.next(), c.cfg.Base, c.cfg.Filter.For(a), seconds), ldap.SearchDone)
	if err != nil {
		return false, fmt.Errorf("directory %s: search: %w", c.conn.RemoteAddr(), err)
	}
	return n > 0, nil
}

// request sends a request and reads up to its answer. It returns how many
// entries came before that.
func (c *Call) request(b []byte, want ldap.Op) (entries int, err error) {
	if _, err := c.conn.Write(b); err != nil {
		return 0, err
	}
	for range maxAnswers {
		m, err := ldap.Read(c.in)
		switch {
		case err != nil:
			return 0, err
		case m.ID == 0: // RFC 4511, Section 4.4.1: it is about to hang up
			return 0, fmt.Errorf("disconnected: %s %s", m.Result, m.Text)
		case m.ID != c.id:
			return 0, fmt.Errorf("an answer to request %d, not %d", m.ID, c.id)
		case m.Op == ldap.Entry && want == ldap.SearchDone:
			entries++
			continue
		case m.Op == ldap.Reference && want == ldap.SearchDone:
			continue // what lies on other servers is not asked for
		case m.Op != want:
			return 0, fmt.Errorf("an answer of another kind, tag %#x", byte(m.Op))
		}
		return entries, judge(m, entries)
	}
	return 0, fmt.Errorf("more than %d answers to one request", maxAnswers)
}

// judge reads how a request ended. More than the one entry that was asked for is
// as good as one; everything else but success says nothing about whether
// somebody exists: not even that there is no such base, since then nobody would.
func judge(m ldap.Message, entries int) error {
	if m.Result == ldap.Success || m.Result == ldap.SizeLimitExceeded && entries > 0 {
		return nil
	}
	return fmt.Errorf("%s %s", m.Result, m.Text)
}

// Close says goodbye.
func (c *Call) Close() {
	if c.conn.SetDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = c.conn.Write(ldap.Unbind(c.next())) // it hangs up either way
	}
	c.hangUp()
}

func (c *Call) hangUp() {
	c.stop()
	_ = c.conn.Close()
}
