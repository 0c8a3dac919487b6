package answer

import (
	"encoding/binary"
	"unsafe"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// cname appends the CNAME of the name at hand and goes on with its target.
func (w *walk) cname(o *owner, s *set) bool {
	base := len(w.msg)
	if !w.put(o, s, w.at, &w.res.Counts.Answer) {
		return false
	}
	// A CNAME is alone (RFC 2181, Section 10.1): its RDATA follows twelve octets.
	return w.follow(base + 12)
}

// dname appends the DNAME of owner o, above the name at hand, with the CNAME
// made from it, and goes on with the target (RFC 6672, Section 3.1).
func (w *walk) dname(o *owner) bool {
	z := w.zone
	w.res.DNAME = true
	s := o.find(dns.TypeDNAME)
	prefix := w.name[:len(w.name)-int(o.nameLen)]
	base := w.given(o.name())
	if base == 0 {
		base = len(w.msg)
		if !w.put(o, s, w.suffix(len(prefix)), &w.res.Counts.Answer) {
			return false
		}
	}
	w.dnames[w.res.Hops] = uint16(base)
	rr := w.msg[base:]
	// One DNAME an owner (RFC 6672, Section 2.4); it is not compressed.
	target := rr[12 : 12+int(binary.BigEndian.Uint16(rr[10:]))]
	size := len(prefix) + len(target)
	if size > 255 {
		w.res.Kind, w.res.Rcode = TooLong, wire.YXDomain
		return false
	}
	at := len(w.msg) + 12
	if at+size > w.limit || at > maxPointer {
		w.truncate()
		return false
	}
	w.msg = append(w.msg, 0xC0|byte(w.at>>8), byte(w.at), 0, byte(dns.TypeCNAME), 0, dns.ClassINET)
	// RFC 6672, Section 3.1: the TTL of the CNAME is that of the DNAME.
	w.msg = append(w.msg, rr[6:10]...)
	w.msg = append(w.msg, 0, byte(size))
	w.msg = append(w.msg, prefix...)
	w.msg = append(w.msg, target...)
	w.res.Counts.Answer++
	if w.q.Type == dns.TypeCNAME || w.q.Type == dns.TypeANY {
		// RFC 1034, Section 3.6.2: a CNAME that is asked for is the answer. RFC
		// 6672 does not say so of one made from a DNAME; BIND, NSD and Knot do.
		return false
	}
	// A DNAME that leads below itself makes each name longer than the one
	// before and never ends: one step shows that to whoever looks.
	grows := lent(w.msg[at+len(prefix) : at+size]).IsBelow(lent(o.name()))
	return w.follow(at) && (!grows || w.zone != z)
}

// given returns where the DNAME of that owner stands in the message already,
// or 0: a chain may come by again, but a record is given once (RFC 2181,
// Section 5).
func (w *walk) given(owner []byte) int {
	for _, at := range w.dnames[:w.res.Hops] {
		if at > 0 && w.spells(int(at), owner) {
			return int(at)
		}
	}
	return 0
}

// follow makes the name spelled at off the name at hand. It reports whether
// the chain goes on: not where it came by before, nor where it is too long,
// nor where the name is in none of the zones to be had.
func (w *walk) follow(off int) bool {
	w.owners[w.res.Hops] = uint16(w.at)
	w.res.Hops++
	w.dnames[w.res.Hops] = 0
	buf := w.q.Spare()
	target, ok := spell(w.msg, off, buf)
	if !ok {
		return false
	}
	for _, owner := range w.owners[:w.res.Hops] {
		if w.spells(int(owner), target) {
			return false
		}
	}
	clear(buf[len(target) : len(target)+8]) // as lookup wants it
	w.name, w.at = target, w.pointed(off)
	// All of the name must be within reach: pointers go to its suffixes too.
	if w.res.Hops > maxHops || w.at > maxPointer-255 {
		w.res.Kind, w.res.Next = Left, off
		return false
	}
	return w.enter(off)
}

// enter moves to the zone of the name at hand.
func (w *walk) enter(off int) bool {
	next := w.zone
	if w.find != nil {
		next = w.find.Find(lent(w.name), w.q.Type)
	} else if !w.below(next.origin) {
		next = nil
	}
	if next == nil {
		w.res.Kind, w.res.Next = Left, off
		return false
	}
	if next != w.zone {
		w.zone = next
		w.origin = w.suffix(len(w.name) - len(next.origin))
	}
	return true
}

// spell writes the name at off into buf, without pointers and in lower case.
func spell(msg []byte, off int, buf []byte) ([]byte, bool) {
	n := 0
	for {
		c := int(msg[off])
		if c&0xC0 == 0xC0 {
			off = int(binary.BigEndian.Uint16(msg[off:])) & maxPointer
			continue
		}
		if n+1+c > len(buf) {
			return nil, false
		}
		buf[n] = byte(c)
		for i, b := range msg[off+1 : off+1+c] {
			if b-'A' < 26 {
				b |= 0x20
			}
			buf[n+1+i] = b
		}
		n, off = n+1+c, off+1+c
		if c == 0 {
			return buf[:n], true
		}
	}
}

// spells reports whether the name at off is n, which is in lower case.
func (w *walk) spells(off int, n []byte) bool {
	var buf [255]byte
	at, ok := spell(w.msg, off, buf[:])
	return ok && string(at) == string(n)
}

// lent returns b as a name that lives as long as b stays unchanged.
func lent(b []byte) name.Name {
	return name.Name(unsafe.String(unsafe.SliceData(b), len(b)))
}
