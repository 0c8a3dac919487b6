package attest

import (
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// childSigns judges what the zone asks of its parent (RFC 7344, Sections 4 and
// 5; RFC 8078, Section 4): CDS and CDNSKEY say the same, and lead to keys that
// the zone has.
func (j *judge) childSigns(f *findings) {
	apex := j.spots[0].node
	ds, keys := j.asked()
	cdsSet, keySet := apex.Set(dns.TypeCDS), apex.Set(dns.TypeCDNSKEY)
	switch {
	case cdsSet == nil && keySet == nil:
		return
	case cdsSet == nil:
		f.add("cds-missing", apex.Name, dns.TypeCDS, "there is a CDNSKEY set and no CDS set: parents that take only one of them may want the other")
	case keySet == nil:
		f.add("cdnskey-missing", apex.Name, dns.TypeCDNSKEY, "there is a CDS set and no CDNSKEY set: parents that take only one of them may want the other")
	}
	removal := len(ds) < setLen(cdsSet) || len(keys) < setLen(keySet)
	if removal && len(ds)+len(keys) > 0 {
		// RFC 8078, Section 4: such a record stands alone.
		f.add("cds-delete", apex.Name, dns.TypeCDS, "a record that asks for no DS at all stands beside others")
		return
	}
	if removal {
		j.withdrawals(f)
	}
	for _, d := range ds {
		if keySet != nil && !slices.ContainsFunc(keys, func(k key) bool { return j.matches(d, &k) }) {
			f.add("cds-unmatched", apex.Name, dns.TypeCDS, "the CDS of key %d has no CDNSKEY", d.KeyTag)
		} else if !slices.ContainsFunc(j.keys, func(k key) bool { return j.matches(d, &k) }) {
			f.add("cds-unmatched", apex.Name, dns.TypeCDS, "the CDS of key %d leads to no key of the zone", d.KeyTag)
		}
	}
	for _, k := range keys {
		if cdsSet != nil && !slices.ContainsFunc(ds, func(d *dns.DS) bool { return j.matches(d, &k) }) {
			f.add("cds-unmatched", apex.Name, dns.TypeCDNSKEY, "the CDNSKEY of key %d has no CDS", k.tag)
		}
	}
}

// trustedAsk holds that what is asked of the parent is signed by a key that
// signs the DNSKEY set, and where that may be known by one that the parent
// points at (RFC 7344, Section 4.1).
func (j *judge) trustedAsk(rrtype uint16, signers, entries []*key, f *findings) {
	for _, k := range signers {
		led := len(j.context.DS) == 0 || slices.ContainsFunc(j.context.DS, func(d *dns.DS) bool { return j.matches(d, k) })
		if led && slices.Contains(entries, k) {
			return
		}
	}
	f.add("cds-signer", j.zone.Origin(), rrtype, "no key signs it that signs the DNSKEY set and that the parent points at")
}

func setLen(set *zone.RRset) int {
	if set == nil {
		return 0
	}
	return len(set.RRs)
}

// withdrawals holds the records that ask for no DS against the one form that
// they have, "0 0 0 00" and "0 3 0 AA==" (RFC 8078, Section 4).
func (j *judge) withdrawals(f *findings) {
	apex := j.spots[0].node
	for _, t := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
		set := apex.Set(t)
		if set == nil {
			continue
		}
		good := len(set.RRs) == 1
		for _, rr := range set.RRs {
			switch r := rr.(type) {
			case *dns.CDS:
				good = good && r.KeyTag == 0 && r.DigestType == 0 && r.Digest == "00"
			case *dns.CDNSKEY:
				good = good && r.Flags == 0 && r.Protocol == 3 && r.PublicKey == "AA=="
			}
		}
		if !good {
			f.add("cds-delete", apex.Name, t, "a record that asks for no DS has another form than RFC 8078 gives it")
		}
	}
}

// asked returns what CDS and CDNSKEY records the zone has, without those that
// ask for removal.
func (j *judge) asked() (ds []*dns.DS, keys []key) {
	apex := j.spots[0].node
	if set := apex.Set(dns.TypeCDS); set != nil {
		for _, rr := range set.RRs {
			if r, ok := rr.(*dns.CDS); ok && r.Algorithm != 0 {
				ds = append(ds, &r.DS)
			}
		}
	}
	if set := apex.Set(dns.TypeCDNSKEY); set != nil {
		for _, rr := range set.RRs {
			if r, ok := rr.(*dns.CDNSKEY); ok && r.Algorithm != 0 {
				keys = append(keys, newKey(&r.DNSKEY))
			}
		}
	}
	return ds, keys
}
