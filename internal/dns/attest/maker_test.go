package attest

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

var testNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// maker signs small zones the slow and simple way, by the library, so that a
// test can go wrong at each step.
type maker struct {
	keys    []makerKey
	plain   bool // no chain at all
	nsec3   *dns.NSEC3PARAM
	optOut  bool
	zonemd  bool
	serial  uint32                                    // of the ZONEMD; zero: that of the zone
	wrapped func(owner name.Name, rrtype uint16) bool // sets to sign that must not be
	dates   func(owner name.Name, rrtype uint16) (from, to time.Time)
	cache   map[string]dns.RR // signatures by what they are over
}

type makerKey struct {
	rr      *dns.DNSKEY
	private crypto.Signer
	hidden  bool // not in the DNSKEY set
}

func newKeyPair(t testing.TB, flags uint16, algorithm uint8) makerKey {
	t.Helper()
	rr := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600}, Flags: flags, Protocol: 3, Algorithm: algorithm}
	bits := 256
	if algorithm == dns.RSASHA256 || algorithm == dns.RSASHA1 {
		bits = 1024
	}
	private, err := rr.Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	return makerKey{rr: rr, private: private.(crypto.Signer)}
}

func newMaker(t testing.TB) *maker {
	t.Helper()
	return &maker{keys: []makerKey{newKeyPair(t, 257, dns.ECDSAP256SHA256), newKeyPair(t, 256, dns.ECDSAP256SHA256)}, cache: map[string]dns.RR{}}
}

func parseRecords(t testing.TB, text string) []dns.RR {
	t.Helper()
	records, problems := zonefile.Parse(strings.NewReader(text), "zone", parsed(t, "example."), zonefile.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var all []dns.RR
	for _, r := range records {
		rr, _, err := zone.Normalise(r.RR)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return all
}

func ownerOf(rr dns.RR) name.Name {
	n, _ := name.Parse(rr.Header().Name)
	return n
}

// tree is what the names of a zone are, found the simple way.
type tree struct {
	types map[name.Name][]uint16
}

var exampleName = name.Name("\x07example\x00")

func (tr tree) has(n name.Name, t uint16) bool { return slices.Contains(tr.types[n], t) }

func (tr tree) isCut(n name.Name) bool { return n != exampleName && tr.has(n, dns.TypeNS) }

func (tr tree) occluded(n name.Name) bool {
	for n != exampleName {
		n = n.Parent()
		if tr.isCut(n) || tr.has(n, dns.TypeDNAME) {
			return true
		}
	}
	return false
}

func treeOf(rrs []dns.RR) tree {
	tr := tree{map[name.Name][]uint16{}}
	for _, rr := range rrs {
		if n, t := ownerOf(rr), rr.Header().Rrtype; !tr.has(n, t) && t != dns.TypeNSEC3 {
			tr.types[n] = append(tr.types[n], t)
		}
	}
	return tr
}

// names returns those that a chain tells of, in canonical order.
func (tr tree) names() []name.Name {
	var all []name.Name
	for n := range tr.types {
		if !tr.occluded(n) {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, name.Name.Compare)
	return all
}

func (tr tree) bitmap(n name.Name, extra ...uint16) []uint16 {
	var all []uint16
	for _, t := range tr.types[n] {
		if !tr.isCut(n) || t == dns.TypeNS || t == dns.TypeDS {
			all = append(all, t)
		}
	}
	all = append(all, extra...)
	slices.Sort(all)
	return all
}

func header(owner string, t uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}

func soaOf(rrs []dns.RR) *dns.SOA {
	for _, rr := range rrs {
		if s, ok := rr.(*dns.SOA); ok {
			return s
		}
	}
	return nil
}

// chain returns the records that deny.
func (m *maker) chain(rrs []dns.RR) []dns.RR {
	tr, soa := treeOf(rrs), soaOf(rrs)
	ttl := min(soa.Minttl, soa.Hdr.Ttl)
	all := tr.names()
	var out []dns.RR
	if m.nsec3 == nil {
		for i, n := range all {
			out = append(out, &dns.NSEC{Hdr: header(n.String(), dns.TypeNSEC, ttl), NextDomain: all[(i+1)%len(all)].String(), TypeBitMap: tr.bitmap(n, dns.TypeRRSIG, dns.TypeNSEC)})
		}
		return out
	}
	of := map[string]name.Name{} // names by hash
	for _, n := range all {
		if m.optOut && tr.isCut(n) && !tr.has(n, dns.TypeDS) {
			continue
		}
		for ; ; n = n.Parent() {
			of[dns.HashName(n.String(), dns.SHA1, m.nsec3.Iterations, m.nsec3.Salt)] = n
			if n == exampleName {
				break
			}
		}
	}
	var hashes []string
	for h := range of {
		hashes = append(hashes, h)
	}
	slices.Sort(hashes)
	for i, h := range hashes {
		n := of[h]
		types := tr.bitmap(n)
		if len(types) > 0 && (!tr.isCut(n) || tr.has(n, dns.TypeDS)) {
			types = tr.bitmap(n, dns.TypeRRSIG)
		}
		r := &dns.NSEC3{Hdr: header(strings.ToLower(h)+".example.", dns.TypeNSEC3, ttl), Hash: dns.SHA1, Iterations: m.nsec3.Iterations, Salt: m.nsec3.Salt, SaltLength: m.nsec3.SaltLength, HashLength: 20, NextDomain: hashes[(i+1)%len(hashes)], TypeBitMap: types}
		if m.optOut {
			r.Flags = 1
		}
		out = append(out, r)
	}
	return out
}

// sign makes a signed zone; before may change the records before they are
// signed, after those that are.
func (m *maker) sign(t testing.TB, unsigned []dns.RR, before, after func([]dns.RR) []dns.RR) *zone.Zone {
	t.Helper()
	rrs := slices.Clone(unsigned)
	for _, k := range m.keys {
		if !k.hidden {
			rrs = append(rrs, k.rr)
		}
	}
	if m.nsec3 != nil {
		rrs = append(rrs, m.nsec3)
	}
	digest := &dns.ZONEMD{Hdr: header("example.", dns.TypeZONEMD, 3600), Serial: soaOf(rrs).Serial, Scheme: 1, Hash: 1, Digest: strings.Repeat("00", 48)}
	if m.serial != 0 {
		digest.Serial = m.serial
	}
	if m.zonemd {
		rrs = append(rrs, digest)
	}
	if !m.plain {
		rrs = append(rrs, m.chain(rrs)...)
	}
	if before != nil {
		rrs = before(rrs)
	}
	sigs := m.signatures(t, rrs)
	if m.zonemd {
		sums, err := zoneDigests(buildZone(t, append(slices.Clone(rrs), sigs...)), []*dns.ZONEMD{digest}, false)
		if err != nil {
			t.Fatal(err)
		}
		digest.Digest = hex.EncodeToString(sums[1])
		sigs = m.signatures(t, rrs)
	}
	rrs = append(rrs, sigs...)
	if after != nil {
		rrs = after(rrs)
	}
	return buildZone(t, rrs)
}

func buildZone(t testing.TB, rrs []dns.RR) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(exampleName)
	for _, rr := range rrs {
		if err := b.Add(rr); err != nil {
			t.Fatalf("%v: %v", rr, err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func (m *maker) signatures(t testing.TB, rrs []dns.RR) []dns.RR {
	t.Helper()
	tr := treeOf(rrs)
	type setKey struct {
		owner name.Name
		t     uint16
	}
	sets := map[setKey][]dns.RR{}
	for _, rr := range rrs {
		k := setKey{ownerOf(rr), rr.Header().Rrtype}
		sets[k] = append(sets[k], rr)
	}
	var out []dns.RR
	for k, set := range sets {
		wanted := !tr.occluded(k.owner) && (!tr.isCut(k.owner) || k.t == dns.TypeDS || k.t == dns.TypeNSEC) || k.t == dns.TypeNSEC3
		if wanted || m.wrapped != nil && m.wrapped(k.owner, k.t) {
			out = append(out, m.signSet(t, k.owner, k.t, set)...)
		}
	}
	return out
}

func (m *maker) signSet(t testing.TB, owner name.Name, rrtype uint16, set []dns.RR) []dns.RR {
	t.Helper()
	from, to := testNow.Add(-time.Hour), testNow.AddDate(0, 0, 14)
	if m.dates != nil {
		from, to = m.dates(owner, rrtype)
	}
	var out []dns.RR
	for _, k := range m.keys {
		sep := k.rr.Flags&dns.SEP != 0
		if keySet(rrtype) != sep && len(m.keys) > 1 {
			continue
		}
		sig := &dns.RRSIG{Hdr: header(owner.String(), dns.TypeRRSIG, set[0].Header().Ttl), Algorithm: k.rr.Algorithm, Inception: uint32(from.Unix()), Expiration: uint32(to.Unix()), KeyTag: k.rr.KeyTag(), SignerName: "example."}
		id := fmt.Sprint(set, sig, k.rr)
		if have := m.cache[id]; have != nil {
			out = append(out, have)
			continue
		}
		if err := sig.Sign(k.private, set); err != nil {
			t.Fatalf("%v: %v", set, err)
		}
		if m.cache != nil {
			m.cache[id] = sig
		}
		out = append(out, sig)
	}
	return out
}

var noSalt = &dns.NSEC3PARAM{Hdr: header("example.", dns.TypeNSEC3PARAM, 0), Hash: dns.SHA1}

var _ crypto.Signer = (*ecdsa.PrivateKey)(nil)

// hashOwner is the owner of a name's NSEC3 record.
func hashOwner(n string) string {
	return strings.ToLower(dns.HashName(n, dns.SHA1, 0, "")) + ".example."
}

// after32 returns the hash that follows.
func after32(h string) string {
	b, err := base32.HexEncoding.DecodeString(strings.ToUpper(h))
	if err != nil {
		return h
	}
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			break
		}
	}
	return base32.HexEncoding.EncodeToString(b)
}
