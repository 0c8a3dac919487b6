package doh

import (
	"encoding/binary"
	"strconv"
)

const (
	typeSOA   = 6
	typeOPT   = 41
	rcodeMask = 0x000F
	nxdomain  = 3
	maxTTL    = 1<<31 - 1 // RFC 2181, Section 8: beyond this it is zero
)

// freshness is Cache-Control for a reply: no longer than the smallest TTL of
// its answer (RFC 8484, Section 5.1), or than a denial lasts (RFC 2308,
// Section 5). It is private: who asks decides what the answer is.
func freshness(reply []byte) string {
	if age, ok := maxAge(reply); ok {
		return "private, max-age=" + strconv.FormatUint(uint64(age), 10)
	}
	return "no-store"
}

// maxAge returns how long a reply may be kept; false: not at all.
func maxAge(msg []byte) (uint32, bool) {
	if len(msg) < minMessage {
		return 0, false
	}
	if rcode := binary.BigEndian.Uint16(msg[2:]) & rcodeMask; rcode != 0 && rcode != nxdomain {
		return 0, false
	}
	off := minMessage
	for range binary.BigEndian.Uint16(msg[4:]) {
		end, ok := skipName(msg, off)
		if !ok || end+4 > len(msg) {
			return 0, false
		}
		off = end + 4
	}
	answers := int(binary.BigEndian.Uint16(msg[6:]))
	all := answers + int(binary.BigEndian.Uint16(msg[8:]))
	age, found := uint32(maxTTL), false
	for i := range all {
		end, ok := skipName(msg, off)
		if !ok || end+10 > len(msg) {
			return 0, false
		}
		typ, ttl := binary.BigEndian.Uint16(msg[end:]), binary.BigEndian.Uint32(msg[end+4:])
		off = end + 10 + int(binary.BigEndian.Uint16(msg[end+8:]))
		if off > len(msg) {
			return 0, false
		}
		if ttl > maxTTL {
			ttl = 0
		}
		switch {
		case typ == typeOPT:
		case i < answers:
			age, found = min(age, ttl), true
		case typ == typeSOA && off >= end+14: // MINIMUM is the last of its data
			age, found = min(age, ttl, binary.BigEndian.Uint32(msg[off-4:])), true
		}
	}
	return age, found
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
