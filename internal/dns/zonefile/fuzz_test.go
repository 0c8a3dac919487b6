package zonefile

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Bounds that are small enough to be met.
const (
	fuzzRecords   = 1000
	fuzzGenerated = 300
	fuzzProblems  = 20
)

// FuzzParse: any text is read to its end within the bounds, every problem has
// its place, every record is in normal form, and what is printed reads back as
// the same records.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"$TTL 60\n@ SOA ns admin (\n1 2 3 4 5 )\n", "a 1 TXT \"x;y\" z ; c\n", "$ORIGIN a\n$INCLUDE b c\n", "a 1 TYPE9 \\# 1 00\n",
		"\xef\xbb\xbfa\r\n b\\\n", "a 1 HTTPS 1 . alpn=\"h2\" mandatory=port\n", "a 1 LOC 1 N 1 E 1\n", "a 1 APL 1:1.2.3.4/8\n",
		"$GENERATE 0-9/2 a${1,2,n} 1 A 192.0.2.$\n", "a 1 A \\# 4 c0000201\n", "a 1 RRSIG A 13 2 60 20300101000000 1 7 b AAAA\n", "a 1 NSEC b A TYPE999\n", "a 1 CAA 0 issue x\n",
	} {
		f.Add(s)
	}
	origin := parsed(f, "example.")
	const more = "i 1 A 192.0.2.1\n"
	f.Fuzz(func(t *testing.T, text string) {
		included := 0
		opts := Options{
			MaxRecords: fuzzRecords, MaxGenerate: fuzzGenerated / 2, MaxGenerated: fuzzGenerated, MaxProblems: fuzzProblems, MaxIncludes: 10,
			Include: func(path string) ([]byte, string, error) {
				included++
				if strings.HasSuffix(path, "x") {
					return nil, "", errors.New("no such file")
				}
				return []byte(more), "i", nil
			},
		}
		records, problems := Parse(strings.NewReader(text), "z", origin, opts)
		// Bounded: by what the text holds, and by the options.
		lines := strings.Count(text, "\n") + 1
		if n := len(records); n > fuzzRecords || n > lines+fuzzGenerated+included || len(problems) > fuzzProblems+2 || included > 10 {
			t.Fatalf("%d records, %d problems and %d files from %d lines", n, len(problems), included, lines)
		}
		for _, p := range problems {
			if p.File == "z" && (p.Line < 0 || p.Line > lines || p.Col < 0 || p.Col > len(text)+1) {
				t.Fatalf("%v is at no place of %d lines", p, lines)
			}
			if strings.Contains(p.String(), "root:") {
				t.Fatalf("a foreign file leaked: %v", p)
			}
			if len(p.String()) > 4096 || strings.ContainsAny(p.String(), "\n\x1b") {
				t.Fatalf("a problem that is no line: %.200q", p)
			}
		}
		for _, r := range records {
			again, owner, err := zone.Normalise(r.RR)
			if err != nil || !dns.IsDuplicate(again, r.RR) {
				t.Fatalf("%v is not normal: %v, %v", r.RR, again, err)
			}
			if n, err := r.Name(); err != nil || n != owner {
				t.Fatalf("%v has the owner %q, %v", r.RR, n, err)
			}
		}
		checkPrinted(t, origin, records)
	})
}

// checkPrinted builds a zone of the records that fit one, prints it, reads it
// again and compares.
func checkPrinted(t *testing.T, origin name.Name, records []Record) {
	t.Helper()
	soa, err := dns.NewRR("example. 60 IN SOA ns.example. h.example. 1 2 3 4 5")
	if err != nil {
		t.Fatal(err)
	}
	build := func(records []Record) *zone.Zone {
		b := zone.NewBuilder(origin)
		if err := b.Add(soa); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.RR.Header().Rrtype != dns.TypeSOA {
				_ = b.Add(r.RR) // what is outside the zone stays outside
			}
		}
		z, err := b.Build()
		if err != nil {
			return nil // a CNAME beside others, and the like
		}
		return z
	}
	z := build(records)
	if z == nil {
		return
	}
	var out bytes.Buffer
	if err := Print(&out, z); err != nil {
		t.Fatal(err)
	}
	again, problems := Parse(&out, "p", origin, Options{})
	for _, p := range problems {
		if p.Blocks() {
			t.Fatalf("printed %q: %v", printed(z), p)
		}
	}
	second := build(again)
	if second == nil {
		t.Fatalf("printed %q: no zone", printed(z))
	}
	if removed, added := zone.Diff(z, second); len(removed)+len(added) > 0 {
		t.Fatalf("printed %q\n- %v\n+ %v", printed(z), removed, added)
	}
}

func printed(z *zone.Zone) string {
	var out strings.Builder
	_ = Print(&out, z) // into memory
	return out.String()
}
