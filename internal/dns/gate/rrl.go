package gate

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"time"

	"postern/internal/metrics"
)

// The response rate limit.
const (
	// rrlSlots bounds how many pairs of prefix and answer are counted at one
	// time: 8 MiB, of which the system gives what is used.
	rrlSlots = 1 << 20
	// rrlWays is how many slots one pair may take its place in; the one least
	// over its rate gives way, without a search.
	rrlWays = 4
	// rrlBurst is what may come at once, in time's worth of replies.
	rrlBurst = time.Second
	// rrlWindow is how far a flood is remembered. Questions count though they
	// get no reply, so while a flood lasts nothing but slips goes out.
	rrlWindow = 15 * time.Second
	// RRLMax is the highest rate; above it the clock is too coarse.
	RRLMax = 10000
)

// Kind is what sort of replies share a bucket.
type Kind uint8

// Kinds. Those that any number of names can be made to give are counted by
// zone, the others by QNAME.
const (
	Answer   Kind = iota // of a name: data, or none of the type
	Denial               // of a zone: no such name
	Referral             // of a zone
	Made                 // of a zone: from a wildcard or a DNAME
	Error                // without records
)

// Ruling is what is to become of a reply.
type Ruling uint8

// Rulings.
const (
	Pass Ruling = iota
	Slip        // say as little as leads a client with a real address on: TC, or BADCOOKIE
	Drop
)

// RRL bounds how many equal replies go to one prefix, a /24 of IPv4 or a /56
// of IPv6, and how many of all kinds together, so that a forged source gets
// little and, in a flood, never more than was sent in its name: whoever asks
// for the many names of a large zone, each seldom, stays below every bound
// but the second. The zero value is off. It is safe for concurrent use.
type RRL struct {
	Counters RRLCounters

	set atomic.Pointer[rrlSet]
}

// RRLCounters counts what became of replies over the rate.
type RRLCounters struct {
	Slipped metrics.Counter
	Dropped metrics.Counter
	Network metrics.Counter // of these, the ones over no rate but the total of their prefix
	Evicted metrics.Counter // buckets that gave way to others while still in use: rrlSlots was reached
}

// rrlSet is the settings and the table, which outlives them.
type rrlSet struct {
	interval uint64 // ticks a reply
	total    uint64 // ticks a reply of any kind; 0: they are not counted together
	exempt   []netip.Prefix
	seed     maphash.Seed
	key      [3]uint64
	table    []atomic.Uint64
}

// A slot is a tag of 27 bits, a bit that turns with every reply over the
// rate, and the time, in ticks modulo 2^36, up to which its replies are paid
// for. A tick is 2^14 ns.
const (
	tickShift = 14
	timeBits  = 36
	timeMask  = 1<<timeBits - 1
	slipBit   = 1 << timeBits
	tagShift  = timeBits + 1

	second = uint64(time.Second) >> tickShift
	burst  = uint64(rrlBurst) >> tickShift
	window = uint64(rrlWindow) >> tickShift
)

// Set changes rate, of equal replies a second, total, of all replies a second,
// and the prefixes that are never limited. Without a rate all is off, without
// a total there is none. What was counted stays.
func (l *RRL) Set(rate, total int, exempt []netip.Prefix) {
	if rate <= 0 {
		l.set.Store(nil)
		return
	}
	s := &rrlSet{interval: second / uint64(min(rate, RRLMax))}
	if total > 0 {
		s.total = second / uint64(min(total, RRLMax))
	}
	for _, p := range exempt {
		s.exempt = append(s.exempt, unmap(p))
	}
	if old := l.set.Load(); old != nil {
		s.seed, s.key, s.table = old.seed, old.key, old.table
	} else {
		s.seed, s.table = maphash.MakeSeed(), make([]atomic.Uint64, rrlSlots)
		for i := range s.key {
			s.key[i] = maphash.Bytes(s.seed, []byte{byte(i)})
		}
	}
	l.set.Store(s)
}

// On reports whether there is a limit at all.
func (l *RRL) On() bool { return l.set.Load() != nil }

// Rule counts one reply of that kind to the client, of is the name it is
// counted by, in lower case. now is the time since some fixed moment.
func (l *RRL) Rule(client netip.Addr, kind Kind, of []byte, now time.Duration) Ruling {
	s := l.set.Load()
	if s == nil {
		return Pass
	}
	for _, p := range s.exempt {
		if p.Contains(client.Unmap().WithZone("")) {
			return Pass
		}
	}
	at, p := uint64(now)>>tickShift&timeMask, prefixOf(client)
	ruling, evicted := s.take(s.hash(p, kind, of), s.interval, at)
	if evicted {
		l.Counters.Evicted.Inc()
	}
	if s.total > 0 {
		// All of it is charged, as the rest is, whether it goes out or not.
		all, evicted := s.take(s.hashAll(p), s.total, at)
		if evicted {
			l.Counters.Evicted.Inc()
		}
		if ruling == Pass && all != Pass {
			ruling = all
			l.Counters.Network.Inc()
		}
	}
	switch ruling {
	case Slip:
		l.Counters.Slipped.Inc()
	case Drop:
		l.Counters.Dropped.Inc()
	}
	return ruling
}

// prefixOf is a client's /24 or /56, as a number.
func prefixOf(client netip.Addr) uint64 {
	if client.Is4() || client.Is4In6() {
		a := client.As4()
		return uint64(binary.BigEndian.Uint32(a[:]) >> 8)
	}
	a := client.As16()
	return binary.BigEndian.Uint64(a[:8])>>8 | 1<<63
}

// hash is of prefix, kind and name. It is seeded: nobody outside can tell
// which two share a slot.
func (s *rrlSet) hash(prefix uint64, kind Kind, of []byte) uint64 {
	hi, lo := bits.Mul64(maphash.Bytes(s.seed, of)^s.key[0], prefix^uint64(kind)<<56^s.key[1])
	return hi ^ lo
}

// hashAll is of a prefix alone.
func (s *rrlSet) hashAll(prefix uint64) uint64 {
	hi, lo := bits.Mul64(s.key[2], prefix^s.key[1])
	return hi ^ lo
}

// take charges the bucket. The theory is that of the generic cell rate
// algorithm: a bucket is the time its replies are paid for.
func (s *rrlSet) take(h, interval, now uint64) (ruling Ruling, evicted bool) {
	slots := s.table[h*rrlWays&uint64(len(s.table)-1):][:rrlWays] // their number is a power of two
	tag := h >> tagShift
	for {
		slot, old, ahead, evict := pick(slots, tag, now)
		flip := old & slipBit
		if evict > 0 || old>>tagShift != tag {
			ahead, flip = 0, 0
		}
		switch {
		case ahead+interval <= burst:
			ruling = Pass
		case flip == 0:
			ruling, flip = Slip, slipBit
		default:
			ruling, flip = Drop, 0
		}
		ahead = min(ahead+interval, window)
		if slot.CompareAndSwap(old, tag<<tagShift|flip|(now+ahead)&timeMask) {
			return ruling, evict > 0
		}
	}
}

// pick returns the slot of tag or, where it has none, the one that is least
// ahead; evict is by how much, of another's.
func pick(slots []atomic.Uint64, tag, now uint64) (slot *atomic.Uint64, old, ahead, evict uint64) {
	for i := range slots {
		v := slots[i].Load()
		paid := (v - now) & timeMask
		if paid > window { // long ago
			paid = 0
		}
		if v>>tagShift == tag {
			return &slots[i], v, paid, 0
		}
		if slot == nil || paid < evict {
			slot, old, evict = &slots[i], v, paid
		}
	}
	return slot, old, 0, evict
}
