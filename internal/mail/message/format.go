package message

import (
	"io"
	"mime"
	"strings"
	"time"
)

// maxWord is the longest piece that FormatField writes without a break.
const maxWord = 900

// Date writes t as RFC 5322, Section 3.3 has it.
func Date(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }

// FormatField writes a field from words, a space or a fold between each two:
// lines stay within 78 octets where the words allow it and always within
// MaxLine. Bytes outside printable ASCII become '?', so no word, wherever it
// came from, can end the line.
func FormatField(name string, words ...string) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(':')
	column := len(name) + 1
	for _, w := range words {
		w = printable(w)
		if w == "" {
			continue
		}
		if column+1+len(w) > 78 && column > len(name)+1 {
			b.WriteString("\r\n\t")
			column = 8
		} else {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	b.WriteString("\r\n")
	return b.String()
}

func printable(s string) string {
	if len(s) > maxWord {
		s = s[:maxWord]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// Comment writes s as a comment (RFC 5322, Section 3.2.2).
func Comment(s string) string {
	return "(" + strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(printable(s)) + ")"
}

// Value writes s as a value of RFC 8601, Section 2.2: a token (RFC 2045,
// Section 5.1) where it is one, else a quoted-string. An at sign may stand
// unquoted between a local part and a domain that are tokens themselves.
func Value(s string) string {
	s = printable(s)
	local, domain, found := strings.Cut(s, "@")
	if isToken(s) || found && isToken(domain) && (local == "" || isToken(local)) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`()<>@,;:\"/[]?=`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// Decode undoes the encoded words of a text (RFC 2047), as those who show it do;
// what cannot be decoded stays as it is. Octets of a charset that we do not know
// stay what they are: nearly all have ASCII at its place, and one word in such a
// charset must not hide the others.
func Decode(s string) string {
	asIs := func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	out, err := (&mime.WordDecoder{CharsetReader: asIs}).DecodeHeader(s)
	if err != nil {
		return s
	}
	return out
}
