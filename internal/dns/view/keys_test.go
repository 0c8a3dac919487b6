package view

import (
	"testing"

	"postern/internal/dns/name"
)

// TestKeyed: a key chooses the view that names it, even one without clients
// (VIEWS: Which view).
func TestKeyed(t *testing.T) {
	t.Parallel()
	const partner, probe, free = name.Name("\x07partner\x00"), name.Name("\x05probe\x00"), name.Name("\x04free\x00")
	table := NewTable([]View{{Name: "external"}, {Name: "internal", Keys: []name.Name{"\x05other\x00", partner}}, {Name: "probes", Keys: []name.Name{probe}}})
	for key, want := range map[name.Name]string{partner: "internal", probe: "probes"} {
		if got := table.Keyed(key); got == nil || got.Name != want {
			t.Errorf("%s chooses %v, want %s", key, got, want)
		}
	}
	for _, key := range []name.Name{free, name.Root, "", "\x01x\x07partner\x00"} {
		if got := table.Keyed(key); got != nil {
			t.Errorf("%q chooses %s", key, got.Name)
		}
	}
}
