package answer

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"unsafe"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// packer packs one owner after the other into one buffer.
type packer struct {
	origin name.Name // of the zone; names at or below it end in a pointer to it
	hosts  hosts
	denial uint16 // number + 1 among the apex's sets of the SOA of negative answers
	packed int    // runs so far
	scheme        // by which names are hashed

	run  []byte
	sets []set
	kept []zone.RRset // of the node at hand
	some []dns.RR     // the RRSIGs of the set at hand
	wide []byte       // the data of a record
	keys [264]byte

	// Of the set at hand:
	owner   name.Name // names at or below it, where not "", end in a pointer to it
	start   int       // where in run its records begin
	relocs  []uint32
	targets []target
	links   []link
}

// hosts knows the owners that have addresses.
type hosts interface {
	// host returns the slot of such an owner, and the flags of the one that
	// rules over it, 0 for none.
	host(n name.Name) (slot uint32, rule uint8, ok bool)
}

// target is a name in RDATA whose addresses go along.
type target struct {
	at   int // where in the set's records it stands
	name name.Name
	must bool
}

// key returns the name as hash takes it, until the next call.
func (p *packer) key(n name.Name) (words unsafe.Pointer, size int) {
	size = padded(len(n))
	binary.LittleEndian.PutUint64(p.keys[size-8:], 0)
	copy(p.keys[:], n)
	return unsafe.Pointer(&p.keys[0]), size
}

// pack returns the node's run, until the next call: first the sets that answer
// questions, then the RRSIGs of each, which only go along, and at the apex the
// SOA of negative answers.
func (p *packer) pack(nd *compiled, src *zone.Zone) []byte {
	node := nd.src
	p.packed++
	p.sets = p.sets[:0]
	sigs := p.keep(nd)
	total := len(p.kept)
	if sigs != nil {
		total *= 2
	}
	apex := node.Name == p.origin
	if apex {
		total += 2
	}
	p.run = append(p.run[:0], make([]byte, ownerLen)...)
	p.run = append(p.run, node.Name...)
	if nd.flags&isProof != 0 {
		p.run = p.run[:ownerLen+proofLen]
		p.run[ownerLen] = proofMark
	}
	length := len(p.run) - ownerLen
	p.pad(8)
	p.run = append(p.run, make([]byte, total*setLen)...)
	for i := range p.kept {
		p.packSet(nd, p.kept[i].Type, p.kept[i].RRs, true)
	}
	count := len(p.sets)
	switch {
	case sigs == nil:
	case nd.flags&isProof != 0:
		p.sets[0].sig = p.packSigs(nd, sigs, dns.TypeNSEC3, nil)
	default:
		p.shareSigs(sigs)
	}
	if apex {
		p.packDenial(nd, src, sigs)
	}
	p.packHashes(nd)
	write(p.run, owner{
		over: nd.over, wild: nd.wild, size: uint32(len(p.run)), nset: uint16(count),
		nameLen: uint8(length), flags: nd.flags,
	}, p.sets)
	return p.run
}

// keep chooses the node's sets that answer questions, those that signing adds
// last: for an NSEC3 record it alone, else all but NSEC3 records, which are not
// asked for (RFC 5155, Section 7.2.8). It returns the RRSIGs, too.
func (p *packer) keep(nd *compiled) (sigs *zone.RRset) {
	p.kept = p.kept[:0]
	var nsec *zone.RRset
	mixed := false // RRSIGs of NSEC3 records stand among the others
	for i := range nd.src.Sets {
		switch set := &nd.src.Sets[i]; {
		case set.Type == dns.TypeRRSIG:
			sigs = set
		case set.Type == dns.TypeNSEC:
			nsec = set
		case set.Type == dns.TypeNSEC3:
			mixed = true
			fallthrough
		default:
			if (set.Type == dns.TypeNSEC3) == (nd.flags&isProof != 0) {
				p.kept = append(p.kept, *set)
			}
		}
	}
	if nd.flags&isProof != 0 {
		return sigs
	}
	if nsec != nil {
		p.kept = append(p.kept, *nsec)
	}
	if sigs != nil && mixed {
		sigs = without(sigs, dns.TypeNSEC3)
	}
	if sigs != nil {
		p.kept = append(p.kept, *sigs)
	}
	return sigs
}

// without returns the RRSIGs but those that cover type t; nil for none.
func without(sigs *zone.RRset, t uint16) *zone.RRset {
	rest := zone.RRset{Type: sigs.Type, TTL: sigs.TTL}
	for _, rr := range sigs.RRs {
		if sig, ok := rr.(*dns.RRSIG); !ok || sig.TypeCovered != t {
			rest.RRs = append(rest.RRs, rr)
		}
	}
	if len(rest.RRs) == 0 {
		return nil
	}
	return &rest
}

// shareSigs gives each set its RRSIGs: those of one type stand together in the
// last set, which holds all of them (RFC 4034, Sections 3.1 and 6.3).
func (p *packer) shareSigs(sigs *zone.RRset) {
	all := p.sets[len(p.sets)-1]
	at, count := all.at, len(p.sets)-1
	for i := 0; i < len(sigs.RRs); {
		t, part := covered(sigs.RRs[i]), set{at: at, typ: dns.TypeRRSIG}
		for ; i < len(sigs.RRs) && covered(sigs.RRs[i]) == t; i++ {
			size := 12 + uint32(binary.BigEndian.Uint16(p.run[at+10:]))
			part.size, part.count, at = part.size+size, part.count+1, at+size
		}
		for j := range p.sets[:count] {
			if s := &p.sets[j]; s.typ == t && s.sig == 0 {
				p.sets = append(p.sets, part)
				p.sets[j].sig = uint16(len(p.sets))
				break
			}
		}
	}
}

func covered(rr dns.RR) uint16 {
	if sig, ok := rr.(*dns.RRSIG); ok {
		return sig.TypeCovered
	}
	return 0
}

// packSigs packs the RRSIGs that cover type t, as change makes them, and
// returns their set's number + 1; 0 where there are none.
func (p *packer) packSigs(nd *compiled, sigs *zone.RRset, t uint16, change func(dns.RR) dns.RR) uint16 {
	p.some = p.some[:0]
	for _, rr := range sigs.RRs {
		if covered(rr) == t {
			if change != nil {
				rr = change(rr)
			}
			p.some = append(p.some, rr)
		}
	}
	if len(p.some) == 0 {
		return 0
	}
	p.packSet(nd, dns.TypeRRSIG, p.some, false)
	return uint16(len(p.sets))
}

// packHashes ends the run of a name that a proof may need with its hashes: they
// are taken here, so that no question has to.
func (p *packer) packHashes(nd *compiled) {
	switch {
	case nd.flags&isProof != 0:
		return
	case p.deny == byHash && nd.reached():
	case p.deny == byCost && nd.src.Name == p.origin:
	default:
		return
	}
	own := p.scheme.of(p.octets(nd.src.Name, ""))
	if nd.over == 0 {
		wild := p.scheme.of(p.octets(nd.src.Name, "\x01*"))
		p.run = append(p.run, wild[:]...)
	}
	p.run = append(p.run, own[:]...)
}

// octets returns the name below the first label, until the next call.
func (p *packer) octets(n name.Name, label string) []byte {
	return append(append(p.keys[:0], label...), n...)
}

// packDenial packs the SOA, and its RRSIGs, as negative answers carry it: with
// the smaller of its own TTL and MINIMUM (RFC 2308, Section 3).
func (p *packer) packDenial(nd *compiled, src *zone.Zone, sigs *zone.RRset) {
	soa := src.SOA()
	lowered := func(rr dns.RR) dns.RR {
		rr = dns.Copy(rr)
		rr.Header().Ttl = min(soa.Minttl, soa.Hdr.Ttl)
		return rr
	}
	p.packSet(nd, dns.TypeSOA, []dns.RR{lowered(soa)}, false)
	p.denial = uint16(len(p.sets))
	if sigs != nil {
		p.sets[p.denial-1].sig = p.packSigs(nd, sigs, dns.TypeSOA, lowered)
	}
}

// packSet packs one set, with links where it answers questions.
func (p *packer) packSet(nd *compiled, t uint16, rrs []dns.RR, links bool) {
	p.pad(4)
	p.start, p.owner = len(p.run), ""
	p.relocs, p.targets, p.links = p.relocs[:0], p.targets[:0], p.links[:0]
	cut := nd.flags&isCut != 0 && t == dns.TypeNS
	// A name below the cut it belongs to is shortest with a pointer to the cut.
	// Not at a wildcard, where QNAME is not the owner.
	if cut && !nd.src.Name.IsWildcard() {
		p.owner = nd.src.Name
	}
	for _, rr := range rrs {
		at, to := p.record(rr)
		if to != "" && links && linking(t) && at <= math.MaxUint16 && to.IsBelow(p.origin) {
			p.targets = append(p.targets, target{at: at, name: to, must: cut && to.IsBelow(nd.src.Name)})
		}
	}
	size := len(p.run) - p.start
	if len(p.targets) > 0 {
		p.link(cut)
	}
	p.pad(4)
	s := set{
		at: uint32(p.start), size: uint32(size), extra: uint32(len(p.run)), typ: t, count: uint16(min(len(rrs), math.MaxUint16)),
		nrel: uint16(min(len(p.relocs), math.MaxUint16)), nlink: uint16(min(len(p.links), math.MaxUint16)),
	}
	for _, r := range p.relocs[:s.nrel] {
		p.run = binary.NativeEndian.AppendUint32(p.run, r)
	}
	for _, l := range p.links[:s.nlink] {
		p.run = binary.NativeEndian.AppendUint32(p.run, l.slot)
		p.run = binary.NativeEndian.AppendUint16(p.run, l.at)
		p.run = binary.NativeEndian.AppendUint16(p.run, l.must)
	}
	p.sets = append(p.sets, s)
}

// link turns targets into links: each owner once a set, what must be there
// first.
func (p *packer) link(cut bool) {
	slices.SortStableFunc(p.targets, func(a, b target) int { return cmp.Compare(btoi(b.must), btoi(a.must)) })
	for _, t := range p.targets {
		slot, rule, ok := p.hosts.host(t.name)
		if !ok {
			continue
		}
		// Addresses below a cut are glue and belong beside the NS of a cut
		// only (RFC 1034, Section 4.2.1); below a DNAME there is nothing.
		if rule != 0 && (!cut || rule&isCut == 0) {
			continue
		}
		if !slices.ContainsFunc(p.links, func(l link) bool { return l.slot == slot }) {
			p.links = append(p.links, link{slot: slot, at: uint16(t.at), must: btoi(t.must)})
		}
	}
}

func btoi(b bool) uint16 {
	if b {
		return 1
	}
	return 0
}

func (p *packer) pad(to int) {
	for len(p.run)%to != 0 {
		p.run = append(p.run, 0)
	}
}

// linking tells whether the addresses of the name in its records go along with
// a set of type t.
func linking(t uint16) bool { return t == dns.TypeNS || t == dns.TypeMX || t == dns.TypeSRV }

// record appends rr. It returns where in the set's records the name stands
// whose addresses go along, and that name; "" for none.
func (p *packer) record(rr dns.RR) (at int, to name.Name) {
	h := rr.Header()
	p.run = append(p.run, 0xC0, 0x0C, byte(h.Rrtype>>8), byte(h.Rrtype), byte(h.Class>>8), byte(h.Class))
	p.run = binary.BigEndian.AppendUint32(p.run, h.Ttl)
	p.run = append(p.run, 0, 0)
	data := len(p.run)
	switch r := rr.(type) {
	case *dns.A:
		p.run = append(p.run, r.A.To4()...)
	case *dns.AAAA:
		p.run = append(p.run, r.AAAA.To16()...)
	case *dns.NS:
		at, to = p.text(r.Ns)
	case *dns.CNAME:
		p.text(r.Target)
	case *dns.PTR:
		p.text(r.Ptr)
	case *dns.MX:
		p.run = binary.BigEndian.AppendUint16(p.run, r.Preference)
		at, to = p.text(r.Mx)
	default:
		at, to = p.other(rr)
	}
	binary.BigEndian.PutUint16(p.run[data-2:], uint16(len(p.run)-data))
	return at, to
}

// text appends a name as it is written.
func (p *packer) text(s string) (at int, n name.Name) {
	n, err := name.Parse(s)
	if err != nil {
		return 0, "" // cannot be: the zone's records were packed before
	}
	at = len(p.run) - p.start
	p.name(n)
	return at, n
}

// other appends the RDATA of the less common types.
func (p *packer) other(rr dns.RR) (at int, to name.Name) {
	data := p.rdata(rr)
	for range compressible(rr.Header().Rrtype) {
		n, next, err := name.FromWire(data, 0)
		if err != nil {
			break // cannot be: the zone's records were packed before
		}
		p.name(n)
		data = data[next:]
	}
	begin := len(p.run)
	p.run = append(p.run, data...)
	if rr.Header().Rrtype == dns.TypeSRV {
		// RFC 2782: the target is not compressed, but can be pointed to.
		if n, _, err := name.FromWire(p.run[begin:], 6); err == nil {
			return begin + 6 - p.start, n
		}
	}
	return 0, ""
}

// compressible tells with how many names that may be compressed RDATA begins:
// those of RFC 1035 only (RFC 3597, Section 4).
func compressible(t uint16) int {
	switch t {
	case dns.TypeMB, dns.TypeMD, dns.TypeMF, dns.TypeMG, dns.TypeMR:
		return 1
	case dns.TypeSOA, dns.TypeMINFO:
		return 2
	}
	return 0
}

// name appends a name, ending in a pointer where that is shorter.
func (p *packer) name(n name.Name) {
	end, mark := p.origin, uint32(0)
	if p.owner != "" && n.IsBelow(p.owner) {
		end, mark = p.owner, ownerReloc
	}
	// A pointer to the root would be longer than the root.
	if len(end) < 2 || !n.IsBelow(end) {
		p.run = append(p.run, n...)
		return
	}
	p.run = append(p.run, n[:len(n)-len(end)]...)
	p.relocs = append(p.relocs, uint32(len(p.run)-p.start)|mark)
	p.run = append(p.run, 0xC0, 0)
}

// rdata returns the RDATA of rr, uncompressed; it is valid until the next
// call.
func (p *packer) rdata(rr dns.RR) []byte {
	data, err := zone.AppendRdata(p.wide[:0], rr) // PackRR of the library writes to the record, which others read
	if err != nil {
		return nil // cannot be: the zone's records were packed before
	}
	p.wide = data
	return data
}
