package xfr

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// TestChainOfEdits: a zone file is edited at random, published, and taken as a
// difference and whole, by way of Out, signatures and messages of any split:
// after each edit what differences made is the whole zone is the file.
func TestChainOfEdits(t *testing.T) {
	t.Parallel()
	steps := 300
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		steps = 10_000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	ref, s, origins := feedOf(t, true)
	o, c := origins[0], ref.client
	in := ref.config.Zones()[0]
	at := target{in.Primaries[0], one, false}
	file, serial := map[string]bool{}, r.Uint32()
	forms := map[string]int{}
	for step := range steps {
		for range 1 + r.IntN(3)/2*r.IntN(5) { // mostly one version, at times several unseen ones
			edit(r, file)
			serial = zone.NextSerial(serial + r.Uint32N(3)*r.Uint32N(1<<20))
			o.publish(zoneOf(t, serial, strings.Join(lines(file), "\n")))
		}
		o.set(func(o *origin) { disturb(t, r, o) })
		w := wanted{}
		if s.z != nil {
			w.have = s.z.SOA()
		}
		got, err := c.fetch(t.Context(), &in, at, w)
		if err == nil && !got.current {
			if err = s.take(t.Context(), in, got.Incoming); err != nil && got.Deltas != nil {
				// What was left out of the difference shows: the whole zone is asked for.
				forms["misfit"]++
				w.whole = true
				if got, err = c.fetch(t.Context(), &in, at, w); err == nil {
					err = s.take(t.Context(), in, got.Incoming)
				}
			}
		}
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		forms[formOf(got)]++
		whole, err := c.fetch(t.Context(), &in, at, wanted{any: true})
		if err != nil {
			t.Fatalf("step %d, whole: %v", step, err)
		}
		want := content(o.z)
		if !slices.Equal(content(s.z), want) || !slices.Equal(text(whole.Full), want) || s.z.Serial() != serial {
			t.Fatalf("step %d: at %d\n%s\nwant %d\n%s\nwhole\n%s", step, s.z.Serial(), strings.Join(content(s.z), "\n"), serial, strings.Join(want, "\n"), strings.Join(text(whole.Full), "\n"))
		}
	}
	t.Logf("%v", forms)
	for _, form := range []string{"full", "incremental", "instead", "misfit"} {
		if forms[form] == 0 {
			t.Errorf("never %s: %v", form, forms)
		}
	}
}

func lines(file map[string]bool) []string {
	all := make([]string, 0, len(file))
	for line := range file {
		all = append(all, line)
	}
	return all
}

func formOf(got *fetched) string {
	switch {
	case got.fell != nil:
		return "instead"
	case got.current:
		return "current"
	case got.Deltas != nil:
		return "incremental"
	}
	return "full"
}

// disturb makes the primary another kind of server.
func disturb(t *testing.T, r *rand.Rand, o *origin) {
	t.Helper()
	o.mangle, o.noIXFR = nil, 0
	if len(o.steps) > 20 {
		o.steps = o.steps[len(o.steps)-10:]
	}
	switch r.IntN(12) {
	case 0:
		o.steps = nil // no history: the whole zone in answer to IXFR
	case 1:
		o.noIXFR = dns.RcodeRefused
	case 2, 3, 4:
		o.mangle = func(_ uint16, msgs [][]byte) [][]byte { return split(t, msgs) }
	case 5:
		o.mangle = onlyIXFR(func(msgs [][]byte) [][]byte { return forget(t, msgs) })
	}
}

// forget leaves a removal out of a difference.
func forget(t *testing.T, msgs [][]byte) [][]byte {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msgs[0]); err != nil || len(msgs) > 1 {
		return msgs
	}
	isSOA := func(i int) bool { return i < len(m.Answer) && m.Answer[i].Header().Rrtype == dns.TypeSOA }
	if len(m.Answer) < 4 || !isSOA(1) || isSOA(2) {
		return msgs // whole, or nothing goes
	}
	m.Answer = append(append(m.Answer[:2:2], &dns.A{Hdr: dns.RR_Header{Name: "never.example.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: []byte{192, 0, 2, 9}}), m.Answer[3:]...)
	b, err := m.Pack()
	if err != nil {
		return msgs
	}
	return [][]byte{b}
}
