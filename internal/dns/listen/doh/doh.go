// Package doh speaks DNS over HTTPS (RFC 8484) on connections that listen has
// admitted and whose TLS handshake is done. HTTP/2 only: what HTTP/1.1 would
// add is head-of-line blocking and a second parser before the world.
//
// It answers one path, two methods and one media type, and says nothing else:
// no cookies, no redirect, no page, no name of ours; what Host says does not
// matter. Bodies, headers, streams and waits are bounded. Server owns the
// goroutines of net/http; Stop ends them.
//
// It never opens a socket, and knows no view, zone or rate: the message goes
// to Config.Answer as it came. RFC 8484; RFC 9113 (HTTP/2); RFC 9111 (caching).
package doh

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"postern/internal/metrics"
)

// ALPN is the protocol a client must have agreed to.
const ALPN = "h2"

const (
	maxHeader  = 16 << 10 // octets of a request's header, the query of a GET among them
	maxReceive = 128 << 10
)

// Config is what a Server needs.
type Config struct {
	// Answer returns the reply to a message, empty where there is none. It is
	// called by many goroutines at once.
	Answer   func(msg []byte, client, local netip.AddrPort) []byte
	Messages *metrics.Counter // messages read
	Refused  *metrics.Counter // requests that were no questions
	Streams  int              // requests in flight of one connection
	Idle     time.Duration    // a connection without a request, or a request that does not end
	Write    time.Duration    // for a client to take a reply
}

// Server answers requests on the connections it is given.
type Server struct {
	config Config
	http   *http.Server
	handed chan net.Conn
	done   chan struct{}   // Serve has returned
	ctx    context.Context // ends with Stop: nothing new is taken
	cancel context.CancelFunc

	farewells sync.WaitGroup

	mu    sync.Mutex // guards conns and what is in them
	conns map[net.Conn]*standing
}

// New returns a server; Serve runs it.
func New(c Config) *Server {
	s := &Server{config: c, handed: make(chan net.Conn), done: make(chan struct{}), conns: map[net.Conn]*standing{}}
	// The server's own life, ended by Stop.
	s.ctx, s.cancel = context.WithCancel(context.Background())
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	s.http = &http.Server{
		Handler:     s,
		Protocols:   protocols,
		ReadTimeout: c.Idle,
		IdleTimeout: c.Idle,
		// No WriteTimeout: an answer may take as long as the resolver does.
		MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: c.Streams, MaxReceiveBufferPerConnection: maxReceive, MaxReceiveBufferPerStream: maxMessage + 1,
			MaxDecoderHeaderTableSize: 4096, SendPingTimeout: c.Idle, PingTimeout: c.Write, WriteByteTimeout: c.Write,
		},
		// What clients do wrong is counted, not told line by line.
		ErrorLog:    log.New(io.Discard, "", 0),
		ConnContext: withEnds,
		ConnState:   s.state,
	}
	return s
}

// Serve answers until Stop.
func (s *Server) Serve() {
	defer close(s.done)
	_ = s.http.Serve(listener{s}) // always an error: it was stopped
}

// Hand gives the server a connection over a Conn, which it closes when it has done with
// it. False: the server is stopping, or the client does not speak HTTP/2.
func (s *Server) Hand(c *tls.Conn) bool {
	if c.ConnectionState().NegotiatedProtocol != ALPN {
		s.config.Refused.Inc()
		return false
	}
	select {
	case s.handed <- c:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// cut ends the wait for a body when the server stops, until done is called.
func (s *Server) cut(w http.ResponseWriter) (done func()) {
	var mu sync.Mutex // w is not for use when its request is over
	over := false
	stop := context.AfterFunc(s.ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		}
	})
	return func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

// listener is what net/http accepts from.
type listener struct{ *Server }

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.handed:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error {
	l.cancel()
	return nil
}

func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// ends is a connection and its two ends.
type ends struct {
	below         *Conn
	client, local netip.AddrPort
}

type endsKey struct{}

func withEnds(ctx context.Context, c net.Conn) context.Context {
	t, ok := c.(*tls.Conn)
	if !ok {
		return ctx
	}
	below, _ := t.NetConn().(*Conn)
	return context.WithValue(ctx, endsKey{}, ends{below, addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())})
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// tooLarge reports whether a body went over its bound.
func tooLarge(err error) bool {
	var over *http.MaxBytesError
	return errors.As(err, &over)
}
