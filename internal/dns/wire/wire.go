// Package wire reads queries and patches replies as octets: the header, the
// one question and the OPT record of what a client sent, and the header, the
// echoed question and the OPT record of what goes back. Nothing here
// allocates, so the path of a query whose answer is compiled allocates
// nothing at all.
//
// It never looks at records other than to step over them, never follows a
// compression pointer in a question, and owns no goroutine. RFC 1035, Section
// 4; RFC 6891 (EDNS); RFC 5001 (NSID); RFC 7314 (EXPIRE); RFC 7828 (keepalive); RFC 7830 and 8467
// (padding); RFC 7873 (the COOKIE option); RFC 8906 (odd queries); RFC 8914
// (EDE); RFC 9619 (one question).
package wire

import "encoding/binary"

// HeaderLen is the length of a message's header.
const HeaderLen = 12

// The flags of the header's second word (RFC 1035, Section 4.1.1; RFC 4035,
// Section 3.2).
const (
	QR uint16 = 1 << 15
	AA uint16 = 1 << 10
	TC uint16 = 1 << 9
	RD uint16 = 1 << 8
	RA uint16 = 1 << 7
	AD uint16 = 1 << 5
	CD uint16 = 1 << 4

	opcodeMask uint16 = 0xF << 11
)

// Lengths of what a COOKIE option holds (RFC 7873, Section 4; RFC 9018,
// Section 4).
const (
	ClientCookie = 8
	FullCookie   = 24 // client cookie and the server cookie of RFC 9018

	maxCookie = 40
)

// Sizes of UDP replies.
const (
	// MinUDP is what every client takes (RFC 1035, Section 2.3.4).
	MinUDP = 512
	// MaxUDP is the largest reply sent, and the size announced (RFC 9715,
	// Section 3.2 and appendix A).
	MaxUDP = 1232
	// MaxTCP is the largest message of all.
	MaxTCP = 65535
)

const (
	typeOPT  = 41
	typeTSIG = 250
	typeIXFR = 251

	optionNSID      = 3  // RFC 5001, Section 4
	optionExpire    = 9  // RFC 7314, Section 2
	optionCookie    = 10 // RFC 7873, Section 4
	optionKeepalive = 11 // RFC 7828, Section 3.1
	optionPadding   = 12 // RFC 7830, Section 3
	optionEDE       = 15 // RFC 8914, Section 2

	maxName   = 255
	maxLabels = 127
)

// Opcode returns the opcode in the flags of a header.
func Opcode(flags uint16) int { return int(flags & opcodeMask >> 11) }

// Counts is the number of records in each section.
type Counts struct{ Question, Answer, Authority, Additional uint16 }

// Patch writes flags and counts into the header of reply.
func Patch(reply []byte, flags uint16, c Counts) {
	_ = reply[HeaderLen-1]
	binary.BigEndian.PutUint16(reply[2:], flags)
	binary.BigEndian.PutUint16(reply[4:], c.Question)
	binary.BigEndian.PutUint16(reply[6:], c.Answer)
	binary.BigEndian.PutUint16(reply[8:], c.Authority)
	binary.BigEndian.PutUint16(reply[10:], c.Additional)
}
