package zone

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

const soaLine = "example. 3600 IN SOA ns1.example. admin.example. 7 7200 3600 1209600 300"

func record(t testing.TB, s string) dns.RR {
	t.Helper()
	zp := dns.NewZoneParser(strings.NewReader(s+"\n"), "", "")
	rr, _ := zp.Next()
	if err := zp.Err(); err != nil || rr == nil {
		t.Fatalf("%q: %v", s, err)
	}
	return rr
}

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func build(t testing.TB, lines ...string) *Zone {
	t.Helper()
	b := NewBuilder(parsed(t, "example."))
	for _, l := range append([]string{soaLine}, lines...) {
		if err := b.Add(record(t, l)); err != nil {
			t.Fatalf("add %q: %v", l, err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	badBase64 := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeDNSKEY, Class: 1}, PublicKey: "!!"}
	longTTL := record(t, "a.example. 1 IN A 192.0.2.1")
	longTTL.Header().Ttl = 1 << 31
	for _, c := range []struct {
		why  string
		rr   dns.RR
		want error
	}{
		{"RFC 1035 5.2: one class", record(t, `a.example. 1 CH TXT "x"`), ErrClass},
		{"other zone", record(t, "a.other. 1 IN A 192.0.2.1"), ErrOutside},
		{"parent", record(t, ". 1 IN A 192.0.2.1"), ErrOutside},
		{"name that only ends alike", record(t, "badexample. 1 IN A 192.0.2.1"), ErrOutside},
		{"SOA below the apex", record(t, "a."+soaLine), ErrSOA},
		{"no address", record(t, `a.example. 1 IN A \# 0`), ErrEmpty},
		{"base64 that only packing finds", badBase64, ErrUnfit},
		{"question type", &dns.ANY{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeANY, Class: 1}}, ErrMeta},
		{"RFC 2181 8", longTTL, ErrLongTTL},
		{"blank owner", &dns.A{Hdr: dns.RR_Header{Rrtype: dns.TypeA, Class: 1}, A: []byte{1, 2, 3, 4}}, name.ErrEmpty},
	} {
		if err := NewBuilder(parsed(t, "example.")).Add(c.rr); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.why, err, c.want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	none := NewBuilder(parsed(t, "example."))
	if err := none.Add(record(t, "example. 1 IN NS ns1.example.")); err != nil {
		t.Fatal(err)
	}
	if _, err := none.Build(); !errors.Is(err, ErrNoSOA) {
		t.Error("no SOA:", err)
	}
	if _, err := NewBuilder(name.Root).Build(); !errors.Is(err, ErrNoSOA) {
		t.Error("empty:", err)
	}
	two := NewBuilder(parsed(t, "example."))
	for _, l := range []string{soaLine, strings.Replace(soaLine, " 7 ", " 8 ", 1)} {
		if err := two.Add(record(t, l)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := two.Build(); !errors.Is(err, ErrManySOA) {
		t.Error("two SOA:", err)
	}
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{`\097.Example. 1 IN A 192.0.2.1`, "a.example.\t1\tIN\tA\t192.0.2.1"},
		{`A.Example. 1 IN MX 5 M\065il.Example.`, "a.example.\t1\tIN\tMX\t5 mail.example."},
		{`a.example. 1 IN A \# 4 C0000201`, "a.example.\t1\tIN\tA\t192.0.2.1"},
		{`a.example. 1 IN TYPE65280 \# 0`, "a.example.\t1\tCLASS1\tTYPE65280\t\\# 0 "},
		{`a.example. 1 IN TXT "Keep Case"`, "a.example.\t1\tIN\tTXT\t\"Keep Case\""},
		// RFC 6840, Section 5.1: not lowered, or the signatures of others fail.
		{`a.example. 1 IN NSEC B.example. A`, "a.example.\t1\tIN\tNSEC\tB.example. A"},
	} {
		got, _, err := Normalise(record(t, c.in))
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %v, %v; want %s", c.in, got, err, c.want)
		}
	}
}

func TestSets(t *testing.T) {
	t.Parallel()
	z := build(t, "example. 60 IN NS ns1.example.", "NS1.example. 300 IN A 192.0.2.9", "ns1.example. 200 IN A 192.0.2.1",
		`\110s1.example. 900 IN A 192.0.2.9`, "x.y.z.example. 1 IN TXT t")
	set := z.Node(parsed(t, "ns1.example.")).Set(dns.TypeA)
	if set == nil || len(set.RRs) != 2 || set.TTL != 200 {
		t.Fatalf("RFC 2181, Sections 5 and 5.2: %+v", set)
	}
	for _, rr := range set.RRs {
		if rr.Header().Ttl != 200 {
			t.Errorf("one TTL for the set: %v", rr)
		}
	}
	if a := set.RRs[0].(*dns.A); a.A.String() != "192.0.2.1" {
		t.Error("canonical order:", a)
	}
	if z.Records() != 5 {
		t.Error("records:", z.Records())
	}
	var names []string
	for n := range z.Nodes() {
		names = append(names, n.Name.String())
	}
	want := []string{"example.", "ns1.example.", "z.example.", "y.z.example.", "x.y.z.example."}
	if !slices.Equal(names, want) {
		t.Errorf("nodes: %v", names)
	}
	if ent := z.Node(parsed(t, "y.z.example.")); ent == nil || len(ent.Sets) != 0 {
		t.Error("RFC 4592, Section 2.2.2: empty non-terminal", ent)
	}
	if z.Node(parsed(t, "q.example.")) != nil || (*Node)(nil).Set(dns.TypeA) != nil {
		t.Error("absent")
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	z := build(t, "example. 1 IN NS ns1.example.", "sub.example. 1 IN NS ns.sub.example.", "ns.sub.example. 1 IN A 192.0.2.1",
		"deep.sub.example. 1 IN NS ns.sub.example.")
	for n, want := range map[string]string{"example.": "", "a.example.": "", "sub.example.": "sub.example.", "a.deep.sub.example.": "sub.example."} {
		got := ""
		if cut := z.Cut(parsed(t, n)); cut != nil {
			got = cut.Name.String()
		}
		if got != want {
			t.Errorf("cut above %s: %q, want %q", n, got, want)
		}
	}
}

func TestWithSerialAndDiff(t *testing.T) {
	t.Parallel()
	z := build(t, "a.example. 1 IN A 192.0.2.1", "b.example. 1 IN A 192.0.2.1")
	bumped := z.WithSerial(9)
	if z.Serial() != 7 || bumped.Serial() != 9 || bumped.SOA().Serial != 9 || z.WithSerial(7) != z {
		t.Fatal("serials", z.Serial(), bumped.Serial())
	}
	if set := bumped.Node(bumped.Origin()).Set(dns.TypeSOA); set.RRs[0].(*dns.SOA).Serial != 9 {
		t.Error("the set keeps the old serial")
	}
	if !SameContent(z, bumped) || SameContent(z, nil) || !SameContent(nil, nil) {
		t.Error("a serial is no content")
	}
	if removed, added := Diff(z, bumped); len(removed) != 1 || len(added) != 1 {
		t.Error("diff of serials:", removed, added)
	}
	other := build(t, "a.example. 2 IN A 192.0.2.1", "c.example. 1 IN A 192.0.2.1", "c.example. 1 IN A 192.0.2.2")
	removed, added := Diff(z, other)
	if got := join(removed); got != "a 1 192.0.2.1,b 1 192.0.2.1" {
		t.Error("removed:", got)
	}
	if got := join(added); got != "a 2 192.0.2.1,c 1 192.0.2.1,c 1 192.0.2.2" {
		t.Error("added:", got)
	}
	if removed, added := Diff(nil, z); len(removed) != 0 || len(added) != 3 {
		t.Error("from nothing:", removed, added)
	}
}

func join(rrs []dns.RR) string {
	var parts []string
	for _, rr := range rrs {
		f := strings.Fields(rr.String())
		parts = append(parts, strings.TrimSuffix(f[0], ".example.")+" "+f[1]+" "+f[4])
	}
	return strings.Join(parts, ",")
}

// RFC 1982, Section 5.2 and the half-space of Section 3.2.
func TestSerialLess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b uint32
		want bool
	}{
		{0, 1, true},
		{1, 0, false},
		{5, 5, false},
		{0xffffffff, 0, true},
		{0, 0xffffffff, false},
		{0, 1<<31 - 1, true},
		{0, 1 << 31, false},
		{1 << 31, 0, false},
		{0, 1<<31 + 1, false},
		{1<<31 + 1, 0, true},
	} {
		if got := SerialLess(c.a, c.b); got != c.want {
			t.Errorf("%d before %d: %v", c.a, c.b, got)
		}
	}
	if NextSerial(0xffffffff) != 1 || NextSerial(1) != 2 {
		t.Error("next")
	}
}

// TestPackLeavesRecordsAlone: many read one zone at once, so packing a record
// must not write to it, as the library's PackRR does.
func TestPackLeavesRecordsAlone(t *testing.T) {
	t.Parallel()
	rr := record(t, "example.test. 60 SOA ns.example.test. h.example.test. 1 3600 600 864000 300")
	rr.Header().Rdlength = 4711
	if _, err := AppendRecord(nil, rr); err != nil {
		t.Fatal(err)
	}
	if rr.Header().Rdlength != 4711 {
		t.Error("a record was written to")
	}
}

// TestAppendRdataIsTheLibrarys: what is packed here is what the library packs.
func TestAppendRdataIsTheLibrarys(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"a.example.test. 60 A 192.0.2.1", "a.example.test. 60 AAAA 2001:db8::1", "a.example.test. 60 NS ns.example.test.",
		"a.example.test. 60 CNAME b.example.test.", "1.example.test. 60 PTR b.example.test.", "example.test. 60 MX 10 mx.example.test.",
		"example.test. 60 SOA ns.example.test. h.example.test. 1 3600 600 864000 300", `a.example.test. 60 TXT "one" "tw\"o" "\000"`,
		"a.example.test. 60 RRSIG A 13 3 60 20261201000000 20261101000000 4711 example.test. mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==",
		"a.example.test. 60 NSEC b.example.test. A RRSIG NSEC TYPE1234", "a.example.test. 60 DS 4711 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
	} {
		_, rr := normal(t, text)
		got, err := AppendRdata([]byte{7}, rr)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		room := make([]byte, 1024)
		end, err := dns.PackRR(dns.Copy(rr), room, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		owner, _ := name.Parse(rr.Header().Name)
		if want := string(room[len(owner)+10 : end]); string(got) != "\x07"+want {
			t.Errorf("%s: %x, want %x", text, got[1:], want)
		}
	}
}
