package verdict

import (
	"net/netip"
	"strings"

	"postern/internal/mail/spf"
)

// Mark is something odd about a message that is no reason to refuse it: evidence
// for who reads the log, and for what stands behind us.
type Mark string

// The marks.
const (
	MarkNoReverseName Mark = "no-reverse-name"    // no name of the client leads back to it
	MarkHELOLiteral   Mark = "helo-literal"       // HELO is an address
	MarkHELONotName   Mark = "helo-not-a-name"    // HELO is no host name of several labels
	MarkHELOElsewhere Mark = "helo-elsewhere"     // HELO is a name that does not lead to the client
	MarkHELOOurs      Mark = "helo-is-ours"       // HELO claims to be us
	MarkOwnSender     Mark = "own-sender-outside" // MAIL FROM is of our domains
	MarkOwnAuthor     Mark = "own-author-outside" // an author is
	MarkAlike         Mark = "look-alike"         // an author's domain could be taken for ours
	MarkNameShowsOurs Mark = "name-shows-ours"    // the display name shows an address of ours, and no author has one
)

// Marks is every mark there is, for whoever explains them.
func Marks() []Mark {
	return []Mark{MarkNoReverseName, MarkHELOLiteral, MarkHELONotName, MarkHELOElsewhere, MarkHELOOurs, MarkOwnSender, MarkOwnAuthor, MarkAlike, MarkNameShowsOurs}
}

// Listing is a block list that has the client.
type Listing struct {
	List  string
	Reply netip.Addr // what it said
}

// Forwarder is a host that is known to forward mail: by its address, or by a
// domain that it proves to be of.
type Forwarder struct {
	Network netip.Prefix
	Domain  string // A-labels, lower case; "" with Network
}

// is tells whether the client is that forwarder: at its address, or with a name
// that leads back to it, or a HELO or MAIL FROM that SPF passes, in its domain.
func (w Forwarder) is(f Facts) bool {
	if w.Domain == "" {
		return w.Network.IsValid() && w.Network.Contains(f.Client.Unmap())
	}
	return f.Reverse.Status == ReversePass && within(strings.ToLower(f.Reverse.Name), w.Domain) ||
		f.HELO.Status == spf.Pass && within(f.HELO.Domain, w.Domain) ||
		f.From.Status == spf.Pass && within(f.From.Domain, w.Domain)
}
