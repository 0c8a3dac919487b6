package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxReuse bounds Rules.Reuse: a new password is hashed once for each old one.
const MaxReuse = 24

// checkPassword applies the rules for a new one that need no other.
func (r *Rules) checkPassword(name, password string) error {
	switch {
	case len(password) > maxPassword:
		return fmt.Errorf("%w: at most %d octets", ErrLong, maxPassword)
	case !utf8.ValidString(password):
		return errNoPassword
	case utf8.RuneCountInString(password) < r.MinLength:
		return fmt.Errorf("%w: at least %d characters", ErrShort, r.MinLength)
	case r.Blocklist.Has(password):
		return ErrListed
	}
	return guessable(name, password)
}

// checkReuse refuses the current password and those before it.
func (k *Keeper) checkReuse(ctx context.Context, name, password string) error {
	reuse := k.rules.Load().Reuse
	if reuse == 0 {
		return nil
	}
	acc, current, err := k.load(ctx, name)
	if err != nil {
		return err
	}
	hashes := []string{current}
	rows, err := k.db.QueryContext(ctx, "SELECT hash FROM old_passwords WHERE account = ? ORDER BY id DESC LIMIT ?", acc.ID, min(reuse, MaxReuse)-1)
	if err != nil {
		return fmt.Errorf("load old passwords: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h string
		if err := rows.Scan(&h); err != nil {
			return fmt.Errorf("load old passwords: %w", err)
		}
		hashes = append(hashes, h)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("load old passwords: %w", err)
	}
	return k.noneOf(ctx, hashes, password)
}

func (k *Keeper) noneOf(ctx context.Context, hashes []string, password string) error {
	if err := k.hash.enter(ctx); err != nil {
		return err
	}
	defer k.hash.leave()
	for _, h := range hashes {
		p, err := parsePHC(h)
		if err != nil {
			continue // a damaged row matches nothing, and a new password heals it
		}
		if k.hash.matches(p, password) {
			return ErrReused
		}
	}
	return nil
}

// expired reports a password of its own that the account has had for too long.
func (k *Keeper) expired(acc Account, now time.Time) bool {
	age := k.rules.Load().MaxAge
	return age > 0 && now.Sub(acc.Changed) > age
}

// Warning is an account whose password will not be taken much longer.
type Warning struct {
	Account Account
	Ends    time.Time // when it is refused; past: it is already
}

// Warnings come from a seventh of MaxAge before the end on, at most two weeks,
// and again after a week.
const (
	warnPart  = 7
	warnMost  = 14 * 24 * time.Hour
	warnAgain = 7 * 24 * time.Hour
)

// Warnings returns whom to warn now. Warned keeps each from coming again soon.
func (k *Keeper) Warnings(ctx context.Context) ([]Warning, error) {
	age := k.rules.Load().MaxAge
	if age == 0 {
		return nil, nil
	}
	now := k.c.Now()
	before := min(age/warnPart, warnMost)
	rows, err := k.db.QueryContext(ctx, "SELECT login FROM accounts WHERE disabled = 0 AND changed < ? AND warned < ? ORDER BY login",
		now.Add(before-age).Unix(), now.Add(-warnAgain).Unix())
	if err != nil {
		return nil, fmt.Errorf("look for old passwords: %w", err)
	}
	defer rows.Close()
	var logins []string
	for rows.Next() {
		var login string
		if err := rows.Scan(&login); err != nil {
			return nil, fmt.Errorf("look for old passwords: %w", err)
		}
		logins = append(logins, login)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for old passwords: %w", err)
	}
	var out []Warning
	for _, login := range logins {
		acc, _, err := k.load(ctx, login)
		if err != nil {
			return nil, err
		}
		out = append(out, Warning{acc, acc.Changed.Add(age)})
	}
	return out, nil
}

// Warned writes down that a Warning was sent.
func (k *Keeper) Warned(ctx context.Context, w Warning) error {
	_, err := k.db.ExecContext(ctx, "UPDATE accounts SET warned = ? WHERE id = ?", k.c.Now().Unix(), w.Account.ID)
	if err != nil {
		return fmt.Errorf("write down a warning: %w", err)
	}
	return nil
}

// leastRest is how many characters of a password must be left when all that is
// guessed first is taken out of it.
const leastRest = 6

// guessable refuses what is made of words that are tried first, of the login, of
// rows of the keyboard or alphabet, or of few characters. It knows no dictionary:
// length is what makes a password good.
func guessable(login, password string) error {
	plain := strings.ToLower(password)
	if distinct(plain) < 5 {
		return fmt.Errorf("%w: it has few different characters", ErrCommon)
	}
	words := strings.FieldsFunc(login, func(r rune) bool { return strings.ContainsRune("@.-_+", r) })
	words = slices.DeleteFunc(words, func(w string) bool { return len(w) < 4 })
	words = append(words, strings.Fields(firstGuesses)...)
	for _, form := range []string{plain, unleet.Replace(plain)} {
		for _, w := range words {
			form = strings.ReplaceAll(form, w, " ")
		}
		if meaningful(form) < leastRest {
			return fmt.Errorf("%w: little is left of it without common words, rows of keys and the login", ErrCommon)
		}
	}
	return nil
}

// unleet undoes what is done to words to make them look strong.
var unleet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// meaningful counts characters that do not only go on from the one before, by
// one step or none.
func meaningful(s string) int {
	n := 0
	var last rune
	for _, r := range s {
		if step := r - last; r != ' ' && (step < -1 || step > 1) {
			n++
		}
		last = r
	}
	return n
}

// firstGuesses are the words that lists of stolen passwords begin with. The longer
// come before those that they hold.
const firstGuesses = `
administrator passwordchange changeme changethis letmein iloveyou qwertyuiop qwertzuiop azertyuiop
asdfghjkl yxcvbnm zxcvbnm qazwsxedc qazwsx 1qaz2wsx qwerty qwertz azerty asdfgh zxcvbn yxcvbn
password passwort passwd passphrase motdepasse contrasena wachtwoord parola senha haslo heslo
welcome willkommen bienvenue bonjour hello hallo secret geheim sunshine princess football baseball
basketball superman batman starwars pokemon dragon monkey shadow master michael jennifer jessica charlie
thomas daniel jordan hunter ranger buster harley trustno whatever freedom computer internet samsung
google microsoft windows office outlook server mailserver postmaster webmaster admin root test temp demo
user guest login account default summer winter spring autumn sommer herbst fruehling january february
april august september october november december monday friday company firma school default access
chelsea liverpool arsenal barcelona ferrari mercedes porsche cookie cheese flower butterfly angel
lovely loveyou love king queen pass word
`
