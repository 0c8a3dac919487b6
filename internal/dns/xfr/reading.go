package xfr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/wire"
)

const (
	defaultRecords = 5_000_000
	defaultOctets  = 1 << 30
	// mostEmpty bounds the messages without records on end: there are servers
	// that send nothing else where a record is too large for them.
	mostEmpty = 8
)

// reading is a transfer as its messages come. It is pure: what it returns is a
// *Fault, and ends it.
type reading struct {
	zone       name.Name
	id, kind   uint16 // of the request
	signed     *tsig.Replies
	maxRecords int
	maxOctets  int64

	form     form
	records  records
	messages int
	empty    int // on end
	count    int // records
	octets   int64
	expire   uint32 // EXPIRE option (RFC 7314) of the first message
	expires  bool   // there was one
}

// newReading begins to read what answers a request for the zone.
func newReading(in *Inbound, id, kind uint16, signed *tsig.Replies, f form) *reading {
	r := &reading{zone: in.Zone, id: id, kind: kind, signed: signed, form: f, maxRecords: in.MaxRecords, maxOctets: in.MaxOctets}
	if r.maxRecords == 0 {
		r.maxRecords = defaultRecords
	}
	if r.maxOctets == 0 {
		r.maxOctets = defaultOctets
	}
	return r
}

// take takes the next message, which must not be changed meanwhile; done says
// that it was the last.
func (r *reading) take(msg []byte, now time.Time) (done bool, err error) {
	r.messages++
	if r.octets += int64(len(msg)); r.octets > r.maxOctets {
		return false, fault(TooManyOctets, "more than %d", r.maxOctets)
	}
	if err := r.header(msg, now); err != nil {
		return false, err
	}
	off, err := r.question(msg)
	if err != nil {
		return false, err
	}
	if off, err = r.answers(msg, off); err != nil {
		return false, err
	}
	if err := r.rest(msg, off); err != nil {
		return false, err
	}
	if r.form.stage != ended {
		return false, nil
	}
	if r.signed != nil {
		if err := r.signed.End(); err != nil {
			return false, signature(err)
		}
	}
	return true, nil
}

// header weighs what a message says of itself, and its signature.
func (r *reading) header(msg []byte, now time.Time) error {
	if err := r.proven(msg, now); err != nil {
		return err
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	switch {
	case flags&wire.TC != 0:
		return fault(Malformed, "cut off, though not by UDP")
	// Of a transfer it is not asked for, though RFC 5936, Section 2.2.1 has it in
	// each message: Knot sets it in none.
	case r.kind == dns.TypeSOA && flags&wire.AA == 0:
		return &Fault{Reason: NotAuthority}
	}
	return nil
}

// proven weighs whether a message answers the request, well or not.
func (r *reading) proven(msg []byte, now time.Time) error {
	if len(msg) < wire.HeaderLen {
		return fault(Malformed, "a message of %d octets", len(msg))
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	switch {
	case binary.BigEndian.Uint16(msg) != r.id:
		return fault(NotAsked, "another id")
	case flags&wire.QR == 0 || wire.Opcode(flags) != dns.OpcodeQuery:
		return fault(NotAsked, "no reply")
	}
	if err := verify(r.signed, msg, int(flags&0xF), now); err != nil {
		return err
	}
	if rcode := int(flags & 0xF); rcode != dns.RcodeSuccess {
		return refusal(rcode)
	}
	return nil
}

// refusal is the fault that an rcode is.
func refusal(rcode int) error { return &Fault{Reason: Refused, Cause: errRcode(rcode)} }

// verify weighs the signature of a message. An error that is not signed is
// believed no further than that the request has failed.
func verify(signed *tsig.Replies, msg []byte, rcode int, now time.Time) error {
	if signed == nil {
		return nil
	}
	err := signed.Verify(msg, now)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tsig.ErrUnsigned) && rcode != dns.RcodeSuccess:
		return &Fault{Reason: Refused, Cause: fmt.Errorf("%w, not signed", errRcode(rcode))}
	}
	return signature(err)
}

// signature is the fault that an error of tsig is.
func signature(err error) error {
	reason := BadSignature
	switch {
	case errors.Is(err, tsig.ErrUnsigned):
		reason = Unsigned
	case errors.Is(err, tsig.ErrClock):
		reason = BadTime
	case errors.Is(err, tsig.ErrRejected), errors.Is(err, tsig.ErrUnknown):
		reason = KeyRefused
	}
	return &Fault{Reason: reason, Cause: err}
}

// question reads the question: the first message has it, the others may (RFC
// 5936, Section 2.2.1).
func (r *reading) question(msg []byte) (off int, err error) {
	off = wire.HeaderLen
	switch count := binary.BigEndian.Uint16(msg[4:]); {
	case count == 0 && r.messages > 1:
		return off, nil
	case count != 1:
		return 0, fault(NotAsked, "%d questions", count)
	}
	n, off, err := name.FromWire(msg, off)
	if err != nil || off+4 > len(msg) {
		return 0, fault(Malformed, "the question cannot be read")
	}
	if n != r.zone || binary.BigEndian.Uint16(msg[off:]) != r.kind || binary.BigEndian.Uint16(msg[off+2:]) != dns.ClassINET {
		return 0, fault(NotAsked, "another question: %s %s", n, dns.Type(binary.BigEndian.Uint16(msg[off:])))
	}
	return off + 4, nil
}

func (r *reading) answers(msg []byte, off int) (int, error) {
	count := int(binary.BigEndian.Uint16(msg[6:]))
	switch {
	case count == 0 && r.messages == 1:
		return 0, fault(NoSOA, "the first message is empty")
	case count == 0:
		if r.empty++; r.empty > mostEmpty {
			return 0, fault(NoProgress, "%d messages without records", r.empty)
		}
		return off, nil
	}
	r.empty = 0
	for range count {
		if r.count++; r.count > r.maxRecords {
			return 0, fault(TooManyRecords, "more than %d", r.maxRecords)
		}
		rr, end, err := r.records.read(msg, off, r.zone)
		if err != nil {
			return 0, err
		}
		if err := r.form.take(rr); err != nil {
			return 0, err
		}
		if off = end; r.form.current {
			return r.skip(msg, off, count) // of no interest
		}
	}
	return off, nil
}

// skip steps over the answers that are left: all but the first.
func (r *reading) skip(msg []byte, off, count int) (int, error) {
	for range count - 1 {
		rec, ok := readRaw(msg, off)
		if !ok {
			return 0, fault(Malformed, "a record that ends outside the message")
		}
		off = rec.end
	}
	return off, nil
}

// rest steps over the other sections: nothing there means anything (RFC 5936,
// Sections 2.2.4 and 2.2.5) but EDNS. A message ends where its counts say.
func (r *reading) rest(msg []byte, off int) error {
	count := int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:]))
	for range count {
		rec, ok := readRaw(msg, off)
		if !ok {
			return fault(Malformed, "a record that ends outside the message")
		}
		if rec.kind == dns.TypeOPT && r.messages == 1 {
			r.expire, r.expires = expireOf(msg[rec.data:rec.end])
		}
		off = rec.end
	}
	if off != len(msg) {
		return fault(Malformed, "%d octets after the last record", len(msg)-off)
	}
	return nil
}

// raw is a record that is stepped over.
type raw struct {
	kind      uint16
	data, end int
}

func readRaw(msg []byte, off int) (raw, bool) {
	for off < len(msg) {
		c := int(msg[off])
		off++
		switch {
		case c >= 0xC0:
			off++
		case c > 63:
			return raw{}, false
		case c > 0:
			off += c
			continue
		}
		if off+fixedLen > len(msg) {
			return raw{}, false
		}
		r := raw{kind: binary.BigEndian.Uint16(msg[off:]), data: off + fixedLen}
		r.end = r.data + int(binary.BigEndian.Uint16(msg[off+8:]))
		return r, r.end <= len(msg)
	}
	return raw{}, false
}

// expireOf returns the EXPIRE option of the data of an OPT record (RFC 7314,
// Section 2).
func expireOf(data []byte) (uint32, bool) {
	for len(data) >= 4 {
		code, size := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		data = data[4:]
		if size > len(data) {
			return 0, false
		}
		if code == dns.EDNS0EXPIRE && size == 4 {
			return binary.BigEndian.Uint32(data), true
		}
		data = data[size:]
	}
	return 0, false
}
