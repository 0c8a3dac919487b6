// Package doq speaks DNS over QUIC (RFC 9250) on one UDP socket: one query a
// stream, its end marked by the end of the stream.
//
// Nothing is taken in 0-RTT data, so nothing can be replayed. Connections are
// admitted by the caller once their address is proven; where many have not
// finished their handshake, new ones must prove it before anything is done for
// them (RFC 9000, Section 8.1.2). Each connection has one accepting goroutine and
// one for each stream in flight; Stop ends them all.
//
// It never parses more of a message than RFC 9250 asks for: its length, its ID
// and the option that has no place here. RFC 9250; RFC 9000.
package doq

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"postern/internal/metrics"
)

// ALPN is RFC 9250, Section 4.1.1.
const ALPN = "doq"

// Error codes of RFC 9250, Section 8.4.
const (
	noError          = 0x0
	internalError    = 0x1
	protocolError    = 0x2
	requestCancelled = 0x3
	excessiveLoad    = 0x4
	unspecifiedError = 0x5
)

const (
	// unproven is how many handshakes may be under way before addresses must
	// be proven.
	unproven      = 32
	maxFrame      = 2 + 0xFFFF
	connReceive   = 256 << 10
	linger        = 200 * time.Millisecond
	streamReceive = maxFrame + 1
)

// Config is what a Server needs.
type Config struct {
	Conn *net.UDPConn // bound; closed by the caller after Stop
	TLS  func() *tls.Config
	// Answer returns the reply to a message, empty where there is none. It is
	// called by many goroutines at once.
	Answer func(msg []byte, client, local netip.AddrPort) []byte
	// Admit counts a connection in, whose client has shown that the address is
	// its own, and returns what counts it out again, or nil.
	Admit    func(client netip.AddrPort) (leave func())
	Messages *metrics.Counter // messages read
	Refused  *metrics.Counter // connections and streams that broke the protocol

	Streams   int           // queries in flight of one connection
	Handshake time.Duration // until a handshake is done
	Idle      time.Duration // a connection without a query, or a query that does not end
	Write     time.Duration // for a client to take a reply
}

// Server answers queries on one socket.
type Server struct {
	config    Config
	transport quic.Transport
	listener  *quic.Listener
	shaking   atomic.Int64 // handshakes under way
	running   sync.WaitGroup
	done      chan struct{}   // Serve has returned
	ctx       context.Context // ends with Stop: nothing new is taken
	cancel    context.CancelFunc
}

// New returns a server that holds the socket; Serve runs it.
func New(c Config) (*Server, error) {
	// The server's own life, ended by Stop.
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{config: c, done: make(chan struct{}), ctx: ctx, cancel: cancel}
	s.transport.Conn = c.Conn
	s.transport.VerifySourceAddress = func(net.Addr) bool { return s.shaking.Load() >= unproven }
	s.transport.ConnContext = s.admit
	current := func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.TLS(), nil }
	var err error
	s.listener, err = s.transport.Listen(&tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{ALPN}, GetConfigForClient: current,
	}, &quic.Config{
		HandshakeIdleTimeout:           c.Handshake,
		MaxIdleTimeout:                 c.Idle,
		InitialStreamReceiveWindow:     streamReceive,
		MaxStreamReceiveWindow:         streamReceive,
		InitialConnectionReceiveWindow: connReceive,
		MaxConnectionReceiveWindow:     connReceive,
		MaxIncomingStreams:             int64(c.Streams),
		MaxIncomingUniStreams:          -1, // RFC 9250, Section 4.2: queries come on bidirectional streams
		// A client that resets its streams must not get more work out of us
		// than one that waits.
		RequireStreamCreditRelease: true,
		DisablePathMTUDiscovery:    true,
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("quic: %w", err)
	}
	return s, nil
}

// admission is of one connection. It holds its place until the connection is
// closed and all that was asked on it has been answered: who closes and comes
// again must not have more work done than who stays.
type admission struct {
	shaken func() // the handshake is over, well or not

	mu    sync.Mutex // guards what follows
	holds int
	leave func() // nil: not counted in
}

type admissionKey struct{}

// hold takes part in the admission, and counts the connection in where it is
// not; false: it is over, or there is no room.
func (a *admission) hold(count func() (leave func())) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holds == 0 {
		return false
	}
	if a.leave == nil {
		if a.leave = count(); a.leave == nil {
			return false
		}
	}
	a.holds++
	return true
}

func (a *admission) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holds--; a.holds == 0 && a.leave != nil {
		a.leave()
	}
}

// admit is asked before anything is done for a new connection; its context
// ends with the connection. An address that may be forged is not counted among
// its client's yet: a stranger could shut others out.
func (s *Server) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	a := &admission{shaken: func() {}, holds: 1}
	if info.AddrVerified {
		if a.leave = s.config.Admit(addrPort(info.RemoteAddr)); a.leave == nil {
			return nil, errFull
		}
	} else {
		s.shaking.Add(1)
		a.shaken = sync.OnceFunc(func() { s.shaking.Add(-1) })
	}
	context.AfterFunc(ctx, func() {
		a.shaken()
		a.release()
	})
	return context.WithValue(ctx, admissionKey{}, a), nil
}

// Serve answers until Stop.
func (s *Server) Serve() {
	defer close(s.done)
	for {
		c, err := s.listener.Accept(s.ctx)
		if err != nil {
			return // stopped: Accept has no other error
		}
		a, ok := c.Context().Value(admissionKey{}).(*admission)
		if !ok {
			continue // every connection came through admit
		}
		a.shaken()
		if !a.hold(func() func() { return s.config.Admit(addrPort(c.RemoteAddr())) }) {
			s.running.Go(func() { _ = c.CloseWithError(excessiveLoad, "") })
			continue
		}
		s.running.Go(func() {
			defer a.release()
			s.connection(c)
		})
	}
}

// Stop takes no new query and waits for those in flight until ctx ends, then
// cuts them off. The socket is free afterwards.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	_ = s.listener.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-s.done // it starts no connection any more
		s.running.Wait()
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = fmt.Errorf("quic queries in flight: %w", ctx.Err())
	}
	s.Close()
	return err
}

// Close cuts everything off.
func (s *Server) Close() {
	s.cancel()
	_ = s.transport.Close()
}

func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
