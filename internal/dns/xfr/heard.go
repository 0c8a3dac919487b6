package xfr

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// Notice is a NOTIFY as it came (RFC 1996).
type Notice struct {
	Zone      name.Name
	Serial    uint32 // of the SOA that came along: a hint, which proves nothing
	HasSerial bool
	EDNS      bool
	End       int // where the question ends
	TSIG      int // where the TSIG record begins; 0: there is none
}

// ReadNotice reads a NOTIFY of a zone's SOA; false for what is none, or none
// that can be read.
func ReadNotice(msg []byte) (n Notice, ok bool) {
	if len(msg) < wire.HeaderLen || binary.BigEndian.Uint16(msg[4:]) != 1 || wire.Opcode(binary.BigEndian.Uint16(msg[2:])) != dns.OpcodeNotify {
		return n, false
	}
	var err error
	off := 0
	if n.Zone, off, err = name.FromWire(msg, wire.HeaderLen); err != nil || off+4 > len(msg) {
		return n, false
	}
	// RFC 1996, Section 3.7: SOA is the one type that has a meaning.
	if binary.BigEndian.Uint16(msg[off:]) != dns.TypeSOA || binary.BigEndian.Uint16(msg[off+2:]) != dns.ClassINET {
		return n, false
	}
	off += 4
	n.End = off
	answers, counts := int(binary.BigEndian.Uint16(msg[6:])), 0
	for _, i := range []int{6, 8, 10} {
		counts += int(binary.BigEndian.Uint16(msg[i:]))
	}
	for i := range counts {
		rec, ok := readRaw(msg, off)
		if !ok {
			return n, false
		}
		switch {
		case i < answers:
			n.hint(msg, off, rec)
		case rec.kind == dns.TypeOPT:
			n.EDNS = true
		case rec.kind == dns.TypeTSIG && i != counts-1:
			return n, false // RFC 8945, Section 5.1: the last
		case rec.kind == dns.TypeTSIG:
			n.TSIG = off
		}
		off = rec.end
	}
	return n, off == len(msg)
}

// hint takes the serial of an answer that is the zone's SOA.
func (n *Notice) hint(msg []byte, off int, rec raw) {
	owner, _, err := name.FromWire(msg, off)
	if err != nil || owner != n.Zone || rec.kind != dns.TypeSOA || rec.end-rec.data < timersLen {
		return
	}
	n.Serial, n.HasSerial = binary.BigEndian.Uint32(msg[rec.end-timersLen:]), true
}

// Heard takes a NOTIFY and returns the rcode of the reply. Who has signed is
// known by the key and by nothing else; who has not, by the address, which
// anybody may forge: all that follows is a question to the primary (RFC 1996,
// Section 3.10 to 3.12). seen says whether the client sees the zone among ours:
// to others it is none.
func (r *Refresher) Heard(n Notice, a Asker, seen bool) (rcode int) {
	if r == nil {
		if seen {
			return wire.Refused
		}
		return wire.NotAuth
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.syncLocked()
	heard := false
	for _, f := range r.views[n.Zone] {
		if f.in.primary(a) {
			heard = true
			r.toldLocked(f, n.Serial, n.HasSerial, a.From)
		}
	}
	switch {
	case heard:
		r.Counters.Notified.Inc()
		return wire.NoError
	case seen:
		r.Counters.NotifyRefused.Inc()
		return wire.Refused
	}
	r.Counters.NotifyUnknown.Inc()
	return wire.NotAuth
}

// primary reports whether the asker is one of the zone's primaries.
func (in *Inbound) primary(a Asker) bool {
	for _, p := range in.Primaries {
		if a.Key != "" && p.Key == a.Key || a.Key == "" && p.at(a.From) {
			return true
		}
	}
	return false
}
