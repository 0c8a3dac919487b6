package authority

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

func (b *bench) faults() string {
	b.t.Helper()
	var all []string
	for _, f := range b.a.Faults() {
		all = append(all, strings.ReplaceAll(f.String(), b.root+"/", ""))
	}
	return strings.Join(all, "\n")
}

func wantLines(t *testing.T, got string, starts ...string) {
	t.Helper()
	lines := strings.Split(got, "\n")
	if got == "" {
		lines = nil
	}
	ok := len(lines) == len(starts)
	for i := range min(len(lines), len(starts)) {
		ok = ok && strings.HasPrefix(lines[i], starts[i])
	}
	if !ok {
		t.Errorf("got\n%s\nwant lines that begin with\n%s", got, strings.Join(starts, "\n"))
	}
}

// TestViewWithoutItsDirectory: what a start takes a reload takes too, and both
// show it, until the directory is there.
func TestViewWithoutItsDirectory(t *testing.T) {
	t.Parallel()
	absent := ViewConfig{Name: "lab", Overlay: "internal"}
	const says = "lab:1:1: ERR directory-unreadable view lab: cannot be read: no such file or directory"
	for _, how := range []string{"start", "reload"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			absent := absent
			absent.Dir = filepath.Join(b.root, "lab")
			b.write("external/example.test.zone", external)
			b.write("external/second.test.zone", external)
			with := b.cfg
			with.Views = append([]ViewConfig{absent}, b.cfg.Views...)
			if how == "start" {
				b.cfg = with
				b.start()
			} else {
				b.start()
				if err := b.a.Reconfigure(t.Context(), with); err != nil {
					t.Fatal(err)
				}
			}
			wantLines(t, b.faults(), says)
			b.want("lab", "www.example.test", "192.0.2.80") // nothing there fails
			r, err := b.a.Reload(t.Context())
			if failed := r.Failed(); err != nil || len(failed) != 1 || failed[0].View != "lab" || failed[0].Reason != "directory-unreadable" {
				t.Errorf("a reload does not tell: %+v, %v", r, err)
			}
			if err := os.Mkdir(absent.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			b.write("lab/example.test.zone", "www 60 A 10.9.0.80\n")
			b.settle()
			wantLines(t, b.faults())
			b.want("lab", "www.example.test", "10.9.0.80")
		})
	}
}

// TestTwoFilesOfOneZone: the second is passed over, and everybody hears of it,
// once in the log and for as long as it lies there in the status.
func TestTwoFilesOfOneZone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/Example.Test.zone", external)
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.start()
	b.want("external", "www.example.test", "192.0.2.80")
	const says = "external/example.test.zone:1:1: ERR file-passed-over view external: the file is passed over: zone example.test. is in file Example.Test.zone already"
	wantLines(t, b.faults(), says)
	if r := b.settle(); len(r.Failed()) != 1 {
		t.Errorf("a scan does not tell: %+v", r)
	}
	if n := strings.Count(b.log.String(), "file-passed-over"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	b.remove("external/Example.Test.zone")
	b.settle()
	wantLines(t, b.faults())
	b.want("external", "www.example.test", "192.0.2.81")
}

// TestHiddenNamesOfNoZone are told once each in the log, not at every look.
func TestHiddenNamesOfNoZone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Views[0].Hide, b.cfg.Views[0].HideTree = []string{"a.other.test", "b.other.test"}, []string{"other.test"}
	b.write("external/example.test.zone", external)
	b.start()
	for range 3 {
		b.settle()
	}
	wantLines(t, b.faults(), "view internal: WARN hide-nothing hide a.other.test.: no zone of view external holds it",
		"view internal: WARN hide-nothing hide b.other.test.", "view internal: WARN hide-nothing hide other.test.")
	if n := strings.Count(b.log.String(), "hide-nothing"); n != 3 {
		t.Errorf("logged %d times:\n%s", n, b.log)
	}
}

// chain is three views over each other, the outermost for anybody.
func chain(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	lab := ViewConfig{Name: "lab", Dir: filepath.Join(b.root, "lab"), Overlay: "internal", Clients: b.cfg.Views[0].Clients}
	b.cfg.Views = append([]ViewConfig{lab}, b.cfg.Views...)
	if err := os.Mkdir(lab.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) codes(view string) string {
	b.t.Helper()
	var all []string
	for _, p := range b.status(view, "example.test.").Problems {
		all = append(all, p.Code)
	}
	return strings.Join(all, " ")
}

// TestDriftInAChain: what an inner view says of an inner one is no leak; over
// a view in between that shows the zone as it is, it is one. Drift is told of
// each view against the one below it.
func TestDriftInAChain(t *testing.T) {
	t.Parallel()
	const ours = "db 60 A 10.0.0.5\n"
	for _, c := range []struct {
		why, external, internal, lab string
		wantInternal, wantLab        string
	}{
		{why: "a private address of the view between is no leak", internal: ours, lab: "store 60 A 10.0.0.5\n"},
		{why: "of the outermost it is", external: "db A 10.0.0.5\n", lab: "store 60 A 10.0.0.5\n", wantLab: "leak-address"},
		{why: "told once, of the view next to the world", external: "db A 10.0.0.5\n", internal: "store 60 A 10.0.0.5\n", lab: "more 60 A 10.0.0.5\n", wantInternal: "leak-address"},
		{why: "a target of the view between is no leak", internal: "c 60 CNAME store\n", lab: "store 60 A 10.0.0.5\n", wantInternal: "cname-dangling"},
		{why: "drift against the view between", internal: "www 60 A 10.0.0.80\n", lab: "www 60 A 10.0.0.80\n", wantLab: "view-same"},
		{why: "drift against the outermost", internal: "mail 60 A 192.0.2.25\n", wantInternal: "view-same"},
		{why: "types that go with the name", external: "www TXT t\n", internal: "www 60 A 10.0.0.80\n", lab: "other 60 A 10.0.0.1\n", wantInternal: "view-loses"},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			b := chain(t)
			b.write("external/example.test.zone", external+c.external)
			for view, text := range map[string]string{"internal": c.internal, "lab": c.lab} {
				if text != "" {
					b.write(view+"/example.test.zone", text)
				}
			}
			b.start()
			if got := b.codes("internal"); got != c.wantInternal {
				t.Errorf("internal: %q, want %q", got, c.wantInternal)
			}
			if got := b.codes("lab"); got != c.wantLab {
				t.Errorf("lab: %q, want %q", got, c.wantLab)
			}
		})
	}
}

// TestChainOfViews: the nearest wins, and a hidden name stays hidden above.
func TestChainOfViews(t *testing.T) {
	t.Parallel()
	b := chain(t)
	b.cfg.Views[1].Hide = []string{"mail.example.test"}
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "www 60 A 10.0.0.80\nintranet 60 A 10.0.0.1\n")
	b.write("lab/example.test.zone", "www 60 A 10.9.0.80\n")
	b.start()
	for _, w := range []struct{ view, owner, data string }{
		{"external", "www", "192.0.2.80"},
		{"internal", "www", "10.0.0.80"},
		{"lab", "www", "10.9.0.80"},
		{"external", "intranet", ""},
		{"lab", "intranet", "10.0.0.1"},
		{"external", "mail", "192.0.2.25"},
		{"internal", "mail", ""},
		{"lab", "mail", ""},
		{"lab", "ns1", "192.0.2.1"},
	} {
		b.want(w.view, w.owner+".example.test", w.data)
	}
	// A change at the bottom comes through to the top, also where the view in
	// between has no file any more to say so.
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.1", "192.0.2.9", 1))
	b.settle()
	b.want("lab", "ns1.example.test", "192.0.2.9")
}

// TestSerialIsPerView: a change inside moves the serial inside alone.
func TestSerialIsPerView(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.start()
	out, in := b.zone("external", "example.test").Serial(), b.zone("internal", "example.test").Serial()
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.2\n")
	b.settle()
	if got := b.zone("external", "example.test").Serial(); got != out {
		t.Errorf("outside %d, was %d: the world sees when the inside changes", got, out)
	}
	if got := b.zone("internal", "example.test").Serial(); got != in+1 {
		t.Errorf("inside %d, was %d", got, in)
	}
	for _, view := range []string{"external", "internal"} {
		if v, err := b.a.History(t.Context(), "example.test", view); err != nil || len(v) != map[string]int{"external": 1, "internal": 2}[view] {
			t.Errorf("journal of %s: %+v, %v", view, v, err)
		}
	}
}

// TestDerivedStaysOutOfInternalZones: what Postern publishes goes into the
// external zone and is inherited; a zone that is inside alone gets none.
func TestDerivedStaysOutOfInternalZones(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.write("internal/corp.test.zone", external)
	b.start()
	if err := b.a.Publish(t.Context(), "sel._domainkey.example.test", "k", []string{"v=DKIM1; p=AA"}); err != nil {
		t.Fatal(err)
	}
	for _, view := range []string{"external", "internal"} {
		if got := b.rr(view, "example.test", "sel._domainkey.example.test", dns.TypeTXT); got != `"v=DKIM1; p=AA"` {
			t.Errorf("%s: %q", view, got)
		}
	}
	if err := b.a.Publish(t.Context(), "sel._domainkey.corp.test", "k", []string{"v=DKIM1; p=AA"}); err == nil {
		t.Error("published in a zone that the world does not see")
	}
}

// TestFullCopyOfASignedZone: one DS stands for both views, so both have the
// same keys, or it is told; also when the keys come later.
func TestFullCopyOfASignedZone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Views[0].Full = []string{"example.test"}
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", external)
	b.start()
	if got := b.codes("internal"); got != "" {
		t.Error(got)
	}
	for _, step := range []struct{ outside, inside, want string }{
		{"@ DNSKEY 257 3 13 a2V5\n", "", "view-unsigned"},
		{"@ DNSKEY 257 3 13 a2V5\n", "@ DNSKEY 257 3 13 a2V6\n", "view-keys"},
		{"@ DNSKEY 257 3 13 a2V5\n", "@ DNSKEY 257 3 13 a2V5\n", ""},
	} {
		b.write("external/example.test.zone", external+step.outside)
		b.write("internal/example.test.zone", external+step.inside)
		b.settle()
		if got := b.codes("internal"); got != step.want {
			t.Errorf("outside %q, inside %q: %q, want %q", step.outside, step.inside, got, step.want)
		}
	}
}

// TestInternalZoneBelowAnExternalOne exists inside alone, and the external
// zone does not know it.
func TestInternalZoneBelowAnExternalOne(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("internal/corp.example.test.zone", external)
	b.start()
	n, err := name.Parse("www.corp.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for view, want := range map[string]string{"external": "example.test.", "internal": "corp.example.test."} {
		z, ok := b.a.Table().Named(view).Zone(n, dns.TypeA)
		if !ok || z.Origin().String() != want {
			t.Errorf("%s: %v", view, z)
		}
	}
	if got := b.rr("external", "example.test", "corp.example.test", dns.TypeNS); got != "" {
		t.Error("the cut shows outside:", got)
	}
}

// TestFaultsDoNotPassForZones: a fault is nobody's status, and no zone fails.
func TestFaultsDoNotPassForZones(t *testing.T) {
	t.Parallel()
	f := Fault{View: "v", Problem: zonefile.Problem{Severity: zonefile.WARN, Code: "c", Message: "m", Hint: "h"}}
	if f.String() != "view v: WARN c m (h)" {
		t.Error(f)
	}
	b := newBench(t)
	b.write("external/bad..name.zone", external)
	b.start()
	if len(b.a.Zones()) != 0 || len(b.a.Faults()) != 1 {
		t.Errorf("%+v %+v", b.a.Zones(), b.a.Faults())
	}
}

// TestOverlayThatChangesNothingIsKept: an internal file of which other records
// make the same zone as before is the one that comes back after a restart.
func TestOverlayThatChangesNothingIsKept(t *testing.T) {
	t.Parallel()
	for _, signed := range []bool{false, true} {
		b := newBench(t)
		if signed {
			p := policies()[0]
			b.cfg.Sign, b.cfg.Keys = &p, newRing(t)
		}
		b.write("external/example.test.zone", external)
		b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
		b.start()
		was := b.zone("internal", "example.test").Serial()
		b.write("internal/example.test.zone", "inner A 10.0.0.1\nwww 300 A 192.0.2.80\n") // as outside
		b.settle()
		if now := b.zone("internal", "example.test").Serial(); now != was {
			t.Errorf("signed %v: serial %d, was %d", signed, now, was)
		}
		b.remove("internal/example.test.zone")
		b.start()
		b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
		b.settle()
		b.want("external", "www.example.test.", "192.0.2.81")
		b.want("internal", "www.example.test.", "192.0.2.80")
		b.want("internal", "inner.example.test.", "10.0.0.1")
	}
}

// A name of a zone that only waits to be applied is no mistake.
func TestHiddenNamesOfPlannedZone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Manual, b.cfg.Views[0].Hide = true, []string{"www.example.test", "www.other.test"}
	b.write("external/example.test.zone", external)
	b.start()
	wantLines(t, b.faults(), "view internal: WARN hide-nothing hide www.other.test.")
	if strings.Contains(b.log.String(), "level=ERROR") {
		t.Errorf("a warning is no error:\n%s", b.log)
	}
}
