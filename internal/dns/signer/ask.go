package signer

import (
	"fmt"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/zone"
)

// Ask is what a zone asks its parent for. The zero value asks for nothing.
type Ask struct {
	// Keys are those that the parent's DS set is to point at, and nothing else
	// is (RFC 7344, Section 4). They need no private part.
	Keys []dnssec.Key
	// Withdraw asks that there be no DS at all (RFC 8078, Section 4).
	Withdraw bool
}

// ask makes the CDS and CDNSKEY sets: both, since some parents take only the
// one and some only the other (RFC 7344, Section 4).
func (s *settings) ask() error {
	a := s.policy.Ask
	if len(a.Keys) == 0 && !a.Withdraw {
		return nil
	}
	if len(a.Keys) > 0 && a.Withdraw {
		return fmt.Errorf("%w: the parent is asked for keys and for none", ErrPolicy)
	}
	ds := zone.RRset{Type: dns.TypeCDS, TTL: s.policy.DNSKEYTTL}
	keys := zone.RRset{Type: dns.TypeCDNSKEY, TTL: s.policy.DNSKEYTTL}
	head := func(t uint16, size uint16) dns.RR_Header {
		return dns.RR_Header{Name: s.text, Rrtype: t, Class: dns.ClassINET, Ttl: s.policy.DNSKEYTTL, Rdlength: size}
	}
	if a.Withdraw { // RFC 8078, Section 4, as corrected: "CDS 0 0 0 00" and "CDNSKEY 0 3 0 AA=="
		ds.RRs = []dns.RR{&dns.CDS{DS: dns.DS{Hdr: head(ds.Type, 5), Digest: "00"}}}
		keys.RRs = []dns.RR{&dns.CDNSKEY{DNSKEY: dns.DNSKEY{Hdr: head(keys.Type, 5), Protocol: 3, PublicKey: "AA=="}}}
	}
	for _, k := range a.Keys {
		if k.Zone != s.origin || k.DNSKEY == nil || !k.SEP() {
			return fmt.Errorf("%w: the parent cannot point at %s", ErrKeys, k)
		}
		// RFC 9904: every validator knows this digest, and parents publish what is asked for.
		d, err := dnssec.DS(s.origin, k.DNSKEY, dns.SHA256)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrKeys, err)
		}
		cds, key := &dns.CDS{DS: *d}, &dns.CDNSKEY{DNSKEY: *k.DNSKEY}
		cds.Hdr, key.Hdr = head(ds.Type, d.Hdr.Rdlength), head(keys.Type, k.DNSKEY.Hdr.Rdlength)
		ds.RRs, keys.RRs = append(ds.RRs, cds), append(keys.RRs, key)
	}
	s.asked = []zone.RRset{ds, keys}
	for i := range s.asked {
		if err := sortSet(s.origin, &s.asked[i]); err != nil {
			return err
		}
	}
	return nil
}
