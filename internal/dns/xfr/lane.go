package xfr

// The kinds of job that wait for their turn.
const (
	checking = iota
	transferring
)

var laneWords = [...]string{checking: "check", transferring: "transfer"}

// lane is the jobs of one kind: so many run at one time, and so many of one
// primary, so that one that is slow keeps nobody waiting but its own zones.
type lane struct {
	most, each int
	running    int
	primaries  map[string]*side
}

// side is a primary's part of a lane.
type side struct {
	waiting []*feed // the first is next
	running int
}

func newLane(most, each int) lane {
	return lane{most: most, each: each, primaries: map[string]*side{}}
}

// wait puts a feed at the end of a primary's line.
func (l *lane) wait(primary string, f *feed) {
	s := l.primaries[primary]
	if s == nil {
		s = new(side)
		l.primaries[primary] = s
	}
	s.waiting = append(s.waiting, f)
}

// next takes a feed whose turn it is; nil where none may run.
func (l *lane) next() *feed {
	if l.running >= l.most {
		return nil
	}
	for primary, s := range l.primaries { // in no order: fair enough
		if s.running >= l.each || len(s.waiting) == 0 {
			continue
		}
		f := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		if f.gone {
			l.tidy(primary)
			return l.next()
		}
		s.running++
		l.running++
		return f
	}
	return nil
}

// done hears that a job of a primary has ended.
func (l *lane) done(primary string) {
	l.running--
	l.primaries[primary].running--
	l.tidy(primary)
}

// tidy forgets a primary that nothing runs or waits for.
func (l *lane) tidy(primary string) {
	if s := l.primaries[primary]; s.running == 0 && len(s.waiting) == 0 {
		delete(l.primaries, primary)
	}
}
