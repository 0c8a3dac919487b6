package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Spec is one wanted listener.
type Spec struct {
	Addr      netip.AddrPort // an unspecified address is every one of its family
	Transport Transport
	Handler   func() Handler // called once for each goroutine that reads, accepts or answers
	TLS       *tls.Config    // for TLS, HTTPS and QUIC; its protocols are set here, and it may ask for certificates
}

func (s Spec) network() string {
	family := "6"
	if s.Addr.Addr().Is4() {
		family = "4"
	}
	if s.Transport.datagrams() {
		return "udp" + family
	}
	return "tcp" + family
}

func (s Spec) key() key { return key{s.Transport, s.Addr} }

type key struct {
	transport Transport
	addr      netip.AddrPort
}

// overlaps reports whether two keys cannot be bound by two servers at once.
func (k key) overlaps(o key) bool {
	a, b := k.addr.Addr(), o.addr.Addr()
	return k.transport.datagrams() == o.transport.datagrams() && k.addr.Port() == o.addr.Port() && a.Is4() == b.Is4() &&
		(a == b || a.IsUnspecified() || b.IsUnspecified())
}

// Limits bounds connections: those of TCP, and as many of TLS, HTTPS and QUIC
// together.
type Limits struct {
	Conns     int           // open connections of insiders, and as many of others; 0: 1000
	PerClient int           // of one client, which is a /64 of IPv6; 0: 50
	InFlight  int           // unanswered messages of one connection; 0: 32
	Idle      time.Duration // without a whole message; 0: DefaultIdle
	Write     time.Duration // for a client to take its replies; 0: 5 s
	Stream    time.Duration // to take one message of a reply of many; 0: 30 s
	Handshake time.Duration // until TLS is agreed on; 0: 5 s

	Exempt func(netip.Addr) bool // clients without a bound of their own; nil: none
}

// DefaultIdle is how long a connection may be idle (RFC 7766, Section 6.2.3).
// Who tells clients of it must tell what is true.
const DefaultIdle = 10 * time.Second

func (l *Limits) defaults() {
	l.Conns = cmp.Or(l.Conns, 1000)
	l.PerClient = cmp.Or(l.PerClient, 50)
	l.InFlight = cmp.Or(l.InFlight, 32)
	l.Idle = cmp.Or(l.Idle, DefaultIdle)
	l.Write = cmp.Or(l.Write, 5*time.Second)
	l.Stream = cmp.Or(l.Stream, 30*time.Second)
	l.Handshake = cmp.Or(l.Handshake, 5*time.Second)
}

// Config is what a Set needs.
type Config struct {
	Listen  []Spec // what Start opens
	Sockets int    // UDP sockets an address; 0: one for each core Go uses
	Plain   bool   // a system call for each datagram, as where there is nothing better
	Limits  Limits
}

// Set is the DNS listeners of the process. Prepare, Change.Commit and Stop
// are not for concurrent use.
type Set struct {
	Counters Counters

	config        Config
	plain, secure *conns // an open port of one kind does not starve the other

	mu      sync.Mutex // guards running
	running map[key]*listener
}

// NewSet returns a set without listeners.
func NewSet(c Config) *Set {
	c.Limits.defaults()
	if c.Sockets == 0 {
		c.Sockets = runtime.GOMAXPROCS(0)
	}
	s := &Set{config: c, running: map[key]*listener{}}
	n := &s.Counters
	s.plain = newConns(c.Limits, admissions{&n.TCPAccepted, &n.TCPRefusedTotal, &n.TCPRefusedClient})
	s.secure = newConns(c.Limits, admissions{&n.SecureAccepted, &n.SecureRefusedTotal, &n.SecureRefusedClient})
	return s
}

// Start opens the configured listeners: all, or none and an error.
func (s *Set) Start(ctx context.Context) error {
	change, err := s.Prepare(ctx, s.config.Listen)
	if err != nil {
		return err
	}
	return change.Commit(ctx)
}

// Change is a new set of listeners, bound but not yet reading.
type Change struct {
	set   *Set
	fresh []*listener
	kept  map[key]Spec
	gone  []key
}

// Prepare binds what want has and the set has not. Nothing else changes; a
// port in use is an error that names the address.
func (s *Set) Prepare(ctx context.Context, want []Spec) (*Change, error) {
	c := &Change{set: s, kept: map[key]Spec{}}
	wanted := map[key]bool{}
	for _, spec := range want {
		wanted[spec.key()] = true
	}
	s.mu.Lock()
	for k := range s.running {
		if !wanted[k] {
			c.gone = append(c.gone, k)
		}
	}
	s.mu.Unlock()
	for _, spec := range want {
		if err := c.prepare(ctx, spec); err != nil {
			c.Abort()
			return nil, err
		}
	}
	return c, nil
}

func (c *Change) prepare(ctx context.Context, spec Spec) error {
	k := spec.key()
	if spec.Transport.secure() && spec.TLS == nil {
		return fmt.Errorf("listen on %s %s: no certificate", spec.Transport, spec.Addr)
	}
	c.set.mu.Lock()
	_, runs := c.set.running[k]
	c.set.mu.Unlock()
	if runs {
		c.kept[k] = spec
		return nil
	}
	if slices.ContainsFunc(c.fresh, func(l *listener) bool { return k.addr.Port() != 0 && l.spec.key() == k }) {
		return fmt.Errorf("listen on %s %s: named twice", spec.Transport, spec.Addr)
	}
	// An own listener on its way out holds the port: its successor shares it
	// until then, so that no query is lost.
	shared := slices.ContainsFunc(c.gone, k.overlaps)
	l, err := bind(ctx, spec, c.set, shared)
	if err != nil {
		return err
	}
	c.fresh = append(c.fresh, l)
	return nil
}

// Abort closes what Prepare bound.
func (c *Change) Abort() {
	for _, l := range c.fresh {
		l.close()
	}
	c.fresh = nil
}

// Commit starts the new listeners, gives those that stay their new handlers
// and stops the others, letting their requests finish until ctx ends.
func (c *Change) Commit(ctx context.Context) error {
	s := c.set
	var old []*listener
	s.mu.Lock()
	for _, l := range c.fresh {
		l.start()
		s.running[key{l.spec.Transport, l.name()}] = l
	}
	for k, spec := range c.kept {
		s.running[k].handlers.set(spec.Handler)
		s.running[k].setTLS(spec.TLS)
	}
	for _, k := range c.gone {
		old = append(old, s.running[k])
		delete(s.running, k)
	}
	s.mu.Unlock()
	return stopAll(ctx, old)
}

// name is the address a listener is known by: as wanted, but for port 0.
func (l *listener) name() netip.AddrPort {
	if l.spec.Addr.Port() != 0 {
		return l.spec.Addr
	}
	return l.addr()
}

// Stop stops all listeners.
func (s *Set) Stop(ctx context.Context) error {
	s.mu.Lock()
	var all []*listener
	for _, l := range s.running {
		all = append(all, l)
	}
	clear(s.running)
	s.mu.Unlock()
	return stopAll(ctx, all)
}

func stopAll(ctx context.Context, all []*listener) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, l := range all {
		wg.Go(func() { errs[i] = l.stop(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Open is one open listener.
type Open struct {
	Transport Transport
	Addr      netip.AddrPort // with its real port
}

// Open returns the open listeners, sorted.
func (s *Set) Open() []Open {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Open
	for k, l := range s.running {
		all = append(all, Open{k.transport, l.addr()})
	}
	slices.SortFunc(all, func(a, b Open) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return int(a.Transport) - int(b.Transport)
	})
	return all
}

// Connections returns how many connections are open, of any transport that
// has them.
func (s *Set) Connections() int { return s.plain.number() + s.secure.number() }
