package xfr

import (
	"errors"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// Form is what an answer to IXFR consists of (RFC 1995, Section 4).
type Form uint8

// Forms.
const (
	Whole   Form = iota // all of the zone, as AXFR would have it
	Current             // the SOA alone: the client has this version, or a newer one
	Steps               // differences
)

// String is the form as a word.
func (f Form) String() string {
	switch f {
	case Current:
		return "current"
	case Steps:
		return "incremental"
	}
	return "full"
}

// condenseMost bounds the records of steps that are weighed against each other.
const condenseMost = 100_000

// Choose says how to bring a client that has that serial to the zone's content,
// and by which steps.
func Choose(z *zone.Zone, serial uint32, history []zone.Delta) (Form, []zone.Delta) {
	now := z.Serial()
	// RFC 1995, Section 2. Serials half the space apart are in no order (RFC
	// 1982, Section 3.2): such a client gets the zone.
	if serial == now || zone.SerialLess(now, serial) {
		return Current, nil
	}
	steps := chain(z, serial, history)
	if steps == nil {
		return Whole, nil
	}
	size := 0
	for i := range steps {
		size += steps[i].Records()
	}
	// RFC 1995, Section 4: what is longer than the zone helps nobody. What was
	// there and is gone again is left out then (Section 5).
	if size > z.Records() && len(steps) > 1 && size <= min(2*z.Records(), condenseMost) {
		if one, err := condense(steps); err == nil {
			steps, size = []zone.Delta{one}, one.Records()
		}
	}
	if size > z.Records() {
		return Whole, nil
	}
	return Steps, steps
}

// chain returns the steps from that serial to the zone's content, nil where
// history does not reach there or does not fit.
func chain(z *zone.Zone, serial uint32, history []zone.Delta) []zone.Delta {
	for i := len(history) - 1; i >= 0; i-- {
		d := &history[i]
		switch {
		case d.From == nil || d.To == nil:
			return nil
		case i == len(history)-1 && !zone.SameRecord(d.To, z.SOA()):
			return nil
		case i < len(history)-1 && d.To.Serial != history[i+1].From.Serial:
			return nil
		case d.From.Serial == serial:
			return history[i:]
		}
	}
	return nil
}

// condense makes one step of several (RFC 1995, Section 5).
func condense(steps []zone.Delta) (zone.Delta, error) {
	one := zone.Delta{From: steps[0].From, To: steps[len(steps)-1].To}
	removed, added := map[string]dns.RR{}, map[string]dns.RR{}
	for i := range steps {
		err := errors.Join(move(steps[i].Removed, added, removed), move(steps[i].Added, removed, added))
		if err != nil {
			return one, err
		}
	}
	one.Removed, one.Added = ordered(removed), ordered(added)
	return one, nil
}

// move takes the records out of undo or, those that are not there, puts them
// into do.
func move(rrs []dns.RR, undo, do map[string]dns.RR) error {
	for _, rr := range rrs {
		key, err := zone.AppendRecord(nil, rr)
		if err != nil {
			return err // wrapped by zone
		}
		if _, was := undo[string(key)]; was {
			delete(undo, string(key))
		} else {
			do[string(key)] = rr
		}
	}
	return nil
}

// ordered returns the records in an order that depends on nothing else.
func ordered(all map[string]dns.RR) []dns.RR {
	keys := make([]string, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, strings.Compare)
	rrs := make([]dns.RR, len(keys))
	for i, key := range keys {
		rrs[i] = all[key]
	}
	return rrs
}

// Changes gives emit the messages that bring a client from that serial to the
// zone's content, as Full does, and says in which form.
func Changes(q *wire.Query, o *wire.Options, z *zone.Zone, serial uint32, history []zone.Delta, emit func(msg []byte) error) (Form, error) {
	return new(packer).changes(q, o, z, serial, history, q.Limit(false), emit)
}

func (p *packer) changes(q *wire.Query, o *wire.Options, z *zone.Zone, serial uint32, history []zone.Delta, limit int, emit func(msg []byte) error) (Form, error) {
	form, steps := Choose(z, serial, history)
	switch form {
	case Current:
		return form, p.current(q, o, z, limit, emit)
	case Steps:
		return form, p.steps(q, o, z, steps, limit, emit)
	}
	return form, p.full(q, o, z, limit, emit)
}

// current answers with the SOA alone.
func (p *packer) current(q *wire.Query, o *wire.Options, z *zone.Zone, limit int, emit func(msg []byte) error) error {
	p.begin(q, o, limit, emit)
	if err := p.set(z.Origin(), []dns.RR{z.SOA()}); err != nil {
		return err
	}
	return p.end()
}

// steps answers with differences (RFC 1995, Section 4): the new SOA; of each
// step the old SOA, what goes, its new SOA, what comes; the new SOA again.
func (p *packer) steps(q *wire.Query, o *wire.Options, z *zone.Zone, steps []zone.Delta, limit int, emit func(msg []byte) error) error {
	p.begin(q, o, limit, emit)
	var one [1]dns.RR
	soa := func(r *dns.SOA) error {
		one[0] = r
		return p.set(z.Origin(), one[:])
	}
	if err := soa(z.SOA()); err != nil {
		return err
	}
	for i := range steps {
		d := &steps[i]
		if err := soa(d.From); err != nil {
			return err
		}
		if err := p.list(d.Removed); err != nil {
			return err
		}
		if err := soa(d.To); err != nil {
			return err
		}
		if err := p.list(d.Added); err != nil {
			return err
		}
	}
	if err := soa(z.SOA()); err != nil {
		return err
	}
	return p.end()
}

// errMore says that one message was not enough.
var errMore = errors.New("a second message")

// Datagram returns the answer to IXFR over UDP, and its form: what Changes has
// to say where that fits, else the SOA alone, so that the client comes by TCP
// (RFC 1995, Section 2).
func Datagram(q *wire.Query, o *wire.Options, z *zone.Zone, serial uint32, history []zone.Delta) ([]byte, Form, error) {
	return new(packer).datagram(q, o, z, serial, history)
}

func (p *packer) datagram(q *wire.Query, o *wire.Options, z *zone.Zone, serial uint32, history []zone.Delta) (reply []byte, form Form, err error) {
	limit := q.Limit(true)
	// The first message is kept until there surely is no second one.
	keep := func(msg []byte) error {
		if reply != nil {
			return errMore
		}
		reply = slices.Clone(msg)
		return nil
	}
	form, err = p.changes(q, o, z, serial, history, limit, keep)
	if err == nil {
		return reply, form, nil
	}
	if !errors.Is(err, errMore) && !errors.Is(err, ErrTooLong) {
		return nil, form, err
	}
	reply = nil
	err = p.current(q, o, z, limit, keep)
	return reply, Current, err
}
