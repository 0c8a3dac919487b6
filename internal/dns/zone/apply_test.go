package zone

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

const applied = `example.test. 60 SOA ns.example.test. h.example.test. 7 3600 600 864000 300
example.test. 60 NS ns.example.test.
ns.example.test. 60 A 192.0.2.1
a.b.example.test. 60 TXT "x"
a.b.example.test. 60 TXT "y"
\*.w.example.test. 300 MX 10 Mail.example.test.`

func zoneOf(t testing.TB, text string) *Zone {
	t.Helper()
	b := NewBuilder(parsed(t, "example.test."))
	for line := range strings.Lines(text) {
		if err := b.Add(record(t, strings.TrimSpace(line))); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// deltaOf reads a difference: "from to" and lines that begin with - or +.
func deltaOf(t testing.TB, text string) Delta {
	t.Helper()
	var d Delta
	soa := func(serial int) *dns.SOA {
		_, rr := normal(t, fmt.Sprintf("example.test. 60 SOA ns.example.test. h.example.test. %d 3600 600 864000 300", serial))
		return rr.(*dns.SOA)
	}
	for i, line := range strings.Split(text, "\n") {
		if i == 0 {
			var from, to int
			if _, err := fmt.Sscan(line, &from, &to); err != nil {
				t.Fatal(err)
			}
			d.From, d.To = soa(from), soa(to)
			continue
		}
		_, rr := normal(t, line[1:])
		if line[0] == '-' {
			d.Removed = append(d.Removed, rr)
		} else {
			d.Added = append(d.Added, rr)
		}
	}
	return d
}

// TestApplyRefuses what is no difference of this zone (RFC 1995, Section 4).
func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, delta string
		want        error
	}{
		{"another serial", "6 8", ErrMisfit},
		{"a record that is not there goes", "7 8\n-c.example.test. 60 A 192.0.2.9", ErrMisfit},
		{"a record of a set goes that is not there", "7 8\n-a.b.example.test. 60 TXT \"z\"", ErrMisfit},
		{"a record goes twice", "7 8\n-a.b.example.test. 60 TXT \"x\"\n-a.b.example.test. 60 TXT \"x\"", ErrMisfit},
		{"a record comes that is there", "7 8\n+a.b.example.test. 60 TXT \"y\"", ErrMisfit},
		{"a record comes that is there with another TTL", "7 8\n+a.b.example.test. 90 TXT \"y\"", ErrMisfit},
		{"a record comes twice", "7 8\n+n.example.test. 60 TXT \"y\"\n+n.example.test. 60 TXT \"y\"", ErrMisfit},
		{"outside", "7 8\n+n.example. 60 TXT \"y\"", ErrOutside},
		{"a SOA comes", "7 8\n+example.test. 60 SOA a. b. 9 1 1 1 1", ErrManySOA},
		{"a SOA goes", "7 8\n-example.test. 60 SOA ns.example.test. h.example.test. 7 3600 600 864000 300", ErrManySOA},
	} {
		z := zoneOf(t, applied)
		before := shown(z)
		next, _, err := z.Apply(deltaOf(t, c.delta))
		if !errors.Is(err, c.want) || next != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if shown(z) != before {
			t.Errorf("%s: the zone has changed", c.name)
		}
	}
	if _, _, err := zoneOf(t, applied).Apply(Delta{}); !errors.Is(err, ErrMisfit) {
		t.Errorf("no SOA: %v", err)
	}
}

// TestApply takes what fits: also a record that goes and comes, in other
// letters where these mean nothing, and a serial that is behind.
func TestApply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, delta, want string }{
		{"the serial alone", "7 8", strings.Replace(applied, " 7 ", " 8 ", 1)},
		{"a serial that is behind", "7 3", strings.Replace(applied, " 7 ", " 3 ", 1)},
		{"another TTL", "7 8\n-ns.example.test. 60 A 192.0.2.1\n+ns.example.test. 90 A 192.0.2.1",
			strings.Replace(strings.Replace(applied, " 7 ", " 8 ", 1), "ns.example.test. 60 A", "ns.example.test. 90 A", 1)},
		{"an empty non-terminal goes", "7 8\n-a.b.example.test. 60 TXT \"x\"\n-a.b.example.test. 60 TXT \"y\"",
			strings.Join(strings.Split(strings.Replace(applied, " 7 ", " 8 ", 1), "\n")[:3], "\n") + "\n" + strings.Split(applied, "\n")[5]},
		{"other letters", "7 8\n-*.W.example.test. 300 MX 10 MAIL.example.test.\n+*.w.EXAMPLE.test. 300 MX 10 mail.example.test.\n+New.example.test. 5 A 192.0.2.7",
			strings.Replace(applied, " 7 ", " 8 ", 1) + "\nnew.example.test. 5 A 192.0.2.7"},
	} {
		next, touched, err := zoneOf(t, applied).Apply(deltaOf(t, c.delta))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got, want := shown(next), shown(zoneOf(t, c.want)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
		}
		if len(touched) == 0 || touched[0] != parsed(t, "example.test.") {
			t.Errorf("%s: touched %v", c.name, touched)
		}
	}
}

// TestApplyFollowsDiff: what Diff says of two random zones makes the one of the
// other.
func TestApplyFollowsDiff(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		random := func(serial uint32) *Zone {
			b := NewBuilder(parsed(t, "example.test."))
			texts := []string{fmt.Sprintf("example.test. 60 SOA ns.example.test. h.example.test. %d 3600 600 864000 300", serial), "example.test. 60 NS ns.example.test."}
			for range r.IntN(20) {
				owner := []string{"a", "b.a", "*.a", "c.b.a", "x"}[r.IntN(5)] + ".example.test."
				texts = append(texts, fmt.Sprintf("%s %d TXT t%d", owner, 60*(1+r.IntN(2)), r.IntN(4)))
			}
			for _, text := range texts {
				if err := b.Add(record(t, text)); err != nil {
					t.Fatal(err)
				}
			}
			z, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			return z
		}
		old, next := random(uint32(seed)), random(r.Uint32())
		got, touched, err := old.Apply(NewDelta(old, next))
		if err != nil || shown(got) != shown(next) {
			t.Fatalf("seed %d: %v\n%s\nwant\n%s", seed, err, shown(got), shown(next))
		}
		seen := map[name.Name]bool{}
		for _, n := range touched {
			if seen[n] {
				t.Fatalf("seed %d: %s twice", seed, n)
			}
			seen[n] = true
		}
	}
}
