package recipient

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestKnownOutliveARestart, also while the next hop is down; what was known of
// another next hop does not, and neither does what is too old.
func TestKnownOutliveARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "recipients")
	life := func(t *testing.T, n *inner, d Domain, f func(k *Keeper)) {
		t.Helper()
		k, err := New(Config{Call: n.call, File: file})
		if err != nil {
			t.Fatal(err)
		}
		follow(t, k, d)
		if err := k.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f(k)
		if err := k.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		n := &inner{names: people("ann", "bob")}
		life(t, n, verified, func(k *Keeper) {
			find(t, k, "ann", "")
			find(t, k, "nobody", "user-unknown")
			time.Sleep(memoryEvery)
			synctest.Wait()
			if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "ann@city.example") {
				t.Errorf("not written down meanwhile: %q, %v", text, err)
			}
			find(t, k, "bob", "")
		})
		n.set(func() { n.down = true })
		life(t, n, verified, func(k *Keeper) {
			find(t, k, "ann", "")
			find(t, k, "bob", "")
			find(t, k, "nobody", "user-unsure")
		})
		other := verified
		other.Hops = "smtp://10.0.0.6:25"
		life(t, n, other, func(k *Keeper) { find(t, k, "ann", "user-unsure") })
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(knownFresh)
		life(t, n, verified, func(k *Keeper) { find(t, k, "ann", "") })
		if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
			t.Errorf("written anew though nothing was learnt: %v", err)
		}
		old := strings.ReplaceAll(string(before), "9466", "8466") // a few years
		if err := os.WriteFile(file, []byte(old), 0o600); err != nil || old == string(before) {
			t.Fatal(err, string(before))
		}
		life(t, n, verified, func(k *Keeper) { find(t, k, "ann", "user-unsure") })
	})
}

// TestBrokenMemory is none.
func TestBrokenMemory(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":           "",
		"another version": "POSTERN-RECIPIENTS 2\n{}\n",
		"cut":             memoryMagic + `{"domain":"city.example","known":{"ann`,
		"of another kind": memoryMagic + `{"domain":"city.example","known":["ann"]}` + "\n",
	} {
		file := filepath.Join(t.TempDir(), "recipients")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := New(Config{Call: (&inner{}).call, File: file})
		if err != nil || len(k.recalled) != 0 {
			t.Errorf("%s: %v, %v", name, k.recalled, err)
		}
	}
}

// TestMemoryFormat: a file of format 1 is read as long as there is one.
func TestMemoryFormat(t *testing.T) {
	t.Parallel()
	all, err := readMemory(filepath.Join("testdata", "recipients.1"))
	if err != nil || all["city.example"].Hops != "smtp://10.0.0.5:25" || all["city.example"].Known["ann@city.example"] != 1785585600 || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}
