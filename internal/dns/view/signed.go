package view

import (
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// signing reports whether records of type t are what signing adds to a zone:
// they tell of the zone as a whole, so they mean nothing in another one.
func signing(t uint16) bool {
	switch t {
	case dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeZONEMD, dns.TypeCDS, dns.TypeCDNSKEY:
		return true
	}
	return false
}

// unsign leaves out what signed the zone below, and says so: the chain there
// denies the names of this view, and its signatures are not for these sets. A
// validator inside takes the zone for forged, signed like that or not signed,
// where the world has a DS for it (RFC 4035, Section 5.2); but only it.
func (m *merge) unsign() {
	key := m.external[m.Origin][dns.TypeDNSKEY]
	if m.signed = key.RR != nil; !m.signed {
		return
	}
	m.problems = append(m.problems, zonefile.Problem{
		File: m.File, Severity: zonefile.ERR, Tolerable: true, Code: "view-unsigned",
		Message: fmt.Sprintf("%s is signed in the view below (%s:%d), and here it is not", m.Origin, key.File, max(key.Line, 1)),
		Hint:    `sign a full copy with the same keys and give the zone overlay = "none" in this view`,
	})
}

// SameKeys compares a zone of a view, which lies over none, with the same zone
// of the view below: where that one is signed, this one must be, with its
// keys, since there is one DS for both.
func SameKeys(origin name.Name, file string, below, here []zonefile.Record) []zonefile.Problem {
	theirs, ours := keys(origin, below), keys(origin, here)
	p := zonefile.Problem{File: file, Severity: zonefile.ERR, Tolerable: true, Hint: "sign it with the same keys"}
	switch {
	case len(theirs) == 0 || slices.Equal(theirs, ours):
		return nil
	case len(ours) == 0:
		p.Code, p.Message = "view-unsigned", fmt.Sprintf("%s is signed in the view below, and here it is not", origin)
	default:
		p.Code, p.Message = "view-keys", fmt.Sprintf("%s has other keys here than in the view below", origin)
	}
	return []zonefile.Problem{p}
}

// keys lists the DNSKEYs of a zone, TTLs apart.
func keys(origin name.Name, records []zonefile.Record) []string {
	var all []string
	for _, r := range records {
		if k, ok := r.RR.(*dns.DNSKEY); ok && k.Hdr.Name == origin.String() {
			all = append(all, fmt.Sprintf("%d %d %d %s", k.Flags, k.Protocol, k.Algorithm, k.PublicKey))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
