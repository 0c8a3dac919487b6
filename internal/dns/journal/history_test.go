package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postern/internal/atomicfile"
	"postern/internal/dns/zone"
)

func save(t *testing.T, s *Store, snaps ...Snapshot) {
	t.Helper()
	if err := errors.Join(s.Reserve(snaps), s.Save(snaps...)); err != nil {
		t.Fatal(err)
	}
}

func newer(t *testing.T, view string, serial uint32) Snapshot {
	t.Helper()
	s := snapshot(t, "example.test.", view, serial)
	s.New, s.Who, s.Why = true, "uid 0", "because"
	return s
}

// A snapshot written before there was a history reads, and becomes version 1.
func TestGoldenVersion1(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/version1.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "example.test@external.snapshot"), golden, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open2(t, dir, atomicfile.Writer{})
	got, _, problems := s.Load()
	want := snapshot(t, "example.test.", "external", 7)
	if len(problems) > 0 || len(got) != 1 || !zone.SameContent(got[0].Content, want.Content) || len(got[0].Source) != 1 {
		t.Fatal(got, problems)
	}
	save(t, s, newer(t, "external", 8))
	h, err := s.History("example.test.", "external")
	if err != nil || len(h) != 2 || h[0].Number != 2 || h[0].Serial != 8 || !h[0].Present || h[1].Number != 1 || h[1].Serial != 7 {
		t.Error(h, err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	s.Versions = 3
	for serial := uint32(1); serial <= 6; serial++ {
		save(t, s, newer(t, "v", serial))
	}
	same := newer(t, "v", 7)
	same.New = false
	save(t, s, same)
	check := func(s *Store) {
		t.Helper()
		h, err := s.History("example.test.", "v")
		if err != nil || len(h) != 4 {
			t.Fatal(h, err)
		}
		for i, serial := range []uint32{7, 5, 4, 3} {
			if h[i].Serial != serial || h[i].Number != 6-i || h[i].Who != "uid 0" || h[i].Present != (i == 0) {
				t.Errorf("%d: %+v", i, h[i])
			}
		}
	}
	check(s)
	again := open2(t, dir, atomicfile.Writer{})
	again.Load()
	check(again)
	if old, err := again.Former("example.test.", "v", 4); err != nil || old.Content.Serial() != 4 {
		t.Error(old, err)
	}
	for _, n := range []int{0, 1, 7, -1} {
		if _, err := again.Former("example.test.", "v", n); !errors.Is(err, ErrNoVersion) {
			t.Error(n, err)
		}
	}
	// Damage is found when the version is wanted.
	path := filepath.Join(dir, historyDir, "example.test@v#4.version")
	if err := os.WriteFile(path, []byte(magic+"{}\nrubbish, long enough to hold a checksum of 32 octets"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Former("example.test.", "v", 4); !errors.Is(err, ErrChecksum) {
		t.Error(err)
	}
	// Bytes bound it too, but never the version before.
	again.Bytes = 1
	save(t, again, newer(t, "v", 8))
	if h, err := again.History("example.test.", "v"); err != nil || len(h) != 2 || h[1].Serial != 7 {
		t.Error(h, err)
	}
	if err := again.Remove("example.test.", "v"); err != nil {
		t.Fatal(err)
	}
	if h, err := again.History("example.test.", "v"); err != nil || len(h) != 0 {
		t.Error(h, err)
	}
}

// Several snapshots are there all or not at all, whatever step fails.
func TestSaveTogether(t *testing.T) {
	t.Parallel()
	for fail := 1; fail < 20; fail++ {
		dir := t.TempDir()
		s := open2(t, dir, atomicfile.Writer{})
		save(t, s, newer(t, "a", 1), newer(t, "b", 1))
		steps, warned := 0, 0
		s.writer.Fault = func(atomicfile.Step) error {
			if steps++; steps == fail {
				return syscall.ENOSPC
			}
			return nil
		}
		s.Warn = func(error) { warned++ }
		err := s.Save(newer(t, "a", 2), newer(t, "b", 2))
		want := uint32(2)
		if steps >= fail {
			want = 1
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("step %d: %v", fail, err)
			}
		} else if err != nil || warned > 0 {
			t.Error(err, warned)
		}
		got, _, problems := open2(t, dir, atomicfile.Writer{}).Load()
		if len(problems) > 0 || len(got) != 2 || got[0].Content.Serial() != want || got[1].Content.Serial() != want {
			t.Errorf("step %d: %v %v", fail, got, problems)
		}
	}
}

// A crash after the commit point, before the files are in place.
func TestInterruptedCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	save(t, s, newer(t, "a", 1), newer(t, "b", 1))
	for _, view := range []string{"a", "b"} {
		data, err := encode(newer(t, view, 2))
		if err != nil {
			t.Fatal(err)
		}
		ext := nextExt
		if view == "a" {
			ext = snapshotExt // the crash came between the two
		}
		if err := os.WriteFile(filepath.Join(dir, "example.test@"+view+ext), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.saveJSON(commitFile, []string{"example.test@a", "example.test@b"}); err != nil {
		t.Fatal(err)
	}
	got, _, problems := open2(t, dir, atomicfile.Writer{}).Load()
	if len(problems) > 0 || len(got) != 2 || got[0].Content.Serial() != 2 || got[1].Content.Serial() != 2 {
		t.Error(got, problems)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), nextExt) || e.Name() == commitFile {
			t.Error(e.Name(), "is left")
		}
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	if err := s.SavePins([]Pin{{Zone: "example.test.", View: "v", Hash: "x", Version: 2, At: saved, Who: "uid 0"}}); err != nil {
		t.Fatal(err)
	}
	again := open2(t, dir, atomicfile.Writer{})
	again.Load()
	if p := again.Pins(); len(p) != 1 || p[0].Hash != "x" || p[0].Version != 2 || !p[0].At.Equal(saved) {
		t.Error(p)
	}
}

// TestHistoryIsReadOnce: what a change of one zone costs does not grow with what
// the history holds of others; what it lists is what lies there.
func TestHistoryIsReadOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	s.Versions = 3
	for serial := uint32(1); serial <= 9; serial++ {
		save(t, s, newer(t, "v", serial), newer(t, "w", serial))
		names := 0
		for _, of := range s.listed {
			names += len(of)
		}
		entries, err := os.ReadDir(filepath.Join(dir, historyDir))
		if err != nil || len(entries) != names {
			t.Fatalf("at serial %d %d files are known, and %d lie there, %v", serial, names, len(entries), err)
		}
	}
	// Nobody else writes there: a stranger is not seen before the next start.
	present := s.versionPath(stem("example.test.", "v"), 8)
	stray := s.versionPath(stem("example.test.", "v"), 100)
	if err := os.Link(present, stray); err != nil {
		t.Fatal(err)
	}
	if n := len(s.versions(stem("example.test.", "v"))); n != 3 {
		t.Errorf("%d versions", n)
	}
	if err := errors.Join(os.Remove(stray), os.Remove(present)); err != nil { // what is gone is
		t.Fatal(err)
	}
	if n := len(s.versions(stem("example.test.", "v"))); n != 2 {
		t.Errorf("%d versions", n)
	}
	if err := s.Remove("example.test.", "v"); err != nil || s.listed[stem("example.test.", "v")] != nil {
		t.Errorf("%v, %v", err, s.listed)
	}
}
