package iterate

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Machine follows one question. Its states are what it waits for:
//
//	Begin ──► Seek ──Cut──► Ask ◄──────────────┐
//	            ▲            │ Got: referral ───┤ new cut
//	            │            │ Got: unusable ───┤ next server
//	            │            │ Silent ──────────┘
//	            │            │ no server left ──► Address ──► Ask
//	            │            ▼
//	            └── alias ── Got / Own / Known ──► Done
//
// and any of them ──► Fail. It is not safe for concurrent use.
type Machine struct {
	budget *Budget
	min    minimiser

	asked  Question // by the client
	q      Question // now, after aliases
	seen   []name.Name
	answer []dns.RR
	own    bool // all so far came from our own zones

	cut     Delegation
	tries   map[netip.Addr]int  // of the servers of this cut
	dead    map[netip.Addr]bool // servers of this cut that can not be asked at all
	looked  []bool              // which server names of this cut were looked up
	targets int                 // how many of them
	sent    bool                // some server of this cut was asked
	out     Question            // what is asked now: q or a shortened form
	failure error               // the last thing a server of this cut did wrong
	spare   *spare              // a doubtful reply, for when no server of this cut gives a better one
	final   netip.Addr          // who sent the message of the Result
}

// spare is a reply kept back.
type spare struct {
	got   Got
	reply Reply
}

// New returns a machine for the question. The budget is shared by all
// machines that work for one question of a client.
func New(q Question, mode Minimise, b *Budget) *Machine {
	return &Machine{budget: b, min: minimiser{mode: mode}, asked: q, q: q, own: true, seen: []name.Name{q.Name}}
}

// Step takes what happened and says what to do next.
func (m *Machine) Step(e Event, now time.Time) Action {
	switch e := e.(type) {
	case Begin:
		return Action{Act: Seek, Question: m.q}
	case Own:
		return m.ownZone(e.Msg, now)
	case Known:
		m.own = false
		return m.known(e.Set)
	case Cut:
		m.own = false
		if err := m.enter(e.Delegation); err != nil {
			return m.fail(err)
		}
		return m.next(now)
	case Got:
		return m.got(e, now)
	case Silent:
		return m.silent(e, now)
	case Addresses:
		return m.addresses(e, now)
	case Rejected:
		return m.rejected(e, now)
	case Stop:
		return m.fail(e.Err)
	}
	return m.fail(errors.New("unknown event"))
}

// known takes a cached set, which passed the scrub when it came in.
func (m *Machine) known(s Set) Action {
	switch {
	case s.Kind == NXDomain:
		return m.done(dns.RcodeNameError, nil, s.RRs)
	case s.Kind == NoData:
		return m.done(dns.RcodeSuccess, nil, s.RRs)
	case s.Type == dns.TypeCNAME && m.q.Type != dns.TypeCNAME:
		c, ok := s.RRs[len(s.RRs)-1].(*dns.CNAME)
		if !ok {
			return m.fail(ErrNoServer)
		}
		target, err := name.Parse(c.Target)
		return m.follow(s.RRs, target, err, nil)
	}
	return m.done(dns.RcodeSuccess, s.RRs, nil)
}

// follow goes on at the target of an alias.
func (m *Machine) follow(link []dns.RR, target name.Name, err error, learned []Set) Action {
	m.answer = append(m.answer, link...)
	if err == nil {
		err = m.budget.restart()
	}
	if err == nil && slices.Contains(m.seen, target) {
		err = ErrLoop
	}
	if err != nil {
		a := m.fail(err)
		a.Learned = learned
		return a
	}
	m.seen = append(m.seen, target)
	m.q.Name = target
	m.min = minimiser{mode: m.min.mode, count: m.min.count}
	return Action{Act: Seek, Question: m.q, Learned: learned}
}

// enter begins work at a cut.
func (m *Machine) enter(d Delegation) error {
	if err := m.budget.referral(); err != nil {
		return err
	}
	m.cut, m.looked = d, make([]bool, len(d.Servers))
	m.tries, m.dead = map[netip.Addr]int{}, map[netip.Addr]bool{}
	m.targets, m.sent, m.failure, m.spare = 0, false, nil, nil
	m.min.enter()
	return nil
}

// next asks the servers whose address is known, else looks for an address,
// else gives up.
func (m *Machine) next(now time.Time) Action {
	if servers := m.left(); len(servers) > 0 {
		if err := m.budget.query(); err != nil {
			return m.fail(err)
		}
		m.out = m.min.question(m.cut.Zone, m.q)
		return Action{Act: Ask, Question: m.out, Servers: servers, Zone: m.cut.Zone, Inside: m.cut.Inside}
	}
	for i, s := range m.cut.Servers {
		if m.looked[i] || !m.lacksAddress(s) {
			continue
		}
		// The NXNSAttack: a referral with many names to look up.
		if m.targets >= m.budget.Limits.CutTargets {
			break
		}
		if err := m.budget.target(); err != nil {
			return m.fail(err)
		}
		m.looked[i] = true
		m.targets++
		return Action{Act: Address, Name: s.Name, Zone: m.cut.Zone, Inside: m.cut.Inside}
	}
	switch {
	case m.spare != nil:
		kept := m.spare
		m.spare, m.out = nil, m.q
		return m.take(kept.got, kept.reply, now)
	case m.failure != nil:
		return m.fail(errors.Join(ErrNoServer, m.failure))
	case m.sent:
		return m.fail(ErrNoServer)
	}
	return m.fail(ErrNoAddress)
}

// left lists the addresses worth another exchange: those tried least.
func (m *Machine) left() []netip.Addr {
	var out []netip.Addr
	least := m.budget.Limits.Tries
	for _, s := range m.cut.Servers {
		for _, a := range s.Addrs {
			switch n := m.tries[a]; {
			case n < least:
				least, out = n, append(out[:0], a)
			case n == least && n < m.budget.Limits.Tries && !slices.Contains(out, a):
				out = append(out, a)
			}
		}
	}
	return out
}

// lacksAddress reports whether all the addresses that a server is known by
// are of no use to us, such as glue of a family we do not have.
func (m *Machine) lacksAddress(s Server) bool {
	for _, a := range s.Addrs {
		if !m.dead[a] {
			return false
		}
	}
	return true
}

// exclude asks a server no more at this cut.
func (m *Machine) exclude(a netip.Addr) { m.tries[a] = m.budget.Limits.Tries }

func (m *Machine) silent(e Silent, now time.Time) Action {
	if e.Dead {
		m.dead[e.From] = true
		m.exclude(e.From)
		return m.next(now)
	}
	m.sent = true
	if m.tries[e.From]++; m.tries[e.From] > 1 && m.out != m.q {
		m.min.giveUp() // some servers drop what they do not expect
	}
	return m.next(now)
}

func (m *Machine) addresses(e Addresses, now time.Time) Action {
	if e.Absent {
		m.budget.Absent++
	}
	for i := range m.cut.Servers {
		if m.cut.Servers[i].Name != e.Name {
			continue
		}
		var fresh []netip.Addr // a copy: the delegation may be shared with a cache
		for _, a := range e.Addrs {
			if len(fresh) < m.budget.Limits.Addrs && !m.cut.has(a) && !slices.Contains(fresh, a) {
				fresh = append(fresh, a)
			}
		}
		for _, a := range e.Spare {
			if len(fresh) < m.budget.Limits.Addrs && !m.cut.has(a) && !slices.Contains(fresh, a) {
				fresh = append(fresh, a)
				m.tries[a] = 1 // after the others had their turn
			}
		}
		servers := slices.Clone(m.cut.Servers)
		servers[i].Addrs = slices.Concat(servers[i].Addrs, fresh)
		m.cut.Servers = servers
	}
	return m.next(now)
}

func (m *Machine) done(rcode int, answer, authority []dns.RR) Action {
	m.answer = append(m.answer, answer...)
	return Action{Act: Done, Result: Result{
		Rcode: rcode, Answer: m.answer, Authority: authority, Canonical: m.q.Name, Own: m.own,
	}}
}

func (m *Machine) fail(err error) Action {
	return Action{Act: Fail, Err: err, Zone: m.cut.Zone}
}
