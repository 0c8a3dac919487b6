package iterate

import (
	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// RFC 9156, Section 2.3.
const (
	maxMinimise = 10 // questions with a shortened name, for one question
	minimiseOne = 4  // of them, those that add a single label
)

// minimiser shortens the name that servers above the answer get to see.
type minimiser struct {
	mode  Minimise
	count int // shortened questions so far; survives cuts, so that depth can not multiply them
	shown int // labels the servers of this cut get to see; 0: none yet
	whole bool
}

// enter begins a new cut.
func (m *minimiser) enter() { m.shown, m.whole = 0, false }

// question returns what to ask the servers of zone: the whole question, or a
// shortened name with type A, which hides the type and is answered everywhere
// (RFC 9156, Section 2.1).
func (m *minimiser) question(zone name.Name, q Question) Question {
	total := q.Name.Labels()
	if m.mode == Whole || m.whole || m.count >= maxMinimise {
		return q
	}
	if m.shown == 0 {
		m.shown = zone.Labels() + 1
	}
	if m.shown >= total {
		return q
	}
	return Question{Name: ending(q.Name, m.shown), Type: dns.TypeA}
}

// deeper shows more labels after a shortened question brought no cut.
func (m *minimiser) deeper(q Question) {
	m.count++
	step := 1
	if m.count >= minimiseOne {
		rest, left := q.Name.Labels()-m.shown, max(1, maxMinimise-m.count)
		step = max(1, (rest+left-1)/left)
	}
	m.shown += step
}

// giveUp shows the whole name to this cut.
func (m *minimiser) giveUp() { m.whole = true }

// ending returns the last labels of n.
func ending(n name.Name, labels int) name.Name {
	for have := n.Labels(); have > labels; have-- {
		n = n.Parent()
	}
	return n
}
