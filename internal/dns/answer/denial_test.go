package answer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

const denialZone = `
z. 60 IN SOA ns.z. h.z. 1 2 3 4 5
z. 60 IN NS ns.z.
ns.z. 60 IN A 192.0.2.1
_443._tcp.z. 60 IN TLSA 3 1 1 abababababababababababababababababababababababababababababababab
a.ent.z. 60 IN NS ns.z.
b.z. 60 IN NS ns.z.
s.z. 60 IN NS ns.z.
s.z. 60 IN DS 1 13 2 abababababababababababababababababababababababababababababababab
*.w.z. 60 IN CNAME q.v.z.
*.v.z. 60 IN TXT "v"
d.z. 60 IN DNAME y.z.
`

// ownersOf returns the names of all records of type t in a section, sorted.
func ownersOf(rrs []dns.RR, t uint16) string {
	var out []string
	for _, rr := range rrs {
		if rr.Header().Rrtype == t {
			out = append(out, rr.Header().Name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestCollision: a name that is not there, and has the hash of one that seems
// to be (RFC 5155, Section 7.2.9).
func TestCollision(t *testing.T) {
	t.Parallel()
	text := chained{nsec3: true}.text(t, denialZone+"x.b.c.z. 60 IN A 192.0.2.1\nback.z. 60 IN CNAME lost.z.\n")
	line := fmt.Sprintf("%%s.z. 60 IN NSEC3 1 0 0 - %s A\n", strings.Repeat("v", 32))
	for _, n := range []string{"lost.z.", "*.b.c.z."} {
		text += fmt.Sprintf(line, hashName(n, 0, ""))
	}
	w := newWorld(t, text)
	for _, c := range []struct {
		what, qname string
		qtype       uint16
		rcode       int
	}{
		{"the name", "lost.z.", dns.TypeA, dns.RcodeServerFailure},
		{"the next closer name", "far.below.lost.z.", dns.TypeA, dns.RcodeServerFailure},
		{"the wildcard", "y.b.c.z.", dns.TypeA, dns.RcodeServerFailure},
		{"at the end of a chain", "back.z.", dns.TypeA, dns.RcodeServerFailure},
		{"none", "found.z.", dns.TypeA, dns.RcodeNameError},
		{"with a name that is there", "x.b.c.z.", dns.TypeTXT, dns.RcodeSuccess},
	} {
		m, res, _ := w.ask(t, c.qname, c.qtype, 1232, setDO)
		if m.Rcode != c.rcode || c.rcode == dns.RcodeServerFailure && (len(m.Answer)+len(m.Ns) > 0 || m.Authoritative || res.Kind != Collision || res.Kind.String() == "") {
			t.Errorf("%s: %v", c.what, m)
		}
		m, _, _ = w.ask(t, c.qname, c.qtype, 1232)
		if m.Rcode == dns.RcodeServerFailure {
			t.Errorf("%s, without DO: %v", c.what, m)
		}
	}
}

// TestManyIterations: beyond the bound nothing is hashed for a question, and
// the apex's record goes into the place of each proof.
func TestManyIterations(t *testing.T) {
	t.Parallel()
	for _, iterations := range []int{0, 50, maxIterations, maxIterations + 1, 65535} {
		w := newWorld(t, chained{nsec3: true, iterations: iterations, salt: "ab"}.text(t, denialZone))
		if iterations <= maxIterations {
			for _, n := range []string{"x.z.", "x.ns.z.", "ent.z.", "x.b.z.", "x.v.z.", "x.w.z."} {
				w.check(t, n, dns.TypeA)
			}
			continue
		}
		apex := hashName("z.", iterations, "ab") + ".z."
		for _, c := range []struct {
			qname string
			qtype uint16
			rcode int
		}{
			{"x.z.", dns.TypeA, dns.RcodeNameError},
			{"ns.z.", dns.TypeTXT, 0},
			{"ent.z.", dns.TypeA, 0},
			{"x.b.z.", dns.TypeA, 0},
			{"b.z.", dns.TypeDS, 0},
			{"x.v.z.", dns.TypeTXT, 0},
			{"x.v.z.", dns.TypeA, 0},
			{"x.w.z.", dns.TypeA, 0},
		} {
			m, _, _ := w.ask(t, c.qname, c.qtype, 1232, setDO)
			if got := ownersOf(m.Ns, dns.TypeNSEC3); got != apex || m.Rcode != c.rcode {
				t.Errorf("%d iterations, %s: %s, want %s", iterations, c.qname, got, apex)
			}
		}
	}
}

// TestWhichChain: of what stands in a zone that counts which NSEC3PARAM names.
func TestWhichChain(t *testing.T) {
	t.Parallel()
	nsec := chained{}.text(t, denialZone)
	one, two := chained{nsec3: true}.text(t, denialZone), chained{nsec3: true, iterations: 2, salt: "cd"}.text(t, denialZone)
	only := func(text string, types ...string) string {
		return strings.Join(slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(l string) bool {
			f := strings.Fields(l)
			return len(f) < 4 || !slices.Contains(types, f[3]) && (f[3] != "RRSIG" || !slices.Contains(types, f[4]))
		}), "")
	}
	param := func(s string) string { return only(s, "NSEC3PARAM") }
	chain := func(s string) string { return only(s, "NSEC3") }
	flagged := strings.Replace(param(two), "1 0 2 CD", "1 1 2 CD", 1)
	if param(one) == "" || flagged == param(two) || !strings.Contains(nsec, "NSEC") {
		t.Fatal("the zones are not what they should be")
	}
	for _, c := range []struct{ what, text, want string }{
		{"NSEC", nsec, "NSEC"},
		{"NSEC, and NSEC3 not whole yet", nsec + chain(one), "NSEC"},
		{"NSEC, and NSEC3 that is named", nsec + chain(one) + param(one), "0"},
		{"NSEC, and NSEC3 named but not there", nsec + param(two), "NSEC"},
		{"two of NSEC3, one named", one + chain(two), "0"},
		{"two of NSEC3, the other named", denialZone + param(two) + chain(one) + chain(two), "2"},
		{"two of NSEC3, the other named with a flag", one + chain(two) + flagged, "0"},
		{"two named, the first not there", chain(two) + denialZone + param(one) + param(two), "2"},
		{"none named", denialZone + chain(one), ""},
	} {
		z := Compile(build(t, parse(t, c.text)))
		w := &world{zones: []*Zone{z}}
		m, _, _ := w.ask(t, "lost.z.", dns.TypeA, 4096, setDO)
		got := ""
		for _, rr := range m.Ns {
			switch rr := rr.(type) {
			case *dns.NSEC:
				got = "NSEC"
			case *dns.NSEC3:
				got = fmt.Sprint(rr.Iterations)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q", c.what, got)
		}
		// Names are as many as without any of it, whatever it is.
		if plain := Compile(build(t, parse(t, denialZone))); z.Nodes() != plain.Nodes() {
			t.Errorf("%s: %d names, want %d", c.what, z.Nodes(), plain.Nodes())
		}
	}
}

// TestNSEC3OwnerIsNoName: RFC 5155, Section 7.2.8.
func TestNSEC3OwnerIsNoName(t *testing.T) {
	t.Parallel()
	h := hashName("ns.z.", 0, "")
	chain := chained{nsec3: true}
	ask := func(text, qname string, qtype uint16) string {
		w := newWorld(t, text)
		w.check(t, qname, qtype)
		m, _, _ := w.ask(t, qname, qtype, 1232, setDO)
		return fmt.Sprintf("%s %d", dns.RcodeToString[m.Rcode], len(m.Answer))
	}
	for _, c := range []struct{ what, more, qname, want string }{
		{"alone", "", h + ".z.", "NXDOMAIN 0"},
		{"in capitals", "", strings.ToUpper(h) + ".Z.", "NXDOMAIN 0"},
		{"below it", "", "x." + h + ".z.", "NXDOMAIN 0"},
		{"under a wildcard", "*.z. 60 IN NSEC3PARAM 1 1 9 -\n", h + ".z.", "NOERROR 0"},
		{"with a name below", "x." + h + ".z. 60 IN A 192.0.2.1\n", h + ".z.", "NOERROR 0"},
		{"with records", h + ".z. 60 IN A 192.0.2.1\n", h + ".z.", "NOERROR 0"},
	} {
		for _, qtype := range []uint16{dns.TypeNSEC3, dns.TypeMX} {
			if got := ask(chain.text(t, denialZone+c.more), c.qname, qtype); got != c.want {
				t.Errorf("%s, %s: %s, want %s", c.what, dns.Type(qtype), got, c.want)
			}
		}
	}
}

// TestBrokenChains: presigned zones of which something is missing are answered
// from with what there is.
func TestBrokenChains(t *testing.T) {
	t.Parallel()
	for _, chain := range []chained{{}, {nsec3: true}, {nsec3: true, optOut: true}} {
		whole := strings.SplitAfter(chain.text(t, denialZone), "\n")
		for i, line := range whole {
			if !strings.Contains(line, "NSEC") {
				continue
			}
			src := build(t, parse(t, strings.Join(slices.Delete(slices.Clone(whole), i, i+1), "")))
			w := &world{zones: []*Zone{Compile(src)}}
			for _, n := range []string{"z.", "ns.z.", "x.z.", "ent.z.", "x.ent.z.", "a.ent.z.", "b.z.", "x.b.z.", "x.v.z.", "x.w.z.", "x.d.z.", "~.z.", "!.z."} {
				for _, qtype := range []uint16{dns.TypeA, dns.TypeDS, dns.TypeANY} {
					with, _, _ := w.ask(t, n, qtype, wire.MaxTCP-wire.OptLen, setDO)
					without, _, _ := w.ask(t, n, qtype, wire.MaxTCP)
					if with.Rcode != without.Rcode && with.Rcode != dns.RcodeServerFailure {
						t.Errorf("%s without %s: %s: %d", chain, line, n, with.Rcode)
					}
				}
			}
		}
	}
}

// TestANYPrefersWhatIsTheZones: what signing added is not what ANY is about.
func TestANYPrefersWhatIsTheZones(t *testing.T) {
	t.Parallel()
	w := newWorld(t, chained{}.text(t, denialZone))
	for _, edits := range [][]func(*dns.Msg){nil, {setDO}} {
		m, _, _ := w.ask(t, "_443._tcp.z.", dns.TypeANY, 1232, edits...)
		if len(m.Answer) == 0 || m.Answer[0].Header().Rrtype != dns.TypeTLSA || len(m.Answer) != 1+len(edits) {
			t.Errorf("%v", m)
		}
	}
}

// TestProofBeyondPointers: where a proof stands beyond what pointers reach, its
// owner is spelled out for each record.
func TestProofBeyondPointers(t *testing.T) {
	t.Parallel()
	text := denialZone
	for i := range 80 {
		text += fmt.Sprintf("*.big.z. 60 IN TXT \"%02d%s\"\n", i, strings.Repeat("x", 240))
	}
	for _, chain := range []chained{{}, {nsec3: true}} {
		w := newWorld(t, chain.text(t, text))
		w.check(t, "q.big.z.", dns.TypeTXT)
		m, res, _ := w.ask(t, "q.big.z.", dns.TypeTXT, wire.MaxTCP-wire.OptLen, setDO)
		if res.TC || len(m.Ns) != 2 || len(m.Answer) != 81 {
			t.Errorf("%s: TC %v, %d, %d", chain, res.TC, len(m.Answer), len(m.Ns))
		}
	}
}

// TestWildcardsOnTheWay: each step of a chain is proved.
func TestWildcardsOnTheWay(t *testing.T) {
	t.Parallel()
	for _, chain := range []chained{{}, {nsec3: true}} {
		text := "z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.z.\n"
		for i := range maxHops {
			text += fmt.Sprintf("*.w%02d.z. 60 IN CNAME x.w%02d.z.\n", i, i+1)
		}
		text += fmt.Sprintf("*.w%02d.z. 60 IN TXT \"end\"\n", maxHops)
		w := newWorld(t, chain.text(t, text))
		for _, qtype := range []uint16{dns.TypeTXT, dns.TypeA} {
			w.check(t, "x.w00.z.", qtype)
			m, res, _ := w.ask(t, "x.w00.z.", qtype, wire.MaxTCP-wire.OptLen, setDO)
			if res.Hops != maxHops || len(m.Ns) < maxHops {
				t.Errorf("%s: %d steps, %d proofs", chain, res.Hops, len(m.Ns))
			}
		}
	}
}

// TestHashes: the examples of RFC 5155, Appendix A.
func TestHashes(t *testing.T) {
	t.Parallel()
	s := scheme{deny: byHash, iterations: 12, salt: "\xaa\xbb\xcc\xdd"}
	for n, want := range map[string]string{
		"example.": "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", "a.example.": "35mthgpgcu1qg68fab165klnsnk3dpvl", "*.w.example.": "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"x.y.w.example.": "2vptu5timamqttgl4luu9kg21e0aor3s", "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example.": "kohar7mbb8dc2ce8a9qvl8hon4k53uhi",
	} {
		p, err := name.Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		h := s.of([]byte(p))
		origin := name.Name("\x07example\x00")
		of := proofName(&h, origin)
		if of.String() != want+".example." {
			t.Errorf("%s: %s, want %s", n, of, want)
		}
		if back, ok := hashOf(of, origin); !ok || back != h {
			t.Errorf("%s: read back %x", of, back)
		}
	}
	for _, bad := range []name.Name{"\x01a\x01z\x00", "\x01z\x00", name.Name("\x20" + strings.Repeat("w", 32) + "\x01z\x00"), name.Name("\x20" + strings.Repeat("0", 32) + "\x01y\x01z\x00"), name.Name("\x1f" + strings.Repeat("0", 31) + "\x01y\x01z\x00")} {
		if _, ok := hashOf(bad, "\x01z\x00"); ok {
			t.Errorf("%s: taken for a hash", bad)
		}
	}
}

// TestNameHead: heads stand as their names do.
func TestNameHead(t *testing.T) {
	t.Parallel()
	var names []name.Name
	for _, text := range []string{"z.", `\000.z.`, `\000\000.z.`, `\001.z.`, `\002.z.`, "!.z.", "*.z.", "a.z.", "a.a.z.", "b.a.z.", `\000.a.z.`, `a\000.z.`, `a\001.z.`, "aaaaaaaa.z.", "aaaaaaaaa.z.", "b.aaaaaaaa.z.", "ab.z.", `\255.z.`, strings.Repeat("a.", 126) + "z."} {
		n, err := name.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	for _, a := range names {
		for _, b := range names {
			if x, y := headOf(a, "\x01z\x00"), headOf(b, "\x01z\x00"); a.Compare(b) < 0 && x > y {
				t.Errorf("%s %x, %s %x", a, x, b, y)
			}
		}
	}
}

// TestProofsAreSmall: no answer is longer than what compressing each name
// against all before it makes of it.
func TestProofsAreSmall(t *testing.T) {
	t.Parallel()
	deep := "z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.z.\na.very.deep.name.z. 60 IN A 192.0.2.1\nc.very.deep.name.z. 60 IN A 192.0.2.1\n*.wild.deep.name.z. 60 IN TXT \"w\"\n"
	for _, chain := range []chained{{}, {nsec3: true}} {
		w := newWorld(t, chain.text(t, deep))
		for _, n := range []string{"b.very.deep.name.z.", "x.a.very.deep.name.z.", "very.deep.name.z.", "c.very.deep.name.z.", "q.wild.deep.name.z.", "lost.z."} {
			for _, qtype := range []uint16{dns.TypeTXT, dns.TypeMX} {
				var q wire.Query
				q.Parse(question(t, n, qtype, true))
				reply, res := w.zones[0].Append(q.Start(nil), &q, wire.MaxUDP, nil)
				reply = q.Finish(reply, 0, res.Rcode, res.Counts, nil)
				m := new(dns.Msg)
				if err := m.Unpack(reply); err != nil {
					t.Fatal(err)
				}
				m.Compress = true
				if packed, err := m.Pack(); err != nil || len(reply) > len(packed) {
					t.Errorf("%s %s %s: %d octets, may be %d (%v)", chain, n, dns.Type(qtype), len(reply), len(packed), err)
				}
			}
		}
	}
}
