package app

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/validate"
	"postern/internal/dns/zone"
	"postern/zones"
)

// anchorsOf groups DS and DNSKEY lines by zone; without any, it takes those
// that are built in.
func anchorsOf(lines []string) ([]validate.Anchor, error) {
	if len(lines) == 0 {
		lines = strings.Split(zones.TrustAnchor, "\n")
	}
	var out []validate.Anchor
	index := map[name.Name]int{}
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			return nil, fmt.Errorf("trust anchor %q: %w", line, err)
		}
		if rr == nil {
			continue // a comment
		}
		clean, owner, err := zone.Normalise(rr)
		if err != nil {
			return nil, fmt.Errorf("trust anchor %q: %w", line, err)
		}
		i, ok := index[owner]
		if !ok {
			i = len(out)
			index[owner] = i
			out = append(out, validate.Anchor{Zone: owner})
		}
		switch rr := clean.(type) {
		case *dns.DS:
			out[i].DS = append(out[i].DS, rr)
		case *dns.DNSKEY:
			out[i].Keys = append(out[i].Keys, rr)
		default:
			return nil, fmt.Errorf("trust anchor %q: neither DS nor DNSKEY", line)
		}
	}
	return out, nil
}

func parseNames(texts []string) ([]name.Name, error) {
	var out []name.Name
	for _, text := range texts {
		n, err := name.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		out = append(out, n)
	}
	return out, nil
}
