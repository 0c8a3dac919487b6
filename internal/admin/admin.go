// Package admin is the operator's HTTP listener: health, readiness and
// metrics, and nothing else.
//
// It answers only where it listens and only under the names it was given, so
// that a web page cannot reach it by rebinding a name to our address. A Server
// owns one goroutine an address, ended by Stop.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// Config says where to listen and what to show.
type Config struct {
	Addrs   []netip.AddrPort
	Names   []string       // host names a request may ask for, besides the addresses of Addrs and localhost on loopback
	Metrics http.Handler   // what /metrics shows
	Ready   func() error   // nil error: every part works
	Clients []netip.Prefix // who may ask; empty: anyone who reaches the listener
	Log     *slog.Logger   // required
}

// Counters is what a Server counts.
type Counters struct {
	Requests metrics.Counter // requests answered, whatever the answer
	Refused  metrics.Counter // wrong Host, or a client outside Config.Clients
}

// Limits of the listener.
const (
	headerTimeout = 5 * time.Second
	totalTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10 // octets
	maxConns      = 64       // at a time, on one address
)

// Server is the listener. It is used once.
type Server struct {
	Counters Counters

	cfg     Config
	http    *http.Server
	workers lifecycle.Workers
}

// NewServer returns a server that is not listening yet.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", cfg.Metrics)
	s.http = &http.Server{
		Handler:           s.guard(mux),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       totalTimeout,
		WriteTimeout:      totalTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// Start listens on every address, or on none.
func (s *Server) Start(ctx context.Context) error {
	var open []net.Listener
	for _, a := range s.cfg.Addrs {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", a.String())
		if err != nil {
			for _, o := range open {
				_ = o.Close() // nothing was accepted yet
			}
			return fmt.Errorf("listen for admin on %s: %w", a, err)
		}
		open = append(open, ln)
	}
	for _, ln := range open {
		ln := &limited{Listener: ln, slots: make(chan struct{}, maxConns)}
		s.workers.Go("admin "+ln.Addr().String(), func(context.Context) {
			if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				s.cfg.Log.Error("admin listener ended", "err", err)
			}
		})
	}
	return nil
}

// Stop lets running requests finish until ctx ends, then cuts them off: that
// is no failure, since nothing here is worth waiting for.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil && ctx.Err() != nil {
		err = s.http.Close()
	}
	// Background: ctx may have ended, and with the sockets closed the
	// listeners' goroutines end at once.
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(err, s.workers.Stop(last))
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Ready(); err != nil {
		say(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
		return
	}
	say(w, http.StatusOK, "ready")
}

// guard refuses what was not meant for us.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Counters.Requests.Inc()
		if !s.permitted(r.RemoteAddr) || !s.ours(r.Host) {
			s.Counters.Refused.Inc()
			say(w, http.StatusMisdirectedRequest, "not served here")
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (s *Server) permitted(remote string) bool {
	if len(s.cfg.Clients) == 0 {
		return true
	}
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	for _, p := range s.cfg.Clients {
		if p.Contains(from.Addr().Unmap()) {
			return true
		}
	}
	return false
}

func (s *Server) ours(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	for _, n := range s.cfg.Names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	for _, a := range s.cfg.Addrs {
		if name == a.Addr().String() || name == "localhost" && a.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n") // the client may be gone
}

// limited accepts at most cap(slots) connections at a time; others wait in the
// kernel's queue.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.slots <- struct{}{}
	return &limitedConn{Conn: c, slots: l.slots}, nil
}

type limitedConn struct {
	net.Conn
	once  sync.Once
	slots chan struct{}
}

func (c *limitedConn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
