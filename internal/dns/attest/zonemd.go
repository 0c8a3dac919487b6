package attest

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"iter"
	"sync"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// CheckDigest returns what is wrong with the zone's digests, signed or not
// (RFC 8976, Section 4). As that has it, one that is right is enough.
func CheckDigest(z *zone.Zone) []Problem {
	j := &judge{zone: z, context: Context{Presigned: true}}
	var f findings
	j.digests(&f)
	return f.all()
}

// The scheme and the hashes that are computed here (RFC 8976, Section 2.2).
const (
	simple    = 1
	useSHA384 = 1
	useSHA512 = 2
)

// digests judges the ZONEMD records at the apex.
func (j *judge) digests(f *findings) {
	origin := j.zone.Origin()
	set := j.zone.Node(origin).Set(dns.TypeZONEMD)
	if set == nil {
		if j.context.ZONEMD {
			f.add("zonemd-missing", origin, dns.TypeZONEMD, "the zone has no digest")
		}
		return
	}
	var wrong findings
	usable := j.usable(set, &wrong)
	sums, err := zoneDigests(j.zone, usable, j.context.Workers > 1)
	if err != nil {
		wrong.add("zonemd-digest", origin, dns.TypeZONEMD, "the zone cannot be digested: %v", err)
	}
	right := 0
	for _, z := range usable {
		want, err := hex.DecodeString(z.Digest)
		if err == nil && bytes.Equal(want, sums[z.Hash]) { // and so of the hash's length
			right++
		} else {
			wrong.add("zonemd-digest", origin, dns.TypeZONEMD, "the digest of hash %d is not that of the zone", z.Hash)
		}
	}
	if right == 0 && len(wrong.list) == 0 {
		wrong.add("zonemd-unknown", origin, dns.TypeZONEMD, "no digest is of a scheme and a hash that are known")
	}
	// RFC 8976, Section 4: whoever verifies stops at the first that is right.
	// What we made ourselves is right throughout.
	if right == 0 || !j.context.Presigned {
		f.merge([]findings{wrong})
	}
}

// usable returns the records that can be held against the zone.
func (j *judge) usable(set *zone.RRset, wrong *findings) []*dns.ZONEMD {
	origin := j.zone.Origin()
	count := map[[2]uint8]int{}
	for _, rr := range set.RRs {
		if z, ok := rr.(*dns.ZONEMD); ok {
			count[[2]uint8{z.Scheme, z.Hash}]++
		}
	}
	var usable []*dns.ZONEMD
	for _, rr := range set.RRs {
		z, ok := rr.(*dns.ZONEMD)
		switch {
		case !ok:
		case count[[2]uint8{z.Scheme, z.Hash}] > 1: // RFC 8976, Section 2: none of these may be used
			wrong.add("zonemd-repeated", origin, dns.TypeZONEMD, "several digests of scheme %d and hash %d", z.Scheme, z.Hash)
		case z.Serial != j.zone.Serial():
			wrong.add("zonemd-serial", origin, dns.TypeZONEMD, "the digest is of serial %d, the zone's is %d", z.Serial, j.zone.Serial())
		case z.Scheme == simple && (z.Hash == useSHA384 || z.Hash == useSHA512):
			usable = append(usable, z)
		}
	}
	return usable
}

// zoneDigests computes the digests of the hashes that are asked for (RFC 8976,
// Section 3.3): over all records, occluded ones too, but the digests
// themselves and their signatures.
func zoneDigests(z *zone.Zone, wanted []*dns.ZONEMD, beside bool) (map[uint8][]byte, error) {
	hashes := map[uint8]hash.Hash{}
	for _, w := range wanted {
		if w.Hash == useSHA512 {
			hashes[w.Hash] = sha512.New()
		} else {
			hashes[w.Hash] = sha512.New384()
		}
	}
	sums := map[uint8][]byte{}
	if len(hashes) == 0 {
		return sums, nil
	}
	var err error
	for data := range written(z, beside, &err) {
		for _, h := range hashes {
			h.Write(data) // never fails
		}
	}
	if err != nil {
		return nil, err
	}
	for id, h := range hashes {
		sums[id] = h.Sum(nil)
	}
	return sums, nil
}

// written returns the octets that are digested, piece by piece; each is good
// until the next is asked for. Writing them takes as long as hashing does: with
// beside it is done by a goroutine of its own, which ends with the loop.
func written(z *zone.Zone, beside bool, err *error) iter.Seq[[]byte] {
	const batch = 32 << 10
	write := func(piece func([]byte) []byte) {
		data := piece(nil)
		for node := range z.Nodes() {
			for i := range node.Sets {
				if data, *err = appendDigested(data, node, &node.Sets[i], node.Name == z.Origin()); *err != nil {
					return
				}
				if len(data) > batch {
					data = piece(data)
				}
			}
		}
		piece(data)
	}
	return func(yield func([]byte) bool) {
		if !beside {
			write(func(data []byte) []byte { yield(data); return data[:0] })
			return
		}
		full, free := make(chan []byte), make(chan []byte, 2)
		free <- make([]byte, 0, 2*batch)
		free <- make([]byte, 0, 2*batch)
		var all sync.WaitGroup
		all.Go(func() {
			defer close(full)
			write(func(data []byte) []byte {
				if data != nil {
					full <- data
				}
				return (<-free)[:0]
			})
		})
		for data := range full {
			yield(data)
			free <- data
		}
		all.Wait()
	}
}

func appendDigested(to []byte, node *zone.Node, set *zone.RRset, apex bool) ([]byte, error) {
	if apex && set.Type == dns.TypeZONEMD {
		return to, nil
	}
	var err error
	for _, rr := range set.RRs {
		if s, ok := rr.(*dns.RRSIG); ok && apex && s.TypeCovered == dns.TypeZONEMD {
			continue
		}
		if to, err = appendRecord(to, node.Name, rr); err != nil {
			return to, err
		}
	}
	return to, nil
}
