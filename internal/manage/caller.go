// Package manage is everything an operator can do, in one place: each action
// has a verb, is authorised, done and logged with who asked. The command line
// reaches it through the control socket; later doors will reach the same Desk.
//
// It starts no goroutine and keeps no state of its own.
package manage

import "fmt"

// Caller is who asks, as the kernel vouches for it.
type Caller struct {
	UID uint32
	PID int32
}

// Error is a request that was refused or could not be done.
type Error struct {
	Reason string `json:"reason"`         // stable word for scripts
	Text   string `json:"text"`           // what, where, why
	Hint   string `json:"hint,omitempty"` // what to do about it

	Details []string `json:"details,omitempty"` // every problem, where there are several
}

// Error returns the text with its hint, and each detail on a line of its own.
func (e *Error) Error() string {
	text := e.Text
	if e.Hint != "" {
		text += fmt.Sprintf(" (hint: %s)", e.Hint)
	}
	for _, d := range e.Details {
		text += "\n  " + d
	}
	return text
}

// The reason words of Error.
const (
	ReasonUsage     = "usage"      // the request itself is malformed
	ReasonUnknown   = "unknown"    // no such verb, zone, account, message
	ReasonForbidden = "forbidden"  // the caller may not
	ReasonFailed    = "failed"     // tried, and it went wrong
	ReasonNotThere  = "not-served" // this configuration has no such part
)
