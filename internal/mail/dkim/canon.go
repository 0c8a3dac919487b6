package dkim

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
)

// canon is a canonicalization (RFC 6376, Section 3.4).
type canon uint8

// The canonicalizations. What is not said is simple.
const (
	simple canon = iota
	relaxed
)

func canonOf(word string) (canon, bool) {
	switch word {
	case "", "simple":
		return simple, true
	case "relaxed":
		return relaxed, true
	}
	return simple, false
}

var crlf = []byte("\r\n")

// field is one header field as it is hashed, with its CRLF (RFC 6376, Sections
// 3.4.1 and 3.4.2).
func (c canon) field(raw []byte) []byte {
	if c == simple {
		return raw
	}
	name, value, _ := bytes.Cut(raw, []byte(":"))
	out := append(bytes.ToLower(bytes.TrimRight(name, space)), ':')
	for i, word := range bytes.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }) {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, word...)
	}
	return append(out, crlf...)
}

// bodyHash is the hash over a body in one canonicalization. Empty lines count
// once something follows them; a number of them is kept, never they themselves,
// so neither memory nor time grows with how many there are.
type bodyHash struct {
	how   canon
	sum   hash.Hash
	out   *bufio.Writer
	ends  int  // ends of lines that nothing followed yet
	cr    bool // a CR that may be half of one
	blank bool // white space that nothing followed yet, in this line (relaxed)
	any   bool // something was hashed
}

func newBodyHash(how canon) *bodyHash {
	sum := sha256.New()
	return &bodyHash{how: how, sum: sum, out: bufio.NewWriter(sum)}
}

// Write takes the next piece of the body.
func (b *bodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if b.cr {
			b.cr = false
			if p[0] == '\n' {
				b.ends++
				b.blank = false
				p = p[1:]
				continue
			}
			b.text([]byte{'\r'})
		}
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			b.text(p)
			break
		}
		b.text(p[:i])
		p, b.cr = p[i+1:], true
	}
	return n, nil
}

// text takes a piece of a line.
func (b *bodyHash) text(p []byte) {
	for len(p) > 0 {
		n := len(p)
		if b.how == relaxed {
			if p[0] == ' ' || p[0] == '\t' {
				p, b.blank = p[1:], true
				continue
			}
			if i := bytes.IndexAny(p, " \t"); i >= 0 {
				n = i
			}
		}
		for ; b.ends > 0; b.ends-- {
			_, _ = b.out.Write(crlf) // a hash takes everything
		}
		if b.blank {
			_ = b.out.WriteByte(' ')
			b.blank = false
		}
		_, _ = b.out.Write(p[:n])
		b.any = true
		p = p[n:]
	}
}

// finish is the hash. Empty lines at the end do not count, and the last line
// ends; of nothing at all simple makes one line (RFC 6376, Section 3.4.3), and
// relaxed nothing (Section 3.4.4).
func (b *bodyHash) finish() []byte {
	if b.cr {
		b.text([]byte{'\r'})
	}
	if b.any || b.how == simple {
		_, _ = b.out.Write(crlf)
	}
	_ = b.out.Flush()
	return b.sum.Sum(nil)
}

// hashBody reads a body once for all signatures.
func hashBody(ctx context.Context, sigs []*signature, body io.Reader) (map[canon][]byte, error) {
	wanted := map[canon]*bodyHash{}
	for _, s := range sigs {
		if wanted[s.bodyCanon] == nil {
			wanted[s.bodyCanon] = newBodyHash(s.bodyCanon)
		}
	}
	buf := make([]byte, 32<<10)
	for {
		if ctx.Err() != nil {
			return nil, errLate
		}
		n, err := body.Read(buf)
		for _, b := range wanted {
			_, _ = b.Write(buf[:n])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	sums := map[canon][]byte{}
	for how, b := range wanted {
		sums[how] = b.finish()
	}
	return sums, nil
}
