package attest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

const vectors = "../../../../shared/vectors"

func parsed(t testing.TB, text string) name.Name {
	t.Helper()
	n, err := name.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// load makes a zone of a file's records, without those outside of it.
func load(t testing.TB, text, origin string) *zone.Zone {
	t.Helper()
	records, problems := zonefile.Parse(strings.NewReader(text), "zone", parsed(t, origin), zonefile.Options{})
	for _, p := range problems {
		if p.Blocks() {
			t.Fatalf("%v", p)
		}
	}
	b := zone.NewBuilder(parsed(t, origin))
	for _, r := range records {
		if err := b.Add(r.RR); err != nil && err != zone.ErrOutside && err != zone.ErrSOA {
			t.Fatalf("%v: %v", r.RR, err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// codes returns the problems' codes, each once.
func codes(problems []Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Code)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func read(t testing.TB, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{vectors}, parts...)...))
	if err != nil {
		t.Skip("the vectors are not there: ", err)
	}
	return string(text)
}

// What Knot says of its own zones of 2016 and 2020, and what we say. Their
// signatures are real ones of 512-bit keys but where they say dummy.
func TestKnotSemantic(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for file, want := range map[string]string{
		"cname_extra_02.signed":       "sig-wrong",
		"no_rrsig.signed":             "nsec-bitmap sig-missing",
		"nsec_missing.signed":         "nsec-missing nsec-next sig-wrong",
		"nsec_broken_chain_01.signed": "nsec-next sig-wrong",
		"nsec3_missing.signed":        "nsec3-extra nsec3-missing nsec3-mixed sig-wrong",
		"nsec3_chain_01.signed":       "nsec3-next sig-wrong",
		"nsec3_optout.signed":         "nsec3-missing",
		"cdnskey.cds":                 "sig-algorithm",
		"cdnskey.nocds":               "cds-missing sig-algorithm",
	} {
		z := load(t, read(t, "knot-semantic", file), "example.com.")
		got := Check(z, now, Context{Presigned: true, Remaining: -1})
		if text := strings.Join(codes(got), " "); text != want {
			t.Errorf("%s: %q, want %q", file, text, want)
			for _, p := range got {
				t.Log(p)
			}
		}
	}
}

// zonemdOdd are the vectors that a zone of ours cannot stand for, with what we
// make of them.
var zonemdOdd = map[string]string{
	// The digest is over records of one set with several TTLs, which we serve
	// with one (RFC 2181, Section 5.2): it would be wrong of what we serve.
	"81-mixed-ttls": "failure",
}

func TestZONEMDVectors(t *testing.T) {
	t.Parallel()
	dirs, err := os.ReadDir(filepath.Join(vectors, "zonemd"))
	if err != nil {
		t.Skip("the vectors of zonemd are not there")
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		config := map[string]string{}
		for line := range strings.Lines(read(t, "zonemd", d.Name(), "config")) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			config[k] = v
		}
		t.Run(d.Name(), func(t *testing.T) {
			t.Parallel()
			text, want := read(t, "zonemd", d.Name(), config["zonefile"]), config["expected_result"]
			if odd := zonemdOdd[d.Name()]; odd != "" {
				want = odd
			}
			if d.Name() == "80-mixed-classes" && want == "failure" {
				if _, problems := zonefile.Parse(strings.NewReader(text), "zone", parsed(t, "example."), zonefile.Options{}); len(problems) == 0 {
					t.Error("a zone of two classes was read")
				}
				return
			}
			if got := CheckDigest(load(t, text, config["origin"]+".")); want == "success" != (len(got) == 0) {
				t.Errorf("expected %s: %v", want, got)
			}
		})
	}
}

// The hashes that RFC 5155, Appendix A lists.
func TestHashesOfRFC5155(t *testing.T) {
	t.Parallel()
	p := params{iterations: 12, salt: "\xaa\xbb\xcc\xdd"}
	for n, want := range map[string]string{
		"example":       "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
		"a.example":     "35mthgpgcu1qg68fab165klnsnk3dpvl",
		"ai.example":    "gjeqe526plbf1g8mklp59enfd789njgi",
		"ns1.example":   "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
		"ns2.example":   "q04jkcevqvmu85r014c7dkba38o0ji5r",
		"w.example":     "k8udemvp1j2f7eg6jebps17vp3n8i58h",
		"*.w.example":   "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"x.w.example":   "b4um86eghhds6nea196smvmlo4ors995",
		"y.w.example":   "ji6neoaepv8b5o6k4ev33abha8ht9fgc",
		"x.y.w.example": "2vptu5timamqttgl4luu9kg21e0aor3s",
		"xx.example":    "t644ebqk9bibcna874givr6joj62mlhv",
	} {
		d, _ := p.hash(parsed(t, n), nil)
		if got := hashText(d); got != want {
			t.Errorf("%s: %s, want %s", n, got, want)
		}
	}
}

// A signature of RFC 4035, Appendix A, by a key with the smallest exponent.
const rfc4035Zone = `example. 3600 SOA ns1.example. bugs.x.w.example. 1081539377 3600 300 3600000 3600
example. 3600 RRSIG SOA 5 1 3600 20040509183619 20040409183619 38519 example. (
 ONx0k36rcjaxYtcNgq6iQnpNV5+drqYAsC9h7TSJaHCqbhE67Sr6aH2xDUGcqQWu/n0UVzrF
 vkgO9ebarZ0GWDKcuwlM6eNB5SiX2K74l5LWDA7S/Un/IbtDq4Ay8NMNLQI7Dw7n4p8/rjkB
 jV7j86HyQgM5e7+miRAz8V01b0I= )
example. 3600 DNSKEY 256 3 5 (
 AQOy1bZVvpPqhg4j7EJoM9rI3ZmyEx2OzDBVrZy/lvI5CQePxXHZS4i8dANH4DX3tbHol61e
 k8EFMcsGXxKciJFHyhl94C+NwILQdzsUlSFovBZsyl/NX6yEbtw/xN9ZNcrbYvgjjZ/UVPZI
 ySFNsgEYvh0z2542lzMKR4Dh8uZffQ== )
`

func TestSignatureOfRFC4035(t *testing.T) {
	t.Parallel()
	now := time.Date(2004, 4, 20, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		text, want string
		now        time.Time
	}{
		{rfc4035Zone, "denial-none sig-missing", now}, // the keys are not signed here
		{strings.Replace(rfc4035Zone, "1081539377", "1081539378", 1), "denial-none sig-missing sig-wrong", now},
		{rfc4035Zone, "denial-none sig-early sig-missing", now.AddDate(0, -1, 0)},
		{rfc4035Zone, "denial-none sig-expired sig-missing", now.AddDate(0, 1, 0)},
	} {
		got := codes(Check(load(t, c.text, "example."), c.now, Context{Presigned: true, Remaining: -1}))
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v: %v, want %s", c.now, got, c.want)
		}
	}
}

// The example zones of RFC 4035 and RFC 5155, signed the simple way.
func TestExampleZonesOfTheRFCs(t *testing.T) {
	t.Parallel()
	for file, nsec3 := range map[string]*dns.NSEC3PARAM{
		"rfc4035-appendix-A.zone": nil,
		"rfc5155-appendix-A.zone": {Hdr: header("example.", dns.TypeNSEC3PARAM, 0), Hash: dns.SHA1, Iterations: 12, Salt: "aabbccdd", SaltLength: 4},
	} {
		m := newMaker(t)
		m.nsec3, m.optOut = nsec3, nsec3 != nil
		rrs := parseRecords(t, read(t, "dnssec-rfc", file))
		for _, p := range Check(m.sign(t, rrs, nil, nil), testNow, Context{Presigned: nsec3 != nil, Remaining: -1}) {
			t.Errorf("%s: %v", file, p)
		}
		if nsec3 == nil {
			z := load(t, byBIND(t, read(t, "dnssec-rfc", file), []string{"ECDSAP256SHA256"}, false), "example.")
			for _, p := range Check(z, time.Now(), Context{Remaining: -1}) {
				t.Errorf("%s: %v", file, p)
			}
		}
	}
}

// Every code has its words, and a test that finds it.
func TestCodes(t *testing.T) {
	t.Parallel()
	source := ""
	for _, file := range []string{"attest_test.go", "edit_test.go", "vectors_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source += string(text)
	}
	seen := map[string]bool{}
	for _, c := range Codes() {
		found := false
		for line := range strings.Lines(source) {
			_, want, ok := strings.Cut(line, "want: \"")
			want, _, _ = strings.Cut(want, "\"")
			found = found || ok && slices.Contains(strings.Fields(want), c.Code)
		}
		switch {
		case seen[c.Code] || c.What == "" || c.Fix == "":
			t.Errorf("%s stands twice or has no words", c.Code)
		case !found:
			t.Errorf("no test finds %s", c.Code)
		}
		seen[c.Code] = true
	}
}
