package xfr

import (
	"errors"
	"fmt"

	"postern/internal/metrics"
)

// Reason is why a check or a transfer from a primary came to nothing.
type Reason uint8

// Reasons. The words are those of log, status, metrics and manual.
const (
	Silent         Reason = iota + 1 // no connection, or no answer
	CutShort                         // the connection ended before the transfer did
	TooSlow                          // the next message did not come in time
	TooLong                          // the transfer took longer than it may
	Refused                          // an rcode
	NotAuthority                     // it has no authority for the zone
	NotAsked                         // a reply to something else
	Malformed                        // no DNS message, or one that no transfer has
	Unsigned                         // a message, or the last, without the signature that it must have
	BadSignature                     // a signature that is wrong
	BadTime                          // a signature of another time than ours
	KeyRefused                       // our own signature was not taken, or cannot be made
	TLSFailed                        // no TLS, or not as it must be
	NoSOA                            // it does not begin with the zone's SOA
	SOADiffers                       // it does not end with the SOA it began with
	SOAInside                        // a SOA below the apex
	AfterEnd                         // records after the end
	OutOfZone                        // an owner outside the zone
	WrongClass                       // a class other than IN
	UnfitRecord                      // a record that no zone has, or that could not be served as it came
	Misfit                           // differences of another zone than ours
	Older                            // a serial that is not newer than ours
	TooManyRecords                   // over the bound
	TooManyOctets                    // over the bound
	NoProgress                       // messages without records on end
	NotTaken                         // sound, but not taken: what is behind it says why
	numReasons
)

// Faults counts what came of checks and transfers that came to nothing, by
// reason.
type Faults struct {
	Unreachable    metrics.Counter // no connection, or no answer
	CutShort       metrics.Counter // the connection ended before the transfer did
	TooSlow        metrics.Counter // the next message did not come in time
	TooLong        metrics.Counter // the transfer took longer than it may
	Refused        metrics.Counter // an rcode
	NotAuthority   metrics.Counter // no authority for the zone
	NotAsked       metrics.Counter // a reply to something else
	Malformed      metrics.Counter // no DNS message, or one that no transfer has
	Unsigned       metrics.Counter // without the signature that must be there
	BadSignature   metrics.Counter // a signature that is wrong
	BadTime        metrics.Counter // a signature of another time
	KeyRefused     metrics.Counter // our own signature was not taken
	TLSFailed      metrics.Counter // no TLS, or not as it must be
	NoSOA          metrics.Counter // begun without the zone's SOA
	SOADiffers     metrics.Counter // ended with another SOA than begun
	SOAInside      metrics.Counter // a SOA below the apex
	AfterEnd       metrics.Counter // records after the end
	OutOfZone      metrics.Counter // an owner outside the zone
	WrongClass     metrics.Counter // a class other than IN
	UnfitRecord    metrics.Counter // a record that could not be served as it came
	Misfit         metrics.Counter // differences of another zone than ours
	Older          metrics.Counter // a serial that is not newer than ours
	TooManyRecords metrics.Counter // over the bound
	TooManyOctets  metrics.Counter // over the bound
	NoProgress     metrics.Counter // messages without records on end
	NotTaken       metrics.Counter // sound, but not taken
}

var reasons = [numReasons]struct {
	word    string
	counter func(*Faults) *metrics.Counter
}{
	Silent:         {"unreachable", func(f *Faults) *metrics.Counter { return &f.Unreachable }},
	CutShort:       {"cut-short", func(f *Faults) *metrics.Counter { return &f.CutShort }},
	TooSlow:        {"too-slow", func(f *Faults) *metrics.Counter { return &f.TooSlow }},
	TooLong:        {"too-long", func(f *Faults) *metrics.Counter { return &f.TooLong }},
	Refused:        {"refused", func(f *Faults) *metrics.Counter { return &f.Refused }},
	NotAuthority:   {"not-authority", func(f *Faults) *metrics.Counter { return &f.NotAuthority }},
	NotAsked:       {"not-asked", func(f *Faults) *metrics.Counter { return &f.NotAsked }},
	Malformed:      {"malformed", func(f *Faults) *metrics.Counter { return &f.Malformed }},
	Unsigned:       {"unsigned", func(f *Faults) *metrics.Counter { return &f.Unsigned }},
	BadSignature:   {"bad-signature", func(f *Faults) *metrics.Counter { return &f.BadSignature }},
	BadTime:        {"bad-time", func(f *Faults) *metrics.Counter { return &f.BadTime }},
	KeyRefused:     {"key-refused", func(f *Faults) *metrics.Counter { return &f.KeyRefused }},
	TLSFailed:      {"tls-failed", func(f *Faults) *metrics.Counter { return &f.TLSFailed }},
	NoSOA:          {"no-soa", func(f *Faults) *metrics.Counter { return &f.NoSOA }},
	SOADiffers:     {"soa-differs", func(f *Faults) *metrics.Counter { return &f.SOADiffers }},
	SOAInside:      {"soa-inside", func(f *Faults) *metrics.Counter { return &f.SOAInside }},
	AfterEnd:       {"after-end", func(f *Faults) *metrics.Counter { return &f.AfterEnd }},
	OutOfZone:      {"out-of-zone", func(f *Faults) *metrics.Counter { return &f.OutOfZone }},
	WrongClass:     {"wrong-class", func(f *Faults) *metrics.Counter { return &f.WrongClass }},
	UnfitRecord:    {"unfit-record", func(f *Faults) *metrics.Counter { return &f.UnfitRecord }},
	Misfit:         {"misfit", func(f *Faults) *metrics.Counter { return &f.Misfit }},
	Older:          {"older", func(f *Faults) *metrics.Counter { return &f.Older }},
	TooManyRecords: {"too-many-records", func(f *Faults) *metrics.Counter { return &f.TooManyRecords }},
	TooManyOctets:  {"too-many-octets", func(f *Faults) *metrics.Counter { return &f.TooManyOctets }},
	NoProgress:     {"no-progress", func(f *Faults) *metrics.Counter { return &f.NoProgress }},
	NotTaken:       {"not-taken", func(f *Faults) *metrics.Counter { return &f.NotTaken }},
}

// String is the reason as a word.
func (r Reason) String() string {
	if r == 0 || r >= numReasons {
		return "unknown"
	}
	return reasons[r].word
}

// Reasons returns all of them.
func Reasons() []Reason {
	var all []Reason
	for r := Silent; r < numReasons; r++ {
		all = append(all, r)
	}
	return all
}

// Fault is a reason and what is behind it.
type Fault struct {
	Reason Reason
	Cause  error // nil: the reason says it all
}

// Error implements error: the reason word comes first.
func (f *Fault) Error() string {
	if f.Cause == nil {
		return f.Reason.String()
	}
	return f.Reason.String() + ": " + f.Cause.Error()
}

// Unwrap returns what is behind it.
func (f *Fault) Unwrap() error { return f.Cause }

// fault makes a Fault with a cause of its own.
func fault(r Reason, format string, args ...any) *Fault {
	return &Fault{Reason: r, Cause: fmt.Errorf(format, args...)}
}

// reasonOf returns the reason of an error.
func reasonOf(err error) Reason {
	var f *Fault
	if errors.As(err, &f) {
		return f.Reason
	}
	return NotTaken
}

// count counts an error by its reason.
func (f *Faults) count(err error) { reasons[reasonOf(err)].counter(f).Inc() }
