package attest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// oddZone has one of each thing that makes signing hard.
const oddZone = `$TTL 3600
@ SOA ns1 hostmaster 1 7200 3600 86400 300
@ NS ns1
@ NS ns.secure
@ MX 10 Mail.Example.
@ CAA 0 issue "ca.example.net"
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
mail A 192.0.2.2
*.wild TXT "a" "wildcard"
host.wild A 192.0.2.3
a.b.c.d A 192.0.2.4
b.c.d TXT "in between"
*.star.c.d MX 0 .
secure NS ns.secure
secure DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.secure A 192.0.2.5
loose NS ns.loose
loose NS ns.elsewhere.net.
ns.loose A 192.0.2.6
x.y.loose A 192.0.2.7
under.gap NS ns1
both.gap2 NS ns1
own.gap2 A 192.0.2.10
moved DNAME elsewhere.net.
alias CNAME mail
UPPER.Case TXT "mixed"
dot\.in.label A 192.0.2.8
\000zero TXT "octet"
sp\032ace TXT "blank"
_sip._tcp SRV 0 1 5060 mail
type TYPE65280 \# 3 010203
long TXT "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" "y"
svc HTTPS 1 . alpn=h2 ipv4hint=192.0.2.9
`

// tool runs another's program in dir; the test is skipped where it is missing.
func tool(t *testing.T, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not there", args[0])
		}
		t.Skipf("%s is not there", args[0])
	}
	c := exec.CommandContext(t.Context(), args[0], args[1:]...)
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, err.(*exec.ExitError).Stderr)
	}
	return string(out)
}

func zoneFile(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "zone"), []byte("$ORIGIN example.\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// byBIND signs with dnssec-signzone.
func byBIND(t *testing.T, zone string, algorithms []string, csk bool, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	zoneFile(t, dir, zone)
	for _, a := range algorithms {
		tool(t, dir, "dnssec-keygen", "-q", "-a", a, "-f", "KSK", "example.")
		if !csk {
			tool(t, dir, "dnssec-keygen", "-q", "-a", a, "example.")
		}
	}
	all := append([]string{"dnssec-signzone", "-q", "-S", "-o", "example.", "-f", "signed", "-e", "now+30d"}, args...)
	if csk {
		all = append(all, "-z")
	}
	tool(t, dir, append(all, "zone")...)
	text, err := os.ReadFile(filepath.Join(dir, "signed"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// byNLnet signs with ldns-signzone.
func byNLnet(t *testing.T, zone, algorithm string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	zoneFile(t, dir, zone)
	ksk := strings.TrimSpace(tool(t, dir, "ldns-keygen", "-k", "-a", algorithm, "-b", "2048", "example."))
	zsk := strings.TrimSpace(tool(t, dir, "ldns-keygen", "-a", algorithm, "-b", "2048", "example."))
	until := time.Now().AddDate(0, 1, 0).UTC().Format("20060102150405")
	tool(t, dir, append(append([]string{"ldns-signzone", "-o", "example.", "-f", "signed", "-e", until}, args...), "zone", zsk, ksk)...)
	text, err := os.ReadFile(filepath.Join(dir, "signed"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSignedByBIND(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		algorithms []string
		csk        bool
		args       []string
		context    Context
	}{
		"nsec":            {algorithms: []string{"ECDSAP256SHA256"}},
		"csk":             {algorithms: []string{"ECDSAP256SHA256"}, csk: true},
		"p384":            {algorithms: []string{"ECDSAP384SHA384"}},
		"ed25519":         {algorithms: []string{"ED25519"}},
		"rsa":             {algorithms: []string{"RSASHA256"}},
		"rsa512":          {algorithms: []string{"RSASHA512"}},
		"two algorithms":  {algorithms: []string{"RSASHA256", "ECDSAP256SHA256"}},
		"nsec3":           {algorithms: []string{"ECDSAP256SHA256"}, args: []string{"-3", "-", "-H", "0"}},
		"nsec3 salted":    {algorithms: []string{"ECDSAP256SHA256"}, args: []string{"-3", "aabbccdd", "-H", "12"}, context: Context{Presigned: true}},
		"nsec3 opt-out":   {algorithms: []string{"ECDSAP256SHA256"}, args: []string{"-3", "-", "-H", "0", "-A"}, context: Context{OptOut: true}},
		"nsec3 presigned": {algorithms: []string{"ECDSAP256SHA256"}, args: []string{"-3", "-", "-H", "0", "-A"}, context: Context{Presigned: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := c.args
			if strings.HasPrefix(name, "rsa") || name == "two algorithms" {
				args = append(args, "-n", "1")
			}
			z := load(t, byBIND(t, oddZone, c.algorithms, c.csk, args...), "example.")
			c.context.Workers = 2
			for _, p := range Check(z, time.Now(), c.context) {
				t.Error(p)
			}
			// The same signatures do not hold in two months.
			if got := codes(Check(z, time.Now().AddDate(0, 2, 0), c.context)); len(got) != 1 || got[0] != "sig-expired" {
				t.Errorf("later: %v", got)
			}
		})
	}
}

func TestSignedByNLnet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		algorithm string
		args      []string
	}{
		"nsec":          {"ECDSAP256SHA256", nil},
		"rsa":           {"RSASHA256", nil},
		"ed25519":       {"ED25519", nil},
		"zonemd":        {"ECDSAP256SHA256", []string{"-z", "1:1", "-z", "1:2"}},
		"nsec3":         {"ECDSAP256SHA256", []string{"-n"}},
		"nsec3 salted":  {"ECDSAP384SHA384", []string{"-n", "-s", "abcd", "-t", "5"}},
		"nsec3 opt-out": {"ECDSAP256SHA256", []string{"-n", "-p", "-z", "1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := load(t, byNLnet(t, oddZone, c.algorithm, c.args...), "example.")
			for _, p := range Check(z, time.Now(), Context{Presigned: true, ZONEMD: strings.Contains(strings.Join(c.args, " "), "-z"), Workers: 2}) {
				t.Error(p)
			}
		})
	}
}
