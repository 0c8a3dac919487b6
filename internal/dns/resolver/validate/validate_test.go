package validate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
)

// TestDenials holds messages of one zone against the questions they answer.
func TestDenials(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	k := m.keys()
	apex := m.set("@ 300 NSEC b NS SOA RRSIG NSEC DNSKEY")
	cut := m.set("b 300 NSEC d.c NS RRSIG NSEC")
	deep := m.set("d.c 300 NSEC m A RRSIG NSEC")
	dname := m.set("m 300 NSEC *.w DNAME RRSIG NSEC")
	wild := m.set("*.w 300 NSEC @ A RRSIG NSEC")
	for _, c := range []struct {
		what, at string
		rtype    uint16
		ns       []dns.RR
		want     string
	}{
		{"no record at all", "x.zone.", dns.TypeA, nil, "bogus proof-missing"},
		{"not covered", "x.zone.", dns.TypeA, deep, "bogus proof-missing"},
		{"covered, and so is the wildcard (RFC 4035, Section 5.4)", "x.zone.", dns.TypeA, join(wild, apex), "secure validated"},
		{"covered, without the wildcard", "x.zone.", dns.TypeA, wild, "bogus proof-missing"},
		{"below a cut (RFC 6840, Section 4.1)", "x.b.zone.", dns.TypeA, join(cut, apex), "bogus proof-missing"},
		{"below a DNAME (RFC 6672, Section 5.3.4.1)", "x.m.zone.", dns.TypeA, join(dname, apex), "bogus proof-missing"},
		{"a type at a cut that the child has", "b.zone.", dns.TypeA, cut, "bogus proof-wrong"},
		{"the DS at a cut", "b.zone.", dns.TypeDS, cut, "secure validated"},
		{"no data at the apex", "zone.", dns.TypeCDS, apex, "secure validated"},
		{"a type that the apex has", "zone.", dns.TypeNS, apex, "bogus contradictory-answer"},
		{"an empty non-terminal", "c.zone.", dns.TypeA, cut, "secure validated"},
		{"a wildcard without the type", "x.w.zone.", dns.TypeTXT, wild, "secure validated"},
		{"a wildcard with the type", "x.w.zone.", dns.TypeA, wild, "bogus contradictory-answer"},
		{"an alias hidden", "y.zone.", dns.TypeA, m.set("y 300 NSEC z CNAME RRSIG NSEC"), "bogus contradictory-answer"},
		{"next name outside (CVE-2026-13321)", "x.zone.", dns.TypeA, m.set("m 300 NSEC zz.other. A"), "bogus proof-wrong"},
		{"two records", "x.zone.", dns.TypeA, m.set("m 300 NSEC y A", "m 300 NSEC z A"), "bogus proof-wrong"},
		{"too many", "x.zone.", dns.TypeA, join(apex, cut, deep, dname, wild,
			m.set("n 300 NSEC o A"), m.set("o 300 NSEC p A"), m.set("p 300 NSEC q A"), m.set("q 300 NSEC r A")), "bogus too-many-records"},
		{"the child's apex for the DS", "b.zone.", dns.TypeDS, m.set("b 300 NSEC d NS SOA RRSIG NSEC"), "bogus proof-wrong"},
	} {
		got := New(Limits{}).Set(k, parsed(t, c.at), c.rtype, msg(0, nil, c.ns), now)
		if s := got.Security.String() + " " + string(got.Reason); s != c.want || len(got.RRs) > 0 {
			t.Errorf("%s: %v, want %s", c.what, got.Verdict, c.want)
		}
	}
}

// TestHashedDenials is the same with NSEC3.
func TestHashedDenials(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	k := m.keys()
	// A zone with a, w and *.w; the chain in the order of the hashes.
	chain := map[string]string{}
	names := []string{"zone.", "a", "w", "*.w", "cut", "dn"}
	hash := func(n string) string { return strings.Fields(hashed(m, n, "a", 0, 0, "A"))[0] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(hash(a), hash(b)) })
	for i, n := range names {
		chain[n] = names[(i+1)%len(names)]
	}
	types := map[string]string{"zone.": "NS SOA DNSKEY", "a": "A", "w": "", "*.w": "A", "cut": "NS", "dn": "DNAME"}
	rec := func(n string, flags, iterations int) []dns.RR {
		return m.set(hashed(m, n, chain[n], flags, iterations, types[n]))
	}
	cover := func(n string, flags, iterations int) []dns.RR {
		for at, next := range chain {
			h, a, b := hash(n), hash(at), hash(next)
			if a < h && h < b || a > b && (h > a || h < b) {
				return rec(at, flags, iterations)
			}
		}
		t.Fatalf("nothing covers %s", n)
		return nil
	}
	other := newMaker(t, "sub.zone.")
	for _, c := range []struct {
		what, at string
		rtype    uint16
		ns       []dns.RR
		want     string
	}{
		{"no data (RFC 5155, Section 8.5)", "a.zone.", dns.TypeTXT, rec("a", 0, 0), "secure validated"},
		{"the type is there", "a.zone.", dns.TypeA, rec("a", 0, 0), "bogus contradictory-answer"},
		{"no data at the apex", "zone.", dns.TypeCDS, rec("zone.", 0, 0), "secure validated"},
		{"no name (Section 8.4)", "x.zone.", dns.TypeA, join(rec("zone.", 0, 0), cover("x", 0, 0), cover("*", 0, 0)), "secure validated"},
		{"no closest encloser", "x.a.zone.", dns.TypeA, join(cover("x.a", 0, 0)), "bogus proof-missing"},
		{"opt-out covers it (Section 9.2)", "x.zone.", dns.TypeA, join(rec("zone.", 1, 0), cover("x", 1, 0), cover("*", 1, 0)), "insecure opt-out"},
		{"opt-out covers it, without the wildcard", "x.zone.", dns.TypeA, join(rec("zone.", 1, 0), cover("x", 1, 0)), "bogus proof-missing"},
		{"below a cut (Section 8.3)", "x.cut.zone.", dns.TypeA, join(rec("cut", 0, 0), cover("x.cut", 0, 0), cover("*.cut", 0, 0)), "bogus proof-wrong"},
		{"below a DNAME (Section 8.3)", "x.dn.zone.", dns.TypeA, join(rec("dn", 0, 0), cover("x.dn", 0, 0), cover("*.dn", 0, 0)), "bogus proof-wrong"},
		{"a type at a cut that the child has", "cut.zone.", dns.TypeA, rec("cut", 0, 0), "bogus proof-wrong"},
		{"a wildcard without the type (Section 8.7)", "x.w.zone.", dns.TypeTXT, join(rec("w", 0, 0), cover("x.w", 0, 0), rec("*.w", 0, 0)), "secure validated"},
		{"a wildcard with the type", "x.w.zone.", dns.TypeA, join(rec("w", 0, 0), cover("x.w", 0, 0), rec("*.w", 0, 0)), "bogus contradictory-answer"},
		{"50 iterations", "a.zone.", dns.TypeTXT, rec("a", 0, 50), "secure validated"},
		{"51 iterations (RFC 9276, Section 3.2)", "a.zone.", dns.TypeTXT, rec("a", 0, 51), "insecure many-iterations"},
		{"101 iterations", "a.zone.", dns.TypeTXT, rec("a", 0, 101), "bogus refused-iterations"},
		{"51 iterations that nobody signed", "a.zone.", dns.TypeTXT, rec("a", 0, 51)[:1], "bogus signature-missing"},
		{"an unknown flag (Section 8.2)", "a.zone.", dns.TypeTXT, rec("a", 2, 0), "bogus proof-wrong"},
		{"another hash (Section 8.1)", "a.zone.", dns.TypeTXT, m.set(strings.Replace(hashed(m, "a", "w", 0, 0, "A"), "NSEC3 1 ", "NSEC3 2 ", 1)), "bogus proof-wrong"},
		{"not a hash", "a.zone.", dns.TypeTXT, m.set("short 300 NSEC3 1 0 0 - " + strings.Fields(hashed(m, "w", "w", 0, 0, "A"))[0] + " A"), "bogus proof-wrong"},
		{"deeper than one label (CVE-2026-10723)", "a.zone.", dns.TypeTXT, m.set(strings.Replace(hashed(m, "a", "w", 0, 0, "TXT"), " ", ".sub ", 1)), "bogus proof-wrong"},
		{"by the zone below", "a.zone.", dns.TypeTXT, other.set(hashed(other, "a", "b", 0, 0, "A")), "bogus signature-missing"},
		{"of two chains (Section 8.2)", "x.zone.", dns.TypeA, join(rec("zone.", 0, 0), cover("x", 0, 1), cover("*", 0, 1)), "bogus proof-missing"},
	} {
		got := New(Limits{}).Set(k, parsed(t, c.at), c.rtype, msg(0, nil, c.ns), now)
		if s := got.Security.String() + " " + string(got.Reason); s != c.want || len(got.RRs) > 0 {
			t.Errorf("%s: %v, want %s", c.what, got.Verdict, c.want)
		}
	}
}

// TestWildcards: what a wildcard brought needs the proof that nothing stands
// nearer (RFC 4035, Section 5.3.4; RFC 5155, Section 8.8).
func TestWildcards(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	k := m.keys()
	expanded := func(owner string) []dns.RR {
		var out []dns.RR
		for _, rr := range m.set("*.w 300 TXT x") {
			c := dns.Copy(rr)
			c.Header().Name = owner
			out = append(out, c)
		}
		return out
	}
	hash := func(n string) string { return strings.Fields(hashed(m, n, "a", 0, 0, "A"))[0] }
	around := func(n string, flags int) []dns.RR { // a record that covers all but n's neighbour
		h := hash(n)
		last := h[:31] + string(rune(h[31]-1))
		if h[31] == '0' || h[31] == 'A' {
			last = "0" + h[1:] // anything else will do
		}
		return m.set(last + " 300 NSEC3 1 " + itoa(flags) + " 0 - " + last + " A")
	}
	for _, c := range []struct {
		what, at string
		ns       []dns.RR
		want     string
	}{
		{"without a proof", "x.w.zone.", nil, "bogus proof-missing"},
		{"with one", "x.w.zone.", m.set("a.w 300 NSEC z A"), "secure validated"},
		{"of another name", "x.w.zone.", m.set("y.w 300 NSEC z A"), "bogus proof-missing"},
		{"a nearer name exists", "x.y.w.zone.", m.set("a.y.w 300 NSEC z.y.w A"), "bogus proof-missing"},
		{"only the nearer is denied", "x.y.w.zone.", m.set("a.w 300 NSEC z A"), "secure validated"},
		{"hashed", "x.w.zone.", around("x.w", 0), "secure validated"},
		{"hashed, opted out (RFC 5155, Section 9.2)", "x.w.zone.", around("x.w", 1), "insecure opt-out"},
		{"hashed, the name is there", "x.w.zone.", m.set(hashed(m, "x.w", "a", 0, 0, "A")), "bogus proof-missing"},
	} {
		got := New(Limits{}).Set(k, parsed(t, c.at), dns.TypeTXT, msg(0, expanded(c.at), c.ns), now)
		if s := got.Security.String() + " " + string(got.Reason); s != c.want || (len(got.RRs) == 1) != (got.Security >= Insecure) {
			t.Errorf("%s: %v, want %s", c.what, got.Verdict, c.want)
		}
	}
	// A DS, a DNSKEY or a DNAME never comes from one.
	dname := m.set("*.w 300 DNAME elsewhere.org.")
	for _, rr := range dname {
		rr.Header().Name = "x.w.zone."
	}
	nearer := m.set("a.w 300 NSEC z A")
	if got := New(Limits{}).DS(k, parsed(t, "y.x.w.zone."), msg(0, dname, nearer), now); got.Reason != SignatureWrong || got.Standing != Unjudged {
		t.Error(got.Verdict)
	}
	ds := m.set("*.w 300 DS 1 13 2 " + strings.Repeat("00", 32))
	for _, rr := range ds {
		rr.Header().Name = "x.w.zone."
	}
	if got := New(Limits{}).DS(k, parsed(t, "x.w.zone."), msg(0, ds, nil), now); got.Reason != SignatureWrong || len(got.DS) > 0 {
		t.Error(got.Verdict)
	}
}

// TestKeyTrap: what is made to be costly costs no more than the limits (the
// KeyTrap attacks, CVE-2023-50387 and CVE-2023-50868).
func TestKeyTrap(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	var twins []*dns.DNSKEY
	for i := range 8 {
		twins = append(twins, sameTag(t, m.key.DNSKEY, byte(i)))
	}
	good := m.set("a 300 A 192.0.2.1")
	many := func(n int) []dns.RR { // signatures that are wrong, then the good one
		out := []dns.RR{good[0]}
		for i := range n {
			c := dns.Copy(good[1]).(*dns.RRSIG)
			c.Inception += uint32(i + 1)
			out = append(out, c)
		}
		return append(out, good[1])
	}
	t.Run("many signatures", func(t *testing.T) {
		t.Parallel()
		j := New(Limits{})
		if got := j.Set(m.keys(), parsed(t, "a.zone."), dns.TypeA, msg(0, many(100), nil), now); got.Reason != WorkLimit || got.Security != Bogus || j.Signatures != 8 {
			t.Errorf("%v after %d signatures", got.Verdict, j.Signatures)
		}
		if got := New(Limits{}).Set(m.keys(), parsed(t, "a.zone."), dns.TypeA, msg(0, many(7), nil), now); got.Security != Secure {
			t.Error(got.Verdict)
		}
	})
	t.Run("many keys of one tag", func(t *testing.T) {
		t.Parallel()
		j := New(Limits{})
		k, v := j.Keys(m.anchor(), m.keyset(twins...), now)
		if v.Security != Secure || len(k.keys) != 9 {
			t.Fatal(v)
		}
		slices.Reverse(k.keys)
		got := j.Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, many(100), nil), now)
		if got.Security != Bogus || j.Signatures > 1+8 {
			t.Errorf("%v after %d signatures", got.Verdict, j.Signatures)
		}
		var others []*dns.DNSKEY
		for i := range 48 {
			c := dns.Copy(twins[0]).(*dns.DNSKEY)
			c.PublicKey = strings.Repeat(string(rune('A'+i%26)), 40+4*(i/26)) + c.PublicKey[:44]
			others = append(others, c)
		}
		if _, v := New(Limits{}).Keys(m.anchor(), m.keyset(others...), now); v.Reason != TooMany {
			t.Error(v)
		}
	})
	t.Run("many DS records", func(t *testing.T) {
		t.Parallel()
		right, err := dnssec.DS(m.zone, m.key.DNSKEY, dns.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		var set []*dns.DS
		for range 20 {
			c := dns.Copy(right).(*dns.DS)
			c.Digest = strings.Repeat("00", 32)
			set = append(set, c)
		}
		trust := Anchor{Zone: m.zone, DS: append(set, right)}.Trust()
		if _, v := New(Limits{}).Keys(trust, m.keyset(), now); v.Reason != DSMismatch {
			t.Error(v)
		}
		trust = Anchor{Zone: m.zone, DS: append(set[:3], right)}.Trust()
		if _, v := New(Limits{}).Keys(trust, m.keyset(), now); v.Security != Secure {
			t.Error(v)
		}
	})
	t.Run("in all", func(t *testing.T) {
		t.Parallel()
		j, k := New(Limits{}), m.keys()
		for range 100 {
			j.Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, many(3), nil), now)
		}
		if got := j.Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, good, nil), now); got.Reason != WorkLimit || j.Signatures != 64 {
			t.Errorf("%v after %d signatures", got.Verdict, j.Signatures)
		}
	})
	t.Run("hashes", func(t *testing.T) {
		t.Parallel()
		j, k := New(Limits{}), m.keys()
		deep := parsed(t, strings.Repeat("x.", 100)+"zone.")
		ns := m.set(hashed(m, "b", "b", 0, 50, "A"))
		for range 5 {
			j.Set(k, deep, dns.TypeA, msg(0, nil, ns), now)
		}
		if got := j.Set(k, deep, dns.TypeA, msg(0, nil, ns), now); got.Reason != WorkLimit || j.Hashes != 160 {
			t.Errorf("%v after %d hashes", got.Verdict, j.Hashes)
		}
	})
}

// TestClock: no second too early or too late, but for the skew.
func TestClock(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	m.begins, m.ends = now, now.Add(time.Hour)
	set := m.set("a 300 A 192.0.2.1")
	fresh := newMaker(t, "zone.")
	fresh.key, fresh.begins, fresh.ends = m.key, now.Add(-24*time.Hour), now.Add(24*time.Hour)
	for _, c := range []struct {
		at   time.Duration
		skew time.Duration
		want Reason
		left time.Duration
	}{
		{0, 0, Validated, 300 * time.Second},
		{-time.Second, 0, SignatureEarly, 0},
		{time.Hour, 0, Validated, 0},
		{time.Hour + time.Second, 0, SignatureExpired, 0},
		{time.Hour - 10*time.Second, 0, Validated, 10 * time.Second},
		{-5 * time.Second, 5 * time.Second, Validated, 300 * time.Second},
		{-6 * time.Second, 5 * time.Second, SignatureEarly, 0},
		{time.Hour + 5*time.Second, 5 * time.Second, Validated, 0},
		{time.Hour + 6*time.Second, 5 * time.Second, SignatureExpired, 0},
	} {
		at := now.Add(c.at)
		k, _ := New(Limits{}).Keys(fresh.anchor(), fresh.keyset(), at)
		got := New(Limits{Skew: c.skew}).Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, set, nil), at)
		if got.Reason != c.want || c.want == Validated && got.Until.Sub(at) != c.left {
			t.Errorf("at %s, skew %s: %v for %s", c.at, c.skew, got.Verdict, got.Until.Sub(at))
		}
	}
	// A signature that ends before it begins is never valid, whatever the skew.
	m.begins, m.ends = now.Add(time.Hour), now.Add(-time.Hour)
	k, _ := New(Limits{}).Keys(fresh.anchor(), fresh.keyset(), now)
	if got := New(Limits{Skew: 48 * time.Hour}).Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, m.set("a 300 A 192.0.2.1"), nil), now); got.Security != Bogus {
		t.Error(got.Verdict)
	}
}

// TestSigners: a signature by any other zone than the one that answers, or
// over a name outside it, is none.
func TestSigners(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	k := m.keys()
	above, below, beside := newMaker(t, "."), newMaker(t, "a.zone."), newMaker(t, "one.")
	for what, set := range map[string][]dns.RR{
		"the zone above":            above.set("a.zone. 300 A 192.0.2.1"),
		"the zone below":            below.set("a.zone. 300 A 192.0.2.1"),
		"a zone that looks like it": beside.set("a.zone. 300 A 192.0.2.1"),
	} {
		if got := New(Limits{}).Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, set, nil), now); got.Reason != SignatureMissing {
			t.Errorf("%s: %v", what, got.Verdict)
		}
	}
	for what, change := range map[string]func(*dns.RRSIG){
		"labels above the zone (CVE-2026-44690)": func(s *dns.RRSIG) { s.Labels = 0 },
		"labels beyond the owner":                func(s *dns.RRSIG) { s.Labels = 9 },
		"no signature":                           func(s *dns.RRSIG) { s.Signature = "" },
		"another type":                           func(s *dns.RRSIG) { s.OrigTtl++ },
	} {
		set := m.set("a 300 A 192.0.2.1")
		change(set[1].(*dns.RRSIG))
		if got := New(Limits{}).Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, set, nil), now); got.Reason != SignatureWrong {
			t.Errorf("%s: %v", what, got.Verdict)
		}
	}
	for _, outside := range []string{"one.", "notzone.", "."} {
		if got := New(Limits{}).Set(k, parsed(t, outside), dns.TypeA, msg(0, nil, nil), now); got.Security != Unknown {
			t.Errorf("%s: %v", outside, got.Verdict)
		}
		if got := New(Limits{}).DS(k, parsed(t, outside), msg(0, nil, nil), now); got.Security != Unknown {
			t.Errorf("%s: %v", outside, got.Verdict)
		}
	}
	if got := New(Limits{}).DS(k, parsed(t, "zone."), msg(0, nil, nil), now); got.Security != Unknown {
		t.Errorf("a zone's own DS: %v", got.Verdict)
	}
	if got := New(Limits{}).Set(Keys{}, parsed(t, "a.zone."), dns.TypeA, msg(0, m.set("a 300 A 192.0.2.1"), nil), now); got.Security != Unknown {
		t.Errorf("without keys: %v", got.Verdict)
	}
}

// TestKeys: which keys of a set may sign.
func TestKeys(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(*dns.DNSKEY)
		want   Reason
	}{
		"as it is":         {func(*dns.DNSKEY) {}, Validated},
		"no zone key":      {func(k *dns.DNSKEY) { k.Flags = 1 }, DSMismatch},
		"revoked":          {func(k *dns.DNSKEY) { k.Flags |= dnssec.FlagRevoke }, DSMismatch},
		"another protocol": {func(k *dns.DNSKEY) { k.Protocol = 2 }, DSMismatch},
	} {
		m := newMaker(t, "zone.")
		c.change(m.key.DNSKEY)
		m.key.Tag = m.key.DNSKEY.KeyTag()
		if _, v := New(Limits{}).Keys(m.anchor(), m.keyset(), now); v.Reason != c.want {
			t.Errorf("%s: %v", what, v)
		}
	}
	m := newMaker(t, "zone.")
	if _, v := New(Limits{}).Keys(m.anchor(), msg(0, nil, nil), now); v.Reason != KeyMissing {
		t.Error(v)
	}
	// What the parent says ends first.
	ds, err := dnssec.DS(m.zone, m.key.DNSKEY, dns.SHA384)
	if err != nil {
		t.Fatal(err)
	}
	cut := Cut{Verdict: secure, Name: m.zone, Standing: Signed, DS: []*dns.DS{ds}, Until: now.Add(time.Minute)}
	if k, v := New(Limits{}).Keys(cut.Trust(), m.keyset(), now); v.Security != Secure || !k.Until().Equal(cut.Until) {
		t.Errorf("%v, until %v", v, k.Until())
	}
	cut.Security = Insecure
	if _, v := New(Limits{}).Keys(cut.Trust(), m.keyset(), now); v.Security != Insecure {
		t.Errorf("trust of a cut that is not secure: %v", v)
	}
}

func TestRSASHA512(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	rrs := m.records("a 300 A 192.0.2.1")
	key, sig := rsa512(t, "zone.", rrs)
	k := m.keys(key)
	if got := New(Limits{}).Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, append(rrs, sig), nil), now); got.Security != Secure {
		t.Error(got.Verdict)
	}
	sig.OrigTtl++
	if got := New(Limits{}).Set(k, parsed(t, "a.zone."), dns.TypeA, msg(0, append(rrs, sig), nil), now); got.Reason != SignatureWrong {
		t.Error(got.Verdict)
	}
}

// TestEDE (RFC 8914, Section 4).
func TestEDE(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    Verdict
		code uint16
		ok   bool
	}{
		{secure, 0, false},
		{Verdict{Security: Insecure, Reason: NoDS}, 0, false},
		{Verdict{Security: Insecure, Reason: UnknownAlgorithm}, 1, true},
		{Verdict{Security: Insecure, Reason: UnknownDigest}, 2, true},
		{Verdict{Security: Unknown, Reason: NoAnchor}, 5, true},
		{bogus(ProofWrong, "x"), 6, true},
		{bogus(SignatureExpired, "x"), 7, true},
		{bogus(SignatureEarly, "x"), 8, true},
		{bogus(DSMismatch, "x"), 9, true},
		{bogus(SignatureMissing, "x"), 10, true},
		{bogus(ProofMissing, "x"), 12, true},
		{bogus(RefusedIterations, "x"), 27, true},
	} {
		if code, ok := c.v.EDE(); code != c.code || ok != c.ok {
			t.Errorf("%v: %d %v", c.v, code, ok)
		}
	}
}

// TestCollect: what is foreign or malformed is left out.
func TestCollect(t *testing.T) {
	t.Parallel()
	m := newMaker(t, "zone.")
	set := m.set("A 300 MX 1 B", "a 200 MX 2 c")
	set[0].Header().Name, set[0].(*dns.MX).Mx = "A.Zone.", "B.zone."
	odd := []dns.RR{nil, &dns.A{Hdr: dns.RR_Header{Name: "a.zone.", Rrtype: dns.TypeA, Class: dns.ClassCHAOS}}, &dns.A{Hdr: dns.RR_Header{Name: "a..", Rrtype: dns.TypeA, Class: dns.ClassINET}}}
	got := Collect(append(odd, append(set, m.set("b 300 A 192.0.2.1")[1])...))
	if again := Collect(append(set, set...)); len(again) != 1 || len(again[0].RRs) != 2 || len(again[0].Sigs) != 1 {
		t.Errorf("twice: %+v", again)
	}
	if len(got) != 1 || len(got[0].RRs) != 2 || len(got[0].Sigs) != 1 || got[0].TTL != 200 || got[0].RRs[0].(*dns.MX).Mx != "b.zone." {
		t.Errorf("%+v", got)
	}
}
