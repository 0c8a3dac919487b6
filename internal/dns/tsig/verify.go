package tsig

import (
	"crypto/subtle"
	"encoding/binary"
	"time"

	"postern/internal/dns/name"
)

// Standing is what the TSIG record of a request proved.
type Standing uint8

// Standings of Verify, and what the reply to each is: FORMERR without a
// record; NOTAUTH with a record that is not signed; NOTAUTH, signed; or
// whatever the question deserves, signed.
const (
	// Malformed: the record cannot be interpreted, or its MAC has a length that
	// no signer may send.
	Malformed Standing = iota
	BadKey             // no such key, or not with this algorithm; not signed
	BadSig             // made with another secret, or changed on its way; not signed
	BadTime            // a good MAC, of another time than ours; signed
	BadTrunc           // a good MAC, cut off shorter than we take it; signed
	Good
)

var standings = [...]struct {
	word string
	code uint16 // RFC 8945, Section 3
}{
	Malformed: {"malformed", 0}, BadKey: {"badkey", 17}, BadSig: {"badsig", 16},
	BadTime: {"badtime", 18}, BadTrunc: {"badtrunc", 22}, Good: {"good", 0},
}

// String is the standing as a word.
func (s Standing) String() string { return standings[s].word }

// Verdict is what Verify found. It keeps nothing of the message.
type Verdict struct {
	Standing Standing
	// Key is the name that the request gave. It proves something only where
	// Standing is Good.
	Key name.Name

	key       *Key // nil: not known
	algorithm name.Name
	time      uint64 // as the client said
	fudge     uint16
	mac       [maxMAC]byte // of the request, as it came
	macLen    uint8
}

// Verify weighs the TSIG record that begins at msg[at:], the last of the
// message. The order of the checks is that of RFC 8945, Section 5.2.
//
// It departs from RFC 8945, Section 5.2.3: the latest time of each key is not
// kept, and an earlier one not refused. Questions of one client overtake each
// other by UDP and by connections side by side, and a question asked again
// changes nothing here. Who carries out what does asks Signed.
func (k *Keys) Verify(msg []byte, at int, now time.Time) Verdict {
	r, ok := read(msg, at)
	if !ok {
		return Verdict{}
	}
	v := Verdict{Key: r.key, algorithm: r.algorithm, time: r.time, fudge: r.fudge}
	// RFC 8945, Section 5.2.1. An algorithm is not for the client to choose.
	key := k.find(r.key)
	if key == nil || algorithms[key.Algorithm].wire != r.algorithm {
		v.Standing = BadKey
		return v
	}
	// RFC 8945, Section 5.2.2.1.
	whole := key.Algorithm.Size()
	if len(r.mac) > whole || len(r.mac) < max(10, whole/2) {
		return Verdict{}
	}
	h := key.new()
	digest(h, msg[:at], r.id, binary.BigEndian.Uint16(msg[10:])-1)
	r.digest(h)
	if subtle.ConstantTimeCompare(h.Sum(nil)[:len(r.mac)], r.mac) != 1 {
		v.Standing = BadSig
		return v
	}
	v.key, v.macLen = key, uint8(copy(v.mac[:], r.mac))
	switch {
	case apart(clock(now), r.time) > uint64(r.fudge):
		v.Standing = BadTime
	case len(r.mac) < whole && (key.Shortest == 0 || len(r.mac) < key.Shortest):
		v.Standing = BadTrunc
	default:
		v.Standing = Good
	}
	return v
}

// Signed returns what sets a request apart from all others, its MAC with the
// name of its key, and the time that it gives, in Unix seconds. Both prove
// something only where Standing is Good.
func (v *Verdict) Signed() (mac string, at int64) {
	return string(v.mac[:v.macLen]) + string(v.Key), int64(v.time)
}

// clock is a time as it goes over the wire.
func clock(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) & (1<<48 - 1) }

func apart(a, b uint64) uint64 { return max(a, b) - min(a, b) }
