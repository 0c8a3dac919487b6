package zonefile

import "reflect"

// edit reads on from a mark, which is at pos now, until the old text and its
// state are met again, and returns the mark where they are: none behind the
// last one if the text ends before.
func (r *rereading) edit(from, pos, line int) (to, endPos, endLine int, ok bool) {
	start := r.marks[from]
	start.pos, start.line, start.records, start.problems = pos, line, 0, 0
	p := &parser{zone: r.origin, opts: r.opts}
	cut := r.now[:min(len(r.now), pos+r.budget)]
	lex, s := p.resume(start, cut, r.file)
	passed := []mark{start} // the place behind each entry
	for {
		if lex.atLine() {
			if to, ok = r.meets(from, passed[len(passed)-1]); ok {
				break
			}
		}
		e, more := lex.next()
		if more {
			p.entry(e, s)
			passed = append(passed, p.mark(lex, s))
		}
		if p.refused() || lex.pos == len(cut) && len(cut) < len(r.now) {
			return 0, 0, 0, false
		}
		if !more {
			to = len(r.marks)
			break
		}
	}
	r.budget -= lex.pos - pos
	r.count += len(passed) - 1
	old := r.records[r.marks[from].records:]
	if to < len(r.marks) {
		old = old[:r.marks[to].records-r.marks[from].records]
	}
	r.settle(p.records, old, passed)
	r.runs = append(r.runs, run{records: p.records, problems: p.problems, marks: r.spread(passed)})
	return to, lex.pos, lex.line, true
}

// meets looks for a mark behind from whose state and text are those at m. The
// text need not stay the same to its end: what differs is the next edit.
func (r *rereading) meets(from int, m mark) (int, bool) {
	text := r.now[m.pos:min(len(r.now), m.pos+alike)]
	for i := from + 1; i < min(len(r.marks), from+1+ahead); i++ {
		old := &r.marks[i]
		if old.behind == text && old.state == m.state {
			return i, true
		}
	}
	return 0, false
}

// settle gives an edit those of the old records that it begins and ends with,
// and makes the others anew: until now they lie in memory beside all that was
// read, and would keep it.
func (r *rereading) settle(records, old []Record, passed []mark) {
	front, back := 0, 0
	shorter := min(len(records), len(old))
	for front < shorter && equal(records[front], old[front]) {
		front++
	}
	for back < shorter-front && equal(records[len(records)-1-back], old[len(old)-1-back]) {
		back++
	}
	end := len(records) - back
	for i := range front {
		records[i].RR, records[i].Owner = old[i].RR, old[i].Owner
	}
	for i := end; i < len(records); i++ {
		was := old[len(old)-len(records)+i]
		records[i].RR, records[i].Owner = was.RR, was.Owner
	}
	if front == end {
		return
	}
	at := 0
	for at+1 < len(passed) && passed[at+1].records <= front {
		at++
	}
	p := &parser{zone: r.origin, opts: r.opts}
	lex, s := p.resume(passed[at].apart(), r.now, r.file)
	for passed[at].records+len(p.records) < end {
		e, _ := lex.next() // there is one: it was read before
		p.entry(e, s)
		r.count++
	}
	r.made += perEdit + len(p.records)
	copy(records[front:end], p.records[front-passed[at].records:])
}

// equal reports whether two records are one, wherever they stand.
func equal(a, b Record) bool {
	return a.Owner == b.Owner && reflect.DeepEqual(a.RR, b.RR)
}

// spread chooses marks from the places behind an edit's entries. The mark that
// the edit began at stays, and so does that where it ended: without a distance
// from it, edits in one place would leave marks side by side.
func (r *rereading) spread(passed []mark) []mark {
	var marks []mark
	for i := r.each; i < len(passed)-max(r.each/2, 1); i += r.each {
		marks = append(marks, passed[i].apart())
	}
	return marks
}
