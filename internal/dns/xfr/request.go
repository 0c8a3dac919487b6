package xfr

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// Serial returns the serial that an IXFR request names: that of the SOA in its
// authority section (RFC 1995, Section 3). It reports false where there is none
// of the zone asked for: FORMERR.
func Serial(q *wire.Query) (serial uint32, ok bool) {
	msg := q.Msg
	if q.Type != dns.TypeIXFR || q.End == 0 || binary.BigEndian.Uint16(msg[8:]) != 1 {
		return 0, false
	}
	owner, off, err := name.FromWire(msg, q.End)
	if err != nil || owner != q.Name() || off+10 > len(msg) {
		return 0, false
	}
	if binary.BigEndian.Uint16(msg[off:]) != dns.TypeSOA || binary.BigEndian.Uint16(msg[off+2:]) != dns.ClassINET {
		return 0, false
	}
	end := off + 10 + int(binary.BigEndian.Uint16(msg[off+8:]))
	off += 10
	for range 2 { // MNAME and RNAME
		if _, off, err = name.FromWire(msg, off); err != nil {
			return 0, false
		}
	}
	if end > len(msg) || off+timersLen != end {
		return 0, false
	}
	return binary.BigEndian.Uint32(msg[off:]), true
}
