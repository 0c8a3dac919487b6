package smtpd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"postern/internal/handshake"
	"postern/internal/lifecycle"
	"postern/internal/mail/smtpline"
	"postern/internal/metrics"
)

// Counters are what a Server counts.
type Counters struct {
	Connections     metrics.Counter // let in
	RefusedBusy     metrics.Counter // by the bound on all connections
	RefusedPerAddr  metrics.Counter // by the bound on one address's
	RefusedNetwork  metrics.Counter // by the bound on those of one network
	RefusedCrowd    metrics.Counter // by the share of an address or a network in a door that is more than half full
	MadeRoom        metrics.Counter // connections of no use, ended for those who came when the door was nearly full
	RefusedRate     metrics.Counter // by a rate of one address
	RefusedNetRate  metrics.Counter // by a rate of one network
	RefusedAccount  metrics.Counter // logins beyond the connections of one account
	RefusedLogins   metrics.Counter // tries of a login that had failed too often from an exempt address
	RefusedClient   metrics.Counter // not among the clients, or refused by the session
	RefusedProxy    metrics.Counter // no trusted proxy, or no PROXY block from one
	Proxied         metrics.Counter // let in for the client that a PROXY block names
	ProxyChecks     metrics.Counter // proxies that spoke for themselves (LOCAL)
	XClient         metrics.Counter // sessions begun anew by XCLIENT
	XClientRefused  metrics.Counter
	AcceptErrors    metrics.Counter
	EarlyTalkers    metrics.Counter // spoke before the greeting
	Pipelining      metrics.Counter // sent on where they had to wait
	BadFraming      metrics.Counter // bare CR, bare LF, NUL
	TLS             metrics.Counter // handshakes that worked
	TLSFailed       metrics.Counter
	AuthOK          metrics.Counter
	AuthFailed      metrics.Counter
	Messages        metrics.Counter // accepted
	MessagesRefused metrics.Counter // refused at the end of DATA
	CommandsRefused metrics.Counter
	UnknownRcpts    metrics.Counter // recipients refused with 5.1.1
	Limited         metrics.Counter // connections ended by one of their own limits
	OverUnknown     metrics.Counter // connections ended because their address tried too many recipients
	OverOctets      metrics.Counter // messages not begun because address, network or account had sent enough
	TimedOut        metrics.Counter
	Panics          metrics.Counter
}

// Server is one listening socket and its connections. It implements
// lifecycle.Part.
type Server struct {
	Counters Counters

	name   string
	conf   atomic.Pointer[settled]
	ln     net.Listener
	work   lifecycle.Workers
	accept sync.WaitGroup
	blocks sync.Pool // of *[]byte: room for messages on their way in

	mu       sync.Mutex // guards what follows
	conns    map[*conn]struct{}
	stopping bool
}

// settled is a Config made ready for use.
type settled struct {
	Config
	guard *guard
}

// New checks the configuration. It opens nothing.
func New(c Config) (*Server, error) {
	ready, err := settle(c)
	if err != nil {
		return nil, err
	}
	s := &Server{name: c.Name, conns: map[*conn]struct{}{}}
	s.conf.Store(ready)
	return s, nil
}

func settle(c Config) (*settled, error) {
	switch {
	case c.Mode < Plain || c.Mode > ImplicitTLS:
		return nil, fmt.Errorf("smtp %s: no TLS mode", c.Name)
	case c.Mode != Plain && c.TLS == nil:
		return nil, fmt.Errorf("smtp %s: no certificate", c.Name)
	case c.NewSession == nil || c.Log == nil || c.Hostname == "":
		return nil, fmt.Errorf("smtp %s: hostname, log and session are required", c.Name)
	}
	if c.MaxSize == 0 {
		c.MaxSize = 25_000_000
	}
	c.Limits = c.Limits.withDefaults()
	if c.TLS != nil {
		c.TLS = withoutTickets(c.TLS, c.Mode)
	}
	if c.Proxy && len(c.Proxies) == 0 {
		return nil, fmt.Errorf("smtp %s: no proxy is trusted", c.Name)
	}
	return &settled{c, newGuard(c.Limits, c.Exempt)}, nil
}

// withoutTickets copies a TLS configuration with session tickets off: some
// large senders resume with a ticket of another host of theirs and then give
// up on the mail (golang.org/issue/70232). ALPN is announced on implicit TLS
// alone, where it stops a web client from being led here.
func withoutTickets(base *tls.Config, m Mode) *tls.Config {
	c := base.Clone()
	c.SessionTicketsDisabled = true
	noting(c)
	if m == ImplicitTLS {
		c.NextProtos = []string{"smtp"}
	}
	perClient := base.GetConfigForClient
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if err := handshake.Take(h); err != nil || perClient == nil {
			return nil, err
		}
		chosen, err := perClient(h)
		if chosen != nil {
			chosen = chosen.Clone()
			chosen.SessionTicketsDisabled, chosen.NextProtos = true, c.NextProtos
			noting(chosen)
		}
		return chosen, err
	}
	return c
}

// Start binds the socket and accepts.
func (s *Server) Start(ctx context.Context) error {
	c := s.conf.Load()
	ln := c.Listener
	if ln == nil {
		var lc net.ListenConfig // without SO_REUSEPORT: a port in use must be an error
		var err error
		ln, err = lc.Listen(ctx, "tcp", c.Addr.String())
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("smtp %s: %s is in use by another program (hint: ss -ltnp)", s.name, c.Addr)
		}
		if err != nil {
			return fmt.Errorf("smtp %s: %w", s.name, err)
		}
	}
	s.ln = ln
	s.accept.Go(s.acceptLoop)
	return nil
}

// Addr is where the server listens, once started.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Reconfigure makes new connections follow c. The socket stays: c's Name, Addr
// and Listener count for nothing. Connections that exist keep what they have.
func (s *Server) Reconfigure(c Config) error {
	c.Name = s.name
	ready, err := settle(c)
	if err != nil {
		return err
	}
	old := s.conf.Load()
	ready.Addr, ready.Listener, ready.guard = old.Addr, old.Listener, old.guard
	ready.guard.follow(ready.Limits, ready.Exempt)
	s.conf.Store(ready)
	return nil
}

// Stop refuses new connections, tells idle clients 421, lets messages that are
// being sent end, and cuts what is left when ctx ends.
func (s *Server) Stop(ctx context.Context) error {
	if s.ln == nil {
		return nil
	}
	s.mu.Lock()
	s.stopping = true
	for c := range s.conns {
		c.pipe.interrupt(shutdown)
	}
	s.mu.Unlock()
	err := s.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.accept.Wait()
	if s.work.Wait(ctx) == nil {
		return errors.Join(err, s.work.Stop(ctx))
	}
	s.cut()
	// Background: ctx has ended, and the sockets are closed under the
	// connections, which therefore end at once.
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(err, s.work.Stop(last))
}

func (s *Server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.raw.Close() // whatever it says, the connection is over
	}
}

// acceptLoop takes connections until the listener is closed. It backs off when
// the process is out of descriptors instead of spinning.
func (s *Server) acceptLoop() {
	var wait time.Duration
	for {
		raw, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if wait = min(max(wait*2, 5*time.Millisecond), time.Second); wait == time.Second || s.Counters.AcceptErrors.Value() == 0 {
				s.conf.Load().Log.Error("accept", "listener", s.name, "err", err)
			}
			s.Counters.AcceptErrors.Inc()
			time.Sleep(wait)
			continue
		}
		wait = 0
		s.admit(raw)
	}
}

// admit applies the limits that need no word from the client and starts the
// connection's goroutine. Whom a proxy brings is looked at there.
func (s *Server) admit(raw net.Conn) {
	conf := s.conf.Load()
	remote, local := addrPort(raw.RemoteAddr()), addrPort(raw.LocalAddr())
	if conf.Proxy && !within(conf.Proxies, remote.Addr()) {
		s.Counters.RefusedProxy.Inc()
		turnAway(raw, conf.Mode, notAClient)
		return
	}
	s.makeRoom(conf.guard, time.Now())
	if !conf.guard.reserve() {
		s.Counters.RefusedBusy.Inc()
		turnAway(raw, conf.Mode, tooBusy)
		return
	}
	c := newConn(s, conf, raw, Conn{ID: newID(), Remote: remote, Local: local})
	if !conf.Proxy {
		if r := c.enter(remote.Addr()); r != nil {
			conf.guard.release()
			turnAway(raw, conf.Mode, r)
			return
		}
	}
	if !s.track(c) {
		turnAway(raw, conf.Mode, shutdown)
		c.leave()
	}
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.conns[c] = struct{}{}
	return s.work.Go("smtp connection", func(ctx context.Context) { s.run(ctx, c) })
}

// run is a connection's goroutine. A panic ends that connection alone.
func (s *Server) run(ctx context.Context, c *conn) {
	defer func() {
		if p := recover(); p != nil {
			s.Counters.Panics.Inc()
			c.log.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
		}
		_ = c.raw.Close() // nothing was promised over it
		c.leave()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	c.serve(ctx)
}

// turnAway sends one reply and closes. A fresh socket's buffer takes a line
// without waiting, so this does not hold up the accept loop.
func turnAway(raw net.Conn, m Mode, r *smtpline.Reply) {
	if m != ImplicitTLS {
		_ = raw.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = raw.Write(r.Append(nil))
	}
	_ = raw.Close()
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	// Only the in-memory connections of tests have no TCP address.
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

func newID() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func (s *settled) logger(info *Conn) *slog.Logger {
	log := s.Log.With("listener", s.Name, "conn", info.ID, "client", info.Remote.Addr().String())
	if info.Proxy.IsValid() {
		log = log.With("proxy", info.Proxy.Addr().String())
	}
	return log
}
