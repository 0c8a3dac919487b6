package dnssec

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// AppendRecord appends a record in canonical form (RFC 4034, Section 6.2):
// uncompressed, with this owner and TTL. The record is as zone.Normalise made
// it, which is where the names in its data got their lower case. RFC 6840,
// Section 5.1 leaves the next name of an NSEC record as it is.
func AppendRecord(to []byte, owner name.Name, ttl uint32, rr dns.RR) ([]byte, error) {
	base := len(to)
	whole, done, err := appendCommon(to, owner, rr)
	if !done {
		whole, err = zone.AppendWire(to, owner, rr)
	}
	if err != nil {
		return to, err
	}
	binary.BigEndian.PutUint32(whole[base+len(owner)+4:], ttl)
	return whole, nil
}

// appendCommon writes the types of which a signed zone has many, other than
// those zone writes fast itself; it reports false for what it leaves alone.
func appendCommon(to []byte, owner name.Name, rr dns.RR) ([]byte, bool, error) {
	h := rr.Header()
	base := len(to)
	to = append(to, owner...)
	to = binary.BigEndian.AppendUint16(to, h.Rrtype)
	to = binary.BigEndian.AppendUint16(to, h.Class)
	to = append(to, 0, 0, 0, 0, 0, 0)
	start := len(to)
	var err error
	switch r := rr.(type) {
	case *dns.RRSIG:
		to, err = appendRRSIG(to, r)
	case *dns.NSEC:
		if !plain(r.NextDomain) {
			return to[:base], false, nil
		}
		if to, err = name.AppendParsed(to, r.NextDomain); err == nil {
			to = AppendBitmap(to, r.TypeBitMap)
		}
	case *dns.NSEC3:
		var fits bool
		if to, fits = appendNSEC3(to, r); !fits {
			return to[:base], false, nil
		}
	case *dns.SOA:
		to, err = appendSOA(to, r)
	default:
		return to[:base], false, nil
	}
	if err != nil {
		return to, true, fmt.Errorf("%s: %w", dns.TypeToString[h.Rrtype], err)
	}
	if len(to)-start > 65535 {
		return to, true, zone.ErrTooLarge
	}
	binary.BigEndian.PutUint16(to[start-2:], uint16(len(to)-start))
	return to, true, nil
}

// plain reports whether a name's text is its octets in lower case.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; 'A' <= c && c <= 'Z' || c == '\\' {
			return false
		}
	}
	return true
}

func appendRRSIG(to []byte, r *dns.RRSIG) ([]byte, error) {
	to = appendPrefix(to, r)
	to, err := name.AppendParsed(to, r.SignerName)
	if err != nil {
		return to, err
	}
	return base64.StdEncoding.AppendDecode(to, []byte(r.Signature))
}

// appendPrefix appends a signature's data before the signer's name.
func appendPrefix(to []byte, r *dns.RRSIG) []byte {
	to = binary.BigEndian.AppendUint16(to, r.TypeCovered)
	to = append(to, r.Algorithm, r.Labels)
	to = binary.BigEndian.AppendUint32(to, r.OrigTtl)
	to = binary.BigEndian.AppendUint32(to, r.Expiration)
	to = binary.BigEndian.AppendUint32(to, r.Inception)
	return binary.BigEndian.AppendUint16(to, r.KeyTag)
}

// appendNSEC3 writes a record without salt and with a hash of 20 octets.
func appendNSEC3(to []byte, r *dns.NSEC3) ([]byte, bool) {
	next, ok := ParseHash(r.NextDomain)
	if !ok || r.SaltLength != 0 || r.Salt != "" || r.HashLength != HashSize {
		return to, false
	}
	to = append(to, r.Hash, r.Flags)
	to = binary.BigEndian.AppendUint16(to, r.Iterations)
	to = append(append(to, 0, HashSize), next[:]...)
	return AppendBitmap(to, r.TypeBitMap), true
}

func appendSOA(to []byte, r *dns.SOA) ([]byte, error) {
	to, err := name.AppendParsed(to, r.Ns)
	if err != nil {
		return to, err
	}
	if to, err = name.AppendParsed(to, r.Mbox); err != nil {
		return to, err
	}
	for _, v := range [...]uint32{r.Serial, r.Refresh, r.Retry, r.Expire, r.Minttl} {
		to = binary.BigEndian.AppendUint32(to, v)
	}
	return to, nil
}

// AppendSet appends the records of one set in canonical form and order,
// without duplicates, all with this owner and TTL (RFC 4034, Section 6.3).
func AppendSet(to []byte, owner name.Name, ttl uint32, rrs []dns.RR) ([]byte, error) {
	base := len(to)
	last, sorted := -1, true // where the record before begins
	for _, rr := range rrs {
		at := len(to)
		var err error
		if to, err = AppendRecord(to, owner, ttl, rr); err != nil {
			return to[:base], err
		}
		if last >= 0 && bytes.Compare(to[last+len(owner)+10:at], to[at+len(owner)+10:]) >= 0 {
			sorted = false
		}
		last = at
	}
	if !sorted {
		return sortRecords(to, base, len(owner)), nil
	}
	return to, nil
}

// sortRecords puts the records in to[base:] in order; sets of a zone are, those
// of a message need not be.
func sortRecords(to []byte, base, owner int) []byte {
	var records [][]byte
	for rest := bytes.Clone(to[base:]); len(rest) > 0; {
		size := owner + 10 + int(binary.BigEndian.Uint16(rest[owner+8:]))
		records, rest = append(records, rest[:size]), rest[size:]
	}
	data := func(r []byte) []byte { return r[owner+10:] }
	slices.SortFunc(records, func(a, b []byte) int { return bytes.Compare(data(a), data(b)) })
	records = slices.CompactFunc(records, bytes.Equal)
	to = to[:base]
	for _, r := range records {
		to = append(to, r...)
	}
	return to
}
