package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/miekg/dns"

	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/outbound"
)

// Each case is a world that makes a naive resolver work without end. What
// counts is how many packets one question of a client costs.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attack string
		world  func(t testing.TB) *world
		q      string
		most   int
	}{
		{"NXNSAttack: a referral with many glueless names below a victim (CVE-2020-12662)", nxns, "x.attack.net. A", 40},
		{"NXNSAttack behind names that do exist", nxnsWide, "x.attack.net. A", 100},
		{"TsuNAME: two zones whose servers stand in each other", tsuname, "x.a.net. A", 12},
		{"a zone whose only server stands in itself, without glue", selfServed, "x.self.net. A", 8},
		{"an alias chain without end", endlessAlias, "c0.example.net. A", 40},
		{"aliases times glueless servers times minimisation (CAMP)", camp, "c0.example.net. A", 100},
		{"referrals without end", endlessReferral, strings.Repeat("a.", 100) + "net. A", 40},
		{"a delegation whose servers all refuse", refusing, "x.dead.net. A", 16},
	} {
		t.Run(c.attack, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := c.world(t)
				r := newTestResolver(t, w, nil)
				if got := resolve(t, r, "", c.q); got != "SERVFAIL" {
					t.Error(got)
				}
				if n := len(w.questions()); n > c.most {
					t.Errorf("%d packets, at most %d expected", n, c.most)
				}
				before := len(w.questions())
				resolve(t, r, "", c.q)
				if n := len(w.questions()) - before; n > 0 {
					t.Errorf("%d packets for the same question at once again", n)
				}
			})
		})
	}
}

// TestCyclicZoneIsRemembered: random names below a zone without any reachable
// server cost packets once, not once each (RFC 9520).
func TestCyclicZoneIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := tsuname(t)
		r := newTestResolver(t, w, nil)
		resolve(t, r, "", "x0.a.net. A")
		before := len(w.questions())
		for i := range 20 {
			resolve(t, r, "", fmt.Sprintf("x%d.a.net. A", i+1))
		}
		if n := len(w.questions()) - before; n > 0 {
			t.Errorf("%d packets", n)
		}
		if r.Counters.Cycles.Value() == 0 || r.Counters.Recent.Value() == 0 {
			t.Error("not counted")
		}
	})
}

// A flood that takes all room for exchanges makes questions fail, but no zone
// is remembered as one without reachable servers: its servers were not asked.
func TestFloodDoesNotMarkZonesAsDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		w.servers[netAddr] = authority(t, `net.
			far.net. 3600 IN NS ns.example.com.`)
		r := newTestResolver(t, w, nil)
		r.out = crowded{w, map[string]bool{comAddr: true}}
		if got := resolve(t, r, "", "x.far.net. A"); got != "SERVFAIL" {
			t.Error(got)
		}
		r.out = w
		before := len(w.questions())
		resolve(t, r, "", "y.far.net. A")
		if len(w.questions()) == before {
			t.Error("nothing is asked once there is room again")
		}
	})
}

// crowded has no room for exchanges with some servers.
type crowded struct {
	*world
	full map[string]bool
}

func (c crowded) Exchange(ctx context.Context, a netip.Addr, q iterate.Question, inside bool) (*dns.Msg, int, error) {
	if c.full[a.String()] {
		return nil, 0, outbound.ErrBusy
	}
	return c.world.Exchange(ctx, a, q, inside)
}

func referral(t testing.TB, zone string, n int, format string) *dns.Msg {
	t.Helper()
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}}
	for i := range n {
		m.Ns = append(m.Ns, records(t, zone+" 3600 IN NS "+fmt.Sprintf(format, i))...)
	}
	return m
}

func nxns(t testing.TB) *world {
	w := plainWorld(t)
	honest := w.servers[netAddr]
	w.servers[netAddr] = func(q iterate.Question) *dns.Msg {
		if strings.HasSuffix(q.Name.String(), "attack.net.") {
			return referral(t, "attack.net.", 100, "n%d.example.com.")
		}
		return honest(q)
	}
	return w
}

func nxnsWide(t testing.TB) *world {
	w := nxns(t)
	// Every name exists and leads to yet another glueless delegation.
	w.servers[comAddr] = func(q iterate.Question) *dns.Msg {
		zone := q.Name
		for zone.Labels() > 3 {
			zone = zone.Parent()
		}
		if zone.Labels() < 3 {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
		}
		return referral(t, zone.String(), 20, zone.First()+"-%d.example.com.")
	}
	return w
}

func tsuname(t testing.TB) *world {
	w := plainWorld(t)
	w.servers[netAddr] = authority(t, `net.
		a.net. 3600 IN NS ns.b.net.
		b.net. 3600 IN NS ns.a.net.`)
	return w
}

func selfServed(t testing.TB) *world {
	w := plainWorld(t)
	w.servers[netAddr] = authority(t, `net.
		self.net. 3600 IN NS ns.self.net.`)
	return w
}

func endlessAlias(t testing.TB) *world {
	w := plainWorld(t)
	w.servers[exAddr] = func(q iterate.Question) *dns.Msg {
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
		m.Answer = records(t, fmt.Sprintf("%s 0 IN CNAME x%s", q.Name, q.Name))
		return m
	}
	return w
}

func camp(t testing.TB) *world {
	w := nxnsWide(t)
	w.servers[exAddr] = func(q iterate.Question) *dns.Msg {
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
		m.Answer = records(t, fmt.Sprintf("%s 0 IN CNAME a.b.c.d.e.f.%s.attack.net.", q.Name, q.Name.First()))
		return m
	}
	return w
}

func endlessReferral(t testing.TB) *world {
	w := plainWorld(t)
	down := func(q iterate.Question) *dns.Msg {
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}}
		m.Ns = records(t, q.Name.String()+" 3600 IN NS ns.net.")
		m.Extra = records(t, "ns.net. 3600 IN A "+netAddr)
		return m
	}
	w.servers[netAddr] = down
	return w
}

func refusing(t testing.TB) *world {
	w := plainWorld(t)
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: dns.RcodeRefused}}
	w.servers[netAddr] = func(iterate.Question) *dns.Msg {
		r := referral(t, "dead.net.", 5, "n%d.dead.net.")
		for i := range 5 {
			addr := fmt.Sprintf("192.0.2.%d", 100+i)
			r.Extra = append(r.Extra, records(t, fmt.Sprintf("n%d.dead.net. 60 IN A %s", i, addr))...)
			w.servers[addr] = func(iterate.Question) *dns.Msg { return m }
		}
		return r
	}
	return w
}
