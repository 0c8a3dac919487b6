package attest

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// digest is a hashed name; SHA-1 is the only hash there is (RFC 5155, Section 11).
type digest [sha1.Size]byte

// params are what names are hashed with (RFC 5155, Section 4.1).
type params struct {
	iterations uint16
	salt       string // octets
}

func (p params) String() string {
	salt := "no salt"
	if p.salt != "" {
		salt = "salt " + hex.EncodeToString([]byte(p.salt))
	}
	return fmt.Sprintf("%d iterations and %s", p.iterations, salt)
}

// maxIterations is how many hashes of one name are computed: more than the
// oldest rules ever allowed (RFC 5155, Section 10.3) are not worth the time,
// and validators stop long before (RFC 9276, Section 3.2).
const (
	maxIterations    = 2500
	usableIterations = 100
)

// hash hashes a name (RFC 5155, Section 5).
func (p params) hash(n name.Name, room []byte) (digest, []byte) {
	room = append(append(room[:0], n...), p.salt...)
	sum := sha1.Sum(room)
	for range p.iterations {
		room = append(append(room[:0], sum[:]...), p.salt...)
		sum = sha1.Sum(room)
	}
	return sum, room
}

// hop is one NSEC3 record.
type hop struct {
	hash, next digest
	node       *zone.Node
	rr         *dns.NSEC3
}

func (h *hop) optOut() bool { return h.rr.Flags&1 != 0 }

// chain is the NSEC3 records of one set of parameters, by hash.
type chain struct {
	params
	hops []hop
}

// chains judges the NSEC3 records of the zone: every chain that an NSEC3PARAM
// names is complete (RFC 5155, Section 7.1), and there is no other.
func (j *judge) chains(f *findings) {
	all := j.gather(f)
	for _, p := range j.named(f) {
		c := all[p]
		delete(all, p)
		if c == nil {
			f.add("nsec3-param", j.zone.Origin(), dns.TypeNSEC3PARAM, "there is no NSEC3 record with %s", p)
			continue
		}
		j.chain(c, f)
	}
	for p, c := range all {
		f.add("nsec3-param", c.hops[0].node.Name, dns.TypeNSEC3, "%s with %s, which no NSEC3PARAM names", plural(len(c.hops), "record"), p)
	}
}

// named returns the parameters that the zone's NSEC3PARAM records name.
func (j *judge) named(f *findings) []params {
	origin := j.zone.Origin()
	set := j.spots[0].node.Set(dns.TypeNSEC3PARAM)
	if set == nil {
		f.add("nsec3-param", origin, dns.TypeNSEC3PARAM, "the zone has NSEC3 records and no NSEC3PARAM")
		return nil
	}
	var all []params
	for _, rr := range set.RRs {
		r, ok := rr.(*dns.NSEC3PARAM)
		if !ok {
			continue
		}
		salt, err := hex.DecodeString(r.Salt)
		switch {
		case err != nil || r.Hash != dns.SHA1 || r.Flags != 0: // RFC 5155, Section 4.1.2: such a record is not used
			f.add("nsec3-param", origin, dns.TypeNSEC3PARAM, "hash %d, flags %d: servers ignore such a record", r.Hash, r.Flags)
			continue
		case r.Iterations > usableIterations, r.Iterations > 0 && !j.context.Presigned: // RFC 9276, Section 3.1
			f.add("nsec3-iterations", origin, dns.TypeNSEC3PARAM, "%d iterations", r.Iterations)
		case len(salt) > 0 && !j.context.Presigned:
			f.add("nsec3-salt", origin, dns.TypeNSEC3PARAM, "a salt of %s", plural(len(salt), "octet"))
		}
		if r.Iterations <= maxIterations {
			all = append(all, params{r.Iterations, string(salt)})
		}
	}
	return all
}

// gather reads the NSEC3 records, by their parameters.
func (j *judge) gather(f *findings) map[params]*chain {
	all := map[params]*chain{}
	var last *chain
	for _, i := range j.hashes {
		node := j.spots[i].node
		if rest := len(node.Sets) - 1; rest > 1 || rest == 1 && node.Set(dns.TypeRRSIG) == nil {
			f.add("nsec3-mixed", node.Name, dns.TypeNSEC3, "the owner of an NSEC3 record has other records")
		}
		set := node.Set(dns.TypeNSEC3)
		if !j.denialTTL(set.TTL) {
			f.add("nsec3-ttl", node.Name, dns.TypeNSEC3, "the TTL is %d; the SOA asks for %d", set.TTL, j.ttl)
		}
		for _, rr := range set.RRs {
			h, p, ok := j.hop(node, rr, f)
			if !ok {
				continue
			}
			if last == nil || last.params != p {
				if last = all[p]; last == nil {
					last = &chain{params: p, hops: make([]hop, 0, len(j.hashes))}
					all[p] = last
				}
			}
			last.hops = append(last.hops, h)
		}
	}
	return all
}

// hop reads one record.
func (j *judge) hop(node *zone.Node, rr dns.RR, f *findings) (hop, params, bool) {
	n, ok := rr.(*dns.NSEC3)
	if !ok {
		return hop{}, params{}, false
	}
	h := hop{node: node, rr: n}
	if node.Name.Parent() != j.zone.Origin() || !unhash(&h.hash, node.Name.First()) {
		f.add("nsec3-owner", node.Name, dns.TypeNSEC3, "the name is no hash right below the zone's own")
		return h, params{}, false
	}
	salt, err := hex.DecodeString(n.Salt)
	if n.Hash != dns.SHA1 || err != nil || !unhash(&h.next, n.NextDomain) {
		f.add("nsec3-owner", node.Name, dns.TypeNSEC3, "hash %d, next %q: not a record that validators use", n.Hash, n.NextDomain)
		return h, params{}, false
	}
	if n.Flags > 1 { // RFC 5155, Section 3.1.2
		f.add("nsec3-flags", node.Name, dns.TypeNSEC3, "flags %d", n.Flags)
	}
	if h.optOut() && !j.context.OptOut && !j.context.Presigned {
		f.add("nsec3-optout", node.Name, dns.TypeNSEC3, "the record has the Opt-Out flag")
	}
	return h, params{n.Iterations, string(salt)}, true
}

// unhash reads base32hex (RFC 5155, Section 3.3).
func unhash(d *digest, text string) bool {
	var upper [32]byte
	if len(text) != len(upper) {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	n, err := base32.HexEncoding.Decode(d[:], upper[:])
	return err == nil && n == len(d)
}

// chain judges one chain, link by link and name by name.
func (j *judge) chain(c *chain, f *findings) {
	slices.SortFunc(c.hops, func(a, b hop) int {
		return cmp.Or(cmp.Compare(a.head(), b.head()), bytes.Compare(a.hash[:], b.hash[:]))
	})
	for i := range c.hops {
		j.hopNext(c, i, f)
	}
	met := make([]bool, len(c.hops)) // each by one name at most, so that the workers share it
	f.merge(j.inParallel(len(j.spots), func(i int, w *worker, f *findings) {
		if at, ok := j.hashedName(c, i, w, f); ok {
			met[at] = true
		}
	}))
	for i, ok := range met {
		if !ok {
			f.add("nsec3-extra", c.hops[i].node.Name, dns.TypeNSEC3, "no name of the zone has that hash")
		}
	}
}

func (h *hop) head() uint64 { return binary.BigEndian.Uint64(h.hash[:]) }

// hopNext judges where one record leads.
func (j *judge) hopNext(c *chain, i int, f *findings) {
	h := &c.hops[i]
	node := h.node
	if i > 0 && c.hops[i-1].hash == h.hash {
		f.add("nsec3-several", node.Name, dns.TypeNSEC3, "the name has several NSEC3 records with %s", c.params)
	}
	if next := c.hops[(i+1)%len(c.hops)].hash; h.next != next {
		f.add("nsec3-next", node.Name, dns.TypeNSEC3, "the chain leads to %s, the hash that follows is %s", strings.ToLower(h.rr.NextDomain), hashText(next))
	}
}

func hashText(d digest) string { return strings.ToLower(base32.HexEncoding.EncodeToString(d[:])) }

// find returns where the hash is among the hops, or would be.
func (c *chain) find(d digest) (int, bool) {
	head := binary.BigEndian.Uint64(d[:])
	return slices.BinarySearchFunc(c.hops, head, func(h hop, head uint64) int {
		return cmp.Or(cmp.Compare(h.head(), head), bytes.Compare(h.hash[8:], d[8:]))
	})
}

// hashedName judges what a chain says of the name of one spot. It returns the
// record of that name, if there is one.
func (j *judge) hashedName(c *chain, i int, w *worker, f *findings) (int, bool) {
	sp := &j.spots[i]
	// RFC 5155, Section 7.1: every name that exists, and the empty
	// non-terminals above it.
	if !sp.exists() && (sp.place != inside || !sp.some) {
		return 0, false
	}
	var d digest
	d, w.data = c.hash(sp.node.Name, w.data)
	at, found := c.find(d)
	if found {
		j.hashedTypes(sp, &c.hops[at], w, f)
		return at, true
	}
	over := &c.hops[(at+len(c.hops)-1)%len(c.hops)]
	insecure := sp.place == cut && sp.node.Set(dns.TypeDS) == nil || sp.place == inside && sp.bare && !sp.need
	switch {
	case !insecure:
		f.add("nsec3-missing", sp.node.Name, dns.TypeNSEC3, "there is no NSEC3 record for the name (%s)", hashText(d))
	case !over.optOut():
		f.add("nsec3-missing", sp.node.Name, dns.TypeNSEC3, "there is no NSEC3 record for the name (%s), and the one that covers it does not opt out", hashText(d))
	}
	return 0, false
}

// hashedTypes judges the bitmap of a name's record.
func (j *judge) hashedTypes(sp *spot, h *hop, w *worker, f *findings) {
	w.types = sp.types(w.types[:0])
	// RFC 5155, Section 7.1: RRSIG where something of the name is signed, that
	// is, not at an insecure delegation.
	if len(w.types) > 0 && (sp.place != cut || sp.node.Set(dns.TypeDS) != nil) {
		w.types = append(w.types, dns.TypeRRSIG)
		slices.Sort(w.types)
	}
	if !slices.Equal(h.rr.TypeBitMap, w.types) {
		f.add("nsec3-bitmap", sp.node.Name, dns.TypeNSEC3, "the record tells of %s, the name has %s", typesText(h.rr.TypeBitMap), typesText(w.types))
	}
}
