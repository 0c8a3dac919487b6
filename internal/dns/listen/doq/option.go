package doq

import "encoding/binary"

const (
	headerLen       = 12
	typeOPT         = 41
	optionKeepalive = 11 // RFC 7828
)

// keepalive reports whether a query has the option that must not be sent over
// QUIC (RFC 9250, Section 5.5.2). What cannot be read has none: the handler
// says what is wrong with it.
func keepalive(msg []byte) bool {
	if len(msg) < headerLen {
		return false
	}
	off := headerLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		end, ok := skipName(msg, off)
		if !ok {
			return false
		}
		off = end + 4
	}
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:]))
	for range records {
		end, ok := skipName(msg, off)
		if !ok || end+10 > len(msg) {
			return false
		}
		off = end + 10 + int(binary.BigEndian.Uint16(msg[end+8:]))
		if off > len(msg) {
			return false
		}
		if binary.BigEndian.Uint16(msg[end:]) == typeOPT && hasOption(msg[end+10:off]) {
			return true
		}
	}
	return false
}

func hasOption(data []byte) bool {
	for len(data) >= 4 {
		if binary.BigEndian.Uint16(data) == optionKeepalive {
			return true
		}
		data = data[min(len(data), 4+int(binary.BigEndian.Uint16(data[2:]))):]
	}
	return false
}

// skipName returns the offset after the name at off.
func skipName(msg []byte, off int) (int, bool) {
	for off < len(msg) {
		c := int(msg[off])
		switch {
		case c == 0:
			return off + 1, true
		case c >= 0xC0:
			return off + 2, off+2 <= len(msg)
		}
		off += 1 + c
	}
	return 0, false
}
