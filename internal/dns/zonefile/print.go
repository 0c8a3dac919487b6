package zonefile

import (
	"bufio"
	"bytes"
	"io"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Print writes the zone as a zone file: one record a line, all names
// absolute, the SOA first, the rest in canonical order.
func Print(w io.Writer, z *zone.Zone) error {
	b := bufio.NewWriter(w)
	write := func(rr dns.RR) {
		// bufio keeps the first error for Flush.
		_, _ = b.WriteString(text(rr))
		_ = b.WriteByte('\n')
	}
	write(z.SOA())
	for node := range z.Nodes() {
		for i := range node.Sets {
			if node.Sets[i].Type == dns.TypeSOA {
				continue
			}
			for _, rr := range node.Sets[i].RRs {
				write(rr)
			}
		}
	}
	return b.Flush()
}

// text is the record as it can be read again. What the library writes cannot
// always: it has words for types that are none, and nothing for data that is
// empty where it must not be. Such a record is written by RFC 3597, Section 5.
func text(rr dns.RR) string {
	line := rr.String()
	if line[0] == '$' {
		line = `\` + line // or it would be a directive
	}
	switch rr.(type) {
	case *dns.A, *dns.AAAA, *dns.NS, *dns.CNAME, *dns.PTR, *dns.MX, *dns.SOA:
		return line // most records, and nothing to go wrong
	}
	if records, _ := ParseText(line+"\n", "", name.Root, Options{}); len(records) == 1 && same(records[0].RR, rr) {
		return line
	}
	generic := new(dns.RFC3597)
	if err := generic.ToRFC3597(rr); err != nil {
		return line // cannot be: the zone's records were packed before
	}
	if line = generic.String(); line[0] == '$' {
		line = `\` + line
	}
	return line
}

// same reports whether two records are the same octets.
func same(a, b dns.RR) bool {
	x, errX := zone.AppendWire(nil, name.Root, a)
	y, errY := zone.AppendWire(nil, name.Root, b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
