package wire

import "encoding/binary"

// Response codes used on this path (RFC 1035, Section 4.1.1; RFC 2136; RFC
// 6891, Section 9). Those above 15 need an OPT record.
const (
	NoError  = 0
	ServFail = 2
	NXDomain = 3
	NotImp   = 4
	Refused  = 5
	YXDomain = 6
	NotAuth  = 9
	BadVers  = 16

	FormErrCode = 1
)

// OptLen is the length of an OPT record without options.
const OptLen = 11

// Start appends header and question of a reply to dst, which must be empty:
// compression offsets count from its beginning. The question is the client's
// own octets, so letter case comes back as it came (RFC 4343, Section 4.1;
// the "0x20" defence depends on it). Flags hold QR, the opcode, RD and CD.
func (q *Query) Start(dst []byte) []byte {
	dst = append(dst, q.Msg[:max(q.End, HeaderLen)]...)
	var counts Counts
	if q.End > 0 {
		counts.Question = 1
	}
	Patch(dst, QR|q.Flags&(opcodeMask|RD|CD), counts)
	return dst
}

// Reserve returns how many octets Finish will add for the OPT record.
func (q *Query) Reserve(nsid string) int {
	switch {
	case !q.EDNS:
		return 0
	case q.NSID && nsid != "":
		return OptLen + 4 + len(nsid)
	}
	return OptLen
}

// Finish writes flags, rcode and counts into the header of a reply begun
// with Start and appends the OPT record where the query had one (RFC 6891,
// Section 6.1.1). nsid is sent to those that ask; empty, to nobody.
func (q *Query) Finish(reply []byte, flags uint16, rcode int, c Counts, nsid string) []byte {
	if q.EDNS {
		reply = q.appendOPT(reply, rcode, nsid)
		c.Additional++
	}
	Patch(reply, QR|q.Flags&(opcodeMask|RD|CD)|flags|uint16(rcode&0xF), c)
	return reply
}

func (q *Query) appendOPT(reply []byte, rcode int, nsid string) []byte {
	do := byte(0)
	if q.DO {
		do = 0x80 // RFC 3225, Section 3: copied
	}
	reply = append(reply, 0, 0, typeOPT, MaxUDP>>8, MaxUDP&0xFF, byte(rcode>>4), 0, do, 0, 0, 0)
	if q.NSID && nsid != "" {
		binary.BigEndian.PutUint16(reply[len(reply)-2:], uint16(4+len(nsid)))
		reply = append(reply, 0, optionNSID, byte(len(nsid)>>8), byte(len(nsid)))
		reply = append(reply, nsid...)
	}
	return reply
}

// Error appends a whole reply without records: header, the question as far as
// it was read, OPT as asked.
func (q *Query) Error(dst []byte, flags uint16, rcode int, nsid string) []byte {
	var c Counts
	if q.End > 0 {
		c.Question = 1
	}
	return q.Finish(q.Start(dst), flags, rcode, c, nsid)
}

// Malformed appends the reply to what Parse called FormErr: the header alone,
// which cannot amplify, whatever else the message held.
func (q *Query) Malformed(dst []byte) []byte {
	dst = append(dst, q.Msg[:HeaderLen]...)
	Patch(dst, QR|q.Flags&(opcodeMask|RD)|FormErrCode, Counts{})
	return dst
}
