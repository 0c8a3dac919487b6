package update

import (
	"maps"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// Kept is an RRset that updates made another one than the admin's file has.
type Kept struct {
	Owner name.Name
	Type  uint16
	Below []dns.RR // what the file had then; nil: nothing
	Now   []dns.RR // what is there instead, in canonical order; nil: nothing
	Key   name.Name
	At    time.Time // of the last update of it, which that key signed
}

// Overlay is all that updates changed in one zone, in order. A nil one is
// empty; none is ever changed.
type Overlay struct {
	kept   []Kept
	owners map[name.Name][]int
}

// File stands for a file in the records that updates brought.
const File = "(dynamic)"

// NewOverlay returns the overlay of these, which are one for each owner and type.
func NewOverlay(kept []Kept) *Overlay {
	if len(kept) == 0 {
		return nil
	}
	o := &Overlay{kept: slices.Clone(kept), owners: map[name.Name][]int{}}
	slices.SortFunc(o.kept, func(a, b Kept) int {
		if c := a.Owner.Compare(b.Owner); c != 0 {
			return c
		}
		return int(a.Type) - int(b.Type)
	})
	for i, k := range o.kept {
		o.owners[k.Owner] = append(o.owners[k.Owner], i)
	}
	return o
}

// Kept returns what it holds, by owner and type.
func (o *Overlay) Kept() []Kept {
	if o == nil {
		return nil
	}
	return o.kept
}

// Records returns how many records it holds: those that came and those that
// they lie over.
func (o *Overlay) Records() int {
	n := 0
	for _, k := range o.Kept() {
		n += k.records()
	}
	return n
}

// Draft is an overlay while updates change it, one after the other.
type Draft struct {
	kept map[place]Kept
	size int // records
}

// Draft returns a draft that begins with what the overlay holds.
func (o *Overlay) Draft() *Draft {
	d := &Draft{kept: make(map[place]Kept, len(o.Kept()))}
	for _, k := range o.Kept() {
		d.kept[place{k.Owner, k.Type}] = k
	}
	d.size = o.Records()
	return d
}

// Take notes what an update changed. What is again as the file has it is not
// kept any more.
func (d *Draft) Take(changes []Change, key name.Name, at time.Time) {
	for _, c := range changes {
		p, below := place{c.Owner, c.Type}, c.Old
		if k, ok := d.kept[p]; ok {
			below = k.Below
			d.size -= k.records()
			delete(d.kept, p)
		}
		if !Equal(below, c.New) {
			k := Kept{c.Owner, c.Type, below, c.New, key, at}
			d.kept[p] = k
			d.size += k.records()
		}
	}
}

// Records is how many records the overlay would have.
func (d *Draft) Records() int { return d.size }

// Overlay returns what the draft came to.
func (d *Draft) Overlay() *Overlay { return NewOverlay(slices.Collect(maps.Values(d.kept))) }

func (k *Kept) records() int { return len(k.Now) + len(k.Below) }

// Without returns the overlay less some of it, and what that is.
func (o *Overlay) Without(these func(Kept) bool) (*Overlay, []Kept) {
	var left, gone []Kept
	for _, k := range o.Kept() {
		if these(k) {
			gone = append(gone, k)
		} else {
			left = append(left, k)
		}
	}
	return NewOverlay(left), gone
}

// Lay lays the overlay over records as the file has them now. Who edited an
// RRset in the file after an update of the same RRset is obeyed: that update
// gives way. So does one whose records cannot stand beside what the file says
// now, an alias of the name or a DNAME above it. It returns the records, what
// of the overlay is left, and what gave way.
func (o *Overlay) Lay(records []zonefile.Record) ([]zonefile.Record, *Overlay, []Kept) {
	if o == nil {
		return records, nil, nil
	}
	l := layer{overlay: o, below: map[place][]dns.RR{}, types: map[name.Name]map[uint16]bool{}, dnames: map[name.Name]bool{}}
	l.read(records)
	holds := make([]bool, len(o.kept))
	var left, gone []Kept
	for i, k := range o.kept {
		holds[i] = sameBelow(l.below[place{k.Owner, k.Type}], k)
	}
	for n, at := range o.owners {
		l.settle(n, at, holds)
	}
	over := map[place]bool{}
	for i, k := range o.kept {
		if holds[i] {
			left, over[place{k.Owner, k.Type}] = append(left, k), true
		} else {
			gone = append(gone, k)
		}
	}
	if len(gone) > 0 {
		o = NewOverlay(left)
	}
	return l.merge(records, over, left), o, gone
}

// place is an RRset.
type place struct {
	owner name.Name
	typ   uint16
}

// layer is what of a file's records lies where an overlay changes something.
type layer struct {
	overlay *Overlay
	below   map[place][]dns.RR
	types   map[name.Name]map[uint16]bool // all of an owner
	dnames  map[name.Name]bool
	at      []int // of these records
}

func (l *layer) read(records []zonefile.Record) {
	var sizes [256]bool // a name is looked up only if one of its length is meant
	for n := range l.overlay.owners {
		sizes[len(n)] = true
	}
	for i := range records {
		n, err := records[i].Name()
		t := records[i].RR.Header().Rrtype
		if err == nil && t == dns.TypeDNAME {
			l.dnames[n] = true
		}
		if err != nil || !sizes[len(n)] || l.overlay.owners[n] == nil {
			continue
		}
		if l.types[n] == nil {
			l.types[n] = map[uint16]bool{}
		}
		l.types[n][t] = true
		l.below[place{n, t}] = append(l.below[place{n, t}], records[i].RR)
		l.at = append(l.at, i)
	}
}

// settle lets the updates of an owner give way to what they cannot stand beside.
func (l *layer) settle(n name.Name, at []int, holds []bool) {
	there := map[uint16]bool{} // of the file, as far as no update replaces it
	for t := range l.types[n] {
		there[t] = true
	}
	for _, i := range at {
		if holds[i] {
			delete(there, l.overlay.kept[i].Type)
		}
	}
	hidden := there[dns.TypeCNAME]
	for up := n; !hidden && up != name.Root; {
		up = up.Parent()
		hidden = l.dnames[up] && !l.replaced(up, holds)
	}
	for _, i := range at {
		if k := &l.overlay.kept[i]; len(k.Now) > 0 && (hidden || k.Type == dns.TypeCNAME && len(there) > 0) {
			holds[i] = false
		}
	}
}

// replaced reports whether an update took the file's DNAME away.
func (l *layer) replaced(n name.Name, holds []bool) bool {
	return slices.ContainsFunc(l.overlay.owners[n], func(i int) bool {
		return holds[i] && l.overlay.kept[i].Type == dns.TypeDNAME
	})
}

// merge returns the records less those that are replaced, and at their end
// those that came.
func (l *layer) merge(records []zonefile.Record, over map[place]bool, left []Kept) []zonefile.Record {
	all := make([]zonefile.Record, 0, len(records)+len(left))
	from := 0
	for _, i := range l.at {
		n, _ := records[i].Name() // it was read before
		if over[place{n, records[i].RR.Header().Rrtype}] {
			all = append(all, records[from:i]...)
			from = i + 1
		}
	}
	all = append(all, records[from:]...)
	for _, k := range left {
		for _, rr := range k.Now {
			all = append(all, zonefile.Record{RR: rr, Owner: k.Owner, File: File})
		}
	}
	return all
}

// sameBelow reports whether the file has an RRset as it was when the update
// came. The serial of a SOA is no edit of it: that moves with every one.
func sameBelow(now []dns.RR, k Kept) bool {
	return Equal(asSet(now), asSet(k.Below))
}

// asSet evens out what a zone evens out: records that come twice, TTLs that
// differ (RFC 2181, Sections 5 and 5.2); and serials.
func asSet(rrs []dns.RR) []dns.RR {
	if len(rrs) == 0 {
		return nil
	}
	least := rrs[0].Header().Ttl
	for _, rr := range rrs {
		least = min(least, rr.Header().Ttl)
	}
	seen := map[string]bool{}
	var set []dns.RR
	for _, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Ttl = least
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Serial = 0
		}
		if data := rdata(rr); !seen[data] {
			seen[data] = true
			set = append(set, rr)
		}
	}
	return set
}

// Below returns the zone that updates see: less the records that Postern makes
// itself, which they neither see nor touch.
func Below(z *zone.Zone, made []dns.RR) (*zone.Zone, error) {
	if len(made) == 0 {
		return z, nil
	}
	edits := map[name.Name][]dns.RR{}
	gone := map[place]map[string]bool{}
	for _, rr := range made {
		n, err := name.Parse(rr.Header().Name)
		if err != nil {
			return nil, err
		}
		p := place{n, rr.Header().Rrtype}
		if gone[p] == nil {
			gone[p], edits[n] = map[string]bool{}, nil
		}
		gone[p][rdata(rr)] = true
	}
	for n := range edits {
		node := z.Node(n)
		if node == nil {
			continue
		}
		for i := range node.Sets {
			for _, rr := range node.Sets[i].RRs {
				if !gone[place{n, node.Sets[i].Type}][rdata(rr)] {
					edits[n] = append(edits[n], rr)
				}
			}
		}
	}
	return z.Edit(edits)
}
