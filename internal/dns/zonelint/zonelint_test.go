package zonelint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	head  = "$TTL 60\n@ SOA ns admin 1 2h 1h 14d 5m\n"
	bare  = head + "@ NS ns\n@ NS ns.else.test.\nns A 192.0.2.1\n"
	sound = bare + "@ TXT \"v=spf1 mx -all\"\n_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:a@else.test\"\n"
)

// check returns the codes with their lines; "!" marks what blocks.
func check(t testing.TB, origin, text string, exposure Exposure) []string {
	t.Helper()
	o := parsed(t, origin)
	records, problems := zonefile.Parse(strings.NewReader(text), "z", o, zonefile.Options{})
	for _, p := range problems {
		if p.Blocks() {
			t.Fatal(problems)
		}
	}
	var codes []string
	for _, p := range Check(records, o, Context{File: "z", Exposure: exposure, Notes: true}) {
		code := p.Code
		if p.Severity == "" || p.Hint == "" {
			t.Errorf("%v is not in the table", p)
		}
		if p.Blocks() {
			code += "!"
		}
		codes = append(codes, code)
	}
	return codes
}

func checkCases() []lintCase {
	return []lintCase{
		{"A01 no SOA", "$TTL 60\n@ NS ns\n@ NS ns.else.test.\nns A 192.0.2.1\n", "soa-missing!"},
		{"A01 two SOA", sound + "@ SOA ns admin 2 2h 1h 14d 5m\n", "soa-several!"},
		{"the same SOA twice is one", sound + "@ SOA ns admin 1 2h 1h 14d 5m\n", "record-twice"},
		{"SOA of another name", sound + "a SOA ns admin 1 2h 1h 14d 5m\n", "soa-below!"},
		{"A02 no NS", head + "ns A 192.0.2.1\n", "ns-missing!"},
		{"nothing at all", "", "ns-missing! soa-missing!"},
		{"A03 RFC 1034 3.6.2: CNAME beside other data", sound + "a CNAME ns\na TXT t\n", "cname-other!"},
		{"A03 at the apex", sound + "@ CNAME ns.else.test.\n", "cname-other!"},
		{"A03 two CNAMEs", sound + "a CNAME ns\na CNAME ns.else.test.\n", "cname-several!"},
		{"the same CNAME twice is one", sound + "a CNAME ns\nA CNAME NS\n", "record-twice"},
		{"RFC 2181 10.1: signatures may stand beside", sound + "a CNAME ns\na NSEC b CNAME\n", ""},
		{"A04 two DNAMEs", sound + "a DNAME b.test.\na DNAME c.test.\n", "dname-several!"},
		{"A04 data below a DNAME", sound + "a DNAME b.test.\nx.a A 192.0.2.1\n", "dname-below"},
		{"A04 DNAME and NS", sound + "a DNAME b.test.\na NS ns\n", "dname-ns"},
		{"RFC 6672 2.3: at the apex both may stand", "$TTL 60\n@ SOA ns.test. a 1 2h 1h 14d 5m\n@ NS ns.test.\n@ NS ns2.test.\n@ DNAME b.test.\n", ""},
		{"A05 DS at the apex", sound + "@ DS 1 13 2 " + strings.Repeat("0", 64) + "\n", "ds-apex"},
		{"A06 MX to a CNAME", sound + "@ MX 1 m\nm CNAME ns\n", "mx-cname"},
		{"A06 NS to a CNAME", sound + "@ NS n2\nn2 CNAME ns\n", "ns-cname"},
		{"A07 MX to an address", sound + "@ MX 1 192.0.2.1\n", "mx-address"},
		{"A08 NS without glue", sound + "sub NS ns.sub\n", "ns-lame"},
		{"glue", sound + "sub NS ns.sub\nns.sub A 192.0.2.1\n", ""},
		{"glue of a sibling is not ours to have", sound + "sub NS ns.sub\nns.sub A 192.0.2.1\nsub2 NS x.sub\n", ""},
		{"A09 MX without an address", sound + "@ MX 1 m\n", "mx-lame"},
		{"a wildcard gives it one", sound + "@ MX 1 m\n* A 192.0.2.1\n", ""},
		{"RFC 7505: null MX", sound + "@ MX 0 .\n", ""},
		{"elsewhere is not looked at", sound + "@ MX 1 mail.test.\n", ""},
		{"A14 mixed TTL", sound + "a 60 A 192.0.2.1\na 61 A 192.0.2.2\n", "ttl-mixed"},
		{"A15 outside the zone", sound + "a.other. A 192.0.2.1\n", "outside!"},
		{"A16 forgotten dot in the owner", sound + "www.example A 192.0.2.1\n", "name-twice"},
		{"A16 forgotten dot in the data", sound + "www CNAME ns.example\n", "name-twice"},
		{"A16 forgotten dot in SVCB data", sound + "www HTTPS 1 ns.example alpn=h2\n", "name-twice svcb-lame"},
		{"J02 two SPF records", sound + "@ TXT \"V=SPF1\" \" a -all\"\n@ TXT \"v=spf10\"\n", "spf-several"},
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range checkCases() {
		if got := strings.Join(check(t, "example.", c.text, Unknown), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestPlaceOfTheProblem(t *testing.T) {
	t.Parallel()
	records, _ := zonefile.Parse(strings.NewReader(bare+"a CNAME ns\n  TXT t\n"), "dir/z", parsed(t, "example."), zonefile.Options{})
	problems := Check(records, parsed(t, "example."), Context{File: "dir/z"})
	want := "dir/z:7:3: ERR cname-other a.example. has a CNAME and TXT (RFC 1034, Section 3.6.2: a CNAME stands alone)"
	if len(problems) != 1 || problems[0].String() != want {
		t.Errorf("%v", problems)
	}
}

// knotSemantic is the code with which we name the fault of each file; "" where
// it has none.
var knotSemantic = map[string]string{
	"cname_extra_01.zone":    "cname-other!",
	"cname_extra_02.signed":  "cname-other!",
	"cname_multiple.zone":    "cname-several!",
	"deleg_apex.zone":        "bad-type!", // DELEG is no type yet
	"dname_children.zone":    "dname-below",
	"dname_extra_ns.zone":    "dname-ns",
	"dname_multiple.zone":    "dname-several!",
	"ds_apex.zone":           "ds-apex",
	"glue_apex_both.missing": "ns-lame",
	"glue_apex_one.missing":  "ns-lame",
	"glue_besides.missing":   "ns-lame",
	"glue_deleg.missing":     "ns-lame",
	"glue_in_apex.missing":   "ns-lame",
	"glue_in_deleg.valid":    "",
	"glue_no_foreign.valid":  "",
	"glue_wildcard.valid":    "",
	"ns_apex.missing":        "ns-missing!",
	"soa.duplicate":          "",
	"soa.missing":            "soa-missing!",
	"soa.multiple":           "soa-several!",
	"soa.nonfirst":           "",
	"soa.relative":           "outside!",
}

// unseen are the files whose fault we do not name. The manual's page rfc has
// the same list, with reasons.
var unseen = []string{
	"cdnskey.cds", "cdnskey.nocds", "no_rrsig.signed", "nsec3_chain_01.signed", "nsec3_missing.signed",
	"nsec3_optout.signed", "nsec_broken_chain_01.signed", "nsec_missing.signed",
}

// TestKnotSemantic sees the faults that Knot's semantic checks see.
func TestKnotSemantic(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("../../../../shared/vectors/knot-semantic")
	if err != nil {
		t.Skip("the vectors of knot-semantic are not there")
	}
	for _, f := range files {
		want, known := knotSemantic[f.Name()]
		if f.Name() == "COPYING" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("../../../../shared/vectors/knot-semantic", f.Name()))
		if err != nil {
			t.Error(err)
			continue
		}
		records, problems := zonefile.Parse(strings.NewReader(string(text)), f.Name(), parsed(t, "example.com."), zonefile.Options{})
		problems = append(problems, Check(records, parsed(t, "example.com."), Context{File: f.Name()})...)
		var codes []string
		for _, p := range problems {
			switch {
			case p.Blocks():
				codes = append(codes, p.Code+"!")
			case p.Severity == zonefile.ERR:
				codes = append(codes, p.Code)
			}
		}
		switch {
		case slices.Contains(unseen, f.Name()) == known:
			t.Errorf("%s: it must be in one of the lists", f.Name())
		case known && want == "" && len(codes) > 0, want != "" && !slices.Contains(codes, want):
			t.Errorf("%s: %v, want %q", f.Name(), codes, want)
		}
	}
}

// TestUnseenFaultsAreInTheManual, each with its argument, and no others.
func TestUnseenFaultsAreInTheManual(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../manual/pages/rfc.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	_, list, _ := strings.Cut(string(page), "whose fault is not told:\n")
	for line := range strings.Lines(list) {
		if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) == 2 && strings.Contains(cells[0], ".") && len(cells[1]) > 40 {
			told = append(told, cells[0])
		}
	}
	if slices.Sort(told); !slices.Equal(told, unseen) {
		t.Errorf("the manual has %q, the test %q", told, unseen)
	}
}

// Records of an owner and type that do not come together are one set all the
// same, and owners keep theirs apart.
func TestScatteredRecords(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("$TTL 300\n")
	for _, part := range []string{"@ SOA ns admin 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n", "a A 192.0.2.1\n  TXT x\n  A 192.0.2.2\n", "@ NS ns2\n"} {
		b.WriteString(part)
	}
	for i := range 3000 {
		fmt.Fprintf(&b, "h%d A 192.0.2.1\n", i)
	}
	b.WriteString("ns2 A 192.0.2.2\na AAAA 2001:db8::1\n  A 192.0.2.1\n  MX 10 a\n") // the A stands twice
	for i := range 3000 {
		fmt.Fprintf(&b, "h%d AAAA 2001:db8::1\n   MX 10 a\n   TXT t\n", i)
	}
	o := parsed(t, "example.")
	records, problems := zonefile.ParseText(b.String(), "z", o, zonefile.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l := &lint{origin: o, notes: true, codes: byCode(), count: map[string]int{}}
	l.expect(records)
	for i := range records {
		l.take(records, i)
	}
	if len(l.problems) != 1 || l.problems[0].Code != "record-twice" {
		t.Errorf("%v", l.problems)
	}
	sum := 0
	for i := range l.owners {
		x := &l.owners[i]
		if l.find(x.name) != x {
			t.Fatalf("%s is not found", x.name)
		}
		for _, s := range x.sets {
			sum += len(s.records)
			for _, r := range s.records {
				if n, err := r.Name(); err != nil || n != x.name || r.RR.Header().Rrtype != s.rrtype {
					t.Fatalf("%s has %v", x.name, r.RR)
				}
			}
		}
	}
	if sum != len(records)-1 || len(l.owners) != 3004 || len(l.find(parsed(t, "a.example.")).of(dns.TypeA)) != 2 {
		t.Errorf("%d of %d records, %d owners", sum, len(records), len(l.owners))
	}
}
