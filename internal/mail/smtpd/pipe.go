package smtpd

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"postern/internal/mail/smtpline"
)

// Line limits (RFC 5321, Section 4.5.3.1.4, plus what our extensions add to
// MAIL and RCPT; RFC 4954, Section 4.1 for AUTH).
const (
	maxCommandLine = 2048
	maxAuthLine    = 12288
)

// keepReplies is the room for replies that a connection keeps while it waits.
const keepReplies = 1 << 10

var (
	errBareLine = errors.New("line end other than CRLF, or a NUL")
	errLongLine = errors.New("command line too long")
	errEnded    = errors.New("connection was ended from outside")
	errOverTime = errors.New("session time is over")
)

// pipe is a connection's bytes in both directions, under deadlines. Replies are
// gathered and go out together, when the next read would wait (RFC 2920,
// Section 3.2).
type pipe struct {
	in      inbox
	out     []byte
	lost    error     // of a write; it stays
	end     time.Time // of the session
	writing time.Duration
	raw     net.Conn // the socket, to look into

	mu     sync.Mutex      // guards what follows, against interrupt
	conn   net.Conn        // the socket, or the TLS connection over it
	ending *smtpline.Reply // what interrupt says; nil: nobody has
	idle   bool            // the read going on waits for a command
	busy   bool            // it came, and is being carried out
}

func newPipe(conn net.Conn, end time.Time, writing time.Duration) *pipe {
	p := &pipe{end: end, writing: writing, raw: conn}
	p.use(conn)
	return p
}

// use goes over to conn. Nothing that was read before is kept.
func (p *pipe) use(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = conn
	p.in.reset(conn)
	p.out = nil
}

// write gathers a reply. It goes out when the next read would wait, or when
// there are many.
func (p *pipe) write(r *smtpline.Reply) error {
	if p.out = r.Append(p.out); len(p.out) < 4<<10 {
		return p.lost
	}
	return p.flush()
}

// flush sends what was gathered, under a deadline of its own.
func (p *pipe) flush() error {
	if p.lost != nil || len(p.out) == 0 {
		return p.lost
	}
	if p.lost = p.conn.SetWriteDeadline(time.Now().Add(p.writing)); p.lost == nil {
		_, p.lost = p.conn.Write(p.out)
	}
	if p.out = p.out[:0]; cap(p.out) > keepReplies {
		p.out = nil
	}
	return p.lost
}

// arm sets the deadline of the reads that follow. Waiting for a command can be
// interrupted; being inside a message cannot.
func (p *pipe) arm(d time.Duration, idle bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if idle && p.ending != nil {
		return errEnded
	}
	now := time.Now()
	if !now.Before(p.end) {
		return errOverTime
	}
	p.idle, p.busy = idle, false
	at := now.Add(d)
	if at.After(p.end) {
		at = p.end
	}
	return p.conn.SetReadDeadline(at)
}

// interrupt makes a wait for a command end at once, with r as the last word. It
// is called from another goroutine; the first call counts.
func (p *pipe) interrupt(r *smtpline.Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending == nil {
		p.ending = r
	}
	if p.idle {
		_ = p.conn.SetReadDeadline(time.Unix(1, 0)) // fails only when it is closed already
	}
}

// waits reports whether the client is waited for, and nothing else is going on.
func (p *pipe) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle && !p.busy && p.ending == nil
}

func (p *pipe) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = true
}

// lastWord is what interrupt was given.
func (p *pipe) lastWord() *smtpline.Reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending
}

// why tells a time-out by its cause.
func (p *pipe) why(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ending != nil && p.idle:
		return errEnded
	case !time.Now().Before(p.end):
		return errOverTime
	}
	return err
}

// line returns the next command line without its CRLF, valid until the next
// read. The client has d for all of it.
func (p *pipe) line(d time.Duration, auth bool) ([]byte, error) {
	end := bytes.IndexByte(p.in.held(), '\n')
	if end < 0 {
		if err := p.flush(); err != nil {
			return nil, err
		}
	}
	if err := p.arm(d, true); err != nil {
		return nil, err
	}
	for end < 0 {
		have := len(p.in.held())
		if have > maxCommandLine && !auth && !isAuth(p.in.held()) || have > maxAuthLine {
			return nil, errLongLine
		}
		if err := p.in.more(lineRoom); err != nil {
			return nil, p.why(err)
		}
		if end = bytes.IndexByte(p.in.held()[have:], '\n'); end >= 0 {
			end += have
		}
	}
	p.begin()
	b := p.in.held()[:end+1]
	p.in.take(end + 1)
	body, found := bytes.CutSuffix(b, []byte("\r\n"))
	if !found || bytes.IndexByte(body, '\r') >= 0 || bytes.IndexByte(body, 0) >= 0 {
		return nil, errBareLine
	}
	if len(b) > maxCommandLine && !auth && !isAuth(body) || len(b) > maxAuthLine {
		return nil, errLongLine
	}
	return body, nil
}

func isAuth(line []byte) bool { return len(line) > 5 && bytes.EqualFold(line[:5], []byte("AUTH ")) }

// pending reports input that has been read and was not asked for yet.
func (p *pipe) pending() bool { return len(p.in.held()) > 0 }

// ahead reports input that has arrived although the client had to wait: read
// already, behind the last record of TLS, or still in the socket.
func (p *pipe) ahead() bool {
	if p.pending() || waiting(p.raw) {
		return true
	}
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn == p.raw {
		return false
	}
	// A deadline in the past: TLS gives what it holds and asks the socket for
	// nothing. Every read that follows sets its own.
	if conn.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	return p.in.more(lineRoom) == nil
}

// silent reports whether the client has kept quiet so far, and does for d.
func (p *pipe) silent(d time.Duration) (bool, error) {
	if p.ahead() {
		return false, nil
	}
	if d <= 0 {
		return true, nil
	}
	if err := p.arm(d, true); err != nil {
		return false, err
	}
	err := p.in.more(lineRoom)
	if err == nil {
		return false, nil
	}
	err = p.why(err)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true, nil
	}
	return false, err
}
