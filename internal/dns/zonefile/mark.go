package zonefile

import (
	"strings"

	"postern/internal/dns/name"
)

// mark is a place between two entries of a zone file, at the beginning of a
// line, with all that the entries before it mean to those behind it: reading
// from there gives what reading from the file's beginning gives.
type mark struct {
	pos, line         int // of the line that begins there
	records, problems int // how many there are before
	state

	// Of a Text's mark:
	behind string // the first octets behind it; "" where the following is not known
	octets int    // to the next mark or the end
	hash   uint64 // of these
}

// state is what entries do to those behind them. Two places with the same
// text behind them and the same state before them are read alike. What is
// missing: scope.written, parser.target and the arena, which only save work;
// bounds and lists, which Again looks after; scope.lost, noTTL and the SOA's
// minimum, which matter to no file that Again takes.
type state struct {
	origin, owner       name.Name
	shown, ownerText    string
	ttlKnown, byDefault bool
	ttl                 uint32
	generated           int
}

func (p *parser) mark(l *lexer, s *scope) mark {
	return mark{
		pos: l.pos, line: l.line, records: len(p.records), problems: len(p.problems),
		state: state{
			origin: s.origin, shown: s.shown, owner: s.owner, ownerText: s.ownerText,
			ttl: p.ttl, ttlKnown: p.ttlKnown, byDefault: p.byDefault, generated: p.generated,
		},
	}
}

// resume makes p, which has read nothing yet, go on at m.
func (p *parser) resume(m mark, src, file string) (*lexer, *scope) {
	p.ttl, p.ttlKnown, p.byDefault, p.generated = m.ttl, m.ttlKnown, m.byDefault, m.generated
	s := &scope{file: file, origin: m.origin, shown: m.shown, owner: m.owner, ownerText: m.ownerText}
	l := p.lexer(src, s)
	l.pos, l.line, l.lineStart = m.pos, m.line, m.pos
	return l, s
}

// apart is the mark with names of its own, so that it keeps no arena.
func (m mark) apart() mark {
	m.owner, m.ownerText = name.Name(strings.Clone(string(m.owner))), strings.Clone(m.ownerText)
	return m
}

// atLine reports whether a line begins where the lexer stands: not so behind a
// last line that has no end.
func (l *lexer) atLine() bool { return l.pos == l.lineStart }
