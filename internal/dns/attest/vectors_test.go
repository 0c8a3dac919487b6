package attest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
