package authority

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/rollover"
)

// TestImport: keys of another server, by which the parent's DS goes, take the
// place of those that were made and never used.
func TestImport(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	b, r, at := rollBench(t, p)
	theirs := newRing(t)
	key, err := theirs.Generate(exampleTest, keyring.CSK, dnssec.ECDSAP256SHA256, *b.wall)
	if err != nil {
		t.Fatal(err)
	}
	other := ofZone(t, theirs)[0]
	var taken int
	do := func(adopt bool) error {
		_, err := b.a.Import(t.Context(), Import{Zone: "example.test", Adopt: adopt, Who: "test", Take: func() ([]dnssec.Key, error) {
			taken++
			return []dnssec.Key{key}, r.put(t, theirs)
		}})
		return err
	}
	if err := do(true); !declined(err, ReasonKeys) || taken > 0 {
		t.Errorf("import into a zone that is signed: %v, taken %d times", err, taken)
	}
	b.stop()
	fresh := newRing(t)
	b.cfg.StateDir, r.Ring, r.dir = t.TempDir(), fresh.Ring, fresh.dir
	at.set(rollover.Secure, dsOf(t, other))
	b.start()
	if s := b.status("external", "example.test."); s.Reason != rollover.ReasonOrphanDS {
		t.Fatalf("%+v", s)
	}
	if err := do(false); !declined(err, ReasonDS) || taken > 0 {
		t.Errorf("import under a DS: %v, taken %d times", err, taken)
	}
	at.set(rollover.Unknown)
	if err := do(false); !declined(err, rollover.ReasonParentUnknown) || taken > 0 {
		t.Errorf("import while nobody knows: %v, taken %d times", err, taken)
	}
	at.set(rollover.Secure, dsOf(t, other))
	if err := do(true); err != nil {
		t.Fatal(err)
	}
	f := b.keysServed()
	if len(f.uses) != 1 || !dnssec.Use(f.uses[key.Tag]).Does(dnssec.InSet|dnssec.SignsData|dnssec.SignsKeys) || taken != 1 {
		t.Errorf("signed by %v", f.uses)
	}
	if s := b.status("external", "example.test."); s.Keys.Alarms != nil || !slices.Equal(s.Keys.Wanted, []uint16{key.Tag}) {
		t.Errorf("%+v", s.Keys)
	}
	b.start()
	b.pass(5*day, 6*time.Hour, func() { b.keysServed() })
}

// put copies what another ring holds.
func (r *ring) put(t *testing.T, from *ring) error {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(from.dir, "*.key"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, filepath.Base(f)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := keyring.Open(r.dir)
	r.Ring = ring
	return err
}
