// Package rollover decides which keys a zone has, what each of them does, and
// when that changes: (policy, keys and their states, what was seen, now) ->
// (new states, a plan with the time to ask again).
//
// It is pure: no disk, no clock, no goroutine. Whoever calls it (dns/authority)
// makes the keys that a plan asks for, writes the states down before it
// publishes what they allow, signs with the uses that the plan gives, and tells
// what it has seen: its own served versions, the serials of the secondaries,
// the DS set at the parent as our own resolver validated it.
//
// # How it decides
//
// A key does four things that we control, each a Turn that is on or off: it
// stands in the DNSKEY set, it signs that set, it signs the zone's data, and the
// parent is asked for its DS. The fifth, the DS itself, is the parent's (Sight).
// A turn is settled when no cache can hold what was before it: every view serves
// it, every secondary that counts has a serial with it, and from then on the
// largest TTL of what was there before, and a margin, have passed (RFC 7583,
// Section 3: Dprp and TTL). Until then a cache may have either.
//
// Every step must pass one guard (guard.go): each combination of a DS set, a
// DNSKEY set and signatures that caches may hold after the step must validate,
// and by every algorithm that it names, not just by one (RFC 4035, Section 2.2;
// RFC 6840, Section 5.11, asks validators for less). What order the steps come
// in follows from that:
//
//   - ZSK: pre-publication (RFC 6781, Section 4.1.1.1);
//   - KSK: both keys in the set and both signing it, then the DS is replaced
//     (RFC 6781, Section 4.1.2, double signature), in any way the parent likes;
//   - CSK: both at once;
//   - algorithm: first signatures, then keys, then DS, and back in the other
//     order (RFC 6781, Section 4.1.4, the conservative way);
//   - first signature: all at once, and the DS when it is everywhere;
//   - going insecure: first the DS goes, then all else (RFC 6781, Section 4.1.3
//     by its sense; RFC 8078, Section 4, asks the parent).
//
// Besides, a key whose DS was at the parent goes only when the DS of its
// successor was seen there, validated, and nothing that still names the old one
// can be cached.
//
// A secondary that does not answer at all for max(1 h, refresh + retry) after a
// change is no longer waited for; one that answers an old serial is waited for
// until it must have expired the zone. Both raise an alarm. What such a
// secondary then tells to clients it can still reach is not guarded.
//
// Time is counted with the clock on the wall, corrected by that which never
// jumps (Seen.Up): a clock that is set while the process runs neither shortens
// nor lengthens a wait.
package rollover

import "time"

// Role is what a key is made for.
type Role uint8

// The roles.
const (
	_   Role = iota
	CSK      // signs everything; the parent's DS names it
	KSK      // signs the DNSKEY set; the parent's DS names it
	ZSK      // signs the rest
)

// String is the role as key files have it.
func (r Role) String() string { return [...]string{"unknown", "csk", "ksk", "zsk"}[min(r, ZSK)] }

// entry reports whether a DS may name the key.
func (r Role) entry() bool { return r == CSK || r == KSK }

// signs reports whether the key is made to sign the zone's data.
func (r Role) signs() bool { return r == CSK || r == ZSK }

// Use is what a key does in a version of the zone, as bits.
type Use uint8

// The uses.
const (
	InSet     Use = 1 << iota // it stands in the DNSKEY set
	SignsKeys                 // it signs the DNSKEY, CDS and CDNSKEY sets
	SignsData                 // it signs all others
)

// Policy is what the keys of a zone are meant to be.
type Policy struct {
	Split     bool  // a KSK and a ZSK; else a CSK
	Algorithm uint8 // of keys that are made
	// KSKLifetime is that of a KSK or CSK, ZSKLifetime of a ZSK: so long after
	// it was first used a key is replaced. 0: when somebody asks for it.
	KSKLifetime, ZSKLifetime time.Duration
	// Standby: one more key of each role is published and known to the parent,
	// so that one may be replaced at once.
	Standby bool
	// CDS: the parent is told of its DS by CDS and CDNSKEY records.
	CDS bool
	// ParentLag is how long after one of the parent's servers shows a DS set all
	// of them do; 0: an hour.
	ParentLag time.Duration
	// DSTTL is taken for the TTL of a DS set as long as none was seen; 0: a day.
	DSTTL time.Duration
	// Margin is added to each wait for caches; 0: five minutes.
	Margin time.Duration

	broken fault // of tests that must see the machine fail
}

// Key is a key with its states. Its values but Tag, Role, Alg and Made, which
// the key itself has, are kept as Fields. The zero states are those of a key
// that was made and never used.
type Key struct {
	Tag  uint16 // no other key of the zone has it
	Role Role
	Alg  uint8
	Made time.Time

	Set  Turn // it is in the DNSKEY set
	Keys Turn // it signs the DNSKEY set
	Data Turn // it signs the zone's data
	Want Turn // the parent shall have its DS
	DS   Sight

	Retire Retire
	Spare  bool // it stands by, since the policy has such keys
}

// Retire says that a key is to be replaced.
type Retire uint8

// Why a key retires. Compromised is one that is no longer trusted: it goes on
// no more than caches need, and is deleted as soon as it is out of use.
const (
	Stays Retire = iota
	Retires
	Compromised
)

// Turn is something that a key does or not. The zero value is off, and was
// always so.
type Turn struct {
	On bool
	// Since is when it was decided; zero: it was always so, or before anybody
	// counted.
	Since time.Time
	// Until is when no cache has what was before; zero while not everybody
	// serves what was decided.
	Until time.Time

	// served is what is known of each view since this process runs: the first
	// serial seen to have it, and when. It is found anew after a restart.
	served map[string]version
}

// version is one that a view serves.
type version struct {
	serial uint32
	at     time.Time
}

// Sight is whether the parent has a DS of the key, as far as was seen.
type Sight struct {
	Seen  bool
	Since time.Time // the first of all looks since then found the same
}

// Mark is the largest TTL that caches may still go by.
type Mark struct {
	TTL    time.Duration
	Served time.Duration // the one that was last served, when that is less
	Less   Turn          // to what is Served; settled: the larger is forgotten
}

// State is all that is known of a zone's keys. Advance leaves the one that it
// is given as it is.
type State struct {
	Keys []Key
	// Insecure: the zone shall lose its signatures.
	Insecure bool
	// KeyTTL is of the DNSKEY set, DataTTL of all else, denial among it, and
	// DSTTL of the DS set at the parent.
	KeyTTL, DataTTL, DSTTL Mark

	// What follows is not kept, and zero after a restart.

	// Clock is what the clocks said when Advance was last called.
	Clock Clock
	// Looked is the last look at the parent that told something.
	Looked time.Time
	// Began is when Advance was first called.
	Began time.Time
	// heard is when each secondary, by view and name, was first known to have
	// answered as lately as it did: dated by the clock that is corrected.
	heard map[[2]string]hearing
}

// hearing is an answer of a secondary: when it says that it was, and when that was
// first told.
type hearing struct{ raw, at time.Time }

// Clock is what two clocks said at the same moment.
type Clock struct {
	Wall time.Time
	Up   time.Duration
}

// Plan is what is to be done, and how the zone is to be signed until the next.
type Plan struct {
	// Make are keys to be made. They are added to the State, and Advance asked
	// again before anything is signed.
	Make []Make
	// Uses is what each key does in the version that is signed next; a key that
	// does nothing is not among them.
	Uses map[uint16]Use
	// CDS are the keys of which the zone has CDS and CDNSKEY records; none: it
	// has no such sets. Delete asks for a DS set without any (RFC 8078,
	// Section 4).
	CDS    []uint16
	Delete bool
	// DS are the keys whose DS belong at the parent now: all of them, and no
	// others. A registrar that takes no CDS is told of them.
	DS []uint16
	// Hold says why nothing signed may be published, as the word of an alarm;
	// "" where it may.
	Hold string
	// Unsigned: the zone is published without signatures (after State.Insecure).
	Unsigned bool
	// Remove are keys that nobody needs any more.
	Remove []uint16
	// Wake is when to ask again at the latest; zero: when something is seen.
	// Ask is when a look at the parent is wanted.
	Wake, Ask time.Time
	// Steps are the changes that this call decided, in words.
	Steps []string
	// Next says what happens next, and when.
	Next   string
	Alarms []Alarm
}

// Make is a key to be made.
type Make struct {
	Role Role
	Alg  uint8
}

// Alarm is something that a person should look after.
type Alarm struct {
	Reason string // one of the words below
	Text   string
}

// Reason words of alarms.
const (
	// ReasonOrphanDS: the parent has a DS that leads to no key of ours. Nothing
	// is changed, and a zone that is not signed yet is not signed.
	ReasonOrphanDS = "ds-orphan"
	// ReasonParentBogus: what the parent says does not validate. Nothing is
	// changed.
	ReasonParentBogus = "parent-bogus"
	// ReasonParentUnknown: nothing could be learned of the parent. What needs it
	// waits.
	ReasonParentUnknown = "parent-unknown"
	// ReasonDSGone: the parent had a DS of ours and has none, and nobody asked
	// for that.
	ReasonDSGone = "ds-gone"
	// ReasonDSWaits: the parent does not do what it was asked for.
	ReasonDSWaits = "ds-waits"
	// ReasonSilent: a secondary does not answer, and is not waited for.
	ReasonSilent = "secondary-silent"
	// ReasonBehind: a secondary answers an old serial.
	ReasonBehind = "secondary-behind"
	// ReasonPolicy: the keys are not those of the policy; only a roll leads
	// there.
	ReasonPolicy = "keys-differ"
	// ReasonClock: the clock was set.
	ReasonClock = "clock-jumped"
	// ReasonStuck: no step is safe. It is a fault of ours, or of who changed the
	// states by hand.
	ReasonStuck = "roll-stuck"
)
