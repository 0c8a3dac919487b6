package xfr

import (
	"github.com/miekg/dns"

	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// Full gives emit the messages of the whole zone, in reply to q: its SOA first
// and last (RFC 5936, Section 2.2). o is for the OPT record of the first, nil
// for one without options. Each message is lent to emit, with q.Tail octets to
// spare; an error of emit ends the transfer.
func Full(q *wire.Query, o *wire.Options, z *zone.Zone, emit func(msg []byte) error) error {
	return new(packer).full(q, o, z, q.Limit(false), emit)
}

func (p *packer) full(q *wire.Query, o *wire.Options, z *zone.Zone, limit int, emit func(msg []byte) error) error {
	p.begin(q, o, limit, emit)
	soa := []dns.RR{z.SOA()}
	if err := p.set(z.Origin(), soa); err != nil {
		return err
	}
	for node := range z.Nodes() {
		for i := range node.Sets {
			s := &node.Sets[i]
			if s.Type == dns.TypeSOA {
				continue
			}
			if err := p.set(node.Name, s.RRs); err != nil {
				return err
			}
		}
	}
	if err := p.set(z.Origin(), soa); err != nil {
		return err
	}
	return p.end()
}
