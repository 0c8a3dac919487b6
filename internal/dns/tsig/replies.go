package tsig

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"
)

// MaxUnsigned is how many messages without a signature may stand between two
// with one (RFC 8945, Section 5.3.1).
const MaxUnsigned = 99

// What is wrong with a reply of many messages, besides what may be wrong with
// one.
var (
	ErrFirst = fmt.Errorf("%w: the first message", ErrUnsigned)
	ErrLast  = fmt.Errorf("%w: the last message", ErrUnsigned)
	ErrGap   = fmt.Errorf("%w: more than %d messages on end", ErrUnsigned, MaxUnsigned)
	ErrEnded = errors.New("a message after one that was refused")
)

// Replies weighs the messages of a reply that has many of them (RFC 8945,
// Section 5.3.1): the first over the MAC of the request and the variables, each
// that follows over the MAC before it, the messages without a MAC since, and
// the timers. Nothing of a message is to be believed before a later Verify says
// that it is Proven, or before End has returned nil.
type Replies struct {
	asked    *Asked
	mac      hash.Hash // of what came since the last MAC
	last     []byte    // that MAC; empty: none came
	unsigned int       // messages since
	failed   error
}

// Replies begins to weigh a reply of many messages.
func (a *Asked) Replies() *Replies {
	r := &Replies{asked: a, mac: a.key.new()}
	digestPrior(r.mac, a.mac)
	return r
}

// Verify weighs the next message. After an error every other message fails too.
func (s *Replies) Verify(msg []byte, now time.Time) error {
	if s.failed != nil {
		return fmt.Errorf("%w: %w", ErrEnded, s.failed)
	}
	s.failed = s.next(msg, now)
	return s.failed
}

func (s *Replies) next(msg []byte, now time.Time) error {
	at, ok := last(msg)
	if !ok {
		if hasTSIG(msg) {
			return ErrProof // RFC 8945, Section 5.1: once, and the last record
		}
		switch s.unsigned++; {
		case len(s.last) == 0:
			return ErrFirst
		case s.unsigned > MaxUnsigned:
			return ErrGap
		}
		s.mac.Write(msg)
		return nil
	}
	key := s.asked.key
	r, ok := read(msg, at)
	switch {
	case !ok || r.key != key.Name || r.algorithm != algorithms[key.Algorithm].wire:
		return ErrProof
	case len(r.mac) == 0 && r.error != 0: // see Asked.Verify
		return rejected(r.error)
	case len(r.mac) != key.Algorithm.Size():
		return ErrProof
	}
	digest(s.mac, msg[:at], r.id, binary.BigEndian.Uint16(msg[10:])-1)
	if len(s.last) == 0 {
		r.digest(s.mac)
	} else {
		r.digestTimers(s.mac)
	}
	switch {
	case subtle.ConstantTimeCompare(s.mac.Sum(nil), r.mac) != 1:
		return ErrProof
	case r.error != 0:
		return rejected(r.error)
	case apart(clock(now), r.time) > uint64(r.fudge):
		return ErrClock
	}
	s.last, s.unsigned = append(s.last[:0], r.mac...), 0
	s.mac.Reset()
	digestPrior(s.mac, s.last)
	return nil
}

// Proven reports whether all messages so far are proven: the last of them was
// signed.
func (s *Replies) Proven() bool { return s.failed == nil && len(s.last) > 0 && s.unsigned == 0 }

// End says whether the reply may end here: its last message must be signed, for
// the end of one cut short is not.
func (s *Replies) End() error {
	switch {
	case s.failed != nil:
		return s.failed
	case !s.Proven():
		return ErrLast
	}
	return nil
}
