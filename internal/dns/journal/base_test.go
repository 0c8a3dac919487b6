package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// chain saves a base and edits of it.
func chain(t *testing.T, s *Store, m *model, edits int) {
	t.Helper()
	for range edits + 1 {
		m.serial++
		m.source = slices.Insert(slices.Clone(m.source), 40, m.made())
		save(t, s, m.snapshot(true))
	}
}

func bases(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, historyDir, "*"+baseExt))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// One record changed in a large zone is a small file, and little work.
func TestEditIsShort(t *testing.T) { // alone: it counts allocations
	const records = 50_000
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	s.editFrom = editFrom
	m := newModel(t, "v", records)
	first := m.snapshot(true)
	save(t, s, first)
	info, err := os.Stat(s.path("example.test@v", snapshotExt))
	if err != nil || info.Size() < 40*records {
		t.Fatal(info.Size(), err)
	}
	owner, err := name.Parse("www.example.test.")
	if err != nil {
		t.Fatal(err)
	}
	content := first.Content
	for i := range 20 {
		rr := m.normal(fmt.Sprintf("www.example.test. 60 IN A 198.51.100.%d", i))
		if content, err = content.Edit(map[name.Name][]dns.RR{owner: {rr}}); err != nil {
			t.Fatal(err)
		}
		next := first
		next.Content = content.WithSerial(uint32(i + 2))
		next.Source = slices.Concat(m.source[:records/2], []dns.RR{rr}, m.source[records/2:])
		var short *edit
		allocs := testing.AllocsPerRun(1, func() { short = s.bases["example.test@v"].edit(next) })
		if short == nil || short.Frames > 8 || allocs > 100 {
			t.Fatalf("%+v, %v allocations", short, allocs)
		}
		save(t, s, next)
		info, err := os.Stat(s.path("example.test@v", snapshotExt))
		if err != nil || info.Size() > 4<<10 {
			t.Fatal(info.Size(), err)
		}
		if len(bases(t, dir)) != 1 {
			t.Fatal(bases(t, dir))
		}
	}
	var sum int64
	for _, k := range s.versions("example.test@v") {
		sum += k.size()
	}
	if got := sum - s.bases["example.test@v"].size; got > 64<<10 {
		t.Errorf("20 versions take %d octets beside the base", got)
	}
}

// What is no small edit is written whole: it changes much, is small, or the
// edits before took as much as the base.
func TestWritesWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	m := newModel(t, "v", 400)
	path := s.path("example.test@v", snapshotExt)
	chain(t, s, m, 1)
	if !isEdit(t, path) {
		t.Fatal("no edit")
	}
	old := m.source
	for range 60 {
		m.source = append(slices.Clone(m.source), m.made())
	}
	save(t, s, m.snapshot(true))
	if isEdit(t, path) {
		t.Error("60 records more are an edit")
	}
	m.source = slices.Clone(m.source)
	slices.Reverse(m.source[2:])
	save(t, s, m.snapshot(true))
	if isEdit(t, path) {
		t.Error("a source turned round is an edit")
	}
	m.source = old[:20]
	save(t, s, m.snapshot(true), newModel(t, "w", 400).snapshot(true))
	if s.bases["example.test@v"] != nil || s.bases["example.test@w"] == nil {
		t.Error("the wrong one is a base")
	}
	m = newModel(t, "w", 400)
	b, n := s.bases["example.test@w"], 0
	for ; s.bases["example.test@w"] == b && n < 1000; n++ {
		m.serial++
		save(t, s, m.snapshot(true))
	}
	if n < 20 || n == 1000 || b.spent < b.size || b.spent > b.size+4096 {
		t.Errorf("%d edits of %d octets upon %d", n, b.spent, b.size)
	}
}

// Without its base an edit is nothing: it is set aside, and the newest version
// that can be read takes its place, with a serial that was never served.
func TestLostBase(t *testing.T) {
	t.Parallel()
	damage := func(path string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		return errors.Join(os.Remove(path), os.WriteFile(path, data, 0o600)) // not the version it is linked to
	}
	everywhere := func(path string) error { // as far as it is the same file
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("rubbish"), 400)
		return errors.Join(err, f.Close())
	}
	swap := func(path string) error { // for another version, whole and sound
		data, err := os.ReadFile(strings.Split(path, "#")[0] + "#1" + versionExt)
		if err != nil {
			return err
		}
		return errors.Join(os.Remove(path), os.WriteFile(path, data, 0o600))
	}
	for what, c := range map[string]struct {
		harm    func(path string) error
		version bool // the version that the base was is harmed too
		pin     int
		serial  uint32 // 0: none
		aside   bool
	}{
		"missing, the version there":  {harm: os.Remove, serial: 5},
		"damaged, the version there":  {harm: damage, serial: 5},
		"missing altogether":          {harm: os.Remove, version: true, serial: 6, aside: true},
		"another, the version there":  {harm: swap, serial: 5},
		"another altogether":          {harm: swap, version: true, serial: 6, aside: true},
		"damaged altogether":          {harm: everywhere, serial: 6, aside: true},
		"damaged, pinned to what was": {harm: everywhere, pin: 1, serial: 6, aside: true},
		"damaged, pinned to an edit":  {harm: everywhere, pin: 4, aside: true},
	} {
		dir := t.TempDir()
		s := openEdits(t, dir, atomicfile.Writer{})
		m := newModel(t, "v", 150)
		m.serial = 0
		chain(t, s, m, 0)
		first := m.snapshot(true)
		s = openEdits(t, dir, atomicfile.Writer{})
		s.Load()
		chain(t, s, m, 0)
		second := m.snapshot(true)
		chain(t, s, m, 2) // versions 3, 4 and 5 are edits of version 2
		if c.pin > 0 {
			if err := s.SavePins([]Pin{{Zone: "example.test.", View: "v", Version: c.pin}}); err != nil {
				t.Fatal(err)
			}
		}
		path := bases(t, dir)[0]
		err := c.harm(path)
		if c.version {
			err = errors.Join(err, os.Remove(s.versionPath("example.test@v", 2)))
		}
		if err != nil {
			t.Fatal(what, err)
		}
		again := openEdits(t, dir, atomicfile.Writer{})
		got, _, problems := again.Load()
		if (len(problems) > 0) != c.aside || (len(got) == 1) != (c.serial > 0) {
			t.Fatalf("%s: %d, %v", what, len(got), problems)
		}
		if c.aside {
			if !errors.Is(problems[0], ErrBase) || !strings.Contains(problems[0].Error(), "set aside") {
				t.Errorf("%s: %v", what, problems)
			}
			if _, err := os.Stat(s.path("example.test@v", snapshotExt+brokenExt)); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the damaged base is there still: %v", what, err)
			}
		}
		if c.serial == 0 {
			continue
		}
		if got[0].Content.Serial() != c.serial {
			t.Errorf("%s: serial %d", what, got[0].Content.Serial())
		}
		want := first
		if !c.aside {
			want = m.snapshot(true)
		}
		if !zone.SameContent(got[0].Content, want.Content) || zone.SameContent(got[0].Content, second.Content) || len(got[0].Source) != len(want.Source) {
			t.Errorf("%s: it is another version", what)
		}
		// It is durable, and the serial with it.
		last := openEdits(t, dir, atomicfile.Writer{})
		more, _, problems := last.LoadContents()
		if high, _ := last.HighWater("example.test.", "v"); len(more) != 1 || len(problems) > 0 || more[0].Content.Serial() != c.serial || high != c.serial {
			t.Errorf("%s: then %v, %v, %d", what, more, problems, high)
		}
	}
}

// A disk that fails, or is full, when a version is to be put back.
func TestReinstateFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	m := newModel(t, "v", 150)
	chain(t, s, m, 0)
	s = openEdits(t, dir, atomicfile.Writer{})
	s.Load()
	chain(t, s, m, 1)
	if err := errors.Join(os.Remove(bases(t, dir)[0]), os.Remove(s.versionPath("example.test@v", 2))); err != nil {
		t.Fatal(err)
	}
	full := openEdits(t, dir, atomicfile.Writer{Fault: func(atomicfile.Step) error { return syscall.ENOSPC }})
	got, _, problems := full.Load()
	if len(got) > 0 || len(problems) != 2 || !errors.Is(problems[1], syscall.ENOSPC) {
		t.Error(got, problems)
	}
}

// The bases go with the last that is an edit of them, and never before.
func TestPruneKeepsBases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	states := map[int]Snapshot{}
	m := newModel(t, "v", 150)
	for round := range 6 {
		s := openEdits(t, dir, atomicfile.Writer{})
		s.Versions = 3
		s.Load()
		for range 4 {
			m.serial++
			snap := m.snapshot(true)
			save(t, s, snap)
			states[s.newest["example.test@v"]] = snap
			check(t, dir, "v", states)
			if n := len(bases(t, dir)); n > 2 {
				t.Errorf("round %d: %d bases", round, n)
			}
		}
		if n := len(bases(t, dir)); n != 1 { // three versions and the present are edits of the newest
			t.Errorf("round %d: %d bases", round, n)
		}
	}
	s := openEdits(t, dir, atomicfile.Writer{})
	s.Load()
	s.Bytes = 1 // the version before stays, and so does what it is an edit of
	m.serial++
	save(t, s, m.snapshot(true))
	h, err := s.History("example.test.", "v")
	if err != nil || len(h) != 2 || len(bases(t, dir)) != 1 {
		t.Error(h, err, bases(t, dir))
	}
	if _, err := s.Former("example.test.", "v", h[1].Number); err != nil {
		t.Error(err)
	}
	if err := s.Remove("example.test.", "v"); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, historyDir, "*")); len(left) > 0 {
		t.Error(left)
	}
}

// A base that a commit needs which is not in place yet stays.
func TestPruneHeedsCommits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	chain(t, s, newModel(t, "v", 150), 1)
	present, next := s.path("example.test@v", snapshotExt), s.path("example.test@v", nextExt)
	if err := os.Rename(present, next); err != nil {
		t.Fatal(err)
	}
	s.prune("example.test@v", false)
	if len(bases(t, dir)) != 1 {
		t.Error("the base is gone")
	}
	if err := os.Remove(next); err != nil {
		t.Fatal(err)
	}
	s.prune("example.test@v", false)
	if len(bases(t, dir)) != 0 {
		t.Error("the base is left")
	}
}

// A base counts once among the octets of the history.
func TestBytesCountBases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	m := newModel(t, "v", 400)
	chain(t, s, m, 0)
	size := s.bases["example.test@v"].size
	s.Bytes = size + size/2
	chain(t, s, m, 5)
	if h, err := s.History("example.test.", "v"); err != nil || len(h) != 7 {
		t.Error(len(h), err)
	}
	again := openEdits(t, dir, atomicfile.Writer{})
	again.Load()
	again.Bytes = s.Bytes
	chain(t, again, m, 2) // another base: the versions upon the first one are too much
	if h, err := again.History("example.test.", "v"); err != nil || len(h) >= 7 || len(h) < 3 || len(bases(t, dir)) != 1 {
		t.Error(len(h), err, bases(t, dir))
	}
}

// What a crash left of a removal goes at the next start; what belongs to a
// snapshot that a newer program wrote does not.
func TestOrphanedBases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	chain(t, s, newModel(t, "v", 150), 1)
	path := s.path("example.test@v", snapshotExt)
	if err := errors.Join(os.Remove(s.versionPath("example.test@v", 1)), os.WriteFile(path, seal([]byte("postern-zone 3\n")), 0o600)); err != nil {
		t.Fatal(err)
	}
	openEdits(t, dir, atomicfile.Writer{}).Load()
	if len(bases(t, dir)) != 1 {
		t.Error("a base that may be needed is gone")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	openEdits(t, dir, atomicfile.Writer{}).Load()
	if len(bases(t, dir)) != 0 {
		t.Error("a base is left")
	}
}

// The base is made sure of before an edit counts on it.
func TestHold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	m := newModel(t, "v", 150)
	path := s.path("example.test@v", snapshotExt)
	chain(t, s, m, 1)
	if err := os.WriteFile(bases(t, dir)[0], []byte("something else, long enough to hold a checksum"), 0o600); err != nil {
		t.Fatal(err)
	}
	chain(t, s, m, 0)
	if isEdit(t, path) {
		t.Error("an edit of a base that is not there")
	}
	chain(t, s, m, 0)
	if !isEdit(t, path) {
		t.Error("no edit of the new base")
	}
	chain(t, s, m, 0)
	if err := os.Remove(path); err != nil { // by somebody
		t.Fatal(err)
	}
	s.Warn = func(error) {}
	chain(t, s, m, 0)
	if got, _, problems := openEdits(t, dir, atomicfile.Writer{}).Load(); len(got) != 1 || len(problems) > 0 || got[0].Content.Serial() != m.serial {
		t.Error(got, problems)
	}
}
