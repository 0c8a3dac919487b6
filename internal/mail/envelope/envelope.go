// Package envelope is what travels beside a message: who sent it, who gets it,
// by which door it came, and the queue id by which log lines and replies name
// it. Values only: it opens nothing and starts no goroutine.
//
// Addresses are stored taken apart, local part and domain, and never as one
// string that a later reader could cut differently.
package envelope

import (
	"fmt"
	"net/netip"
	"time"

	"postern/internal/mail/address"
)

// Origin is the door a message came in by. The zero value is no door.
type Origin uint8

// The doors.
const (
	Unknown    Origin = iota
	MX                // port 25: from the world for our domains
	Submission        // an account
	Relay             // a named host that cannot log in
	Bounce            // made here: a delivery status notification
)

var originNames = [...]string{"unknown", "mx", "submission", "relay", "bounce"}

// String returns the origin's name in lower case.
func (o Origin) String() string {
	if int(o) < len(originNames) {
		return originNames[o]
	}
	return originNames[Unknown]
}

// MarshalText returns the origin's name.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads an origin's name; one it does not know is an error.
func (o *Origin) UnmarshalText(text []byte) error {
	for i, name := range originNames {
		if string(text) == name {
			*o = Origin(i)
			return nil
		}
	}
	return fmt.Errorf("unknown origin %q", text)
}

// Notify is what a sender asked to be told about one recipient (RFC 3461,
// Section 4.1). The zero value is nothing asked, which means Failure and,
// where we send them, Delay.
type Notify uint8

// The conditions; Never excludes the others.
const (
	Never Notify = 1 << iota
	Success
	Failure
	Delay
)

// WantsFailure reports whether a failed delivery is to be told.
func (n Notify) WantsFailure() bool { return n == 0 || n&Failure != 0 }

// WantsSuccess reports whether a delivery is to be told.
func (n Notify) WantsSuccess() bool { return n&Success != 0 }

// String writes the value of a NOTIFY parameter; nothing asked is "".
func (n Notify) String() string {
	if n&Never != 0 {
		return "NEVER"
	}
	s := ""
	for _, c := range [...]struct {
		bit  Notify
		name string
	}{{Success, "SUCCESS"}, {Failure, "FAILURE"}, {Delay, "DELAY"}} {
		if n&c.bit == 0 {
			continue
		}
		if s != "" {
			s += ","
		}
		s += c.name
	}
	return s
}

// Envelope is everything about a message that is not in it. It is stored with
// the message and never changed after: what happens to each recipient is kept
// in the spool's journal.
type Envelope struct {
	ID         ID                `json:"id"`
	From       address.Address   `json:"from"` // zero: the null reverse-path
	To         []address.Address `json:"to"`
	Received   time.Time         `json:"received"`
	Client     netip.Addr        `json:"client,omitzero"`
	Helo       string            `json:"helo,omitempty"`
	Account    string            `json:"account,omitempty"` // who logged in, or the relay's name
	Origin     Origin            `json:"origin"`
	TLS        bool              `json:"tls,omitempty"`         // it reached us over TLS
	NoBounce   bool              `json:"no_bounce,omitempty"`   // nothing vouches for From: it is not told of a failure
	UTF8       bool              `json:"utf8,omitempty"`        // sent with SMTPUTF8 (RFC 6531)
	RequireTLS bool              `json:"require_tls,omitempty"` // sent with REQUIRETLS (RFC 8689): it never leaves verified TLS
	Body8Bit   bool              `json:"body8bit,omitempty"`    // sent with BODY=8BITMIME (RFC 6152)
	Ret        string            `json:"ret,omitempty"`         // RET: "", "FULL" or "HDRS" (RFC 3461, Section 4.3)
	EnvID      string            `json:"envid,omitempty"`       // ENVID as received, still in xtext
	Notify     []Notify          `json:"notify,omitempty"`      // per recipient of To; nil: nobody asked
	ORcpt      []string          `json:"orcpt,omitempty"`       // per recipient of To, as received; nil: nobody asked
}

// NotifyOf returns what was asked for recipient i.
func (e Envelope) NotifyOf(i int) Notify {
	if i < 0 || i >= len(e.Notify) {
		return 0
	}
	return e.Notify[i]
}

// ORcptOf returns the original recipient given for recipient i, or "".
func (e Envelope) ORcptOf(i int) string {
	if i < 0 || i >= len(e.ORcpt) {
		return ""
	}
	return e.ORcpt[i]
}
