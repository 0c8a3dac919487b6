package outbound

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
)

const headerLen = 12

// query is a packet to send and what its reply is measured against.
type query struct {
	wire     []byte
	question int // end of the question section
	qname    name.Name
	edns     bool
}

// newQuery writes a query with a random id and letter case. RD is 0: who is
// asked is an authority.
func (c *Client) newQuery(q iterate.Question, known knowledge) (query, error) {
	var seed [2 + 32]byte // id, then one bit for each octet of a name
	if _, err := io.ReadFull(c.cfg.Rand, seed[:]); err != nil {
		return query{}, fmt.Errorf("random id: %w", err)
	}
	b := make([]byte, 0, headerLen+len(q.Name)+4+11)
	b = append(b, seed[0], seed[1], 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	b = append(b, q.Name...)
	if !c.cfg.NoCaseRandomisation && !known.foldsCase {
		randomiseCase(b[headerLen:], seed[2:])
	}
	b = binary.BigEndian.AppendUint16(b, q.Type)
	b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
	out := query{question: len(b), qname: q.Name, edns: !known.noEDNS}
	if out.edns {
		b[11] = 1                                            // ARCOUNT
		b = append(b, 0, 0, byte(dns.TypeOPT))               // RFC 6891, Section 6.1.2
		b = binary.BigEndian.AppendUint16(b, c.cfg.EDNSSize) // CLASS: our largest UDP payload
		b = append(b, 0, 0, 0, 0, 0, 0)                      // extended rcode, version, flags, no options
		if q.DO {
			b[len(b)-4] = 0x80 // RFC 3225, Section 3
		}
	}
	out.wire = b
	return out, nil
}

// randomiseCase flips letters of a lower-case wire name. A length octet is
// below 'A', so it is never taken for a letter.
func randomiseCase(wire, bits []byte) {
	for i := range wire {
		if 'a' <= wire[i] && wire[i] <= 'z' && bits[i/8]>>(i%8)&1 == 1 {
			wire[i] -= 'a' - 'A'
		}
	}
}

func (c *Client) random() (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(c.cfg.Rand, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

// match says how a packet relates to the query.
type match uint8

const (
	stray       match = iota // not about this query
	bareFormErr              // our id, FORMERR, no question: a server from before EDNS
	caseBroken               // right but for the letter case
	matching
)

// check compares id, QR, opcode and the question, octet by octet (RFC 5452,
// Section 9.1). The source address is the socket's business.
func (q query) check(packet []byte) match {
	if len(packet) < headerLen || packet[0] != q.wire[0] || packet[1] != q.wire[1] {
		return stray
	}
	const qr, opcode = 0x80, 0x78
	if packet[2]&qr == 0 || packet[2]&opcode != 0 {
		return stray
	}
	if binary.BigEndian.Uint16(packet[4:]) == 0 && packet[3]&15 == dns.RcodeFormatError {
		return bareFormErr
	}
	if binary.BigEndian.Uint16(packet[4:]) != 1 || len(packet) < q.question {
		return stray
	}
	sent, got := q.wire[headerLen:q.question], packet[headerLen:q.question]
	if bytes.Equal(sent, got) {
		return matching
	}
	n := len(q.qname)
	if bytes.Equal(lower(got[:n]), []byte(q.qname)) && bytes.Equal(sent[n:], got[n:]) {
		return caseBroken
	}
	return stray
}

// parse unpacks a packet that matches. The question is first written over in
// lower case: owners and targets that are compressed to point into it would
// otherwise keep our random letters.
func (q query) parse(packet []byte) (*dns.Msg, error) {
	copy(packet[headerLen:], q.qname)
	msg := new(dns.Msg)
	if err := msg.Unpack(packet); err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	return msg, nil
}

func lower(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

// ednsUnknown reports a reply of a server that does not know EDNS (RFC 6891,
// Section 7).
func ednsUnknown(m *dns.Msg) bool {
	return (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && m.IsEdns0() == nil
}
