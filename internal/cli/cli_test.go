package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/dns/zonefile"
)

// command runs the command line as a shell would.
func command(t *testing.T, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), &env{in: strings.NewReader(stdin), out: &o, err: &e, version: "test"}, args)
	return code, o.String(), e.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongUseIsExitTwoWithAHint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, want string }{
		{"frobnicate", "postern --help"},
		{"--frobnicate", "unknown flag"},
		{"status --frobnicate", "postern status --help"},
		{"zone", "say what to do (hint: postern zone --help; it knows apply, check, compare, export, history, list, notify, plan, remove, retransfer, rollback)"},
		{"config show --effective=false", "what takes effect"},
		{"zone frobnicate", "postern zone --help"},
		{"zone check", "wants zone files"},
		{"zone notify a.example b.example", "one zone, or none for all"},
		{"zone retransfer", "wants a zone"},
		{"zone compare --against @192.0.2.1", "wants a zone"},
		{"zone compare a.example", "--against @192.0.2.53"},
		{"zone compare a.example --against @", "neither an address nor a host's name"},
		{"zone compare a.example --against @a@b", "neither an address nor a host's name"},
		{"zone check /nowhere/file.txt", "--origin"},
		{"user add", "wants an account's address"},
		{"user add a@b.example hunter2", "wants an account's address"},
		{"user add a@b.example", "--password-stdin"},
		{"queue drop", "say which messages"},
		{"queue drop abc --from x@y.example", "not both"},
		{"queue drop abc --all", "not both"},
		{"quarantine release abc --domain y.example", "not both"},
		{"zone check /", "is no file (hint: name the files: /*.zone)"},
		{"status x", "wants no arguments (hint: postern status --help)"},
		{"dkim", "it knows list, rotate"},
		{"dkim rotate", "wants a mail domain"},
		{"quarantine", "drop, list, release, show"},
		{"quarantine release", "say which messages"},
		{"explain mail --ip 192.0.2.1", "--ip and --to are needed"},
		{"explain route", "an address"},
		{"explain route a@b.test c@d.test", "an address"},
		{"serve --test-clock f", "--test-knobs"},
		{"serve --log-format xml", "text or json"},
		{"init nodots", "not a domain name"},
		{"init city.example --hostname mx.other.example", "not below city.example"},
		{"init city.example --internal 10.0.0.1/8", "not a network"},
		{"init city.example --address 127.0.0.1", "not an address of a machine"},
		{"help nonsense", "postern help"},
	} {
		code, _, errs := command(t, "", strings.Fields(c.line)...)
		if code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("postern %s: exit %d, %q; want exit 2 with %q", c.line, code, errs, c.want)
		}
	}
}

func TestNoServerIsSaidWithAHint(t *testing.T) {
	t.Parallel()
	conf := write(t, "postern.toml", "[server]\nhostname = \"e.example.net\"\nstate = \"s\"\ncontrol = \"none.sock\"\n")
	for _, line := range []string{"status", "reload", "user list", "queue list", "zone list", "zone notify", "zone notify a.example --view external", "zone retransfer a.example --view external", "zone compare a.example --against @192.0.2.1", "zone compare a.example --against [2001:db8::1]:53", "explain query a.example A", "explain mail --ip 192.0.2.1 --to a@b.example", "trace a@b.example", "quarantine list", "dkim list", "dkim rotate a.example"} {
		code, _, errs := command(t, "", append(strings.Fields(line), "--config", conf)...)
		if code != exitWrong || !strings.Contains(errs, "no Postern is running there") || !strings.Contains(errs, "postern serve") {
			t.Errorf("postern %s: exit %d, %q", line, code, errs)
		}
	}
}

// TestProgramsGetEveryErrorInJSON, not only those of the running server.
func TestProgramsGetEveryErrorInJSON(t *testing.T) {
	t.Parallel()
	nobody := write(t, "postern.toml", "[server]\nhostname = \"e.example.net\"\nstate = \"s\"\ncontrol = \"none.sock\"\n")
	for _, c := range []struct {
		line, reason string
		code         int
	}{
		{"frobnicate", "usage", exitUsage},
		{"queue", "usage", exitUsage},
		{"status --frobnicate", "usage", exitUsage},
		{"status --config " + nobody, "not-running", exitWrong},
		{"status --config /nowhere/postern.toml", "failed", exitWrong},
	} {
		code, out, errs := command(t, "", append([]string{"--json"}, strings.Fields(c.line)...)...)
		var got struct{ Error struct{ Reason, Text string } }
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != c.code || got.Error.Reason != c.reason || got.Error.Text == "" {
			t.Errorf("postern --json %s: exit %d, %v, %q", c.line, code, err, out)
		}
		if strings.Count(errs, "\n") != 1 {
			t.Errorf("postern --json %s: more than one line for people: %q", c.line, errs)
		}
	}
	if _, out, _ := command(t, "", "status", "--frobnicate", "--json"); !strings.Contains(out, `"usage"`) {
		t.Errorf("a wrong flag before --json: %q", out)
	}
	code, out, _ := command(t, "", "--json", "config", "show", "--config", "/nowhere/postern.toml")
	if code != exitWrong || !strings.Contains(out, `"problems"`) {
		t.Errorf("config show --json: exit %d, %q", code, out)
	}
}

// TestConfigCheckNamesWhatItChecked, lest somebody believes it was his file.
func TestConfigCheckNamesWhatItChecked(t *testing.T) {
	t.Parallel()
	conf := write(t, "postern.toml", "[server]\nhostname = \"e.example.net\"\n")
	if code, out, _ := command(t, "", "config", "check", "--config", conf); code != exitFine || !strings.Contains(out, "is good: "+conf) {
		t.Errorf("exit %d\n%s", code, out)
	}
	if _, err := os.Stat(defaultConfig); err == nil {
		t.Skip("this machine has a configuration of its own")
	}
	if code, out, _ := command(t, "", "config", "check"); code != exitFine || !strings.Contains(out, "of the demo") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestZoneCheckListsEveryProblem(t *testing.T) {
	t.Parallel()
	bad := write(t, "city.example.zone", "@ 300 SOA ns1 hm 1 2 3 4 5\n@ 300 NS ns1\nns1 300 A 192.0.2.300\nwww 300 CNAME ns1\nwww 300 A 192.0.2.1\nx 300 NOTATYPE y\n")
	code, out, _ := command(t, "", "zone", "check", bad)
	if code != exitWrong {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{":3:", ":6:"} {
		if !strings.Contains(out, bad+want) {
			t.Errorf("no problem at %s in\n%s", want, out)
		}
	}
	code, out, _ = command(t, "", "zone", "check", "--json", bad)
	var problems []struct{ Line int }
	if err := json.Unmarshal([]byte(out), &problems); err != nil || code != exitWrong || len(problems) < 2 {
		t.Errorf("--json: exit %d, %v\n%s", code, err, out)
	}
	good := write(t, "city.example.zone", "@ 300 SOA ns1 hm 1 2 3 4 5\n@ 300 NS ns1\nns1 300 A 192.0.2.3\n")
	if code, out, errs := command(t, "", "zone", "check", good); code != exitFine {
		t.Errorf("a good zone: exit %d\n%s%s", code, out, errs)
	}
}

func TestConfigCheckListsEveryProblemWithItsPlace(t *testing.T) {
	t.Parallel()
	conf := write(t, "postern.toml", "[server]\nhostnam = \"e.example.net\"\nstate = 7\n")
	code, out, _ := command(t, "", "config", "check", "--config", conf)
	if code != exitWrong || !strings.Contains(out, conf+":2:1: ") || !strings.Contains(out, "hostname") || !strings.Contains(out, conf+":3:") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestEveryCommandHasJSONHelpAndAManPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if code, _, errs := command(t, "", "man", dir); code != exitFine {
		t.Fatal(errs)
	}
	for _, page := range []string{"postern", "postern-serve", "postern-zone-check", "postern-queue-drop", "postern-user-add", "postern-explain-query"} {
		if _, err := os.Stat(filepath.Join(dir, page+".8")); err != nil {
			t.Error(err)
		}
	}
	for _, topic := range []string{"flow", "rfc", "limits"} {
		if code, out, _ := command(t, "", "help", topic); code != exitFine || len(out) < 200 {
			t.Errorf("help %s: exit %d, %d octets", topic, code, len(out))
		}
	}
	if code, out, _ := command(t, "", "completion", "bash"); code != exitFine || !strings.Contains(out, "postern") {
		t.Error("no completion")
	}
	if code, out, _ := command(t, "", "version", "--json"); code != exitFine || !strings.Contains(out, `"version": "test"`) {
		t.Errorf("version --json: %s", out)
	}
}

func TestInitWritesWhatServeTakesAndOverwritesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etc")
	a := initArgs{dir: dir, state: "/var/lib/postern", control: "/run/postern/control.sock", inner: "10.0.0.5"}
	p, err := a.plan("City.example.", ownAddrs("198.51.100.7", "10.0.0.1", "2001:db8::7"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.write(); err != nil {
		t.Fatal(err)
	}
	places := (&env{config: filepath.Join(dir, "postern.toml")}).zonePlaces()
	if places.cfg == nil || places.cfg.DNS.Apply != "manual" {
		t.Error("what init writes does not wait for apply")
	}
	for _, zone := range []string{"external", "internal"} {
		file := filepath.Join(dir, "zones", zone, "city.example.zone")
		problems, err := places.check(file, "", "")
		for _, problem := range problems {
			// Notes are for the admin to decide: a second name server, a
			// stricter policy.
			if problem.Severity == zonefile.ERR || problem.Severity == zonefile.WARN {
				t.Error(problem)
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
	var next bytes.Buffer
	if err := p.render(&next, "next.tmpl"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"zone plan --config " + dir, "zone apply --all --config " + dir, "edge.city.example 198.51.100.7", "edge.city.example 2001:db8::7", "reverse name"} {
		if !strings.Contains(next.String(), want) {
			t.Errorf("no %q in\n%s", want, next.String())
		}
	}
	if err := p.write(); err == nil || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("a second time: %v", err)
	}
}

// TestFilesThatAreNotThere: what is wrong, where, and what would be right.
func TestFilesThatAreNotThere(t *testing.T) {
	t.Parallel()
	conf := write(t, "postern.toml", "[server]\nhostname = \"e.example.net\"\nstate = \"s\"\ncontrol = 7\n")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"zone", "check", ""}, exitUsage, []string{`"" is no file`, "*.zone"}},
		{[]string{"dnssec", "import", "a.example", "/nowhere/K.private"}, exitWrong, []string{"dnssec import: read /nowhere/K.private: no such file", "hint: BIND has"}},
		{[]string{"status", "--config", conf}, exitWrong, []string{"no Postern is running there", "config check"}},
	} {
		code, _, errs := command(t, "", c.args...)
		for _, want := range c.want {
			if code != c.code || !strings.Contains(errs, want) {
				t.Errorf("postern %q: exit %d, %q; want exit %d with %q", c.args, code, errs, c.code, want)
			}
		}
	}
}
