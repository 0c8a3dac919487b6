package xfr

import (
	"net/netip"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// State is how a secondary stands.
type State uint8

// States.
const (
	Unknown     State = iota // it was told or asked, but nothing came of it yet
	OK                       // it has what is served
	Lagging                  // it answers, with another serial
	Unreachable              // it does not answer, or not usefully, several times on end
)

// String is the state as a word.
func (s State) String() string {
	return [...]string{Unknown: "unknown", OK: "ok", Lagging: "lagging", Unreachable: "unreachable"}[s]
}

// Standing is how one address of a peer stands with one zone in one view.
type Standing struct {
	Zone    name.Name
	View    string
	Peer    string
	Address netip.AddrPort
	State   State
	Served  uint32 // our own serial
	Serial  uint32 // the one last seen there
	Seen    time.Time
	Told    time.Time // when it last answered a NOTIFY; zero: never
	Notify  string    // what came of the last NOTIFY: "", "ok" or why not
	Ask     string    // what came of the last question for its serial
	Since   time.Time // since when it does not have what is served; zero: it has
}

// Reason says why a secondary is not reached; "" where it is.
func (s *Standing) Reason() string {
	switch {
	case s.State != Unreachable:
		return ""
	case s.Ask != "" && s.Ask != said:
		return s.Ask
	}
	return s.Notify
}

// said is how a Standing puts that all went well.
const said = "ok"

// When a secondary is told and asked.
const (
	together   = time.Second            // changes that come closer are told as one
	firstTell  = 2 * time.Second        // after a NOTIFY that was not answered; then twice as long
	mostTells  = 6                      // then it is only asked, until it answers (RFC 1996, Section 3.6: 5 retries)
	firstAsk   = 250 * time.Millisecond // after a NOTIFY was answered; then twice as long
	mostWait   = 15 * time.Minute
	tellAgain  = 4 * time.Minute // who answers and lags after a wait of this length is told once more
	lostAfter  = 3               // failures on end
	answerTime = 3 * time.Second // for one answer
)

type phase uint8

const (
	telling phase = iota
	asking
	resting
)

// secondary is what is to be done about one address of a peer, as rules that
// know no clock. They are told two: now, which they wait by, and wall, which
// others are told; that one may be set. It tells, then asks until the serial is there:
//
//	telling --answered, or too often not--> asking --has it--> resting
//	   ^                                       |
//	   +----------- a new serial, from anywhere; lags on
type secondary struct {
	Standing
	phase  phase
	tries  int // of this phase
	failed int // on end, of any phase
	wait   time.Duration
	due    time.Time
	told   time.Time // when the last NOTIFY went out
}

// changed takes a new serial.
func (s *secondary) changed(serial uint32, now, wall time.Time) {
	s.Served, s.phase, s.tries, s.wait = serial, telling, 0, 0
	s.due = now
	if soonest := s.told.Add(together); soonest.After(now) {
		s.due = soonest
	}
	if s.Serial == serial && s.State == OK {
		return // told once more what it has
	}
	if s.Since.IsZero() {
		s.Since = wall
	}
	if s.State == OK {
		s.State = Lagging
	}
}

// notified takes what came of a NOTIFY.
func (s *secondary) notified(err error, answered bool, now, wall time.Time) {
	s.tries++
	if err == nil {
		s.Notify, s.Told = said, wall
	} else {
		s.Notify = err.Error()
	}
	s.count(err == nil)
	if answered || s.tries >= mostTells {
		s.phase, s.tries = asking, 0
		if s.wait = firstAsk; !answered {
			s.wait = time.Minute
		}
	} else {
		s.wait = max(firstTell, 2*s.wait)
	}
	s.due = now.Add(s.wait)
}

// seen takes what came of a question for its serial.
func (s *secondary) seen(serial uint32, err error, now, wall time.Time) {
	s.tries++
	lost := s.State == Unreachable
	s.count(err == nil)
	s.wait = min(2*s.wait, mostWait)
	s.due = now.Add(s.wait)
	if err != nil {
		s.Ask = err.Error()
		return
	}
	s.Ask, s.Serial, s.Seen = said, serial, wall
	switch {
	case serial == s.Served:
		s.State, s.phase, s.Since, s.due = OK, resting, time.Time{}, time.Time{}
		return
	case lost || s.wait >= tellAgain && zone.SerialLess(serial, s.Served):
		// It is back, or lags on: what it was told may be forgotten.
		s.phase, s.tries = telling, 0
		if lost {
			s.due = now
		}
	}
	s.State = Lagging
}

// count counts failures on end.
func (s *secondary) count(well bool) {
	if s.failed++; well {
		s.failed = 0
	}
	if s.failed >= lostAfter {
		s.State = Unreachable
	}
}
