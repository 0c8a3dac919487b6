package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/manage"
	"postern/internal/metrics"
)

// Desk does what a verb says. The result is encoded as JSON.
type Desk interface {
	Do(ctx context.Context, by manage.Caller, verb string, args json.RawMessage) (any, error)
}

// Config says where the socket lies and who may use it.
type Config struct {
	Path   string   // the socket; its directory is made with mode 0700 if missing
	Admins []uint32 // user ids besides root and the server's own
	Desk   Desk
	Log    *slog.Logger
}

// Counters is what a Server counts.
type Counters struct {
	Calls    metrics.Counter // requests carried out, well or not
	Refused  metrics.Counter // callers turned away by their user id
	Overflow metrics.Counter // connections closed because MaxConns were open
}

// Limits of the socket.
const (
	MaxConns    = 32               // connections at a time
	IdleTimeout = 30 * time.Second // between two requests
	CallTimeout = 5 * time.Minute  // for one request

	acceptBackoff = 100 * time.Millisecond
)

// Server is the listening end.
type Server struct {
	Counters Counters

	cfg     Config
	ln      *net.UnixListener
	slots   chan struct{}
	workers lifecycle.Workers
}

// NewServer returns a server that is not listening yet.
func NewServer(cfg Config) *Server {
	return &Server{cfg: cfg, slots: make(chan struct{}, MaxConns)}
}

// Start makes the socket and listens. The caller holds the state's lock, so a
// socket left behind belongs to nobody and is replaced.
func (s *Server) Start(context.Context) error {
	if len(s.cfg.Path) > 107 {
		return fmt.Errorf("control socket %s: longer than a socket's path may be, 107 octets (hint: set server.control)", s.cfg.Path)
	}
	dirMode, mode := s.modes()
	if err := os.MkdirAll(filepath.Dir(s.cfg.Path), dirMode); err != nil {
		return fmt.Errorf("control socket directory: %w (hint: server.control lies where Postern's user may write)", err)
	}
	if info, err := os.Lstat(s.cfg.Path); err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("control socket %s: something else lies there (hint: move it away, or set server.control)", s.cfg.Path)
	}
	if err := os.Remove(s.cfg.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace the control socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.cfg.Path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(s.cfg.Path, mode); err != nil {
		return errors.Join(fmt.Errorf("control socket: %w", err), ln.Close())
	}
	s.ln = ln
	s.workers.Go("control accept", s.accept)
	return nil
}

// modes are those of the directory and the socket. Only where other users are
// admins can others reach the socket at all; who is served, the credentials of
// the caller decide in any case.
func (s *Server) modes() (dir, socket os.FileMode) {
	if len(s.cfg.Admins) > 0 {
		return 0o711, 0o666
	}
	return 0o700, 0o600
}

// Stop closes the socket, lets running calls finish until ctx ends, and
// removes the file.
func (s *Server) Stop(ctx context.Context) error {
	if s.ln == nil {
		return nil
	}
	err := s.ln.Close()
	return errors.Join(err, s.workers.Stop(ctx))
}

func (s *Server) accept(ctx context.Context) {
	for {
		conn, err := s.ln.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most likely: give others time to close some.
			s.cfg.Log.Warn("control socket cannot accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptBackoff):
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
			if !s.workers.Go("control connection", func(ctx context.Context) { s.converse(ctx, conn) }) {
				_ = conn.Close() // stopping
			}
		default:
			s.Counters.Overflow.Inc()
			_ = conn.Close() // nothing was promised
		}
	}
}

func (s *Server) converse(ctx context.Context, conn *net.UnixConn) {
	defer func() { <-s.slots }()
	defer conn.Close()
	// An idle caller must not hold up Stop.
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	by, err := s.admit(conn)
	if err != nil {
		s.Counters.Refused.Inc()
		s.cfg.Log.Warn("control socket: refused", "reason", "forbidden", "uid", by.UID, "pid", by.PID)
		_ = writeLine(conn, reply{Error: &manage.Error{Reason: manage.ReasonForbidden, Text: err.Error(), Hint: "server.admins lists who may"}})
		return
	}
	in := bufio.NewReader(conn)
	for ctx.Err() == nil {
		if conn.SetReadDeadline(time.Now().Add(IdleTimeout)) != nil || ctx.Err() != nil {
			return
		}
		var q request
		if err := readLine(in, MaxRequest, &q); err != nil {
			return
		}
		if conn.SetWriteDeadline(time.Now().Add(CallTimeout+IdleTimeout)) != nil {
			return
		}
		if writeLine(conn, s.call(ctx, by, q)) != nil {
			return
		}
	}
}

func (s *Server) admit(conn *net.UnixConn) (manage.Caller, error) {
	by, err := peer(conn)
	if err != nil {
		return by, fmt.Errorf("cannot tell who is calling: %w", err)
	}
	if by.UID == 0 || int(by.UID) == os.Getuid() || slices.Contains(s.cfg.Admins, by.UID) {
		return by, nil
	}
	return by, fmt.Errorf("user id %d may not use the control socket", by.UID)
}

func (s *Server) call(ctx context.Context, by manage.Caller, q request) (r reply) {
	s.Counters.Calls.Inc()
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	// One broken verb must not end the server.
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("operator call broke", "verb", q.Verb, "panic", p, "stack", string(debug.Stack()))
			r = reply{Error: &manage.Error{Reason: manage.ReasonFailed, Text: "internal error; the log has it"}}
		}
	}()
	result, err := s.cfg.Desk.Do(ctx, by, q.Verb, q.Args)
	if err != nil {
		return reply{Error: asError(err)}
	}
	b, err := json.Marshal(result)
	if err != nil {
		return reply{Error: asError(fmt.Errorf("encode the result of %s: %w", q.Verb, err))}
	}
	return reply{Result: b}
}

func asError(err error) *manage.Error {
	var e *manage.Error
	if errors.As(err, &e) {
		return e
	}
	return &manage.Error{Reason: manage.ReasonFailed, Text: err.Error()}
}
