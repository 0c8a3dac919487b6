package resolver

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
)

// special is how a special-use name is answered.
type special uint8

const (
	empty     special = iota + 1 // nothing exists but the apex
	localhost                    // the loopback addresses
)

// emptyZones are answered here and never asked for outside, unless an own zone
// holds them.
var emptyZones = []string{
	"invalid", "test", // RFC 6761, Sections 6.4 and 6.2
	"onion",                         // RFC 7686, Section 2
	"local",                         // RFC 6762, Section 22.1
	"alt",                           // RFC 9476
	"home.arpa",                     // RFC 8375, Section 4
	"resolver.arpa", "service.arpa", // RFC 9462, RFC 9665
	// RFC 6303, Section 4
	"10.in-addr.arpa", "168.192.in-addr.arpa",
	"0.in-addr.arpa", "127.in-addr.arpa", "254.169.in-addr.arpa",
	"2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa",
	"255.255.255.255.in-addr.arpa",
	"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
	"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
	"d.f.ip6.arpa", "8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa",
	"8.b.d.0.1.0.0.2.ip6.arpa",
}

// Nowhere reports whether the root that all the world uses leads nobody to the
// name by way of a DS: what is reserved is not delegated, or without one, and
// the root's signatures prove it.
func Nowhere(n name.Name) bool {
	reserved := specialNames()
	for zone := n; zone != name.Root; zone = zone.Parent() {
		if _, ok := reserved[zone]; ok {
			return !slices.Contains(delegated, zone.String())
		}
		if zone.Parent() == name.Root && slices.Contains(unused, zone.String()) {
			return true
		}
	}
	return false
}

// unused are top-level names that are reserved, though a resolver treats them
// like any other: the first by RFC 6761, Section 6.5, the second by ICANN for
// names that stay inside.
var unused = []string{"example.", "internal."}

// delegated are special names that may lead somewhere with a DS: those of RFC
// 9462 and 9665, and address space for documentation.
var delegated = []string{"resolver.arpa.", "service.arpa.", "2.0.192.in-addr.arpa.", "100.51.198.in-addr.arpa.", "113.0.203.in-addr.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa."}

func specialNames() map[name.Name]special {
	out := make(map[name.Name]special)
	add := func(s string, what special) {
		if n, err := name.Parse(s); err == nil { // the table above is tested
			out[n] = what
		}
	}
	for _, z := range emptyZones {
		add(z, empty)
	}
	for i := 16; i <= 31; i++ {
		add(fmt.Sprintf("%d.172.in-addr.arpa", i), empty)
	}
	for i := 64; i <= 127; i++ {
		add(fmt.Sprintf("%d.100.in-addr.arpa", i), empty) // RFC 7793
	}
	add("localhost", localhost) // RFC 6761, Section 6.3
	return out
}

// answerSpecial answers at and below special-use names, but where a negative
// trust anchor says that somebody uses the name after all.
func (r *Resolver) answerSpecial(q iterate.Question) (*dns.Msg, bool) {
	for _, n := range r.cfg.Negative {
		if q.Name.IsBelow(n) {
			return nil, false
		}
	}
	for zone := q.Name; zone != name.Root; zone = zone.Parent() {
		what, ok := r.special[zone]
		if !ok {
			continue
		}
		if q.Type == dns.TypeDS && q.Name == zone {
			return nil, false // the parent's side, which is real
		}
		if what == localhost {
			return loopback(zone, q), true
		}
		return emptyZone(zone, q), true
	}
	return nil, false
}

const specialTTL = 10800 // RFC 6303, Section 3

func emptyZone(zone name.Name, q iterate.Question) *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
	switch {
	case q.Name != zone:
		m.Rcode = dns.RcodeNameError
	case q.Type == dns.TypeSOA:
		m.Answer = []dns.RR{soa(zone)}
		return m
	case q.Type == dns.TypeNS:
		m.Answer = []dns.RR{&dns.NS{Hdr: header(zone, dns.TypeNS), Ns: zone.String()}}
		return m
	}
	m.Ns = []dns.RR{soa(zone)}
	return m
}

func loopback(zone name.Name, q iterate.Question) *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
	switch q.Type {
	case dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: header(q.Name, dns.TypeA), A: netip.MustParseAddr("127.0.0.1").AsSlice()}}
	case dns.TypeAAAA:
		m.Answer = []dns.RR{&dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: netip.IPv6Loopback().AsSlice()}}
	default:
		m.Ns = []dns.RR{soa(zone)}
	}
	return m
}

func header(n name.Name, rtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: n.String(), Rrtype: rtype, Class: dns.ClassINET, Ttl: specialTTL}
}

// soa is the one of RFC 6303, Section 3.
func soa(zone name.Name) dns.RR {
	return &dns.SOA{
		Hdr: header(zone, dns.TypeSOA), Ns: zone.String(), Mbox: "nobody.invalid.",
		Serial: 1, Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: specialTTL,
	}
}
