// Package lookup is how the rest of Postern asks the DNS for records: a small
// interface of plain values, so that the mail wing never sees the DNS wing and
// so that the two can one day run as separate processes.
//
// What it answers is the world as outsiders see it: our own external view
// first, then iteration from the root; never internal data. It starts no
// goroutine and holds no state.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Type is the record type of a question (RFC 1035, Section 3.2.2). Only the
// types below may be asked for.
type Type uint16

// The record types that mail needs.
const (
	A     Type = 1
	CNAME Type = 5
	PTR   Type = 12
	MX    Type = 15
	TXT   Type = 16
	AAAA  Type = 28
	TLSA  Type = 52
)

// String returns the type's mnemonic.
func (t Type) String() string {
	switch t {
	case A:
		return "A"
	case CNAME:
		return "CNAME"
	case PTR:
		return "PTR"
	case MX:
		return "MX"
	case TXT:
		return "TXT"
	case AAAA:
		return "AAAA"
	case TLSA:
		return "TLSA"
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}

// Status says what kind of answer was reached. The zero value is no answer.
type Status uint8

// The kinds of answer.
const (
	Unknown  Status = iota
	Found           // at least one record
	NoData          // the name exists, the type does not (RFC 2308, Section 2.2)
	NXDomain        // the name does not exist (RFC 2308, Section 2.1; RFC 8020)
)

// String returns the status in lower case.
func (s Status) String() string {
	return [...]string{"unknown", "found", "nodata", "nxdomain"}[s&3]
}

// Record is the data of one record; which fields are set depends on the type
// asked for.
type Record struct {
	Addr       netip.Addr // A, AAAA
	Host       string     // MX, PTR, CNAME: absolute, lower case, with its final dot
	Preference uint16     // MX
	Text       string     // TXT: the strings joined without a separator (RFC 7208, Section 3.3)
	Data       []byte     // TLSA: raw RDATA
}

// Answer is the outcome of one question.
type Answer struct {
	Status    Status
	Canonical string   // the name that Records stand at, after CNAMEs
	Records   []Record // in the order received
	Authentic bool     // every step was validated by DNSSEC
}

// Resolver answers questions. Implementations are safe for concurrent use and
// honour the context's deadline. The name is in presentation form, absolute
// with or without the final dot. A returned error is always an *Error.
type Resolver interface {
	Query(ctx context.Context, name string, t Type) (Answer, error)
}

// Error is a question that got no usable answer: a time-out, SERVFAIL, a
// bogus signature, or a name that cannot be asked for.
type Error struct {
	Name      string
	Type      Type
	Temporary bool // asking again later may help
	Cause     error
}

// Error says what was asked and why no answer came.
func (e *Error) Error() string {
	return fmt.Sprintf("look up %s %s: %v", e.Name, e.Type, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// IsTemporary reports whether err may go away by itself. Unknown errors count
// as temporary: mail waits rather than bounces.
func IsTemporary(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Temporary
	}
	return err != nil
}
