package answer

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// packer packs the records of one RRset into one block.
type packer struct {
	origin name.Name // names at or below it end in a pointer to it
	owner  name.Name // and those at or below this, where not "", in one to it
	block  []byte
	reloc  int // the set's first entry in relocs
	relocs []uint32
	wide   []byte // a record as the library packs it
}

// record appends rr. It returns where in the block the name stands whose
// addresses go along, and that name; "" for none.
func (p *packer) record(rr dns.RR) (at int, target name.Name) {
	h := rr.Header()
	p.block = append(p.block, 0xC0, 0x0C)
	p.block = binary.BigEndian.AppendUint16(p.block, h.Rrtype)
	p.block = binary.BigEndian.AppendUint16(p.block, h.Class)
	p.block = binary.BigEndian.AppendUint32(p.block, h.Ttl)
	p.block = append(p.block, 0, 0)
	start := len(p.block)
	data := p.rdata(rr)
	lead, names := compressible(h.Rrtype)
	p.block = append(p.block, data[:lead]...)
	data = data[lead:]
	at = len(p.block)
	for range names {
		n, next, err := name.FromWire(data, 0)
		if err != nil {
			break // cannot be: the zone's records were packed before
		}
		p.name(n)
		target, data = n, data[next:]
	}
	p.block = append(p.block, data...)
	binary.BigEndian.PutUint16(p.block[start-2:], uint16(len(p.block)-start))
	switch h.Rrtype {
	case dns.TypeNS, dns.TypeMX:
		return at, target
	case dns.TypeSRV:
		// RFC 2782: the target is not compressed, but can be pointed to.
		if n, _, err := name.FromWire(p.block[start:], 6); err == nil {
			return start + 6, n
		}
	}
	return 0, ""
}

// compressible tells which RDATA begins, after lead octets, with that many
// names that may be compressed: those of RFC 1035 only (RFC 3597, Section 4).
func compressible(t uint16) (lead, names int) {
	switch t {
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeMB, dns.TypeMD, dns.TypeMF, dns.TypeMG, dns.TypeMR:
		return 0, 1
	case dns.TypeMX:
		return 2, 1
	case dns.TypeSOA, dns.TypeMINFO:
		return 0, 2
	}
	return 0, 0
}

// name appends n, its ending replaced by a pointer where it can be.
func (p *packer) name(n name.Name) {
	end, mark := p.origin, uint32(0)
	if p.owner != "" && n.IsBelow(p.owner) {
		end, mark = p.owner, ownerReloc
	}
	// A pointer to the root would be longer than the root.
	if len(end) < 2 || !n.IsBelow(end) {
		p.block = append(p.block, n...)
		return
	}
	p.block = append(p.block, n[:len(n)-len(end)]...)
	p.relocs = append(p.relocs, uint32(len(p.block))|mark)
	p.block = append(p.block, 0xC0, 0)
}

// rdata returns the RDATA of rr, uncompressed; it is valid until the next
// call.
func (p *packer) rdata(rr dns.RR) []byte {
	switch r := rr.(type) {
	case *dns.A:
		if ip := r.A.To4(); ip != nil {
			return ip
		}
	case *dns.AAAA:
		if ip := r.AAAA.To16(); ip != nil {
			return ip
		}
	}
	if p.wide == nil {
		p.wide = make([]byte, 512)
	}
	end, err := dns.PackRR(rr, p.wide, 0, nil, false)
	if err != nil {
		p.wide = make([]byte, 1<<17)
		if end, err = dns.PackRR(rr, p.wide, 0, nil, false); err != nil {
			return nil // cannot be: the zone's records were packed before
		}
	}
	off := 0
	for p.wide[off] != 0 {
		off += 1 + int(p.wide[off])
	}
	return p.wide[off+1+10 : end]
}
