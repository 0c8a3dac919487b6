package update

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// Outline is where things are in an UPDATE message. Nothing but names and the
// fixed part of records was read.
type Outline struct {
	Zone    name.Name
	Class   uint16
	ZoneEnd int  // where the zone section ends
	EDNS    bool // there is an OPT record; what follows is of it
	Version uint8
	Size    uint16
	TSIG    int // where the TSIG record begins, the last of all; 0: there is none

	msg      []byte
	requires []span
	changes  []span
}

// span is one record of a message.
type span struct {
	owner       name.Name
	typ, class  uint16
	ttl         uint32
	at, rd, end int // where it begins, its RDATA does, and it ends
}

// Read reads the outline of msg, which has the header of an UPDATE and must
// stay as it is as long as the outline is used. False is FORMERR: it is no
// message of RFC 2136, Section 2.
func Read(msg []byte) (*Outline, bool) {
	if len(msg) < wire.HeaderLen || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return nil, false // RFC 2136, Section 3.1.1: one zone
	}
	o := &Outline{msg: msg}
	var err error
	var off int
	if o.Zone, off, err = name.FromWire(msg, wire.HeaderLen); err != nil || off+4 > len(msg) {
		return nil, false
	}
	if binary.BigEndian.Uint16(msg[off:]) != dns.TypeSOA { // Section 3.1.1
		return nil, false
	}
	o.Class = binary.BigEndian.Uint16(msg[off+2:])
	o.ZoneEnd = off + 4
	ok := true
	if o.requires, off, ok = section(msg, o.ZoneEnd, 6); !ok {
		return nil, false
	}
	if o.changes, off, ok = section(msg, off, 8); !ok {
		return nil, false
	}
	more, off, ok := section(msg, off, 10)
	return o, ok && off == len(msg) && o.additional(more)
}

// section reads the records of a section, whose count stands in the header.
func section(msg []byte, off, count int) (spans []span, end int, ok bool) {
	for n := binary.BigEndian.Uint16(msg[count:]); n > 0; n-- {
		s := span{at: off}
		var err error
		if s.owner, off, err = name.FromWire(msg, off); err != nil || off+10 > len(msg) {
			return nil, 0, false
		}
		s.typ, s.class = binary.BigEndian.Uint16(msg[off:]), binary.BigEndian.Uint16(msg[off+2:])
		s.ttl = binary.BigEndian.Uint32(msg[off+4:])
		s.rd = off + 10
		s.end = s.rd + int(binary.BigEndian.Uint16(msg[off+8:]))
		if off = s.end; off > len(msg) {
			return nil, 0, false
		}
		spans = append(spans, s)
	}
	return spans, off, true
}

// additional looks for OPT and TSIG; all else there means nothing to us.
func (o *Outline) additional(spans []span) bool {
	for i, s := range spans {
		switch s.typ {
		case dns.TypeOPT:
			// RFC 6891, Section 6.1.1: one, owned by the root.
			if o.EDNS || s.owner != name.Root {
				return false
			}
			o.EDNS, o.Size, o.Version = true, s.class, uint8(s.ttl>>16)
		case dns.TypeTSIG:
			if i != len(spans)-1 { // RFC 8945, Section 5.1
				return false
			}
			o.TSIG = s.at
		}
	}
	return true
}

// Request is one UPDATE, read whole.
type Request struct {
	Zone     name.Name
	Requires []Record // the prerequisites
	Changes  []Record // the update section
}

// Record is one record of a request. Of classes ANY and NONE it is no record
// of a zone but says something about some.
type Record struct {
	Owner name.Name
	Type  uint16
	Class uint16
	TTL   uint32
	Data  bool   // it has RDATA
	RR    dns.RR // of class IN, also where the record is of class NONE; nil without RDATA
	rdata string // of RR, in wire form
}

// Request reads the records.
func (o *Outline) Request() (*Request, *Refusal) {
	if len(o.requires)+len(o.changes) > MaxRecords {
		return nil, &Refusal{Rcode: Refused, Reason: ReasonTooLarge}
	}
	r := &Request{Zone: o.Zone}
	for _, list := range []struct {
		from []span
		to   *[]Record
	}{{o.requires, &r.Requires}, {o.changes, &r.Changes}} {
		for _, s := range list.from {
			rec, ok := o.record(s)
			if !ok {
				return nil, form(rec)
			}
			*list.to = append(*list.to, rec)
		}
	}
	return r, nil
}

// record reads one record. RDATA is of class IN, or of NONE, where it says
// which record is meant (RFC 2136, Section 2.5.4).
func (o *Outline) record(s span) (Record, bool) {
	r := Record{Owner: s.owner, Type: s.typ, Class: s.class, TTL: s.ttl, Data: s.end > s.rd}
	empty := !r.Data && (s.class != dns.ClassINET || s.typ != dns.TypeAPL)
	if empty || s.class != dns.ClassINET && s.class != dns.ClassNONE || meta(s.typ) {
		return r, true // whether it may be so depends on the section
	}
	rr, end, err := dns.UnpackRR(o.msg[:s.end], s.at)
	if err != nil || end != s.end {
		return r, false
	}
	rr.Header().Class = dns.ClassINET
	if r.RR, _, err = zone.Normalise(rr); err != nil {
		return r, false
	}
	wire, err := zone.AppendRdata(nil, r.RR)
	r.rdata = string(wire)
	return r, err == nil
}

// meta reports whether a type is for questions only (RFC 2136, Section 3.4.1.2
// names some of them; RFC 6895, Section 3.1).
func meta(t uint16) bool {
	return t == dns.TypeNone || t == dns.TypeOPT || t >= 128 && t <= 255
}
