package journal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
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

// model is a zone that is edited: records stay the same objects from one state
// to the next.
type model struct {
	t       testing.TB
	view    string
	origin  string
	serial  uint32
	next    int
	source  []dns.RR
	derived []dns.RR
	noFile  bool
}

func newModel(t testing.TB, view string, records int) *model {
	m := &model{t: t, view: view, origin: "example.test.", serial: 1}
	m.source = []dns.RR{m.normal("example.test. 60 IN SOA ns. admin. 1 2 3 4 5"), m.normal("example.test. 60 IN NS ns.")}
	for range records {
		m.source = append(m.source, m.made())
	}
	return m
}

func (m *model) normal(line string) dns.RR {
	rr, _, err := zone.Normalise(record(m.t, line))
	if err != nil {
		m.t.Fatal(err)
	}
	return rr
}

// made is a record that was not there before.
func (m *model) made() dns.RR {
	m.next++
	switch n := m.next; n % 5 {
	case 0:
		return m.normal(fmt.Sprintf("pool.example.test. 60 IN A 10.%d.%d.%d", n/62500, n/250%250, n%250))
	case 1:
		return m.normal(fmt.Sprintf(`h%d.example.test. 60 IN TXT "text %d" "\200"`, n/2, n))
	default:
		return m.normal(fmt.Sprintf("h%d.example.test. 60 IN A 192.0.2.%d", n/2, n%250))
	}
}

// change does one random edit.
func (m *model) change(r *rand.Rand) {
	m.serial++
	at := 2 + r.IntN(len(m.source)-2)
	switch r.IntN(10) {
	case 0:
		m.source = slices.Insert(slices.Clone(m.source), at, m.made())
	case 1:
		m.source = slices.Delete(slices.Clone(m.source), at, at+1)
	case 2: // changed
		m.source = slices.Clone(m.source)
		m.source[at] = m.made()
	case 3: // moved
		rr := m.source[at]
		m.source = slices.Insert(slices.Delete(slices.Clone(m.source), at, at+1), 2+r.IntN(len(m.source)-3), rr)
	case 4: // said twice
		m.source = slices.Insert(slices.Clone(m.source), at, m.source[2+r.IntN(len(m.source)-2)])
	case 5: // a piece turned round
		m.source = slices.Clone(m.source)
		slices.Reverse(m.source[at:min(at+4, len(m.source))])
	case 6: // read again: the same, as other objects
		m.source = slices.Clone(m.source)
		for i, rr := range m.source {
			m.source[i] = dns.Copy(rr)
		}
	case 7:
		m.derived = append(slices.Clone(m.derived), m.normal(fmt.Sprintf(`h%d.example.test. 60 IN TXT "made %d"`, r.IntN(m.next), m.serial)))
	case 8: // Postern's record becomes the admin's, or goes
		if len(m.derived) > 0 {
			if r.IntN(2) == 0 {
				m.source = slices.Insert(slices.Clone(m.source), at, m.derived[0])
			}
			m.derived = slices.Clone(m.derived[1:])
		}
	case 9: // the serial alone
	}
}

func (m *model) snapshot(isNew bool) Snapshot {
	o, err := name.Parse(m.origin)
	if err != nil {
		m.t.Fatal(err)
	}
	b := zone.NewBuilder(o)
	for _, rr := range slices.Concat(m.source, m.derived) {
		if err := b.AddNormal(rr); err != nil {
			m.t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		m.t.Fatal(err)
	}
	s := Snapshot{
		Zone: m.origin, View: m.view, File: "a.zone", FileSerial: 1, Saved: saved, Content: z.WithSerial(m.serial),
		Source: m.source, Derived: m.derived, New: isNew, Who: "uid 0", Why: fmt.Sprint("state ", m.serial),
	}
	if m.noFile {
		s.Source = nil
	}
	return s
}

// equal fails where a snapshot that was read is not the one that was saved.
func equal(t testing.TB, got, want Snapshot, version int) {
	t.Helper()
	want.Version = version
	a, errA := encode(got)
	b, errB := encode(want)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("version %d: %v %v: other content\n%q\n%q", version, errA, errB, a, b)
	}
	whole, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	text := func(rrs []dns.RR) string { return fmt.Sprint(rrs == nil, rrs) }
	if text(got.Derived) != text(whole.Derived) || text(got.Source) != text(whole.Source) || got.HasSource != whole.HasSource {
		t.Fatalf("version %d: derived\n%v\n%v\nsource\n%v\n%v", version, got.Derived, whole.Derived, got.Source, whole.Source)
	}
}

func isEdit(t testing.TB, path string) bool {
	t.Helper()
	h, err := headOfFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return h.Base != nil
}

func openEdits(t testing.TB, dir string, w atomicfile.Writer) *Store {
	t.Helper()
	s := open2(t, dir, w)
	s.editFrom = 50
	s.Warn = func(err error) { t.Error(err) }
	return s
}

// Whatever is edited, saved together and reopened: what is read is what was
// saved, every version that is kept.
func TestRandomEdits(t *testing.T) {
	t.Parallel()
	seeds := uint64(1)
	if os.Getenv("POSTERN_PROVE") != "" {
		seeds = 8
	}
	edits, wholes := 0, 0
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		s := openEdits(t, dir, atomicfile.Writer{})
		s.Versions = 6
		models := []*model{newModel(t, "a", 150+r.IntN(200)), newModel(t, "b", 200)}
		states := []map[int]Snapshot{{}, {}}
		for round := range 48 {
			var batch []Snapshot
			var which []int
			for i, m := range models {
				if len(which) == 0 && i == 1 || r.IntN(2) == 0 {
					for range 1 + r.IntN(3) {
						m.change(r)
					}
					m.noFile = r.IntN(40) == 0
					which, batch = append(which, i), append(batch, m.snapshot(r.IntN(4) > 0))
				}
			}
			save(t, s, batch...)
			for n, i := range which {
				key := stem(batch[n].Zone, batch[n].View)
				states[i][s.newest[key]] = batch[n]
				if isEdit(t, s.path(key, snapshotExt)) {
					edits++
				} else {
					wholes++
				}
			}
			if r.IntN(8) == 0 {
				s = openEdits(t, dir, atomicfile.Writer{})
				s.Versions = 6
				s.Load()
			}
			for i, m := range models {
				if round%6 == 5 {
					check(t, dir, m.view, states[i])
				}
			}
		}
	}
	if edits < wholes || wholes < 3 {
		t.Errorf("%d edits, %d whole snapshots: one of them is hardly tested", edits, wholes)
	}
}

// check reads all there is of a view, as a program that is started does.
func check(t *testing.T, dir, view string, states map[int]Snapshot) {
	t.Helper()
	s := openEdits(t, dir, atomicfile.Writer{})
	got, _, problems := s.Load()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	short, _, problems := openEdits(t, dir, atomicfile.Writer{}).LoadContents()
	if len(problems) > 0 || len(short) != len(got) {
		t.Fatal(problems)
	}
	for i, snap := range got {
		if snap.View != view {
			continue
		}
		want, ok := states[snap.Version]
		if !ok {
			t.Fatalf("version %d was never saved", snap.Version)
		}
		equal(t, snap, want, snap.Version)
		if !zone.SameContent(short[i].Content, want.Content) || short[i].Source != nil || short[i].HasSource != (want.Source != nil) {
			t.Fatal("without the source it is something else")
		}
	}
	history, err := s.History("example.test.", view)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range history {
		old, err := s.Former("example.test.", view, v.Number)
		if err != nil || v.Serial != states[v.Number].Content.Serial() || v.Why != states[v.Number].Why {
			t.Fatal(v, err)
		}
		equal(t, old, states[v.Number], v.Number)
	}
}

// Records that Postern made change, change hands, and stand beside the admin's:
// all that is an edit, and reads as it was.
func TestDerivedEdits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	m := newModel(t, "v", 150)
	one, two, three := m.normal(`key.example.test. 300 IN TXT "1"`), m.normal(`key.example.test. 300 IN TXT "2"`), m.normal(`aaa.example.test. 300 IN TXT "3"`)
	own := m.source
	for i, c := range []struct{ mine, admins []dns.RR }{
		{mine: []dns.RR{one}},
		{mine: []dns.RR{two}},
		{mine: []dns.RR{two, one}},
		{mine: []dns.RR{two}, admins: []dns.RR{one}},
		{mine: []dns.RR{one}, admins: []dns.RR{two}},
		{mine: []dns.RR{one, three}, admins: []dns.RR{two}},
		{admins: []dns.RR{two, one}},
		{mine: []dns.RR{three, two, one}},
		{},
	} {
		m.serial++
		m.derived, m.source = c.mine, slices.Concat(own, c.admins)
		snap := m.snapshot(i%2 == 0)
		save(t, s, snap)
		got, _, problems := openEdits(t, dir, atomicfile.Writer{}).Load()
		if len(problems) > 0 || len(got) != 1 || isEdit(t, s.path("example.test@v", snapshotExt)) != (i > 0) {
			t.Fatal(i, got, problems)
		}
		equal(t, got[0], snap, s.newest["example.test@v"])
	}
}

// goldenEdit is a base and an edit of it, in all an edit can say.
func goldenEdit(t testing.TB) (*base, Snapshot) {
	m := newModel(t, "external", 180)
	m.next = 1000
	m.derived = []dns.RR{m.source[7], m.normal(`key.example.test. 300 IN TXT "made"`)}
	first := m.snapshot(true)
	first.Version = 3
	data, err := encode(first)
	if err != nil {
		t.Fatal(err)
	}
	b := &base{version: 3, content: first.Content, source: first.Source, derived: first.Derived}
	copy(b.sum[:], data[len(data)-len(b.sum):])
	m.serial = 2
	m.derived = m.derived[1:]
	m.source = slices.Insert(slices.Delete(slices.Clone(m.source), 40, 42), 90, m.made())
	next := m.snapshot(true)
	next.Version, next.Why = 5, "because"
	return b, next
}

// The edit form reads as it was once written, and is written so still.
func TestGoldenEdit(t *testing.T) {
	t.Parallel()
	b, want := goldenEdit(t)
	e := b.edit(want)
	if e == nil {
		t.Fatal("no edit")
	}
	var now bytes.Buffer
	if _, err := e.write(&now); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile("testdata/base.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/edit.snapshot")
	if err != nil || !bytes.Equal(golden, now.Bytes()) {
		t.Fatalf("%v\n%q\n%q", err, golden, now.Bytes())
	}
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "example.test@external.snapshot"), golden, 0o600),
		os.WriteFile(s.basePath("example.test@external", b.sum), first, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	got, _, problems := s.Load()
	if len(problems) > 0 || len(got) != 1 {
		t.Fatal(got, problems)
	}
	equal(t, got[0], want, 5)
}

// Whatever octet of an edit or its base is changed, or wherever one ends: it is
// seen, and nothing comes of it.
func TestDamagedEdit(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/edit.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile("testdata/base.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeEdit(golden, first); err != nil {
		t.Fatal(err)
	}
	for i := range golden {
		bad := slices.Clone(golden)
		bad[i] ^= 0x20
		if _, err := decodeEdit(bad, first); err == nil {
			t.Fatalf("octet %d changed and not seen", i)
		}
		if _, err := decodeEdit(golden[:i], first); err == nil {
			t.Fatalf("cut at %d and not seen", i)
		}
	}
	for i := 0; i < len(first); i += 61 {
		bad := slices.Clone(first)
		bad[i] ^= 0x20
		if _, err := decodeEdit(golden, bad); err == nil {
			t.Fatalf("octet %d of the base changed and not seen", i)
		}
	}
	other, err := encode(newModel(t, "external", 180).snapshot(true))
	if err != nil {
		t.Fatal(err)
	}
	for what, base := range map[string][]byte{"other base": other, "edit of an edit": golden} {
		bad := bytes.Replace(golden[:len(golden)-32], []byte(hex.EncodeToString(first[len(first)-32:])), []byte(hex.EncodeToString(base[len(base)-32:])), 1)
		if _, err := decodeEdit(seal(bad), base); !errors.Is(err, ErrContent) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// decodeEdit reads an edit and its base from memory.
func decodeEdit(data, first []byte) (snap Snapshot, err error) {
	var am *amendment
	_, err = readSealed(bytes.NewReader(data), int64(len(data)), func(r *bufio.Reader) (err error) {
		am, err = readEdit(r)
		return err
	})
	if err != nil {
		return Snapshot{}, err
	}
	sum, err := readSealed(bytes.NewReader(first), int64(len(first)), func(r *bufio.Reader) (err error) {
		snap, err = readBody(r, int64(len(first)), true, am)
		return err
	})
	if err == nil && sum != am.base {
		err = errOther
	}
	return snap, err
}

func FuzzEdit(f *testing.F) {
	golden, err := os.ReadFile("testdata/edit.snapshot")
	if err != nil {
		f.Fatal(err)
	}
	first, err := os.ReadFile("testdata/base.snapshot")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden[:len(golden)-32])
	line, rest, _ := bytes.Cut(golden[len(magicEdit):len(golden)-32], []byte("\n"))
	f.Add([]byte(magicEdit + strings.Replace(string(line), `"frames":`, `"frames":1`, 1) + "\n" + string(rest)))
	f.Add([]byte(magicEdit + `{"zone":"a.","base":{"sum":"` + strings.Repeat("00", 32) + `"}}` + "\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		snap, err := decodeEdit(seal(slices.Clone(body)), first)
		if err != nil {
			return
		}
		// What was taken is a snapshot like any other.
		data, err := encode(snap)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(data)
		if err != nil || !zone.SameContent(again.Content, snap.Content) || len(again.Source) != len(snap.Source) || again.HasSource != snap.HasSource {
			t.Fatal(err)
		}
	})
}

// What an edit may not say.
func TestReadEditRefuses(t *testing.T) {
	t.Parallel()
	first, err := os.ReadFile("testdata/base.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := decode(first)
	if err != nil {
		t.Fatal(err)
	}
	h := headOf(whole)
	h.Base = &baseName{1, hex.EncodeToString(first[len(first)-32:])}
	www := whole.Source[5]
	for what, c := range map[string]struct {
		frames int
		head   func(*head)
		fill   func(*encoder)
		ok     bool
	}{
		"nothing":          {0, nil, nil, true},
		"other count":      {1, nil, nil, false},
		"other records":    {0, func(h *head) { h.Records++ }, nil, false},
		"negative records": {0, func(h *head) { h.Records = -1 }, nil, false},
		"no base":          {0, func(h *head) { h.Base = nil }, nil, false},
		"short sum":        {0, func(h *head) { h.Base = &baseName{1, "00"} }, nil, false},
		"no sum":           {0, func(h *head) { h.Base = &baseName{1, strings.Repeat("x", 64)} }, nil, false},
		"other zone":       {0, func(h *head) { h.Zone = "other.test." }, nil, false},
		"other view":       {0, func(h *head) { h.View = "other" }, nil, false},
		"no source":        {0, func(h *head) { h.HasSource = false }, nil, false},
		"goes twice":       {2, nil, func(e *encoder) { e.put(content|gone, "", www); e.put(content|gone, "", www) }, false},
		"goes unmet":       {1, nil, func(e *encoder) { e.put(derived|gone, "", www) }, false},
		"source goes":      {1, nil, func(e *encoder) { e.put(source|gone, "", www) }, false},
		"no hunk":          {1, nil, func(e *encoder) { e.put(source, "", www) }, false},
		"empty hunk":       {1, nil, func(e *encoder) { e.place(hunk{at: 3}) }, true},
		"backwards":        {2, nil, func(e *encoder) { e.place(hunk{at: 3}); e.place(hunk{at: 2}) }, false},
		"overlap": {4, nil, func(e *encoder) {
			e.place(hunk{at: 3, gone: 2})
			e.put(source, "", www)
			e.put(source, "", www)
			e.place(hunk{at: 4})
		}, false},
		"beyond":      {1, nil, func(e *encoder) { e.place(hunk{at: len(whole.Source) + 1}) }, false},
		"at the end":  {1, nil, func(e *encoder) { e.place(hunk{at: len(whole.Source)}) }, true},
		"goes beyond": {1, nil, func(e *encoder) { e.place(hunk{at: 3, gone: 1<<32 - 1}) }, false},
		"unknown":     {1, nil, func(e *encoder) { e.put(9, "", www) }, false},
		"long place":  {1, nil, func(e *encoder) { e.room = append(e.room, place, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0) }, false},
	} {
		h := h
		h.Frames = c.frames
		if c.head != nil {
			c.head(&h)
		}
		var b bytes.Buffer
		if _, err := writeSealed(&b, magicEdit, h, func(e *encoder) {
			if c.fill != nil {
				c.fill(e)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := decodeEdit(b.Bytes(), first); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	endless := seal([]byte(magicEdit + strings.Repeat(" ", 2*maxHead)))
	if _, err := decodeEdit(endless, first); !errors.Is(err, ErrContent) {
		t.Error(err)
	}
}

// killed stops a Save at once, as the loss of power does: nothing is cleaned up.
type killed struct{}

// At whatever step a Save of edits is killed or fails: what is read next is the
// state before or the one after, of all views alike, and with its history.
func TestKilledEdits(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{true, false} {
		for _, views := range []int{1, 2} {
			for _, before := range []int{1, 2} { // so many were saved: the base, and an edit of it
				t.Run(fmt.Sprint(kill, views, before), func(t *testing.T) {
					t.Parallel()
					var models []*model
					for i := range views {
						models = append(models, newModel(t, string(rune('a'+i)), 120))
					}
					step := 1
					for killAt(t, kill, models, before, step) {
						step++
					}
					if step < 6 {
						t.Errorf("%d steps only", step)
					}
				})
			}
		}
	}
}

func killAt(t *testing.T, kill bool, from []*model, before, step int) (reached bool) {
	t.Helper()
	views := len(from)
	dir := t.TempDir()
	s := openEdits(t, dir, atomicfile.Writer{})
	var models []*model
	states := make([]map[int]Snapshot, views)
	for i, m := range from {
		m := *m // its lists are never changed in place
		models = append(models, &m)
		states[i] = map[int]Snapshot{}
	}
	round := func(version int) (batch []Snapshot) {
		for i, m := range models {
			m.serial++
			m.source = slices.Insert(slices.Clone(m.source), 40, m.made())
			states[i][version] = m.snapshot(true)
			batch = append(batch, states[i][version])
		}
		return batch
	}
	for i := range before {
		save(t, s, round(i+1)...)
	}
	steps := 0
	s.writer.Fault = func(atomicfile.Step) error {
		if steps++; steps != step {
			return nil
		}
		if kill {
			panic(killed{})
		}
		return syscall.ENOSPC
	}
	s.Warn = func(error) {}
	batch := round(before + 1)
	var failed error
	func() {
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		failed = s.Save(batch...) // where only the base was in the way, it is written whole
	}()
	again := openEdits(t, dir, atomicfile.Writer{})
	got, _, problems := again.Load()
	if len(problems) > 0 || len(got) != views {
		t.Fatalf("step %d: %v", step, problems)
	}
	for _, snap := range got {
		if snap.Version != got[0].Version || snap.Version < before {
			t.Fatalf("step %d: versions %d and %d", step, got[0].Version, snap.Version)
		}
	}
	for _, snap := range got {
		equal(t, snap, states[snap.View[0]-'a'][snap.Version], snap.Version)
	}
	// A program that saw an error goes on.
	if failed != nil {
		s.writer.Fault = nil
		save(t, s, batch...)
		for i, m := range models {
			check(t, dir, m.view, states[i])
		}
		return true
	}
	// And so does one that is started.
	next := got[0].Version + 1
	save(t, again, round(next)...)
	save(t, again, round(next+1)...)
	for i, m := range models {
		check(t, dir, m.view, states[i])
		if !isEdit(t, again.path(stem("example.test.", m.view), snapshotExt)) {
			t.Error("the second version after a start is whole")
		}
	}
	return steps >= step
}
