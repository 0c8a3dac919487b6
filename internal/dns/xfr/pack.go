package xfr

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// ErrTooLong is the end of a transfer: it never loops over such a record.
var ErrTooLong = errors.New("record fits no message")

// packer makes the messages of one transfer, each filled before it goes to
// emit, which is lent it. It is used again and again.
type packer struct {
	query   *wire.Query
	options *wire.Options // of the first message
	emit    func(msg []byte) error

	msg     []byte
	limit   int  // octets of the records' last at most
	count   int  // records in msg
	flushed int  // messages that went to emit
	ending  bool // the message at hand is the last
	names   names
	name    []byte // room for one
}

// begin starts a transfer in reply to q, whose Tail is kept free in each
// message. limit bounds a message, its OPT record included.
func (p *packer) begin(q *wire.Query, o *wire.Options, limit int, emit func(msg []byte) error) {
	p.query, p.options, p.emit, p.flushed, p.count, p.ending = q, o, emit, 0, 0, false
	// RFC 5936, Section 2.2: the question stands in the first message.
	p.msg = q.Start(p.msg[:0])
	p.limit = limit
	if q.EDNS && o != nil {
		p.limit -= q.Reserve(o)
	} else if q.EDNS {
		p.limit -= wire.OptLen
	}
	p.names.clear()
	// Owners are in lower case, and stay so: the question is pointed to only
	// where it is too (RFC 5936, Section 3.4).
	if asked := q.Msg[wire.HeaderLen : q.End-4]; string(asked) == string(q.Wire()) {
		p.names.know(p.msg, asked, wire.HeaderLen)
	}
}

// know notes a name that stands at msg[at:] already.
func (t *names) know(msg, n []byte, at int) {
	for i := range t.split(n) {
		t.find(msg, t.hashes[i], n[t.offsets[i]:], at+int(t.offsets[i]))
	}
}

// end flushes the last message.
func (p *packer) end() error {
	p.ending = true
	return p.flush()
}

// flush ends the message at hand and gives it to emit.
func (p *packer) flush() error {
	switch limit := p.query.Limit(false); {
	case p.flushed == 0:
		p.msg = p.query.Finish(p.msg, wire.AA, wire.NoError, wire.Counts{Question: 1, Answer: uint16(p.count)}, p.options)
	case p.ending && p.query.Padded && p.options != nil && p.options.Block > 0 && len(p.msg)+wire.OptLen+paddingLen <= limit:
		// RFC 9103, Section 7.9.1: the messages before are full, and the length of
		// the last would tell that of the zone. RFC 5936, Section 2.2.5, allows OPT in
		// each; whoever pads can read it.
		p.msg = p.query.Finish(p.msg, wire.AA, wire.NoError, wire.Counts{Answer: uint16(p.count)}, &wire.Options{Block: p.options.Block, Limit: limit})
	default:
		// RFC 5936, Section 2.2.1: the id and the flags of the first message.
		wire.Patch(p.msg, wire.QR|wire.AA|p.query.Flags&(wire.RD|wire.CD), wire.Counts{Answer: uint16(p.count)})
	}
	p.flushed++
	if err := p.emit(p.msg); err != nil {
		return err // the caller's own
	}
	p.msg = append(p.msg[:0], p.query.Msg[:wire.HeaderLen]...)
	p.limit, p.count = p.query.Limit(false), 0
	p.names.clear()
	return nil
}

// paddingLen is the least that a padding option takes.
const paddingLen = 4

// set appends the records of one owner and type: within one message where they
// fit one, else as many as fit each.
func (p *packer) set(owner name.Name, rrs []dns.RR) error {
	from, had := len(p.msg), p.count
	for i := 0; i < len(rrs); {
		last := len(p.msg)
		if err := p.record(owner, rrs[i]); err != nil {
			return err
		}
		if len(p.msg) <= p.limit {
			p.count++
			i++
			continue
		}
		switch {
		case had > 0: // the set moves on whole
			p.msg, p.count, i = p.msg[:from], had, 0
		case p.count > 0:
			p.msg = p.msg[:last]
		default:
			return fmt.Errorf("%s %s: %w", owner, dns.Type(rrs[i].Header().Rrtype), ErrTooLong)
		}
		if err := p.flush(); err != nil {
			return err
		}
		from, had = len(p.msg), 0
	}
	return nil
}

// list appends records of any owners, each for itself.
func (p *packer) list(rrs []dns.RR) error {
	var one [1]dns.RR
	for _, rr := range rrs {
		owner, err := name.Parse(rr.Header().Name)
		if err != nil {
			return fmt.Errorf("owner %q: %w", rr.Header().Name, err)
		}
		one[0] = rr
		if err := p.set(owner, one[:]); err != nil {
			return err
		}
	}
	return nil
}

// record appends one record, however long the message becomes.
func (p *packer) record(owner name.Name, rr dns.RR) error {
	p.name = append(p.name[:0], owner...)
	p.msg = p.names.append(p.msg, p.name)
	var err error
	// RFC 3597, Section 4: names in the RDATA of other types stay whole.
	switch r := rr.(type) {
	case *dns.NS:
		err = p.named(r.Header(), nil, r.Ns)
	case *dns.CNAME:
		err = p.named(r.Header(), nil, r.Target)
	case *dns.PTR:
		err = p.named(r.Header(), nil, r.Ptr)
	case *dns.MX:
		var preference [2]byte
		binary.BigEndian.PutUint16(preference[:], r.Preference)
		err = p.named(r.Header(), preference[:], r.Mx)
	case *dns.SOA:
		if err = p.named(r.Header(), nil, r.Ns, r.Mbox); err == nil {
			p.timers(r)
		}
	default:
		p.msg, err = zone.AppendWire(p.msg, "", rr)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", owner, dns.Type(rr.Header().Rrtype), err)
	}
	return nil
}

// named appends what follows the owner of a record whose RDATA is some octets
// and names. What still follows is added by timers.
func (p *packer) named(h *dns.RR_Header, head []byte, all ...string) error {
	p.msg = binary.BigEndian.AppendUint16(p.msg, h.Rrtype)
	p.msg = binary.BigEndian.AppendUint16(p.msg, h.Class)
	p.msg = binary.BigEndian.AppendUint32(p.msg, h.Ttl)
	at := len(p.msg)
	p.msg = append(append(p.msg, 0, 0), head...)
	for _, text := range all {
		var err error
		if p.name, err = name.AppendParsed(p.name[:0], text); err != nil {
			return fmt.Errorf("name %q: %w", text, err)
		}
		p.msg = p.names.append(p.msg, p.name)
	}
	size := len(p.msg) - at - 2
	if h.Rrtype == dns.TypeSOA {
		size += timersLen
	}
	binary.BigEndian.PutUint16(p.msg[at:], uint16(size))
	return nil
}

// timersLen is the length of what follows the names of a SOA.
const timersLen = 5 * 4

func (p *packer) timers(r *dns.SOA) {
	for _, v := range [...]uint32{r.Serial, r.Refresh, r.Retry, r.Expire, r.Minttl} {
		p.msg = binary.BigEndian.AppendUint32(p.msg, v)
	}
}
