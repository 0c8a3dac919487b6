package dnssec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

func record(t testing.TB, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	clean, _, err := zone.Normalise(rr)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return clean
}

// seeded gives octets that are the same in every run.
type seeded struct{ *rand.ChaCha8 }

func testKey(t testing.TB, zone name.Name, flags uint16, alg uint8) Key {
	t.Helper()
	var signer crypto.Signer
	var err error
	var seed [32]byte
	seed[0], seed[1] = alg, byte(flags)
	r := seeded{rand.NewChaCha8(seed)}
	switch alg {
	case ECDSAP256SHA256, ECDSAP384SHA384:
		raw := make([]byte, curveOf(alg).Params().BitSize/8)
		_, _ = r.Read(raw)
		signer, err = ecdsa.ParseRawPrivateKey(curveOf(alg), raw)
	case ED25519:
		raw := make([]byte, ed25519.SeedSize)
		_, _ = r.Read(raw)
		signer = ed25519.NewKeyFromSeed(raw)
	case RSASHA256:
		signer, err = rsa.GenerateKey(r, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKey(zone, flags, alg, signer)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signed(t testing.TB, k Key, owner name.Name, rrs ...dns.RR) *dns.RRSIG {
	t.Helper()
	s, err := NewSignatory(k)
	if err != nil {
		t.Fatal(err)
	}
	h := rrs[0].Header()
	data, err := s.Sign(owner, &zone.RRset{Type: h.Rrtype, TTL: h.Ttl, RRs: rrs}, 1000, 2000)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := Record(owner, h.Ttl, data)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

var algorithms = []uint8{RSASHA256, ECDSAP256SHA256, ECDSAP384SHA384, ED25519}

// Every algorithm: the library takes what is signed here, Verify takes both,
// and the same set signed twice gives the same octets.
func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		t.Run(fmt.Sprint(alg), func(t *testing.T) {
			t.Parallel()
			k := testKey(t, parsed(t, "Example."), 257, alg)
			owner := parsed(t, `a\.b\000.example.`)
			set := []dns.RR{
				record(t, `a\.b\000.example. 300 IN MX 5 B.Example.`),
				record(t, `a\.b\000.example. 300 IN MX 10 a.example.`),
			}
			sig := signed(t, k, owner, set...)
			if err := sig.Verify(k.DNSKEY, set); err != nil {
				t.Errorf("the library: %v", err)
			}
			at := time.Unix(1500, 0)
			if err := Verify(k.DNSKEY, sig, owner, set, at); err != nil {
				t.Errorf("verify: %v", err)
			}
			if err := Verify(k.DNSKEY, sig, owner, []dns.RR{set[1], set[0], set[1]}, at); err != nil {
				t.Errorf("in another order, with a duplicate: %v", err)
			}
			if again := signed(t, k, owner, set...); again.Signature != sig.Signature {
				t.Error("signed twice, the signatures differ")
			}
			theirs := &dns.RRSIG{Algorithm: alg, KeyTag: k.Tag, SignerName: "example.", Inception: 1000, Expiration: 2000, Labels: 2}
			if err := theirs.Sign(k.Signer, set); err != nil {
				t.Fatal(err)
			}
			if err := Verify(k.DNSKEY, theirs, owner, set, at); err != nil {
				t.Errorf("a signature of the library's: %v", err)
			}
		})
	}
}

// Each of the rules of RFC 4035, Section 5.3.1 by itself.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	k := testKey(t, parsed(t, "example."), 257, ECDSAP256SHA256)
	owner := parsed(t, "a.example.")
	set := []dns.RR{record(t, "a.example. 300 IN A 192.0.2.1")}
	good := signed(t, k, owner, set...)
	key := func(f func(k *dns.DNSKEY)) *dns.DNSKEY {
		c := *k.DNSKEY
		f(&c)
		return &c
	}
	sig := func(f func(r *dns.RRSIG)) *dns.RRSIG {
		c := *good
		f(&c)
		return &c
	}
	at := time.Unix(1500, 0)
	for what, c := range map[string]struct {
		key   *dns.DNSKEY
		sig   *dns.RRSIG
		owner name.Name
		set   []dns.RR
		at    time.Time
		want  error
	}{
		"another tag":          {k.DNSKEY, sig(func(r *dns.RRSIG) { r.KeyTag++ }), owner, set, at, ErrMismatch},
		"another algorithm":    {k.DNSKEY, sig(func(r *dns.RRSIG) { r.Algorithm = ED25519 }), owner, set, at, ErrMismatch},
		"another signer":       {k.DNSKEY, sig(func(r *dns.RRSIG) { r.SignerName = "a.example." }), owner, set, at, ErrMismatch},
		"another type":         {k.DNSKEY, good, owner, []dns.RR{record(t, "a.example. 300 IN TXT x")}, at, ErrMismatch},
		"no records":           {k.DNSKEY, good, owner, nil, at, ErrMismatch},
		"owner outside":        {k.DNSKEY, good, parsed(t, "a.test."), set, at, ErrMismatch},
		"no zone key":          {key(func(k *dns.DNSKEY) { k.Flags = 1 }), good, owner, set, at, ErrMismatch},
		"another protocol":     {key(func(k *dns.DNSKEY) { k.Protocol = 2 }), good, owner, set, at, ErrMismatch},
		"too early":            {k.DNSKEY, good, owner, set, time.Unix(999, 0), ErrTime},
		"too late":             {k.DNSKEY, good, owner, set, time.Unix(2001, 0), ErrTime},
		"too many labels":      {k.DNSKEY, sig(func(r *dns.RRSIG) { r.Labels = 3 }), owner, set, at, ErrLabels},
		"fewer labels":         {k.DNSKEY, sig(func(r *dns.RRSIG) { r.Labels = 1 }), owner, set, at, ErrSignature},
		"another owner":        {k.DNSKEY, good, parsed(t, "b.example."), set, at, ErrSignature},
		"another TTL":          {k.DNSKEY, sig(func(r *dns.RRSIG) { r.OrigTtl++ }), owner, set, at, ErrSignature},
		"another expiration":   {k.DNSKEY, sig(func(r *dns.RRSIG) { r.Expiration++ }), owner, set, at, ErrSignature},
		"another address":      {k.DNSKEY, good, owner, []dns.RR{record(t, "a.example. 300 IN A 192.0.2.2")}, at, ErrSignature},
		"a short signature":    {k.DNSKEY, sig(func(r *dns.RRSIG) { r.Signature = r.Signature[4:] }), owner, set, at, ErrSignature},
		"a signature of zeros": {k.DNSKEY, sig(func(r *dns.RRSIG) { r.Signature = strings.Repeat("A", 86) + "==" }), owner, set, at, ErrSignature},
		"a point off the curve": {key(func(k *dns.DNSKEY) { k.PublicKey = strings.Repeat("B", 86) + "==" }),
			good, owner, set, at, nil},
	} {
		err := Verify(c.key, c.sig, c.owner, c.set, c.at)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	revoked := key(func(k *dns.DNSKEY) { k.Flags |= FlagRevoke })
	tag, _ := Tag(revoked)
	if err := Verify(revoked, sig(func(r *dns.RRSIG) { r.KeyTag = tag }), owner, set, at); !errors.Is(err, ErrMismatch) {
		t.Errorf("a revoked key: %v", err)
	}
	if err := Verify(k.DNSKEY, good, owner, set, at); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// A wildcard's signature holds for its expansions (RFC 4035, Section 5.3.2).
func TestWildcard(t *testing.T) {
	t.Parallel()
	k := testKey(t, parsed(t, "example."), 256, ED25519)
	sig := signed(t, k, parsed(t, "*.w.example."), record(t, "*.w.example. 300 IN TXT x"))
	if sig.Labels != 2 {
		t.Errorf("labels %d", sig.Labels)
	}
	for owner, want := range map[string]struct{ good, expanded bool }{
		"*.w.example.": {true, false}, "a.w.example.": {true, true}, "a.b.w.example.": {true, true},
		"w.example.": {false, false}, "a.x.example.": {false, true},
	} {
		n := parsed(t, owner)
		err := Verify(k.DNSKEY, sig, n, []dns.RR{record(t, owner+" 7 IN TXT x")}, time.Unix(1500, 0))
		if (err == nil) != want.good || Expanded(sig, n) != want.expanded {
			t.Errorf("%s: %v, expanded %v", owner, err, Expanded(sig, n))
		}
	}
}

// Canonical form is what the library packs of a normalised record.
func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`a\.B.example. 300 IN A 192.0.2.1`,
		`example. 300 IN SOA A\.b.example. \000.example. 1 2 3 4 5`,
		`example. 300 IN RRSIG A 13 1 300 20300101000000 20200101000000 1234 Example. AAEC`,
		`example. 300 IN NSEC A.Example. A RRSIG NSEC TYPE256 TYPE65535`,
		`example. 300 IN NSEC \000.example. A`,
		`example. 300 IN NSEC . TYPE1234`,
		`2t7b4g4vsa5smi47k61mv5bv1a22bojr.example. 300 IN NSEC3 1 1 0 - 2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3S A RRSIG`,
		`2t7b4g4vsa5smi47k61mv5bv1a22bojr.example. 300 IN NSEC3 1 1 12 AABB 2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3S`,
		`example. 300 IN TYPE65400 \# 3 010203`,
		`example. 300 IN DNSKEY 257 3 13 AAEC`,
	} {
		rr := record(t, text)
		room := make([]byte, 1000)
		n, err := dns.PackRR(rr, room, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		got, err := AppendRecord([]byte("before"), parsed(t, rr.Header().Name), 300, rr)
		if err != nil || !bytes.Equal(got, append([]byte("before"), room[:n]...)) {
			t.Errorf("%s:\n% x\nwant\n% x\n%v", text, got, room[:n], err)
		}
	}
	for what, rr := range map[string]dns.RR{
		"signature that is no base64": &dns.RRSIG{Hdr: dns.RR_Header{Rrtype: dns.TypeRRSIG}, SignerName: ".", Signature: "?"},
		"signer that is no name":      &dns.RRSIG{Hdr: dns.RR_Header{Rrtype: dns.TypeRRSIG}, SignerName: "a..b"},
		"next that is no name":        &dns.NSEC{Hdr: dns.RR_Header{Rrtype: dns.TypeNSEC}, NextDomain: "a..b"},
		"host that is no name":        &dns.NS{Hdr: dns.RR_Header{Rrtype: dns.TypeNS}, Ns: "a..b"},
		"mailbox that is no name":     &dns.SOA{Hdr: dns.RR_Header{Rrtype: dns.TypeSOA}, Ns: ".", Mbox: ".."},
		"primary that is no name":     &dns.SOA{Hdr: dns.RR_Header{Rrtype: dns.TypeSOA}, Ns: "..", Mbox: "."},
	} {
		if got, err := AppendRecord([]byte("before"), name.Root, 1, rr); err == nil || string(got) != "before" {
			t.Errorf("%s: %q %v", what, got, err)
		}
	}
}

func TestBitmapAgainstLibrary(t *testing.T) {
	t.Parallel()
	for _, types := range [][]uint16{nil, {1}, {1, 2, 6, 15, 46, 47, 48}, {255, 256, 257}, {65535}, {1, 1234, 65280}} {
		rr := &dns.NSEC{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNSEC, Class: 1}, NextDomain: ".", TypeBitMap: types}
		room := make([]byte, 1000)
		n, err := dns.PackRR(rr, room, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendBitmap([]byte{0}, types); !bytes.Equal(got, room[11:n]) {
			t.Errorf("%v: % x, want % x", types, got, room[11:n])
		}
	}
}

// The hashes of RFC 5155, Appendix A: salt AABBCCDD, 12 iterations.
func TestHash(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"example.": "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", "a.example.": "35mthgpgcu1qg68fab165klnsnk3dpvl",
		"*.w.example.": "r53bq7cc2uvmubfu5ocmm6pers9tk9en", "xx.example.": "t644ebqk9bibcna874givr6joj62mlhv",
	} {
		n := parsed(t, text)
		h := HashWith(n, []byte{0xaa, 0xbb, 0xcc, 0xdd}, 12)
		if got := string(AppendHash(nil, h)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if back, ok := ParseHash(strings.ToUpper(want)); !ok || back != h {
			t.Errorf("%s: read back as %x", want, back)
		}
		if plain := Hash(n); plain != HashWith(n, nil, 0) || strings.ToUpper(string(AppendHash(nil, plain))) != dns.HashName(text, 1, 0, "") {
			t.Errorf("%s: without salt %x", text, plain)
		}
	}
	for _, bad := range []string{"", "0p9mhaveqvm6t7vbl5lop2u3t2rp3to", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tow", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom0"} {
		if _, ok := ParseHash(bad); ok {
			t.Errorf("%q taken for a hash", bad)
		}
	}
	if owner, ok := HashOwner(Hash(name.Root), parsed(t, "example")); !ok || owner.Parent() != parsed(t, "example") {
		t.Error("owner", owner)
	}
	if _, ok := HashOwner(Hash(name.Root), parsed(t, strings.Repeat("a.", 112))); ok {
		t.Error("an owner name above 255 octets was made")
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	long := parsed(t, strings.Repeat("a.", 127))
	if got := testing.AllocsPerRun(100, func() { Hash(long) }); got != 0 {
		t.Errorf("hashing allocates %v times", got)
	}
}

// What an NSEC record covers, RFC 4034, Section 6.1 and 4.1.1.
func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		owner, next, n string
		want           bool
	}{
		{"b.example", "d.example", "c.example", true},
		{"b.example", "d.example", "a.b.example", true},
		{"b.example", "d.example", "b.example", false},
		{"b.example", "d.example", "d.example", false},
		{"b.example", "d.example", "a.example", false},
		{"b.example", "d.example", "e.example", false},
		{"b.example", "d.example", "a.d.example", false},
		{"b.example", "example", "c.example", true},
		{"b.example", "example", "a.example", false},
		{"b.example", "example", "example", false},
		{"b.example", "example", "b.example", false},
		{"b.example", "example", "c.test", false},
		{"example", "example", "a.example", true},
		{"example", "example", "example", false},
		{"example", "example", "test", false},
		{".", ".", "a", true},
		{".", ".", ".", false},
		{"b", ".", "c.d", true},
	} {
		if got := Covers(parsed(t, c.owner), parsed(t, c.next), parsed(t, c.n)); got != c.want {
			t.Errorf("%s %s covers %s: %v", c.owner, c.next, c.n, got)
		}
	}
}

func TestCoversHash(t *testing.T) {
	t.Parallel()
	h := func(c byte) (h [HashSize]byte) { h[19] = c; return h }
	for _, c := range []struct {
		owner, next, h byte
		want           bool
	}{
		{2, 5, 3, true},
		{2, 5, 2, false},
		{2, 5, 5, false},
		{2, 5, 1, false},
		{2, 5, 6, false},
		{5, 2, 6, true},
		{5, 2, 1, true},
		{5, 2, 3, false},
		{5, 2, 5, false},
		{5, 2, 2, false},
		{3, 3, 4, true},
		{3, 3, 2, true},
		{3, 3, 3, false},
	} {
		if got := CoversHash(h(c.owner), h(c.next), h(c.h)); got != c.want {
			t.Errorf("%d to %d covers %d: %v", c.owner, c.next, c.h, got)
		}
	}
}

// The examples of the RFCs that define the algorithms: key, DS, signature.
func TestRFCExamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rfc, key, ds, set, sig string }{
		{
			"6605, Section 6.1",
			"example.net. 3600 IN DNSKEY 257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
			"example.net. 3600 IN DS 55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
			"www.example.net. 3600 IN A 192.0.2.1",
			"www.example.net. 3600 IN RRSIG A 13 3 3600 20100909100439 20100812100439 55648 example.net. qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
		}, {
			"6605, Section 6.2",
			"example.net. 3600 IN DNSKEY 257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
			"example.net. 3600 IN DS 10771 14 4 72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0563a9b5f4d288405c3008a946df983d6",
			"www.example.net. 3600 IN A 192.0.2.1",
			"www.example.net. 3600 IN RRSIG A 14 3 3600 20100909102025 20100812102025 10771 example.net. /L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm",
		}, {
			"8080, Section 6.1",
			"example.com. 3600 IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
			"example.com. 3600 IN DS 3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
			"example.com. 3600 IN MX 10 mail.example.com.",
			"example.com. 3600 IN RRSIG MX 15 2 3600 1440021600 1438207200 3613 example.com. oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
		}, {
			"5702, Section 6.1",
			"example.net. 3600 IN DNSKEY 256 3 8 AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36BponcwtkZ4cAgtvd4Qs8PkxUdp6p/DlUmObdk=",
			"", "", "",
		},
	} {
		key := record(t, c.key).(*dns.DNSKEY)
		if c.ds == "" { // RFC 5702's key has 512 bits: read for its tag, refused for use
			if tag, err := Tag(key); err != nil || tag != 9033 {
				t.Errorf("%s: tag %d %v", c.rfc, tag, err)
			}
			if _, err := PublicKey(key); !errors.Is(err, ErrKey) {
				t.Errorf("%s: 512 bits taken: %v", c.rfc, err)
			}
			continue
		}
		want := record(t, c.ds).(*dns.DS)
		if ds, err := DS(parsed(t, key.Hdr.Name), key, want.DigestType); err != nil || ds.String() != want.String() {
			t.Errorf("%s: %v %v, want %v", c.rfc, ds, err, want)
		}
		set, sig := record(t, c.set), record(t, c.sig).(*dns.RRSIG)
		at := time.Unix(int64(sig.Inception)+1, 0)
		if err := Verify(key, sig, parsed(t, set.Header().Name), []dns.RR{set}, at); err != nil {
			t.Errorf("%s: %v", c.rfc, err)
		}
	}
}

func TestTagAgainstLibrary(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		k := record(t, "example. 1 IN DNSKEY 257 3 13 AAEC").(*dns.DNSKEY)
		octets := make([]byte, r.IntN(300))
		for i := range octets {
			octets[i] = byte(r.Uint32() | 0x80)
		}
		k.PublicKey = base64Of(octets)
		if tag, err := Tag(k); err != nil || tag != k.KeyTag() {
			t.Fatalf("%v: %d %v, the library %d", k, tag, err, k.KeyTag())
		}
	}
}

func TestKeyRefuses(t *testing.T) {
	t.Parallel()
	p256 := testKey(t, parsed(t, "example."), 257, ECDSAP256SHA256)
	p384 := testKey(t, parsed(t, "example."), 257, ECDSAP384SHA384)
	for _, alg := range []uint8{0, 5, 7, 10, RSASHA256, ECDSAP384SHA384, ED25519, 16} {
		if _, err := NewKey(p256.Zone, 257, alg, p256.Signer); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("a P-256 key for algorithm %d: %v", alg, err)
		}
	}
	if _, err := NewKey(p384.Zone, 257, ECDSAP256SHA256, p384.Signer); !errors.Is(err, ErrAlgorithm) {
		t.Error("a P-384 key for algorithm 13")
	}
	for _, public := range []string{"", "?", "AA==", "AAAA", "BAEAAQ==", "AwEAAQ=="} {
		k := &dns.DNSKEY{Algorithm: RSASHA256, PublicKey: public}
		if got, err := PublicKey(k); err == nil {
			t.Errorf("%q is an RSA key: %v", public, got)
		}
	}
	for alg, public := range map[uint8]string{ED25519: "AAEC", ECDSAP256SHA256: "", 5: "AAEC"} {
		if _, err := PublicKey(&dns.DNSKEY{Algorithm: alg, PublicKey: public}); err == nil {
			t.Errorf("%q is a key of algorithm %d", public, alg)
		}
	}
	if _, err := NewSignatory(Key{Alg: ED25519}); !errors.Is(err, ErrKey) {
		t.Errorf("a signatory without a private part: %v", err)
	}
	if _, err := NewSignatory(Key{Alg: 5, Signer: p256.Signer}); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("a signatory of algorithm 5: %v", err)
	}
	if _, err := DS(p256.Zone, p256.DNSKEY, dns.SHA1); !errors.Is(err, ErrAlgorithm) {
		t.Error("a DS with SHA-1")
	}
}

// token is a signer that gives whatever it is told to.
type token struct {
	crypto.Signer
	gives []byte
	err   error
}

func (k token) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return k.gives, k.err }

func TestUnusableSignatures(t *testing.T) {
	t.Parallel()
	rr := record(t, "example. 1 IN TXT x")
	broken := errors.New("token is gone")
	for what, c := range map[string]struct {
		alg   uint8
		token token
		want  error
	}{
		"error":              {ECDSAP256SHA256, token{err: broken}, broken},
		"nothing":            {ECDSAP256SHA256, token{}, ErrToken},
		"no sequence":        {ECDSAP256SHA256, token{gives: []byte{2, 1, 1}}, ErrToken},
		"one number":         {ECDSAP256SHA256, token{gives: []byte{0x30, 3, 2, 1, 1}}, ErrToken},
		"a negative number":  {ECDSAP256SHA256, token{gives: []byte{0x30, 6, 2, 1, 0xff, 2, 1, 1}}, ErrToken},
		"a number too long":  {ECDSAP256SHA256, token{gives: append([]byte{0x30, 38, 2, 33, 1}, append(make([]byte, 32), 2, 1, 1)...)}, ErrToken},
		"something after":    {ECDSAP256SHA256, token{gives: []byte{0x30, 6, 2, 1, 1, 2, 1, 1, 0}}, ErrToken},
		"short Ed25519":      {ED25519, token{gives: make([]byte, 63)}, ErrToken},
		"nothing of RSA":     {RSASHA256, token{}, ErrToken},
		"small numbers, raw": {ECDSAP384SHA384, token{gives: []byte{0x30, 6, 2, 1, 1, 2, 1, 2}}, nil},
	} {
		k := testKey(t, parsed(t, "example."), 257, c.alg)
		c.token.Signer = k.Signer
		k.Signer = c.token
		s, err := NewSignatory(k)
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.Sign(k.Zone, &zone.RRset{Type: dns.TypeTXT, TTL: 1, RRs: []dns.RR{rr}}, 1, 2)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if c.want == nil && (len(data) != 18+len(k.Zone)+96 || data[len(data)-1] != 2 || data[len(data)-49] != 1) {
			t.Errorf("%s: % x", what, data)
		}
	}
}

func TestKeyNeverPrints(t *testing.T) {
	t.Parallel()
	k := testKey(t, parsed(t, "example."), 257, ECDSAP256SHA256)
	private, err := k.Signer.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	number := new(big.Int).SetBytes(private)
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %d %x", k, k, k, k, k, k), string(text), k.LogValue().String(), fmt.Sprintf("%v %+v", []Key{k}, struct{ K Key }{k})} {
		if strings.Contains(shown, number.String()) || strings.Contains(shown, number.Text(16)) || !strings.Contains(shown, "example./13/") {
			t.Errorf("prints %s", shown)
		}
	}
}

// The set that a signature is made over stays in the buffer: signing costs
// what the signer itself costs.
func TestSignAllocatesNothingItself(t *testing.T) {
	k := testKey(t, parsed(t, "example."), 257, ECDSAP256SHA256)
	k.Signer = token{Signer: k.Signer, gives: []byte{0x30, 6, 2, 1, 1, 2, 1, 1}}
	s, err := NewSignatory(k)
	if err != nil {
		t.Fatal(err)
	}
	set := &zone.RRset{Type: dns.TypeA, TTL: 1, RRs: []dns.RR{record(t, "a.example. 1 IN A 192.0.2.1"), record(t, "a.example. 1 IN A 192.0.2.2")}}
	owner := parsed(t, "a.example.")
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Sign(owner, set, 1, 2) }); got > 1 { // the digest, which the signer might keep
		t.Errorf("%v allocations", got)
	}
}

func base64Of(octets []byte) string {
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeDNSKEY, Class: 1}}
	wire := append([]byte{1, 1, 3, 13}, octets...)
	k.Hdr.Rdlength = uint16(len(wire))
	rr, _, err := dns.UnpackRRWithHeader(k.Hdr, wire, 0)
	if err != nil {
		return ""
	}
	return rr.(*dns.DNSKEY).PublicKey
}
