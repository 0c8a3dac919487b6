package smtpd

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// What keeps room for others while somebody opens connections and says nothing
// over them. The fuller the door, the fewer one address and one network may
// have; and once it is nearly full, those make room that do nothing of use, of
// whom there are most. RFC 5321, Section 4.5.3.2.7 would let each of them wait
// for five minutes: departs from RFC, since all others would wait meanwhile.

// How long a connection may do nothing of use, and not be asked to make room.
// Who has logged in never is: an account has bounds of its own.
const (
	patienceStranger = 10 * time.Second // since it came
	patienceProven   = time.Minute      // since a recipient or a message of it was taken
)

// How often room is made, and for how many at a time: it looks at everybody.
const (
	sweepEvery = 250 * time.Millisecond
	sweepMost  = 64
)

// A crowded message must come faster by this factor than limits say.
const crowdedPace = 8

// grade is what a connection has shown to be good for.
type grade uint8

const (
	stranger grade = iota
	proven         // it named a recipient who was taken, or brought a message
	known          // it has logged in
)

// seat is a connection's place, as others see it.
type seat struct {
	mu sync.Mutex // guards is, against the sweep
	is occupant
}

// occupant is who has a place, and since when nothing of use has come of it.
type occupant struct {
	network netip.Prefix // zero: not let in yet
	exempt  bool
	grade   grade
	since   time.Time
	waiting bool // for a command: what is going on is not disturbed
}

func (s *seat) take(a netip.Addr, exempt bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.is = occupant{network: network(a), exempt: exempt, since: now}
}

// earn notes that something came of the connection.
func (s *seat) earn(g grade, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.is.grade, s.is.since = g, now
}

func (s *seat) look() occupant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.is
}

// spare is how many of all places are kept free for those who come.
func spare(places int) int { return max(1, places/10) }

// kept is how many of those are for networks that have brought mail before: in
// a crowd of many networks strangers cannot be told from each other.
func kept(places int) int { return places / 20 }

// Networks that brought a message which was taken are remembered: so many, so
// long.
const (
	maxFriends = 1 << 14
	friendship = 7 * 24 * time.Hour
)

func (g *guard) friendLocked(network netip.Prefix, now time.Time) bool {
	at, ok := g.friends[network]
	return ok && now.Sub(at) < friendship
}

// befriend remembers where a message came from. Of too many, one of the oldest
// is forgotten.
func (g *guard) befriend(a netip.Addr, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := network(a)
	if _, ok := g.friends[from]; !ok && len(g.friends) >= maxFriends {
		looked := 0
		var oldest netip.Prefix
		for p, at := range g.friends { // in random order
			if looked == 0 || at.Before(g.friends[oldest]) {
				oldest = p
			}
			if looked++; looked == 64 {
				break
			}
		}
		delete(g.friends, oldest)
	}
	g.friends[from] = now
}

// share is how many connections one client may have of a limit where so many
// of all places are free: all of it up to half full, and then ever fewer.
func share(limit, places, free int) int {
	if 2*free >= places {
		return limit
	}
	return max(min(limit, max(1, places/100)), limit*2*max(free, 0)/places)
}

// tired reports an occupant that may be asked to make room.
func (o occupant) tired(now time.Time) bool {
	patience := patienceStranger
	switch {
	case o.exempt || !o.waiting || o.grade == known || !o.network.IsValid():
		return false
	case o.grade == proven:
		patience = patienceProven
	}
	return now.Sub(o.since) >= patience
}

// makeRoom chooses up to need of all who are there to leave, by their positions:
// strangers before those who are proven, each time one of the network that has
// most connections, and there the one that has been of no use for longest.
func makeRoom(all []occupant, need int, now time.Time) []int {
	count := map[netip.Prefix]int{}
	var tired []int
	for i, o := range all {
		if !o.exempt {
			count[o.network]++
		}
		if o.tired(now) {
			tired = append(tired, i)
		}
	}
	slices.SortStableFunc(tired, func(a, b int) int {
		return cmp.Or(cmp.Compare(all[a].grade, all[b].grade), all[a].since.Compare(all[b].since))
	})
	var leave []int
	for len(leave) < need && len(tired) > 0 {
		worst := 0
		for k := 1; k < len(tired) && all[tired[k]].grade == all[tired[0]].grade; k++ {
			if count[all[tired[k]].network] > count[all[tired[worst]].network] {
				worst = k
			}
		}
		leave = append(leave, tired[worst])
		count[all[tired[worst]].network]--
		tired = slices.Delete(tired, worst, worst+1)
	}
	return leave
}

// makeRoom ends connections of no use when there are few places left. What it
// frees is there for those who come next.
func (s *Server) makeRoom(g *guard, now time.Time) {
	need := g.sweep(now)
	if need == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*conn, 0, len(s.conns))
	all := make([]occupant, 0, len(s.conns))
	for c := range s.conns {
		o := c.seat.look()
		o.waiting = c.pipe.waits()
		conns, all = append(conns, c), append(all, o)
	}
	for _, i := range makeRoom(all, need, now) {
		s.Counters.MadeRoom.Inc()
		conns[i].pipe.interrupt(crowded)
	}
}

// sweep returns how many places are to be made free now; 0 where there are
// enough, or where it was looked a moment ago.
func (g *guard) sweep(now time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	need := spare(g.limits.Connections) - (g.limits.Connections - g.total)
	if need <= 0 || now.Sub(g.swept) < sweepEvery && !now.Before(g.swept) {
		return 0
	}
	g.swept = now
	return min(need, sweepMost)
}

// crowded reports that there are few places left.
func (g *guard) crowded() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limits.Connections-g.total < spare(g.limits.Connections)
}
