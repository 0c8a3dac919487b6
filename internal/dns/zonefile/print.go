package zonefile

import (
	"bufio"
	"io"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// Print writes the zone as a zone file: one record a line, all names
// absolute, the SOA first, the rest in canonical order.
func Print(w io.Writer, z *zone.Zone) error {
	b := bufio.NewWriter(w)
	write := func(rr dns.RR) {
		line := rr.String()
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
