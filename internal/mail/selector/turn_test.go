package selector

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRotate: new keys are published first, sign an hour later, also over a
// restart, and the old ones are withdrawn when no mail can need them.
func TestRotate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		pub := &publisher{}
		cfg := Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Publisher: pub}
		r := start(t, cfg)
		defer func() { stop(t, r) }()
		want := func(when, list string, records int) {
			t.Helper()
			synctest.Wait()
			if got := stands(r); got != list || pub.count() != records {
				t.Errorf("%s: got %q with %d records, want %q with %d", when, got, pub.count(), list, records)
			}
			keys := r.Keys(t.Context(), "city.example")
			for _, s := range r.List() {
				if s.Signs && (len(keys) != 1 || keys[0].Selector != s.Selector) {
					t.Errorf("%s: %s is said to sign, and %v do", when, s.Selector, keys)
				}
			}
		}
		restart := func() {
			stop(t, r)
			r = start(t, cfg)
		}
		r.Keys(t.Context(), "city.example")
		want("at first", "city.example p2000a-ed signs", 1)
		if err := r.Rotate(t.Context(), "other.example"); !errors.Is(err, ErrForeign) {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour)
		if err := r.Rotate(t.Context(), "city.example"); err != nil {
			t.Fatal(err)
		}
		if err := r.Rotate(t.Context(), "city.example"); !errors.Is(err, ErrRotating) {
			t.Error(err)
		}
		want("published", "city.example p2000a-ed signs, city.example p2000b-ed until", 2)
		restart()
		time.Sleep(settle - time.Minute)
		want("before it signs", "city.example p2000a-ed signs, city.example p2000b-ed until", 2)
		time.Sleep(3 * time.Minute)
		want("it signs", "city.example p2000a-ed until, city.example p2000b-ed signs", 2)
		restart()
		want("after a restart", "city.example p2000a-ed until, city.example p2000b-ed signs", 2)
		time.Sleep(linger - time.Hour)
		want("mail is still on its way", "city.example p2000a-ed until, city.example p2000b-ed signs", 2)
		pub.set(errors.New("the zone's disk is full"))
		time.Sleep(2 * time.Hour)
		want("it cannot be withdrawn", "city.example p2000a-ed until, city.example p2000b-ed signs", 2)
		pub.set(nil)
		time.Sleep(2 * time.Minute)
		want("withdrawn", "city.example p2000b-ed signs", 1)
		if _, err := os.Stat(filepath.Join(dir, "p2000a-ed._domainkey.city.example.key")); !os.IsNotExist(err) {
			t.Errorf("the old private key is still there: %v", err)
		}
		if err := r.Rotate(t.Context(), "city.example"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		want("a name never comes again", "city.example p2000b-ed signs, city.example p2000c-ed until", 2)
		if r.Counters.Switched.Value() != 0 || r.Counters.Created.Value() != 1 { // of this start
			t.Errorf("switched %d, made %d", r.Counters.Switched.Value(), r.Counters.Created.Value())
		}
	})
}

// TestUnpublishedDoesNotTakeOver: a key whose record the world does not have yet
// replaces none, however long that takes; its hour begins with its record.
func TestUnpublishedDoesNotTakeOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		pub := &publisher{}
		r := start(t, Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Publisher: pub})
		defer stop(t, r)
		r.Keys(t.Context(), "city.example")
		pub.set(errors.New("no"))
		if err := r.Rotate(t.Context(), "city.example"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if got := stands(r); got != "city.example p2000a-ed signs, city.example p2000b-ed" {
			t.Error(got)
		}
		pub.set(nil)
		time.Sleep(settle)
		synctest.Wait()
		if got := stands(r); got != "city.example p2000a-ed signs, city.example p2000b-ed until" {
			t.Error(got)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := stands(r); !strings.HasSuffix(got, "city.example p2000b-ed signs") {
			t.Error(got)
		}
	})
}

// TestRotateNeedsAKeyThatSigns, and somebody who looks after them.
func TestRotateNeedsAKeyThatSigns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{Dir: dir, Domains: []string{"city.example"}, Algorithms: []string{Ed25519}, Publisher: &publisher{refuse: errors.New("no")}})
		r.Keys(t.Context(), "city.example")
		if err := r.Rotate(t.Context(), "city.example"); !errors.Is(err, ErrIdle) || len(r.List()) != 1 {
			t.Errorf("%v, %v", err, r.List())
		}
		stop(t, r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Rotate(ctx, "city.example"); !errors.Is(err, errStopped) {
			t.Error(err)
		}
	})
}
