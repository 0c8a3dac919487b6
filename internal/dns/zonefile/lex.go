package zonefile

import (
	"strings"
)

// token is a run of text between blanks. Quotes and escapes stay in it as
// they were written.
type token struct {
	text      string
	line, col int
	cut       bool // a comment begins right behind it, without a blank
}

// entry is one logical line: a record or a directive, with parentheses and
// comments taken out (RFC 1035, Section 5.1). Its tokens are lent until the
// next one is read.
type entry struct {
	tokens []token
	blank  bool // began with a blank: the owner is that of the entry before
}

// lexer splits a file into entries. Where an entry cannot be read it reports
// the place and goes on with the next line.
type lexer struct {
	src       string
	tokens    []token // of the entry at hand
	pos       int
	line      int
	lineStart int
	report    func(line, col int, code, message, hint string)
}

const bom = "\xef\xbb\xbf"

func newLexer(src string, report func(line, col int, code, message, hint string)) *lexer {
	l := &lexer{src: src, line: 1, report: report}
	if strings.HasPrefix(l.src, bom) {
		l.pos, l.lineStart = len(bom), len(bom)
	}
	return l
}

func (l *lexer) col() int { return l.pos - l.lineStart + 1 }

func (l *lexer) newline() {
	l.pos++
	l.line++
	l.lineStart = l.pos
}

// skipLine moves to the first octet of the next line.
func (l *lexer) skipLine() {
	if i := strings.IndexByte(l.src[l.pos:], '\n'); i >= 0 {
		l.pos += i
		l.newline()
		return
	}
	l.pos = len(l.src)
}

// skipEntry moves past a broken entry: this line, and the lines that belong
// to it because they begin with a blank or close a parenthesis.
func (l *lexer) skipEntry() {
	for l.skipLine(); l.pos < len(l.src); l.skipLine() {
		if c := l.src[l.pos]; c != ' ' && c != '\t' && c != ')' && c != ';' && c != '\r' && c != '\n' {
			return
		}
	}
}

// next returns the next entry that has tokens.
func (l *lexer) next() (entry, bool) {
	for l.pos < len(l.src) {
		if e, ok := l.entry(); ok && len(e.tokens) > 0 {
			return e, true
		}
	}
	return entry{}, false
}

// entry reads one logical line. It reports false after a problem.
func (l *lexer) entry() (entry, bool) {
	e := entry{tokens: l.tokens[:0]}
	defer func() { l.tokens = e.tokens }()
	type place struct{ pos, line, lineStart, col int }
	var open []place // the parentheses not closed yet
	if c := l.src[l.pos]; c == ' ' || c == '\t' {
		e.blank = true
	}
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; c {
		case ' ', '\t', '\r':
			l.pos++
		case '\n':
			l.newline()
			if len(open) == 0 {
				return e, true
			}
		case ';':
			if n := len(e.tokens); n > 0 && l.pos > 0 && !isBreak(l.src[l.pos-1]) {
				e.tokens[n-1].cut = true
			}
			l.toLineEnd()
		case '(':
			open = append(open, place{l.pos, l.line, l.lineStart, l.col()})
			l.pos++
		case ')':
			if len(open) == 0 {
				l.report(l.line, l.col(), "syntax", `")" without a "(" before it`, `put "(" where the data begins, or take ")" out`)
				l.skipEntry()
				return e, false
			}
			open = open[:len(open)-1]
			l.pos++
		default:
			t, ok := l.token()
			if !ok {
				l.skipEntry()
				return e, false
			}
			e.tokens = append(e.tokens, t)
		}
	}
	if len(open) == 0 {
		return e, true
	}
	p := open[0]
	l.report(p.line, p.col, "syntax", `"(" is never closed`, `put ")" at the end of the record`)
	l.pos, l.line, l.lineStart = p.pos, p.line, p.lineStart
	l.skipEntry()
	return e, false
}

// isOrdinary reports whether c means nothing but itself.
func isOrdinary(c byte) bool {
	return c > ' ' && c != '"' && c != ';' && c != '\\' && c != '(' && c != ')'
}

func isBreak(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', '(', ')', ';':
		return true
	}
	return false
}

func (l *lexer) toLineEnd() {
	if i := strings.IndexByte(l.src[l.pos:], '\n'); i >= 0 {
		l.pos += i
		return
	}
	l.pos = len(l.src)
}

// token reads up to a blank, parenthesis or comment outside quotes.
func (l *lexer) token() (token, bool) {
	start, col := l.pos, l.col()
	quote := -1
	for l.pos < len(l.src) && isOrdinary(l.src[l.pos]) { // most tokens hold nothing else
		l.pos++
	}
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		switch {
		case c == 0:
			l.report(l.line, l.col(), "syntax", "zero octet in the text", `is this a text file? in a text such an octet is written \000`)
			return token{}, false
		case c == '\n' || c == '\r' && l.pos+1 < len(l.src) && l.src[l.pos+1] == '\n':
			// departs from RFC 1035, Section 5.1: a line break within quotes
			// is nearly always a forgotten quote, and taking it would swallow
			// the rest of the file.
			if quote >= 0 {
				return l.unclosed(quote)
			}
			return token{text: l.src[start:l.pos], line: l.line, col: col}, true
		case c == '\\':
			l.pos++
			if l.pos == len(l.src) || l.src[l.pos] == '\n' || l.src[l.pos] == '\r' {
				l.report(l.line, l.col()-1, "syntax", `"\" at the end of the line`, `write \\ for a backslash`)
				return token{}, false
			}
		case c == '"' && quote >= 0:
			quote = -1
		case c == '"':
			quote = l.pos
		case quote < 0 && isBreak(c):
			return token{text: l.src[start:l.pos], line: l.line, col: col}, true
		}
		l.pos++
	}
	if quote >= 0 {
		return l.unclosed(quote)
	}
	return token{text: l.src[start:l.pos], line: l.line, col: col}, true
}

func (l *lexer) unclosed(quote int) (token, bool) {
	l.report(l.line, quote-l.lineStart+1, "syntax", "quote is not closed on its line",
		"several quoted strings may follow one another, within parentheses on several lines")
	return token{}, false
}
