package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"postern/internal/manage"
)

// TestPrintSecondaries: which serial each has, and since when and why not ours.
func TestPrintSecondaries(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	row := func(peer string, state manage.SecondaryState) manage.Secondary {
		return manage.Secondary{Zone: "a.", View: "out", Peer: peer, Address: "192.0.2.53:53", State: state}
	}
	fine, fresh, behind, gone, never := row("fine", manage.SecondaryOK), row("new", manage.SecondaryUnknown), row("behind", manage.SecondaryLagging), row("gone", manage.SecondaryUnreachable), row("never", manage.SecondaryUnreachable)
	fine.Serial, fine.Asked = 7, at
	behind.Serial, behind.Asked, behind.Since = 6, at, at
	gone.Serial, gone.Asked, gone.Since, gone.Reason = 5, at, at, "no answer"
	never.Reason = "REFUSED"
	var b bytes.Buffer
	printSecondaries(&b, manage.Status{Secondaries: []manage.Secondary{fine, fresh, behind, gone, never}})
	want := []string{
		"",
		"SECONDARIES",
		"ZONE VIEW PEER ADDRESS SERIAL STATE",
		"a. out fine 192.0.2.53:53 7 ok",
		"a. out new 192.0.2.53:53 - unknown",
		"a. out behind 192.0.2.53:53 6 lagging since 2026-03-01 12:00:00",
		"a. out gone 192.0.2.53:53 5 unreachable since 2026-03-01 12:00:00: no answer",
		"a. out never 192.0.2.53:53 - unreachable: REFUSED",
		"",
	}
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", b.String())
	}
	if isLost(fine) || isLost(fresh) || isLost(behind) || !isLost(gone) {
		t.Error("the wrong ones are lost")
	}
	b.Reset()
	if printSecondaries(&b, manage.Status{}); b.Len() > 0 {
		t.Errorf("of nobody: %q", b.String())
	}
}

// TestPrintUpstreams: whom each secondary zone comes from, until when it is
// good, and what is wrong; of our own zones nothing.
func TestPrintUpstreams(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	zone := func(name string, u *manage.Upstream) manage.Zone {
		return manage.Zone{Zone: name, View: "out", State: "ok", Since: at, Upstream: u}
	}
	zones := []manage.Zone{
		zone("own.", nil),
		zone("fresh.", &manage.Upstream{State: manage.UpstreamFresh, Serial: 7, Primary: "hidden", Address: "192.0.2.1:53", Checked: at, Next: at.Add(time.Hour), Expires: at.Add(24 * time.Hour)}),
		zone("none.", &manage.Upstream{State: manage.UpstreamMissing, Next: at, Running: "transfer", Reason: "refused: REFUSED"}),
	}
	zones[1].Catalog = "cat."
	var b bytes.Buffer
	printUpstreams(&b, zones)
	want := []string{
		"",
		"SECONDARY ZONES",
		"ZONE VIEW CATALOG PRIMARY SERIAL CHECKED NEXT EXPIRES STATE",
		"fresh. out cat. hidden 192.0.2.1:53 7 2026-03-01 12:00:00 2026-03-01 13:00:00 2026-03-02 12:00:00 fresh",
		"none. out - - - - 2026-03-01 12:00:00 - missing, transfer runs: refused: REFUSED",
		"",
	}
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	if printUpstreams(&b, zones[:1]); b.Len() > 0 {
		t.Errorf("of own zones: %q", b.String())
	}
	if !allGood(zones[:2]) || allGood(zones) {
		t.Error("the wrong ones are good")
	}
}

// TestPrintCatalogs: whose each is, how many zones follow from it, and what is
// wrong; what is wrong is worth an exit code.
func TestPrintCatalogs(t *testing.T) {
	t.Parallel()
	zones := []manage.Zone{
		{Zone: "plain.", View: "out", State: "ok"},
		{Zone: "ours.", View: "out", State: "ok", Lists: &manage.Catalog{Made: true, Known: true, Members: 3}},
		{Zone: "away.", View: "out", State: "ok", Lists: &manage.Catalog{Members: 2}},
		{Zone: "bad.", View: "out", State: "ok", Lists: &manage.Catalog{Members: 1, Broken: "no version"}},
		{Zone: "held.", View: "out", State: "ok", Lists: &manage.Catalog{Known: true, Members: 12, Held: []string{"1.", "2.", "3.", "4.", "5.", "6."}}},
		{Zone: "greedy.", View: "out", State: "ok", Lists: &manage.Catalog{Known: true, Refused: []string{"1", "2", "3", "4", "5", "6", "7"}}},
	}
	var b bytes.Buffer
	printCatalogs(&b, zones)
	want := []string{
		"",
		"CATALOGS",
		"CATALOG VIEW OF ZONES STATE",
		"ours. out us 3 ok",
		"away. out others 2 not known: what followed from it stays",
		"bad. out others 1 broken: no version",
		"held. out others 12 6 zones go only when that is accepted",
		"greedy. out others 0 7 zones refused",
		"catalog held. lists no more, or with another label: 1. 2. 3. 4. 5. and 1 more (if it is meant: postern zone apply held. --accept loses-zones --reason TEXT)",
		"catalog greedy.: 1", "catalog greedy.: 2", "catalog greedy.: 3", "catalog greedy.: 4", "catalog greedy.: 5",
		"catalog greedy.: and 2 more",
		"",
	}
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", b.String())
	}
	for i, good := range []bool{true, true, true, false, false, false} {
		if allGood(zones[i:i+1]) != good {
			t.Errorf("%s is good: %t", zones[i].Zone, !good)
		}
	}
}

// TestPrintFailures: one of them does not fill the screen.
func TestPrintFailures(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printStatus(&b, manage.Status{Failures: []manage.Failure{{Level: "warn", Text: strings.Repeat("é", 1000)}, {Level: "error", Text: "short"}}})
	for line := range strings.Lines(b.String()) {
		if len(line) > 350 || !utf8.ValidString(line) {
			t.Errorf("%d octets: %q", len(line), line)
		}
	}
	if !strings.Contains(b.String(), "error short\n") || !strings.Contains(b.String(), "éé ...\n") {
		t.Errorf("got %s", b.String())
	}
}
