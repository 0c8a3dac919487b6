package dsync

import (
	"bytes"
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

const headerLen = 12

// Notify returns a NOTIFY message that says that the zone's records of the type
// have changed (RFC 1996, Section 3.7; RFC 9859, Section 4: one zone a
// message, with the type in place of SOA).
func Notify(id uint16, zone name.Name, about uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, dns.OpcodeNotify<<3|0x04, 0, 0, 1, 0, 0, 0, 0, 0, 0) // AA
	b = append(b, zone...)
	b = binary.BigEndian.AppendUint16(b, about)
	return binary.BigEndian.AppendUint16(b, dns.ClassINET)
}

// Answers reports whether the packet answers the NOTIFY message, and with which
// rcode (RFC 1996, Section 4.7).
func Answers(sent, packet []byte) (rcode int, ok bool) {
	const qr, opcode = 0x80, 0x78
	switch {
	case len(packet) < headerLen || !bytes.Equal(packet[:2], sent[:2]):
		return 0, false
	case packet[2]&qr == 0 || packet[2]&opcode != sent[2]&opcode:
		return 0, false
	}
	rcode = int(packet[3] & 15)
	switch binary.BigEndian.Uint16(packet[4:]) {
	case 0: // some leave the question out of an error
		return rcode, rcode != dns.RcodeSuccess
	case 1:
		return rcode, len(packet) >= len(sent) && bytes.EqualFold(packet[headerLen:len(sent)], sent[headerLen:])
	}
	return 0, false
}
