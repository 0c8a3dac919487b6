package iterate

import "errors"

// Why a question was given up. They are permanent for one question's tree and
// say nothing about the next.
var (
	ErrQueries   = errors.New("too many queries for one question")
	ErrRestarts  = errors.New("alias chain is too long")
	ErrLoop      = errors.New("alias chain is a loop")
	ErrReferrals = errors.New("too many referrals")
	ErrTargets   = errors.New("too many server names had to be looked up")
	ErrNoServer  = errors.New("no server of the zone gave a usable answer")
	ErrNoAddress = errors.New("no server of the zone has a usable address")
	ErrLongName  = errors.New("alias makes a name that is too long")
	ErrOwn       = errors.New("own zone can not answer")
)

// Limits bound the work for one question of a client, over the whole tree of
// questions that it needs. A zero field takes its default.
type Limits struct {
	Queries       int // packets to servers, retries and TCP included (100)
	Depth         int // server names whose look-up needs another server name (7)
	Restarts      int // CNAME and DNAME links (11)
	Referrals     int // zone cuts entered (30)
	Targets       int // server names looked up, in the whole tree (30)
	CutTargets    int // server names looked up for one cut (10)
	AbsentTargets int // server names that turned out to have no address (5)
	Tries         int // exchanges with one server for one question (3)
	Servers       int // NS names kept of a delegation (20)
	Addrs         int // addresses kept of one NS name (6)
	SetSize       int // records of one RRset (100)
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&l.Queries, 100},
		{&l.Depth, 7},
		{&l.Restarts, 11},
		{&l.Referrals, 30},
		{&l.Targets, 30},
		{&l.CutTargets, 10},
		{&l.AbsentTargets, 5},
		{&l.Tries, 3},
		{&l.Servers, 20},
		{&l.Addrs, 6},
		{&l.SetSize, 100},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return l
}

// Budget counts the work done for one question of a client. It is shared by
// pointer with every question that this one needs and is never reset: work
// that composes (aliases times server names times minimisation) would
// otherwise multiply. It is not safe for concurrent use.
type Budget struct {
	Limits    Limits
	Queries   int
	Restarts  int
	Referrals int
	Targets   int
	Absent    int
}

// NewBudget returns an unspent budget.
func NewBudget(l Limits) *Budget { return &Budget{Limits: l.withDefaults()} }

// Spend counts n packets to servers.
func (b *Budget) Spend(n int) { b.Queries += n }

func (b *Budget) query() error {
	if b.Queries >= b.Limits.Queries {
		return ErrQueries
	}
	return nil
}

func (b *Budget) restart() error {
	if b.Restarts++; b.Restarts > b.Limits.Restarts {
		return ErrRestarts
	}
	return nil
}

func (b *Budget) referral() error {
	if b.Referrals++; b.Referrals > b.Limits.Referrals {
		return ErrReferrals
	}
	return nil
}

func (b *Budget) target() error {
	if b.Targets >= b.Limits.Targets || b.Absent >= b.Limits.AbsentTargets {
		return ErrTargets
	}
	b.Targets++
	return nil
}

// Exhausted reports whether err is a limit of the budget rather than a fault
// of the servers.
func Exhausted(err error) bool {
	for _, e := range []error{ErrQueries, ErrRestarts, ErrReferrals, ErrTargets} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
