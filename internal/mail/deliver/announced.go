package deliver

import (
	"strconv"
	"sync"

	"postern/internal/mail/route"
)

// Abilities are what a next hop can do with a message.
type Abilities struct {
	UTF8       bool  // SMTPUTF8
	RequireTLS bool  // REQUIRETLS, over TLS that was verified
	Size       int64 // the largest message; 0: not said
}

// maxAnnounced bounds the hosts remembered: no configuration has as many.
const maxAnnounced = 1000

// Announced remembers what configured hosts have announced, so that what they
// will refuse can be refused at the door already. It is safe for concurrent use;
// a nil one remembers nothing.
type Announced struct {
	mu   sync.Mutex // guards said
	said map[string]Abilities
}

// Of returns what a hop can do; false where it was never spoken to.
func (a *Announced) Of(h route.Hop) (Abilities, bool) {
	if h.Protocol == route.Maildir {
		return Abilities{UTF8: true, RequireTLS: true}, true
	}
	if a == nil {
		return Abilities{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	can, known := a.said[h.String()]
	return can, known
}

// note keeps what a session has heard.
func (a *Announced) note(s *session) {
	h := s.peer.hop
	if a == nil || !h.Static {
		return
	}
	size, err := strconv.ParseInt(s.ext["SIZE"], 10, 64)
	if err != nil || size < 0 {
		size = 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.said == nil {
		a.said = map[string]Abilities{}
	}
	if _, known := a.said[h.String()]; known || len(a.said) < maxAnnounced {
		a.said[h.String()] = Abilities{UTF8: s.has("SMTPUTF8"), RequireTLS: s.keepsTLS(), Size: size}
	}
}

// keepsTLS reports a server that may get a message that was sent with REQUIRETLS
// (RFC 8689, Section 4.2.1).
func (s *session) keepsTLS() bool {
	return s.version != "" && s.peer.hop.TLS.Mode == route.Required && s.has("REQUIRETLS")
}

// leavesTLS is why a message that must not leave TLS is not given to a server.
// Another may be able to.
var leavesTLS = trouble{enhanced: "5.7.30", text: "REQUIRETLS was asked for, and the next hop cannot promise it", reason: reasonNoRequireTLS}

const reasonNoRequireTLS = "no-requiretls"

// giveUpTLS fails the recipients for whom no server kept TLS: that will not
// change by waiting.
func (a *attempt) giveUpTLS() {
	for _, i := range a.open {
		if r := &a.report.Results[i]; r.Reason == reasonNoRequireTLS {
			r.Outcome = Failed
		}
	}
}
