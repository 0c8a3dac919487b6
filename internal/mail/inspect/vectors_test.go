package inspect

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/address"
)

// vectors is the data of the authentication milter's own tests: real messages
// of 2015 with the zone they need. What they got there is the last columns of
// the table below; words, not wording.
const vectors = "../../../../shared/vectors/authmilter"

func TestAuthenticationMilterVectors(t *testing.T) {
	t.Parallel()
	zone := readVectors(t)
	const google, bad = "74.125.82.171", "123.123.123.123"
	for _, c := range []struct{ source, addr, helo, from, spf, dkim, dmarc string }{
		{"dmarc_reject", bad, "bad.name.google.com", "test@goestheweasel.com", "fail", "none", "fail"},
		{"dmarc_reject_case", bad, "bad.name.google.com", "test@goestheweasel.com", "fail", "none", "fail"},
		// There it passed; rsa-sha1 no longer may (RFC 8301, Section 3.1).
		{"dmarc_reject_wl", bad, "bad.name.google.com", "marc@marcbradshaw.net", "softfail", "permerror", "fail"},
		{"google_apps_bad", google, "mail-we0-f171.google.com", "marc@marcbradshaw.net", "pass", "fail", "pass"},
		{"google_apps_bad", bad, "bad.name.google.com", "marc@marcbradshaw.net", "softfail", "fail", "fail"},
		{"google_apps_good", google, "mail-we0-f171.google.com", "marc@marcbradshaw.net", "pass", "pass", "pass"},
		{"google_apps_good", "74.125.82.172", "mail-we0-f172.google.com", "marc@marcbradshaw.net", "pass", "pass", "pass"},
		{"google_apps_good", google, "marcbradshaw.net", "", "pass", "pass", "pass"},
		{"google_apps_good", bad, "bad.name.google.com", "marc@marcbradshaw.net", "softfail", "pass", "pass"},
		{"google_apps_good_case", google, "mail-we0-f171.google.com", "marc@marcbradshaw.net", "pass", "pass", "pass"},
		{"google_apps_good_sanitize", google, "mail-we0-f171.google.com", "marc@marcbradshaw.net", "pass", "pass", "pass"},
		{"google_apps_nodkim", google, "mail-we0-f171.google.com", "marc@marcbradshaw.net", "pass", "none", "pass"},
		{"google_apps_nodkim", bad, "bad.name.google.com", "marc@marcbradshaw.net", "softfail", "none", "fail"},
		{"list", "1.2.3.4", "test.example.com", "test@example.com", "fail", "none", "none"},
		{"longlines", google, "mail-we0-f171.google.com", "marc@marcbradshaw.net", "pass", "none", "none"},
		{"transparency", "1.2.3.4", "test.example.com", "test@example.com", "fail", "none", "none"},
	} {
		t.Run(c.source+" "+c.addr+" "+c.from, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(vectors, "source", c.source+".eml"))
			if err != nil {
				t.Fatal(err)
			}
			d, h := draft(t, strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n", "\r\n"))
			var from address.Address
			if c.from != "" {
				if from, err = address.Parse(c.from); err != nil {
					t.Fatal(err)
				}
			}
			p := inspector(t, Config{Resolver: zone, Rules: Rules{Checks: all}}).Begin(netip.MustParseAddr(c.addr))
			defer p.Close()
			p.Hello(c.helo)
			p.Mail(from)
			f, err := p.Await(t.Context(), d, h)
			if err != nil {
				t.Fatal(err)
			}
			signed := "none"
			for _, s := range f.DKIM {
				signed = s.Status.String()
			}
			if f.From.Status.String() != c.spf || signed != c.dkim || f.DMARC.Status.String() != c.dmarc {
				t.Errorf("spf=%s dkim=%s dmarc=%s, want %s %s %s\n%+v", f.From.Status, signed, f.DMARC.Status, c.spf, c.dkim, c.dmarc, f)
			}
		})
	}
}

// readVectors reads the zone file as far as the messages need it.
func readVectors(t *testing.T) lookuptest.Map {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(vectors, "zonefile"))
	if err != nil {
		t.Skipf("test data is absent: %v", err)
	}
	zone := lookuptest.Map{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		kind := -1
		for i, w := range words {
			if w == "A" || w == "AAAA" || w == "MX" || w == "TXT" || w == "PTR" || w == "CNAME" {
				kind = i
				break
			}
		}
		if strings.HasPrefix(line, ";") || kind < 1 || kind == len(words)-1 {
			continue
		}
		key := strings.ToLower(strings.TrimSuffix(words[0], ".")) + " " + words[kind]
		value := strings.Join(words[kind+1:], " ")
		if words[kind] == "TXT" {
			value = joined(line)
		}
		if value != "" {
			zone[key] = append(zone[key], value)
		}
	}
	return zone
}

// joined puts the quoted strings of a line together.
func joined(line string) string {
	var b strings.Builder
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			b.WriteString(part)
		}
	}
	return b.String()
}
