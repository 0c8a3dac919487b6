package authority

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/signer"
	"postern/internal/dns/zonefile"
)

// hostZone is a zone as benchmarks have it, of 1.7 records a host.
func hostZone(count int) string {
	var b strings.Builder
	b.WriteString(external)
	for i := range count {
		fmt.Fprintf(&b, "h%d A 10.%d.%d.%d\n", i, i>>16&255, i>>8&255, i&255)
		if i%2 == 0 {
			fmt.Fprintf(&b, "h%d AAAA 2001:db8::%x:%x\n", i, i>>16, i&65535)
		}
		if i%10 == 0 {
			fmt.Fprintf(&b, "h%d MX 10 mail\n", i)
		}
		if i%20 == 0 {
			fmt.Fprintf(&b, "d%d NS ns1.d%d\nns1.d%d A 10.200.%d.%d\n", i, i, i, i>>8&255, i&255)
		}
	}
	return b.String()
}

// liveHeap is what the collector leaves.
func liveHeap() int {
	for range 2 { // what finalisers let go of is free the second time
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// memory loads a zone, twice, and returns what it takes then, in octets a
// record served, and the zone.
func memory(t *testing.T, text string, policy *SignPolicy) (first, again int, served string) {
	t.Helper()
	b := newBench(t)
	b.cfg.Sign, b.cfg.Keys = policy, newRing(t)
	b.write("external/example.test.zone", text)
	text = ""
	for _, to := range []*int{&first, &again} {
		b.stop()
		before := liveHeap()
		b.start()
		if st := b.status("external", "example.test."); st.State != OK || st.Records == 0 {
			t.Fatalf("%+v", st)
		}
		*to = (liveHeap() - before) / b.zone("external", "example.test").Records()
	}
	var out bytes.Buffer
	if err := zonefile.Print(&out, b.zone("external", "example.test")); err != nil {
		t.Fatal(err)
	}
	return first, again, out.String()
}

// What a zone takes in memory is bounded: nothing is kept of its text, and its
// records once beside the answers. Bounds are a tenth above what was measured.
// The test runs alone: all that are parallel to others share a heap.
func TestMemoryOfZone(t *testing.T) {
	text := hostZone(2000)
	check := func(name, text string, policy *SignPolicy, most, mostAgain int) string {
		first, again, served := memory(t, text, policy)
		t.Logf("%s: %d octets a record, %d after a restart", name, first, again)
		if first > most || again > mostAgain {
			t.Errorf("%s: %d octets a record at first and %d after a restart, of %d and %d", name, first, again, most, mostAgain)
		}
		return served
	}
	check("unsigned", text, nil, 405, 320)
	for _, c := range []struct {
		denial                    signer.Denial
		most, mostAgain           int
		presigned, presignedAgain int
	}{
		{signer.NSEC, 395, 370, 425, 345},
		{signer.NSEC3, 470, 440, 495, 415},
	} {
		p := &SignPolicy{Name: fmt.Sprint("denial ", c.denial), Model: signer.CSK, Algorithm: dnssec.ECDSAP256SHA256, Denial: c.denial, ZONEMD: true}
		served := check(p.Name, text, p, c.most, c.mostAgain)
		check("presigned, "+p.Name, served, nil, c.presigned, c.presignedAgain)
	}
}
