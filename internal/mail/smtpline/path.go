package smtpline

import (
	"strings"

	"postern/internal/mail/address"
)

// Extensions says which service extensions were announced; a parameter of any
// other is refused with 555 (RFC 5321, Section 4.1.1.11).
type Extensions struct {
	Size     bool // RFC 1870
	EightBit bool // RFC 6152
	UTF8     bool // RFC 6531
	Auth     bool // RFC 4954, Section 5
	DSN      bool // RFC 3461

	RequireTLS bool // RFC 8689
}

// ParseMail reads the argument of MAIL: "FROM:<path>" and parameters. The zero
// address is the null reverse-path.
func ParseMail(arg string, ext Extensions) (address.Address, MailParams, *Reply) {
	path, rest, refusal := cutPath(arg, "FROM:", "5.1.7")
	if refusal != nil {
		return address.Address{}, MailParams{}, refusal
	}
	params, refusal := parseMailParams(rest, ext)
	if refusal != nil {
		return address.Address{}, MailParams{}, refusal
	}
	if path == "" {
		return address.Address{}, params, nil
	}
	from, refusal := parsePath(path, "5.1.7", params.UTF8)
	return from, params, refusal
}

// ParseRcpt reads the argument of RCPT: "TO:<path>" and parameters. utf8 says
// whether MAIL had SMTPUTF8. The bare <postmaster> of RFC 5321, Section 4.5.1
// comes back with Local "postmaster" and no Domain.
func ParseRcpt(arg string, ext Extensions, utf8 bool) (address.Address, RcptParams, *Reply) {
	path, rest, refusal := cutPath(arg, "TO:", "5.1.3")
	if refusal != nil {
		return address.Address{}, RcptParams{}, refusal
	}
	params, refusal := parseRcptParams(rest, ext)
	if refusal != nil {
		return address.Address{}, RcptParams{}, refusal
	}
	if strings.EqualFold(path, "postmaster") {
		return address.Address{Local: "postmaster"}, params, nil
	}
	if path == "" {
		return address.Address{}, params, Refuse(501, "5.1.3", "bad-address", "a recipient cannot be empty")
	}
	to, refusal := parsePath(path, "5.1.3", utf8)
	return to, params, refusal
}

// cutPath finds the bracketed path behind the keyword, minding quotes, and
// returns what stands between the brackets and what follows them. One or more
// spaces before the bracket are tolerated, since many small devices send them
// (departs from RFC 5321, Section 3.3: no space is allowed there). The brackets
// themselves are required.
func cutPath(arg, keyword, enhanced string) (path, rest string, refusal *Reply) {
	bad := func() (string, string, *Reply) {
		return "", "", Refuse(501, enhanced, "bad-address", "write "+keyword+"<user@example.org>")
	}
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", "", Refuse(501, "5.5.4", "syntax", "write "+keyword+"<user@example.org>")
	}
	s := strings.TrimLeft(arg[len(keyword):], " ")
	if s == "" || s[0] != '<' {
		return bad()
	}
	end := closingBracket(s)
	if end < 0 {
		return bad()
	}
	path, rest = s[1:end], s[end+1:]
	if rest != "" && rest[0] != ' ' {
		return bad()
	}
	return path, rest, nil
}

// closingBracket returns the index of the bracket that ends the path, or -1.
// One inside a quoted local part does not.
func closingBracket(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++ // whatever it escapes is not a delimiter
		case '"':
			quoted = !quoted
		case '>':
			if !quoted {
				return i
			}
		case '<':
			if !quoted {
				return -1
			}
		}
	}
	return -1
}

func parsePath(path, enhanced string, utf8 bool) (address.Address, *Reply) {
	// Departs from RFC 5321, Section 4.1.1.3: a source route is refused, not
	// ignored, since its only remaining use is to probe for open relays.
	if strings.HasPrefix(path, "@") {
		return address.Address{}, Refuse(553, enhanced, "source-route", "source routes are not accepted")
	}
	a, err := address.Parse(path)
	if err != nil {
		r := Refuse(501, enhanced, "bad-address", "malformed address")
		r.Cause = err
		return address.Address{}, r
	}
	if !utf8 && !isASCII(path) {
		// RFC 6531, Section 3.5.
		return address.Address{}, Refuse(553, "5.6.7", "needs-smtputf8", "this address needs SMTPUTF8")
	}
	return a, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
