package validate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// maker signs single sets for one zone.
type maker struct {
	t      testing.TB
	zone   name.Name
	key    dnssec.Key
	begins time.Time
	ends   time.Time
}

func newMaker(t testing.TB, origin string) *maker {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dnssec.NewKey(parsed(t, origin), 257, dnssec.ECDSAP256SHA256, private)
	if err != nil {
		t.Fatal(err)
	}
	return &maker{t, parsed(t, origin), key, now.Add(-time.Hour), now.Add(24 * time.Hour)}
}

func (m *maker) records(lines ...string) []dns.RR {
	m.t.Helper()
	var out []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR("$ORIGIN " + m.zone.String() + "\n" + line)
		if err != nil || rr == nil {
			m.t.Fatalf("%q: %v", line, err)
		}
		if rr, _, err = zone.Normalise(rr); err != nil {
			m.t.Fatalf("%q: %v", line, err)
		}
		out = append(out, rr)
	}
	return out
}

// sign returns the records, which are one set, and a signature over them.
func (m *maker) sign(rrs ...dns.RR) []dns.RR {
	m.t.Helper()
	s, err := dnssec.NewSignatory(m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	h := rrs[0].Header()
	owner := parsed(m.t, h.Name)
	set := &zone.RRset{Type: h.Rrtype, TTL: h.Ttl, RRs: rrs}
	rdata, err := s.Sign(owner, set, uint32(m.begins.Unix()), uint32(m.ends.Unix()))
	if err != nil {
		m.t.Fatal(err)
	}
	sig, err := dnssec.Record(owner, h.Ttl, rdata)
	if err != nil {
		m.t.Fatal(err)
	}
	return append(rrs[:len(rrs):len(rrs)], sig)
}

func (m *maker) set(lines ...string) []dns.RR { m.t.Helper(); return m.sign(m.records(lines...)...) }

func (m *maker) anchor() Trust {
	return Anchor{Zone: m.zone, Keys: []*dns.DNSKEY{m.key.DNSKEY}}.Trust()
}

// keyset is the zone's signed DNSKEY set, with more keys in it.
func (m *maker) keyset(more ...*dns.DNSKEY) *dns.Msg {
	rrs := []dns.RR{withTTL(m.key.DNSKEY, 3600)}
	for _, k := range more {
		rrs = append(rrs, withTTL(k, 3600))
	}
	return &dns.Msg{Answer: m.sign(rrs...)}
}

func withTTL(rr dns.RR, ttl uint32) dns.RR {
	c := dns.Copy(rr)
	c.Header().Ttl = ttl
	return c
}

// keys returns the zone's keys as judged.
func (m *maker) keys(more ...*dns.DNSKEY) Keys {
	m.t.Helper()
	k, v := New(Limits{}).Keys(m.anchor(), m.keyset(more...), now)
	if v.Security != Secure {
		m.t.Fatal(v)
	}
	return k
}

// hashed is the line of an NSEC3 record for the hashes of names; next is the
// hash of a name too.
func hashed(m *maker, at, next string, flags, iterations int, types string) string {
	h := func(n string) string {
		n = dns.Fqdn(n)
		if n != m.zone.String() {
			n = strings.TrimSuffix(n, ".") + "." + m.zone.String()
		}
		return dns.HashName(n, dns.SHA1, uint16(iterations), "")
	}
	return h(at) + " 300 NSEC3 1 " + itoa(flags) + " " + itoa(iterations) + " - " + h(next) + " " + types
}

func itoa(n int) string {
	if n == 0 {
		return "0"
	}
	var b []byte
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func msg(rcode int, answer, authority []dns.RR) *dns.Msg {
	return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode, Response: true}, Answer: answer, Ns: authority}
}

func join(sets ...[]dns.RR) []dns.RR {
	var out []dns.RR
	for _, s := range sets {
		out = append(out, s...)
	}
	return out
}

// sameTag makes a key that is none, with the tag of another.
func sameTag(t testing.TB, k *dns.DNSKEY, seed byte) *dns.DNSKEY {
	t.Helper()
	want, err := dnssec.Tag(k)
	if err != nil {
		t.Fatal(err)
	}
	c := dns.Copy(k).(*dns.DNSKEY)
	octets := make([]byte, 64)
	octets[0], octets[2] = seed, 7
	tagWith := func(word uint16) uint16 {
		octets[62], octets[63] = byte(word>>8), byte(word)
		c.PublicKey = base64.StdEncoding.EncodeToString(octets)
		tag, err := dnssec.Tag(c)
		if err != nil {
			t.Fatal(err)
		}
		return tag
	}
	guess := want - tagWith(0) // the tag is a sum of words, but for a carry
	for _, word := range []uint16{guess, guess - 1, guess + 1} {
		if tagWith(word) == want {
			return c
		}
	}
	t.Fatal("no key with this tag")
	return nil
}

// rsa512 is a signature that dnssec verifies and never makes.
func rsa512(t testing.TB, origin string, rrs []dns.RR) (*dns.DNSKEY, *dns.RRSIG) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: origin, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600}, Flags: 257, Protocol: 3, Algorithm: dns.RSASHA512}
	k.PublicKey = base64.StdEncoding.EncodeToString(append([]byte{3, 1, 0, 1}, private.N.Bytes()...))
	sig := &dns.RRSIG{
		Hdr: dns.RR_Header{Name: rrs[0].Header().Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: rrs[0].Header().Ttl}, Algorithm: dns.RSASHA512, KeyTag: k.KeyTag(), SignerName: origin,
		Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(time.Hour).Unix()),
	}
	if err := sig.Sign(private, rrs); err != nil {
		t.Fatal(err)
	}
	_ = sha512.Size // linked, for crypto.SHA512
	return k, sig
}
