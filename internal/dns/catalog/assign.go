package catalog

import (
	"slices"

	"postern/internal/dns/name"
)

// Source is one of the catalogs that a reader follows.
type Source struct {
	Catalog name.Name
	Members []Member
	// Known says that Members is what the catalog lists. Where that is not known,
	// since it is broken, expired or did not come yet, what followed from it stays
	// (RFC 9432, Section 5.1).
	Known bool
}

// Assigned is a zone that is here because a catalog lists it.
type Assigned struct {
	Zone    name.Name
	ID      string
	Catalog name.Name
}

// Refused is a zone that a catalog lists, and that does not follow from it.
type Refused struct {
	Zone    name.Name
	Catalog name.Name
	Holder  name.Name // the catalog that it belongs to; "": it is the reader's own
}

// Assignment is which zones follow from catalogs, and what leads there.
type Assignment struct {
	Zones    []Assigned // all of them
	Added    []Assigned // those among them that are new
	Reset    []Assigned // those among them of which all that is known goes first (RFC 9432, Section 5.6)
	Moved    []Assigned // those among them that another catalog had, and that stay as they are
	Removed  []Assigned // as they were: all that is known of them goes
	Released []Assigned // as they were: they are the reader's own from now on, with what is known of them
	Refused  []Refused
}

// Assign holds what catalogs list against what followed from them so far, in
// one view. Where two list the same zone, the one that has it keeps it, unless
// it gives it away (RFC 9432, Sections 5.2 and 5.5); else the first of sources
// gets it. A zone that own knows is none of theirs. Each list is in order of the
// zones' names.
func Assign(now []Assigned, sources []Source, own func(name.Name) bool) Assignment {
	d := &decision{held: map[name.Name]*holding{}, own: own}
	d.keep(now, sources)
	for _, s := range sources {
		if s.Known {
			d.claim(s)
		}
	}
	return d.finish()
}

// holding is a zone in the hands of a catalog.
type holding struct {
	Assigned
	listed Member // as the catalog lists it now; without a zone where that is not known
	was    Assigned
	had    bool // it was somebody's before
	reset  bool // what is known of it goes
	gone   bool // nobody has it any more
}

type decision struct {
	own    func(name.Name) bool
	held   map[name.Name]*holding
	result Assignment
}

// keep goes through what is assigned: it stays, is reset, or is free again.
func (d *decision) keep(now []Assigned, sources []Source) {
	before := map[name.Name][]Member{}
	for _, a := range now {
		if d.own(a.Zone) {
			d.result.Released = append(d.result.Released, a)
			continue
		}
		before[a.Catalog] = append(before[a.Catalog], Member{Zone: a.Zone, ID: a.ID})
		d.held[a.Zone] = &holding{Assigned: a, was: a, had: true, gone: true}
	}
	for _, s := range sources {
		if !s.Known {
			for _, m := range before[s.Catalog] {
				d.held[m.Zone].gone = false
			}
			continue
		}
		c := Compare(before[s.Catalog], s.Members)
		for _, m := range c.Kept {
			d.hold(s.Catalog, m, false)
		}
		for _, m := range c.Reset {
			d.hold(s.Catalog, m, true)
		}
	}
}

// hold leaves a zone where it is.
func (d *decision) hold(catalog name.Name, m Member, reset bool) {
	h := d.held[m.Zone]
	h.Assigned, h.listed, h.reset, h.gone = Assigned{m.Zone, m.ID, catalog}, m, reset, false
}

// claim gives a catalog what it lists and does not have, where that is free, or
// another gives it away.
func (d *decision) claim(s Source) {
	for _, m := range s.Members {
		h := d.held[m.Zone]
		switch {
		case d.own(m.Zone):
			d.result.Refused = append(d.result.Refused, Refused{m.Zone, s.Catalog, ""})
		case h == nil:
			d.held[m.Zone] = &holding{Assigned: Assigned{m.Zone, m.ID, s.Catalog}, listed: m}
		case h.Catalog == s.Catalog && !h.gone:
		case h.gone:
			// The one that had it let go of it without giving it to anybody: it is
			// another zone of the same name.
			h.Assigned, h.listed, h.reset, h.gone = Assigned{m.Zone, m.ID, s.Catalog}, m, true, false
		case Takes(s.Catalog, m, h.listed):
			// RFC 9432, Section 5.5: with the same label, what is known of it stays.
			h.reset = h.reset || h.had && m.ID != h.was.ID
			h.Assigned, h.listed = Assigned{m.Zone, m.ID, s.Catalog}, m
		case m.Owner == h.Catalog:
			// It gave it away itself.
		default:
			d.result.Refused = append(d.result.Refused, Refused{m.Zone, s.Catalog, h.Catalog})
		}
	}
}

func (d *decision) finish() Assignment {
	r := &d.result
	for _, h := range d.held {
		if h.gone {
			r.Removed = append(r.Removed, h.was)
			continue
		}
		r.Zones = append(r.Zones, h.Assigned)
		switch {
		case !h.had:
			r.Added = append(r.Added, h.Assigned)
		case h.reset:
			r.Reset = append(r.Reset, h.Assigned)
		case h.was.Catalog != h.Catalog:
			r.Moved = append(r.Moved, h.Assigned)
		}
	}
	for _, list := range []*[]Assigned{&r.Zones, &r.Added, &r.Reset, &r.Moved, &r.Removed, &r.Released} {
		slices.SortFunc(*list, func(a, b Assigned) int { return a.Zone.Compare(b.Zone) })
	}
	slices.SortStableFunc(r.Refused, func(a, b Refused) int { return a.Zone.Compare(b.Zone) })
	return *r
}
