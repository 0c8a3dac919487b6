package dsn

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// date writes a date as RFC 5322, Section 3.3, wants it.
func date(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// token keeps what may stand bare in a header field, a Message-ID and a
// boundary, as long as a domain name may be.
func token(s string) string {
	s = s[:min(len(s), 253)]
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-._", r):
			return r
		}
		return '-'
	}, s)
}

// maxLine bounds what is said in one go; RFC 5322, Section 2.1.1, allows lines
// of 998 octets.
const maxLine = 700

// clean makes foreign text fit for one line: controls become spaces, what is
// not ASCII stays only where UTF-8 may, and what is too long is cut.
func clean(s string, utf8OK bool) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return ' '
		case r == utf8.RuneError, r > '~' && !utf8OK:
			return '?'
		}
		return r
	}, s)
	if len(s) <= maxLine {
		return s
	}
	end := maxLine
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// reply is the reply in one line, its code and status first.
func reply(r Recipient, utf8OK bool) string {
	text := strings.TrimSpace(clean(r.Text, utf8OK))
	if r.Code == 0 {
		return text
	}
	head := strconv.Itoa(r.Code)
	if validStatus(r.Status) {
		head += " " + r.Status
	}
	return strings.TrimSpace(head + " " + text)
}

// statusOf gives a status that fits the action (RFC 3464, Section 2.3.4). A
// failure may well have a status of class 4: what was given up after many
// temporary refusals (RFC 3464, Appendix E.2).
func statusOf(r Recipient) string {
	switch {
	case r.Action == Delivered || r.Action == Relayed:
		if !validStatus(r.Status) || r.Status[0] != '2' {
			return "2.0.0"
		}
	case r.Action == Delayed && (!validStatus(r.Status) || r.Status[0] != '4'):
		return "4.0.0"
	case !validStatus(r.Status) || r.Status[0] == '2':
		return "5.0.0"
	}
	return r.Status
}

func validStatus(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || (parts[0] != "2" && parts[0] != "4" && parts[0] != "5") {
		return false
	}
	for _, p := range parts[1:] {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n > 999 || strconv.FormatUint(n, 10) != p {
			return false
		}
	}
	return true
}

// unxtext undoes xtext (RFC 3461, Section 4). What is malformed stays as it is.
func unxtext(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// wrap folds a line at spaces; what follows the first line is indented, so that
// it is a folded field in the one use and readable in the other. The text was
// cleaned, so that a word longer than a line stays within bounds.
func wrap(indent, s string) string {
	const width = 76
	var b strings.Builder
	line := indent
	for i, word := range strings.Fields(s) {
		switch {
		case i == 0:
			line += word
		case len(line)+1+len(word) > width:
			fmt.Fprintf(&b, "%s\r\n", line)
			line = indent + "  " + word
		default:
			line += " " + word
		}
	}
	fmt.Fprintf(&b, "%s\r\n", line)
	return b.String()
}
