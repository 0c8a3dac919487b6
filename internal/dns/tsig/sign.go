package tsig

import (
	"encoding/binary"
	"time"
)

// fudge is how far, in seconds, the client's clock may be from ours (RFC 8945,
// Section 10: 300 is recommended).
const fudge = 300

// Reserve is how many octets Sign adds to a reply.
func (v *Verdict) Reserve() int {
	if v.Standing == Malformed {
		return 0
	}
	n := len(v.Key) + fixedLen + len(v.algorithm) + timesLen + tailLen
	if v.key != nil {
		n += v.key.Algorithm.Size()
	}
	if v.Standing == BadTime {
		n += clockLen
	}
	return n
}

// Sign appends the TSIG record to the finished reply, whose last record it
// becomes. To a request whose key or MAC is bad it is a record without a MAC
// (RFC 8945, Section 5.3.2): whoever reads it must take it for a hint only.
func (v *Verdict) Sign(reply []byte, now time.Time) []byte {
	if v.Standing == Malformed {
		return reply
	}
	r := record{
		key: v.Key, algorithm: v.algorithm, time: clock(now), fudge: fudge,
		id: binary.BigEndian.Uint16(reply), error: standings[v.Standing].code,
	}
	if v.Standing == BadTime {
		// RFC 8945, Section 5.2.3: in the client's own time, or the client could
		// not believe the reply; ours goes along.
		r.time, r.fudge, r.other = v.time, v.fudge, appendTime(nil, clock(now))
	}
	additional := binary.BigEndian.Uint16(reply[10:])
	if v.key != nil {
		h := v.key.new()
		digestPrior(h, v.mac[:v.macLen])
		digest(h, reply, r.id, additional)
		r.digest(h)
		r.mac = h.Sum(nil)
	}
	binary.BigEndian.PutUint16(reply[10:], additional+1)
	return r.append(reply)
}
