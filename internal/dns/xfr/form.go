package xfr

import (
	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// form is the records of a transfer as they come, in the form that they turn
// out to have:
//
//	opening --SOA--> whole ... --the same SOA--> ended              (RFC 5936, Section 2.2)
//	   \                ^
//	    \--SOA--> undecided --a SOA of ours--> removing <--> adding --the first SOA--> ended
//	      \                                                          (RFC 1995, Section 4)
//	       \--SOA that is not newer--> ended, current
type form struct {
	have    *dns.SOA // what an IXFR was asked from, or what the serial must be newer than; nil: nothing
	steps   bool     // differences were asked for
	any     bool     // any serial will do
	stage   stage
	first   *dns.SOA
	full    []dns.RR
	deltas  []zone.Delta
	current bool // it has what we have
}

type stage uint8

const (
	opening stage = iota
	undecided
	inFull
	removing
	adding
	ended
)

// take takes the next record, which is of the zone, a SOA at its apex. What it
// returns is a *Fault.
func (f *form) take(rr dns.RR) error {
	soa, _ := rr.(*dns.SOA)
	switch f.stage {
	case opening:
		return f.open(soa, rr)
	case undecided:
		return f.decide(soa, rr)
	case inFull:
		return f.whole(soa, rr)
	case removing, adding:
		return f.step(soa, rr)
	}
	return fault(AfterEnd, "%s", title(rr))
}

// title is what a record is called.
func title(rr dns.RR) string { return rr.Header().Name + " " + dns.Type(rr.Header().Rrtype).String() }

func (f *form) open(soa *dns.SOA, rr dns.RR) error {
	if soa == nil {
		return fault(NoSOA, "it begins with %s", title(rr))
	}
	f.first = soa
	switch {
	case f.have == nil || f.any || zone.SerialLess(f.have.Serial, soa.Serial):
	case f.have.Serial == soa.Serial:
		f.stage, f.current = ended, true
		return nil
	default: // RFC 1982: older, or in no order
		return fault(Older, "it has %d, and we %d", soa.Serial, f.have.Serial)
	}
	if f.stage = inFull; f.steps && f.have != nil {
		f.stage = undecided
		return nil
	}
	f.full = append(f.full, soa)
	return nil
}

// decide looks at the second record: RFC 1995, Section 4.
func (f *form) decide(soa *dns.SOA, rr dns.RR) error {
	switch {
	case soa == nil || zone.SameRecord(soa, f.first):
		f.stage, f.full = inFull, append(f.full, f.first)
		return f.whole(soa, rr)
	case !zone.SameRecord(soa, f.have):
		// Another serial than asked for, or another primary's history.
		return fault(Misfit, "it begins at serial %d with another SOA than our own of %d", soa.Serial, f.have.Serial)
	}
	f.stage = removing
	f.deltas = append(f.deltas, zone.Delta{From: soa})
	return nil
}

func (f *form) whole(soa *dns.SOA, rr dns.RR) error {
	switch {
	case soa == nil:
		f.full = append(f.full, rr)
	case zone.SameRecord(soa, f.first):
		f.stage = ended
	default:
		return fault(SOADiffers, "begun with %d, and %d came", f.first.Serial, soa.Serial)
	}
	return nil
}

func (f *form) step(soa *dns.SOA, rr dns.RR) error {
	d := &f.deltas[len(f.deltas)-1]
	switch {
	case soa == nil && f.stage == removing:
		d.Removed = append(d.Removed, rr)
	case soa == nil:
		d.Added = append(d.Added, rr)
	case f.stage == removing:
		if !zone.SerialLess(d.From.Serial, soa.Serial) {
			return fault(Misfit, "a step from %d to %d", d.From.Serial, soa.Serial)
		}
		d.To, f.stage = soa, adding
	// The end: the version that the first SOA named is reached.
	case d.To.Serial == f.first.Serial:
		if !zone.SameRecord(soa, f.first) || !zone.SameRecord(d.To, f.first) {
			return fault(SOADiffers, "begun with %d, and %d came", f.first.Serial, soa.Serial)
		}
		f.stage = ended
	case !zone.SameRecord(soa, d.To):
		return fault(Misfit, "a step from %d after one to %d", soa.Serial, d.To.Serial)
	default:
		f.deltas, f.stage = append(f.deltas, zone.Delta{From: soa}), removing
	}
	return nil
}

// lone reports whether there was a SOA only, newer than ours: the answer of a
// server that has no differences for us and gives nothing else, or the first
// record of a transfer that has more.
func (f *form) lone() bool { return f.stage == undecided }
