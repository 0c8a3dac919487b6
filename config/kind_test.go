package config

import (
	"net/netip"
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "d", "12", "12x", "-1h", "+1h", "1.5h", "1 h", "h1", "99999999999999999999h", "101w99999d"} {
		if d, ok := parseDuration(s); ok {
			t.Errorf("%q is %v", s, d)
		}
	}
	for s, want := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute,
		"200ms": 200 * time.Millisecond, "2w": 14 * 24 * time.Hour, "0s": 0,
	} {
		if d, ok := parseDuration(s); !ok || d != want {
			t.Errorf("%q is %v, want %v", s, d, want)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "MB", "25", "25mb", "2.5MB", "-1MB", "25M", "9999999999999999999GB", "2000TiB"} {
		if n, ok := parseSize(s); ok {
			t.Errorf("%q is %d", s, n)
		}
	}
	for s, want := range map[string]int64{"25MB": 25e6, "1GiB": 1 << 30, "64KiB": 65536, "0B": 0, "1000TiB": 1000 << 40} {
		if n, ok := parseSize(s); !ok || n != want {
			t.Errorf("%q is %d, want %d", s, n, want)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "10", "/h", "10/", "0/h", "-1/h", "+1/h", "10/h/h", "10/0m", "x/h", "99999999999999999999/h"} {
		if r, ok := parseRate(s); ok {
			t.Errorf("%q is %v", s, r)
		}
	}
	for _, s := range []string{"20000/h", "10/10m", "50/s", "3/2d", "7/90s", "1/250ms"} {
		if r, ok := parseRate(s); !ok || r.String() != s {
			t.Errorf("%q is %v", s, r)
		}
	}
	if s := (Rate{}).String(); s != "off" {
		t.Errorf("no rate is %q", s)
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	p := netip.MustParsePrefix
	for _, c := range []struct {
		set  []netip.Prefix
		of   netip.Prefix
		want bool
	}{
		{nil, p("10.0.0.0/8"), false},
		{[]netip.Prefix{p("10.0.0.0/9")}, p("10.0.0.0/8"), false},
		{[]netip.Prefix{p("10.0.0.0/9"), p("10.128.0.0/10"), p("10.192.0.0/11")}, p("10.0.0.0/8"), false},
		{[]netip.Prefix{p("::/0")}, p("10.0.0.0/8"), false},
		{[]netip.Prefix{p("0.0.0.0/0")}, p("::/0"), false},
		{[]netip.Prefix{p("10.0.0.0/8")}, p("10.0.0.0/8"), true},
		{[]netip.Prefix{p("10.0.0.0/9"), p("10.128.0.0/10"), p("10.192.0.0/10")}, p("10.0.0.0/8"), true},
		{[]netip.Prefix{p("::/1"), p("8000::/1")}, p("::/0"), true},
		{[]netip.Prefix{p("10.0.0.0/32"), p("10.0.0.1/32")}, p("10.0.0.0/31"), true},
	} {
		if got := covers(c.set, c.of); got != c.want {
			t.Errorf("covers(%v, %v) = %v", c.set, c.of, got)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"state", "satte", 1}, {"keep", "kept", 2}, {"nexthop", "next_hop", 1}, {"a", "b", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
