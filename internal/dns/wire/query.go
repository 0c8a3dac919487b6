package wire

import (
	"encoding/binary"
	"unsafe"

	"postern/internal/dns/name"
)

// Verdict is what a message turned out to be.
type Verdict uint8

// Verdicts of Parse.
const (
	// Drop: not a query at all (too short, or itself a response): answering
	// it could start a loop or serve a reflection attack.
	Drop Verdict = iota
	// FormErr: gets FORMERR and no more.
	FormErr
	// Other: a well-formed header with an opcode other than QUERY; nothing
	// after the header was read.
	Other
	// OK: one question, ready to be answered.
	OK
	// CookieOnly: no question, but a COOKIE option (RFC 7873, Section 5.4).
	CookieOnly
)

// Query is one parsed query. It is filled again and again by Parse and holds
// no memory of its own besides itself.
type Query struct {
	Msg   []byte // the message as received; lent by the caller
	End   int    // offset after the question; 0 where the question was not read
	ID    uint16
	Flags uint16 // the second word of the header, as received
	Type  uint16
	Class uint16

	EDNS    bool   // there was an OPT record; what follows is from it
	DO      bool   // RFC 3225
	NSID    bool   // RFC 5001
	Alive   bool   // asks for the idle time of TCP (RFC 7828)
	Expire  bool   // asks how long the zone is good for (RFC 7314)
	Padded  bool   // RFC 7830
	Version uint8  // of EDNS
	Size    uint16 // the requester's payload size

	cookieLen uint8  // 0: no COOKIE option
	cookieAt  uint16 // where in Msg its data begins

	// TSIG is where the TSIG record begins, the last of all; 0: there is none.
	TSIG int
	// Tail is how many octets of every reply are kept for a TSIG record of its
	// own. Parse clears it.
	Tail int

	nameLen uint8
	labels  uint8
	offsets [maxLabels + 1]uint8  // where each label of name begins; the root's last
	name    [maxName + 1 + 8]byte // QNAME in lower case, with a word of zeros after it
	spare   [maxName + 1 + 8]byte
}

// Parse reads msg, which must stay unchanged as long as q is used.
func (q *Query) Parse(msg []byte) Verdict {
	q.Msg, q.End = msg, 0
	q.EDNS, q.DO, q.NSID, q.TSIG, q.Tail, q.Version, q.Size = false, false, false, 0, 0, 0, 0
	q.Alive, q.Expire, q.Padded, q.cookieLen = false, false, false, 0
	if len(msg) < HeaderLen {
		return Drop
	}
	q.ID, q.Flags = binary.BigEndian.Uint16(msg), binary.BigEndian.Uint16(msg[2:])
	switch {
	case q.Flags&QR != 0:
		return Drop
	case q.Flags&opcodeMask != 0:
		return Other
	// RFC 9619, Section 4: a QUERY with more than one question is malformed.
	case binary.BigEndian.Uint16(msg[4:]) > 1:
		return FormErr
	case binary.BigEndian.Uint16(msg[4:]) == 0:
		return q.cookieOnly()
	}
	if !q.question() {
		q.End = 0
		return FormErr
	}
	if !q.rest() {
		return FormErr
	}
	return OK
}

// cookieOnly reads a query without a question: all it may ask for is a
// cookie (RFC 7873, Section 5.4).
func (q *Query) cookieOnly() Verdict {
	q.Type, q.Class, q.nameLen, q.labels, q.End = 0, 0, 0, 0, HeaderLen
	ok := q.rest()
	q.End = 0
	if !ok || q.cookieLen == 0 {
		return FormErr
	}
	return CookieOnly
}

// question reads QNAME, QTYPE and QCLASS.
func (q *Query) question() bool {
	msg, off := q.Msg, HeaderLen
	for labels := range q.offsets {
		if uint(off) >= uint(len(msg)) {
			return false
		}
		c := int(msg[off])
		q.offsets[labels] = uint8(off - HeaderLen)
		if c == 0 {
			q.labels = uint8(labels)
			return q.after(msg, off+1)
		}
		// A pointer has nothing before it to point to but the header (RFC 1035,
		// Section 4.1.4); the other two kinds of label do not exist.
		if c > 63 {
			return false
		}
		off += 1 + c
	}
	return false
}

// after takes QNAME, which ends before off, and reads what follows it.
func (q *Query) after(msg []byte, off int) bool {
	n := off - HeaderLen
	if n > maxName || off+4 > len(msg) {
		return false
	}
	fixed := binary.BigEndian.Uint32(msg[off:])
	q.Type, q.Class = uint16(fixed>>16), uint16(fixed)
	q.nameLen, q.End = uint8(n), off+4
	if end := HeaderLen + (n+7)&^7; end <= cap(msg) {
		q.lowerWords(msg[HeaderLen:end], n)
	} else {
		q.lower(msg[HeaderLen:off])
	}
	return true
}

// lowerWords copies QNAME, of n octets, with A to Z in lower case (RFC 4343,
// Section 3). The lengths of labels are below 64 and no letters, so the name
// is taken eight octets at a time; what the last word brings along from after
// the name is cleared, so that names can be compared by words.
func (q *Query) lowerWords(src []byte, n int) {
	for i := 0; i+8 <= len(src) && i+8 <= len(q.name); i += 8 {
		binary.LittleEndian.PutUint64(q.name[i:i+8], lower8(binary.LittleEndian.Uint64(src[i:i+8])))
	}
	binary.LittleEndian.PutUint64(q.name[n:n+8], 0)
}

// lower is lowerWords octet by octet, for a name at the end of its buffer.
func (q *Query) lower(src []byte) {
	for i, b := range src {
		if b-'A' < 26 {
			b |= 0x20
		}
		q.name[i] = b
	}
	clear(q.name[len(src) : len(src)+8])
}

// lower8 lowers eight octets at once: the high bit of each octet of is says
// whether that octet is a letter from A to Z.
func lower8(w uint64) uint64 {
	const ones = 0x0101010101010101
	low := w & (0x7F * ones)
	is := (low + (0x80-'A')*ones) &^ (low + (0x80-'Z'-1)*ones) &^ w & (0x80 * ones)
	return w | is>>2
}

// rest steps over the records after the question. Only OPT and TSIG mean
// anything in a query; a query must end where its counts say.
func (q *Query) rest() bool {
	msg := q.Msg
	// Most queries end here, or with an OPT record and nothing else.
	if h := (*[HeaderLen]byte)(msg); h[6]|h[7]|h[8]|h[9]|h[10] == 0 && h[11] <= 1 {
		switch {
		case h[11] == 0:
			return q.End == len(msg)
		case q.End+OptLen <= len(msg):
			if o := (*[OptLen]byte)(msg[q.End:]); o[0]|o[1] == 0 && o[2] == typeOPT {
				return q.lone(o)
			}
		}
	}
	answers := binary.BigEndian.Uint16(msg[6:])
	authority := binary.BigEndian.Uint16(msg[8:])
	additional := int(binary.BigEndian.Uint16(msg[10:]))
	off := q.End
	if answers != 0 {
		return false
	}
	if authority != 0 {
		// RFC 1995, Section 3: the SOA the client has stands in the authority section.
		if q.Type != typeIXFR || authority != 1 {
			return false
		}
		r, ok := readRecord(msg, off)
		if !ok {
			return false
		}
		off = r.end
	}
	for i := range additional {
		r, ok := readRecord(msg, off)
		if !ok {
			return false
		}
		switch r.typ {
		case typeOPT:
			// RFC 6891, Section 6.1.1: one OPT, owned by the root.
			if q.EDNS || msg[off] != 0 || !q.opt(r) {
				return false
			}
		case typeTSIG:
			// RFC 8945, Section 5.1: TSIG is the last record.
			if i != additional-1 {
				return false
			}
			q.TSIG = off
		}
		off = r.end
	}
	return off == len(msg)
}

// lone reads the OPT record that begins with o and ends the query.
func (q *Query) lone(o *[OptLen]byte) bool {
	r := record{
		typ:   typeOPT,
		class: uint16(o[3])<<8 | uint16(o[4]),
		ttl:   uint32(o[5])<<24 | uint32(o[6])<<16 | uint32(o[7])<<8 | uint32(o[8]),
		data:  q.End + OptLen,
		end:   q.End + OptLen + int(o[9])<<8 + int(o[10]),
	}
	return r.end == len(q.Msg) && q.opt(r)
}

// record is what is needed to step over one, or to read an OPT.
type record struct {
	typ, class uint16
	ttl        uint32
	data, end  int // where RDATA begins and ends
}

func readRecord(msg []byte, off int) (record, bool) {
	off, ok := skipName(msg, off)
	if !ok || off+10 > len(msg) {
		return record{}, false
	}
	r := record{
		typ:   binary.BigEndian.Uint16(msg[off:]),
		class: binary.BigEndian.Uint16(msg[off+2:]),
		ttl:   binary.BigEndian.Uint32(msg[off+4:]),
		data:  off + 10,
	}
	r.end = r.data + int(binary.BigEndian.Uint16(msg[off+8:]))
	return r, r.end <= len(msg)
}

// skipName returns the offset after the name at off. It ends at the first
// pointer: what that leads to is of no interest.
func skipName(msg []byte, off int) (int, bool) {
	for start := off; off < len(msg) && off-start < maxName; {
		c := int(msg[off])
		switch c & 0xC0 {
		case 0x00:
			if off += 1 + c; c == 0 {
				return off, true
			}
		case 0xC0:
			return off + 2, off+2 <= len(msg)
		default:
			return 0, false
		}
	}
	return 0, false
}

// opt reads an OPT record (RFC 6891, Section 6.1.2). Options not known are
// skipped.
func (q *Query) opt(r record) bool {
	q.EDNS, q.Size = true, r.class
	q.Version, q.DO = uint8(r.ttl>>16), r.ttl&(1<<15) != 0
	data := q.Msg[r.data:r.end]
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		size := 4 + int(binary.BigEndian.Uint16(data[2:]))
		if size > len(data) {
			return false
		}
		if !q.option(binary.BigEndian.Uint16(data), r.end-len(data)+4, size-4) {
			return false
		}
		data = data[size:]
	}
	return true
}

// option notes one option, whose data are size octets from at.
func (q *Query) option(code uint16, at, size int) bool {
	switch code {
	case optionNSID:
		q.NSID = true
	case optionCookie:
		// Of another version only the version is understood (RFC 6891, Section
		// 6.1.3): it gets BADVERS, whatever the options are.
		// RFC 7873, Section 5.2.2: 8 octets, or 16 to 40; else FORMERR.
		if size != ClientCookie && (size < 2*ClientCookie || size > maxCookie) {
			return q.Version != 0
		}
		// RFC 7873, Section 5.2: all but the first are ignored.
		if q.cookieLen == 0 {
			q.cookieAt, q.cookieLen = uint16(at), uint8(size)
		}
	case optionKeepalive:
		// RFC 7828, Section 3.2.1: a client sends it empty.
		q.Alive = q.Alive || size == 0
	case optionExpire:
		// RFC 7314, Section 3.1: a client sends it empty.
		q.Expire = q.Expire || size == 0
	case optionPadding:
		q.Padded = true
	}
	return true
}

// Cookie returns the data of the COOKIE option, client cookie first; nil
// where there is none. It is lent: part of Msg.
func (q *Query) Cookie() []byte {
	if q.cookieLen == 0 {
		return nil
	}
	return q.Msg[q.cookieAt:][:q.cookieLen:q.cookieLen]
}

// Name returns QNAME in lower case. It is lent: it changes with the next
// Parse, so whoever keeps it clones it.
func (q *Query) Name() name.Name {
	return name.Name(unsafe.String(&q.name[0], int(q.nameLen)))
}

// Wire returns QNAME in lower case as octets; lent like Name. The eight octets
// after it, within its capacity, are zero.
func (q *Query) Wire() []byte { return q.name[:q.nameLen] }

// Spare returns room for one more name. Who answers the query may use it until
// the next Parse.
func (q *Query) Spare() []byte { return q.spare[:maxName] }

// Labels returns the number of labels of QNAME, the root not counted.
func (q *Query) Labels() int { return int(q.labels) }

// Label returns where in Wire label i begins, counted from the left; label
// number Labels is the root.
func (q *Query) Label(i int) int { return int(q.offsets[i]) }

// Opcode returns the opcode.
func (q *Query) Opcode() int { return Opcode(q.Flags) }

// Limit returns how long a reply may be: over UDP what the client says it
// takes, within our own bounds, else what TCP can frame; less Tail.
func (q *Query) Limit(udp bool) int {
	switch {
	case !udp:
		return MaxTCP - q.Tail
	case !q.EDNS:
		return MinUDP - q.Tail
	}
	// RFC 6891, Section 6.2.5: values below 512 mean 512.
	return int(min(max(q.Size, MinUDP), MaxUDP)) - q.Tail
}
