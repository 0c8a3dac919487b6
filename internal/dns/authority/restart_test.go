package authority

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/journal"
)

const warned = external + "$INCLUDE more.inc\nold	CNAME nowhere\n"

// folded reports whether the zone's file was taken as it was judged before.
func (b *bench) folded() bool {
	return b.a.owner.sources[b.key("external")].folded
}

func (b *bench) key(view string) key { return key{"\x07example\x04test\x00", view} }

func restartBench(t *testing.T) *bench {
	b := newBench(t)
	b.write("external/more.inc", "txt TXT \"a\"\n")
	b.write("external/example.test.zone", warned)
	b.start()
	if err := b.a.Publish(t.Context(), "key.example.test", "dkim", []string{"v=DKIM1; p="}); err != nil {
		t.Fatal(err)
	}
	return b
}

// What has not changed is not read again, and nothing shows it.
func TestRestartTakesTheNote(t *testing.T) {
	t.Parallel()
	b := restartBench(t)
	before := b.a.Zones()
	if b.folded() || len(before) != 1 || len(before[0].Problems) != 1 || before[0].Problems[0].Line == 0 {
		t.Fatalf("%+v", before)
	}
	for range 2 {
		b.start()
		after := b.a.Zones()
		after[0].Since = before[0].Since
		after[0].LoadedAt = before[0].LoadedAt
		if !b.folded() || !reflect.DeepEqual(before, after) {
			t.Fatalf("folded %v\n%+v\n%+v", b.folded(), before, after)
		}
		b.want("external", "www.example.test", "192.0.2.80")
		if b.scan(); !b.folded() {
			t.Error("a look at the files unfolded it")
		}
	}
	b.write("external/example.test.zone", warned+"new A 192.0.2.7\n")
	if r := b.settle(); len(r.Changes) != 1 || r.Changes[0].Added != 1 || r.Changes[0].Removed != 0 {
		t.Errorf("%+v", r)
	}
	if v, err := b.a.History(t.Context(), "example.test", ""); err != nil || len(v) != 2 {
		t.Errorf("%+v %v", v, err)
	}
}

// Whatever else the outcome hangs on makes the file be read.
func TestRestartReadsWhatIsNotAsNoted(t *testing.T) {
	t.Parallel()
	noteFile := func(b *bench) string { return filepath.Join(b.root, "state", "zones", "example.test@external.note") }
	for what, change := range map[string]func(b *bench){
		"comment":        func(b *bench) { b.write("external/example.test.zone", warned+"; more\n") },
		"record":         func(b *bench) { b.write("external/example.test.zone", warned+"new A 192.0.2.7\n") },
		"include":        func(b *bench) { b.write("external/more.inc", "txt TXT \"b\"\n") },
		"include gone":   func(b *bench) { b.remove("external/more.inc") },
		"file gone":      func(b *bench) { b.remove("external/example.test.zone") },
		"other program":  func(b *bench) { b.build = "two" },
		"unknown":        func(b *bench) { b.build = "" },
		"strict":         func(b *bench) { b.cfg.Strict = true },
		"serial policy":  func(b *bench) { b.cfg.Serial = Counter },
		"exposure":       func(b *bench) { b.cfg.External = "internal" },
		"no note":        func(b *bench) { b.removeAt(noteFile(b)) },
		"broken note":    func(b *bench) { b.writeAt(noteFile(b), "postern-zone 1\n{}") },
		"other snapshot": func(b *bench) { b.replaceNote(noteFile(b)) },
		"derived records": func(b *bench) {
			store, err := journal.Open(filepath.Join(b.root, "state", "zones"), b.cfg.Writer)
			if err == nil {
				err = store.SaveDerived(nil)
			}
			if err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := restartBench(t)
			b.stop()
			change(b)
			b.start()
			if what == "derived records" {
				if got := b.rr("external", "example.test", "key.example.test", dns.TypeTXT); got != "" {
					t.Error("still published:", got)
				}
			} else if b.a.owner.sources[b.key("external")].noted {
				t.Error("it was trusted")
			}
			// As if there had never been a note.
			before := b.a.Zones()
			b.stop()
			if err := os.RemoveAll(noteFile(b)); err != nil {
				t.Fatal(err)
			}
			b.build = ""
			b.start()
			after := b.a.Zones()
			for i := range after {
				after[i].Since, after[i].LoadedAt = before[i].Since, before[i].LoadedAt
			}
			if !reflect.DeepEqual(before, after) {
				t.Errorf("with a note\n%+v\nwithout\n%+v", before, after)
			}
		})
	}
}

func (b *bench) removeAt(path string) {
	b.t.Helper()
	if err := os.Remove(path); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) writeAt(path, text string) {
	b.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// replaceNote puts the note of the state before in place of the present one.
func (b *bench) replaceNote(path string) {
	b.t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.start()
	b.write("external/example.test.zone", warned+"new A 192.0.2.7\n")
	b.settle()
	b.stop()
	b.write("external/example.test.zone", warned)
	b.writeAt(path, string(old))
}

// A folded zone is as good as one that was read: for the view above, for
// derived records, for a file that breaks or goes, for a rollback.
func TestFoldedRecordsAreThereWhenNeeded(t *testing.T) {
	t.Parallel()
	folded := func(t *testing.T) *bench {
		b := restartBench(t)
		b.start()
		if !b.folded() {
			t.Fatal("not folded")
		}
		return b
	}
	t.Run("overlay", func(t *testing.T) {
		t.Parallel()
		b := folded(t)
		b.write("internal/example.test.zone", "www A 10.0.0.80\n")
		b.settle()
		b.want("internal", "www.example.test", "10.0.0.80")
		b.want("internal", "mail.example.test", "192.0.2.25")
		if got := b.rr("internal", "example.test", "key.example.test", dns.TypeTXT); !strings.Contains(got, "DKIM1") {
			t.Error("derived:", got)
		}
	})
	t.Run("derived", func(t *testing.T) {
		t.Parallel()
		b := folded(t)
		err := b.a.Publish(t.Context(), "txt.example.test", "x", []string{"a"})
		if !isRefusal(err, "admin-record") || !strings.Contains(err.Error(), "more.inc:1") {
			t.Error("the place of the admin's record:", err)
		}
		if err := b.a.Withdraw(t.Context(), "key.example.test", "dkim"); err != nil {
			t.Fatal(err)
		}
		if got := b.rr("external", "example.test", "key.example.test", dns.TypeTXT); got != "" {
			t.Error("withdrawn:", got)
		}
		if s := b.a.Zones()[0]; len(s.Problems) != 1 || s.Problems[0].Line == 0 {
			t.Errorf("%+v", s)
		}
	})
	for what, change := range map[string]func(b *bench){
		"broken": func(b *bench) { b.write("external/example.test.zone", warned+"x A 1.2.3\n") },
		"unfit":  func(b *bench) { b.write("external/example.test.zone", "$TTL 1\nwww A 192.0.2.1\n") },
		"gone":   func(b *bench) { b.remove("external/example.test.zone") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := folded(t)
			change(b)
			b.settle()
			b.settle()
			if err := b.a.Publish(t.Context(), "two.example.test", "x", []string{"b"}); err != nil {
				t.Error(err)
			}
			b.write("internal/example.test.zone", "www A 10.0.0.80\n")
			b.settle()
			b.want("external", "www.example.test", "192.0.2.80")
			b.want("internal", "www.example.test", "10.0.0.80")
			b.want("internal", "mail.example.test", "192.0.2.25")
			if got := b.rr("internal", "example.test", "two.example.test", dns.TypeTXT); got == "" {
				t.Error("derived record is missing")
			}
		})
	}
}

// The program can be told from others where this is tested: where it cannot,
// every restart reads all.
func TestBuildID(t *testing.T) {
	t.Parallel()
	if id := buildID(); id == "" {
		t.Skip("the linker left no build ID where it is looked for")
	} else if id != buildID() {
		t.Error(id)
	}
}
