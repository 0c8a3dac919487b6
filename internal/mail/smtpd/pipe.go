package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Line limits (RFC 5321, Section 4.5.3.1.4, plus what our extensions add to
// MAIL and RCPT; RFC 4954, Section 4.1 for AUTH).
const (
	maxCommandLine = 2048
	maxAuthLine    = 12288
)

var (
	errBareLine = errors.New("line end other than CRLF")
	errLongLine = errors.New("command line too long")
	errShutdown = errors.New("server is stopping")
	errOverTime = errors.New("session time is over")
)

// pipe is a connection's bytes in both directions, under deadlines. Replies are
// gathered and go out together, when the next read would wait (RFC 2920,
// Section 3.2).
type pipe struct {
	r       *bufio.Reader
	w       *bufio.Writer
	end     time.Time // of the session
	writing time.Duration

	mu          sync.Mutex // guards what follows, against interrupt
	conn        net.Conn   // the socket, or the TLS connection over it
	interrupted bool
	idle        bool // the read going on waits for a command
}

func newPipe(conn net.Conn, end time.Time, writing time.Duration) *pipe {
	p := &pipe{end: end, writing: writing}
	p.use(conn)
	return p
}

// use goes over to conn. Nothing that was read before is kept.
func (p *pipe) use(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = conn
	p.r = bufio.NewReaderSize(conn, maxAuthLine+2)
	p.w = bufio.NewWriter(deadlineWriter{conn, p.writing})
}

// deadlineWriter gives each write its own deadline.
type deadlineWriter struct {
	net.Conn
	limit time.Duration
}

func (w deadlineWriter) Write(b []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.limit)); err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}

// arm sets the deadline of the reads that follow. Waiting for a command can be
// interrupted; being inside a message cannot.
func (p *pipe) arm(d time.Duration, idle bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if idle && p.interrupted {
		return errShutdown
	}
	now := time.Now()
	if !now.Before(p.end) {
		return errOverTime
	}
	p.idle = idle
	at := now.Add(d)
	if at.After(p.end) {
		at = p.end
	}
	return p.conn.SetReadDeadline(at)
}

// interrupt makes a wait for a command end at once. It is called from another
// goroutine.
func (p *pipe) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupted = true
	if p.idle {
		_ = p.conn.SetReadDeadline(time.Unix(1, 0)) // fails only when it is closed already
	}
}

// why tells a time-out by its cause.
func (p *pipe) why(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.interrupted && p.idle:
		return errShutdown
	case !time.Now().Before(p.end):
		return errOverTime
	}
	return err
}

// line returns the next command line without its CRLF, valid until the next
// read. The client has d for all of it.
func (p *pipe) line(d time.Duration, auth bool) ([]byte, error) {
	if !p.hasLine() {
		if err := p.w.Flush(); err != nil {
			return nil, err
		}
	}
	if err := p.arm(d, true); err != nil {
		return nil, err
	}
	b, err := p.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errLongLine
	}
	if err != nil {
		return nil, p.why(err)
	}
	body, found := bytes.CutSuffix(b, []byte("\r\n"))
	if !found || bytes.IndexByte(body, '\r') >= 0 {
		return nil, errBareLine
	}
	if len(b) > maxCommandLine && !auth && !isAuth(body) || len(b) > maxAuthLine {
		return nil, errLongLine
	}
	return body, nil
}

func isAuth(line []byte) bool { return len(line) > 5 && bytes.EqualFold(line[:5], []byte("AUTH ")) }

func (p *pipe) hasLine() bool {
	b, _ := p.r.Peek(p.r.Buffered()) // what is buffered can be peeked at
	return bytes.IndexByte(b, '\n') >= 0
}

// pending reports input that has arrived and was not asked for yet.
func (p *pipe) pending() bool { return p.r.Buffered() > 0 }

// silent waits and reports whether the client kept quiet meanwhile.
func (p *pipe) silent(d time.Duration) (bool, error) {
	// A deadline in the past would fail without looking.
	if err := p.arm(max(d, time.Millisecond), true); err != nil {
		return false, err
	}
	_, err := p.r.Peek(1)
	if err == nil {
		return false, nil
	}
	err = p.why(err)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true, nil
	}
	return false, err
}
