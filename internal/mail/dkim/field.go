package dkim

import (
	"bytes"
	"crypto/sha256"
	"strings"
)

// fields is a header block with its fields by name.
type fields struct {
	raw   [][]byte
	index map[string][]int // of raw, topmost first, by name in lower case
}

func readFields(header []byte) *fields {
	f := &fields{index: map[string][]int{}}
	for at := 0; at < len(header); {
		n := fieldLen(header[at:])
		raw := header[at : at+n]
		if name, _, ok := bytes.Cut(raw, []byte(":")); ok {
			key := strings.ToLower(string(bytes.TrimRight(name, space)))
			f.index[key] = append(f.index[key], len(f.raw))
			f.raw = append(f.raw, raw)
		}
		at += n
	}
	return f
}

// fieldLen is the length of the field at the start of b with its folding.
func fieldLen(b []byte) int {
	at := 0
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return len(b)
		}
		at += i + 1
		if at == len(b) || b[at] != ' ' && b[at] != '\t' {
			return at
		}
	}
}

// all is the fields of a name, topmost first.
func (f *fields) all(name string) [][]byte {
	var out [][]byte
	for _, i := range f.index[name] {
		out = append(out, f.raw[i])
	}
	return out
}

// hash is over what a signature signs of the header (RFC 6376, Section 3.7). A
// name that stands more often in h= than in the header signs the absence of
// another (Section 5.4); fields of one name are taken from the bottom up
// (Section 5.4.2).
func (f *fields) hash(s *signature) []byte {
	sum := sha256.New()
	used := map[string]int{}
	for _, name := range s.names {
		have := f.index[name]
		at := len(have) - 1 - used[name]
		if at < 0 {
			continue
		}
		used[name]++
		sum.Write(s.headerCanon.field(f.raw[have[at]]))
	}
	sum.Write(bytes.TrimSuffix(s.headerCanon.field(unsigned(s.raw)), crlf))
	return sum.Sum(nil)
}

// unsigned is a signature field as it was when it was signed: with nothing in
// b= (RFC 6376, Section 3.7). Only the tag of that name counts, not what looks
// like it in the value of another.
func unsigned(raw []byte) []byte {
	name, rest, _ := bytes.Cut(raw, []byte(":"))
	out := append(bytes.Clone(name), ':')
	for more := true; more; {
		var part []byte
		part, rest, more = bytes.Cut(rest, []byte(";"))
		if tag, _, ok := bytes.Cut(part, []byte("=")); ok && string(bytes.Trim(tag, space)) == "b" {
			part = part[:len(tag)+1]
		}
		out = append(out, part...)
		if more {
			out = append(out, ';')
		}
	}
	return out
}
