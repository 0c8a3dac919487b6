package zonelint

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns/zonefile"
)

// rsaKey is a DKIM key of so many bits; nobody has its other half.
func rsaKey(t testing.TB, bits int) string {
	t.Helper()
	n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

type lintCase struct{ rule, text, want string }

func zoneCases() []lintCase {
	zeros := func(n int) string { return strings.Repeat("0", n) }
	cut := "sub NS ns.else.test.\nsub NS ns.sub\nns.sub A 192.0.2.3\n"
	return []lintCase{
		{"class", sound + "a CLASS1 A 192.0.2.1\n", ""},
		{"DS digest", sound + cut + "sub DS 1 13 2 0011\n", "ds-digest"},
		{"E06 SHA-1", sound + cut + "sub DS 1 13 1 " + zeros(40) + "\n", "ds-weak"},
		{"sound DS", sound + cut + "sub DS 1 13 2 " + zeros(64) + "\nsub DS 1 13 4 " + zeros(96) + "\n", ""},
		{"RFC 4035 2.4: DS without NS", sound + "a DS 1 13 2 " + zeros(64) + "\n", "ds-alone"},
		{"TLSA", sound + "_25._tcp.a TLSA 3 1 1 00\n_26._tcp.a TLSA 3 1 0 00\n", "tlsa-digest"},
		{"SSHFP", sound + "a SSHFP 4 2 00\nb SSHFP 4 1 " + zeros(40) + "\n", "sshfp-digest"},
		{"below a cut", sound + cut + "x.sub TXT t\n", "occluded"},
		{"at a cut", sound + cut + "sub TXT t\n", "occluded"},
		{"glue of nobody", sound + cut + "old.sub A 192.0.2.4\n", "glue-unused"},
		{"A14 TTL", sound + "a 8d A 192.0.2.2\n", "ttl-large"},
		{"B01", strings.Replace(sound, "2h 1h 14d 5m", "10m 5m 14d 5m", 1), "soa-refresh"},
		{"B02", strings.Replace(sound, "2h 1h 14d 5m", "2h 2h 14d 5m", 1), "soa-retry"},
		{"B04", strings.Replace(sound, "2h 1h 14d 5m", "2h 1h 6d 5m", 1), "soa-expire"},
		{"B05", strings.Replace(sound, "2h 1h 14d 5m", "2h 1h 14d 2d", 1), "soa-minimum"},
		{"B06", strings.Replace(sound, "SOA ns", "SOA primary", 1), "soa-primary"},
		{"B06 localhost", strings.Replace(sound, "SOA ns", "SOA localhost.", 1), "soa-primary"},
		{"A11", strings.Replace(sound, "admin", "admin@example.", 1), "soa-mailbox"},
		{"A12", sound + "a.*.b TXT t\n", "wildcard-inner"},
		{"a wildcard is none", sound + "*.b TXT t\n", ""},
		{"A19", sound + "a CNAME nowhere\n", "cname-dangling"},
		{"a CNAME to an empty non-terminal", sound + "a CNAME b\nx.b TXT t\n", ""},
		{"RFC 9460 2.4.2", sound + "a HTTPS 0 ns alpn=h2\n", "svcb-alias-params"},
		{"SVCB target", sound + "a HTTPS 1 nowhere alpn=h2\n", "svcb-lame"},
		{"SVCB of itself", sound + "a A 192.0.2.1\na HTTPS 1 . alpn=h2\n", ""},
		{"C02", head + "@ NS ns\nns A 192.0.2.1\n", "ns-single"},
		{"A15 twice", sound + "ns A 192.0.2.1\n", "record-twice"},
		{"CAA tag", sound + "@ CAA 0 isue \"ca.test\"\n", "caa-tag"},
		{"A07 NS to an address", sound + "sub NS 192.0.2.1.\n", "ns-address"},
		{"A07 MX to an address with its dot", sound + "@ MX 1 192.0.2.1.\n", "mx-address"},
		{"A10 NS", sound + "sub NS n_s\nn_s A 192.0.2.1\n", "ns-chars host-chars"},
		{"A10 MX", sound + "@ MX 1 m_x.else.test.\n", "mx-chars"},
		{"A06 SRV", sound + "_x._tcp SRV 0 0 1 a\na CNAME ns\n", "srv-cname"},
		{"SRV to an address", sound + "_x._tcp SRV 0 0 1 192.0.2.1\n", "srv-address"},
		{"A09 SRV", sound + "_x._tcp SRV 0 0 1 nowhere\n", "srv-lame"},
		{"RFC 2782: no service", sound + "_x._tcp SRV 0 0 0 .\n", ""},
		{"G02", sound + "@ MX 0 .\n@ MX 5 ns\n", "mx-null-mixed"},
		{"G02 preference", sound + "@ MX 5 .\n", "mx-null-preference"},
		{"G04", sound + "@ MX 5 ns\n@ MX 6 ns\n", "mx-twice"},
		{"underscore", sound + "a_b A 192.0.2.2\n_http._tcp TXT t\n*.w A 192.0.2.2\n", "host-chars"},
		{"A10 hyphens", sound + "ab--c A 192.0.2.2\nxn--c A 192.0.2.2\n", "label-hyphens"},
		{"unspecified", sound + "a A 0.0.0.0\nb AAAA fe80::1\n", "special-address special-address"},
		{"loopback has uses", sound + "localhost A 127.0.0.1\na A 127.0.0.2\nb AAAA ::1\n", ""},
		{"A17 both kinds in a file that nobody placed", sound + "a A 10.0.0.1\nb A 10.0.0.2\n", "mixed-addresses"},
		{"A16 SOA", strings.Replace(sound, "SOA ns", "SOA ns.example", 1), "name-twice soa-primary"},
	}
}

func mailCases(t testing.TB) []lintCase {
	spf := func(value string) string { return bare + "@ TXT \"" + value + "\"\n" }
	dkim := func(value string) string { return sound + "s._domainkey TXT \"" + value + "\"\n" }
	dmarc := func(value string) string { return bare + "_dmarc TXT \"" + value + "\"\n" }
	key := rsaKey(t, 2048)
	return []lintCase{
		{"J03 mechanism", spf("v=spf1 ipv4:192.0.2.1 -all"), "spf-syntax"},
		{"J03 address", spf("v=spf1 ip4:192.0.2 ip6:192.0.2.1 ip4:192.0.2.0/33 -all"), "spf-syntax spf-syntax spf-syntax"},
		{"J03 no name", spf("v=spf1 include: exists a: redirect= -all"), "spf-syntax spf-syntax spf-syntax spf-syntax"},
		{"J03 equals sign", spf("v=spf1 include=else.test -all"), "spf-syntax"},
		{"J03 prefix length", spf("v=spf1 a/33 mx//129 a/x -all:x -all"), "spf-syntax spf-syntax spf-syntax spf-syntax"},
		{"J03 macro", spf("v=spf1 exists:%{x}.else.test exists:%a.test -all"), "spf-syntax spf-syntax"},
		{"RFC 7208 3.3: without quotes", bare + "@ TXT v=spf1 mx -all\n", "spf-joined"},
		{"sound SPF", spf("v=spf1 +a mx/24 a:ns.else.test/24//64 mx//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 exists:%{ir}.%{d2}.else.test ?include:else.test exp=why.else.test x-y=z ~all"), ""},
		{"J04", spf("v=spf1 a mx a:a.test a:b.test a:c.test a:d.test a:e.test a:f.test a:g.test a:h.test a:i.test -all"), "spf-lookups"},
		{"J04 ten are fine", spf("v=spf1 a mx a:a.test a:b.test a:c.test a:d.test a:e.test a:f.test a:g.test a:h.test -all"), ""},
		{"J04 through this zone", spf("v=spf1 include:x.example include:y.example -all") + "x TXT \"v=spf1 a a:b.test a:c.test a:d.test a:e.test -all\"\ny TXT \"v=spf1 a a:b.test a:c.test a:d.test -all\"\n", "spf-lookups"},
		{"J09 loop", spf("v=spf1 include:x.example -all") + "x TXT \"v=spf1 redirect=example\"\n", "spf-loop spf-loop"},
		{"J09 target", spf("v=spf1 include:x.example -all") + "x TXT \"other\"\n", "spf-target"},
		{"J09 target that is elsewhere", spf("v=spf1 include:x.example include:y.else.test -all") + "x CNAME y.else.test.\n", ""},
		{"J06 +all", spf("v=spf1 a all"), "spf-all-pass"},
		{"J06 no end", spf("v=spf1 a"), "spf-end"},
		{"J06 ?all", spf("v=spf1 a ?all"), "spf-end"},
		{"redirect ends", spf("v=spf1 a redirect=else.test"), ""},
		{"J12", spf("v=spf1 -all a mx"), "spf-after-all"},
		{"J08", spf("v=spf1 ptr -all"), "spf-ptr"},
		{"J11", spf("v=spf1" + strings.Repeat(" ip4:192.0.2.1", 40) + " -all"), "spf-long"},
		{"type 99", sound + "@ SPF \"v=spf1 -all\"\n", "spf-type"},
		{"J01, L01", bare + "@ MX 1 ns\n", "dmarc-missing spf-missing"},
		{"sound DKIM", dkim("v=DKIM1; k=rsa; p=" + key), ""},
		{"revoked", dkim("v=DKIM1; p="), ""},
		{"Ed25519", dkim("v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))), ""},
		{"key cut", dkim("v=DKIM1; p=" + key[:100]), "dkim-key"},
		{"key is not base64", dkim("v=DKIM1; p=%%%"), "dkim-key"},
		{"Ed25519 length", dkim("v=DKIM1; k=ed25519; p=AAAA"), "dkim-key"},
		{"no tags", dkim("hello"), "dkim-key"},
		{"unquoted semicolon", sound + "s._domainkey TXT v=DKIM1; k=rsa; p=AAAA\n", "dkim-cut"},
		{"K02 512", dkim("v=DKIM1; p=" + rsaKey(t, 512)), "dkim-short"},
		{"K02 1024", dkim("v=DKIM1; p=" + rsaKey(t, 1024)), "dkim-weak"},
		{"two keys", dkim("v=DKIM1; p=") + "s._domainkey TXT \"v=DKIM1; p=" + key + "\"\n", "dkim-several"},
		{"K05", dkim("v=DKIM1; h=sha1; p="), "dkim-tag"},
		{"version", dkim("k=rsa; v=DKIM1; p="), "dkim-tag"},
		{"key type", dkim("k=dsa; p=AAAA"), "dkim-tag"},
		{"K05 testing", dkim("v=DKIM1; t=y; p="), "dkim-testing"},
		{"other names below _domainkey", sound + "_adsp._domainkey TXT \"dkim=all\"\n_domainkey TXT \"o=~\"\n", ""},
		{"L03 spelling", dmarc(" v=DMARC1; p=reject") + "_dmarc.a TXT \"V=dmarc1; p=none\"\n", "dmarc-syntax dmarc-syntax"},
		{"SPF at _dmarc", dmarc("v=spf1 -all"), "dmarc-syntax"},
		{"policy", dmarc("v=DMARC1; p=rejekt"), "dmarc-syntax"},
		{"L13 tag twice", dmarc("v=DMARC1; p=reject; p=none"), "dmarc-syntax"},
		{"no tag", dmarc("v=DMARC1; p reject"), "dmarc-syntax"},
		{"fo, adkim, t, psd", dmarc("v=DMARC1; p=reject; fo=2; adkim=x; t=1; psd=x"), "dmarc-syntax dmarc-syntax dmarc-syntax dmarc-syntax"},
		{"sound DMARC", dmarc("v=DMARC1;p=quarantine; sp=reject; np=reject; adkim=s; aspf=r; fo=0:d; t=y; psd=n; rua=mailto:a@b.test,mailto:c@d.test!10m; x=y;"), ""},
		{"unquoted semicolon in DMARC", bare + "_dmarc TXT v=DMARC1; p=reject\n", "dmarc-cut"},
		{"L02", sound + "_dmarc TXT \"v=DMARC1; p=quarantine\"\n", "dmarc-several"},
		{"L03 at the apex", sound + "@ TXT \"v=DMARC1; p=reject\"\n", "dmarc-place"},
		{"permission for reports", sound + "else.test._report._dmarc TXT \"v=DMARC1\"\n", ""},
		{"L08", dmarc("v=DMARC1; sp=none"), "dmarc-policy"},
		{"L04", dmarc("v=DMARC1; p=none"), "dmarc-none"},
		{"rua", dmarc("v=DMARC1; p=reject; rua=a@b.test"), "dmarc-uri"},
		{"L07", dmarc("v=DMARC1; p=reject; pct=50"), "dmarc-obsolete"},
		{"M02", sound + "_mta-sts TXT \"v=STSv1\"\n", "mta-sts-record"},
		{"sound MTA-STS", sound + "_mta-sts TXT \"v=STSv1; id=20260101;\"\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:a@b.test\"\n", ""},
		{"M08", sound + "_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:a@b.test\"\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:c@b.test\"\n", "tlsrpt-record"},
	}
}

func TestCodesOfZones(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(zoneCases(), mailCases(t)) {
		if got := strings.Join(check(t, "example.", c.text, Unknown), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestExposure(t *testing.T) {
	t.Parallel()
	const zone = bare + "a A 10.0.0.1\nb AAAA fd00::1\nc A 100.64.0.1\nd A 127.0.0.1\nlocalhost A 127.0.0.1\n"
	for _, c := range []struct {
		origin   string
		exposure Exposure
		want     string
	}{
		{"example.", Public, "private-address private-address private-address special-address"},
		{"example.", Inside, ""},
		{"example.", Unknown, "mixed-addresses"},
		{"firm.de.", Public, "documentation-address private-address private-address private-address special-address"},
		{"firm.de.", Inside, ""},
	} {
		if got := strings.Join(check(t, c.origin, zone, c.exposure), " "); got != c.want {
			t.Errorf("%s %d: %q, want %q", c.origin, c.exposure, got, c.want)
		}
	}
}

// A server does not ask for notes and gets none.
func TestNotesAreAskedFor(t *testing.T) {
	t.Parallel()
	records, _ := zonefile.Parse(strings.NewReader(sound+"ns A 192.0.2.1\n@ MX 5 .\n"), "z", parsed(t, "example."), zonefile.Options{})
	if p := Check(records, parsed(t, "example."), Context{}); len(p) > 0 {
		t.Error(p)
	}
	p := Check(records, parsed(t, "example."), Context{Notes: true})
	if len(p) != 2 || p[0].Severity != zonefile.NOTE || p[0].Blocks() {
		t.Error(p)
	}
}

// A code that fires everywhere is told so often, then counted.
func TestManyOfOneCode(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(sound)
	for i := range 80 {
		fmt.Fprintf(&b, "c%d CNAME nowhere\n", i)
	}
	records, _ := zonefile.Parse(strings.NewReader(b.String()), "z", parsed(t, "example."), zonefile.Options{})
	problems := Check(records, parsed(t, "example."), Context{File: "z"})
	if len(problems) != maxPerCode+1 || problems[maxPerCode].String() !=
		"z:58:1: WARN cname-dangling 30 more of these from here on: a CNAME to a name that this zone does not have (add the name, or remove the CNAME)" {
		t.Errorf("%d: %v", len(problems), problems[0])
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range Codes() {
		if seen[c.Code] || strings.Trim(c.Code, "abcdefghijklmnopqrstuvwxyz-") != "" || c.What == "" || c.Fix == "" || c.From == "" ||
			c.Severity != zonefile.ERR && c.Severity != zonefile.WARN && c.Severity != zonefile.NOTE || c.Blocks && c.Severity != zonefile.ERR {
			t.Errorf("%+v", c)
		}
		seen[c.Code] = true
	}
	// What the sources report is in the table, and the table has nothing else.
	used := map[string]bool{}
	word := regexp.MustCompile(`"([a-z][a-z-]+)"`)
	for _, dir := range []string{".", "../zonefile", "../view"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") || f == "codes.go" {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range word.FindAllStringSubmatch(string(text), -1) {
				used[m[1]] = true
			}
		}
	}
	for _, kind := range []string{"ns", "mx", "srv"} {
		for _, what := range []string{"-address", "-cname", "-lame"} {
			used[kind+what] = true
		}
	}
	for code := range seen {
		if !used[code] {
			t.Errorf("%s is told nowhere", code)
		}
	}
	produced := map[string]bool{"outside": true, "private-address": true, "documentation-address": true}
	for _, c := range slices.Concat(zoneCases(), mailCases(t), checkCases()) {
		for code := range strings.FieldsSeq(c.want) {
			produced[strings.TrimSuffix(code, "!")] = true
		}
	}
	for _, c := range Codes() {
		if c.From == fromZone && !produced[c.Code] {
			t.Errorf("%s has no case", c.Code)
		}
	}
}

// The reader of SPF terms takes any text.
func FuzzSPF(f *testing.F) {
	for _, s := range []string{"a:%{d}/24//64", "ip4:1.2.3.4/8", "-all", "redirect=x", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, why := parseTerm(s); why == "" && strings.Contains(s, " ") {
			t.Errorf("%q", s)
		}
		list, why := tags(s)
		if why == "" && len(list) > len(s) {
			t.Errorf("%q", s)
		}
	})
}
