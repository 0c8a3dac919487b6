package journal

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/dns/zone"
)

// TestFeedIsKept: how a zone came is in its snapshot, whole or an edit, and in
// its history; until when it is good is apart, and may be lost.
func TestFeedIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "zones")
	s := open2(t, dir, atomicfile.Writer{})
	s.editFrom = 0
	snap := snapshot(t, "example.test.", "external", 7)
	snap.Source, snap.File, snap.Derived, snap.New = nil, "", nil, true
	snap.Feed = &Feed{Serial: 7, Expires: saved.Add(time.Hour), From: "hidden (192.0.2.1:53)"}
	next := snap
	next.Content, next.Feed = snap.Content.WithSerial(3), &Feed{Serial: 3, Expires: saved.Add(2 * time.Hour), From: "other"}
	for _, x := range []Snapshot{snap, next} {
		if err := s.Reserve([]Snapshot{x}); err != nil {
			t.Fatal(err)
		}
		if err := s.Save(x); err != nil {
			t.Fatal(err)
		}
	}
	stamps := []Stamp{{Zone: "example.test.", View: "external", Expires: saved.Add(3 * time.Hour), At: saved}}
	if err := s.SaveStamps(stamps); err != nil {
		t.Fatal(err)
	}
	s = open2(t, dir, atomicfile.Writer{})
	all, _, problems := s.Load()
	if len(problems) > 0 || len(all) != 1 || all[0].Feed == nil || *all[0].Feed != *next.Feed || all[0].Content.Serial() != 3 {
		t.Fatalf("%v %+v", problems, all)
	}
	if !slices.Equal(s.Stamps(), stamps) {
		t.Errorf("%+v", s.Stamps())
	}
	if old, err := s.Former("example.test.", "external", 1); err != nil || old.Feed == nil || *old.Feed != *snap.Feed {
		t.Errorf("%v %+v", err, old.Feed)
	}
	if err := os.WriteFile(filepath.Join(dir, stampsFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, problems := s.Load(); len(problems) != 1 || len(s.Stamps()) != 0 {
		t.Errorf("%v %v", problems, s.Stamps())
	}
}

// TestReinstatedFeedKeepsItsSerial: a version that stands in for a broken one
// has the serial that its primary gave it, for that is what a primary is asked
// with; one that is signed here goes ahead.
func TestReinstatedFeedKeepsItsSerial(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		signed string
		want   uint32
	}{{"", 7}, {"{}", 10}} {
		dir := t.TempDir()
		s := openEdits(t, dir, atomicfile.Writer{})
		first := newModel(t, "v", 400).snapshot(true)
		first.Source, first.Derived, first.Signed = nil, nil, c.signed
		for _, serial := range []uint32{7, 8, 9} {
			x := first
			x.Content, x.Feed = x.Content.WithSerial(serial), &Feed{Serial: serial}
			if err := s.Reserve([]Snapshot{x}); err != nil {
				t.Fatal(err)
			}
			if serial == 8 {
				s.bases = map[string]*base{} // whole, and the base of the last
			}
			save(t, s, x)
		}
		all := bases(t, dir)
		if len(all) != 1 {
			t.Fatal(all)
		}
		for _, path := range []string{filepath.Join(dir, historyDir, filepath.Base(all[0])), s.versionPath("example.test@v", 2)} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		again, _, problems := openEdits(t, dir, atomicfile.Writer{}).Load()
		if len(problems) == 0 || len(again) != 1 || again[0].Content.Serial() != c.want || again[0].Feed == nil || again[0].Feed.Serial != 7 {
			t.Fatalf("%v %+v", problems, again)
		}
		if !zone.SameContent(again[0].Content, first.Content) {
			t.Error("other content")
		}
	}
}
