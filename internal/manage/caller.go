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
}

// Error returns the text with its hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Text
	}
	return fmt.Sprintf("%s (%s)", e.Text, e.Hint)
}

// The reason words of Error.
const (
	ReasonUsage     = "usage"      // the request itself is malformed
	ReasonUnknown   = "unknown"    // no such verb, zone, account, message
	ReasonForbidden = "forbidden"  // the caller may not
	ReasonFailed    = "failed"     // tried, and it went wrong
	ReasonNotThere  = "not-served" // this configuration has no such part
)
