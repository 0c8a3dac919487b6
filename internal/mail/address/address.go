// Package address is the mail address as a parsed value: the local part without
// its quotes and the domain in its one canonical form. It parses the addr-spec
// of RFC 5321, Section 4.1.2 (with RFC 6531, Section 3.3) and writes it back
// quoted as needed, so that no address ever travels as a string that the next
// reader could take apart differently.
//
// It looks nothing up, knows no groups, display names or comments (that is
// mail/message's trade), holds no state and starts no goroutine.
package address

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxLen is the longest address in octets: a path of 256 less its two brackets
// (RFC 5321, Section 4.5.3.1.3). Local parts beyond 64 octets are accepted
// within it, for senders that encode whole addresses there.
const MaxLen = 254

// Address is a mailbox. The zero value is the null reverse-path "<>"; an
// address with a Local but no Domain is only ever the bare "postmaster" of RFC
// 5321, Section 4.1.1.3.
type Address struct {
	Local  string // unquoted, letter case kept
	Domain string // A-labels in lower case without a final dot, or a literal: "[192.0.2.1]", "[IPv6:2001:db8::1]"
}

// ErrSyntax is wrapped by every error of Parse and ParseDomain.
var ErrSyntax = errors.New("malformed address")

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))
}

// Parse reads an addr-spec: no brackets, no route, no white space outside
// quotes. It never returns the zero Address without an error.
func Parse(s string) (Address, error) {
	if len(s) > MaxLen {
		return Address{}, syntax("longer than %d octets", MaxLen)
	}
	if !utf8.ValidString(s) {
		return Address{}, syntax("not UTF-8")
	}
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, err
	}
	if local == "" {
		return Address{}, syntax("empty local part")
	}
	if rest == "" || rest[0] != '@' {
		return Address{}, syntax("no domain")
	}
	domain, err := ParseDomain(rest[1:])
	if err != nil {
		return Address{}, err
	}
	a := Address{Local: local, Domain: domain}
	if len(a.String()) > MaxLen { // a U-label may be shorter than its A-label
		return Address{}, syntax("longer than %d octets", MaxLen)
	}
	return a, nil
}

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// IsASCII reports whether a can be written without SMTPUTF8.
func (a Address) IsASCII() bool {
	for i := range len(a.Local) {
		if a.Local[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// IsLiteral reports whether the domain is an address literal.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// Equal reports whether both are the same mailbox: the local part exactly (RFC
// 5321, Section 2.4), the domain in any letter case.
func (a Address) Equal(b Address) bool {
	return a.Local == b.Local && strings.EqualFold(a.Domain, b.Domain)
}

// Key is a string that is equal for equal addresses and for no others.
func (a Address) Key() string {
	return Address{a.Local, strings.ToLower(a.Domain)}.String()
}

// Base is the address without its detail: ann@city.example of
// ann+lists@city.example (RFC 5233, Section 1). It reports whether there is one.
func (a Address) Base() (Address, bool) {
	base, _, ok := strings.Cut(a.Local, "+")
	if !ok || base == "" {
		return a, false
	}
	return Address{base, a.Domain}, true
}

// String writes the addr-spec, the local part quoted where it must be. The
// null reverse-path is "". Bytes that no address may hold, which Parse never
// lets in, come out as '?', so that nothing can be injected through an Address
// built by hand.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	s := quoteLocal(a.Local)
	if a.Domain == "" {
		return s
	}
	return s + "@" + strings.Map(domainRune, a.Domain)
}

// Path writes the address in angle brackets, as MAIL and RCPT do.
func (a Address) Path() string { return "<" + a.String() + ">" }

func domainRune(r rune) rune {
	if r <= ' ' || r == 0x7f || strings.ContainsRune(`"@<>,;()\`, r) {
		return '?'
	}
	return r
}
