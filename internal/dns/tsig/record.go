package tsig

import (
	"encoding/binary"
	"hash"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

const (
	typeTSIG = 250
	classANY = 255

	fixedLen = 10 // type, class, TTL and length of RDATA
	timesLen = 10 // time, fudge and length of the MAC
	tailLen  = 6  // original id, error and length of the other data
	clockLen = 6  // a time
)

// record is a TSIG record (RFC 8945, Section 4.2).
type record struct {
	key       name.Name
	algorithm name.Name
	time      uint64 // 48 bits
	fudge     uint16
	mac       []byte // lent: part of the message
	id        uint16
	error     uint16
	other     []byte // lent
}

// read reads the TSIG record that begins at msg[at:] and ends the message. It
// reports false for one that cannot be interpreted.
func read(msg []byte, at int) (r record, ok bool) {
	if at < wire.HeaderLen || at >= len(msg) || binary.BigEndian.Uint16(msg[10:]) == 0 {
		return r, false
	}
	// The owner may be compressed, like any.
	var err error
	if r.key, at, err = name.FromWire(msg, at); err != nil || at+fixedLen > len(msg) {
		return r, false
	}
	head, data := msg[at:at+fixedLen], msg[at+fixedLen:]
	if binary.BigEndian.Uint16(head) != typeTSIG || binary.BigEndian.Uint16(head[2:]) != classANY ||
		binary.BigEndian.Uint32(head[4:]) != 0 || int(binary.BigEndian.Uint16(head[8:])) != len(data) {
		return r, false
	}
	// RFC 8945, Section 4.2: the algorithm's name must not be compressed. Alone
	// in its octets it has nothing to point to.
	n := 0
	if r.algorithm, n, err = name.FromWire(data, 0); err != nil || n != len(r.algorithm) || len(data) < n+timesLen {
		return r, false
	}
	data = data[n:]
	r.time = uint64(binary.BigEndian.Uint16(data))<<32 | uint64(binary.BigEndian.Uint32(data[2:]))
	r.fudge = binary.BigEndian.Uint16(data[6:])
	size := int(binary.BigEndian.Uint16(data[8:]))
	if data = data[timesLen:]; len(data) < size+tailLen {
		return r, false
	}
	r.mac, data = data[:size], data[size:]
	r.id, r.error = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	r.other = data[tailLen:]
	return r, int(binary.BigEndian.Uint16(data[4:])) == len(r.other)
}

// append appends the record to a message.
func (r *record) append(msg []byte) []byte {
	msg = append(msg, r.key...)
	msg = append(msg, 0, typeTSIG, 0, classANY, 0, 0, 0, 0)
	size := len(r.algorithm) + timesLen + len(r.mac) + tailLen + len(r.other)
	msg = binary.BigEndian.AppendUint16(msg, uint16(size))
	msg = append(msg, r.algorithm...)
	msg = appendTime(msg, r.time)
	msg = binary.BigEndian.AppendUint16(msg, r.fudge)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.mac)))
	msg = append(msg, r.mac...)
	msg = binary.BigEndian.AppendUint16(msg, r.id)
	msg = binary.BigEndian.AppendUint16(msg, r.error)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(r.other)))
	return append(msg, r.other...)
}

func appendTime(dst []byte, t uint64) []byte {
	return append(dst, byte(t>>40), byte(t>>32), byte(t>>24), byte(t>>16), byte(t>>8), byte(t))
}

// digest adds a message as it is without its TSIG record: with the id that its
// signer gave it, for those on the way may change it (RFC 8945, Section 4.3.2).
func digest(h hash.Hash, msg []byte, id, additional uint16) {
	var head [wire.HeaderLen]byte
	copy(head[:], msg)
	binary.BigEndian.PutUint16(head[:], id)
	binary.BigEndian.PutUint16(head[10:], additional)
	h.Write(head[:])
	h.Write(msg[wire.HeaderLen:])
}

// digestPrior adds the MAC of the request, with its length (RFC 8945, Section
// 5.3).
func digestPrior(h hash.Hash, mac []byte) {
	h.Write([]byte{byte(len(mac) >> 8), byte(len(mac))})
	h.Write(mac)
}

// digest adds the variables of RFC 8945, Section 4.3.3. Both names are in lower
// case and not compressed.
func (r *record) digest(h hash.Hash) {
	v := make([]byte, 0, 2*256)
	v = append(v, r.key...)
	v = append(v, 0, classANY, 0, 0, 0, 0)
	v = append(v, r.algorithm...)
	v = appendTime(v, r.time)
	v = binary.BigEndian.AppendUint16(v, r.fudge)
	v = binary.BigEndian.AppendUint16(v, r.error)
	v = binary.BigEndian.AppendUint16(v, uint16(len(r.other)))
	h.Write(append(v, r.other...))
}
