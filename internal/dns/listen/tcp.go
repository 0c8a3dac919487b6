package listen

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// firstRead is the buffer a connection begins with; most never need more.
	firstRead = 2048
	// flushAt is how many octets of replies are gathered before they are sent
	// though more questions are waiting.
	flushAt = 16 << 10
)

// tcpConn is one connection, of TCP or of TLS: RFC 7858, Section 3.3 keeps the
// framing. Its reader goroutine answers what can be
// answered at once, in order; kept requests are answered by whoever finishes
// them, through late. RFC 7766, Sections 6.2.1.1 and 7.
type tcpConn struct {
	net      net.Conn
	raw      net.Conn // what is below TLS; else net
	secure   bool
	state    *tls.ConnectionState // where it is secure
	client   netip.AddrPort
	local    netip.AddrPort
	limits   Limits
	counters *Counters
	in       []byte // what was read: the unread part is in[from:]
	from     int
	out      []byte
	kept     bool          // the handler kept the request at hand
	slots    chan struct{} // one for each request in flight; full: no more is read
	stopping <-chan struct{}

	flusher sync.WaitGroup

	mu      sync.Mutex // guards what follows
	late    []byte     // framed replies not yet given to the flusher
	done    int        // slots to free once late is written
	writing bool       // a flusher runs
}

// serve reads messages until the client ends, errs or idles.
func (c *tcpConn) serve(handlers *handlers) {
	defer c.finish()
	h, made := handlers.handler(nil, 0)
	req := Request{Client: c.client, Local: c.local, Transport: TCP, from: c}
	messages := &c.counters.TCPMessages
	if c.secure {
		req.Transport, req.TLS, messages = TLS, c.state, &c.counters.TLSMessages
	}
	c.in = make([]byte, 0, firstRead)
	for c.fill() {
		h, made = handlers.handler(h, made)
		for msg, ok := c.next(); ok; msg, ok = c.next() {
			if len(msg) == 0 || !c.acquire() {
				return
			}
			messages.Inc()
			req.Msg, c.kept = msg, false
			if !c.answer(h, &req) {
				return
			}
		}
		if !c.flush() {
			return
		}
	}
}

// answer lets the handler append to out behind room for the length.
func (c *tcpConn) answer(h Handler, req *Request) bool {
	base := len(c.out)
	c.out = append(c.out, 0, 0)
	reply := h.Serve(req, c.out[base+2:base+2])
	if c.kept {
		c.out = c.out[:base]
		return true
	}
	<-c.slots
	if len(reply) == 0 || len(reply) > 0xFFFF {
		c.out = c.out[:base]
		return true
	}
	// The reply stands in place, or it outgrew the buffer and moved.
	c.out = append(c.out[:base+2], reply...)
	binary.BigEndian.PutUint16(c.out[base:], uint16(len(reply)))
	return len(c.out) < flushAt || c.flush()
}

// next cuts the next whole message from what was read.
func (c *tcpConn) next() ([]byte, bool) {
	rest := c.in[c.from:]
	if len(rest) < 2 {
		return nil, false
	}
	size := 2 + int(binary.BigEndian.Uint16(rest))
	if len(rest) < size {
		return nil, false
	}
	c.from += size
	return rest[2:size], true
}

// fill reads until there is a whole message. The clock runs from the last
// one: a client that sends octet by octet gains nothing by it.
func (c *tcpConn) fill() bool {
	c.arm()
	for {
		rest := c.in[c.from:]
		if len(rest) >= 2 && len(rest) >= 2+int(binary.BigEndian.Uint16(rest)) {
			return true
		}
		c.makeRoom(rest)
		n, err := c.net.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		if n > 0 {
			continue
		}
		if err == nil || !c.again(err) {
			return false
		}
	}
}

// arm sets the read deadline, unless the listener is stopping: then it has
// passed already and stays so.
func (c *tcpConn) arm() {
	_ = c.net.SetReadDeadline(time.Now().Add(c.limits.Idle))
	select {
	case <-c.stopping:
		_ = c.net.SetReadDeadline(time.Now())
	default:
	}
}

// again reports whether reading goes on after an error: only for a client
// that waits for answers of ours.
func (c *tcpConn) again(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	select {
	case <-c.stopping:
		return false
	default:
	}
	if len(c.slots) > 0 && len(c.in) == c.from {
		c.arm()
		return true
	}
	c.counters.TCPIdleClosed.Inc()
	return false
}

// makeRoom moves the unread part to the front, of a larger buffer where a
// message needs it.
func (c *tcpConn) makeRoom(rest []byte) {
	need := firstRead
	if len(rest) >= 2 {
		need = max(need, 2+int(binary.BigEndian.Uint16(rest)))
	}
	if cap(c.in) < need || (cap(c.in) > need && len(rest) == 0 && cap(c.in) > firstRead) {
		c.in = append(make([]byte, 0, need), rest...)
	} else {
		c.in = append(c.in[:0], rest...)
	}
	c.from = 0
}

// acquire takes a slot. Where all are taken it first sends what is ready,
// then waits for one; meanwhile nothing more is read.
func (c *tcpConn) acquire() bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
	}
	if !c.flush() {
		return false
	}
	c.slots <- struct{}{}
	return true
}

// flush sends what was gathered.
func (c *tcpConn) flush() bool {
	if len(c.out) == 0 {
		return true
	}
	ok := c.write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 2*flushAt {
		c.out = nil
	}
	return ok
}

// write sends whole messages. Two goroutines may be here at once: net.Conn
// does not mix their octets.
func (c *tcpConn) write(b []byte) bool { return c.send(b, c.limits.Write) == nil }

func (c *tcpConn) send(b []byte, within time.Duration) error {
	_ = c.net.SetWriteDeadline(time.Now().Add(within))
	_, err := c.net.Write(b)
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.counters.TCPSlowClosed.Inc()
	}
	_ = c.raw.Close() // the frame is broken; nothing can follow it
	return fmt.Errorf("send: %w", err)
}

// part sends a framed message of a reply that has many. Other replies go out
// between them. Who reads slower than the limit is cut off.
func (c *tcpConn) part(ctx context.Context, frame []byte) error {
	if err := ctx.Err(); err != nil {
		_ = c.raw.Close() // half of a reply looks like a whole one otherwise
		return fmt.Errorf("reply of many messages: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	defer stop()
	return c.send(frame, c.limits.Stream)
}

// keep implements keeper: the slot goes with the request.
func (c *tcpConn) keep(r *Request) *Pending {
	c.kept = true
	p := &Pending{Request: *r}
	p.Msg = append([]byte(nil), r.Msg...)
	p.from = nil
	p.send, p.stream = c.reply, c
	return p
}

// reply queues a late reply and sees that a flusher runs.
func (c *tcpConn) reply(msg []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(msg) > 0 && len(msg) <= 0xFFFF {
		c.late = binary.BigEndian.AppendUint16(c.late, uint16(len(msg)))
		c.late = append(c.late, msg...)
	}
	c.done++
	if !c.writing {
		c.writing = true
		c.flusher.Go(c.flushLate)
	}
}

func (c *tcpConn) flushLate() {
	for {
		c.mu.Lock()
		b, done := c.late, c.done
		c.late, c.done = nil, 0
		if done == 0 {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if len(b) > 0 {
			c.write(b)
		}
		for range done {
			<-c.slots
		}
	}
}

// finish sends what is left, waits for kept requests and closes.
func (c *tcpConn) finish() {
	c.flush()
	for range cap(c.slots) {
		c.slots <- struct{}{}
	}
	c.flusher.Wait()
	_ = c.net.Close()
}
