package smtpd

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestGuardByNetwork: whoever holds many addresses is bounded by what is around
// them.
func TestGuardByNetwork(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for name, near := range map[string][]string{
		"a /24": {"192.0.2.1", "192.0.2.2", "192.0.2.255"}, "a /56": {"2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:ff::1"},
	} {
		far := netip.MustParseAddr("2001:db8:0:100::1")
		if strings.Contains(name, "24") {
			far = netip.MustParseAddr("192.0.3.1")
		}
		addr := func(i int) netip.Addr { return netip.MustParseAddr(near[i]) }

		g := newGuard(Limits{ConnectionsPerNetwork: 2}.withDefaults(), nil)
		if g.enter(addr(0), now) != letIn || g.enter(addr(1), now) != letIn || g.enter(addr(2), now) != busyNetwork || g.enter(far, now) != letIn {
			t.Errorf("%s: connections at once", name)
		}
		g.leave(addr(0))
		if g.enter(addr(2), now) != letIn {
			t.Errorf("%s: a place that was given back", name)
		}

		g = newGuard(Limits{NetworkConnectRate: 2}.withDefaults(), nil)
		if g.enter(addr(0), now) != letIn || g.enter(addr(1), now) != letIn || g.enter(addr(2), now) != tooFastNetwork || g.enter(far, now) != letIn {
			t.Errorf("%s: connections a minute", name)
		}
		if g.enter(addr(2), now.Add(30*time.Second)) != letIn {
			t.Errorf("%s: half a minute gives half of the rate back", name)
		}

		for what, c := range map[string]struct {
			limits Limits
			spend  allowance
		}{
			"errors": {Limits{NetworkErrorRate: 2}, allowance{errors: 1}}, "unknown recipients": {Limits{NetworkUnknownRate: 2}, allowance{unknown: 1}},
			"octets": {Limits{NetworkOctetRate: 2000}, allowance{octets: 1000}},
		} {
			g = newGuard(c.limits.withDefaults(), nil)
			if g.spend(addr(0), c.spend, now) || !g.spend(addr(1), c.spend, now) {
				t.Errorf("%s: %s", name, what)
			}
			if g.enter(addr(2), now) != tooFastNetwork || g.enter(far, now) != letIn {
				t.Errorf("%s: let in after its %s", name, what)
			}
			if g.enter(addr(2), now.Add(2*time.Hour)) != letIn {
				t.Errorf("%s: %s do not come back", name, what)
			}
		}
	}
}

// A message may go beyond what was left, and is made up for later.
func TestGuardOctets(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	a := netip.MustParseAddr("192.0.2.1")
	g := newGuard(Limits{OctetRate: 1000}.withDefaults(), nil)
	if g.spend(a, allowance{}, now) || g.spend(a, allowance{octets: 999}, now) || !g.spend(a, allowance{octets: 1001}, now) {
		t.Error("octets")
	}
	if !g.spend(a, allowance{}, now.Add(59*time.Minute)) || g.spend(a, allowance{}, now.Add(61*time.Minute)) {
		t.Error("an hour's worth comes back in an hour")
	}
	if g.spend(a, allowance{errors: 1}, now.Add(61*time.Minute)) {
		t.Error("an error is one, whatever was sent")
	}
}

func TestGuardAccounts(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := newGuard(Limits{ConnectionsPerAccount: 1, OctetsPerAccount: 1000, TrackedAddrs: 3}.withDefaults(), nil)
	if !g.login("Anna", now) || g.login("anna", now) || !g.login("bob", now) {
		t.Error("connections of an account, in any letters")
	}
	if !g.charge("anna", 999, now) || g.charge("ANNA", 1, now) || !g.charge("bob", 0, now) {
		t.Error("octets of an account")
	}
	g.logout("anna", now)
	g.logout("bob", now)
	if len(g.accounts) != 1 || !g.login("anna", now) || g.charge("anna", 0, now) {
		t.Errorf("what was sent is not forgotten by leaving: %v", g.accounts)
	}
	g.logout("anna", now)
	for _, user := range []string{"c", "d", "e"} {
		g.login(user, now)
		g.charge(user, 1, now)
		g.logout(user, now)
	}
	if g.login("f", now.Add(25*time.Hour)); len(g.accounts) > 3 {
		t.Errorf("%d accounts remembered", len(g.accounts))
	}
}

// A reload changes the bounds, and forgets nothing of what was counted.
func TestReconfigureKeepsTheCounts(t *testing.T) {
	t.Parallel()
	s := started(t, &desk{}, func(c *Config) { c.Limits.ConnectRate = 2 })
	first := dial(t, s)
	first.want(220)
	next := s.conf.Load().Config
	next.Limits.ConnectionsPerAddr = 1
	if err := s.Reconfigure(next); err != nil {
		t.Fatal(err)
	}
	dial(t, s).want(421)
	first.send("QUIT\r\n")
	first.want(221)
	first.wantClosed()
	next.Limits.ConnectionsPerAddr = 9
	if err := s.Reconfigure(next); err != nil {
		t.Fatal(err)
	}
	dial(t, s).want(220)
	dial(t, s).want(421) // the third of a minute of two
}

func TestUnknownRecipients(t *testing.T) {
	t.Parallel()
	s := started(t, &desk{}, func(c *Config) { c.Limits.UnknownRate = 3 })
	p := dial(t, s)
	p.want(220)
	p.send("HELO x\r\n")
	p.want(250)
	p.send("MAIL FROM:<>\r\nRCPT TO:<no@example.test>\r\nRCPT TO:<b@example.test>\r\nRCPT TO:<no@example.test>\r\nRCPT TO:<no@example.test>\r\n")
	p.want(250, 550, 250, 550, 421)
	p.wantClosed()
	dial(t, s).want(421)
	if s.Counters.UnknownRcpts.Value() != 3 || s.Counters.OverUnknown.Value() != 1 {
		t.Errorf("%d unknown, %d ended", s.Counters.UnknownRcpts.Value(), s.Counters.OverUnknown.Value())
	}
}

func TestSentEnough(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, func(c *Config) { c.Limits.OctetRate = 8 })
	p := dial(t, s)
	inData(p)
	p.send("123456\r\n.\r\nMAIL FROM:<>\r\n")
	p.want(250, 421)
	p.wantClosed()

	// So do those of a message that could not be: no recipient was taken.
	s = started(t, d, func(c *Config) { c.Chunking, c.Limits.OctetRate = true, 8 })
	p = dial(t, s)
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("MAIL FROM:<>\r\nBDAT 8 LAST\r\n123456\r\nRSET\r\nMAIL FROM:<>\r\n")
	p.want(250, 503, 250, 421)
	p.wantClosed()

	secure := secured(t, d, ImplicitTLS)
	s = started(t, d, func(c *Config) { secure(c); c.Limits.OctetsPerAccount, c.Limits.ConnectionsPerAccount = 8, 1 })
	login := func() *peer {
		p := over(t, tlsClient(dial(t, s)))
		p.want(220)
		p.send("EHLO x\r\n")
		p.want(250)
		p.send("AUTH PLAIN AGEAb3BlbiBzZXNhbWU=\r\n")
		return p
	}
	p = login()
	p.want(235)
	second := login()
	second.want(421)
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	p.want(250, 250, 354)
	p.send("123456\r\n.\r\nMAIL FROM:<>\r\n")
	p.want(250, 421)
	if s.Counters.OverOctets.Value() != 1 || s.Counters.RefusedAccount.Value() != 1 {
		t.Error("not counted")
	}
}
