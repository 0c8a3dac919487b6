package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postern/internal/dns/zonelint"
	"postern/internal/manage"
)

// words makes one line of a text, so that where it is broken does not matter.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestHelpLintHasEveryCode of the one table, with severity, meaning and fix.
func TestHelpLintHasEveryCode(t *testing.T) {
	t.Parallel()
	code, page, _ := command(t, "", "help", "lint")
	if code != exitFine {
		t.Fatalf("exit %d", code)
	}
	for _, c := range zonelint.Codes() {
		code, entry, errs := command(t, "", "help", "lint", c.Code)
		if code != exitFine || !strings.Contains(page, entry) {
			t.Errorf("help lint %s: exit %d, %q %q", c.Code, code, entry, errs)
		}
		for _, want := range []string{c.Code + " (" + c.Severity, c.What + ".", "Fix: " + c.Fix} {
			if !strings.Contains(words(entry), words(want)) {
				t.Errorf("help lint %s: no %q in %q", c.Code, want, entry)
			}
		}
		if strings.Contains(entry, ", blocks") != c.Blocks {
			t.Errorf("help lint %s: %q", c.Code, entry)
		}
	}
	if code, _, errs := command(t, "", "help", "lint", "nonsense"); code != exitUsage || !strings.Contains(errs, "postern help lint lists them") {
		t.Errorf("exit %d, %q", code, errs)
	}
}

// TestHelpLintHasEveryReasonWord that a zone's owner can give.
func TestHelpLintHasEveryReasonWord(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../dns/authority/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\t(?:[rR]eason|Large|Loses)\w+\s+= "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
			found++
			if code, _, _ := command(t, "", "help", "lint", m[1]); code != exitFine {
				t.Errorf("%s: the manual's page lint does not tell of %q", file, m[1])
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d reason words were found", found)
	}
}

// zoneHead is the beginning of a sound zone.
const zoneHead = "$TTL 300\n@ SOA ns1 hm 1 2h 1h 14d 1h\n@ NS ns1\n@ NS ns.else.test.\nns1 A 198.51.100.1\n"

func TestZoneCheckSaysWhatBecomesOfTheZone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		code int
		want []string
	}{
		"blocks": {zoneHead + "www A 1.2.3\n@ MX 10 nowhere\n", exitWrong, []string{
			"cannot be served: 1 of 1 ERR must be put right first", "the last good state goes on being served", "1 file: 1 ERR, 0 WARN, 0 NOTE"}},
		"is served":    {zoneHead + "@ MX 10 nowhere\n@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n", exitWrong, []string{"can be served, but clients will notice its 1 ERR", "1 file: 1 ERR, 0 WARN, 0 NOTE"}},
		"is fine":      {zoneHead, exitFine, []string{".zone: can be served\n", "1 file: 0 ERR, 0 WARN, 0 NOTE"}},
		"has no place": {"$TTL 300\n", exitWrong, []string{".zone:1:1: ERR soa-missing", ".zone:1:1: ERR ns-missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, "city.example.zone", c.text)
			code, out, errs := command(t, "", "zone", "check", file)
			if code != c.code {
				t.Errorf("exit %d, %s", code, errs)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			for line := range strings.Lines(out) {
				if strings.Contains(line, " ERR ") && !regexp.MustCompile(`^\S+:\d+:\d+: |must be|clients`).MatchString(line) && !strings.HasPrefix(line, "1 file") {
					t.Errorf("no place in %q", line)
				}
			}
		})
	}
}

// TestZoneCheckJudgesAFileWithTheOneItChanges: an internal file needs no SOA,
// and what it loses by mistake is told of it.
func TestZoneCheckJudgesAFileWithTheOneItChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(path, text string) string {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf := put("postern.toml", `[server]
hostname = "e.city.example"
[[view]]
name = "inside"
clients = ["10.0.0.0/8"]
zones = "in"
overlay = "out"
hide = ["old.city.example"]
[[view]]
name = "out"
clients = ["any"]
zones = "out"
`)
	outer := put("out/city.example.zone", zoneHead+"sub NS ns.sub\nns.sub A 198.51.100.2\nold A 198.51.100.3\n")
	inner := put("in/city.example.zone", "$TTL 300\nwww A 10.0.0.80\n")
	alone := put("elsewhere/city.example.zone", "$TTL 300\nwww A 10.0.0.80\n")
	for _, args := range [][]string{{"--config", conf, inner}, {"--over", outer, alone}} {
		if code, out, _ := command(t, "", append([]string{"zone", "check"}, args...)...); code != exitFine || !strings.Contains(out, "1 file: 0 ERR, 0 WARN, 0 NOTE") {
			t.Errorf("%v: exit %d\n%s", args, code, out)
		}
	}
	if code, out, _ := command(t, "", "zone", "check", alone); code != exitWrong || !strings.Contains(out, "soa-missing") {
		t.Errorf("alone: exit %d\n%s", code, out)
	}
	put("in/city.example.zone", "$TTL 300\nx.sub A 10.0.0.80\n")
	if code, out, _ := command(t, "", "zone", "check", "--config", conf, inner); code != exitWrong || !strings.Contains(out, inner+":2:1: ERR below-cut") {
		t.Errorf("below a delegation: exit %d\n%s", code, out)
	}
	put("out/city.example.zone", "broken (\n")
	if code, out, _ := command(t, "", "zone", "check", "--config", conf, inner); code != exitWrong || !strings.Contains(out, "ERR base-failed") || !strings.Contains(out, "zone check "+outer) {
		t.Errorf("over a broken one: exit %d\n%s", code, out)
	}
}

// TestZoneCheckKnowsWhereAFileLies: who sees it, and what lies beside it.
func TestZoneCheckKnowsWhereAFileLies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(path, text string) string {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf := put("postern.toml", `[server]
hostname = "e.city.example"
[[view]]
name = "inside"
clients = ["10.0.0.0/8"]
zones = "in"
[[view]]
name = "out"
clients = ["any"]
zones = "out"
[zone."moved.example"]
file = "elsewhere"
`)
	text := zoneHead + "private A 10.0.0.1\n"
	twice := "ERR file-passed-over of the zone's files all but one are passed over: zone city.example. is in file city.example.zone too"
	for _, c := range []struct{ file, says, not string }{
		{put("out/city.example.zone", text), "private-address", "file-passed-over"},
		{put("in/city.example.zone", text), ": can be served", "private-address"},
		{put("none/city.example.zone", text), ": can be served", "private-address"},
		{put("in/moved.example.zone", zoneHead), "is configured to be in file elsewhere", ": can be served"},
		{put("in/elsewhere", zoneHead), ": can be served", "file-passed-over"},
	} {
		_, out, _ := command(t, "", "zone", "check", "--config", conf, c.file)
		if !strings.Contains(out, c.says) || strings.Contains(out, c.not) {
			t.Errorf("%s: %s", c.file, out)
		}
	}
	copied := put("out/City.Example.zone", text)
	if _, out, _ := command(t, "", "zone", "check", "--config", conf, copied); !strings.Contains(out, copied+":1:1: "+twice) {
		t.Error(out)
	}
}

// TestStatusStaysOneScreen: of a zone with many problems the first are shown,
// and where the others are.
func TestStatusStaysOneScreen(t *testing.T) {
	t.Parallel()
	z := manage.Zone{Zone: "a.example.", View: "out", File: "a.example.zone", State: "planned", Reason: "planned"}
	for i := range 40 {
		z.Problems = append(z.Problems, fmt.Sprintf("a.example.zone:%d:1: WARN x y", i+1))
	}
	var b strings.Builder
	printZones(&b, []manage.Zone{z})
	if strings.Count(b.String(), " WARN ") != 5 || !strings.Contains(b.String(), "and 35 more of zone a.example.: postern zone check a.example.zone") {
		t.Error(b.String())
	}
	if strings.Contains(b.String(), "planned (planned)") {
		t.Error("the reason repeats the state")
	}
}
