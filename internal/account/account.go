// Package account keeps the users who may submit mail: their passwords as
// argon2id hashes, the senders each may use, and, in memory, who has failed to
// log in how often. Reading and changing accounts goes to the database (package
// store); nothing here is on the way of a DNS answer or of port 25.
//
// A password is never stored, logged or returned. Hashing runs behind a small
// semaphore with a bounded wait, so that a flood of logins costs a bounded
// share of the machine. It starts no goroutine.
//
// An app password is random, not chosen, and is kept as the keys of SCRAM-SHA-256
// alone. All of an account share one salt, which a secret of the database and the
// login give: an account that does not exist has one as well.
//
// RFC 9106 (argon2id), with the PHC string format for what is stored; RFC 5802 and
// RFC 7677 (SCRAM).
package account

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/mail/address"
)

// Account is one user, without secrets.
type Account struct {
	ID         int64    // never used again after removal
	Login      string   // an address, folded
	Senders    []string // addresses; "@example.test" is any address of that domain
	Disabled   bool
	Generation int64 // grows when sessions that are logged in must end
	Created    time.Time
	Changed    time.Time // the password
	App        int64     // the app password that a login used; 0: the account's own
}

// What callers branch on.
var (
	ErrBadLogin   = errors.New("login is not an address")
	ErrBadSender  = errors.New("sender is neither an address nor @domain")
	ErrExists     = errors.New("account exists already")
	ErrNotFound   = errors.New("no such account")
	ErrShort      = errors.New("password too short")
	ErrCommon     = errors.New("password is one that is guessed first")
	ErrListed     = errors.New("password is in the list of those that are refused")
	ErrReused     = errors.New("password was used before")
	ErrExpired    = errors.New("password is too old") // it was right
	ErrLong       = errors.New("password too long")
	ErrDenied     = errors.New("wrong login or password")      // also for unknown and disabled accounts
	ErrLocked     = errors.New("too many failed logins")       // from this network, or for this login
	ErrBusy       = errors.New("too many logins at this time") // no slot for hashing came free
	ErrBadHash    = errors.New("stored hash cannot be read")   // a damaged row
	ErrAppName    = errors.New("app password needs a name of 1 to 64 characters without control characters")
	ErrAppExists  = errors.New("app password of that name exists already")
	ErrAppUnknown = errors.New("no app password of that name")
	ErrAppMany    = errors.New("account has as many app passwords as it may")
	ErrSignedOut  = errors.New("account has changed since")     // disabled, removed, or a new password
	errNoPassword = errors.New("password is not valid Unicode") // wrapped as ErrShort would mislead
)

// Permits reports whether the account may send as a. Letter case does not
// count here: to let "Anna@" pass where "anna@" is hers gives nobody a new name.
func (acc Account) Permits(a address.Address) bool {
	key := fold(a)
	domain := "@" + strings.ToLower(a.Domain)
	for _, s := range acc.Senders {
		if s == key || s == domain {
			return true
		}
	}
	return false
}

// fold is the form that logins and senders are compared in.
func fold(a address.Address) string {
	return address.Address{Local: strings.Map(lower, a.Local), Domain: strings.ToLower(a.Domain)}.String()
}

// lower leaves alone what would become a letter of ASCII, the Kelvin sign and the
// dotted capital I: to other programs those are other names.
func lower(r rune) rune {
	if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
		return l
	}
	return r
}

// Normalise returns the form in which a login is stored.
func Normalise(login string) (string, error) {
	a, err := address.Parse(login)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadLogin, err)
	}
	return fold(a), nil
}

// normaliseSenders checks the list; an empty one means the login itself.
func normaliseSenders(login string, senders []string) ([]string, error) {
	if len(senders) == 0 {
		return []string{login}, nil
	}
	seen := make(map[string]bool, len(senders))
	var out []string
	for _, s := range senders {
		n, err := normaliseSender(s)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrBadSender, s, err)
		}
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out, nil
}

func normaliseSender(s string) (string, error) {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		d, err := address.ParseDomain(domain)
		return "@" + d, err
	}
	return Normalise(s)
}
