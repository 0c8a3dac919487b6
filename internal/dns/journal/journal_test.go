package journal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

var saved = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func record(t testing.TB, line string) dns.RR {
	t.Helper()
	zp := dns.NewZoneParser(strings.NewReader(line+"\n"), "", "")
	rr, _ := zp.Next()
	if rr == nil {
		t.Fatal(line, zp.Err())
	}
	return rr
}

func snapshot(t testing.TB, origin, view string, serial uint32) Snapshot {
	t.Helper()
	o, err := name.Parse(origin)
	if err != nil {
		t.Fatal(err)
	}
	txt := record(t, "key."+strings.TrimPrefix(o.String(), ".")+` 300 IN TXT "made \"here\"" "\200"`)
	www := record(t, "www."+strings.TrimPrefix(o.String(), ".")+" 60 IN A 192.0.2.1")
	b := zone.NewBuilder(o)
	for _, rr := range []dns.RR{record(t, o.String()+" 60 IN SOA ns. admin. 1 2 3 4 5"), record(t, o.String()+" 60 IN NS ns."), www, txt} {
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := name.Parse(txt.Header().Name)
	return Snapshot{
		Zone: o.String(), View: view, File: "a.zone", FileSerial: 1, Saved: saved, Content: z.WithSerial(serial),
		Source: []dns.RR{www}, Derived: z.Node(key).Set(dns.TypeTXT).RRs,
	}
}

func open2(t testing.TB, dir string, w atomicfile.Writer) *Store {
	t.Helper()
	s, err := Open(dir, w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "zones")
	s := open2(t, dir, atomicfile.Writer{})
	long := strings.Repeat("abcdefghijklmnopqrstuvwxyz.", 9)
	want := []Snapshot{
		snapshot(t, "example.test.", "external", 7), snapshot(t, "example.test.", "internal", 9),
		snapshot(t, ".", "external", 1), snapshot(t, "0/25.2.0.192.in-addr.arpa.", "a view/with @ signs", 1), snapshot(t, long, "external", 1),
	}
	want[1].Source = nil
	if err := s.Reserve(want); err != nil {
		t.Fatal(err)
	}
	for _, snap := range want {
		if err := s.Save(snap); err != nil {
			t.Fatal(err)
		}
	}
	records := []Derived{{Owner: "a.", Key: "dkim", Texts: []string{"x", "\x00\xff"}}}
	if err := s.SaveDerived(records[:1]); err != nil {
		t.Fatal(err)
	}
	again := open2(t, dir, atomicfile.Writer{})
	got, derived, problems := again.Load()
	if len(problems) > 0 || len(got) != len(want) || len(derived) != 1 {
		t.Fatal(len(got), derived, problems)
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(g Snapshot) bool { return g.Zone == w.Zone && g.View == w.View })
		if i < 0 {
			t.Errorf("%s %s is missing", w.Zone, w.View)
			continue
		}
		g := got[i]
		if removed, added := zone.Diff(w.Content, g.Content); len(removed)+len(added) > 0 {
			t.Errorf("%s: %v %v", w.Zone, removed, added)
		}
		if (g.Source == nil) != (w.Source == nil) || len(g.Source) != len(w.Source) || len(g.Derived) != 1 || !g.Saved.Equal(saved) || g.File != "a.zone" || g.FileSerial != 1 {
			t.Errorf("%+v", g)
		}
		if serial, ok := again.HighWater(w.Zone, w.View); !ok || serial != w.Content.Serial() {
			t.Errorf("high water of %s: %d %v", w.Zone, serial, ok)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "example.test@external.snapshot"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
}

// Whatever octet of a file is changed, or wherever it ends, it is refused,
// set aside, and does not stop the others.
func TestDamage(t *testing.T) {
	t.Parallel()
	whole, err := encode(snapshot(t, "example.test.", "external", 7))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := slices.Clone(whole)
		bad[i] ^= 0x20
		if _, err := decode(bad); err == nil {
			t.Fatalf("octet %d changed and not seen", i)
		}
		if _, err := decode(whole[:i]); err == nil {
			t.Fatalf("cut at %d and not seen", i)
		}
	}
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	if err := s.Save(snapshot(t, "good.test.", "v", 1)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bad.test@v.snapshot")
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.test@v.snapshot"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, serialsFile), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, _, problems := open2(t, dir, atomicfile.Writer{}).Load()
	if len(got) != 1 || got[0].Zone != "good.test." || len(problems) != 3 {
		t.Errorf("%v %v", got, problems)
	}
	if _, err := os.Stat(path + brokenExt); err != nil {
		t.Error("not set aside:", err)
	}
	if _, _, problems := open2(t, dir, atomicfile.Writer{}).Load(); len(problems) > 0 {
		t.Error("told twice:", problems)
	}
}

func TestNewerVersionIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newer := seal([]byte("postern-zone 3\nwhatever"))
	path := filepath.Join(dir, "a@v.snapshot")
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, problems := open2(t, dir, atomicfile.Writer{}).Load()
	if len(problems) != 1 || !errors.Is(problems[0], ErrVersion) {
		t.Error(problems)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// A crash at each step of a write leaves the old state or the new.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, step := range []atomicfile.Step{atomicfile.StepCreate, atomicfile.StepWrite, atomicfile.StepSync, atomicfile.StepRename, atomicfile.StepSyncDir} {
		dir := t.TempDir()
		s := open2(t, dir, atomicfile.Writer{})
		old := snapshot(t, "example.test.", "v", 7)
		if err := errors.Join(s.Reserve([]Snapshot{old}), s.Save(old)); err != nil {
			t.Fatal(err)
		}
		broken := open2(t, dir, atomicfile.Writer{Fault: func(at atomicfile.Step) error {
			if at == step {
				return syscall.ENOSPC
			}
			return nil
		}})
		broken.Load()
		next := snapshot(t, "example.test.", "v", 8)
		if err := broken.Reserve([]Snapshot{next}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: reserve: %v", step, err)
		}
		if serial, _ := broken.HighWater("example.test.", "v"); serial != 7 {
			t.Errorf("%s: a serial that was not noted counts: %d", step, serial)
		}
		if err := broken.Save(next); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: save: %v", step, err)
		}
		got, _, problems := open2(t, dir, atomicfile.Writer{}).Load()
		if len(problems) > 0 || len(got) != 1 || got[0].Content.Serial() != 7 && (step != atomicfile.StepSyncDir || got[0].Content.Serial() != 8) {
			t.Errorf("%s: %v %v", step, got, problems)
		}
	}
}

// What a killed server had begun to write goes at the next start.
func TestHalfWrittenFilesGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	if err := s.Save(snapshot(t, "example.test.", "v", 7)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{".example.test@v.snapshot.tmp-12", ".example.test@v.note.tmp-3", "example.test@v.next"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, problems := open2(t, dir, atomicfile.Writer{}).Load(); len(got) != 1 || len(problems) > 0 {
		t.Error(got, problems)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 { // the history and the snapshot
		t.Error(entries, err)
	}
}

func TestRemoveKeepsTheSerial(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	snap := snapshot(t, "example.test.", "v", 7)
	if err := errors.Join(s.Reserve([]Snapshot{snap}), s.Save(snap), s.Remove("example.test.", "v"), s.Remove("example.test.", "v")); err != nil {
		t.Fatal(err)
	}
	again := open2(t, dir, atomicfile.Writer{})
	got, _, problems := again.Load()
	serial, ok := again.HighWater("example.test.", "v")
	if len(got) > 0 || len(problems) > 0 || !ok || serial != 7 {
		t.Error(got, problems, serial, ok)
	}
}

func FuzzDecode(f *testing.F) {
	whole, err := encode(snapshot(f, "example.test.", "external", 7))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:len(whole)-32])
	f.Add([]byte(magic + "{}\n\x00\x00\x00\x00\x01x"))
	f.Add([]byte(magicEdit + "{}\n\x00\x00\x00\x00\x01x"))
	f.Fuzz(func(t *testing.T, body []byte) {
		snap, err := decode(seal(slices.Clone(body)))
		if err == nil && (snap.Content == nil || snap.Zone != snap.Content.Origin().String()) {
			t.Fatalf("%+v", snap)
		}
	})
}

// A disk that fails while a snapshot is read says nothing about the snapshot.
func TestFailingDiskIsNoDamage(t *testing.T) {
	t.Parallel()
	whole, err := encode(snapshot(t, "example.test.", "external", 7))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken disk")
	for i := range whole {
		from := io.MultiReader(bytes.NewReader(whole[:i]), iotest.ErrReader(broken))
		if _, err := read(from, int64(len(whole)), true); !errors.Is(err, broken) {
			t.Fatalf("after %d octets: %v", i, err)
		}
	}
}

// LoadContents leaves the source records where they are, and says so.
func TestLoadContents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	snap := snapshot(t, "example.test.", "external", 7)
	if err := open2(t, dir, atomicfile.Writer{}).Save(snap); err != nil {
		t.Fatal(err)
	}
	s := open2(t, dir, atomicfile.Writer{})
	got, _, problems := s.LoadContents()
	if len(got) != 1 || len(problems) > 0 || got[0].Source != nil || !got[0].HasSource || !zone.SameContent(got[0].Content, snap.Content) {
		t.Fatalf("%+v, %v", got, problems)
	}
	whole, err := s.Former("example.test.", "external", got[0].Version)
	if err != nil || len(whole.Source) != 1 || whole.Source[0].String() != snap.Source[0].String() {
		t.Errorf("source: %v, %v", whole.Source, err)
	}
}
