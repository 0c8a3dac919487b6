// Package spf says whether a host may send for a domain (RFC 7208): the HELO
// and the MAIL FROM identity. A record is read as a whole first, since a fault
// anywhere voids it, and evaluated over lookup.Resolver then. The limits are the
// standard's: 10 terms with look-ups, 2 void look-ups, 10 hosts per mx. The time
// limit (Section 4.6.4: 20 seconds) is the caller's context.
//
// It decides nothing about the message, keeps nothing and starts no goroutine.
// An exp= explanation is not fetched: its text is the sender domain's, and
// nobody here shows it.
package spf

import (
	"context"
	"net/netip"
	"strings"

	"postern/internal/lookup"
	"postern/internal/mail/address"
)

// Status is a result of RFC 7208, Section 2.6. The zero value is none.
type Status uint8

// The results.
const (
	None Status = iota
	Neutral
	Pass
	Fail
	SoftFail
	TempError
	PermError
)

var names = [...]string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}

// String is the word of RFC 8601, Section 2.7.2.
func (s Status) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return names[None]
}

// Identity is whose domain was checked (RFC 7208, Sections 2.3 and 2.4).
type Identity uint8

// The identities.
const (
	NotChecked Identity = iota
	HELO
	MailFrom
)

// String is the property that names the identity in RFC 8601, Section 2.7.2.
func (i Identity) String() string {
	return [...]string{"", "helo", "mailfrom", ""}[i&3]
}

// Result is the outcome for one identity.
type Result struct {
	Identity Identity
	Status   Status
	Domain   string // the domain checked: A-labels, lower case; for a null sender the HELO domain
	Explain  string // what decided, for the log and a comment
}

// CheckHELO evaluates the HELO identity.
func CheckHELO(ctx context.Context, r lookup.Resolver, client netip.Addr, helo string) Result {
	domain, ok := host(helo)
	if !ok {
		return Result{Identity: HELO, Explain: "HELO is not a domain name"}
	}
	return check(ctx, r, client, domain, address.Address{Local: "postmaster", Domain: domain}, HELO)
}

// CheckMailFrom evaluates the MAIL FROM identity. For the null sender that is
// postmaster at the HELO domain (RFC 7208, Section 2.4), and the result says
// HELO.
func CheckMailFrom(ctx context.Context, r lookup.Resolver, client netip.Addr, helo string, from address.Address) Result {
	if from.Domain == "" {
		return CheckHELO(ctx, r, client, helo)
	}
	if _, ok := host(from.Domain); !ok {
		return Result{Identity: MailFrom, Domain: from.Domain, Explain: "not a domain name"}
	}
	helo, err := address.ParseDomain(helo)
	if err != nil {
		helo = "unknown" // for macros that ask (RFC 7208, Section 7.2)
	}
	return check(ctx, r, client, helo, from, MailFrom)
}

// host returns the canonical form of a name that RFC 7208, Section 4.3 lets be
// checked: well formed and of several labels.
func host(s string) (string, bool) {
	d, err := address.ParseDomain(strings.TrimSuffix(s, "."))
	if err != nil || strings.HasPrefix(d, "[") || !strings.Contains(d, ".") {
		return "", false
	}
	return d, true
}

func check(ctx context.Context, r lookup.Resolver, client netip.Addr, helo string, from address.Address, id Identity) Result {
	out := Result{Identity: id, Domain: from.Domain}
	client = client.Unmap().WithZone("")
	if !client.IsValid() {
		out.Status, out.Explain = PermError, "no client address"
		return out
	}
	e := evaluation{ctx: ctx, r: r, client: client, helo: helo, local: from.Local, sender: from.Domain}
	got := e.check(from.Domain)
	out.Status, out.Explain = got.status, got.why
	if ctx.Err() != nil && out.Status != Pass {
		out.Status, out.Explain = TempError, "time-out"
	}
	return out
}
