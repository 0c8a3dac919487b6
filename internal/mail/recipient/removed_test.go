package recipient

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
)

// TestRemovedFromADirectory: mail for somebody who had been removed was taken
// for up to six hours more. Now it is for ten minutes at most, whatever mail
// comes for that name meanwhile, in whatever letters, while strangers flood the
// door with names that there never were, and over a restart.
func TestRemovedFromADirectory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &inner{names: people("ann", "Ann", "bob", "zoe")}
		file := t.TempDir() + "/memory"
		begin := func() *Keeper {
			k, err := New(Config{Call: n.call, File: file})
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			follow(t, k, Domain{Name: "city.example", Mode: Directory, Hops: "ldaps://10.0.0.7:636"})
			synctest.Wait()
			return k
		}
		k := begin()
		for _, name := range []string{"ann", "bob", "zoe"} {
			find(t, k, name, "")
		}
		n.set(func() { n.names = people("zoe") })
		for range 9 { // asked for all the time, which is no new answer
			find(t, k, "ann", "")
			time.Sleep(time.Minute)
		}
		if got := n.times("ann"); got != 1 {
			t.Errorf("asked %d times in nine minutes", got)
		}
		time.Sleep(time.Minute)
		for i := range 500 { // a flood, beyond what may be asked
			go k.Find(t.Context(), address.Address{Local: fmt.Sprint("x", i), Domain: "city.example"})
		}
		synctest.Wait()
		if k.Counters.Busy.Value() == 0 {
			t.Error("no flood")
		}
		find(t, k, "Ann", "user-unknown")
		if k.domains["city.example"].asked.existed(address.Address{Local: "ann", Domain: "city.example"}) {
			t.Error("who left by one spelling stays by the other")
		}
		time.Sleep(time.Minute) // the flood is over
		find(t, k, "ann", "user-unknown")
		find(t, k, "zoe", "")
		stop := func() {
			if err := k.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
		stop()
		k = begin()
		find(t, k, "bob", "user-unknown") // known to the last process
		n.set(func() { n.down = true })
		time.Sleep(time.Hour)
		find(t, k, "bob", "user-unsure")
		find(t, k, "zoe", "") // while nobody can be asked, whoever was there is
		stop()
	})
}

// A next hop is asked of each once an hour: it refuses who has left by itself.
func TestRemovedFromANextHop(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann")}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "ann", "")
		n.set(func() { n.names = map[string]deliver.Answer{} })
		time.Sleep(time.Hour - time.Second)
		find(t, k, "ann", "")
		time.Sleep(time.Second)
		find(t, k, "ann", "user-unknown")
	})
}
