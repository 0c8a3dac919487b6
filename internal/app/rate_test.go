package app

import (
	"testing"
	"time"

	"postern/config"
	"postern/internal/dns/gate"
)

func TestPerSecond(t *testing.T) {
	t.Parallel()
	for r, want := range map[config.Rate]int{
		{}:                                 0,
		{Count: 50, Window: time.Second}:   50,
		{Count: 3000, Window: time.Minute}: 50,
		{Count: 1, Window: time.Hour}:      1,
		{Count: 1 << 62, Window: 1}:        gate.RRLMax,
	} {
		if got := perSecond(r); got != want {
			t.Errorf("%v: %d, want %d", r, got, want)
		}
	}
}

// TestReloadedLimitsReachTheNameService, which keeps running.
func TestReloadedLimitsReachTheNameService(t *testing.T) {
	t.Parallel()
	h := build(t)
	check := func(on bool) {
		t.Helper()
		if h.app.serve.RRL.On() != on || (h.app.cookies(1_800_000_000) != nil) != on {
			t.Errorf("want both %v", on)
		}
	}
	check(true) // the defaults
	h.write("postern.toml", houseConfig+"[dns]\nrrl = \"off\"\ncookies = false\n")
	h.reload()
	check(false)
	h.write("postern.toml", houseConfig)
	h.reload()
	check(true)
}
