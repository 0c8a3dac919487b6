package zonefile

import (
	"bufio"
	"io"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// Print writes the zone as a zone file: one record a line, all names
// absolute, the SOA first, the rest in canonical order.
func Print(w io.Writer, z *zone.Zone) error {
	b := bufio.NewWriter(w)
	write := func(rr dns.RR) {
		line := text(rr)
		if line[0] == '$' {
			_ = b.WriteByte('\\') // or it would be a directive
		}
		// bufio keeps the first error for Flush.
		_, _ = b.WriteString(line)
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

// text is the record as it can be read again. The library has names for types
// 0 and 65535, which are none (RFC 6895, Section 3.1), and writes them where a
// record only speaks of them: such a record is written by RFC 3597, Section 5.
func text(rr dns.RR) string {
	var types []uint16
	switch r := rr.(type) {
	case *dns.RRSIG:
		types = []uint16{r.TypeCovered}
	case *dns.SIG:
		types = []uint16{r.TypeCovered}
	case *dns.NSEC:
		types = r.TypeBitMap
	case *dns.NSEC3:
		types = r.TypeBitMap
	case *dns.NXT:
		types = r.TypeBitMap
	case *dns.CSYNC:
		types = r.TypeBitMap
	}
	if slices.Contains(types, dns.TypeNone) || slices.Contains(types, dns.TypeReserved) {
		if generic := new(dns.RFC3597); generic.ToRFC3597(rr) == nil {
			return generic.String()
		}
	}
	return rr.String()
}
