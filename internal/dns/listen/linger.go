package listen

import "time"

const (
	// lingerFor is how long the reader of a busy socket stays away from it. The
	// system may add its timer slack, 50 µs.
	lingerFor = 100 * time.Microsecond
	// lingerEach is the time between two datagrams of a socket that is busy.
	lingerEach = 25 * time.Microsecond
	// lingerAfter is how many batches must have come as fast as that before.
	lingerAfter = 8
	// lingerRow is how many stays follow each other before the reader gives its
	// processor to whoever waits for it, as it does where nothing comes.
	lingerRow = 8
)

// linger decides when the reader of a busy socket lets questions gather. A
// server with time to spare is woken for each one or two of them, and to wake,
// to look and to find nothing more costs as much as to answer. So where they
// come fast, though not so fast that a batch fills by itself, the reader looks
// only every lingerFor: network cards moderate their interrupts for the same
// reason. Nobody waits longer than for one batch that is full.
type linger struct {
	last time.Time // when the batch before was read
	busy int       // batches in a row that came fast
	row  int       // stays since the reader last waited
}

// due reports whether to stay away now, after a batch of got that was read at
// now.
func (l *linger) due(got int, now time.Time) bool {
	fast := now.Sub(l.last) < time.Duration(got)*lingerEach
	l.last = now
	if !fast {
		l.busy = 0
		return false
	}
	l.busy++
	// Half a batch is enough, but does not say that the next will be as large.
	if got > MaxBurst/2 || l.busy <= lingerAfter || l.row >= lingerRow {
		return false
	}
	l.row++
	return true
}

// waited says that there was nothing to read, and others had their turn.
func (l *linger) waited() { l.row = 0 }
