// Package update is the rules of dynamic update: it reads an UPDATE message,
// judges its prerequisites, asks whether the key may do what it wants, and
// says what the zone's records would be. The order of the steps, and so of the
// errors, is that of RFC 2136, Section 3: zone section, prerequisites, the form
// of the update section, permission, change.
//
// It also lays what updates changed over the records that the admin wrote: by
// RRset, and the admin's later edit of the same RRset wins (overlay.go).
//
// It is pure: no disk, no clock, no goroutine, and nothing of a message is
// unpacked before somebody asks for it, so that the caller can first weigh the
// signature. RFC 2136; RFC 3007; RFC 2181, Section 5.2.
package update

import (
	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Response codes of this package (RFC 2136, Section 2.2).
const (
	NoError  = dns.RcodeSuccess
	FormErr  = dns.RcodeFormatError
	ServFail = dns.RcodeServerFailure
	NXDomain = dns.RcodeNameError
	Refused  = dns.RcodeRefused
	YXDomain = dns.RcodeYXDomain
	YXRRSet  = dns.RcodeYXRrset
	NXRRSet  = dns.RcodeNXRrset
	NotAuth  = dns.RcodeNotAuth
	NotZone  = dns.RcodeNotZone
)

// Refusal is why an update is not carried out.
type Refusal struct {
	Rcode  int
	Reason string // a stable reason word
	Owner  name.Name
	Type   uint16 // of the record that it is about; 0: none
}

// Error names the reason and the record.
func (r *Refusal) Error() string {
	text := dns.RcodeToString[r.Rcode] + ": " + r.Reason
	if r.Owner != "" {
		text += ": " + r.Owner.String() + " " + dns.Type(r.Type).String()
	}
	return text
}

// Reason words of refusals.
const (
	ReasonForm     = "update-malformed"    // FORMERR: what is not as RFC 2136 has it
	ReasonOutside  = "update-outside"      // NOTZONE: a name that is not in the zone
	ReasonUnmet    = "update-prerequisite" // YXDOMAIN, YXRRSET, NXDOMAIN, NXRRSET: a prerequisite is not met
	ReasonRule     = "update-not-allowed"  // REFUSED: no rule lets the key do it
	ReasonTooLarge = "update-too-large"    // REFUSED: more records than MaxRecords
)

// MaxRecords bounds the prerequisites and updates of one message together.
const MaxRecords = 1000

func form(r Record) *Refusal    { return &Refusal{FormErr, ReasonForm, r.Owner, r.Type} }
func outside(r Record) *Refusal { return &Refusal{NotZone, ReasonOutside, r.Owner, r.Type} }
