package wire

// Response codes used on this path (RFC 1035, Section 4.1.1; RFC 2136; RFC
// 6891, Section 9). Those above 15 need an OPT record.
const (
	NoError   = 0
	ServFail  = 2
	NXDomain  = 3
	NotImp    = 4
	Refused   = 5
	YXDomain  = 6
	NotAuth   = 9
	BadVers   = 16
	BadCookie = 23 // BADCOOKIE (RFC 7873, Section 8)

	FormErrCode = 1
)

// OptLen is the length of an OPT record without options.
const OptLen = 11

// Start appends header and question of a reply to dst, which must be empty:
// compression offsets count from its beginning. The question is the client's
// own octets, so letter case comes back as it came (RFC 4343, Section 4.1;
// the "0x20" defence depends on it). Flags and counts are the query's own
// until Finish.
func (q *Query) Start(dst []byte) []byte {
	return append(dst, q.Msg[:max(q.End, HeaderLen)]...)
}

// Finish writes flags, rcode and counts into the header of a reply begun
// with Start and appends the OPT record where the query had one (RFC 6891,
// Section 6.1.1), with the options of o; nil: none.
func (q *Query) Finish(reply []byte, flags uint16, rcode int, c Counts, o *Options) []byte {
	if q.EDNS {
		reply = q.appendOPT(reply, rcode, o)
		c.Additional++
	}
	Patch(reply, QR|q.Flags&(opcodeMask|RD|CD)|flags|uint16(rcode&0xF), c)
	return reply
}

// Error appends a whole reply without records: header, the question as far as
// it was read, OPT as asked.
func (q *Query) Error(dst []byte, flags uint16, rcode int, o *Options) []byte {
	var c Counts
	if q.End > 0 {
		c.Question = 1
	}
	return q.Finish(q.Start(dst), flags, rcode, c, o)
}

// Malformed appends the reply to what Parse called FormErr: the header alone,
// which cannot amplify, whatever else the message held.
func (q *Query) Malformed(dst []byte) []byte {
	dst = append(dst, q.Msg[:HeaderLen]...)
	Patch(dst, QR|q.Flags&(opcodeMask|RD)|FormErrCode, Counts{})
	return dst
}
