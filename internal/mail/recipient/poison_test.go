package recipient

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
)

// TestOneNameInManyCases: whoever writes the name of somebody in every way that
// there is fills no memory with it, and the next hop is asked once.
func TestOneNameInManyCases(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("margaret", "ann")}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "margaret", "")
		for i := range 256 {
			local := []byte("margaret")
			for bit := range local {
				if i>>bit&1 == 1 {
					local[bit] -= 'a' - 'A'
				}
			}
			find(t, k, string(local), "")
		}
		if _, known := k.domains["city.example"].asked.standing(); known != 1 || n.times("*") != 2 { // and a name made up
			t.Errorf("%d names known, asked %v", known, n.asked)
		}
		// It was known in one case; while nobody answers, it is in all.
		find(t, k, "ann", "")
		time.Sleep(knownFresh)
		n.set(func() { n.down = true })
		find(t, k, "Ann", "")
		find(t, k, "Bob", "user-unsure")
	})
}

// TestAbsentInOneCase: a server that tells ann from ANN and has no ANN does not
// have ann refused, nor is ann forgotten.
func TestAbsentInOneCase(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann")}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "ANN", "user-unknown")
		find(t, k, "ann", "")
		time.Sleep(knownFresh)
		find(t, k, "ANN", "user-unknown")
		n.set(func() { n.down = true })
		find(t, k, "ann", "")
	})
}

// TestDetailsDriveNobodyOut: where sub-addresses exist without end, whoever makes
// them up drives out others of their kind, and none of those who have a name.
func TestDetailsDriveNobodyOut(t *testing.T) {
	t.Parallel()
	v := newVerifier(keeper(t, &inner{}, verified), "city.example", Verify)
	now := time.Now()
	for i := range 5000 {
		v.remember(v.known, fmt.Sprintf("user%d@city.example", i), now, maxKnown, knownLong)
	}
	for i := range maxKnown * 2 {
		v.remember(v.known, fmt.Sprintf("ann+%d@city.example", i), now.Add(time.Second), maxKnown, knownLong)
	}
	for i := range 5000 {
		if _, ok := v.known[fmt.Sprintf("user%d@city.example", i)]; !ok {
			t.Fatalf("user%d was driven out", i)
		}
	}
	if len(v.known) > maxKnown {
		t.Errorf("%d are known", len(v.known))
	}
}

// TestExplain says what answers rest on, and counts nobody.
func TestExplain(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann")}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		for _, c := range []struct{ local, how, reason string }{
			{"ann", "asked now", ""},
			{"Ann", "remembered: it existed when asked for at ", ""},
			{"zoe", "asked now", "user-unknown"},
			{"zoe", "remembered: nobody of that name when asked for at ", "user-unknown"},
			{"Abuse", "postmaster and abuse are always taken", ""},
		} {
			x := k.Explain(t.Context(), address.Address{Local: c.local, Domain: "city.example"})
			if !strings.HasPrefix(x.How, c.how) || reasonOf(x.Reply) != c.reason || x.Mode != Verify {
				t.Errorf("%s: %+v", c.local, x)
			}
		}
		n.set(func() { n.down = true })
		time.Sleep(knownFresh)
		x := k.Explain(t.Context(), address.Address{Local: "ann", Domain: "city.example"})
		if !strings.HasPrefix(x.How, "asked now; it existed at ") || !strings.HasSuffix(x.How, ", the next hop does not answer") || x.Reply != nil || x.State != Silent {
			t.Errorf("%+v", x)
		}
		if u := k.Counters.Unknown.Value() + k.Counters.Unsure.Value(); u != 0 {
			t.Errorf("counted %d", u)
		}
		x = k.Explain(t.Context(), address.Address{Local: "x", Domain: "other.example"})
		if x.Reply != nil || len(x.Targets) != 1 {
			t.Errorf("%+v", x)
		}
	})
}

// TestEvasive: a server that says neither yes nor no to anybody is told of, and
// whoever is known is taken meanwhile.
func TestEvasive(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann")}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "ann", "")
		if got := k.Standings()[0].State; got != Fine {
			t.Errorf("state %s", got)
		}
		n.set(func() { n.evasive = &deliver.Answer{Code: 451, Enhanced: "4.3.0"} })
		time.Sleep(knownFresh + probeAgain) // it has been asked for a made-up name anew
		find(t, k, "ann", "")
		find(t, k, "zoe", "user-unsure")
		if got := k.Standings()[0].State; got != Evasive {
			t.Errorf("state %s", got)
		}
		n.set(func() { n.evasive = nil })
		time.Sleep(2 * probeAgain)
		synctest.Wait()
		if got := k.Standings()[0].State; got != Fine {
			t.Errorf("state %s", got)
		}
		find(t, k, "zoe", "user-unknown")
	})
}
