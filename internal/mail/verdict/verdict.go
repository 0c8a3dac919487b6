// Package verdict decides about a message from the world: facts and policy in,
// one of accept, defer, reject and quarantine out, with the reply the sender
// gets and the reason word that log, metric and trace share. It also writes
// the facts down for the readers behind us, as an Authentication-Results field
// (RFC 8601).
//
// It is pure: it asks nobody, keeps nothing and knows no clock.
package verdict

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postern/internal/mail/dkim"
	"postern/internal/mail/dmarc"
	"postern/internal/mail/message"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spf"
)

// Facts is what was found out about a message. Ran tells which checks were
// made: what was not asked for is neither good nor bad.
type Facts struct {
	Ran     Checks
	Reverse Reverse
	HELO    spf.Result // RFC 7208, Section 2.3
	From    spf.Result // the MAIL FROM identity
	DKIM    []dkim.Signature
	Authors []string // domains of the header From
	Author  error    // why there is no author to judge: message.ErrNoFrom and its like
	DMARC   dmarc.Result
	Lists   []string // domains of List-Id fields

	Client   netip.Addr
	Listings []Listing // block lists that have the client
	Sealed   []string  // author domains that a chain of known sealers says passed DMARC on the way
	Marks    []Mark
}

// Reverse is the outcome of the client's reverse name (RFC 8601, Section 3).
type Reverse struct {
	Status ReverseStatus
	Name   string // the confirmed name
}

// ReverseStatus is a result of RFC 8601, Section 2.7.3. The zero value is not
// asked.
type ReverseStatus uint8

// The results.
const (
	ReverseNone ReverseStatus = iota
	ReversePass
	ReverseFail
	ReverseTempError
	ReversePermError // the address has no reverse name
)

// String is the word of RFC 8601, Section 2.7.3.
func (s ReverseStatus) String() string {
	return [...]string{"", "pass", "fail", "temperror", "permerror", "", "", ""}[s&7]
}

// Checks is a set of checks.
type Checks struct{ SPF, DKIM, DMARC bool }

// Mode says what is done about DMARC. The zero value is to enforce.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota
	Monitor      // write the result down, let the message pass
)

// Policy is what the operator has decided.
type Policy struct {
	DMARC Mode
	// Lists are domains of mailing lists, which break alignment without evil
	// intent: a message with a List-Id of theirs and a passing signature of
	// theirs is taken in spite of its author's policy.
	Lists []string
	// Forwarders break alignment by what they are for: a message from one of them
	// is taken likewise, and block lists do not count for it.
	Forwarders []Forwarder
	// Role says that all recipients are postmaster or abuse, who hear also those
	// who are listed (RFC 5321, Section 4.5.1; RFC 2142, Section 2).
	Role bool
	// Patient is false once a domain's DNS has been failing for so long that
	// its mail is judged without it rather than deferred once more.
	Patient bool
}

// Action is what becomes of the message. The zero value is no decision.
type Action uint8

// The actions.
const (
	Undecided Action = iota
	Accept
	Defer
	Reject
	Quarantine
)

// String is the action's word for the log.
func (a Action) String() string {
	if a > Quarantine {
		a = Undecided
	}
	return [...]string{"undecided", "accept", "defer", "reject", "quarantine"}[a]
}

// The reason words.
const (
	ReasonPass          = "dmarc-pass"
	ReasonNone          = "no-policy"
	ReasonMonitor       = "dmarc-monitor"
	ReasonPolicyNone    = "dmarc-none"
	ReasonReject        = "dmarc-reject"
	ReasonQuarantine    = "dmarc-quarantine"
	ReasonList          = "mailing-list"
	ReasonForwarder     = "forwarder"
	ReasonSealed        = "arc-sealer"
	ReasonListed        = "dnsbl"
	ReasonDNS           = "dns-temporary"
	ReasonDNSLong       = "dns-failing-long"
	ReasonDNSQuarantine = "dns-failing-quarantine"
	ReasonNoFrom        = "no-from"
	ReasonManyFrom      = "several-from"
	ReasonFromSyntax    = "from-syntax"
	ReasonAuthors       = "too-many-authors"
	ReasonUnchecked     = "not-checked"
)

// Decision is the outcome. Reply is nil for Accept and Quarantine.
type Decision struct {
	Action Action
	Reason string
	Reply  *smtpline.Reply
}

// Decide applies the policy of the author's domain (RFC 9989, Section 7) as
// the operator wants it. SPF and DKIM refuse nothing by themselves: a failing
// SPF is how forwarded mail looks (RFC 7208, Section 8.4, leaves it to us).
func Decide(f Facts, p Policy) Decision {
	if len(f.Listings) > 0 && !p.Role && !forwarded(f, p) {
		return refuse(550, "5.7.1", ReasonListed, fmt.Sprintf("client address [%s] is on the block list %s", f.Client, f.Listings[0].List))
	}
	if !f.Ran.DMARC {
		return Decision{Action: Accept, Reason: ReasonUnchecked}
	}
	d := judge(f, p)
	if p.DMARC == Monitor && d.Action != Accept {
		return Decision{Action: Accept, Reason: ReasonMonitor}
	}
	return d
}

func judge(f Facts, p Policy) Decision {
	if d, bad := authorless(f); bad {
		return d
	}
	r := f.DMARC
	switch r.Status {
	case dmarc.Pass:
		return Decision{Action: Accept, Reason: ReasonPass}
	case dmarc.TempError:
		return unsure(f, p)
	case dmarc.None:
		return Decision{Action: Accept, Reason: ReasonNone}
	}
	if r.Applied <= dmarc.Nothing {
		return Decision{Action: Accept, Reason: ReasonPolicyNone}
	}
	if d, ok := exception(f, p); ok {
		return d
	}
	if r.Applied == dmarc.Quarantine {
		return Decision{Action: Quarantine, Reason: ReasonQuarantine}
	}
	return refuse(550, "5.7.1", ReasonReject, fmt.Sprintf(
		"message refused by the DMARC policy of %s (p=reject): neither SPF nor DKIM vouches for that domain", r.Author))
}

// authorless refuses what has no author that could be judged: the ways around
// DMARC (RFC 9989, Section 11.5; RFC 5322, Section 3.6 wants exactly one From).
func authorless(f Facts) (Decision, bool) {
	switch {
	case errors.Is(f.Author, message.ErrNoFrom), f.Author == nil && len(f.Authors) == 0:
		return refuse(550, "5.6.0", ReasonNoFrom, "message has no From address"), true
	case errors.Is(f.Author, message.ErrManyFrom):
		return refuse(550, "5.6.0", ReasonManyFrom, "message has more than one From field"), true
	case f.Author != nil:
		return refuse(550, "5.6.0", ReasonFromSyntax, "the From field of the message is malformed"), true
	case f.DMARC.TooManyAuthors:
		return refuse(550, "5.7.1", ReasonAuthors, "message has too many author domains"), true
	}
	return Decision{}, false
}

// unsure defers where an answer of the DNS is missing that could still turn
// the outcome, and accepts where it could not. What has been missing for long
// is not waited for: a policy that is known is then followed as far as a
// quarantine, since whoever forges the author can keep a key from being found.
func unsure(f Facts, p Policy) Decision {
	r := f.DMARC
	if r.Record != nil && r.Applied <= dmarc.Nothing {
		return Decision{Action: Accept, Reason: ReasonPolicyNone}
	}
	if !p.Patient {
		return tired(f, p)
	}
	code := "4.4.3"
	if f.From.Status == spf.TempError {
		code = "4.7.24" // RFC 7372, Section 3.2
	}
	return refuse(451, code, ReasonDNS, fmt.Sprintf(
		"the DNS of %s or of a domain that vouches for it does not answer, please try again later", r.Author))
}

// tired decides without the answer.
func tired(f Facts, p Policy) Decision {
	if f.DMARC.Record == nil {
		return Decision{Action: Accept, Reason: ReasonDNSLong}
	}
	if d, ok := exception(f, p); ok {
		return d
	}
	return Decision{Action: Quarantine, Reason: ReasonDNSQuarantine}
}

func refuse(code int, enhanced, reason, text string) Decision {
	d := Decision{Action: Reject, Reason: reason, Reply: smtpline.Refuse(code, enhanced, reason, text)}
	if code < 500 {
		d.Action = Defer
	}
	return d
}

// exception takes what somebody known has broken on the way (RFC 9989, Section 7;
// RFC 7960).
func exception(f Facts, p Policy) (Decision, bool) {
	switch {
	case fromList(f, p.Lists):
		return Decision{Action: Accept, Reason: ReasonList}, true
	case forwarded(f, p):
		return Decision{Action: Accept, Reason: ReasonForwarder}, true
	case slices.Contains(f.Sealed, f.DMARC.Author):
		return Decision{Action: Accept, Reason: ReasonSealed}, true
	}
	return Decision{}, false
}

func forwarded(f Facts, p Policy) bool {
	return slices.ContainsFunc(p.Forwarders, func(w Forwarder) bool { return w.is(f) })
}

// fromList tells whether a known mailing list has signed the message.
func fromList(f Facts, lists []string) bool {
	for _, list := range lists {
		signed := slices.ContainsFunc(f.DKIM, func(s dkim.Signature) bool {
			return s.Status == dkim.Pass && within(s.Domain, list)
		})
		named := slices.ContainsFunc(f.Lists, func(id string) bool { return within(id, list) })
		if signed && named {
			return true
		}
	}
	return false
}

func within(name, domain string) bool {
	return name == domain || domain != "" && strings.HasSuffix(name, "."+domain)
}
