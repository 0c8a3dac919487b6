package spool

import "io"

// concat reads a header, the empty line and a body as one message.
type concat struct {
	header []byte
	body   io.ReaderAt
	length int64 // of the body
}

func (c *concat) size() int64 { return int64(len(c.header)) + 2 + c.length }

func (c *concat) reader() *io.SectionReader { return io.NewSectionReader(c, 0, c.size()) }

// ReadAt implements io.ReaderAt.
func (c *concat) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if h := int64(len(c.header)); off < h {
		n = copy(p, c.header[off:])
	}
	if at := off + int64(n) - int64(len(c.header)); at >= 0 && at < 2 && n < len(p) {
		n += copy(p[n:], "\r\n"[at:])
	}
	if n == len(p) {
		return n, nil
	}
	at := off + int64(n) - int64(len(c.header)) - 2
	if at >= c.length {
		return n, io.EOF
	}
	rest := p[n:]
	short := int64(len(rest)) > c.length-at
	if short {
		rest = rest[:c.length-at]
	}
	m, err := c.body.ReadAt(rest, at)
	if m == len(rest) {
		err = nil
		if short {
			err = io.EOF
		}
	}
	return n + m, err
}
