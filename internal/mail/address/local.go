package address

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// cutLocal reads a Dot-string or a Quoted-string from the front of s (RFC
// 5321, Section 4.1.2) and returns it unquoted, with what follows.
func cutLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s[1:])
	}
	end := strings.IndexByte(s, '@')
	if end < 0 {
		end = len(s)
	}
	if local = s[:end]; !isDotString(local) {
		return "", "", syntax("local part %q", local)
	}
	return local, s[end:], nil
}

func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	escaped := false
	for i, r := range s {
		switch {
		case !isQuotable(r):
			return "", "", syntax("character %U in the local part", r)
		case escaped:
			// quoted-pairSMTP covers printable ASCII alone.
			if r >= utf8.RuneSelf {
				return "", "", syntax("backslash before %U", r)
			}
			escaped = false
			b.WriteRune(r)
		case r == '\\':
			escaped = true
		case r == '"':
			return b.String(), s[i+1:], nil
		default:
			b.WriteRune(r)
		}
	}
	return "", "", syntax("quote without an end")
}

// isDotString tells whether s can stand without quotes: atoms joined by dots.
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for _, r := range s {
		if r != '.' && !isAtext(r) {
			return false
		}
	}
	return true
}

// isAtext is atext of RFC 5322, Section 3.2.3, and of RFC 6531, Section 3.3.
func isAtext(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	case r >= utf8.RuneSelf:
		return isQuotable(r)
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// isQuotable is what may stand in a quoted local part, bare or escaped. The
// Unicode line separators are left out with the controls: some readers take
// them for line ends.
func isQuotable(r rune) bool {
	return r >= ' ' && !unicode.IsControl(r) && r != '\u2028' && r != '\u2029'
}

func quoteLocal(s string) string {
	if isDotString(s) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case isQuotable(r):
			b.WriteRune(r)
		default:
			b.WriteByte('?')
		}
	}
	b.WriteByte('"')
	return b.String()
}
