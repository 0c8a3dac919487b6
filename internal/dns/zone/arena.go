package zone

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Arena makes records that lie side by side in memory, their addresses and
// names too: a zone of a million records is some thousand objects for the
// collector instead of five million. What it made stays for as long as
// anything that lies beside it is used. The zero value is ready; it is not
// safe for concurrent use.
type Arena struct {
	text   strings.Builder
	octets []byte
	sets   []RRset

	a     []dns.A
	aaaa  []dns.AAAA
	ns    []dns.NS
	cname []dns.CNAME
	ptr   []dns.PTR
	mx    []dns.MX
	txt   []dns.TXT
	rrsig []dns.RRSIG
	nsec  []dns.NSEC
	nsec3 []dns.NSEC3
	ds    []dns.DS

	owner     name.Name // of the record that Unpack read last
	ownerText string

	next, signer, target once // the last names of NSEC, of RRSIG and of others
	bitmaps              map[string][]uint16
	scratch              []byte
}

// A piece of an arena holds at first few and at last many things, so that
// neither a small zone nor a large one pays for the other. Pieces are as
// large as the largest the allocator keeps in stock.
const (
	fewest, most = 8, 584
	pieceOctets  = 32 << 10
)

// piece returns an empty piece after one of that capacity.
func piece[T any](after []T) []T { return make([]T, 0, min(max(2*cap(after), fewest), most)) }

func put[T any](to *[]T, v T) *T {
	if len(*to) == cap(*to) {
		*to = piece(*to)
	}
	*to = append(*to, v)
	return &(*to)[len(*to)-1]
}

// Text keeps a copy of b as a string.
func (m *Arena) Text(b []byte) string {
	if m.text.Cap()-m.text.Len() < len(b) {
		size := min(max(2*m.text.Cap(), 256), pieceOctets)
		m.text = strings.Builder{}
		m.text.Grow(max(size, len(b)))
	}
	at := m.text.Len()
	m.text.Write(b) // never fails, and changes nothing that was given out
	return m.text.String()[at:]
}

func (m *Arena) keep(b []byte) []byte {
	if cap(m.octets)-len(m.octets) < len(b) {
		m.octets = make([]byte, 0, max(min(2*cap(m.octets), pieceOctets), 64, len(b)))
	}
	at := len(m.octets)
	m.octets = append(m.octets, b...)
	return m.octets[at:len(m.octets):len(m.octets)]
}

// rrsets returns an empty slice with room for so many.
func (m *Arena) rrsets(count int) []RRset {
	if cap(m.sets)-len(m.sets) < count {
		if m.sets = piece(m.sets); cap(m.sets) < count {
			return make([]RRset, 0, count)
		}
	}
	at := len(m.sets)
	m.sets = m.sets[:at+count]
	return m.sets[at:at:len(m.sets)]
}

// Address returns an A or AAAA record, as the address is.
func (m *Arena) Address(h dns.RR_Header, ip netip.Addr) dns.RR {
	if ip.Is4() {
		b := ip.As4()
		h.Rdlength = 4
		return put(&m.a, dns.A{Hdr: h, A: m.keep(b[:])})
	}
	b := ip.As16()
	h.Rdlength = 16
	return put(&m.aaaa, dns.AAAA{Hdr: h, AAAA: m.keep(b[:])})
}

// Target returns an NS, CNAME or PTR record, nil for other types. The text is
// a name of that many octets in wire form.
func (m *Arena) Target(h dns.RR_Header, text string, octets int) dns.RR {
	h.Rdlength = uint16(octets)
	switch h.Rrtype {
	case dns.TypeNS:
		return put(&m.ns, dns.NS{Hdr: h, Ns: text})
	case dns.TypeCNAME:
		return put(&m.cname, dns.CNAME{Hdr: h, Target: text})
	case dns.TypePTR:
		return put(&m.ptr, dns.PTR{Hdr: h, Ptr: text})
	}
	return nil
}

// Exchange returns an MX record.
func (m *Arena) Exchange(h dns.RR_Header, preference uint16, text string, octets int) dns.RR {
	h.Rdlength = uint16(2 + octets)
	return put(&m.mx, dns.MX{Hdr: h, Preference: preference, Mx: text})
}

// Strings returns a TXT record of that data length.
func (m *Arena) Strings(h dns.RR_Header, texts []string, octets int) dns.RR {
	h.Rdlength = uint16(octets)
	return put(&m.txt, dns.TXT{Hdr: h, Txt: texts})
}

// Unpack reads one record as AppendWire wrote it, which takes all of wire,
// and its owner name.
func (m *Arena) Unpack(wire []byte) (dns.RR, name.Name, error) {
	owner, rest, ok := cutName(wire)
	if !ok || len(rest) < 10 {
		return nil, "", ErrUnfit
	}
	if string(owner) != string(m.owner) {
		m.owner = name.Name(m.Text(owner))
		if m.ownerText = m.next.text; !m.next.is(owner) {
			m.ownerText = m.shown(m.owner)
		}
	}
	h := dns.RR_Header{
		Name: m.ownerText, Rrtype: binary.BigEndian.Uint16(rest), Class: binary.BigEndian.Uint16(rest[2:]),
		Ttl: binary.BigEndian.Uint32(rest[4:]), Rdlength: binary.BigEndian.Uint16(rest[8:]),
	}
	data := rest[10:]
	if int(h.Rdlength) != len(data) {
		return nil, "", ErrUnfit
	}
	rr, err := m.Data(h, data)
	if err != nil {
		return nil, "", err
	}
	return rr, m.owner, nil
}

// Data reads the RDATA of one record, uncompressed, which takes all of data.
// The header is the record's.
func (m *Arena) Data(h dns.RR_Header, data []byte) (dns.RR, error) {
	if rr := m.common(h, data); rr != nil {
		return rr, nil
	}
	rr, end, err := dns.UnpackRRWithHeader(h, data, 0)
	if err != nil || end != len(data) {
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return rr, nil
}

// common reads the types that large zones consist of; nil leaves the data to
// the library.
func (m *Arena) common(h dns.RR_Header, data []byte) dns.RR {
	switch h.Rrtype {
	case dns.TypeA, dns.TypeAAAA:
		if want := 4 + 12*int(h.Rrtype/dns.TypeAAAA); len(data) == want {
			ip, _ := netip.AddrFromSlice(data) // of a length it takes
			return m.Address(h, ip)
		}
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR:
		if n, rest, ok := cutName(data); ok && len(rest) == 0 {
			return m.Target(h, m.shownAgain(n, &m.target), len(n))
		}
	case dns.TypeMX:
		if len(data) < 3 {
			return nil
		}
		if n, rest, ok := cutName(data[2:]); ok && len(rest) == 0 {
			return m.Exchange(h, binary.BigEndian.Uint16(data), m.shownAgain(n, &m.target), len(n))
		}
	default:
		return m.secure(h, data)
	}
	return nil
}

// shown is a name's text, kept here.
func (m *Arena) shown(n name.Name) string {
	var room [256]byte
	return m.Text(n.AppendText(room[:0]))
}

// cutName takes a name off wire that is written as name.Name has it:
// uncompressed and in lower case.
func cutName(wire []byte) (n, rest []byte, ok bool) {
	for i := 0; i < len(wire) && i < 255; {
		size := int(wire[i])
		i++
		switch {
		case size == 0:
			return wire[:i], wire[i:], true
		case size > 63 || i+size > len(wire):
			return nil, nil, false
		}
		for _, c := range wire[i : i+size] {
			if 'A' <= c && c <= 'Z' {
				return nil, nil, false
			}
		}
		i += size
	}
	return nil, nil, false
}
