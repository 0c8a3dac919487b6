package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"postern/internal/dns/listen/doh"
	"postern/internal/dns/listen/doq"
)

// handlers makes a handler for each goroutine that needs one, and a new one
// after a change.
type handlers struct {
	made atomic.Pointer[func() Handler]
	turn atomic.Uint64
}

func (h *handlers) set(f func() Handler) {
	h.made.Store(&f)
	h.turn.Add(1)
}

// handler returns have, or a new one where have is older than the last set.
func (h *handlers) handler(have Handler, turn uint64) (Handler, uint64) {
	now := h.turn.Load()
	if now == turn {
		return have, turn
	}
	return (*h.made.Load())(), now
}

// listener is the sockets of one address and transport.
type listener struct {
	spec     Spec
	handlers handlers
	counters *Counters
	conns    *conns
	udp      []*udpSocket
	tcp      net.Listener
	tls      atomic.Pointer[tls.Config]
	quic     *net.UDPConn
	doh      *doh.Server
	doq      *doq.Server
	answers  answers // of HTTPS and QUIC
	stopping chan struct{}
	running  sync.WaitGroup // readers, acceptor, connections

	mu      sync.Mutex // guards what follows
	open    map[*tcpConn]struct{}
	shaking map[net.Conn]struct{} // connections in their handshake
}

// bind makes the sockets; nothing is read yet. shared tells that an own
// listener that is going away overlaps, so that a port in use is no news.
func bind(ctx context.Context, spec Spec, s *Set, shared bool) (*listener, error) {
	l := &listener{
		spec: spec, counters: &s.Counters, conns: s.plain, stopping: make(chan struct{}),
		open: map[*tcpConn]struct{}{}, shaking: map[net.Conn]struct{}{},
	}
	if spec.Transport.secure() {
		l.conns = s.secure
	}
	l.handlers.set(spec.Handler)
	l.setTLS(spec.TLS)
	l.answers.handlers, l.answers.transport = &l.handlers, spec.Transport
	if !shared {
		if err := probe(ctx, spec); err != nil {
			return nil, bindError(spec, err)
		}
	}
	if err := l.bind(ctx, s.config); err != nil {
		l.close()
		return nil, bindError(spec, err)
	}
	return l, nil
}

// probe binds and closes a socket that does not share its port. With
// SO_REUSEPORT, which the real ones have, a second server of the same user
// would come up quietly and take half of the queries.
func probe(ctx context.Context, spec Spec) error {
	var lc net.ListenConfig
	network, addr := spec.network(), spec.Addr.String()
	if spec.Transport.datagrams() {
		c, err := lc.ListenPacket(ctx, network, addr)
		if err != nil {
			return err // wrapped by bindError
		}
		return c.Close()
	}
	c, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return err // wrapped by bindError
	}
	return c.Close()
}

func bindError(spec Spec, err error) error {
	what := fmt.Sprintf("listen on %s %s", spec.Transport, spec.Addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %w (another server holds this port)", what, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: %w (ports below 1024 need CAP_NET_BIND_SERVICE)", what, syscall.EACCES)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %w (no interface has this address)", what, syscall.EADDRNOTAVAIL)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (l *listener) bind(ctx context.Context, config Config) error {
	wildcard := l.spec.Addr.Addr().IsUnspecified()
	lc := net.ListenConfig{Control: options(l.spec.Transport, wildcard)}
	switch {
	case l.spec.Transport == QUIC:
		return l.bindQUIC(ctx, &lc)
	case !l.spec.Transport.datagrams():
		var err error
		l.tcp, err = lc.Listen(ctx, l.spec.network(), l.spec.Addr.String())
		return err // wrapped by bindError
	}
	addr := l.spec.Addr
	for range min(max(config.Sockets, 1), maxSockets) {
		pc, err := lc.ListenPacket(ctx, l.spec.network(), addr.String())
		if err != nil {
			return err // wrapped by bindError
		}
		conn, ok := pc.(*net.UDPConn)
		if !ok {
			return fmt.Errorf("socket is a %T", pc)
		}
		u := &udpSocket{conn: conn, counters: l.counters}
		l.udp = append(l.udp, u)
		// Port 0 asks for any; the sockets after the first take the same one.
		port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		addr = netip.AddrPortFrom(addr.Addr(), port)
		u.local = addr
		if config.Plain {
			u.packets = &plain{conn: conn, local: addr.Addr()}
		} else if u.packets, err = newPackets(conn, addr.Addr(), wildcard, l.counters); err != nil {
			return err
		}
	}
	return nil
}

// addr returns the address with its real port.
func (l *listener) addr() netip.AddrPort {
	if l.tcp != nil {
		return addrPort(l.tcp.Addr())
	}
	if l.quic != nil {
		return l.quic.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return l.udp[0].local
}

func (l *listener) start() {
	for _, u := range l.udp {
		l.running.Go(func() { u.read(&l.handlers, l.stopping) })
	}
	if l.spec.Transport == HTTPS {
		l.doh = l.newDoH()
		l.running.Go(l.doh.Serve)
	}
	if l.doq != nil {
		l.running.Go(l.doq.Serve)
	}
	if l.tcp != nil {
		l.running.Go(l.accept)
	}
}

func (l *listener) accept() {
	var h Handler
	var made uint64
	for {
		c, err := l.tcp.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, or the client gave up: neither is the end.
			t := time.NewTimer(pause)
			select {
			case <-l.stopping:
				t.Stop()
				return
			case <-t.C:
			}
			continue
		}
		h, made = l.handlers.handler(h, made)
		l.admit(c, h)
	}
}

func (l *listener) admit(nc net.Conn, h Handler) {
	client := addrPort(nc.RemoteAddr())
	knows, ok := h.(Insiders)
	insider := ok && knows.Insider(client.Addr())
	if !l.conns.admit(client.Addr(), insider) {
		_ = nc.Close()
		return
	}
	l.running.Go(func() {
		defer l.conns.leave(client.Addr(), insider)
		switch l.spec.Transport {
		case TLS:
			if c := l.shake(nc); c != nil {
				l.converse(nc, c)
			}
		case HTTPS:
			l.serveHTTPS(nc)
		default:
			l.converse(nc, nc)
		}
	})
}

// converse serves one connection to its end; raw is what is below c.
func (l *listener) converse(raw, nc net.Conn) {
	c := &tcpConn{
		net: nc, raw: raw, secure: raw != nc, client: addrPort(nc.RemoteAddr()), local: addrPort(nc.LocalAddr()),
		limits: l.conns.limits, counters: l.counters,
		slots: make(chan struct{}, l.conns.limits.InFlight), stopping: l.stopping,
	}
	if within, ok := nc.(*tls.Conn); ok {
		state := within.ConnectionState()
		c.state = &state
	}
	l.mu.Lock()
	l.open[c] = struct{}{}
	l.mu.Unlock()
	c.serve(&l.handlers)
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
}

// stop takes no new work, waits for what runs until ctx ends, then cuts it
// off. It returns once every goroutine has ended or ctx has.
func (l *listener) stop(ctx context.Context) error {
	close(l.stopping)
	now := time.Now()
	for _, u := range l.udp {
		_ = u.conn.SetReadDeadline(now)
	}
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
	l.eachConn(func(c *tcpConn) { _ = c.net.SetReadDeadline(now) })
	l.stopSecure(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.running.Wait()
		for _, u := range l.udp {
			u.pending.Wait()
		}
		l.answers.wait()
	}()
	defer l.close()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s %s: requests in flight: %w", l.spec.Transport, l.spec.Addr, ctx.Err())
	}
}

func (l *listener) eachConn(f func(*tcpConn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		f(c)
	}
}

func (l *listener) close() {
	for _, u := range l.udp {
		_ = u.conn.Close()
	}
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
	l.eachConn(func(c *tcpConn) { _ = c.raw.Close() })
	l.closeSecure()
}
