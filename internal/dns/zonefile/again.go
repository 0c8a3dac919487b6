package zonefile

import (
	"hash/maphash"
	"slices"
	"strings"

	"postern/internal/dns/name"
)

// Text is a zone file as it was read, kept so that the next reading costs what
// the edit costs: beside the records it holds marks, places from which reading
// can go on, and what tells whether the text from one to the next is the same
// still. The text itself, which of a large signed zone is as much as all else,
// does not stay. A Text does not change and may be used by several at once.
type Text struct {
	bom      bool // the text begins with a byte order mark
	seed     maphash.Seed
	file     string
	origin   name.Name
	opts     Options // all set; no Include
	records  []Record
	problems []Problem

	marks []mark // in order, the first at the beginning; none where only Read can follow
	most  int    // marks that Again may leave
	each  int    // entries from one mark to the next
	read  int    // entries that were read to make it
	apart int    // what edits since Read have made: see perEdit
}

const (
	eachMark = 256 // entries; the list of marks is small beside that of the records
	ahead    = 64  // marks that are tried behind an edit
	alike    = 64  // octets behind a mark that must be the same for a try
	leastRun = 64 << 10

	// What an edit makes lies in memory of its own, with room to spare for as
	// much as perEdit records. When all edits since Read have taken as much as
	// the zone has, and manyApart, it is time to put the zone in order.
	perEdit   = 16
	manyApart = 4096
)

// Read is ParseText for who will read the file again.
func Read(src, file string, origin name.Name, opts Options) *Text {
	return read(src, file, origin, opts, eachMark)
}

func read(src, file string, origin name.Name, opts Options, each int) *Text {
	p := &parser{zone: origin, opts: opts.withDefaults()}
	t := &Text{file: file, origin: origin, opts: p.opts, each: each}
	t.opts.Include = nil
	s := newScope(file, origin)
	marks := []mark{p.mark(p.lexer(src, s), s)}
	p.passed = func(l *lexer, s *scope) {
		if t.read++; t.read%each == 0 && l.atLine() {
			marks = append(marks, p.mark(l, s))
		}
	}
	p.all(src, file)
	t.records, t.problems = p.records, p.problems
	if !p.refused() && p.includes == 0 {
		t.bom, t.seed, t.marks, t.most = strings.HasPrefix(src, bom), maphash.MakeSeed(), marks, 2*len(marks)+ahead
		t.sum(src)
	}
	return t
}

// sum notes what stands behind the marks that do not know it.
func (t *Text) sum(src string) {
	for i := range t.marks {
		m, end := &t.marks[i], len(src)
		if i+1 < len(t.marks) {
			end = t.marks[i+1].pos
		}
		if m.behind == "" {
			m.octets, m.hash = end-m.pos, maphash.String(t.seed, src[m.pos:end])
			m.behind = strings.Clone(src[m.pos:min(len(src), m.pos+alike)])
		}
	}
}

// kept returns up to which mark the text behind a mark is the same in src, where
// that mark is at pos; more than there are: to its end.
func (t *Text) kept(from int, src string, pos int) int {
	for i := from; i < len(t.marks); i++ {
		m := &t.marks[i]
		end := pos + m.octets
		if end > len(src) || i == len(t.marks)-1 && end < len(src) || maphash.String(t.seed, src[pos:end]) != m.hash {
			return i
		}
		pos = end
	}
	return len(t.marks)
}

// Records are in the file's order; the list is not to be changed.
func (t *Text) Records() []Record { return t.records }

// Problems are those of ParseText; the list is not to be changed.
func (t *Text) Problems() []Problem { return t.problems }

// refused reports what has no short way: errors, which may have to do with
// all the rest of the file, and records whose TTL stands behind them.
func (p *parser) refused() bool {
	return p.done || len(p.noTTL) > 0 || slices.ContainsFunc(p.problems, func(q Problem) bool { return q.Severity == ERR })
}

// Again reads the text of the same file after an edit. What it returns is
// what Read would, but records that the edit left alone are those of t, with
// their lines moved. It returns false, and has done nothing, where the edit is
// not small beside the file or something is wrong, and once in many edits:
// Read tells.
func (t *Text) Again(src string) (*Text, bool) {
	if len(t.marks) == 0 || len(src) > t.opts.MaxSize || isUTF16(src) || strings.HasPrefix(src, bom) != t.bom {
		return nil, false
	}
	r := rereading{Text: t, now: src, budget: max(len(src)/8, leastRun), made: t.apart}
	at, pos, line := 0, t.marks[0].pos, t.marks[0].line // a mark, and where it is in src
	for at < len(t.marks) {
		m, to := t.marks[at], t.kept(at, src, pos)
		if at == 0 && to == len(t.marks) {
			return t, true
		}
		r.keep(at, to, pos, line)
		if to == len(t.marks) {
			break
		}
		pos, line = pos+t.marks[to].pos-m.pos, line+t.marks[to].line-m.line
		var ok bool
		if at, pos, line, ok = r.edit(to, pos, line); !ok {
			return nil, false
		}
	}
	return r.join()
}

// rereading is one call of Again. It goes through both texts from one end to
// the other: what they have in common is kept up to the last mark in it, and
// from there src is read until it meets a later mark of the old text.
type rereading struct {
	*Text  // as it was
	now    string
	budget int // octets that may still be read
	count  int // entries read
	made   int // Text.apart to be
	runs   []run
}

// run is a part of the text to come.
type run struct {
	records  []Record
	problems []Problem
	marks    []mark
	old      mark // what pos, line and counts of the above are relative to
	pos      int  // where old.pos is now
	line     int
}

// keep takes the old text from one mark to another, both of which stay, or to
// its end.
func (r *rereading) keep(from, to, pos, line int) {
	m := r.marks[from]
	k := run{records: r.records[m.records:], problems: r.problems[m.problems:], marks: r.marks[from:], old: m, pos: pos, line: line}
	if to < len(r.marks) {
		end := r.marks[to]
		k.records, k.problems, k.marks = r.records[m.records:end.records], r.problems[m.problems:end.problems], r.marks[from:to+1]
	}
	r.runs = append(r.runs, k)
}

// join makes the new text of its runs.
func (r *rereading) join() (*Text, bool) {
	var records, problems, marks int
	for _, k := range r.runs {
		records, problems, marks = records+len(k.records), problems+len(k.problems), marks+len(k.marks)
	}
	if records > r.opts.MaxRecords || problems > r.opts.MaxProblems || marks > r.most || r.made > records+manyApart {
		return nil, false
	}
	t := *r.Text
	t.read, t.apart, t.problems = r.count, r.made, nil
	t.records, t.marks = make([]Record, 0, records), make([]mark, 0, marks)
	for _, k := range r.runs {
		record, problem, line := len(t.records), len(t.problems), k.line-k.old.line
		t.records, t.problems = append(t.records, k.records...), append(t.problems, k.problems...)
		for i := record; line != 0 && i < len(t.records); i++ {
			t.records[i].Line += int32(line)
		}
		for i := problem; i < len(t.problems); i++ {
			t.problems[i].Line += line
		}
		for _, m := range k.marks {
			m.pos, m.line = m.pos-k.old.pos+k.pos, m.line+line
			m.records, m.problems = m.records-k.old.records+record, m.problems-k.old.problems+problem
			t.marks = append(t.marks, m)
		}
		// Behind a run begins another text than was there.
		for i, end := len(t.marks)-1, t.marks[len(t.marks)-1].pos; i >= 0 && end-t.marks[i].pos < alike; i-- {
			t.marks[i].behind = ""
		}
	}
	t.sum(r.now)
	return &t, true
}
