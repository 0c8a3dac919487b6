package tsig

import (
	"encoding/binary"
	"hash"
	"time"
)

// Stream signs the messages of one reply that has many of them (RFC 8945,
// Section 5.3.1): the first over the MAC of the request and the variables, each
// that follows over the MAC before it and the timers. Every message is signed:
// some readers take no other.
type Stream struct {
	verdict *Verdict
	mac     hash.Hash // nil: no key is known
	last    []byte    // the MAC of the message before; empty: there was none
	sum     [maxMAC]byte
}

// Stream begins the signatures of a reply of many messages.
func (v *Verdict) Stream() *Stream {
	s := &Stream{verdict: v}
	if v.key != nil {
		s.mac = v.key.new()
	}
	return s
}

// Sign appends the TSIG record to the next message, which is finished but for
// it. It takes Reserve octets.
func (s *Stream) Sign(msg []byte, now time.Time) []byte {
	v := s.verdict
	if v.Standing != Good || s.mac == nil {
		return v.Sign(msg, now) // a bad request has one reply, and no stream
	}
	r := record{
		key: v.Key, algorithm: v.algorithm, time: clock(now), fudge: fudge,
		id: binary.BigEndian.Uint16(msg),
	}
	additional := binary.BigEndian.Uint16(msg[10:])
	s.mac.Reset()
	if len(s.last) == 0 {
		digestPrior(s.mac, v.mac[:v.macLen])
		digest(s.mac, msg, r.id, additional)
		r.digest(s.mac)
	} else {
		digestPrior(s.mac, s.last)
		digest(s.mac, msg, r.id, additional)
		r.digestTimers(s.mac)
	}
	s.last = s.mac.Sum(s.sum[:0])
	r.mac = s.last
	binary.BigEndian.PutUint16(msg[10:], additional+1)
	return r.append(msg)
}

// digestTimers adds what is left of the variables after the first message (RFC
// 8945, Section 4.3.3.1).
func (r *record) digestTimers(h hash.Hash) {
	var v [clockLen + 2]byte
	h.Write(binary.BigEndian.AppendUint16(appendTime(v[:0], r.time), r.fudge))
}
