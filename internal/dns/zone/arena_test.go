package zone

import (
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Whatever Unpack reads itself is what the library makes of the same octets.
func TestUnpackIsTheLibrarys(t *testing.T) {
	t.Parallel()
	var m Arena
	var kept []dns.RR
	var want []string
	for range 700 { // more than one piece of each kind
		for _, line := range []string{
			"a.example. 1 IN A 192.0.2.1", "a.example. 2 IN AAAA 2001:db8::1", "b.example. 1 IN AAAA ::ffff:192.0.2.1", "example. 1 IN NS ns.example.",
			`c\.d.example. 1 IN CNAME x\@y.example.`, "d.example. 1 IN PTR .", "*.example. 1 IN MX 10 mail.example.", `e.example. 1 IN TXT "a" "b\"c"`,
			"example. 1 IN SRV 0 1 443 www.example.", soaLine,
			"a.example. 1 IN RRSIG A 13 2 60 20300101000000 20250101000000 7 example. AAECAwQFBg==", "a.example. 1 IN RRSIG NSEC 8 2 60 20300101000000 20250101000000 7 other.test. AAEC",
			"a.example. 1 IN NSEC b.example. A RRSIG TYPE999", "b.example. 1 IN NSEC a.b.example.", `c.example. 1 IN NSEC c\.d.example. A`, "d.example. 1 IN NSEC B.example. A",
			"e.example. 1 IN DS 1 13 2 00ff", "h.example. 1 IN NSEC3 1 1 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A RRSIG", "h.example. 1 IN NSEC3 1 1 3 aabb 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A",
			"h.example. 1 IN NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM TYPE65534", "h.example. 1 IN DNSKEY 257 3 13 AAAA",
		} {
			rr, owner, err := Normalise(record(t, line))
			if err != nil {
				t.Fatal(err)
			}
			wire, err := AppendWire(nil, owner, rr)
			if err != nil {
				t.Fatal(err)
			}
			got, n, err := m.Unpack(wire)
			if err != nil || n != owner {
				t.Fatalf("%s: %v, owner %q", line, err, n)
			}
			lib, _, err := dns.UnpackRR(wire, 0)
			if err != nil || !reflect.DeepEqual(got, lib) {
				t.Fatalf("%s: got %#v, the library %#v, %v", line, got, lib, err)
			}
			for i := range wire { // the octets it was given may change
				wire[i] = 0xff
			}
			kept, want = append(kept, got), append(want, lib.String())
		}
	}
	for i := range kept {
		if kept[i].String() != want[i] {
			t.Fatalf("record %d became %s, was %s", i, kept[i], want[i])
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	signing := func(t, data string) string { return "\x01a\x00" + t + "\x00\x01\x00\x00\x00\x01" + data }
	head := "\x01a\x00\x00\x01\x00\x01\x00\x00\x00\x01"
	for what, wire := range map[string]string{
		"nothing":                   "",
		"no end of the name":        "\x01a",
		"upper case":                "\x01A" + head[2:] + "\x00\x04abcd",
		"pointer":                   "\xc0\x00" + head[3:] + "\x00\x04abcd",
		"no type":                   "\x01a\x00\x00",
		"data is cut":               head + "\x00\x04abc",
		"more than the length":      head + "\x00\x04abcde",
		"A of three octets":         head + "\x00\x03abc",
		"NSEC with a bitmap cut":    signing("\x00\x2f", "\x00\x06\x01b\x00\x00\x02\x40"),
		"NSEC with an empty window": signing("\x00\x2f", "\x00\x05\x01b\x00\x00\x00"),
		"NSEC3 with a hash cut":     signing("\x00\x32", "\x00\x08\x01\x00\x00\x00\x00\x05ab"),
		"NSEC3 with a bitmap cut":   signing("\x00\x32", "\x00\x0d\x01\x00\x00\x00\x00\x05abcde\x00\x02"),
		"target that is longer":     strings.Replace(head, "\x00\x00\x01\x00\x01", "\x00\x00\x05\x00\x01", 1) + "\x00\x04\x01b\x00\x00",
	} {
		if rr, _, err := new(Arena).Unpack([]byte(wire)); err == nil {
			t.Errorf("%s: read as %v", what, rr)
		}
	}
}

// Empty non-terminals stand where canonical order has them, each once, also
// where the records of an owner come in several places.
func TestGapsInOrder(t *testing.T) {
	t.Parallel()
	z := build(t, "a.b.c.example. 1 IN A 192.0.2.1", "x.c.example. 1 IN A 192.0.2.1", "z.a.b.c.example. 1 IN A 192.0.2.1", "q.b.c.example. 1 IN A 192.0.2.1",
		`\000.b.c.example. 1 IN A 192.0.2.1`, "a.b.c.example. 1 IN TXT t", "k.l.m.example. 1 IN A 192.0.2.1", "a.b.c.example. 1 IN A 192.0.2.0", "m.l.example. 1 IN A 192.0.2.3")
	var got []string
	for n := range z.Nodes() {
		text := strings.TrimSuffix(n.Name.String(), "example.")
		for _, s := range n.Sets {
			text += " " + dns.Type(s.Type).String() + strings.Repeat("+", len(s.RRs)-1)
		}
		got = append(got, text)
		if z.Node(n.Name) != n {
			t.Errorf("%s is not found", n.Name)
		}
	}
	want := []string{" SOA", "c.", "b.c.", `\000.b.c. A`, "a.b.c. A+ TXT", "z.a.b.c. A", "q.b.c. A", "x.c. A", "l.", "m.l. A", "m.", "l.m.", "k.l.m. A"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}
