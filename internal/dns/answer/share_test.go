package answer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// TestShortWay asks everything twice: as it is, and with a limit one octet
// too small for the short way. Where both give a whole answer they agree.
func TestShortWay(t *testing.T) {
	t.Parallel()
	for _, chain := range []chained{{plain: true}, {}, {nsec3: true}} {
		for _, edits := range [][]func(*dns.Msg){nil, {setDO}} {
			shortWay(t, signedWorld(t, chain, 50), edits...)
		}
	}
}

func shortWay(t *testing.T, w *world, edits ...func(*dns.Msg)) {
	t.Helper()
	short := 0
	for _, kind := range benchKinds {
		for _, msg := range benchQueries(t, kind, 50, edits...)[:200] {
			var q wire.Query
			q.Parse(msg)
			var a Answer
			got := bytes.Clone(a.Append(w.zones[0], q.Start(nil), &q, wire.MaxUDP, w))
			o := w.zones[0].lookup(q.Wire())
			if o == nil || o.over != 0 {
				continue
			}
			var long Answer
			z := w.zones[0]
			long.Result = Result{AA: true, Zone: z, Counts: wire.Counts{Question: 1}}
			long.begin(&long.Result, z, q.Start(nil), &q, wire.MaxUDP, w)
			for more := long.step(o); more; more = long.step(long.zone.lookup(long.name)) {
			}
			long.putProofs()
			if !bytes.Equal(got, long.msg) || a.Result != long.Result {
				t.Fatalf("%s: %x %+v\nlong way %x %+v", q.Name(), got, a.Result, long.msg, long.Result)
			}
			short++
		}
	}
	if short < 200 {
		t.Errorf("only %d answers compared", short)
	}
}

// TestRecompile edits random zones again and again. What is compiled with what
// was there before answers as what is compiled afresh.
func TestRecompile(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 9))
		origins := []string{"z.", "a.z."}
		texts := []string{randomZone(r, "z.", origins), randomZone(r, "a.z.", origins)}
		kept := newWorld(t, texts...)
		for step := range 20 {
			texts[0] = edit(r, texts[0], randomZone(r, "z.", origins))
			fresh := newWorld(t, texts...)
			src := build(t, parse(t, texts[0]))
			for i, z := range kept.zones {
				if z.origin == name.Name("\x01z\x00") {
					kept.zones[i] = Recompile(src, z)
				}
			}
			kept.oracle = fresh.oracle
			for range 60 {
				qname, qtype := randomQuestion(r, origins)
				kept.check(t, qname, qtype)
				if t.Failed() {
					t.Fatalf("seed %d, step %d\n%s", seed, step, strings.Join(texts, "\n"))
				}
			}
		}
	}
}

// edit keeps the SOA and the NS records of a and takes the names of the others
// from either.
func edit(r *rand.Rand, a, b string) string {
	lines := strings.SplitAfter(a, "\n")
	from := map[string]bool{}
	head, rest := lines[:2], append(lines[2:], strings.SplitAfter(b, "\n")[2:]...)
	for i, line := range rest {
		owner := strings.ToLower(strings.SplitN(line, " ", 2)[0])
		if _, known := from[owner]; !known {
			from[owner] = r.IntN(8) == 0 // most stay
		}
		ofB := i >= len(lines)-2
		if ofB == from[owner] && owner != "" && owner != "z." {
			head = append(head, line)
		}
	}
	return strings.Join(head, "")
}

func TestRecompileShares(t *testing.T) {
	t.Parallel()
	const hosts = 300
	text := benchText(hosts)
	old := Compile(build(t, parse(t, text)))
	size := old.Size()
	for i := range 100 {
		text := strings.Replace(text, "IN A 10.0.0.7\n", fmt.Sprintf("IN A 10.9.9.%d\n", i%256), 1)
		old = Recompile(build(t, parse(t, text)), old)
		last := old.segs[len(old.segs)-1]
		if i == 0 && (len(old.segs) < 2 || len(last) > 200) {
			t.Errorf("one address changed: %d segments, the last of %d octets", len(old.segs), len(last))
		}
	}
	if now := old.Size(); now > size+size/4 {
		t.Errorf("%d octets after 100 changes of one record, %d before", now, size)
	}
	// Much changes: what is waste is thrown away in the end.
	for i := range 20 {
		text := strings.ReplaceAll(text, "IN A 10.0.", fmt.Sprintf("IN A 10.%d.", i+1))
		old = Recompile(build(t, parse(t, text)), old)
		if now := old.Size(); now > 3*size+segLen/32 {
			t.Fatalf("%d octets after %d changes of everything, %d before", now, i, size)
		}
	}
	// Names come and go: their slots do too.
	for i := range 20 {
		text := strings.ReplaceAll(text, "h1", fmt.Sprintf("h1x%d", i))
		old = Recompile(build(t, parse(t, text)), old)
		taken := 0
		for _, slot := range old.slots {
			if slot != 0 {
				taken++
			}
		}
		if 2*taken > len(old.slots) {
			t.Fatalf("%d of %d slots taken after %d changes of names", taken, len(old.slots), i)
		}
		var q wire.Query
		m := new(dns.Msg)
		m.SetQuestion(fmt.Sprintf("h1x%d.example.test.", i), dns.TypeA)
		msg, _ := m.Pack()
		q.Parse(msg)
		if _, res := old.Append(q.Start(nil), &q, 512, nil); res.Kind != Positive {
			t.Fatalf("%v", res.Kind)
		}
	}
}
