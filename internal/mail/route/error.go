package route

import "fmt"

// Error is a domain that mail cannot be sent to, now or ever.
type Error struct {
	Temporary bool
	Code      int    // reply code that says the same
	Enhanced  string // RFC 3463
	Text      string // public: for the sender
	Reason    string // stable word for log and metric
	Cause     error  // may be nil
}

// Error says what is wrong, for the log.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Reason, e.Cause)
	}
	return e.Reason + ": " + e.Text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

func permanent(enhanced, reason, text string) *Error {
	return &Error{Code: 550, Enhanced: enhanced, Reason: reason, Text: text}
}

func temporary(enhanced, reason, text string, cause error) *Error {
	return &Error{Temporary: true, Code: 451, Enhanced: enhanced, Reason: reason, Text: text, Cause: cause}
}

// leadsInside is the refusal of addresses that strangers may not send us to.
func leadsInside(domain string) *Error {
	return permanent("5.4.6", "mx-inside", "The mail servers of "+domain+" have no address that mail can be sent to")
}
