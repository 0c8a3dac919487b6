package recipient

// Standing is how the recipients of one domain are known at the moment.
type Standing struct {
	Domain string
	Mode   Mode
	State  State
	Known  int // entries of the file, or names that the next hop is known to have
}

// State is how well it works. The zero value is that nothing is known yet.
type State uint8

// The states.
const (
	Unproven State = iota // the next hop was not heard yet
	Fine
	Anything // the next hop takes any name: it is not asked
	Silent   // the next hop does not answer
	Stale    // the file cannot be used as it is now
	Evasive  // the next hop says neither yes nor no
)

// String is the state's word for status and metric.
func (s State) String() string {
	if s > Evasive {
		s = Unproven
	}
	return [...]string{"unproven", "ok", "accepts-anything", "silent", "stale-file", "evasive"}[s]
}

// Standings returns how all domains stand, by name.
func (k *Keeper) Standings() []Standing {
	var all []Standing
	for _, d := range k.all() {
		all = append(all, d.standing())
	}
	return all
}

func (d *domain) standing() Standing {
	s := Standing{Domain: d.Name, Mode: d.Mode, State: Fine}
	switch d.Mode {
	case File:
		s.State, s.Known = d.list.standing()
	case Verify, Directory:
		s.State, s.Known = d.asked.standing()
	}
	return s
}
