package message

import (
	"errors"
	"strings"
)

// kind is what a token is.
type kind uint8

const (
	end     kind = iota
	atom         // a run of atext, and anything from 0x80 on
	quoted       // a quoted-string, text unquoted
	literal      // a domain-literal with its brackets
	special      // one of ()<>[]:;@\,." of RFC 5322, Section 3.2.3
)

// token is one lexical piece of a structured field (RFC 5322, Section 3.2).
type token struct {
	kind   kind
	text   string
	spaced bool // white space or a comment stands before it
}

func (t token) is(s string) bool { return t.kind == special && t.text == s }

var (
	errComment = errors.New("comment without an end")
	errQuote   = errors.New("quote without an end")
	errLiteral = errors.New("bracket without an end")
	errControl = errors.New("control character")
	errTokens  = errors.New("too many words")
)

// maxTokens bounds what is cut from one field: a list of maxMailboxes is made of
// some thousand, and a header of nothing but commas would be cut into a quarter
// of a million.
const maxTokens = 5000

// lex cuts a structured field's unfolded value into tokens, comments left out.
func lex(s string) ([]token, error) {
	var out []token
	spaced := false
	for len(s) > 0 {
		c := s[0]
		switch {
		case c == ' ' || c == '\t':
			s, spaced = s[1:], true
			continue
		case c == '(':
			rest, err := skipComment(s)
			if err != nil {
				return nil, err
			}
			s, spaced = rest, true
			continue
		}
		t, rest, err := next(s)
		if err != nil {
			return nil, err
		}
		if len(out) == maxTokens {
			return nil, errTokens
		}
		t.spaced = spaced
		out, s, spaced = append(out, t), rest, false
	}
	return out, nil
}

func next(s string) (token, string, error) {
	switch c := s[0]; {
	case c == '"':
		return lexQuoted(s[1:])
	case c == '[':
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return token{}, "", errLiteral
		}
		return token{kind: literal, text: s[:i+1]}, s[i+1:], nil
	case isControl(c):
		return token{}, "", errControl
	case isSpecial(c):
		return token{kind: special, text: s[:1]}, s[1:], nil
	}
	n := 0
	for n < len(s) && !isSpecial(s[n]) && !isControl(s[n]) && s[n] != ' ' {
		n++
	}
	return token{kind: atom, text: s[:n]}, s[n:], nil
}

func lexQuoted(s string) (token, string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return token{kind: quoted, text: b.String()}, s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case isControl(c) && c != '\t':
			return token{}, "", errControl
		default:
			b.WriteByte(c)
		}
	}
	return token{}, "", errQuote
}

// skipComment passes over a comment with those nested in it.
func skipComment(s string) (string, error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case '\\':
			i++
		case ')':
			if depth--; depth == 0 {
				return s[i+1:], nil
			}
		}
	}
	return "", errComment
}

func isControl(c byte) bool { return c < ' ' || c == 0x7f }

func isSpecial(c byte) bool { return strings.IndexByte(`()<>[]:;@\,."`, c) >= 0 }
