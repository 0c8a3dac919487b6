package xfr

import (
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// ErrUnfit says that the deltas of a transfer do not fit what we have.
var ErrUnfit = errors.New("the differences do not fit what we have")

// Apply returns what deltas make of a zone, and the owners that they touch. It
// is strict: each step begins at what is there, nothing goes that is not there,
// and nothing comes that is (RFC 1995, Section 4); anything else is ErrUnfit,
// and the whole zone is to be asked for. It costs what the deltas cost, and a
// copy of the list of nodes.
func Apply(z *zone.Zone, deltas []zone.Delta) (*zone.Zone, []name.Name, error) {
	a := applying{from: z, soa: z.SOA(), touched: map[name.Name]*touched{}}
	for i := range deltas {
		if err := a.step(&deltas[i]); err != nil {
			return nil, nil, err
		}
	}
	return a.end()
}

// applying is a zone while deltas are applied to it.
type applying struct {
	from    *zone.Zone
	soa     *dns.SOA // that it has by now
	touched map[name.Name]*touched
}

// touched is the records of one owner, by what they say.
type touched struct {
	records map[string]dns.RR
}

func (a *applying) step(d *zone.Delta) error {
	if d.From == nil || d.To == nil || !zone.SameRecord(d.From, a.soa) {
		return fmt.Errorf("%w: a step begins at another SOA", ErrUnfit)
	}
	if err := a.move(d.From, false); err != nil {
		return err
	}
	for _, rr := range d.Removed {
		if err := a.move(rr, false); err != nil {
			return err
		}
	}
	if err := a.move(d.To, true); err != nil {
		return err
	}
	for _, rr := range d.Added {
		if err := a.move(rr, true); err != nil {
			return err
		}
	}
	a.soa = d.To
	return nil
}

// move takes a record away, or puts it there.
func (a *applying) move(rr dns.RR, come bool) error {
	owner, err := name.Parse(rr.Header().Name)
	if err != nil {
		return fmt.Errorf("owner %q: %w", rr.Header().Name, err)
	}
	t, err := a.at(owner)
	if err != nil {
		return err
	}
	// RFC 1995 tells records apart by all they say: a changed TTL is a record
	// that goes and one that comes.
	key, err := zone.AppendRecord(nil, rr)
	if err != nil {
		return err // wrapped by zone
	}
	_, there := t.records[string(key)]
	switch {
	case come && there:
		return fmt.Errorf("%w: %s comes, and is there", ErrUnfit, title(rr))
	case !come && !there:
		return fmt.Errorf("%w: %s goes, and is not there", ErrUnfit, title(rr))
	case come:
		t.records[string(key)] = rr
	default:
		delete(t.records, string(key))
	}
	return nil
}

// title is what a record is called.
func title(rr dns.RR) string { return rr.Header().Name + " " + dns.Type(rr.Header().Rrtype).String() }

// at returns the records of an owner, as they are by now.
func (a *applying) at(owner name.Name) (*touched, error) {
	if t := a.touched[owner]; t != nil {
		return t, nil
	}
	t := &touched{records: map[string]dns.RR{}}
	if node := a.from.Node(owner); node != nil {
		for i := range node.Sets {
			for _, rr := range node.Sets[i].RRs {
				key, err := zone.AppendRecord(nil, rr)
				if err != nil {
					return nil, err // wrapped by zone
				}
				t.records[string(key)] = rr
			}
		}
	}
	a.touched[owner] = t
	return t, nil
}

func (a *applying) end() (*zone.Zone, []name.Name, error) {
	if len(a.touched) == 0 {
		return a.from, nil, nil
	}
	records := make(map[name.Name][]dns.RR, len(a.touched))
	owners := make([]name.Name, 0, len(a.touched))
	for owner, t := range a.touched {
		records[owner] = ordered(t.records)
		owners = append(owners, owner)
	}
	slices.SortFunc(owners, name.Name.Compare)
	next, err := a.from.Edit(records)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return next, owners, nil
}
