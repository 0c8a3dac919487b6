package smtpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"postern/internal/mail/smtpline"
)

// spot is where in a line of the message the reader stands.
type spot uint8

const (
	lineStart spot = iota
	afterDot       // a dot at the line's start, not handed on
	afterDotCR
	inLine
	afterCR // a CR in or at the start of a line, not handed on yet
	owesLF  // the CR was handed on, its LF is next in the buffer
)

// dataReader gives a message as it was meant: dots at the start of lines taken
// off (RFC 5321, Section 4.5.2), ended by CRLF.CRLF and by nothing else.
type dataReader struct {
	c     *conn
	at    spot
	size  int64 // octets of the message so far (RFC 1870, Section 5)
	line  int   // octets of the line so far
	begun time.Time
	err   error // what Read returns from now on; io.EOF after a whole message
	ended bool  // CRLF.CRLF has been read
	lost  bool  // the message will not be kept, so its lines no longer matter
}

// Read sends 354 the first time. It never returns more than a message of
// MaxSize.
func (d *dataReader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.begun.IsZero() {
		d.begun = time.Now()
		d.c.write(&smtpline.Reply{Code: 354, Text: "send the message, end with a dot on a line of its own"})
	}
	for len(p) > 0 {
		if err := d.fill(); err != nil {
			d.err = err
			return 0, err
		}
		n, err := d.decode(p)
		d.size += int64(n)
		if d.size > d.c.conf.MaxSize && (err == nil || d.ended) {
			d.err = ErrTooLarge
			return 0, d.err
		}
		d.err = err
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

func (d *dataReader) fill() error { return d.c.await(d.begun, d.size) }

// await waits until there is something of a message to read. A client must both
// send now and then and keep up an average.
func (c *conn) await(begun time.Time, size int64) error {
	p := c.pipe
	if p.pending() {
		return nil
	}
	if err := p.flush(); err != nil {
		return ErrTruncated
	}
	p.in.borrow(&c.srv.blocks)
	l := &c.conf.Limits
	pace := l.DataRate
	if c.info.User == "" && c.conf.guard.crowded() {
		pace *= crowdedPace
	}
	late := begun.Add(l.DataGrace + time.Duration(size/pace)*time.Second)
	wait := min(l.Data, time.Until(late))
	if wait <= 0 {
		return ErrSlow
	}
	err := p.arm(wait, false)
	if err == nil {
		err = p.in.more(blockRoom)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errOverTime):
		return ErrSlow
	}
	return ErrTruncated
}

// decode moves buffered input to p and returns how much it put there.
func (d *dataReader) decode(p []byte) (n int, err error) {
	in := d.c.pipe.in.held()
	i := 0
	defer func() { d.c.pipe.in.take(i) }()
	for i < len(in) && n < len(p) && err == nil {
		b := in[i]
		switch d.at {
		case inLine, lineStart:
			if d.at == lineStart && b == '.' {
				d.at = afterDot
				i++
				continue
			}
			var k int
			k, err = d.run(p[n:], in[i:])
			i, n = i+k, n+copy(p[n:], in[i:i+k])
			if k == 0 && err == nil { // in[i] is a CR
				d.at = afterCR
				i++
			}
		case afterDot:
			// A dot before other characters is the client's stuffing.
			d.at = inLine
			if b == '\r' {
				d.at = afterDotCR
				i++
			}
		case afterDotCR:
			if b != '\n' {
				return n, ErrFraming
			}
			i++
			d.ended = true
			err = io.EOF
		case afterCR:
			if b != '\n' {
				return n, ErrFraming
			}
			p[n] = '\r'
			n++
			d.at = owesLF
		case owesLF:
			p[n] = '\n'
			n++
			i++
			d.at, d.line = lineStart, 0
		}
	}
	return n, err
}

// run returns how many octets of in are plain text that fits into p: up to a
// CR, which it leaves alone.
func (d *dataReader) run(p, in []byte) (int, error) {
	in = in[:min(len(in), len(p))]
	if cr := bytes.IndexByte(in, '\r'); cr >= 0 {
		in = in[:cr]
	}
	if bytes.IndexByte(in, '\n') >= 0 || bytes.IndexByte(in, 0) >= 0 {
		return 0, ErrFraming
	}
	if d.line += len(in); d.line > d.c.conf.Limits.DataLine && !d.lost {
		return 0, ErrLongLine
	}
	if len(in) > 0 {
		d.at = inLine
	}
	return len(in), nil
}

// drain reads what is left of a message that will not be kept, so that the
// client is there to read why. It reports whether the end came, within as much
// as a message may hold.
func (d *dataReader) drain() bool {
	scratch := make([]byte, 4096)
	d.lost = true
	for left := d.c.conf.MaxSize + 1<<16; left > 0 && !d.ended; {
		if err := d.fill(); err != nil {
			d.err = err
			return false
		}
		n, err := d.decode(scratch)
		d.size += int64(n)
		left -= int64(n)
		if err != nil && !d.ended {
			d.err = err
			return false
		}
	}
	return d.ended
}

// data runs DATA to its end. Whatever the session says, a message that did not
// arrive whole is refused.
func (c *conn) data(ctx context.Context) *smtpline.Reply {
	if r := c.noMessage(); r != nil {
		return r
	}
	d := &dataReader{c: c}
	r := c.settle(d, c.session.Data(ctx, d))
	c.pipe.in.giveBack(&c.srv.blocks)
	c.hasSentEnough(d.size)
	c.endMessage(r)
	return r
}

// noMessage says why none can come now.
func (c *conn) noMessage() *smtpline.Reply {
	switch {
	case !c.inMail:
		return mailFirst
	case c.rcpts == 0 && c.rcptsRefused > 0:
		return noValidRcpt
	case c.rcpts == 0:
		return rcptFirst
	}
	return nil
}

// endMessage ends the transaction and counts what came of it.
func (c *conn) endMessage(r *smtpline.Reply) {
	c.endTransaction()
	if c.broken || !r.Positive() {
		c.srv.Counters.MessagesRefused.Inc()
		return
	}
	c.srv.Counters.Messages.Inc()
	c.messages++
	c.earn()
	c.conf.guard.befriend(c.info.Remote.Addr(), time.Now())
	c.commands = 0
}

// settle makes the session's reply and the reader's state into the one answer.
func (c *conn) settle(d *dataReader, r *smtpline.Reply) *smtpline.Reply {
	if d.begun.IsZero() { // 354 was never sent, so this is the reply to DATA
		if r.Positive() {
			return internal
		}
		return r
	}
	if d.err == nil || errors.Is(d.err, ErrTooLarge) || errors.Is(d.err, ErrLongLine) {
		d.drain()
	}
	switch {
	case d.err == nil && r.Positive(): // accepted a message that it did not read
		r = internal
	case d.err == nil || errors.Is(d.err, io.EOF):
		if r == nil {
			r = ok("accepted")
		}
	case errors.Is(d.err, ErrTooLarge):
		r = largeMsg
	case errors.Is(d.err, ErrLongLine):
		r = longLine
	default:
		return c.cutShort(d.err)
	}
	if !d.ended && !r.Close { // the rest of the message must never be taken for commands
		closed := *r
		closed.Close = true
		r = &closed
	}
	return r
}
