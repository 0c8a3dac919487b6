package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
	"postern/internal/dns/update"
	"postern/internal/dns/zone"

	"github.com/miekg/dns"
)

func overlay(t testing.TB, now ...string) *update.Overlay {
	t.Helper()
	key, _ := name.Parse("dhcp.example.")
	at := func(line string) (k update.Kept) {
		rr, owner, err := zone.Normalise(record(t, line))
		if err != nil {
			t.Fatal(err)
		}
		return update.Kept{Owner: owner, Type: rr.Header().Rrtype, Now: []dns.RR{rr}, Key: key, At: saved}
	}
	removed := at("www.example.test. 60 IN A 192.0.2.1")
	removed.Below, removed.Now = removed.Now, nil
	kept := []update.Kept{removed}
	for _, line := range now {
		kept = append(kept, at(line))
	}
	return update.NewOverlay(kept)
}

func shown(o *update.Overlay) string {
	var b strings.Builder
	for _, k := range o.Kept() {
		fmt.Fprintln(&b, k)
	}
	return b.String()
}

// The file of version 1 reads as it did, and is written as it was.
func TestDynamicGolden(t *testing.T) {
	t.Parallel()
	const file = "example.test@v.dynamic"
	golden, err := os.ReadFile(filepath.Join("testdata", "dynamic1"))
	if err != nil {
		t.Fatal(err)
	}
	want := overlay(t, "x.example.test. 60 IN AAAA 2001:db8::1", `\042.example.test. 60 IN TYPE65280 \# 3 010203`)
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	if err := os.WriteFile(filepath.Join(dir, file), golden, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := s.Dynamic("example.test.", "v")
	if err != nil || shown(got) != shown(want) {
		t.Errorf("%v\n got %s\nwant %s", err, shown(got), shown(want))
	}
	snap := snapshot(t, "example.test.", "v", 7)
	snap.Dynamic, snap.Updated = want, true
	if err := s.Save(snap); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || !bytes.Equal(written, golden) {
		t.Errorf("%v: it is written as\n%s\nand not as\n%s", err, written, golden)
	}
}

// A file that is not as it was written stays in the way: it is no error to be
// healed by forgetting.
func TestDynamicBroken(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile(filepath.Join("testdata", "dynamic1"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	if o, err := s.Dynamic("example.test.", "v"); o != nil || err != nil {
		t.Errorf("none: %v, %v", o, err)
	}
	path := filepath.Join(dir, "example.test@v.dynamic")
	body := string(golden[:len(golden)-32])
	for why, data := range map[string][]byte{
		"cut off":         golden[:len(golden)-1],
		"empty":           {},
		"changed":         bytes.Replace(golden, []byte("dhcp"), []byte("dhcq"), 1),
		"newer":           seal([]byte(strings.Replace(body, "postern-zone 1", "postern-zone 9", 1))),
		"another zone's":  seal([]byte(strings.Replace(body, `"zone":"example.test."`, `"zone":"other.test."`, 1))),
		"another view's":  seal([]byte(strings.Replace(body, `"view":"v"`, `"view":"w"`, 1))),
		"an owner moved":  seal([]byte(strings.Replace(body, `"owner":"x.`, `"owner":"y.`, 1))),
		"an owner beyond": seal([]byte(strings.Replace(body, `"owner":"x.example.`, `"owner":"x.examples.`, 1))),
		"another type":    seal([]byte(strings.Replace(body, `"type":28`, `"type":29`, 1))),
		"no JSON":         seal([]byte(magic + "{")),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if o, err := s.Dynamic("example.test.", "v"); !errors.Is(err, ErrDynamic) {
			t.Errorf("%s: %v, %v", why, o, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(why, err)
		}
	}
	if err := s.DropDynamic("example.test.", "v"); err != nil {
		t.Error(err)
	}
	if o, err := s.Dynamic("example.test.", "v"); o != nil || err != nil {
		t.Errorf("dropped: %v, %v", o, err)
	}
}

// A crash at whichever step of a commit leaves both files as they were, or both
// as they are to be.
func TestDynamicCrash(t *testing.T) {
	t.Parallel()
	before, after := overlay(t), overlay(t, "x.example.test. 60 IN AAAA 2001:db8::1")
	const never = 1000
	for crash, done := 0, false; !done; crash++ {
		if crash == never {
			t.Fatal("it never comes to an end")
		}
		dir := t.TempDir()
		s := open2(t, dir, atomicfile.Writer{})
		old, next := snapshot(t, "example.test.", "v", 7), snapshot(t, "example.test.", "v", 8)
		old.Dynamic, old.Updated, next.Dynamic, next.Updated = before, true, after, true
		if err := errors.Join(s.Reserve([]Snapshot{old}), s.Save(old)); err != nil {
			t.Fatal(err)
		}
		steps := 0
		s.writer.Fault = func(atomicfile.Step) error {
			if steps++; steps > crash {
				return syscall.ENOSPC
			}
			return nil
		}
		failed := s.Save(next)
		done = steps <= crash
		if done != (failed == nil) {
			t.Fatalf("crash %d: %v", crash, failed)
		}
		again := open2(t, dir, atomicfile.Writer{})
		got, _, problems := again.Load()
		o, err := again.Dynamic("example.test.", "v")
		if len(problems) > 0 || len(got) != 1 || err != nil {
			t.Fatalf("crash %d: %v, %v, %v", crash, got, problems, err)
		}
		serial, want := got[0].Content.Serial(), before
		if serial == 8 {
			want = after
		}
		if shown(o) != shown(want) || serial == 8 && failed != nil && !errors.Is(failed, syscall.ENOSPC) {
			t.Errorf("crash %d: serial %d with %s", crash, serial, shown(o))
		}
		if _, err := filepath.Glob(filepath.Join(dir, "*.next")); err != nil {
			t.Error(err)
		}
	}
}

// kill is a crash after each step, not an error at it: the process ends, and
// what it would have cleaned up it did not.
func TestDynamicKilledBetweenFiles(t *testing.T) {
	t.Parallel()
	before, after := overlay(t), overlay(t, "x.example.test. 60 IN AAAA 2001:db8::1")
	for _, committed := range []bool{false, true} {
		for _, moved := range []int{0, 1, 2} {
			dir := t.TempDir()
			s := open2(t, dir, atomicfile.Writer{})
			old, next := snapshot(t, "example.test.", "v", 7), snapshot(t, "example.test.", "v", 8)
			old.Dynamic, old.Updated, next.Dynamic = before, true, after
			if err := errors.Join(s.Reserve([]Snapshot{old}), s.Save(old)); err != nil {
				t.Fatal(err)
			}
			key := stem("example.test.", "v")
			if _, err := s.saveAs(key, nextExt, next); err != nil {
				t.Fatal(err)
			}
			if err := s.saveDynamic(key, next); err != nil {
				t.Fatal(err)
			}
			list := []string{key, ofUpdates + key}
			if committed {
				if err := s.saveJSON(commitFile, list); err != nil {
					t.Fatal(err)
				}
				for _, listed := range list[:moved] {
					if err := os.Rename(s.placesOf(listed)); err != nil {
						t.Fatal(err)
					}
				}
			}
			again := open2(t, dir, atomicfile.Writer{})
			got, _, problems := again.Load()
			o, err := again.Dynamic("example.test.", "v")
			serial, want := uint32(7), before
			if committed {
				serial, want = 8, after
			}
			if len(problems) > 0 || len(got) != 1 || err != nil || got[0].Content.Serial() != serial || shown(o) != shown(want) {
				t.Errorf("committed %v, %d in place: %v %v %v %s", committed, moved, got, problems, err, shown(o))
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*.next")); len(left) > 0 {
				t.Error(left)
			}
		}
	}
}

// A zone that is removed takes along what updates changed.
func TestRemoveTakesUpdatesAlong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open2(t, dir, atomicfile.Writer{})
	snap := snapshot(t, "example.test.", "v", 7)
	snap.Dynamic, snap.Updated = overlay(t), true
	if err := errors.Join(s.Save(snap), s.Remove("example.test.", "v")); err != nil {
		t.Fatal(err)
	}
	if o, err := s.Dynamic("example.test.", "v"); o != nil || err != nil {
		t.Error(o, err)
	}
}

// FuzzDynamic: whatever is read is what a zone can have.
func FuzzDynamic(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "dynamic1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden[len(magic) : len(golden)-32])
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := decodeDynamic(body, "example.test.", "v")
		if err != nil {
			return
		}
		for _, k := range o.Kept() {
			for _, rr := range append(k.Below, k.Now...) {
				if _, err := zone.AppendRecord(nil, rr); err != nil {
					t.Fatal(rr, err)
				}
			}
		}
	})
}
