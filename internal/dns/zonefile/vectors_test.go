package zonefile

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

const zscanner = "../../../../shared/vectors/knot-zscanner"

// differing is where we knowingly read other records than Knot does: how many
// of its records we do not read, how many we read besides, and why. The
// manual's page rfc has the same list.
var differing = map[string]struct {
	missing, extra int
	why            string
}{
	"05-0_TTL.in":     {1, 1, "a TTL of 2^32-1 is an error, not 0: RFC 2181, Section 8 allows 31 bits"},
	"06-0_INCLUDE.in": {9, 6, "$TTL of an included file stays in force behind it, as in BIND: RFC 2308, Section 4 ends it at the next $TTL only; a path has no escapes"},
	"06-2_INCLUDE.in": {0, 3, "any octet may stand in a name: RFC 2181, Section 11"},
	"06-8_INCLUDE.in": {2, 0, "paths are relative to the zone's directory, not to the including file: nothing leads out of it"},
	"07-3-rdata.in":   {1, 1, "where no TTL is given at all, an hour is taken, with a warning"},
	"14_NS.in":        {1, 6, "names are lower case, as RFC 4034, Section 6.2 signs them; any octet may stand in a name: RFC 2181, Section 11"},
	"18_MX.in":        {0, 1, "any octet may stand in a name: RFC 2181, Section 11"},
	"26_SRV.in":       {0, 1, "any octet may stand in a name: RFC 2181, Section 11"},
	"29_CERT.in":      {1, 1, "an empty certificate is taken, which RFC 4398 does not forbid; algorithms without a mnemonic of ours are written as numbers"},
	"30_KEY.in":       {0, 1, "blanks may stand anywhere within base64: RFC 4034, Section 2.2"},
	"31_DNSKEY.in":    {0, 1, "blanks may stand anywhere within base64: RFC 4034, Section 2.2"},
	"32_APL.in":       {3, 0, "host bits of a prefix must be zero, or it says something else than it means; an empty APL is refused"},
	"35_IPSECKEY.in":  {0, 2, "an empty key is taken: nobody can use it, so it harms nobody"},
	"36_RRSIG.in":     {0, 3, "blanks may stand anywhere within base64; times count modulo 2^32: RFC 4034, Section 3.1.5; an empty signature is taken"},
	"52_CAA.in":       {1, 0, "an empty tag is refused: RFC 8659, Section 4.1"},
	"57_SVCB.in":      {4, 0, "key65535 is invalid: RFC 9460, Section 14.3.2; an IPv4 address does not go into ipv6hint"},
	"62_ALIAS.in":     {2, 0, "ALIAS is no type of the DNS: nobody else would understand the zone file"},
}

// TestDeparturesAreInTheManual, each with its argument, and no others.
func TestDeparturesAreInTheManual(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../manual/pages/rfc.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(strings.Trim(line, "| \n"), " | "); len(cells) == 4 && strings.HasSuffix(cells[0], ".in") {
			told[cells[0]] = fmt.Sprintf("%s %s %s", cells[1], cells[2], cells[3])
		}
	}
	for file, d := range differing {
		if want := fmt.Sprintf("%d %d %s", d.missing, d.extra, d.why); told[file] != want {
			t.Errorf("%s: the manual has %q, the test %q", file, told[file], want)
		}
	}
	for file := range told {
		if _, ok := differing[file]; !ok {
			t.Errorf("%s: the manual argues for a departure that the test does not know", file)
		}
	}
}

// TestKnotZscanner compares record by record with what Knot's scanner reads.
func TestKnotZscanner(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(zscanner, "*.in"))
	if err != nil || len(files) == 0 {
		t.Skip("the vectors of knot-zscanner are not there")
	}
	for _, in := range files {
		t.Run(filepath.Base(in), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			want := expected(t, strings.TrimSuffix(in, ".in")+".out")
			records, problems := Parse(strings.NewReader(strings.ReplaceAll(string(text), "@TMPDIR@", ".")), "z", name.Root, Options{
				Include: func(path string) ([]byte, string, error) {
					text, err := os.ReadFile(filepath.Join(zscanner, filepath.Clean("/"+path)))
					return text, path, err
				},
			})
			got := map[string]int{}
			for _, r := range records {
				got[wire(t, r.RR)]++
			}
			var missing, extra []string
			for w, n := range want {
				if got[w] < n {
					missing = append(missing, w)
				}
			}
			for w, n := range got {
				if want[w] < n {
					extra = append(extra, w)
				}
			}
			if allowed := differing[filepath.Base(in)]; len(missing) != allowed.missing || len(extra) != allowed.extra {
				t.Errorf("missing %d (known %d) %v\nextra %d (known %d) %v\n%v", len(missing), allowed.missing, missing, len(extra), allowed.extra, extra, texts(problems))
			}
		})
	}
}

func wire(t *testing.T, rr dns.RR) string {
	t.Helper()
	buf := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToUpper(hex.EncodeToString(buf[:n]))
}

// expected reads the blocks of a .out file as records in wire form.
func expected(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for block := range strings.SplitSeq(string(text), "------") {
		field := map[string]string{}
		for line := range strings.Lines(block) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			field[k] = v
		}
		if field["OWNER"] == "" {
			continue
		}
		all[field["OWNER"]+field["RTYPE"]+field["CLASS"]+field["RRTTL"]+fmt.Sprintf("%04X", len(field["RDATA"])/2)+field["RDATA"]]++
	}
	return all
}
