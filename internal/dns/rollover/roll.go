package rollover

import (
	"errors"
	"fmt"
	"time"
)

// What an operator may ask of a zone's keys. Each returns the new State, whose
// Fields are to be durable like those that Advance returns.

// Why something asked for is not done.
var (
	ErrNothing  = errors.New("the zone has no such key in use")
	ErrUnder    = errors.New("a roll of this key is under way")
	ErrWhole    = errors.New("the keys are not those of the policy: only all of them can be rolled")
	ErrInsecure = errors.New("the zone is going insecure")
)

// Which says which keys are rolled.
type Which uint8

// The choices. All is what changes algorithm or model too: new keys are made as
// the policy says.
const (
	All Which = iota
	Entries
	Signers
)

func (w Which) takes(k *Key) bool {
	switch w {
	case Entries:
		return k.Role.entry()
	case Signers:
		return k.Role.signs()
	}
	return true
}

// Roll lets keys retire, so that others take their place. Because of one that is
// compromised it takes no heed of a roll under way; the new key is used as soon
// as caches allow, at once if one stands by.
func (s State) Roll(p Policy, which Which, compromised bool) (State, error) {
	if s.Insecure {
		return s, ErrInsecure
	}
	s = s.clone()
	why, rolled := Retires, false
	if compromised {
		why = Compromised
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		if which != All && k.Retire == Stays && !p.fits(k) {
			return s, fmt.Errorf("%w (key %s, algorithm %d)", ErrWhole, k, k.Alg)
		}
		if !which.takes(k) {
			continue
		}
		if k.Retire != Stays && !k.idle() && !compromised {
			return s, fmt.Errorf("%w: key %s", ErrUnder, k)
		}
	}
	for i := range s.Keys {
		// One that stands by takes over; one that is not in use yet needs no roll.
		if k := &s.Keys[i]; which.takes(k) && k.Retire < why && (k.inUse() && !s.standsBy(k) || compromised && k.Retire == Retires) {
			k.Retire, rolled = why, true
		}
	}
	if !rolled {
		return s, ErrNothing
	}
	return s, nil
}

// StandBy are the keys that are there to take the place of another of their
// role at once.
func (s *State) StandBy() []uint16 {
	var tags []uint16
	for i := range s.Keys {
		if k := &s.Keys[i]; k.Retire == Stays && k.Set.On && s.standsBy(k) {
			tags = append(tags, k.Tag)
		}
	}
	return tags
}

// Underway is when the last step was taken of a zone of which keys are on their
// way out; zero: none is.
func (s *State) Underway() time.Time {
	var last time.Time
	leaves := false
	for i := range s.Keys {
		k := &s.Keys[i]
		leaves = leaves || (k.Retire != Stays || s.Insecure) && !k.idle()
		for _, t := range k.turns() {
			if t.Since.After(last) {
				last = t.Since
			}
		}
	}
	if !leaves {
		return time.Time{}
	}
	return last
}

// Reasons are the words of all alarms.
func Reasons() []string {
	return []string{
		ReasonOrphanDS, ReasonParentBogus, ReasonParentUnknown, ReasonDSGone, ReasonDSWaits, ReasonSilent, ReasonBehind,
		ReasonPolicy, ReasonClock, ReasonStuck,
	}
}

// standsBy reports whether another key of the role is longer in use, and stays.
func (s *State) standsBy(k *Key) bool {
	for i := range s.Keys {
		o := &s.Keys[i]
		if o.Tag != k.Tag && o.Role == k.Role && o.Alg == k.Alg && o.Retire == Stays && o.inUse() &&
			(!k.inUse() || o.start().Before(k.start()) || o.start().Equal(k.start()) && o.Tag < k.Tag) {
			return true
		}
	}
	return false
}

// Disable lets the zone go insecure. Its keys stay until the plan says that it
// is unsigned, and after that, so that nobody signs it anew.
func (s State) Disable() State {
	s = s.clone()
	s.Insecure = true
	return s
}

// Enable takes Disable back: the zone is signed on, or again.
func (s State) Enable() State {
	s = s.clone()
	s.Insecure = false
	return s
}

// Adopt adds a key with which the zone is signed already, here or elsewhere, and
// that all caches may know: it goes on doing what it is made for.
func (s State) Adopt(k Key) State {
	s = s.clone()
	on := Turn{On: true}
	k.Set = on
	if k.Role.entry() {
		k.Keys, k.Want = on, on
	}
	if k.Role.signs() {
		k.Data = on
	}
	s.Keys = append(s.Keys, k)
	return s
}

// takeServed begins to count for keys of which nothing is written down though
// the zone is signed with them: it was signed before anything was written.
func (m *machine) takeServed() {
	for i := range m.s.Keys {
		k := &m.s.Keys[i]
		if !k.Set.never() || !k.Data.never() || !k.Want.never() {
			continue
		}
		for j := range m.seen.Views {
			for bit, t := range map[Use]*Turn{InSet: &k.Set, SignsKeys: &k.Keys, SignsData: &k.Data} {
				if m.seen.Views[j].Uses[k.Tag]&bit != 0 && !t.On {
					*t = Turn{On: true, Since: m.stamp}
				}
			}
		}
	}
}

// never reports whether the turn was always off.
func (t *Turn) never() bool { return !t.On && t.Since.IsZero() }

// Forget drops keys that were removed.
func (s State) Forget(tags ...uint16) State {
	s = s.clone()
	kept := s.Keys[:0]
	for _, k := range s.Keys {
		gone := false
		for _, tag := range tags {
			gone = gone || k.Tag == tag
		}
		if !gone {
			kept = append(kept, k)
		}
	}
	s.Keys = kept
	return s
}
