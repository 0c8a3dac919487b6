package xfr

import (
	"bytes"
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// records reads the records of messages as a zone keeps them: whole, with no
// name that points into a message.
type records struct {
	arena zone.Arena
	room  []byte // the record at hand, as zone.AppendWire writes it
	again []byte
}

// fixedLen is what stands between a record's owner and its data.
const fixedLen = 10

// read reads the record at msg[off:] of the zone and returns it with the offset
// after it. What it returns is a *Fault.
func (r *records) read(msg []byte, off int, of name.Name) (rr dns.RR, end int, err error) {
	owner, off, err := name.FromWire(msg, off)
	if err != nil || off+fixedLen > len(msg) {
		return nil, 0, fault(Malformed, "a record that ends outside the message")
	}
	head := msg[off : off+fixedLen]
	kind, class := binary.BigEndian.Uint16(head), binary.BigEndian.Uint16(head[2:])
	off += fixedLen
	end = off + int(binary.BigEndian.Uint16(head[8:]))
	switch {
	case end > len(msg):
		return nil, 0, fault(Malformed, "a record that ends outside the message")
	case class != dns.ClassINET:
		return nil, 0, fault(WrongClass, "%s %s of class %d", owner, dns.Type(kind), class)
	case !owner.IsBelow(of):
		return nil, 0, fault(OutOfZone, "%s %s", owner, dns.Type(kind))
	case kind == dns.TypeSOA && owner != of:
		return nil, 0, fault(SOAInside, "%s", owner)
	}
	r.room = append(append(r.room[:0], owner...), head...)
	data := len(r.room)
	if r.room, err = expand(r.room, msg, off, end, kind); err != nil {
		return nil, 0, fault(Malformed, "%s %s: %w", owner, dns.Type(kind), err)
	}
	size := len(r.room) - data
	if size > 0xFFFF {
		return nil, 0, fault(UnfitRecord, "%s %s: %w", owner, dns.Type(kind), zone.ErrTooLarge)
	}
	binary.BigEndian.PutUint16(r.room[data-2:], uint16(size))
	if rr, err = r.normal(); err != nil {
		return nil, 0, fault(UnfitRecord, "%s %s: %w", owner, dns.Type(kind), err)
	}
	return rr, end, nil
}

// normal makes the record in room as zone.Normalise makes it. What would not be
// written again as it came is refused: a signature over it would fail with us,
// and a compression pointer that nobody may write (RFC 3597, Section 4) shows
// in this way too.
func (r *records) normal() (dns.RR, error) {
	asIs := false // there is nothing to normalise; those of a signed zone lie side by side
	rr, _, err := r.arena.Unpack(r.room)
	if err != nil {
		return nil, err // wrapped by zone
	}
	if rr.Header().Ttl > 1<<31-1 {
		return nil, zone.ErrLongTTL
	}
	size := rr.Header().Rdlength
	switch x := rr.(type) {
	case *dns.A, *dns.AAAA, *dns.NS, *dns.CNAME, *dns.PTR, *dns.MX:
		// Most records of most zones. Their data were read octet by octet, so
		// there is nothing to compare.
		return rr, nil
	case *dns.RRSIG, *dns.NSEC, *dns.DS:
		asIs = size > 0 && size < 4096
	case *dns.NSEC3:
		asIs = x.NextDomain != "" && size < 4096
	}
	if !asIs {
		rr, _, err = zone.Normalise(rr)
	}
	if err != nil {
		return nil, err // wrapped by zone
	}
	if r.again, err = zone.AppendRecord(r.again[:0], rr); err != nil {
		return nil, err // wrapped by zone
	}
	if !bytes.Equal(r.again, r.room) {
		return nil, zone.ErrUnfit
	}
	return rr, nil
}

// layout is where names stand in the data of a type: before each so many
// octets, or character strings, and after the last whatever follows.
type layout struct {
	skip    int // octets before the first name
	strings int // character strings before it
	names   int
}

// layouts are of the types that RFC 3597, Section 4 lets senders compress, or
// wants receivers to expand, and of those whose names are in lower case in a
// zone (RFC 4034, Section 6.2).
var layouts = map[uint16]layout{
	dns.TypeNS: {names: 1}, dns.TypeCNAME: {names: 1}, dns.TypeDNAME: {names: 1}, dns.TypePTR: {names: 1},
	dns.TypeMB: {names: 1}, dns.TypeMD: {names: 1}, dns.TypeMF: {names: 1}, dns.TypeMG: {names: 1}, dns.TypeMR: {names: 1},
	dns.TypeMINFO: {names: 2}, dns.TypeRP: {names: 2}, dns.TypeSOA: {names: 2},
	dns.TypeMX: {skip: 2, names: 1}, dns.TypeAFSDB: {skip: 2, names: 1}, dns.TypeRT: {skip: 2, names: 1}, dns.TypeKX: {skip: 2, names: 1},
	dns.TypePX: {skip: 2, names: 2}, dns.TypeSRV: {skip: 6, names: 1},
	dns.TypeNAPTR: {skip: 4, strings: 3, names: 1},
	dns.TypeRRSIG: {skip: 18, names: 1},
}

// expand appends the data of a record, msg[off:end], with its names whole and
// in lower case where a zone has them so.
func expand(to, msg []byte, off, end int, kind uint16) ([]byte, error) {
	l := layouts[kind]
	from := off
	off += l.skip
	for range l.strings {
		if off >= end {
			return to, name.ErrWire
		}
		off += 1 + int(msg[off])
	}
	if off > end {
		return to, name.ErrWire
	}
	to = append(to, msg[from:off]...)
	for range l.names {
		n, next, err := name.FromWire(msg, off)
		if err != nil {
			return to, err
		}
		if off = next; off > end {
			return to, name.ErrWire
		}
		to = append(to, n...)
	}
	return append(to, msg[off:end]...), nil
}
