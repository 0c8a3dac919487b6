package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"postern/internal/mail/smtpline"
)

// chunkReader gives a message that comes in chunks (RFC 3030) as one. What must
// not be in a message that ends with a dot must not be in one that does not:
// it is handed on with DATA.
type chunkReader struct {
	c      *conn
	left   int64 // octets of this chunk that are still to come
	last   bool  // it is the last one
	chunks int

	size  int64 // octets of the message so far
	line  int   // octets of the line so far
	cr    bool  // the last octet was a CR
	begun time.Time
	err   error             // what Read returns from now on; io.EOF after a whole message
	hang  error             // of waiting for the next command
	next  *smtpline.Command // that came in place of a chunk
}

var errAborted = errors.New("the message was given up")

// Read implements io.Reader.
func (d *chunkReader) Read(p []byte) (int, error) {
	for d.err == nil && len(p) > 0 {
		if d.left > 0 {
			n, err := d.read(p)
			d.err = err
			return n, err
		}
		switch {
		case !d.last:
			d.err = d.nextChunk()
		case d.line > 0 || d.cr:
			d.err = ErrFraming // departs from RFC 3030: a message ends with a line's end
		default:
			d.err = io.EOF
		}
	}
	return 0, d.err
}

// read takes what is there of the chunk.
func (d *chunkReader) read(p []byte) (int, error) {
	if err := d.fill(); err != nil {
		return 0, err
	}
	in := d.c.pipe.in.held()
	in = in[:min(int64(len(in)), d.left, int64(len(p)))]
	for _, b := range in {
		if b == 0 || (b == '\n') != d.cr {
			return 0, ErrFraming
		}
		switch {
		case b == '\n':
			d.line = 0
		case b != '\r':
			d.line++
		}
		d.cr = b == '\r'
		if d.line > d.c.conf.Limits.DataLine {
			return 0, ErrLongLine
		}
	}
	if d.size+int64(len(in)) > d.c.conf.MaxSize {
		return 0, ErrTooLarge
	}
	n := copy(p, in)
	d.took(n)
	d.size += int64(n)
	return n, nil
}

func (d *chunkReader) took(n int) {
	d.c.pipe.in.take(n)
	d.left -= int64(n)
}

func (d *chunkReader) fill() error {
	if d.begun.IsZero() {
		d.begun = time.Now()
	}
	return d.c.await(d.begun, d.size)
}

// nextChunk answers the chunk that has come whole and waits for another.
func (d *chunkReader) nextChunk() error {
	c := d.c
	c.write(&smtpline.Reply{Code: 250, Enhanced: "2.0.0", Text: fmt.Sprintf("%d octets so far", d.size)})
	for !c.broken {
		line, err := c.pipe.line(c.conf.Limits.Command, false)
		if err != nil {
			d.hang = err
			return ErrTruncated
		}
		cmd, r := c.parse(line)
		switch {
		case r != nil:
		case cmd.Verb == smtpline.Bdat:
			return d.begin(cmd.Arg)
		case cmd.Verb == smtpline.Noop:
			r = ok("nothing done")
		case cmd.Verb == smtpline.Rset, cmd.Verb == smtpline.Quit, cmd.Verb == smtpline.Ehlo, cmd.Verb == smtpline.Helo:
			d.next = &cmd
			return errAborted
		default:
			r = chunkFirst
		}
		c.answer(r)
	}
	return ErrTruncated
}

// begin takes the next chunk.
func (d *chunkReader) begin(arg string) error {
	chunk, r := d.c.chunk(arg)
	if d.chunks++; r == nil && d.chunks >= d.c.conf.Limits.Chunks {
		d.c.srv.Counters.Limited.Inc()
		r = tooManyChunks
	}
	if r != nil {
		d.c.answer(r)
		return ErrTruncated
	}
	d.left, d.last = chunk.Size, chunk.Last
	return nil
}

// drain reads what is left of a chunk that is not wanted.
func (d *chunkReader) drain() bool {
	for d.left > 0 {
		if err := d.fill(); err != nil {
			d.err = err
			return false
		}
		n := min(int64(len(d.c.pipe.in.held())), d.left)
		d.took(int(n))
		d.size += n // so that it may take its time
	}
	return true
}

// bdat takes a message in chunks, of which this is the first.
func (c *conn) bdat(ctx context.Context, arg string) *smtpline.Reply {
	chunk, r := c.chunk(arg)
	if r != nil {
		return r
	}
	d := &chunkReader{c: c, left: chunk.Size, last: chunk.Last}
	defer c.pipe.in.giveBack(&c.srv.blocks)
	if r = c.noMessage(); r != nil {
		whole := d.drain()
		c.hasSentEnough(d.size) // refused or not, they came
		if !whole {
			return c.cutShort(d.err)
		}
		return r
	}
	r = c.settleChunks(d, c.session.Data(ctx, d))
	c.hasSentEnough(d.size)
	c.endMessage(r)
	if d.next != nil && !c.broken {
		return c.dispatch(ctx, *d.next)
	}
	return r
}

// chunk reads the command. What it refuses ends the connection: the octets that
// follow would be taken for commands.
func (c *conn) chunk(arg string) (smtpline.Chunk, *smtpline.Reply) {
	if !c.conf.Chunking {
		return smtpline.Chunk{}, noChunks
	}
	chunk, r := smtpline.ParseBdat(arg)
	switch {
	case r != nil:
		closed := *r
		closed.Close = true
		return chunk, &closed
	case chunk.Size > c.conf.MaxSize+1<<16:
		return chunk, hugeChunk
	}
	return chunk, nil
}

// settleChunks makes the session's reply and the reader's state into the one
// answer to the chunk that was read last.
func (c *conn) settleChunks(d *chunkReader, r *smtpline.Reply) *smtpline.Reply {
	switch {
	case c.broken:
		return nil
	case d.hang != nil:
		c.hangUp(d.hang)
		c.broken = true
		return nil
	case d.next != nil:
		return errReply(d.err) // which nobody is told: the command is answered
	case errors.Is(d.err, io.EOF):
		if r == nil {
			r = ok("accepted")
		}
		return r
	case d.err == nil && r.Positive(): // accepted a message that it did not read
		r = internal
	case errors.Is(d.err, ErrTooLarge):
		r = largeMsg
	case errors.Is(d.err, ErrLongLine):
		r = longLine
	case d.err != nil:
		return c.cutShort(d.err)
	}
	if !d.drain() {
		return c.cutShort(d.err)
	}
	return r
}

// errReply is a refusal for the counters alone.
func errReply(err error) *smtpline.Reply {
	return &smtpline.Reply{Code: 451, Enhanced: "4.3.0", Reason: "aborted", Cause: err}
}

// cutShort is the answer where the message came to an end that the connection
// does not outlive.
func (c *conn) cutShort(err error) *smtpline.Reply {
	switch {
	case errors.Is(err, ErrFraming):
		c.srv.Counters.BadFraming.Inc()
		return badData
	case errors.Is(err, ErrSlow):
		c.srv.Counters.TimedOut.Inc()
		return slowData
	}
	c.broken = true // nobody is there to read a reply
	return closing(421, "4.4.2", "truncated", "connection lost")
}

var (
	noChunks      = closing(502, "5.5.1", "not-implemented", "chunks are not taken here")
	hugeChunk     = closing(552, "5.3.4", "too-large", "the message is larger than allowed")
	tooManyChunks = closing(421, "4.7.0", "chunks", "too many chunks, send larger ones")
	chunkFirst    = smtpline.Refuse(503, "5.5.1", "sequence", "the next chunk first, or RSET")
)
