package ldap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The encoding is the part of BER that RFC 4511, Section 5.1, leaves: lengths
// are definite, and may be longer than they need be. Tags above 30 do not occur.

// element is one value: its tag, and what is in it.
type element struct {
	tag  byte
	body []byte
}

var errShort = errors.New("ldap: a value ends too early")

// next takes the first element off b.
func next(b []byte) (e element, rest []byte, err error) {
	if len(b) < 2 {
		return e, nil, errShort
	}
	if b[0]&0x1f == 0x1f {
		return e, nil, errors.New("ldap: a tag of several octets")
	}
	n, head := int(b[1]), 2
	if n >= 0x80 {
		octets := n - 0x80
		if octets == 0 || octets > 4 || len(b) < 2+octets {
			return e, nil, fmt.Errorf("ldap: a length of %d octets", octets)
		}
		var long [4]byte
		copy(long[4-octets:], b[2:2+octets])
		size := binary.BigEndian.Uint32(long[:])
		if uint64(size) > uint64(len(b)) {
			return e, nil, errShort
		}
		n, head = int(size), 2+octets
	}
	if len(b)-head < n {
		return e, nil, errShort
	}
	return element{b[0], b[head : head+n]}, b[head+n:], nil
}

// expect takes the first element off b, which must have that tag.
func expect(b []byte, tag byte) (body, rest []byte, err error) {
	e, rest, err := next(b)
	if err == nil && e.tag != tag {
		err = fmt.Errorf("ldap: tag %#x where %#x was expected", e.tag, tag)
	}
	return e.body, rest, err
}

// number reads an INTEGER or an ENUMERATED that is not negative.
func number(body []byte) (int32, error) {
	if len(body) == 0 || len(body) > 4 || body[0]&0x80 != 0 {
		return 0, errors.New("ldap: a bad number")
	}
	n := int32(0)
	for _, octet := range body {
		n = n<<8 | int32(octet)
	}
	return n, nil
}

// wrap encodes an element of what the parts are together.
func wrap(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := make([]byte, 1, n+6)
	out[0] = tag
	if n < 0x80 {
		out = append(out, byte(n))
	} else {
		out = append(out, 0x84)
		out = binary.BigEndian.AppendUint32(out, uint32(n))
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func integer(tag byte, n int32) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	for len(b) > 1 && b[0] == 0 && b[1]&0x80 == 0 {
		b = b[1:]
	}
	return wrap(tag, b)
}

func octets(tag byte, s string) []byte { return wrap(tag, []byte(s)) }

// maxMessage bounds what a server sends at once. It is asked for one entry
// without attributes: a name.
const maxMessage = 64 << 10

// readElement reads a whole element from a connection, not one octet more.
func readElement(r *bufio.Reader) ([]byte, error) {
	head := make([]byte, 2, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := uint32(head[1])
	if n >= 0x80 {
		if n == 0x80 || n > 0x84 {
			return nil, fmt.Errorf("ldap: a length of %d octets", n-0x80)
		}
		head = head[:2+n-0x80]
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, err
		}
		n = 0
		for _, octet := range head[2:] {
			n = n<<8 | uint32(octet)
		}
	}
	if n > maxMessage {
		return nil, fmt.Errorf("ldap: a message of %d octets", n)
	}
	whole := make([]byte, len(head)+int(n))
	copy(whole, head)
	_, err := io.ReadFull(r, whole[len(head):])
	return whole, err
}
