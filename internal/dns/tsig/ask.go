package tsig

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// What is wrong with the reply to a request of ours.
var (
	ErrUnknown  = errors.New("no such key")
	ErrUnsigned = errors.New("reply is not signed")
	ErrProof    = errors.New("signature of the reply is wrong")
	ErrClock    = errors.New("reply was signed at another time than ours")
	ErrRejected = errors.New("our signature was not taken")
)

// codeWords are the errors of RFC 8945, Section 3 as a reader knows them.
var codeWords = map[uint16]string{16: "BADSIG", 17: "BADKEY", 18: "BADTIME", 22: "BADTRUNC"}

// Asked is a request of ours that was signed. Its reply must prove that it
// belongs to it.
type Asked struct {
	key *Key
	mac []byte
}

// Ask appends a TSIG record, made with the key of that name, to a request of
// ours, which is finished but for it (RFC 8945, Section 5.1).
func (k *Keys) Ask(msg []byte, by name.Name, now time.Time) ([]byte, *Asked, error) {
	key := k.find(by)
	if key == nil {
		return msg, nil, fmt.Errorf("key %s: %w", by, ErrUnknown)
	}
	r := record{
		key: key.Name, algorithm: algorithms[key.Algorithm].wire, time: clock(now), fudge: fudge,
		id: binary.BigEndian.Uint16(msg),
	}
	additional := binary.BigEndian.Uint16(msg[10:])
	h := key.new()
	digest(h, msg, r.id, additional)
	r.digest(h)
	r.mac = h.Sum(nil)
	binary.BigEndian.PutUint16(msg[10:], additional+1)
	return r.append(msg), &Asked{key: key, mac: r.mac}, nil
}

// Verify weighs the reply to the request (RFC 8945, Section 5.4). nil: it is
// signed with the same key, whole, and in time.
func (a *Asked) Verify(reply []byte, now time.Time) error {
	at, ok := last(reply)
	if !ok {
		return ErrUnsigned
	}
	r, ok := read(reply, at)
	switch {
	case !ok || r.key != a.key.Name || r.algorithm != algorithms[a.key.Algorithm].wire:
		return ErrProof
	// RFC 8945, Section 5.3.2: such a reply is not signed. It is believed no
	// further than that the request has failed.
	case len(r.mac) == 0 && r.error != 0:
		return rejected(r.error)
	case len(r.mac) != a.key.Algorithm.Size(): // we ask for whole ones
		return ErrProof
	}
	h := a.key.new()
	digestPrior(h, a.mac)
	digest(h, reply[:at], r.id, binary.BigEndian.Uint16(reply[10:])-1)
	r.digest(h)
	switch {
	case subtle.ConstantTimeCompare(h.Sum(nil), r.mac) != 1:
		return ErrProof
	case r.error != 0:
		return rejected(r.error)
	case apart(clock(now), r.time) > uint64(r.fudge):
		return ErrClock
	}
	return nil
}

func rejected(code uint16) error {
	word := codeWords[code]
	if word == "" {
		word = fmt.Sprint(code)
	}
	return fmt.Errorf("%w: %s", ErrRejected, word)
}

// last returns where the last record of the message begins, if that is an
// additional one that may be a TSIG record.
func last(msg []byte) (at int, ok bool) {
	if len(msg) < wire.HeaderLen || binary.BigEndian.Uint16(msg[10:]) == 0 {
		return 0, false
	}
	kind := uint16(0)
	end, ok := walk(msg, func(off int, t uint16) { at, kind = off, t })
	return at, ok && end == len(msg) && kind == typeTSIG
}

// hasTSIG reports whether a record of the message, wherever it stands, is a
// TSIG record, or the message cannot be read as far as that.
func hasTSIG(msg []byte) bool {
	found := false
	end, ok := walk(msg, func(_ int, t uint16) { found = found || t == typeTSIG })
	return found || !ok || end != len(msg)
}

// walk gives f where each record begins and its type, and returns where the
// last ends.
func walk(msg []byte, f func(at int, kind uint16)) (end int, ok bool) {
	if len(msg) < wire.HeaderLen {
		return 0, false
	}
	off := wire.HeaderLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		if off, ok = skip(msg, off); !ok {
			return 0, false
		}
		off += 4
	}
	records := 0
	for _, i := range []int{6, 8, 10} {
		records += int(binary.BigEndian.Uint16(msg[i:]))
	}
	for range records {
		end, ok := skip(msg, off)
		if !ok || end+fixedLen > len(msg) {
			return 0, false
		}
		f(off, binary.BigEndian.Uint16(msg[end:]))
		off = end + fixedLen + int(binary.BigEndian.Uint16(msg[end+8:]))
	}
	return off, true
}

// skip returns where the name at off ends. What a pointer leads to is of no
// interest, and of most records neither is the name.
func skip(msg []byte, off int) (end int, ok bool) {
	for off < len(msg) {
		switch c := int(msg[off]); {
		case c == 0:
			return off + 1, true
		case c >= 0xC0:
			return off + 2, off+2 <= len(msg)
		case c > 63:
			return 0, false
		default:
			off += 1 + c
		}
	}
	return 0, false
}
