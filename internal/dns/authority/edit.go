package authority

import (
	"slices"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"

	"github.com/miekg/dns"
)

// A hand edit of a large zone goes a short way: what it costs is what the edit
// costs, and not what the zone does. The records that stay are the very same
// ones in memory (zonefile.Text), and so are the nodes of the zone and the
// octets of its answers. Of the lint, what makes a zone unservable is looked at
// before the edit is served, for the owners it touches; the rest once the hand
// rests, see judge. Whatever is not plain goes the whole way, which finds the
// same.

const (
	// editFrom is from how many records on the short way is worth its while.
	editFrom = 2000
	// maxEdited bounds the records that an edit removes or adds, and those that
	// are looked at for being the same in other words.
	maxEdited = 1000
	// maxApart is how many records are looked ahead for where two lists agree
	// again.
	maxApart = 256
)

// hunk is a piece of a list of records that is replaced: old[from:to] by
// next[nextFrom:nextTo].
type hunk struct{ from, to, nextFrom, nextTo int }

// hunks returns where two lists of records differ, their places aside; false
// where that is nearly everywhere.
func hunks(old, next []zonefile.Record) ([]hunk, bool) {
	var all []hunk
	budget := maxEdited
	same := func(i, j int) bool {
		a, b := &old[i], &next[j]
		if a.RR == b.RR {
			return true
		}
		if budget--; budget < 0 {
			return false
		}
		return a.File == b.File && zone.SameRecord(a.RR, b.RR)
	}
	for i, j := 0, 0; ; {
		for i < len(old) && j < len(next) && same(i, j) {
			i, j = i+1, j+1
		}
		if i == len(old) && j == len(next) {
			return all, budget >= 0
		}
		x, y, ok := meet(old[i:], next[j:])
		if !ok || budget < 0 || len(all) == maxEdited {
			return nil, false
		}
		all = append(all, hunk{i, i + x, j, j + y})
		i, j = i+x, j+y
	}
}

// meet returns how far on the two lists have the same record next, or end.
func meet(old, next []zonefile.Record) (x, y int, ok bool) {
	for apart := 1; apart <= maxApart; apart++ {
		for x := max(0, apart-len(next)); x <= min(apart, len(old)); x++ {
			y := apart - x
			if x == len(old) && y == len(next) || x < len(old) && y < len(next) && old[x].RR == next[y].RR {
				return x, y, true
			}
		}
	}
	return 0, 0, false
}

// amend makes c out of what is served, if the edit is small and plain. False
// leaves c as it was.
func (o *owner) amend(c *candidate) bool {
	was := *c
	if o.short(c) {
		return true
	}
	*c = was
	return false
}

func (o *owner) short(c *candidate) bool {
	st := o.served[c.key]
	if !o.amendable(c, st) {
		return false
	}
	records := o.lay(c, c.own)
	laid := c.problems
	if c.view == o.plan.external {
		var yielded []zonefile.Problem
		records, yielded = o.withDerived(c.zone, records)
		laid = append(laid, yielded...)
	}
	c.kin = o.kin[c.key]
	records, yielded := withKin(c.zone, records, c.kin)
	laid = append(laid, yielded...)
	all, ok := hunks(st.records, records)
	if !ok {
		return false
	}
	owners := touched(st.records, records, all)
	if owners == nil {
		return false
	}
	edits, mine := gatherOwners(records, owners)
	if blocks(unfit(mine, c), false) || blocks(o.presigned(c.zone, mine), false) {
		return false
	}
	content := st.content
	if len(all) > 0 {
		var err error
		if content, err = st.content.Edit(edits); err != nil {
			return false
		}
	}
	c.records, c.content, c.amended = records, content, true
	c.found = moved(st.found, st.records, records, all)
	c.problems = slices.Concat(laid, c.found)
	for n := range owners {
		c.touched = append(c.touched, n)
	}
	return c.updates() || len(o.waits(c)) == 0
}

// amendable reports whether the short way may be tried: the zone is served as
// its file was, alone, and nobody waits for all that there is to say.
func (o *owner) amendable(c *candidate, st *served) bool {
	_, pinned := o.pins[c.key]
	switch {
	case c.source == nil || c.order != nil && !c.order.update || c.over != "" || c.beside != nil || st == nil || st.content == nil:
		return false
	case st.folded || st.byNote || len(st.records) < o.a.editFrom || st.reason != "" || len(st.held) > 0:
		return false
	}
	return !o.starting && !o.plan.Strict && (c.updates() || !o.plan.Manual && !pinned)
}

// touched returns the owners of the records that differ; nil where they are too
// many.
func touched(old, next []zonefile.Record, all []hunk) map[name.Name]bool {
	owners := map[name.Name]bool{}
	count := 0
	take := func(records []zonefile.Record) bool {
		count += len(records)
		for i := range records {
			n, err := records[i].Name()
			if err != nil || count > maxEdited {
				return false
			}
			owners[n] = true
		}
		return true
	}
	for _, h := range all {
		if !take(old[h.from:h.to]) || !take(next[h.nextFrom:h.nextTo]) {
			return nil
		}
	}
	return owners
}

// gatherOwners returns all records of the owners, by owner, and in a list with
// those of the apex, which every zone is judged by.
func gatherOwners(records []zonefile.Record, owners map[name.Name]bool) (edits map[name.Name][]dns.RR, list []zonefile.Record) {
	edits = make(map[name.Name][]dns.RR, len(owners))
	var sizes [256]bool // a name is looked up only if one of its length is touched
	for n := range owners {
		edits[n], sizes[len(n)] = nil, true
	}
	apex := apexOf(records)
	for i := range records {
		r := &records[i]
		n, _ := r.Name() // it was read before
		if sizes[len(n)] && owners[n] {
			edits[n] = append(edits[n], r.RR)
		} else if n != apex {
			continue
		}
		list = append(list, *r)
	}
	return edits, list
}

// apexOf returns the owner of the SOA.
func apexOf(records []zonefile.Record) name.Name {
	for i := range records {
		if records[i].RR.Header().Rrtype == dns.TypeSOA {
			n, _ := records[i].Name()
			return n
		}
	}
	return ""
}

// unfit returns what makes the zone unservable, of what can be wrong with the
// owners of these records.
func unfit(records []zonefile.Record, c *candidate) []zonefile.Problem {
	return zonelint.Unfit(records, c.zone, zonelint.Context{File: c.source.path()})
}

// moved returns what was found before, at the lines where it stands now; what
// was found about records that are not there any more is left out.
func moved(found []zonefile.Problem, old, next []zonefile.Record, all []hunk) []zonefile.Problem {
	var kept []zonefile.Problem
	for _, p := range found {
		if i := at(old, p.File, p.Line); p.Line > 0 && i >= 0 {
			j, stays := follow(i, all)
			if !stays {
				continue
			}
			p.Line = int(next[j].Line)
		}
		kept = append(kept, p)
	}
	return kept
}

// at returns where the record of that place is in the list; -1: nowhere.
func at(records []zonefile.Record, file string, line int) int {
	lines := records
	for len(lines) > 0 && lines[len(lines)-1].Line == 0 {
		lines = lines[:len(lines)-1] // Postern's own
	}
	// One file is in order, and no other is amended: see zonefile.Text.
	i, ok := slices.BinarySearchFunc(lines, line, func(r zonefile.Record, line int) int { return int(r.Line) - line })
	if ok && lines[i].File == file {
		return i
	}
	return slices.IndexFunc(records, func(r zonefile.Record) bool { return int(r.Line) == line && r.File == file })
}

// follow returns where the record at i of the old list is in the next one.
func follow(i int, all []hunk) (j int, stays bool) {
	shift := 0
	for _, h := range all {
		switch {
		case i >= h.to:
			shift = h.nextTo - h.to
		case i >= h.from:
			return 0, false
		}
	}
	return i + shift, true
}
