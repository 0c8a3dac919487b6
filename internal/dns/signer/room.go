package signer

import (
	"encoding/base64"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/zone"
)

// room keeps what is made side by side in memory, as zone.Arena does for what
// is read: signatures are half of a signed zone. A worker has its own.
type room struct {
	text    strings.Builder
	sigs    []dns.RRSIG
	nsecs   []dns.NSEC
	nsec3s  []dns.NSEC3
	records []dns.RR
	sets    []zone.RRset
	bitmaps map[string][]uint16 // by the types' octets: a zone has few
	scratch []byte
}

// Pieces are at first small and at last as large as the allocator keeps in
// stock, so that neither a small edit nor a large zone pays for the other.
const (
	fewest      = 4
	pieceOctets = 32 << 10
)

func put[T any](to *[]T, most int, v T) *T {
	if len(*to) == cap(*to) {
		*to = make([]T, 0, min(max(2*cap(*to), fewest), most))
	}
	*to = append(*to, v)
	return &(*to)[len(*to)-1]
}

// keep returns a copy of a short slice.
func keep[T any](to *[]T, most int, v []T) []T {
	if cap(*to)-len(*to) < len(v) {
		*to = make([]T, 0, max(min(max(2*cap(*to), fewest), most), len(v)))
	}
	at := len(*to)
	*to = append(*to, v...)
	return (*to)[at:len(*to):len(*to)]
}

func (r *room) string(b []byte) string {
	if r.text.Cap()-r.text.Len() < len(b) {
		size := min(max(2*r.text.Cap(), 256), pieceOctets)
		r.text = strings.Builder{}
		r.text.Grow(max(size, len(b)))
	}
	at := r.text.Len()
	r.text.Write(b) // never fails, and changes nothing that was given out
	return r.text.String()[at:]
}

// rrsig returns the record of that data, which dnssec made.
func (r *room) rrsig(owner string, signer string, origin int, set *zone.RRset, k dnssec.Key, labels uint8, inception, expiration uint32, rdata []byte) dns.RR {
	r.scratch = base64.StdEncoding.AppendEncode(r.scratch[:0], rdata[18+origin:])
	return put(&r.sigs, 372, dns.RRSIG{
		Hdr:         dns.RR_Header{Name: owner, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: set.TTL, Rdlength: uint16(len(rdata))},
		TypeCovered: set.Type, Algorithm: k.Alg, Labels: labels, OrigTtl: set.TTL,
		Expiration: expiration, Inception: inception, KeyTag: k.Tag, SignerName: signer, Signature: r.string(r.scratch),
	})
}

// types keeps a bitmap's types once for all names that have the same.
func (r *room) types(types []uint16) []uint16 {
	if len(types) == 0 {
		return nil
	}
	r.scratch = r.scratch[:0]
	for _, t := range types {
		r.scratch = append(r.scratch, byte(t>>8), byte(t))
	}
	if have, ok := r.bitmaps[string(r.scratch)]; ok {
		return have
	}
	if r.bitmaps == nil {
		r.bitmaps = map[string][]uint16{}
	}
	own := append(make([]uint16, 0, len(types)), types...)
	r.bitmaps[string(r.scratch)] = own
	return own
}

func (r *room) bitmapSize(types []uint16) int {
	r.scratch = dnssec.AppendBitmap(r.scratch[:0], types)
	return len(r.scratch)
}
