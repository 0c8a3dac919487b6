package attest

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

type change func([]dns.RR) []dns.RR

// at finds records by owner and type; type RRSIG/A are the signatures over A.
func at(owner, rrtype string) func(dns.RR) bool {
	if owner == "@" {
		owner = "example."
	} else if !strings.HasSuffix(owner, ".") {
		owner += ".example."
	}
	rrtype, covered, _ := strings.Cut(rrtype, "/")
	return func(rr dns.RR) bool {
		s, ok := rr.(*dns.RRSIG)
		return rr.Header().Name == owner && dns.Type(rr.Header().Rrtype).String() == rrtype && (!ok || dns.Type(s.TypeCovered).String() == covered)
	}
}

func drop(which func(dns.RR) bool) change {
	return func(rrs []dns.RR) []dns.RR { return slices.DeleteFunc(rrs, which) }
}

// alter changes copies of the records.
func alter[T dns.RR](which func(dns.RR) bool, how func(T)) change {
	return func(rrs []dns.RR) []dns.RR {
		for i, rr := range rrs {
			if which(rr) {
				rrs[i] = dns.Copy(rr)
				how(rrs[i].(T))
			}
		}
		return rrs
	}
}

func plus(t *testing.T, text string) change {
	rrs := parseRecords(t, "$TTL 3600\n"+text)
	return func(to []dns.RR) []dns.RR { return append(to, rrs...) }
}

func both(changes ...change) change {
	return func(rrs []dns.RR) []dns.RR {
		for _, c := range changes {
			rrs = c(rrs)
		}
		return rrs
	}
}

type mutation struct {
	name          string
	prepare       func(m *maker)
	before, after change
	context       Context
	now           time.Time
	want          string
}

func (c mutation) run(t *testing.T, m *maker) {
	t.Helper()
	if c.prepare != nil {
		c.prepare(m)
	}
	if c.now.IsZero() {
		c.now = testNow
	}
	got := Check(m.sign(t, parseRecords(t, oddZone), c.before, c.after), c.now, c.context)
	if text := strings.Join(codes(got), " "); text != c.want {
		t.Errorf("%s: %q, want %q", c.name, text, c.want)
		for _, p := range got {
			t.Log(p)
		}
	}
}

func sigAlter(owner, covered string, how func(*dns.RRSIG)) change {
	return alter(at(owner, "RRSIG/"+covered), how)
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	second := func(m *maker, flags uint16, hidden bool) {
		k := newKeyPair(t, flags, dns.ECDSAP256SHA256)
		k.hidden = hidden
		m.keys = append(m.keys, k)
	}
	outside := newKeyPair(t, 256, dns.ECDSAP256SHA256)
	outside.hidden = true
	told := Context{Outside: []*dns.DNSKEY{outside.rr}}
	sigBy := func(owner, covered string, k makerKey) func(dns.RR) bool {
		return func(rr dns.RR) bool {
			s, ok := rr.(*dns.RRSIG)
			return ok && at(owner, "RRSIG/"+covered)(rr) && s.KeyTag == k.rr.KeyTag()
		}
	}
	unix := func(d time.Duration) uint32 { return uint32(testNow.Add(d).Unix()) }
	for _, c := range []mutation{
		{name: "good", want: ""},
		{name: "keys dropped", after: drop(at("@", "DNSKEY")), want: "dnskey-missing"},
		{name: "no signature", after: drop(at("mail", "RRSIG/A")), want: "sig-missing"},
		{name: "no signature over a DS", after: drop(at("secure", "RRSIG/DS")), want: "sig-missing"},
		{name: "no signature over an NSEC at a delegation", after: drop(at("loose", "RRSIG/NSEC")), want: "sig-missing"},
		{name: "no signature over the keys", after: drop(at("@", "RRSIG/DNSKEY")), want: "sig-missing"},
		{name: "record altered", after: alter(at("mail", "A"), func(r *dns.A) { r.A[3]++ }), want: "sig-wrong"},
		{name: "record added", after: plus(t, "mail A 192.0.2.99"), want: "sig-wrong"},
		{name: "record dropped", after: drop(func(rr dns.RR) bool {
			ns, ok := rr.(*dns.NS)
			return ok && ns.Ns == "ns1.example." && ns.Hdr.Name == "example."
		}), want: "sig-wrong"},
		{name: "DS altered", after: alter(at("secure", "DS"), func(r *dns.DS) { r.KeyTag++ }), want: "sig-wrong"},
		{name: "signature altered", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Signature = "AAAA" + s.Signature[4:] }), want: "sig-wrong"},
		{name: "signature cut", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Signature = s.Signature[:80] }), want: "sig-wrong"},
		{name: "inception altered", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Inception-- }), want: "sig-wrong"},
		{name: "signature of another name", after: func(rrs []dns.RR) []dns.RR {
			other := slices.IndexFunc(rrs, at("ns1", "RRSIG/A"))
			return sigAlter("mail", "A", func(s *dns.RRSIG) { s.Signature = rrs[other].(*dns.RRSIG).Signature })(rrs)
		}, want: "sig-wrong"},
		{name: "signer", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.SignerName = "net." }), want: "sig-signer"},
		{name: "fewer labels", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Labels-- }), want: "sig-labels"},
		{name: "asterisk counted", after: sigAlter("*.wild", "TXT", func(s *dns.RRSIG) { s.Labels++ }), want: "sig-labels"},
		{name: "original TTL", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.OrigTtl++ }), want: "sig-ttl"},
		{name: "TTL of the signature", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Hdr.Ttl++ }), want: "sig-ttl"},
		{name: "TTL of the set", after: alter(at("mail", "A"), func(r *dns.A) { r.Hdr.Ttl-- }), want: "sig-ttl"},
		{name: "expired", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Expiration = unix(-time.Second) }), want: "sig-expired"},
		{name: "expired by a wrapped clock", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Expiration = unix(0) + 1<<31 + 1 }), want: "sig-expired"},
		{name: "early", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Inception = unix(time.Second) }), want: "sig-early"},
		{name: "short for SOA expire and TTL", now: testNow.AddDate(0, 0, 14).Add(-86400*time.Second - 3599*time.Second), want: "sig-short"},
		{name: "just long enough", now: testNow.AddDate(0, 0, 14).Add(-86400*time.Second - 3600*time.Second)},
		{name: "short for what was asked", context: Context{Remaining: 15 * 24 * time.Hour}, want: "sig-short"},
		{name: "good now is enough", now: testNow.AddDate(0, 0, 14), context: Context{Remaining: -1}},
		{name: "key tag", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.KeyTag++ }), want: "sig-key"},
		{name: "algorithm of the signature", after: sigAlter("mail", "A", func(s *dns.RRSIG) { s.Algorithm = 14 }), want: "sig-algorithm sig-key"},
		{name: "key that is not published", prepare: func(m *maker) { m.keys[1].hidden = true }, want: "sig-key"},
		{name: "key beside it that is not published", prepare: func(m *maker) { second(m, 256, true) }, want: "sig-key"},
		{name: "the same in another's zone", prepare: func(m *maker) { second(m, 256, true) }, context: Context{Presigned: true}},
		{name: "key outside the set", prepare: func(m *maker) { m.keys = append(m.keys, outside) }, context: told},
		{name: "key outside the set, with wrong signatures", prepare: func(m *maker) { m.keys = append(m.keys, outside) }, context: told,
			after: alter(sigBy("mail", "A", outside), func(s *dns.RRSIG) { s.Inception-- }), want: "sig-wrong"},
		{name: "nothing but a key outside the set", prepare: func(m *maker) { m.keys = append(m.keys, outside) }, context: told,
			after: drop(func(rr dns.RR) bool { return at("mail", "RRSIG/A")(rr) && !sigBy("mail", "A", outside)(rr) }), want: "sig-missing"},
		{name: "told of a key that is in the set", prepare: func(m *maker) { m.keys = append(m.keys, makerKey{rr: outside.rr, private: outside.private}) }, context: told,
			after: drop(func(rr dns.RR) bool { return at("mail", "RRSIG/A")(rr) && !sigBy("mail", "A", outside)(rr) })},
		{name: "told of a key that does not sign", context: told},
		{name: "standby keys", prepare: func(m *maker) { second(m, 256, false); second(m, 257, false) }},
		{name: "NS of a delegation signed", prepare: func(m *maker) {
			m.wrapped = func(n name.Name, t uint16) bool { return n.First() == "loose" && t == dns.TypeNS }
		}, want: "sig-cut"},
		{name: "glue signed", prepare: func(m *maker) { m.wrapped = func(n name.Name, t uint16) bool { return n.Parent().First() == "loose" } }, want: "sig-below"},
		{name: "signature over nothing", after: func(rrs []dns.RR) []dns.RR {
			s := dns.Copy(rrs[slices.IndexFunc(rrs, at("mail", "RRSIG/A"))]).(*dns.RRSIG)
			s.TypeCovered = dns.TypeAAAA
			return append(rrs, s)
		}, want: "sig-orphan"},
		{name: "signature over signatures", after: func(rrs []dns.RR) []dns.RR {
			s := dns.Copy(rrs[slices.IndexFunc(rrs, at("mail", "RRSIG/A"))]).(*dns.RRSIG)
			s.TypeCovered = dns.TypeRRSIG
			return append(rrs, s)
		}, want: "sig-orphan"},
	} {
		c.run(t, newMaker(t))
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	rsa, other := newKeyPair(t, 257, dns.RSASHA256), newKeyPair(t, 257, dns.ED25519)
	m := newMaker(t)
	ds := func(k makerKey) *dns.DS { return k.rr.ToDS(dns.SHA256) }
	replace := func(flags uint16) func(*maker) {
		return func(m *maker) { m.keys = []makerKey{newKeyPair(t, flags, dns.ECDSAP256SHA256)} }
	}
	wrong := ds(m.keys[0])
	wrong.Digest = strings.Repeat("0", len(wrong.Digest))
	for _, c := range []mutation{
		{name: "one key for all", prepare: replace(257)},
		{name: "no SEP flag", prepare: replace(256), want: "dnskey-sep"},
		{name: "no SEP flag in another's zone", prepare: replace(256), context: Context{Presigned: true}},
		{name: "no zone key", prepare: replace(1), want: "dnskey-bad dnskey-missing"},
		{name: "protocol", after: alter(at("@", "DNSKEY"), func(k *dns.DNSKEY) { k.Protocol = 2 }), want: "dnskey-bad dnskey-missing"},
		{name: "no key in the key", after: alter(at("@", "DNSKEY"), func(k *dns.DNSKEY) { k.PublicKey = "AAAA" }), want: "dnskey-bad dnskey-missing"},
		{name: "revoked", prepare: func(m *maker) {
			m.keys = append(m.keys, newKeyPair(t, 257|dns.REVOKE, dns.ECDSAP256SHA256))
		}},
		{name: "key set signed by the zone key alone", after: both(drop(at("@", "RRSIG/DNSKEY")), func(rrs []dns.RR) []dns.RR {
			var set []dns.RR
			for _, rr := range rrs {
				if at("@", "DNSKEY")(rr) {
					set = append(set, rr)
				}
			}
			zsk := &maker{keys: m.keys[1:2]}
			return append(rrs, zsk.signSet(t, exampleName, dns.TypeDNSKEY, set)...)
		}), want: "dnskey-sep"},
		{name: "unknown algorithm", before: plus(t, "@ DNSKEY 257 3 16 AAAA"), want: "algorithm-unknown"},
		{name: "weak", prepare: func(m *maker) { m.keys = []makerKey{rsa} }, want: "key-weak"},
		{name: "SHA-1", prepare: func(m *maker) { m.keys = []makerKey{newKeyPair(t, 257, dns.RSASHA1)} }, want: "algorithm-old"},
		{name: "second algorithm without signatures", before: func(rrs []dns.RR) []dns.RR { return append(rrs, other.rr) }, want: "sig-algorithm"},
		{name: "DS", context: Context{DS: []*dns.DS{ds(m.keys[0])}}},
		{name: "one DS of several", context: Context{DS: []*dns.DS{wrong, ds(m.keys[0])}}},
		{name: "DS of a key that does not sign the keys", context: Context{DS: []*dns.DS{ds(m.keys[1])}}, want: "ds-unmatched"},
		{name: "DS with another digest", context: Context{DS: []*dns.DS{wrong}}, want: "ds-unmatched"},
		{name: "DS of another key", context: Context{DS: []*dns.DS{ds(other)}}, want: "ds-unmatched"},
		{name: "DS of another algorithm too", context: Context{DS: []*dns.DS{ds(m.keys[0]), ds(other)}}, want: "ds-algorithm"},
		{name: "DS at the apex", before: plus(t, "@ DS 1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), want: "ds-apex nsec-bitmap"},
		{name: "CDS", before: childSigning(m, true, true), want: "nsec-bitmap"},
		{name: "CDS alone", before: childSigning(m, true, false), want: "cdnskey-missing nsec-bitmap"},
		{name: "CDNSKEY alone", before: childSigning(m, false, true), want: "cds-missing nsec-bitmap"},
		{name: "CDS of another key", before: both(childSigning(m, false, true), plus(t, "@ CDS 1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")), want: "cds-unmatched nsec-bitmap"},
		{name: "removal", before: plus(t, "@ CDS 0 0 0 00\n@ CDNSKEY 0 3 0 AA=="), want: "nsec-bitmap"},
		{name: "removal in another form", before: plus(t, "@ CDS 1 0 0 00\n@ CDNSKEY 256 3 0 AA=="), want: "cds-delete nsec-bitmap"},
		{name: "CDS signed by the zone key", before: childSigning(m, true, true), after: func(rrs []dns.RR) []dns.RR {
			zsk := &maker{keys: m.keys[1:2]}
			cds := slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool { return !at("@", "CDS")(rr) })
			return append(drop(at("@", "RRSIG/CDS"))(rrs), zsk.signSet(t, exampleName, dns.TypeCDS, cds)...)
		}, want: "cds-signer nsec-bitmap"},
		{name: "CDS signed by a key that the parent does not have", prepare: func(m *maker) { m.keys = append(m.keys, newKeyPair(t, 257, dns.ECDSAP256SHA256)) },
			before: childSigning(m, true, true), context: Context{DS: []*dns.DS{ds(m.keys[0])}},
			after: drop(func(rr dns.RR) bool {
				s, ok := rr.(*dns.RRSIG)
				return ok && s.TypeCovered == dns.TypeCDS && s.KeyTag == m.keys[0].rr.KeyTag()
			}), want: "cds-signer nsec-bitmap"},
		{name: "removal and not", before: both(childSigning(m, true, true), plus(t, "@ CDS 0 0 0 00")), want: "cds-delete nsec-bitmap"},
	} {
		one := *m
		c.run(t, &one)
	}
}

// childSigning adds CDS and CDNSKEY of the first key. They come after the chain
// was made, which does not tell of them.
func childSigning(m *maker, cds, cdnskey bool) change {
	return func(rrs []dns.RR) []dns.RR {
		if cds {
			r := &dns.CDS{DS: *m.keys[0].rr.ToDS(dns.SHA256)}
			r.Hdr = header("example.", dns.TypeCDS, 3600)
			rrs = append(rrs, r)
		}
		if cdnskey {
			r := &dns.CDNSKEY{DNSKEY: *m.keys[0].rr}
			r.Hdr = header("example.", dns.TypeCDNSKEY, 3600)
			rrs = append(rrs, r)
		}
		return rrs
	}
}

func TestNSECChain(t *testing.T) {
	t.Parallel()
	nsec := func(owner string, how func(*dns.NSEC)) change { return alter(at(owner, "NSEC"), how) }
	without := func(types []uint16, t uint16) []uint16 {
		return slices.DeleteFunc(slices.Clone(types), func(x uint16) bool { return x == t })
	}
	for _, c := range []mutation{
		{name: "no chain", prepare: func(m *maker) { m.plain = true }, want: "denial-none"},
		{name: "one missing", before: drop(at("mail", "NSEC")), want: "nsec-missing"},
		{name: "missing at a delegation", before: drop(at("loose", "NSEC")), want: "nsec-missing"},
		{name: "missing at a wildcard", before: drop(at("*.wild", "NSEC")), want: "nsec-missing"},
		{name: "at an empty non-terminal", before: plus(t, "gap NSEC under.gap.example. RRSIG NSEC"), want: "nsec-extra"},
		{name: "at glue", before: plus(t, "ns.loose 300 NSEC mail.example. A RRSIG NSEC"), want: "nsec-extra"},
		{name: "several", before: plus(t, "mail 300 NSEC ns1.example. A RRSIG NSEC"), want: "nsec-next nsec-several"},
		{name: "passes over a name", before: nsec("mail", func(n *dns.NSEC) { n.NextDomain = "ns1.example." }), want: "nsec-next"},
		{name: "leads to itself", before: nsec("mail", func(n *dns.NSEC) { n.NextDomain = "mail.example." }), want: "nsec-next"},
		{name: "is not closed", before: nsec("*.wild", func(n *dns.NSEC) { n.NextDomain = "zzz.example." }), want: "nsec-next"},
		{name: "last is closed wrong", before: nsec("host.wild", func(n *dns.NSEC) { n.NextDomain = "mail.example." }), want: "nsec-next"},
		{name: "leads into glue", before: nsec("loose", func(n *dns.NSEC) { n.NextDomain = "ns.loose.example." }), want: "nsec-next"},
		{name: "upper case", before: nsec("loose", func(n *dns.NSEC) { n.NextDomain = strings.ToUpper(n.NextDomain) })},
		{name: "bit missing", before: nsec("mail", func(n *dns.NSEC) { n.TypeBitMap = without(n.TypeBitMap, dns.TypeA) }), want: "nsec-bitmap"},
		{name: "bit too many", before: nsec("mail", func(n *dns.NSEC) { n.TypeBitMap = []uint16{1, 15, 46, 47} }), want: "nsec-bitmap"},
		{name: "no RRSIG bit", before: nsec("mail", func(n *dns.NSEC) { n.TypeBitMap = without(n.TypeBitMap, dns.TypeRRSIG) }), want: "nsec-bitmap"},
		{name: "no DS bit", before: nsec("secure", func(n *dns.NSEC) { n.TypeBitMap = without(n.TypeBitMap, dns.TypeDS) }), want: "nsec-bitmap"},
		{name: "SOA bit at a delegation", before: nsec("loose", func(n *dns.NSEC) { n.TypeBitMap = []uint16{2, 6, 46, 47} }), want: "nsec-bitmap"},
		{name: "TTL", before: nsec("mail", func(n *dns.NSEC) { n.Hdr.Ttl = 3600 }), want: "nsec-ttl"},
		{name: "altered after signing", after: nsec("mail", func(n *dns.NSEC) { n.TypeBitMap = without(n.TypeBitMap, dns.TypeA) }), want: "nsec-bitmap sig-wrong"},
		{name: "both kinds", before: plus(t, hashOwner("mail.example.")+" 300 NSEC3 1 0 0 - "+after32(dns.HashName("x.", 1, 0, ""))+" A"), want: "denial-both nsec3-param"},
	} {
		c.run(t, newMaker(t))
	}
}

func TestNSEC3Chain(t *testing.T) {
	t.Parallel()
	of := func(owner string) func(dns.RR) bool { return at(hashOwner(owner), "NSEC3") }
	nsec3 := func(owner string, how func(*dns.NSEC3)) change { return alter(of(owner), how) }
	all := func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNSEC3 }
	optOut := func(m *maker) { m.optOut = true }
	for _, c := range []mutation{
		{name: "good"},
		{name: "opt-out not asked for", prepare: optOut, want: "nsec3-optout"},
		{name: "opt-out", prepare: optOut, context: Context{OptOut: true}},
		{name: "one record opts out", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.Flags = 1 }), want: "nsec3-optout"},
		{name: "left out and no opt-out", prepare: optOut, before: alter(all, func(n *dns.NSEC3) { n.Flags = 0 }), want: "nsec3-missing"},
		{name: "one missing", before: drop(of("mail.example.")), want: "nsec3-missing nsec3-next"},
		{name: "empty non-terminal missing", before: drop(of("d.example.")), want: "nsec3-missing nsec3-next"},
		{name: "delegation missing", before: drop(of("loose.example.")), want: "nsec3-missing nsec3-next"},
		{name: "secure delegation left out", prepare: optOut, before: drop(of("secure.example.")), context: Context{OptOut: true}, want: "nsec3-missing nsec3-next"},
		{name: "empty non-terminal above data left out", prepare: optOut, before: drop(of("gap2.example.")), context: Context{OptOut: true}, want: "nsec3-missing nsec3-next"},
		{name: "of no name", before: plus(t, hashOwner("nothing.example.")+" 300 NSEC3 1 0 0 - "+dns.HashName("x.", 1, 0, "")+" A"), want: "nsec3-extra nsec3-next"},
		{name: "of glue", before: plus(t, hashOwner("ns.loose.example.")+" 300 NSEC3 1 0 0 - "+dns.HashName("x.", 1, 0, "")+" A"), want: "nsec3-extra nsec3-next"},
		{name: "several", before: plus(t, hashOwner("mail.example.")+" 300 NSEC3 1 0 0 - "+dns.HashName("x.", 1, 0, "")+" A RRSIG"), want: "nsec3-extra nsec3-next nsec3-several"},
		{name: "next", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.NextDomain = after32(n.NextDomain) }), want: "nsec3-next"},
		{name: "not closed", before: func(rrs []dns.RR) []dns.RR {
			last := dns.RR(nil)
			for _, rr := range rrs {
				if all(rr) && (last == nil || rr.Header().Name > last.Header().Name) {
					last = rr
				}
			}
			return alter(func(rr dns.RR) bool { return rr == last }, func(n *dns.NSEC3) { n.NextDomain = after32(n.Hdr.Name[:32]) })(rrs)
		}, want: "nsec3-next"},
		{name: "bit missing", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.TypeBitMap = []uint16{46} }), want: "nsec3-bitmap"},
		{name: "bit too many", before: nsec3("d.example.", func(n *dns.NSEC3) { n.TypeBitMap = []uint16{1} }), want: "nsec3-bitmap"},
		{name: "RRSIG bit at an insecure delegation", before: nsec3("loose.example.", func(n *dns.NSEC3) { n.TypeBitMap = []uint16{2, 46} }), want: "nsec3-bitmap"},
		{name: "no RRSIG bit at a secure one", before: nsec3("secure.example.", func(n *dns.NSEC3) { n.TypeBitMap = []uint16{2, 43} }), want: "nsec3-bitmap"},
		{name: "TTL", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.Hdr.Ttl = 3600 }), want: "nsec3-ttl"},
		{name: "flags", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.Flags = 2 }), want: "nsec3-flags"},
		{name: "hash", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.Hash = 2 }), want: "nsec3-missing nsec3-next nsec3-owner"},
		{name: "owner", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.Hdr.Name = "mail2.example." }), want: "nsec3-missing nsec3-next nsec3-owner"},
		{name: "owner below", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.Hdr.Name = n.Hdr.Name[:33] + "mail.example." }), want: "nsec3-missing nsec3-next nsec3-owner"},
		{name: "other data", before: plus(t, hashOwner("mail.example.")+" TXT t"), want: "nsec3-mixed"},
		{name: "other salt in one", before: nsec3("mail.example.", func(n *dns.NSEC3) { n.Salt, n.SaltLength = "ab", 1 }), want: "nsec3-missing nsec3-next nsec3-param"},
		{name: "no NSEC3PARAM", before: drop(at("@", "NSEC3PARAM")), want: "nsec3-param"},
		{name: "flags of NSEC3PARAM", before: alter(at("@", "NSEC3PARAM"), func(p *dns.NSEC3PARAM) { p.Flags = 1 }), want: "nsec3-param"},
		{name: "another NSEC3PARAM", before: plus(t, "@ 0 NSEC3PARAM 1 0 5 ab"), context: Context{Presigned: true}, want: "nsec3-param"},
		{name: "no records", before: drop(all), want: "nsec3-param"},
		{name: "iterations", prepare: func(m *maker) { m.nsec3 = &dns.NSEC3PARAM{Hdr: noSalt.Hdr, Hash: 1, Iterations: 3} }, want: "nsec3-iterations"},
		{name: "salt", prepare: func(m *maker) { m.nsec3 = &dns.NSEC3PARAM{Hdr: noSalt.Hdr, Hash: 1, Salt: "aabb", SaltLength: 2} }, want: "nsec3-salt"},
		{name: "salt and iterations of others", prepare: func(m *maker) {
			m.nsec3 = &dns.NSEC3PARAM{Hdr: noSalt.Hdr, Hash: 1, Iterations: 12, Salt: "aabb", SaltLength: 2}
		}, context: Context{Presigned: true}},
		{name: "too many iterations of others", prepare: func(m *maker) { m.nsec3 = &dns.NSEC3PARAM{Hdr: noSalt.Hdr, Hash: 1, Iterations: 101} }, context: Context{Presigned: true}, want: "nsec3-iterations"},
		{name: "both kinds", before: plus(t, "mail 300 NSEC ns1.example. A RRSIG NSEC"), want: "denial-both"},
	} {
		m := newMaker(t)
		m.nsec3 = noSalt
		c.run(t, m)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	zonemd := func(how func(*dns.ZONEMD)) change { return alter(at("@", "ZONEMD"), how) }
	for _, c := range []mutation{
		{name: "good", context: Context{ZONEMD: true}},
		{name: "missing", prepare: func(m *maker) { m.zonemd = false }, context: Context{ZONEMD: true}, want: "zonemd-missing"},
		{name: "not asked for", prepare: func(m *maker) { m.zonemd = false }},
		{name: "altered", after: zonemd(func(z *dns.ZONEMD) { z.Digest = "00" + z.Digest[2:] }), want: "sig-wrong zonemd-digest"},
		{name: "glue altered", after: alter(at("ns.loose", "A"), func(a *dns.A) { a.A[3]++ }), want: "zonemd-digest"},
		{name: "glue dropped", after: drop(at("x.y.loose", "A")), want: "zonemd-digest"},
		{name: "serial", prepare: func(m *maker) { m.serial = 7 }, want: "zonemd-serial"},
		{name: "scheme", before: zonemd(func(z *dns.ZONEMD) { z.Scheme = 240 }), want: "zonemd-unknown"},
		{name: "hash", before: zonemd(func(z *dns.ZONEMD) { z.Hash = 240 }), want: "zonemd-unknown"},
		{name: "cut", before: zonemd(func(z *dns.ZONEMD) { z.Digest = z.Digest[:24] }), want: "zonemd-digest"},
		{name: "repeated", before: plus(t, "@ ZONEMD 1 1 1 "+strings.Repeat("ab", 48)), want: "zonemd-repeated"},
		{name: "one of two wrong", before: plus(t, "@ ZONEMD 1 1 2 "+strings.Repeat("ab", 64)), want: "zonemd-digest"},
		{name: "one of two wrong in another's zone", before: plus(t, "@ ZONEMD 1 1 2 "+strings.Repeat("ab", 64)), context: Context{Presigned: true}},
	} {
		m := newMaker(t)
		m.zonemd = true
		c.run(t, m)
	}
}

// Whatever record is dropped or altered after signing, it is found.
func TestEveryRecordCounts(t *testing.T) {
	t.Parallel()
	for _, nsec3 := range []*dns.NSEC3PARAM{nil, noSalt} {
		m := newMaker(t)
		m.nsec3, m.zonemd = nsec3, true
		var all []dns.RR
		var good *zone.Zone
		found := func(i int, rrs []dns.RR) bool {
			z := buildZone(t, rrs)
			got := CheckEdit(good, z, testNow, Context{ZONEMD: true})
			if i%16 == 0 { // the rest is TestEditsAreJudgedAlike
				if whole := Check(z, testNow, Context{ZONEMD: true}); !slices.Equal(got, whole) {
					t.Errorf("an edit is judged %v, the whole %v", got, whole)
				}
			}
			return len(got) > 0
		}
		keep := func(rrs []dns.RR) []dns.RR { all = slices.Clone(rrs); return rrs }
		good = m.sign(t, parseRecords(t, oddZone), nil, keep)
		if got := Check(good, testNow, Context{ZONEMD: true}); len(got) > 0 {
			t.Fatal(got)
		}
		for i, rr := range all {
			if rr.Header().Rrtype == dns.TypeSOA {
				continue // without it there is no zone
			}
			less := slices.Delete(slices.Clone(all), i, i+1)
			if !found(i, less) {
				t.Errorf("without %v: nothing found", rr)
			}
			other := slices.Clone(all)
			if other[i] = flipped(rr); other[i] == nil {
				continue
			}
			if !found(i, other) {
				t.Errorf("with %v for %v: nothing found", other[i], rr)
			}
		}
	}
}

// flipped returns the record with the last bit of its data that can be changed;
// nil where what comes out is none.
func flipped(rr dns.RR) dns.RR {
	wire := make([]byte, 65535)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return nil
	}
	for i := n - 1; i > n-int(rr.Header().Rdlength)-1 && i > n-4; i-- {
		wire[i] ^= 1
		if out, end, err := dns.UnpackRR(wire[:n], 0); err == nil && end == n {
			return out
		}
		wire[i] ^= 1
	}
	return nil
}

// What is written here is what package zone writes.
func TestRecordsAreWrittenAlike(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	m.zonemd = true
	var all []dns.RR
	for _, nsec3 := range []*dns.NSEC3PARAM{nil, noSalt, {Hdr: noSalt.Hdr, Hash: 1, Iterations: 7, Salt: "aabb", SaltLength: 2}} {
		m.nsec3 = nsec3
		for n := range m.sign(t, parseRecords(t, oddZone+"x 300 NSEC UPPER.Example. A TYPE256 TYPE65280\n"), nil, nil).Nodes() {
			for i := range n.Sets {
				all = append(all, n.Sets[i].RRs...)
			}
		}
	}
	for _, rr := range all {
		got, err := appendRecord([]byte("x"), ownerOf(rr), rr)
		want, wrong := zone.AppendWire([]byte("x"), ownerOf(rr), rr)
		if err != nil || wrong != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %x, %v, want %x", rr, got, err, want)
		}
	}
}

// lookalikes returns keys with the tag of an RSA key, which sums pairs of octets:
// pairs of the modulus are swapped.
func lookalikes(t *testing.T, k makerKey, count int) []dns.RR {
	t.Helper()
	public, err := base64.StdEncoding.DecodeString(k.rr.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	var all []dns.RR
	for i := 6; len(all) < count && i+4 < len(public)-2; i += 2 {
		p := slices.Clone(public)
		p[i], p[i+1], p[i+2], p[i+3] = p[i+2], p[i+3], p[i], p[i+1]
		if slices.Compare(p, public) >= 0 {
			continue // these stand before the key itself
		}
		rr := dns.Copy(k.rr).(*dns.DNSKEY)
		rr.PublicKey = base64.StdEncoding.EncodeToString(p)
		if rr.KeyTag() != k.rr.KeyTag() {
			t.Fatal("the tag is another")
		}
		all = append(all, rr)
	}
	return all
}

// Two keys may have one tag; a crowd is there to cost time, and is not tried.
func TestKeysThatLookAlike(t *testing.T) {
	t.Parallel()
	k := newKeyPair(t, 257, dns.RSASHA256)
	for count, want := range map[int]string{0: "", maxAlike - 1: "", maxAlike: "sig-wrong"} {
		m := &maker{keys: []makerKey{k}, cache: map[string]dns.RR{}}
		add := func(rrs []dns.RR) []dns.RR { return append(rrs, lookalikes(t, k, count)...) }
		got := codes(Check(m.sign(t, parseRecords(t, smallZone), add, nil), testNow, Context{Presigned: true}))
		if strings.Join(got, " ") != want {
			t.Errorf("%d beside it: %v, want %q", count, got, want)
		}
	}
}
