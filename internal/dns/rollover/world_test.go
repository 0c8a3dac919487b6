package rollover

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dns/zone"
)

// A world for the machine: our server with two views, secondaries of several
// kinds, a parent with servers of its own, and caches, of which nothing is known
// but what anybody could have told them. It has a time of its own; the machine
// sees a clock on the wall that somebody may set.

// content is one version of a zone in a view.
type content struct {
	serial          uint32
	uses            map[uint16]Use
	cds             []uint16
	remove          bool
	keyTTL, dataTTL time.Duration
	at              time.Time
	last            time.Time  // when a server stopped to give it
	zone            *zone.Zone // signed in earnest, where somebody does
	servers         int        // that give it now
}

// node is a server of a view.
type node struct {
	kind     string
	has      *content
	takes    time.Time // when it will have the newest; zero: it has, or will not
	answered time.Time // on the wall
	seen     uint32    // its serial, as it answered
	mute     time.Time // until then it answers nobody
}

// side is a view.
type side struct {
	name     string
	nodes    []*node // the first is ours
	contents []*content
	pending  time.Time // when what was decided is published; zero: it is
}

// set is a DS set at the parent.
type set struct {
	tags    []uint16
	ttl     time.Duration
	last    time.Time
	servers int
}

type upper struct {
	servers [3]*set
	takes   [3]time.Time
	target  *set
	sets    []*set
	scan    time.Time // when it next reads CDS, or somebody tells it
	back    time.Time // when it goes back to
	before  *set
}

// trouble says what is wrong in a world.
type trouble struct {
	kinds     []string // of the secondaries
	refuses   bool     // the parent does nothing for months
	slow      bool     // it takes days
	backwards bool     // it goes back
	blind     bool     // looks at it fail at times, or are forged
	clock     bool
	ttls      bool // are changed
	restarts  bool
	clumsy    bool // what was decided is published late
	crashes   bool // while steps are written down
}

// ending is when caches are about to lose the last of something.
type ending struct {
	at time.Time
	c  *content // nil: a DS set
}

type world struct {
	t     *testing.T
	r     *rand.Rand
	p     Policy
	w     trouble
	s     State
	now   time.Time
	up    time.Time     // when the process began
	set   time.Duration // the clock on the wall is ahead by this
	stood time.Time     // since when it stands
	sides []*side
	above upper
	look  Parent
	plan  Plan
	next  uint16
	algs  map[uint16]uint8

	wake, ask, edit, jump, restart, told time.Time

	made  func(c *content)                              // is called for each version outside
	judge func(ds []uint16, keys, data *content) string // a second opinion, "" for good
	ends  []ending                                      // where somebody judges
	last  bool                                          // something is about to end
	ended func(c *content)                              // is called for a version of which that is so
	// earnest: the second opinion alone counts.
	earnest bool

	wrong          []string // what would not validate
	log            []string
	alarms         map[string]int
	checks, events int
	changed        bool
	steps          int
	looked         int
}

func newWorld(t *testing.T, p Policy, w trouble, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 7))
	x := &world{t: t, r: r, p: p, w: w, now: begin(), up: begin(), next: 1, algs: map[uint16]uint8{}, alarms: map[string]int{}}
	kinds := [][]string{append([]string{"own"}, w.kinds...), {"own"}}
	for i, name := range []string{"external", "internal"} {
		s := &side{name: name}
		first := &content{serial: uint32(100 * (i + 1)), keyTTL: hour, dataTTL: 6 * hour, at: x.now}
		if i == 1 {
			first.serial = 1<<31 - 3 // serials wrap
		}
		s.contents = []*content{first}
		for _, kind := range kinds[i] {
			n := &node{kind: kind}
			s.nodes = append(s.nodes, n)
			if kind != "dead" {
				x.give(n, first)
			}
			x.answer(n)
		}
		x.sides = append(x.sides, s)
	}
	x.above.target = &set{}
	x.above.sets = []*set{x.above.target}
	for i := range x.above.servers {
		x.above.servers[i] = x.above.target
		x.above.target.servers++
	}
	x.above.scan = x.now.Add(day)
	x.wake = x.now
	x.edit = x.in(2 * day)
	x.told = x.now
	x.jump, x.restart = x.in(20*day), x.in(10*day)
	return x
}

// in is a random time within d from now.
func (x *world) in(d time.Duration) time.Time {
	return x.now.Add(time.Duration(x.r.Int64N(int64(d))) + time.Second).Truncate(time.Millisecond)
}

func (x *world) chance(percent int) bool { return x.r.IntN(100) < percent }

// wall is what the clock on the wall says.
func (x *world) wall() time.Time {
	if !x.stood.IsZero() {
		return x.stood.Add(x.set)
	}
	return x.now.Add(x.set)
}

// give lets a server have a version.
func (x *world) give(n *node, c *content) {
	if n.has != nil {
		n.has.servers--
		n.has.last = x.now
		if n.has.servers == 0 {
			x.willEnd(n.has.keyTTL, n.has)
			x.willEnd(n.has.dataTTL, n.has)
		}
	}
	if n.has = c; c != nil {
		c.servers++
	}
}

// willEnd notes what nobody serves from now on: the moment before the last cache
// loses it is looked at, where signatures are real and might end before.
func (x *world) willEnd(ttl time.Duration, c *content) {
	if x.judge != nil {
		x.ends = append(x.ends, ending{x.now.Add(ttl - time.Second), c})
	}
}

// end is such a moment.
func (x *world) end(i int) {
	c := x.ends[i].c
	x.ends = slices.Delete(x.ends, i, i+1)
	x.changed, x.last = true, true
	if c != nil && x.ended != nil && c.zone != nil {
		x.ended(c)
	}
}

// answer is a question for the serial that a server answers.
func (x *world) answer(n *node) {
	if n.kind == "dead" || n.has == nil || x.now.Before(n.mute) {
		return
	}
	n.answered, n.seen = x.wall(), n.has.serial
}

const expire = 14 * day

// publish makes a version of what is planned, in one view.
func (x *world) publish(s *side) {
	s.pending = time.Time{}
	old := s.contents[len(s.contents)-1]
	c := &content{
		serial: old.serial + 1 + x.r.Uint32N(5), uses: maps.Clone(x.plan.Uses), cds: slices.Clone(x.plan.CDS), remove: x.plan.Delete,
		keyTTL: old.keyTTL, dataTTL: old.dataTTL, at: x.now,
	}
	if x.plan.Hold != "" {
		c.uses, c.cds, c.remove = nil, nil, false
	}
	if x.w.ttls && x.chance(20) {
		ttls := []time.Duration{hour / 12, hour, 6 * hour, day, 3 * day}
		c.keyTTL, c.dataTTL = ttls[x.r.IntN(4)], ttls[x.r.IntN(5)]
	}
	if x.made != nil && s == x.sides[0] {
		x.made(c)
	}
	s.contents = append(s.contents, c)
	x.changed, x.told = true, x.in(2*time.Minute)
	for _, n := range s.nodes {
		switch n.kind {
		case "own":
			x.give(n, c)
			x.answer(n)
		case "good":
			if n.takes.IsZero() {
				n.takes = x.in(2 * time.Minute)
			}
		case "lagging":
			if n.takes.IsZero() {
				n.takes = x.in(5 * day)
			}
		case "flaky": // silent for a time, and behind, but shorter than it may be
			if n.takes.IsZero() {
				n.takes = x.in(70 * time.Minute)
				n.mute = n.takes.Add(-time.Minute)
			}
		case "stuck": // it has what it had until that expires
			if n.takes.IsZero() && n.has != nil {
				n.takes = x.now.Add(expire)
			}
		}
	}
}

// transfer lets a secondary have the newest.
func (x *world) transfer(s *side, n *node) {
	n.takes = time.Time{}
	if n.kind == "stuck" {
		x.give(n, nil)
		return
	}
	x.give(n, s.contents[len(s.contents)-1])
	x.answer(n)
	x.changed = true
}

// parentActs is a parent that reads CDS, or is told by a person.
func (x *world) parentActs() {
	a := &x.above
	pause := 2 * day
	if x.w.slow {
		pause = 12 * day
	}
	a.scan = x.in(pause)
	if x.w.refuses && x.now.After(begin().Add(80*day)) && x.now.Before(begin().Add(200*day)) {
		return
	}
	want := a.target.tags
	n := x.sides[0].nodes[x.r.IntN(len(x.sides[0].nodes))]
	switch {
	case !x.p.CDS || len(a.target.tags) == 0:
		want = x.plan.DS // by a person
	case n.has == nil || n.kind == "dead":
	case n.has.remove:
		want = nil
	case len(n.has.cds) > 0:
		want = n.has.cds
	}
	if !slices.Equal(want, a.target.tags) {
		x.delegate(want)
		if x.w.backwards && x.chance(50) {
			// Later than this it is the parent that breaks the zone.
			a.back = x.in(min(8*hour, a.target.ttl))
		}
	}
}

// delegate lets the parent have a DS set: its servers follow within its lag.
func (x *world) delegate(tags []uint16) {
	a := &x.above
	ttls := []time.Duration{hour, day, 2 * day}
	a.before = a.target
	a.target = &set{tags: slices.Clone(tags), ttl: ttls[x.r.IntN(len(ttls))]}
	a.sets = append(a.sets, a.target)
	for i := range a.takes {
		a.takes[i] = x.in(hour - time.Minute)
	}
	x.note("parent has DS %v, TTL %s", tags, a.target.ttl)
}

func (x *world) parentServes(i int) {
	a := &x.above
	a.takes[i] = time.Time{}
	a.servers[i].servers--
	a.servers[i].last = x.now
	if a.servers[i].servers == 0 {
		x.willEnd(a.servers[i].ttl, nil)
	}
	a.servers[i] = a.target
	a.target.servers++
	x.changed = true
}

// lookUp asks one of the parent's servers.
func (x *world) lookUp() {
	x.looked++
	s := x.above.servers[x.r.IntN(3)]
	x.look = Parent{At: x.wall(), Security: Secure, TTL: s.ttl, Tags: slices.Clone(s.tags)}
	if len(s.tags) == 0 {
		x.look = Parent{At: x.wall(), Security: Insecure}
	}
	if !x.w.blind {
		return
	}
	// It fails for days, or somebody forges what the machine would like to hear.
	switch phase := x.now.Sub(begin()) / (30 * hour) % 4; {
	case phase == 1:
		x.look = Parent{At: x.wall(), Security: Unknown}
	case phase == 3 && x.chance(60):
		x.look = Parent{At: x.wall(), Security: Bogus, TTL: time.Second, Tags: slices.Clone(x.plan.DS)}
	}
}

func (x *world) seen() Seen {
	seen := Seen{Up: x.now.Sub(x.up), Parent: x.look}
	for _, s := range x.sides {
		c := s.nodes[0].has
		v := View{
			Name: s.name, Serial: c.serial, Uses: c.uses, CDS: c.cds, Delete: c.remove, KeyTTL: c.keyTTL, DataTTL: c.dataTTL,
			Refresh: hour, Retry: hour / 4, Expire: expire,
		}
		for i, n := range s.nodes[1:] {
			v.Secondaries = append(v.Secondaries, Secondary{fmt.Sprint(n.kind, i), n.seen, n.answered})
		}
		seen.Views = append(seen.Views, v)
	}
	return seen
}

// advance asks the machine, and begins to do what it says.
func (x *world) advance() {
	for range 10 {
		s, plan := Advance(x.p, x.s, x.seen(), x.wall())
		if x.w.crashes && len(plan.Steps) > 0 && x.chance(60) {
			x.note("crash at %v", plan.Steps)
			x.begins(&s)
			continue
		}
		x.s, x.plan = s, plan
		for _, m := range plan.Make {
			if err := x.s.Add(Key{Tag: x.next, Role: m.Role, Alg: m.Alg, Made: x.wall()}, nil); err != nil {
				x.t.Fatal(err)
			}
			x.algs[x.next] = m.Alg
			x.next++
		}
		x.s = x.s.Forget(plan.Remove...)
		for _, step := range plan.Steps {
			x.steps++
			x.note("%s", step)
		}
		for _, a := range plan.Alarms {
			if x.alarms[a.Reason]++; x.alarms[a.Reason] == 1 {
				x.note("alarm %s: %s", a.Reason, a.Text)
			}
		}
		if len(plan.Make) == 0 {
			break
		}
	}
	for _, s := range x.sides {
		c := s.contents[len(s.contents)-1]
		if x.plan.Hold != "" || maps.Equal(c.uses, x.plan.Uses) && slices.Equal(c.cds, x.plan.CDS) && c.remove == x.plan.Delete {
			continue
		}
		switch {
		case x.w.clumsy && s.pending.IsZero():
			s.pending = x.in(40 * time.Minute)
		case !x.w.clumsy:
			x.publish(s)
		}
	}
	later := func(t time.Time) time.Time {
		if t.IsZero() {
			return x.now.Add(400 * day)
		}
		return later(t.Add(-x.set), x.now.Add(time.Second))
	}
	x.wake, x.ask = later(x.plan.Wake), later(x.plan.Ask)
	if !x.stood.IsZero() { // by a clock that stands nothing becomes due
		x.wake, x.ask = x.now.Add(hour/2), x.now.Add(hour)
	}
}

func (x *world) note(format string, args ...any) {
	x.log = append(x.log, fmt.Sprintf("%8.3f ", float64(x.now.Sub(begin()))/float64(day))+fmt.Sprintf(format, args...))
}

// run lets a time pass.
func (x *world) run(d time.Duration) {
	for end := x.now.Add(d); ; {
		at, do := x.soonest()
		if at.After(end) {
			x.now = end
			return
		}
		x.now = later(at, x.now)
		do()
		x.validate()
		if x.events++; x.events > 200_000 {
			x.t.Fatalf("it is never content: day %.3f, wake %s, ask %s, told %s\n%+v\n%s", float64(x.now.Sub(begin()))/float64(day), x.wake.Sub(x.now), x.ask.Sub(x.now), x.told.Sub(x.now), x.plan, x.story())
		}
		if len(x.wrong) > 0 {
			return
		}
	}
}

// soonest is what happens next.
func (x *world) soonest() (at time.Time, do func()) {
	at, do = x.wake, x.advance
	event := func(t time.Time, what func()) {
		if !t.IsZero() && t.Before(at) {
			at, do = t, what
		}
	}
	event(x.ask, func() { x.lookUp(); x.advance() })
	event(x.edit, func() {
		x.edit = x.in(2 * day)
		for _, s := range x.sides {
			if s.pending.IsZero() {
				x.publish(s)
			}
		}
		x.advance()
	})
	for _, s := range x.sides {
		event(s.pending, func() { x.publish(s); x.wake = x.now })
		for _, n := range s.nodes {
			event(n.takes, func() { x.transfer(s, n); x.told = x.in(2 * time.Minute) })
		}
	}
	event(x.told, func() {
		x.told = x.in(6 * hour)
		for _, s := range x.sides {
			for _, n := range s.nodes[1:] {
				if !n.takes.IsZero() { // it is behind, and asked again and again
					x.told = x.in(time.Hour)
				}
			}
		}
		for _, s := range x.sides {
			for _, n := range s.nodes {
				x.answer(n)
			}
		}
		x.advance()
	})
	a := &x.above
	event(a.scan, x.parentActs)
	if !a.back.IsZero() {
		event(a.back, func() { a.back = time.Time{}; x.note("the parent goes back"); x.delegate(a.before.tags) })
	}
	for i := range a.takes {
		event(a.takes[i], func() { x.parentServes(i) })
	}
	for i := range x.ends {
		event(x.ends[i].at, func() { x.end(i) })
	}
	if x.w.clock {
		event(x.jump, x.setClock)
	}
	if x.w.restarts {
		event(x.restart, x.begin)
	}
	return at, do
}

// setClock lets the clock jump, stand, or go right again.
func (x *world) setClock() {
	switch {
	case !x.stood.IsZero():
		x.set -= x.now.Sub(x.stood)
		x.stood = time.Time{}
	case x.chance(30):
		x.stood = x.now
	case x.chance(50):
		x.set = time.Duration(x.r.Int64N(int64(400*day))) - 200*day
	default:
		x.set = 0
	}
	x.note("clock ahead by %s, stands %v", x.set, !x.stood.IsZero())
	x.jump = x.in(15 * day)
	x.advance()
}

// begin is a new process, with what was written down. The clock is right then:
// what was set wrong and not noticed since cannot be told.
func (x *world) begin() {
	x.restart = x.in(10 * day)
	x.begins(nil)
	x.advance()
}

// begins reads what was written down; of a newer state as far as a crash let it
// be, key by key.
func (x *world) begins(newer *State) {
	kept := State{}
	written := 0
	if newer != nil {
		written = x.r.IntN(len(newer.Keys) + 1)
	}
	for i, k := range x.s.Keys {
		fields := x.s.Fields(i)
		if i < written {
			fields = newer.Fields(i)
		}
		if err := kept.Add(Key{Tag: k.Tag, Role: k.Role, Alg: k.Alg, Made: k.Made}, fields); err != nil {
			x.t.Fatal(err)
		}
	}
	x.s, x.up, x.look = kept, x.now, Parent{}
	for _, s := range x.sides {
		s.pending = time.Time{}
		for _, n := range s.nodes[1:] {
			n.answered, n.seen = time.Time{}, 0
		}
	}
	x.told = x.in(time.Minute)
}

// validate holds everything that caches may have against each other.
func (x *world) validate() {
	if !x.changed {
		return // caches have only forgotten since
	}
	x.checks++
	x.changed = false
	defer func() { x.last = false }()
	var sets [][]uint16
	for _, s := range x.above.sets {
		if s.servers > 0 || s.last.Add(s.ttl).After(x.now) {
			sets = append(sets, s.tags)
		}
	}
	for _, s := range x.sides {
		kept := s.contents[:0]
		var keys, data []*content
		known := func(all []*content, c *content) bool {
			return slices.ContainsFunc(all, func(o *content) bool { return maps.Equal(o.uses, c.uses) })
		}
		for i, c := range s.contents {
			inKeys := c.servers > 0 || c.last.Add(c.keyTTL).After(x.now)
			inData := c.servers > 0 || c.last.Add(c.dataTTL).After(x.now)
			if inKeys && !known(keys, c) {
				keys = append(keys, c)
			}
			if inData && !known(data, c) {
				data = append(data, c)
			}
			if inKeys || inData || i == len(s.contents)-1 {
				kept = append(kept, c)
			}
		}
		s.contents = kept
		for _, ds := range sets {
			for _, k := range keys {
				for _, d := range data {
					why := ""
					if !x.earnest {
						why = x.broken(ds, k.uses, d.uses)
					}
					if why == "" && x.judge != nil && s == x.sides[0] {
						why = x.judge(ds, k, d)
					}
					if why != "" {
						x.wrong = append(x.wrong, fmt.Sprintf("view %s: DS %v, keys %s, data %s: %s", s.name, ds, uses(k.uses), uses(d.uses), why))
						return
					}
				}
			}
		}
	}
}

// broken says why a validator would refuse data that the uses d tell of, with
// the DNSKEY set of k and a DS set: one of those that ask for every algorithm.
func (x *world) broken(ds []uint16, k, d map[uint16]Use) string {
	if len(ds) == 0 {
		return ""
	}
	named := map[uint8]bool{}
	for _, tag := range ds {
		if named[x.algs[tag]] {
			continue
		}
		named[x.algs[tag]] = slices.ContainsFunc(ds, func(o uint16) bool {
			return x.algs[o] == x.algs[tag] && k[o]&(InSet|SignsKeys) == InSet|SignsKeys
		})
		if !named[x.algs[tag]] {
			return fmt.Sprintf("no DS of algorithm %d leads anywhere", x.algs[tag])
		}
	}
	by := func(alg uint8, in map[uint16]Use, what Use) bool {
		for tag, u := range k {
			if u&InSet != 0 && x.algs[tag] == alg && in[tag]&what != 0 {
				return true
			}
		}
		return false
	}
	for tag, u := range k {
		if u&InSet == 0 {
			continue
		}
		if alg := x.algs[tag]; !by(alg, k, SignsKeys) || !by(alg, d, SignsData) {
			return fmt.Sprintf("algorithm %d signs keys %v, data %v", alg, by(alg, k, SignsKeys), by(alg, d, SignsData))
		}
	}
	return ""
}

func uses(m map[uint16]Use) string {
	var all []string
	for _, tag := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%d:%03b", tag, m[tag]))
	}
	return strings.Join(all, " ")
}

func (x *world) story() string {
	return strings.Join(x.log, "\n") + "\nWRONG: " + strings.Join(x.wrong, "\n") + "\nnext: " + x.plan.Next
}
