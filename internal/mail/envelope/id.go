package envelope

import (
	"encoding/base32"
	"encoding/binary"
	"time"
)

// ID names a message from its commit until it leaves the queue: in replies,
// log lines, file names and commands. IDs sort by the time they were made.
type ID string

// idLen is 13 characters of microseconds since 1970 and 5 of chance.
const idLen = 18

var idText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID makes an ID from a time and some chance. It is unique as far as the
// pair is: who hands out IDs must not use a pair twice.
func NewID(at time.Time, chance uint32) ID {
	var raw [12]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(at.UnixMicro()))
	binary.BigEndian.PutUint32(raw[8:], chance)
	head := idText.EncodeToString(raw[:8])
	tail := idText.EncodeToString(raw[8:])
	return ID(head + tail[:5])
}

// Valid reports whether id has the form of an ID, so that it can stand in a
// file name, a log line and a reply.
func (id ID) Valid() bool {
	if len(id) != idLen {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return true
}
