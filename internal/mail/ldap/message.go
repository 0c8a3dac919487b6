// Package ldap holds the words of a directory (LDAP, RFC 4511) that are needed to
// ask whether somebody is in it: bind, search, StartTLS, and a filter with places
// for an address. What stands in those places never becomes part of a filter's
// text, but only a value of its encoding, so nothing in an address can change
// what is asked.
//
// It touches no network and keeps nothing.
package ldap

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// Op is what a message is.
type Op byte

// The messages that a server sends us (RFC 4511, Section 4.2 to 4.12).
const (
	BindDone   Op = 0x61
	Entry      Op = 0x64
	SearchDone Op = 0x65
	Reference  Op = 0x73
	Extended   Op = 0x78
)

// Code is a result code (RFC 4511, Appendix A).
type Code int32

// The codes that mean more than that something is wrong.
const (
	Success           Code = 0
	TimeLimitExceeded Code = 3
	SizeLimitExceeded Code = 4
)

var codes = map[Code]string{
	0: "success", 1: "operations error", 2: "protocol error", 3: "time limit exceeded", 4: "size limit exceeded", 7: "method not supported",
	8: "stronger authentication required", 10: "referral", 11: "administrative limit exceeded", 13: "confidentiality required",
	32: "no such object", 34: "invalid DN", 48: "inappropriate authentication", 49: "invalid credentials", 50: "insufficient access rights",
	51: "busy", 52: "unavailable", 53: "unwilling to perform", 80: "other",
}

// String is the code's name.
func (c Code) String() string {
	if name, ok := codes[c]; ok {
		return name
	}
	return fmt.Sprintf("result %d", int32(c))
}

// Message is one message of a server.
type Message struct {
	ID     int32 // 0: not an answer
	Op     Op
	Result Code   // of all but Entry and Reference
	Text   string // what the server says about it: one line, printable
}

const (
	tagInteger    = 0x02
	tagOctets     = 0x04
	tagEnumerated = 0x0a
	tagBoolean    = 0x01
	tagSequence   = 0x30
)

const startTLS = "1.3.6.1.4.1.1466.20037" // RFC 4511, Section 4.14.1

func message(id int32, op []byte) []byte { return wrap(tagSequence, integer(tagInteger, id), op) }

// Bind logs in with a name and a password, which must not be empty: a server
// takes an empty one for nobody's and says yes (RFC 4513, Section 5.1.2).
func Bind(id int32, name string, password []byte) ([]byte, error) {
	if name == "" || len(password) == 0 {
		return nil, errors.New("ldap: a bind needs a name and a password")
	}
	return message(id, wrap(0x60, integer(tagInteger, 3), octets(tagOctets, name), wrap(0x80, password))), nil
}

// StartTLS asks for TLS on this connection.
func StartTLS(id int32) []byte { return message(id, wrap(0x77, octets(0x80, startTLS))) }

// Unbind says goodbye.
func Unbind(id int32) []byte { return message(id, wrap(0x42)) }

// Search asks for at most one entry below base that a filter fits, and for its
// name alone (RFC 4511, Section 4.5.1). The time is in seconds.
func Search(id int32, base string, filter []byte, seconds int32) []byte {
	const wholeSubtree, neverDerefAliases, one = 2, 0, 1
	return message(id, wrap(
		0x63, octets(tagOctets, base), integer(tagEnumerated, wholeSubtree), integer(tagEnumerated, neverDerefAliases),
		integer(tagInteger, one), integer(tagInteger, seconds), wrap(tagBoolean, []byte{0xff}), filter,
		wrap(tagSequence, octets(tagOctets, "1.1")), // RFC 4511, Section 4.5.1.8: no attributes
	))
}

// Read reads one message.
func Read(r *bufio.Reader) (Message, error) {
	whole, err := readElement(r)
	if err != nil {
		return Message{}, err
	}
	return parse(whole)
}

func parse(whole []byte) (Message, error) {
	body, rest, err := expect(whole, tagSequence)
	if err != nil {
		return Message{}, err
	}
	if len(rest) > 0 {
		return Message{}, errors.New("ldap: something follows a message")
	}
	id, body, err := expect(body, tagInteger)
	if err != nil {
		return Message{}, err
	}
	m := Message{}
	if m.ID, err = number(id); err != nil {
		return Message{}, err
	}
	op, _, err := next(body) // controls may follow
	if err != nil {
		return Message{}, err
	}
	switch m.Op = Op(op.tag); m.Op {
	case BindDone, SearchDone, Extended:
		err = m.result(op.body)
	case Entry, Reference:
	default:
		err = fmt.Errorf("ldap: an unexpected message, tag %#x", op.tag)
	}
	return m, err
}

// result reads an LDAPResult (RFC 4511, Section 4.1.9).
func (m *Message) result(body []byte) error {
	code, body, err := expect(body, tagEnumerated)
	if err != nil {
		return err
	}
	n, err := number(code)
	if err != nil {
		return err
	}
	m.Result = Code(n)
	_, body, err = expect(body, tagOctets) // how far the base exists
	if err != nil {
		return err
	}
	text, _, err := expect(body, tagOctets)
	m.Text = printable(text)
	return err
}

func printable(b []byte) string {
	const most = 200
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b[:min(len(b), most)]), "?"))
}
