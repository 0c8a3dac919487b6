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

// differing is where we knowingly read other records than Knot does.
var differing = map[string]struct {
	missing, extra int
	why            string
}{
	"05-0_TTL.in":     {1, 1, "a TTL of 2^32-1 is refused, RFC 2181, Section 8"},
	"06-0_INCLUDE.in": {9, 6, "$TTL of an included file stays in force; no escapes in paths"},
	"06-2_INCLUDE.in": {0, 3, "any octet may stand in a name"},
	"06-8_INCLUDE.in": {2, 0, "paths are relative to the zone's directory, not to the including file"},
	"07-3-rdata.in":   {1, 1, "without any TTL an hour is taken"},
	"14_NS.in":        {1, 6, "names are lower case; any octet may stand in a name"},
	"18_MX.in":        {0, 1, "any octet may stand in a name"},
	"26_SRV.in":       {0, 1, "any octet may stand in a name"},
	"29_CERT.in":      {1, 1, "the library takes an empty certificate and lacks a mnemonic"},
	"30_KEY.in":       {0, 1, "blanks may stand anywhere within base64"},
	"31_DNSKEY.in":    {0, 1, "blanks may stand anywhere within base64"},
	"32_APL.in":       {3, 0, "the library wants host bits to be zero; an empty APL is refused"},
	"35_IPSECKEY.in":  {0, 2, "the library takes an empty key"},
	"36_RRSIG.in":     {0, 3, "blanks may stand anywhere within base64; times count modulo 2^32; an empty signature"},
	"52_CAA.in":       {1, 0, "an empty tag is refused, RFC 8659, Section 4.1"},
	"57_SVCB.in":      {4, 0, "key65535 is invalid, RFC 9460, Section 14.3.2; an IPv4 address does not go into ipv6hint"},
	"62_ALIAS.in":     {2, 0, "ALIAS is no type of the DNS"},
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
