package deliver

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
)

// content is what must be known about a message before MAIL is said.
type content struct {
	header8 bool // octets beyond ASCII in the header
	body8   bool // in the body
	sum     uint32
}

var errFraming = errors.New("bare CR, LF or NUL")

// scan reads the message once. It refuses what another server could read as
// the end of the message or of a line: we check what we send, not only what we
// take (RFC 5321, Section 2.3.8). size is what r holds; less is errCut.
func scan(r io.Reader, headerLen int, size int64) (content, error) {
	var c content
	buf := make([]byte, blockOf(size))
	at, prev := 0, byte(0)
	for {
		n, err := r.Read(buf)
		c.sum = crc32.Update(c.sum, castagnoli, buf[:n])
		for _, b := range buf[:n] {
			if b == 0 || (b == '\n') != (prev == '\r') {
				return c, errFraming
			}
			if b >= 0x80 {
				if at < headerLen {
					c.header8 = true
				} else {
					c.body8 = true
				}
			}
			prev = b
			at++
		}
		if errors.Is(err, io.EOF) {
			if int64(at) != size {
				return c, errCut
			}
			if prev == '\r' {
				return c, errFraming
			}
			return c, nil
		}
		if err != nil {
			return c, err
		}
	}
}

// stuff writes the message with its dots doubled at line starts and the final
// dot after it (RFC 5321, Section 4.5.2). Lines end in CRLF; scan saw to it. A
// message of one block goes out in one write, final dot and all. size is what r
// holds, as far as known.
func stuff(w io.Writer, r io.Reader, size int64) error {
	in := make([]byte, blockOf(size))
	out := make([]byte, 0, len(in)+64) // some dots and the end, mostly
	last := byte('\n')
	for {
		n, err := io.ReadFull(r, in)
		out = double(out[:0], in[:n], last)
		if n > 0 {
			last = in[n-1]
		}
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if ended {
			if last != '\n' {
				out = append(out, "\r\n"...)
			}
			out = append(out, ".\r\n"...)
		}
		if len(out) > 0 {
			if _, werr := w.Write(out); werr != nil {
				return werr
			}
		}
		switch {
		case ended:
			return nil
		case err != nil:
			return &readError{err}
		}
	}
}

// blockOf is the room to read a message of a size with: all of it and one octet
// more, by which its end shows, or a block.
func blockOf(size int64) int { return int(min(max(size, 0)+1, 32<<10)) }

// double appends p, which came after last, with each dot at the start of a line
// twice.
func double(out, p []byte, last byte) []byte {
	if last == '\n' && len(p) > 0 && p[0] == '.' {
		out = append(out, '.')
	}
	for {
		i := bytes.Index(p, []byte("\n."))
		if i < 0 {
			return append(out, p...)
		}
		out = append(append(out, p[:i+1]...), '.')
		p = p[i+1:]
	}
}

// readError is a message that could not be read to its end: the connection must
// be dropped, lest half of it be taken for all.
type readError struct{ err error }

func (e *readError) Error() string { return "read message: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }
