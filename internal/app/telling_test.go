package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver"
)

// TestParentsAreToldOnce: of each change, when all serve it; again after a
// failure, but not for ever; and nobody where the parent has no place for it.
func TestParentsAreToldOnce(t *testing.T) {
	t.Parallel()
	zone, err := name.Parse("city.example")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	var have []cdsOf
	var answer error
	tells := 0
	p := &telling{
		zones: func() []cdsOf { return have }, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler),
		tell: func(context.Context, name.Name) error { tells++; return answer }, told: map[name.Name]*toldOf{},
	}
	step := func(what string, text string, waits bool, later time.Duration, err error, want int) {
		t.Helper()
		have, answer, now, tells = []cdsOf{{zone, text, waits}}, err, now.Add(later), 0
		p.look(t.Context())
		if tells != want {
			t.Errorf("%s: told %d times, want %d", what, tells, want)
		}
	}
	lost := errors.New("lost")
	step("no CDS", "", false, 0, nil, 0)
	step("a secondary lags", "one", true, tellLook, nil, 0)
	step("all have it", "one", false, tellLook, nil, 1)
	step("it was told", "one", false, tellLook, nil, 0)
	step("a change", "two", false, tellLook, lost, 1)
	step("too soon", "two", false, tellAgain-time.Second, lost, 0)
	step("again", "two", false, time.Second, lost, 1)
	step("another change", "three", false, time.Second, fmt.Errorf("x: %w", resolver.ErrNoEndpoint), 1)
	step("no place", "three", false, time.Hour, nil, 0)
	step("the records went", "", false, time.Second, lost, 1)
	for range tellTries - 1 {
		step("lost", "", false, time.Hour, lost, 1)
	}
	step("given up", "", false, time.Hour, nil, 0)
	have = nil
	p.look(t.Context())
	if len(p.told) > 0 {
		t.Error("a zone that went is kept in mind")
	}
}
