package smtpd

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestKnocks(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	webmail, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	g := newGuard(Limits{ErrorRate: 2, TrackedAddrs: 10}.withDefaults(), []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	for range 5 { // whose errors count anyway
		if !g.knock(other, "a@b.test", now) {
			t.Fatal("an address that is not exempt")
		}
	}
	if len(g.knocks) != 0 {
		t.Error("counted twice")
	}
	for i, login := range []string{"a@b.test", "a@b.test", "a@b.test", "b@b.test"} {
		if g.knock(webmail, login, now) != (i != 2) {
			t.Errorf("try %d: two a minute of each login", i)
		}
	}
	if g.knock(webmail, "a@b.test", now.Add(29*time.Second)) || !g.knock(webmail, "a@b.test", now.Add(30*time.Second)) {
		t.Error("half a minute gives one back")
	}
	for range 5 { // the right password costs nothing
		g.opened(webmail, "c@b.test", now)
		if !g.knock(webmail, "c@b.test", now) {
			t.Error("a login that works")
		}
	}
	for i := range 100 {
		g.knock(webmail, fmt.Sprint(i), now)
	}
	if len(g.knocks) > 10 {
		t.Errorf("%d remembered", len(g.knocks))
	}
}

func TestLoginKey(t *testing.T) {
	t.Parallel()
	for _, same := range []string{"Anna@Example.TEST", `"anna"@example.test`, `"a\nna"@example.test`} {
		if k := loginKey(same); k != "anna@example.test" {
			t.Errorf("%s counts as %q", same, k)
		}
	}
	if loginKey("anna") != "" || loginKey("") != "" || loginKey("anna @x") != "" {
		t.Error("what is no login counts as one")
	}
}
