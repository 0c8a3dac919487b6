package zone

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// ErrMisfit says that a difference is not one of this zone: it begins at
// another serial, takes away what is not there, or brings what is.
var ErrMisfit = errors.New("the difference does not fit the zone")

// Apply returns the zone after a difference that somebody else made, such as a
// step of an incremental transfer (RFC 1995, Section 4), and the owners that it
// touches. The records are as Builder.AddNormal takes them. It costs what Edit
// does. A record is found by its data: where its TTLs differed, the set has one
// of them only.
func (z *Zone) Apply(d Delta) (*Zone, []name.Name, error) {
	if d.From == nil || d.To == nil || d.From.Serial != z.Serial() {
		return nil, nil, fmt.Errorf("%w: it does not begin at serial %d", ErrMisfit, z.Serial())
	}
	p := patch{zone: z, owners: map[name.Name]*patched{}}
	apex := p.of(z.Origin())
	apex.remove(z.soa)
	for _, rr := range d.Removed {
		if err := p.take(rr, (*patched).remove); err != nil {
			return nil, nil, err
		}
	}
	for _, rr := range d.Added {
		if err := p.take(rr, (*patched).add); err != nil {
			return nil, nil, err
		}
	}
	apex.add(d.To)
	edits := make(map[name.Name][]dns.RR, len(p.owners))
	for owner, o := range p.owners {
		edits[owner] = o.records()
	}
	next, err := z.Edit(edits)
	return next, p.order, err
}

// patch is the owners that a difference touches.
type patch struct {
	zone   *Zone
	owners map[name.Name]*patched
	order  []name.Name // of the owners, as they came
	text   string      // the owner before, as it was written
	last   name.Name
}

// patched is the records of one owner, by type and data.
type patched struct {
	rrs []dns.RR // nil where one was taken away
	at  map[string]int
}

func (p *patch) of(owner name.Name) *patched {
	o := p.owners[owner]
	if o != nil {
		return o
	}
	o = &patched{at: map[string]int{}}
	for _, set := range setsOf(p.zone.Node(owner)) {
		for _, rr := range set.RRs {
			o.add(rr)
		}
	}
	p.owners[owner], p.order = o, append(p.order, owner)
	return o
}

func (p *patch) take(rr dns.RR, do func(*patched, dns.RR) bool) error {
	h := rr.Header()
	if h.Name != p.text || p.last == "" {
		n, err := name.Parse(h.Name)
		if err != nil {
			return fmt.Errorf("owner %q: %w", h.Name, err)
		}
		p.text, p.last = h.Name, n
	}
	switch {
	case !p.last.IsBelow(p.zone.Origin()):
		return fmt.Errorf("%s: %w", p.last, ErrOutside)
	case h.Rrtype == dns.TypeSOA:
		return fmt.Errorf("%s: %w", p.last, ErrManySOA) // From and To are all there is
	case !do(p.of(p.last), rr):
		return fmt.Errorf("%w: %s %s", ErrMisfit, p.last, dns.Type(h.Rrtype))
	}
	return nil
}

func keyOf(rr dns.RR) (string, bool) {
	data, err := rdata(rr)
	t := rr.Header().Rrtype
	return string([]byte{byte(t >> 8), byte(t)}) + data, err == nil
}

// add reports whether the record was not there.
func (o *patched) add(rr dns.RR) bool {
	key, ok := keyOf(rr)
	if _, there := o.at[key]; there || !ok {
		return false
	}
	o.at[key] = len(o.rrs)
	o.rrs = append(o.rrs, rr)
	return true
}

// remove reports whether the record was there.
func (o *patched) remove(rr dns.RR) bool {
	key, _ := keyOf(rr)
	i, there := o.at[key]
	if there {
		o.rrs[i] = nil
		delete(o.at, key)
	}
	return there
}

func (o *patched) records() []dns.RR {
	left := make([]dns.RR, 0, len(o.at))
	for _, rr := range o.rrs {
		if rr != nil {
			left = append(left, rr)
		}
	}
	return left
}
