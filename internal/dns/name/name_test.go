package name

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func mustParse(t testing.TB, s string) Name {
	t.Helper()
	n, err := Parse(s)
	if err != nil {
		t.Fatalf("parse %q: %v", s, err)
	}
	return n
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a.", 127)
	for text, want := range map[string]error{
		"":                              ErrEmpty,
		"..":                            ErrLabel,
		".a":                            ErrLabel,
		"a..b":                          ErrLabel,
		`a\`:                            ErrEscape,
		`a\25`:                          ErrEscape,
		`a\256.`:                        ErrEscape,
		strings.Repeat("a", 64):         ErrLabel63,
		strings.Repeat("a", 64) + ".b.": ErrLabel63,
		long + "b":                      ErrLong,
		long + "b.":                     ErrLong,
		strings.Repeat("abcdefg.", 32):  ErrLong,
	} {
		if n, err := Parse(text); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %q, %v; want %v", text, n, err, want)
		}
	}
}

func TestParseAndPrint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, wire, printed string }{
		{".", "\x00", "."},
		{"a", "\x01a\x00", "a."},
		{"Example.TEST.", "\x07example\x04test\x00", "example.test."},
		{`\097.`, "\x01a\x00", "a."},
		{`\065.`, "\x01a\x00", "a."},
		{`a\.b.c`, "\x03a.b\x01c\x00", `a\.b.c.`},
		{`\000\255.`, "\x02\x00\xff\x00", `\000\255.`},
		{`x\ y\;\@`, "\x05x y;@\x00", `x\ y\;\@.`},
		{`*.w`, "\x01*\x01w\x00", "*.w."},
		{strings.Repeat("a.", 127), strings.Repeat("\x01a", 127) + "\x00", strings.Repeat("a.", 127)},
	} {
		n, err := Parse(c.text)
		if err != nil || string(n) != c.wire || n.String() != c.printed {
			t.Errorf("Parse(%q) = %q, %v, printed %q", c.text, n, err, n)
		}
		if back := mustParse(t, n.String()); back != n {
			t.Errorf("%q printed and parsed is %q", n, back)
		}
	}
}

func TestFromWireRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		msg string
		off int
	}{
		"nothing":             {"", 0},
		"negative":            {"\x00", -1},
		"beyond":              {"\x00", 1},
		"no end":              {"\x01a", 0},
		"label past the end":  {"\x05ab", 0},
		"pointer to itself":   {"\xc0\x00", 0},
		"pointer forwards":    {"\xc0\x02\x00", 0},
		"half a pointer":      {"\x00\xc0", 1},
		"pointers in a ring":  {"\x01a\xc0\x04\xc0\x00", 4},
		"label and a ring":    {"\x01a\xc0\x00", 0},
		"label kind 0x40":     {"\x41a\x00", 0},
		"label kind 0x80":     {"\x81a\x00", 0},
		"256 octets":          {strings.Repeat("\x01a", 128) + "\x00", 0},
		"256 by compression":  {strings.Repeat("\x01a", 127) + "\x00\x01b\xc0\x00", 255},
		"runs into a pointer": {"\x01a\x03b\xc0\x00\x00", 3},
	} {
		if n, _, err := FromWire([]byte(c.msg), c.off); err == nil {
			t.Errorf("%s: got %q", name, n)
		}
	}
}

func TestFromWire(t *testing.T) {
	t.Parallel()
	msg := []byte("\x01A\x00\x01b\xc0\x00\x01c\xc0\x03!")
	for _, c := range []struct {
		off, next int
		want      string
	}{{0, 3, "a."}, {2, 3, "."}, {3, 7, "b.a."}, {7, 11, "c.b.a."}, {5, 7, "a."}} {
		n, next, err := FromWire(msg, c.off)
		if err != nil || n.String() != c.want || next != c.next {
			t.Errorf("at %d: %v %d %v, want %s %d", c.off, n, next, err, c.want, c.next)
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	n := mustParse(t, "a.b.example")
	if n.Labels() != 3 || Root.Labels() != 0 || n.First() != "a" || Root.First() != "" {
		t.Error("labels", n.Labels(), n.First())
	}
	if n.Parent() != mustParse(t, "b.example") || Root.Parent() != Root || mustParse(t, "x").Parent() != Root {
		t.Error("parent", n.Parent())
	}
	for zone, want := range map[string]bool{".": true, "example": true, "a.b.example": true, "xa.b.example": false, "ample": false, "z.a.b.example": false} {
		if got := n.IsBelow(mustParse(t, zone)); got != want {
			t.Errorf("IsBelow(%s) = %v", zone, got)
		}
	}
	// The octets of "b.example." end both names, but "\001b" is data in the second.
	if tricky := mustParse(t, `x\001b.example`); tricky.IsBelow(mustParse(t, "b.example")) {
		t.Error("a label's data was taken for a label")
	}
	if c, ok := Root.Child("X"); !ok || c != mustParse(t, "x") {
		t.Error("child", c)
	}
	for _, label := range []string{"", strings.Repeat("a", 64)} {
		if _, ok := n.Child(label); ok {
			t.Errorf("child %q taken", label)
		}
	}
	if _, ok := mustParse(t, strings.Repeat("a.", 127)).Child("a"); ok {
		t.Error("a name of 257 octets was made")
	}
	if r, ok := n.Replace(mustParse(t, "example"), mustParse(t, "c.d")); !ok || r != mustParse(t, "a.b.c.d") {
		t.Error("replace", r)
	}
	if !mustParse(t, "*.a").IsWildcard() || mustParse(t, "a.*").IsWildcard() || mustParse(t, "*a").IsWildcard() {
		t.Error("wildcard")
	}
}

// The example of RFC 4034, Section 6.1, in its order.
func TestCompareCanonical(t *testing.T) {
	t.Parallel()
	want := []string{
		"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.",
		"z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`,
	}
	var names []Name
	for _, s := range want {
		names = append(names, mustParse(t, s))
	}
	for i := range names {
		for j := range names {
			if got, exp := names[i].Compare(names[j]), compareInts(i, j); got != exp {
				t.Errorf("%s against %s: %d, want %d", names[i], names[j], got, exp)
			}
		}
	}
	shuffled := slices.Clone(names)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, Name.Compare)
	if !slices.Equal(shuffled, names) {
		t.Errorf("sorted: %v", shuffled)
	}
}

// Keys sort as names do, whatever octets the labels hold.
func TestAppendKeySortsAsCompare(t *testing.T) {
	t.Parallel()
	var names []Name
	for _, s := range []string{".", "a", "b", `\000`, `\000\000`, `\001`, `\001\000`, `\002`, `a\000`, `\000.a`, `\001.a`, "a.a", "aa", "b.a", "a.b", `\255.a`, "*.a"} {
		names = append(names, mustParse(t, s))
	}
	for _, n := range names {
		for _, m := range names {
			if got, want := strings.Compare(string(n.AppendKey(nil)), string(m.AppendKey(nil))), n.Compare(m); got != want {
				t.Errorf("keys of %s and %s compare %d, the names %d", n, m, got, want)
			}
		}
	}
}

func compareInts(i, j int) int {
	switch {
	case i < j:
		return -1
	case i > j:
		return 1
	}
	return 0
}

func FuzzFromWire(f *testing.F) {
	f.Add([]byte("\x01a\x00\x01b\xc0\x00"), 3)
	f.Add([]byte("\x3f"), 0)
	f.Fuzz(func(t *testing.T, msg []byte, off int) {
		n, next, err := FromWire(msg, off)
		if err != nil {
			return
		}
		lib, end, err := dns.UnpackDomainName(msg, off)
		if err != nil {
			t.Fatalf("taken as %q, but the library says %v", n, err)
		}
		if strings.ToLower(lib) != n.String() || end != next {
			t.Fatalf("%q %d, the library says %q %d", n, next, lib, end)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a.b.", `\097\.x`, "..", `\300`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		if back, err := Parse(n.String()); err != nil || back != n {
			t.Fatalf("%q printed as %q is %q, %v", s, n.String(), back, err)
		}
		if again, _, err := FromWire([]byte(n), 0); err != nil || again != n {
			t.Fatalf("%q is no wire name: %v", s, err)
		}
	})
}
