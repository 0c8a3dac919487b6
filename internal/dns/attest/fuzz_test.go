package attest

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// smallZone is quick to judge.
const smallZone = `$TTL 3600
@ SOA ns hostmaster 1 7200 3600 86400 300
@ NS ns
ns A 192.0.2.1
*.w TXT t
sub NS ns.sub
ns.sub A 192.0.2.2
`

// FuzzCheck changes records of a signed zone as octets say, to whatever the
// library still reads. Nothing panics, the two forms agree, and every code is
// in the table.
func FuzzCheck(f *testing.F) {
	m := newMaker(f)
	m.zonemd = true
	plain := m.sign(f, parseRecords(f, smallZone), nil, nil)
	m.nsec3 = noSalt
	hashed := m.sign(f, parseRecords(f, smallZone), nil, nil)
	known := map[string]bool{}
	for _, c := range Codes() {
		known[c.Code] = true
	}
	f.Add([]byte{0, 0, 3, 1, 7}, false)
	f.Add([]byte{0, 40, 20, 255, 0, 0, 41, 21, 3, 9}, true)
	f.Fuzz(func(t *testing.T, ops []byte, nsec3 bool) {
		old := plain
		if nsec3 {
			old = hashed
		}
		z := fuzzed(old, ops[:min(len(ops), 25)])
		if z == nil {
			return
		}
		c := Context{Presigned: len(ops)%2 == 0, Workers: 2}
		got := Check(z, testNow, c)
		for _, p := range got {
			if !known[p.Code] {
				t.Errorf("%v is not in the table", p)
			}
		}
		if edit := CheckEdit(old, z, testNow, c); !slices.Equal(edit, got) {
			t.Errorf("an edit is judged\n%s\nthe whole\n%s", lines(edit), lines(got))
		}
	})
}

// fuzzed does a change for every five octets: which record, where in it, what.
func fuzzed(z *zone.Zone, ops []byte) *zone.Zone {
	var all []dns.RR
	for n := range z.Nodes() {
		for i := range n.Sets {
			all = append(all, n.Sets[i].RRs...)
		}
	}
	wire := make([]byte, 70000)
	for ; len(ops) >= 5; ops = ops[5:] {
		i := int(binary.BigEndian.Uint16(ops)) % len(all)
		n, err := dns.PackRR(all[i], wire, 0, nil, false)
		if err != nil {
			continue
		}
		wire[int(ops[2])%n] = ops[3]
		if ops[4]&1 != 0 {
			wire[int(ops[4])%n] ^= ops[4]
		}
		if rr, _, err := dns.UnpackRR(wire[:n], 0); err == nil {
			all = append(all, rr)
		}
		if ops[4]&2 != 0 {
			all = slices.Delete(all, i, i+1)
		}
	}
	b := zone.NewBuilder(z.Origin())
	for _, rr := range all {
		_ = b.Add(rr) // what no zone takes is left out
	}
	out, err := b.Build()
	if err != nil {
		return nil
	}
	return out
}
