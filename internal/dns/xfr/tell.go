package xfr

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
)

// What is wrong with a reply of a secondary.
var (
	errReply     = errors.New("the reply is to something else")
	errAuthority = errors.New("it is no authority for the zone")
)

// errRcode is a reply that says no.
type errRcode int

func (e errRcode) Error() string { return "it answers " + dns.RcodeToString[int(e)] }

// message is a request to a secondary: NOTIFY, or the question for its SOA.
type message struct {
	id    uint16
	zone  string
	soa   *dns.SOA // of NOTIFY; nil: the question
	wire  []byte
	asked *tsig.Asked // nil: not signed
}

// newMessage makes a request, signed where there is a key.
func newMessage(id uint16, zone name.Name, soa *dns.SOA, keys *tsig.Keys, key name.Name, now time.Time) (*message, error) {
	r := &message{id: id, zone: zone.String(), soa: soa}
	m := new(dns.Msg)
	m.SetQuestion(r.zone, dns.TypeSOA)
	m.Id, m.RecursionDesired = id, false
	if soa != nil {
		// RFC 1996, Sections 3.3 and 3.7: the new SOA goes along, as a hint.
		m.Opcode, m.Authoritative, m.Answer = dns.OpcodeNotify, true, []dns.RR{soa}
	}
	var err error
	if r.wire, err = m.Pack(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if key != "" {
		if r.wire, r.asked, err = keys.Ask(r.wire, key, now); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	return r, nil
}

// read returns what a reply says: the serial, where that was asked for.
func (r *message) read(reply []byte, now time.Time) (serial uint32, err error) {
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		return 0, fmt.Errorf("reply: %w", err)
	}
	opcode := dns.OpcodeQuery
	if r.soa != nil {
		opcode = dns.OpcodeNotify
	}
	if !m.Response || m.Id != r.id || m.Opcode != opcode ||
		len(m.Question) > 0 && (!strings.EqualFold(m.Question[0].Name, r.zone) || m.Question[0].Qtype != dns.TypeSOA) {
		return 0, errReply
	}
	if r.asked != nil {
		if err := r.asked.Verify(reply, now); err != nil {
			if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNotAuth {
				return 0, fmt.Errorf("%w, %w", errRcode(m.Rcode), err)
			}
			return 0, err // says what it is about
		}
	}
	if m.Rcode != dns.RcodeSuccess {
		return 0, errRcode(m.Rcode)
	}
	if r.soa != nil {
		return 0, nil
	}
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok && m.Authoritative && strings.EqualFold(soa.Hdr.Name, r.zone) {
			return soa.Serial, nil
		}
	}
	return 0, errAuthority
}

// sourceFor returns which of our addresses a peer is to see, or an invalid one:
// the system chooses.
func sourceFor(all []netip.Addr, to netip.Addr) netip.Addr {
	for _, a := range all {
		if a.Is4() == to.Unmap().Is4() {
			return a
		}
	}
	return netip.Addr{}
}
