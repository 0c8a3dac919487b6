package lab_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// differ tells which records of two zones differ; "" when none do. Names
// compare without regard to case, all else octet for octet.
func differ(t *testing.T, want, got []dns.RR) string {
	t.Helper()
	return differFrom(t, byOctets(t, want), got)
}

// byOctets are records by what they are compared by.
func byOctets(t *testing.T, all []dns.RR) map[string]dns.RR {
	t.Helper()
	set := make(map[string]dns.RR, len(all))
	for _, rr := range all {
		set[wireOf(t, rr)] = rr
	}
	return set
}

func differFrom(t *testing.T, want map[string]dns.RR, got []dns.RR) string {
	t.Helper()
	var b strings.Builder
	say := func(sign string, rr dns.RR) {
		if b.Len() < 4000 {
			text := rr.String()
			fmt.Fprintf(&b, "\n%s %s", sign, text[:min(len(text), 200)])
		}
	}
	seen := make(map[string]bool, len(got))
	for _, rr := range got {
		key := wireOf(t, rr)
		if _, ok := want[key]; !ok || seen[key] {
			say("+", rr)
		}
		seen[key] = true
	}
	for key, rr := range want {
		if !seen[key] {
			say("-", rr)
		}
	}
	return b.String()
}

// distance is how many octets the records have that one of two zones has alone.
func distance(one, other map[string]dns.RR) int {
	octets := 0
	for key := range one {
		if other[key] == nil {
			octets += len(key)
		}
	}
	for key := range other {
		if one[key] == nil {
			octets += len(key)
		}
	}
	return octets
}

// wireOf is a record in one spelling: its octets, the owner and the names that
// others may compress or spell anew (RFC 3597, Section 4) in lower case.
func wireOf(t *testing.T, rr dns.RR) string {
	t.Helper()
	rr = dns.Copy(rr)
	lower := func(names ...*string) {
		for _, name := range names {
			*name = folded(t, *name)
		}
	}
	lower(&rr.Header().Name)
	switch rr := rr.(type) {
	case *dns.SOA:
		lower(&rr.Ns, &rr.Mbox)
	case *dns.NS:
		lower(&rr.Ns)
	case *dns.CNAME:
		lower(&rr.Target)
	case *dns.PTR:
		lower(&rr.Ptr)
	case *dns.MX:
		lower(&rr.Mx)
	case *dns.DNAME:
		lower(&rr.Target)
	case *dns.SRV:
		lower(&rr.Target)
	case *dns.NAPTR:
		lower(&rr.Replacement)
	}
	buf := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		t.Fatalf("%s: %v", rr.Header(), err)
	}
	return string(buf[:n])
}

// folded is a name in lower case and in one way of escaping.
func folded(t *testing.T, name string) string {
	t.Helper()
	if !strings.Contains(name, `\`) {
		return dns.CanonicalName(name)
	}
	buf := make([]byte, 256)
	if _, err := dns.PackDomainName(name, buf, 0, nil, false); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	name, _, err := dns.UnpackDomainName(buf, 0)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return dns.CanonicalName(name)
}
