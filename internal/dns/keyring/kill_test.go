package keyring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"postern/internal/atomicfile"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// killed stops a change at once, as the loss of power does: nothing is cleaned
// up.
type killed struct{}

var errDisk = errors.New("broken disk")

// At whatever step a change is killed or fails: what is read next is what was
// there before or what was to be, whole, and the ring that lives on shows what
// was there before.
func TestKilledChanges(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*Ring, name.Name, uint16) error{
		"generate": func(r *Ring, z name.Name, _ uint16) error {
			_, err := r.Generate(z, ZSK, dnssec.ED25519, noon())
			return err
		},
		"fields": func(r *Ring, z name.Name, tag uint16) error {
			return r.SetFields(z, tag, []Field{{"state", "new"}, {"more", "than before"}})
		},
		"remove": func(r *Ring, z name.Name, tag uint16) error { return r.Remove(z, tag) },
		"import": func(r *Ring, z name.Name, _ uint16) error {
			_, err := r.Import(z, noon(), twoSources()...)
			return err
		},
	} {
		for _, kill := range []bool{true, false} {
			t.Run(fmt.Sprint(what, kill), func(t *testing.T) {
				t.Parallel()
				step := 0
				for killAt(t, what, change, kill, step) {
					step++
				}
				if want := map[string]int{"generate": 5, "fields": 5, "remove": 2, "import": 10}[what]; step < want {
					t.Errorf("only %d steps were reached, want %d", step, want)
				}
			})
		}
	}
}

// killAt tries a change that ends at a step. It reports false when the change
// has no such step.
func killAt(t *testing.T, what string, change func(*Ring, name.Name, uint16) error, kill bool, step int) (reached bool) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "k")
	z := parsed(t, "example.test")
	r := opened(t, dir)
	k := made(t, r, z, KSK, dnssec.ECDSAP256SHA256)
	if err := r.SetFields(z, k.Tag, []Field{{"state", "old"}}); err != nil {
		t.Fatal(err)
	}
	before := shown(r)
	at := 0
	r.writer.Fault = func(atomicfile.Step) error {
		at++
		if at <= step || reached && !kill {
			return nil // after the failure the disk works: what is taken back is
		}
		reached = true
		if kill {
			panic(killed{})
		}
		return errDisk
	}
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil && p != (killed{}) {
				panic(p)
			}
		}()
		return change(r, z, k.Tag)
	}()
	if !reached {
		if err != nil {
			t.Fatalf("%s without a fault: %v", what, err)
		}
		return false
	}
	if !kill && !errors.Is(err, errDisk) {
		t.Errorf("%s, step %d: the fault was not told: %v", what, step, err)
	}
	after := opened(t, dir) // an unreadable key would be a problem of it
	if p := after.Problems(); p != nil {
		t.Errorf("%s, step %d: %v", what, step, p)
	}
	if !kill && shown(r) != before {
		t.Errorf("%s, step %d: the ring shows\n%s\nbefore\n%s", what, step, shown(r), before)
	}
	checkAfter(t, what, kill, step, before, after)
	for _, file := range files(t, dir) {
		if atomicfile.Unfinished(file) {
			t.Errorf("%s, step %d: %s lies there", what, step, file)
		}
	}
	// The change can be made after all.
	if err := change(after, z, k.Tag); err != nil && (what != "remove" || !errors.Is(err, ErrNoKey)) {
		t.Errorf("%s again after step %d: %v", what, step, err)
	}
	return true
}

// shown is what a ring holds, as text.
func shown(r *Ring) string {
	text := ""
	for _, i := range r.List() {
		text += fmt.Sprintf("%s %s %d %v\n", i.Zone, i.Role, i.Tag, i.Fields)
	}
	return text
}

func checkAfter(t *testing.T, what string, kill bool, step int, before string, after *Ring) {
	t.Helper()
	got := shown(after)
	list := after.List()
	good := got == before
	switch what {
	case "generate":
		good = good || kill && len(list) == 2
	case "fields":
		// A failure that comes after the rename leaves the new fields.
		good = good || len(list) == 1 && len(list[0].Fields) == 2
	case "remove":
		good = good || got == ""
	case "import":
		good = good || kill && len(list) <= 3
	}
	if !good {
		t.Errorf("%s, step %d: after it\n%s\nbefore\n%s", what, step, got, before)
	}
}

// A key that is in place, not known to last and not to be removed stops its
// zone at once, as it would after a restart.
func TestAKeyThatCannotBeTakenBack(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	z, other := parsed(t, "example.test"), parsed(t, "other.test")
	made(t, r, other, CSK, dnssec.ED25519)
	key := fresh(t, z, algorithms()[0])
	r.create = stub(key.private)
	r.writer.Fault = func(at atomicfile.Step) error {
		if at != atomicfile.StepSyncDir {
			return nil
		}
		// Even root cannot remove a directory that is not empty as a file.
		path := r.path(key.entry)
		return errors.Join(errDisk, os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700))
	}
	if _, err := r.Generate(z, CSK, dnssec.ECDSAP256SHA256, noon()); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Of(z); !errors.Is(err, ErrBroken) {
		t.Errorf("the zone is signed: %v", err)
	}
	if keys, err := r.Of(other); err != nil || len(keys) != 1 {
		t.Errorf("the other zone: %v, %v", keys, err)
	}
	if _, err := opened(t, r.dir).Of(z); !errors.Is(err, ErrBroken) {
		t.Errorf("after a restart: %v", err)
	}
}
