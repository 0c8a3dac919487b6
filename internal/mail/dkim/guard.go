package dkim

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// maxBlank is how many blank lines in a row a body may hold and still be
// verified. The library keeps them all in memory, and with the simple
// canonicalization copies them at every read.
const maxBlank = 10_000

// Why a body was not read to its end.
var (
	errBlank = errors.New("body holds thousands of blank lines in a row")
	errLate  = errors.New("time-out")
)

// guard reads a body for the library and ends it early with the context, and at
// too many blank lines. If nothing but empty lines follows, that changes nothing: neither
// canonicalization counts those at the end of a body (RFC 6376, Sections 3.4.3
// and 3.4.4). Errors too become an early end, since the library's goroutines
// would outlive one; err tells afterwards.
type guard struct {
	ctx   context.Context // of the one Verify this serves; a Read takes none
	r     io.Reader
	err   error
	ended bool
	blank int  // lines in a row without anything but white space
	text  bool // the current line holds something else
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	if g.ended {
		return 0, io.EOF
	}
	n, err := g.read(p)
	if err != nil {
		g.ended = true
		if !errors.Is(err, io.EOF) {
			g.err = err
		}
	}
	for i, c := range p[:n] {
		switch {
		case c == '\n' && g.text:
			g.blank, g.text = 0, false
		case c == '\n':
			if g.blank++; g.blank > maxBlank {
				g.finish(p[i+1 : n])
				return i + 1, nil
			}
		case c != '\r' && c != ' ' && c != '\t':
			g.text = true
		}
	}
	if n == 0 && g.ended {
		return 0, io.EOF
	}
	return n, nil
}

// read reads on while there is time.
func (g *guard) read(p []byte) (int, error) {
	if g.ctx.Err() != nil {
		return 0, errLate
	}
	return g.r.Read(p)
}

// finish ends the body and looks whether anything but empty lines is left out.
func (g *guard) finish(rest []byte) {
	g.ended = true
	buf := make([]byte, 32<<10)
	for g.err == nil {
		if len(bytes.Trim(rest, "\r\n")) > 0 {
			g.err = errBlank
			return
		}
		n, err := g.read(buf)
		rest = buf[:n]
		if err != nil && n == 0 {
			if !errors.Is(err, io.EOF) {
				g.err = err
			}
			return
		}
	}
}
