package rollover

import (
	"reflect"
	"testing"
	"time"
)

func TestBadFields(t *testing.T) {
	t.Parallel()
	for _, f := range []Field{
		{"in-dnskey-set", ""}, {"in-dnskey-set", "maybe"}, {"in-dnskey-set", "on since"}, {"in-dnskey-set", "on since yesterday"},
		{"signs-keys", "on since 2026-01-01T00:00:00Z until never"}, {"signs-zone", "on after 2026-01-01T00:00:00Z"}, {"ds-wanted", "onsince 2026-01-01T00:00:00Z"},
		{"ds-seen", "seen"}, {"retires", "soon"}, {"zone-ttl-keys", "long"}, {"zone-ttl-data", "-1h"}, {"zone-ttl-ds", "2000000h"},
		{"zone-ttl-ds", "2h served 1h"}, {"zone-ttl-ds", "2h served -1h on"}, {"zone-ttl-ds", "2h served"},
	} {
		s := State{}
		if err := s.Add(Key{Tag: 1}, []Field{f}); err == nil || len(s.Keys) > 0 {
			t.Errorf("%s %q was taken: %+v", f.Name, f.Value, s)
		}
	}
}

// TestFields: what is written down is read back, in whole seconds that never
// shorten a wait, and has nothing of what is not kept.
func TestFields(t *testing.T) {
	t.Parallel()
	at := begin().Add(123 * time.Millisecond)
	up := begin().Add(time.Second)
	s := State{Insecure: true, KeyTTL: Mark{TTL: hour}, DataTTL: Mark{TTL: day, Served: hour, Less: Turn{On: true, Since: up, Until: up.Add(day)}}}
	s.Keys = []Key{
		{Tag: 1, Role: KSK, Alg: 13, Made: begin(), Set: Turn{On: true, Since: at, Until: at.Add(hour), served: map[string]version{"a": {}}},
			Keys: Turn{On: true}, Want: Turn{Since: at}, DS: Sight{true, at}, Retire: Compromised, Spare: true},
		{Tag: 2, Role: ZSK, Alg: 13, Made: begin()},
	}
	var got State
	for i, k := range s.Keys {
		if err := got.Add(Key{Tag: k.Tag, Role: k.Role, Alg: k.Alg, Made: k.Made}, s.Fields(i)); err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Fields(i) {
			if !Own(f.Name) || len(f.Value) > 400 {
				t.Errorf("field %v", f)
			}
		}
	}
	k := &s.Keys[0]
	k.Set = Turn{On: true, Since: up, Until: up.Add(hour)}
	k.Want.Since, k.DS.Since = up, up
	if !reflect.DeepEqual(got, s) {
		t.Errorf("read back:\n%+v\nwant\n%+v", got, s)
	}
	if n := len((&State{Keys: []Key{{Tag: 1}}}).Fields(0)); n != 0 {
		t.Errorf("a new key has %d fields", n)
	}
}

// TestFieldsOfTwo: where a crash left one key with older marks, the longer wait
// counts.
func TestFieldsOfTwo(t *testing.T) {
	t.Parallel()
	const lowered = "24h0m0s served 1h0m0s on since 2026-01-01T00:00:00Z"
	for _, c := range [][3]string{
		{"1h0m0s", "24h0m0s", "24h0m0s"},
		{"24h0m0s", lowered, "24h0m0s"},
		{"1h0m0s", lowered, lowered},
		{lowered, lowered + " until 2026-01-02T00:00:00Z", lowered},
		{lowered + " until 2026-01-03T00:00:00Z", lowered + " until 2026-01-02T00:00:00Z", lowered + " until 2026-01-03T00:00:00Z"},
	} {
		for _, order := range [][2]string{{c[0], c[1]}, {c[1], c[0]}} {
			s := State{}
			for i, value := range order {
				if err := s.Add(Key{Tag: uint16(i)}, []Field{{"zone-ttl-data", value}}); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.DataTTL.text(); got != c[2] {
				t.Errorf("%v: %q, want %q", order, got, c[2])
			}
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add("on since 2026-01-01T00:00:00Z until 2026-01-01T00:00:00Z", "24h0m0s served 1h0m0s on since 2026-01-01T00:00:00Z")
	f.Add("off since 2026-01-01T00:00:00Z", "1s")
	f.Fuzz(func(t *testing.T, turn, mark string) {
		s := State{}
		if s.Add(Key{Tag: 1}, []Field{{"signs-zone", turn}, {"ds-seen", turn}, {"zone-ttl-ds", mark}}) != nil {
			return
		}
		again := State{}
		if err := again.Add(Key{Tag: 1}, s.Fields(0)); err != nil {
			t.Fatalf("%q, %q: written as %v: %v", turn, mark, s.Fields(0), err)
		}
		if !reflect.DeepEqual(s.Fields(0), again.Fields(0)) {
			t.Errorf("%v became %v", s.Fields(0), again.Fields(0))
		}
	})
}
