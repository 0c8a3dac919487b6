// Package message reads and edits the header block of a mail message (RFC
// 5322, with the UTF-8 of RFC 6532) over its bytes: fields are ranges of the
// block as received, edits drop whole fields or put new ones in front, and the
// body is never looked at. It finds the author domains that DMARC judges (RFC
// 9989), removes trace that claims to be ours (RFC 8601, Section 5), counts
// hops, and writes the fields that Postern adds so that no value can break out
// of its line.
//
// It is pure: no disk, socket or clock, no goroutine. Every parser here reads
// foreign bytes; each is bounded and fuzzed.
package message

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Bounds on what is read.
const (
	MaxHeader = 256 << 10 // octets of a header block
	MaxFields = 1000      // fields in it
	MaxHops   = 50        // Received fields; departs from RFC 5321, Section 6.3 (100): no honest path is that long, and each hop of a loop costs
	MaxLine   = 998       // octets of a line that we write, without CRLF (RFC 5322, Section 2.1.1)
)

// The ways in which a header block cannot be read.
var (
	ErrTooLarge  = errors.New("header larger than 256 KiB")
	ErrTooMany   = errors.New("more than 1000 header fields")
	ErrMalformed = errors.New("malformed header")
)

// Field is one header field as received, with its folding and final CRLF.
type Field struct {
	raw   []byte
	name  int // end of the name
	colon int
}

// Name is the field's name as spelled.
func (f Field) Name() string { return string(f.raw[:f.name]) }

// Is compares the field's name in any letter case.
func (f Field) Is(name string) bool {
	return len(name) == f.name && strings.EqualFold(string(f.raw[:f.name]), name)
}

// Raw is the whole field with its CRLF. The caller must not change it.
func (f Field) Raw() []byte { return f.raw }

// Value is what follows the colon, unfolded (RFC 5322, Section 2.2.3) and
// without the white space around it. The zero Field has none.
func (f Field) Value() string {
	if len(f.raw) == 0 {
		return ""
	}
	v := bytes.ReplaceAll(f.raw[f.colon+1:], []byte("\r\n"), nil)
	return string(bytes.Trim(v, " \t"))
}

// Header is a parsed header block. It does not change; edits give new ones.
type Header struct {
	raw    []byte
	fields []Field
}

// Parse reads a header block: lines that end in CRLF, without the empty line
// that ends it. A line that is neither a field nor the continuation of one is
// an error: programs disagree about whether the header ends there, and what
// one reads as From the next must not read as body. raw must not change
// afterwards.
func Parse(raw []byte) (*Header, error) {
	if len(raw) > MaxHeader {
		return nil, ErrTooLarge
	}
	h := &Header{raw: raw}
	for line, rest := 1, raw; len(rest) > 0; line++ {
		end := fieldEnd(rest)
		if end < 0 {
			return nil, fmt.Errorf("%w: line %d: no CRLF", ErrMalformed, line)
		}
		f, err := parseField(rest[:end])
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrMalformed, line, err)
		}
		if len(h.fields) == MaxFields {
			return nil, ErrTooMany
		}
		h.fields = append(h.fields, f)
		line += bytes.Count(rest[:end], []byte("\n")) - 1
		rest = rest[end:]
	}
	return h, nil
}

// fieldEnd is the length of the field at the start of b, continuation lines
// included, or -1 if its last line has no end.
func fieldEnd(b []byte) int {
	at := 0
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
		if at == len(b) || b[at] != ' ' && b[at] != '\t' {
			return at
		}
	}
}

func parseField(raw []byte) (Field, error) {
	for i, c := range raw {
		switch {
		case c == 0:
			return Field{}, errors.New("NUL")
		case c == '\n' && (i == 0 || raw[i-1] != '\r'):
			return Field{}, errors.New("bare LF")
		case c == '\r' && (i+1 == len(raw) || raw[i+1] != '\n'):
			return Field{}, errors.New("bare CR")
		}
	}
	colon := bytes.IndexByte(raw, ':')
	if colon <= 0 {
		return Field{}, errors.New("not a field")
	}
	// White space before the colon is obsolete syntax (RFC 5322, Section
	// 4.5), and the way to hide a second From from a reader that does not know.
	name := len(bytes.TrimRight(raw[:colon], " \t"))
	for _, c := range raw[:name] {
		if c <= ' ' || c >= 0x7f {
			return Field{}, errors.New("not a field name")
		}
	}
	if name == 0 {
		return Field{}, errors.New("not a field")
	}
	return Field{raw: raw, name: name, colon: colon}, nil
}

// Bytes is the block as it goes to the spool: CRLF lines, no empty line. The
// caller must not change it.
func (h *Header) Bytes() []byte { return h.raw }

// Fields lists the fields, topmost first. The caller must not change it.
func (h *Header) Fields() []Field { return h.fields }

// Count says how many fields of that name there are.
func (h *Header) Count(name string) int {
	n := 0
	for _, f := range h.fields {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// First returns the topmost field of that name.
func (h *Header) First(name string) (Field, bool) {
	for _, f := range h.fields {
		if f.Is(name) {
			return f, true
		}
	}
	return Field{}, false
}

// Hops counts the Received fields. At MaxHops and beyond the message loops.
func (h *Header) Hops() int { return h.Count("Received") }

// Without returns h less the fields that drop picks, and how many they were.
func (h *Header) Without(drop func(Field) bool) (*Header, int) {
	out := &Header{raw: make([]byte, 0, len(h.raw)), fields: make([]Field, 0, len(h.fields))}
	dropped := 0
	for _, f := range h.fields {
		if drop(f) {
			dropped++
			continue
		}
		start := len(out.raw)
		out.raw = append(out.raw, f.raw...)
		f.raw = out.raw[start:len(out.raw):len(out.raw)]
		out.fields = append(out.fields, f)
	}
	if dropped == 0 {
		return h, 0
	}
	return out, dropped
}

// Prepend returns h with the given fields, each ending in CRLF, in front. The
// result is parsed anew, so that a malformed field is an error here and not a
// surprise to the next reader.
func (h *Header) Prepend(fields ...string) (*Header, error) {
	raw := make([]byte, 0, len(h.raw)+1024)
	for _, f := range fields {
		raw = append(raw, f...)
	}
	return Parse(append(raw, h.raw...))
}
