package deliver

import (
	"errors"
	"io"
)

// content is what must be known about a message before MAIL is said.
type content struct {
	header8 bool // octets beyond ASCII in the header
	body8   bool // in the body
}

var errFraming = errors.New("bare CR, LF or NUL")

// scan reads the message once. It refuses what another server could read as
// the end of the message or of a line: we check what we send, not only what we
// take (RFC 5321, Section 2.3.8).
func scan(r io.Reader, headerLen int) (content, error) {
	var c content
	buf := make([]byte, 32<<10)
	at, prev := 0, byte(0)
	for {
		n, err := r.Read(buf)
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
// dot after it (RFC 5321, Section 4.5.2). Lines end in CRLF; scan saw to it.
func stuff(w io.Writer, r io.Reader) error {
	in := make([]byte, 32<<10)
	out := make([]byte, 0, 64<<10)
	last := byte('\n')
	for {
		n, err := r.Read(in)
		out = out[:0]
		for _, b := range in[:n] {
			if b == '.' && last == '\n' {
				out = append(out, '.')
			}
			out = append(out, b)
			last = b
		}
		if _, werr := w.Write(out); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return &readError{err}
		}
	}
	end := ".\r\n"
	if last != '\n' {
		end = "\r\n.\r\n"
	}
	_, err := io.WriteString(w, end)
	return err
}

// readError is a message that could not be read to its end: the connection must
// be dropped, lest half of it be taken for all.
type readError struct{ err error }

func (e *readError) Error() string { return "read message: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }
