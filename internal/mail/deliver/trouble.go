package deliver

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
)

// ReasonBroken is a message whose file has lost its end, or has changed. Nothing
// of it was sent as a message.
const ReasonBroken = "spool-broken"

// trouble is why something did not work, in the form a result needs.
type trouble struct {
	code      int // of a reply; 0: there was none
	enhanced  string
	text      string
	reason    string
	permanent bool
	dead      bool // the address does not answer as a mail server
	plain     bool // the TLS handshake failed: worth a try without
	stop      bool // no other host may be tried
}

// refused is a reply that says no.
func refused(r reply, reason string) *trouble {
	t := &trouble{code: r.code, enhanced: r.enhanced, text: r.text(), reason: reason, permanent: r.code/100 == 5}
	if r.code/100 != 4 && r.code/100 != 5 {
		// A server that answers out of turn may be mended; it is no refusal.
		return &trouble{code: r.code, enhanced: "4.5.0", text: "unexpected reply: " + r.text(), reason: "unexpected-reply"}
	}
	if t.enhanced == "" {
		t.enhanced = map[bool]string{true: "5.0.0", false: "4.0.0"}[t.permanent]
	}
	return t
}

// broken is a conversation that ended without a reply. while says what was
// waited for. The text tells nothing about our own addresses.
func broken(err error, while string) *trouble {
	var slow net.Error
	switch {
	case errors.Is(err, errReply), errors.Is(err, errUnasked):
		return &trouble{enhanced: "4.5.0", text: err.Error() + " while " + while, reason: "protocol"}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return &trouble{enhanced: "4.4.2", text: "timed out while " + while, reason: "timeout"}
	}
	return &trouble{enhanced: "4.4.2", text: "connection lost while " + while, reason: "lost"}
}

// unreached is a connection that could not be made.
func unreached(err error, p peer) *trouble {
	why := "failed"
	var slow net.Error
	switch {
	case errors.Is(err, errNoSource):
		why = "has no source address of ours to come from"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		why = "found no way there"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		why = "timed out"
	}
	return &trouble{enhanced: "4.4.1", text: "connection to " + p.String() + " " + why, reason: "connect", dead: true}
}

var errNoSource = errors.New("no source address of this family")

// contentTrouble is a message that must not be sent as it is.
func contentTrouble(err error) *trouble {
	if errors.Is(err, errFraming) {
		return &trouble{enhanced: "5.6.0", text: "the message holds a bare CR, LF or NUL", reason: "framing", permanent: true}
	}
	t := &trouble{enhanced: "4.3.0", text: "the message cannot be read here", reason: "spool-read"}
	if errors.Is(err, errCut) {
		t.reason = ReasonBroken
	}
	return t
}

// printable makes foreign text one line of bounded length without controls.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return strings.TrimSpace(s)
}
