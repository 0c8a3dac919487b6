package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"postern/internal/manage"
)

// squeeze is a text with single blanks, line by line.
func squeeze(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func TestPrintSigning(t *testing.T) {
	t.Parallel()
	renews := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keys := []manage.ZoneKey{{Role: "ksk", Algorithm: "ed25519", Tag: 4711}, {Role: "zsk", Algorithm: "ed25519", Tag: 17}}
	row := func(zone string, s manage.Signing) manage.SignedZone {
		return manage.SignedZone{Zone: zone, View: "out", Signing: s}
	}
	signed, resumed, failed, never := row("a.", manage.SignedBy), row("b.", manage.SignedBy), row("c.", manage.SignedBy), row("d.", manage.Unsigned)
	signed.Policy, signed.Keys, signed.Renews, signed.Expires = "standard", keys, renews, renews.AddDate(0, 0, 15)
	rolling, waits := signed, row("h.", manage.Unsigned)
	rolling.Zone, rolling.Parent, rolling.Next, rolling.Alarms = "g.", manage.ParentDS, "waits for DS 17 at the parent", []string{"ds-waits: it is slow", "secondary-silent: isp"}
	waits.Next = "the zone is signed, when the parent could be asked for its DS"
	resumed.Policy = "standard"
	failed.Policy, failed.Renews, failed.Reason, failed.Problem = "standard", renews, "attest-failed", "sig-bogus a. SOA: no"
	never.Reason, never.Problem = "sign-failed", "no key"
	planned := row("e.", manage.Unsigned)
	planned.Reason = "planned"
	var b bytes.Buffer
	printSigning(&b, []manage.SignedZone{signed, resumed, failed, never, planned, row("f.", manage.Presigned), rolling, waits})
	want := `ZONE VIEW POLICY KEYS PARENT SIGNED UNTIL WHAT NEXT
a. out standard ksk/ed25519/4711 zsk/ed25519/17 - 2026-03-16 12:00:00 next: signatures are made anew on 2026-03-01 12:00:00
b. out standard - - - next: the signatures are looked through
c. out standard - - - attest-failed: sig-bogus a. SOA: no; it is tried again every minute
d. out - - - - sign-failed: no key; it is tried again every minute
e. out - - - - not signed
f. out - - - - signed by its file: whoever made it signs it anew
g. out standard ksk/ed25519/4711 zsk/ed25519/17 ds 2026-03-16 12:00:00 next: waits for DS 17 at the parent
h. out - - - - not signed; next: the zone is signed, when the parent could be asked for its DS
g. out: ds-waits: it is slow
g. out: secondary-silent: isp
`
	if got := squeeze(b.String()); got != want {
		t.Errorf("got\n%s", got)
	}
	b.Reset()
	if printSigning(&b, nil); !strings.Contains(b.String(), "no zones (hint:") {
		t.Errorf("of nothing: %q", b.String())
	}
}

func TestPrintDelegation(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printDelegation(&b, manage.Delegation{
		Keys:   []manage.Introduced{{Text: "a. IN DS 1 2 3 44\n"}},
		Behind: []string{"isp 192.0.2.53:53 is lagging"}, Wait: "too early",
	})
	want := "a. IN DS 1 2 3 44\n; WAIT: too early\n; WAIT: isp 192.0.2.53:53 is lagging: without the signed zone there, a DS makes its answers bogus\n"
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

// TestZonesShowTheirHorizon beside their state.
func TestZonesShowTheirHorizon(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	printZones(&b, []manage.Zone{{Zone: "a.", View: "out", State: "ok", Since: at, SignedUntil: at.AddDate(0, 0, 1), Parent: manage.ParentDS}, {Zone: "b.", View: "out", State: "ok", Since: at}})
	got := squeeze(b.String())
	if !strings.Contains(got, "SINCE SIGNED UNTIL DS\n") || !strings.Contains(got, "a. out 0 0 0 ok 2026-03-01 12:00:00 2026-03-02 12:00:00 ds\n") || !strings.Contains(got, "b. out 0 0 0 ok 2026-03-01 12:00:00 - -\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestDNSSECUsedWrongly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, want string }{
		{"dnssec", "it knows disable, ds, import, roll, status"},
		{"dnssec roll", "wants a zone"},
		{"dnssec roll a.example b.example", "wants a zone"},
		{"dnssec disable", "wants a zone"},
		{"dnssec import a.example", "wants a zone, and files of keys"},
		{"dnssec ds", "wants a zone"},
		{"dnssec ds a.example b.example", "wants a zone"},
		{"dnssec status a.example b.example", "one zone, or none for all"},
	} {
		code, _, errs := command(t, "", strings.Fields(c.line)...)
		if code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("postern %s: exit %d, %q; want exit 2 with %q", c.line, code, errs, c.want)
		}
	}
	conf := write(t, "postern.toml", "[server]\nhostname = \"e.example.net\"\nstate = \"s\"\ncontrol = \"none.sock\"\n")
	for _, line := range []string{"dnssec status", "dnssec ds a.example", "dnssec roll a.example", "dnssec disable a.example", "zone export a.example --signed"} {
		code, _, errs := command(t, "", append(strings.Fields(line), "--config", conf)...)
		if code != exitWrong || !strings.Contains(errs, "no Postern is running there") {
			t.Errorf("postern %s: exit %d, %q", line, code, errs)
		}
	}
}

func TestPrintImported(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printImported(&b, manage.Imported{Zone: "a."})
	printImported(&b, manage.Imported{Zone: "a.", Keys: []manage.ZoneKey{{Role: "csk", Algorithm: "ed25519", Tag: 17}}, Policy: "[dnssec.imported]\n"})
	want := "these keys are here already\na. has now csk/ed25519/17\nwrite this into the configuration, so that the policy is as the keys are:\n\n[dnssec.imported]\n"
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
