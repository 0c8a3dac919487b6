package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/lookup"
)

func TestNewWantsHints(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("no hints, no error")
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	r := newTestResolver(t, plainWorld(t), nil)
	for _, c := range []struct{ q, want string }{
		{"www.example.net. OPT", "NOTIMP"},
		{"www.example.net. AXFR", "NOTIMP"},
		{"loop.example.net. A", "SERVFAIL"},
		{"www.example.net. A", "NOERROR, A 192.0.2.80"},
		{"WWW.EXAMPLE.NET. A", "NOERROR, A 192.0.2.80"},
		{"www.example.net. TXT", "NOERROR, (SOA example.net.)"},
		{"nothing.example.net. A", "NXDOMAIN, (SOA example.net.)"},
		{"nothing.example.net. AAAA", "NXDOMAIN, (SOA example.net.)"},
		{"ent.example.net. A", "NOERROR, (SOA example.net.)"},
		{"a.b.c.d.e.nothing.net. A", "NXDOMAIN, (SOA net.)"},
		{"alias.example.net. A", "NOERROR, CNAME www.example.net., A 192.0.2.80"},
		{"alias.example.net. CNAME", "NOERROR, CNAME www.example.net."},
		{"far.example.net. A", "NOERROR, CNAME www.example.com., A 203.0.113.80"},
		{"far.example.net. TXT", "NOERROR, CNAME www.example.com., (SOA example.com.)"},
		{"www.glueless.net. A", "NOERROR, A 192.0.2.81"},
		{"example.net. DS", "NOERROR, (SOA net.)"},
		{"example.net. NS", "NOERROR, NS ns.example.net."},
	} {
		for range 2 { // from the network, from the cache
			if got := resolve(t, r, "", c.q); got != c.want {
				t.Errorf("%s: %s, want %s", c.q, got, c.want)
			}
		}
	}
}

func TestClassIsRefused(t *testing.T) {
	t.Parallel()
	r := newTestResolver(t, plainWorld(t), nil)
	_, err := r.Resolve(t.Context(), Question{Name: name.Root, Type: dns.TypeTXT, Class: dns.ClassCHAOS})
	var f *Failure
	if !errors.As(err, &f) || f.Rcode != dns.RcodeRefused || f.Temporary {
		t.Errorf("%v", err)
	}
}

// TestMinimisation is RFC 9156: servers above see one label more than their
// own zone, and type A; the second question begins at the cut already known.
func TestMinimisation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode iterate.Minimise
		want []string
	}{
		{iterate.Relaxed, []string{"198.41.0.4 net. A", "192.5.6.30 example.net. A", "192.0.2.53 ent.example.net. A", "192.0.2.53 deep.ent.example.net. TXT"}},
		{iterate.Whole, []string{"198.41.0.4 deep.ent.example.net. TXT", "192.5.6.30 deep.ent.example.net. TXT", "192.0.2.53 deep.ent.example.net. TXT"}},
	} {
		w := plainWorld(t)
		r := newTestResolver(t, w, func(c2 *Config) { c2.Minimise = c.mode })
		resolve(t, r, "", "deep.ent.example.net. TXT")
		if got := w.questions(); !slices.Equal(got, c.want) {
			t.Errorf("mode %d asked %q", c.mode, got)
		}
		resolve(t, r, "", "www.example.net. A")
		if got := w.questions(); got[len(got)-1] != "192.0.2.53 www.example.net. A" || len(got) != len(c.want)+1 {
			t.Errorf("mode %d then asked %q", c.mode, got[len(c.want):])
		}
	}
}

// TestMinimisationMeetsBrokenServers: relaxed mode shows the whole name to
// servers that deny, refuse or drop what they do not expect.
func TestMinimisationMeetsBrokenServers(t *testing.T) {
	t.Parallel()
	for rule, broken := range map[string]func(*dns.Msg) *dns.Msg{
		"denies empty non-terminals": func(m *dns.Msg) *dns.Msg { m.Rcode, m.Authoritative = dns.RcodeNameError, true; return m },
		"refuses":                    func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m },
		"drops":                      func(*dns.Msg) *dns.Msg { return nil },
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			w := plainWorld(t)
			honest := w.servers[exAddr]
			w.servers[exAddr] = func(q iterate.Question) *dns.Msg {
				if q.Name.String() == "ent.example.net." {
					return broken(&dns.Msg{MsgHdr: dns.MsgHdr{Response: true}})
				}
				return honest(q)
			}
			r := newTestResolver(t, w, nil)
			if got := resolve(t, r, "", "deep.ent.example.net. TXT"); !strings.HasPrefix(got, "NOERROR, TXT") {
				t.Error(got)
			}
		})
	}
}

// TestTTLs: what is cached counts down and ends; asked with the clock of the
// bubble.
func TestTTLs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		r := newTestResolver(t, w, nil)
		ttl := func(q string) uint32 {
			owner, _, _ := strings.Cut(q, " ")
			msg, err := r.Resolve(t.Context(), Question{Name: mustName(t, owner), Type: dns.TypeA})
			if err != nil {
				t.Fatal(err)
			}
			return slices.Concat(msg.Answer, msg.Ns)[0].Header().Ttl
		}
		for _, q := range []string{"www.example.net. A", "gone.example.net. A"} {
			if got := ttl(q); got != 300 {
				t.Errorf("%s: fresh TTL %d", q, got)
			}
			time.Sleep(299 * time.Second)
			before := len(w.questions())
			if got := ttl(q); got != 1 || len(w.questions()) != before {
				t.Errorf("%s: TTL %d after 299 s", q, got)
			}
			time.Sleep(time.Second)
			if got := ttl(q); got != 300 || len(w.questions()) != before+1 {
				t.Errorf("%s: TTL %d after 300 s, %q", q, got, w.questions()[before:])
			}
		}
	})
}

// TestGhostDomain: the parent takes the delegation away; nothing that the
// child says, however often it is asked, keeps it alive longer than the parent
// promised (CVE-2012-1033, CVE-2022-30698).
func TestGhostDomain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		w.servers[exAddr] = authority(t, `example.net.
			example.net. 86400 IN NS ns.example.net.
			ns.example.net. 86400 IN A 192.0.2.53
			sub.example.net. 86400 IN NS ns.sub.example.net.
			ns.sub.example.net. 86400 IN A 192.0.2.54`)
		w.servers["192.0.2.54"] = func(q iterate.Question) *dns.Msg {
			m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
			m.Answer = records(t, q.Name.String()+" 1 IN A 192.0.2.66")
			m.Ns = records(t, "sub.example.net. 86400 IN NS ns.sub.example.net.\nexample.net. 86400 IN NS ns.example.net.")
			m.Extra = records(t, "ns.sub.example.net. 86400 IN A 192.0.2.54")
			return m
		}
		r := newTestResolver(t, w, nil)
		if got := resolve(t, r, "", "x.sub.example.net. A"); got != "NOERROR, A 192.0.2.66" {
			t.Fatal(got)
		}
		w.servers[netAddr] = authority(t, "net.\n")
		for i := range 36 {
			time.Sleep(100 * time.Second)
			got := resolve(t, r, "", "x.sub.example.net. A")
			resolve(t, r, "", "example.net. NS")
			resolve(t, r, "", "ns.sub.example.net. A")
			if want := i < 35; strings.HasPrefix(got, "NOERROR") != want {
				t.Errorf("after %d s: %s", (i+1)*100, got)
			}
		}
	})
}

func TestFailureIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		w.servers[exAddr] = nil
		r := newTestResolver(t, w, nil)
		for i, want := range []bool{true, false, false, true} { // whether packets are sent
			before := len(w.questions())
			if got := resolve(t, r, "", "www.example.net. A"); got != "SERVFAIL" {
				t.Fatal(got)
			}
			if sent := len(w.questions()) > before; sent != want {
				t.Errorf("question %d: packets sent: %v", i, sent)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

func TestWallClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		w.servers[exAddr], w.silence = nil, 4*time.Second
		r := newTestResolver(t, w, nil)
		begin := time.Now()
		resolve(t, r, "", "www.example.net. A")
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// TestSharedWork: many clients, one question on the wire; bounds on both.
func TestSharedWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		w.wait = make(chan struct{})
		r := newTestResolver(t, w, func(c *Config) { c.MaxFlights, c.MaxWaiting = 2, 10 })
		var wg sync.WaitGroup
		for range 9 {
			wg.Go(func() {
				if got := resolve(t, r, "", "www.example.net. A"); got != "NOERROR, A 192.0.2.80" {
					t.Error(got)
				}
			})
		}
		synctest.Wait()
		wg.Go(func() { resolve(t, r, "", "mail.example.net. A") })
		synctest.Wait()
		if got := resolve(t, r, "", "www.example.net. A"); got != "SERVFAIL" {
			t.Errorf("eleventh waiting client: %s", got)
		}
		close(w.wait)
		wg.Wait()
		if got := r.Counters.Iterated.Value(); got != 2 {
			t.Errorf("%d flights", got)
		}
		if got := r.Counters.Refused.Value(); got != 1 {
			t.Errorf("%d refused", got)
		}
	})
}

// TestLeavingClient: a client that gives up gets its error at once, and the
// work goes on for the next.
func TestLeavingClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		w.wait = make(chan struct{})
		r := newTestResolver(t, w, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Resolve(ctx, Question{Name: mustName(t, "www.example.net"), Type: dns.TypeA})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(w.wait)
		synctest.Wait()
		before := len(w.questions())
		if got := resolve(t, r, "", "www.example.net. A"); got != "NOERROR, A 192.0.2.80" || len(w.questions()) != before {
			t.Error(got)
		}
	})
}

func TestStopEndsQuestions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := plainWorld(t)
		w.wait = make(chan struct{})
		r := newTestResolver(t, w, nil)
		outcome := make(chan string, 1)
		go func() { outcome <- resolve(t, r, "", "www.example.net. A") }()
		synctest.Wait()
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-outcome; got != "SERVFAIL" {
			t.Error(got)
		}
		if got := resolve(t, r, "", "mail.example.net. A"); got != "SERVFAIL" {
			t.Error(got)
		}
	})
}

func TestFlush(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	r := newTestResolver(t, w, nil)
	resolve(t, r, "", "www.example.net. A")
	if n := r.Flush(mustName(t, "example.net"), true); n < 2 {
		t.Errorf("flushed %d", n)
	}
	before := len(w.questions())
	resolve(t, r, "", "www.example.net. A")
	if got := w.questions()[before:]; len(got) != 2 || !strings.HasPrefix(got[0], netAddr) {
		t.Errorf("asked %q", got)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	l := newTestResolver(t, plainWorld(t), nil).Lookup("external")
	for _, c := range []struct {
		name string
		t    lookup.Type
		want string
	}{
		{"a..b", lookup.A, "permanent"},
		{strings.Repeat("a", 64) + ".net", lookup.A, "permanent"},
		{"badptr.example.net", lookup.PTR, "permanent"},
		{"loop.example.net", lookup.A, "temporary"},
		{"example.net", lookup.MX, "found example.net. [{invalid IP mail.example.net. 10  []}]"},
		{"alias.example.net.", lookup.A, "found www.example.net. [{192.0.2.80  0  []}]"},
		{"deep.ent.example.net", lookup.TXT, "found deep.ent.example.net. [{invalid IP  0 a\"b\\cé []}]"},
		{"ent.example.net", lookup.TXT, "nodata ent.example.net. []"},
		{"far.example.net", lookup.MX, "nodata www.example.com. []"},
		{"gone.example.net", lookup.A, "nxdomain gone.example.net. []"},
	} {
		a, err := l.Query(t.Context(), c.name, c.t)
		got := fmt.Sprintf("%s %s %v", a.Status, a.Canonical, a.Records)
		var e *lookup.Error
		switch {
		case errors.As(err, &e) && e.Temporary:
			got = "temporary"
		case err != nil:
			got = "permanent"
		}
		if got != c.want || a.Authentic {
			t.Errorf("%s %s: %s, want %s (%v)", c.name, c.t, got, c.want, err)
		}
	}
}

func TestNowhere(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		".": false, "com.": false, "example.com.": false, "arpa.": false, "in-addr.arpa.": false, "2.0.192.in-addr.arpa.": false, "resolver.arpa.": false,
		"contest.": false, "example.org.": false, "my.internal.example.net.": false, "15.172.in-addr.arpa.": false,
		"test.": true, "example.test.": true, "A.B.Example.": true, "corp.internal.": true, "x.home.arpa.": true, "3.10.in-addr.arpa.": true, "16.172.in-addr.arpa.": true,
		"localhost.": true, "0.0.d.f.ip6.arpa.": true,
	} {
		if n, err := name.Parse(text); err != nil || Nowhere(n) != want {
			t.Errorf("%s: %t, %v", text, !want, err)
		}
	}
}

func TestSpecialUseNames(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	r := newTestResolver(t, w, nil)
	for _, c := range []struct{ q, want string }{
		{"x.invalid. A", "NXDOMAIN, (SOA invalid.)"},
		{"test. A", "NOERROR, (SOA test.)"},
		{"abc.onion. A", "NXDOMAIN, (SOA onion.)"},
		{"localhost. A", "NOERROR, A 127.0.0.1"},
		{"a.localhost. AAAA", "NOERROR, AAAA ::1"},
		{"localhost. MX", "NOERROR, (SOA localhost.)"},
		{"4.3.2.10.in-addr.arpa. PTR", "NXDOMAIN, (SOA 10.in-addr.arpa.)"},
		{"1.1.31.172.in-addr.arpa. PTR", "NXDOMAIN, (SOA 31.172.in-addr.arpa.)"},
		{"10.in-addr.arpa. NS", "NOERROR, NS 10.in-addr.arpa."},
		{"x.home.arpa. A", "NXDOMAIN, (SOA home.arpa.)"},
		{"1.0.0.127.in-addr.arpa. PTR", "NXDOMAIN, (SOA 127.in-addr.arpa.)"},
		{"a.b.e.f.ip6.arpa. PTR", "NXDOMAIN, (SOA b.e.f.ip6.arpa.)"},
	} {
		if got := resolve(t, r, "", c.q); got != c.want {
			t.Errorf("%s: %s, want %s", c.q, got, c.want)
		}
	}
	if got := w.questions(); len(got) > 0 {
		t.Errorf("asked %q", got)
	}
	if want := len(emptyZones) + 16 + 64 + 1; len(r.special) != want {
		t.Errorf("%d special names, want %d", len(r.special), want)
	}
	resolve(t, r, "", "home.arpa. DS")
	if got := w.questions(); len(got) == 0 {
		t.Error("the DS of a special name is the parent's and real")
	}
}

// localZones makes a Local of one view from zones.
func localZones(t testing.TB, view string, zones ...string) Local {
	t.Helper()
	serve := authority(t, zones...)
	return func(v string, q name.Name, qtype uint16) (*dns.Msg, bool) {
		m := serve(iterate.Question{Name: q, Type: qtype})
		return m, v == view && m.Rcode != dns.RcodeRefused
	}
}

func TestOwnZones(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	// Own data stands in the middle of a foreign zone, and a foreign server lies about it.
	w.servers[netAddr] = authority(t, `net.
		example.net. 3600 IN NS ns.example.net.
		ns.example.net. 3600 IN A 192.0.2.53
		to.net. 300 IN CNAME www.own.net.
		www.own.net. 300 IN A 192.0.2.66`)
	r := newTestResolver(t, w, func(c *Config) {
		c.Local = localZones(t, "internal", `own.net.
			www.own.net. 300 IN A 10.0.0.80
			out.own.net. 300 IN CNAME www.example.net.
			there.own.net. 300 IN CNAME far.example.net.
			chain.own.net. 300 IN CNAME www.own.net.`, `corp.internal.
			host.corp.internal. 300 IN A 10.0.0.5`, `test.
			a.test. 300 IN A 10.0.0.6`)
	})
	for _, c := range []struct{ view, q, want string }{
		{"internal", "www.own.net. A", "NOERROR, A 10.0.0.80"},
		{"internal", "chain.own.net. A", "NOERROR, CNAME www.own.net., A 10.0.0.80"},
		{"internal", "gone.own.net. A", "NXDOMAIN, (SOA own.net.)"},
		{"internal", "out.own.net. A", "NOERROR, CNAME www.example.net., A 192.0.2.80"},
		{"internal", "out.own.net. CNAME", "NOERROR, CNAME www.example.net."},
		{"internal", "there.own.net. A", "NOERROR, CNAME far.example.net., CNAME www.example.com., A 203.0.113.80"},
		{"internal", "to.net. A", "NOERROR, CNAME www.own.net., A 10.0.0.80"},
		{"internal", "inside.example.net. A", "NOERROR, CNAME host.corp.internal., A 10.0.0.5"},
		{"internal", "a.test. A", "NOERROR, A 10.0.0.6"},
		{"external", "a.test. A", "NXDOMAIN, (SOA test.)"},
		{"external", "inside.example.net. A", "NXDOMAIN, CNAME host.corp.internal., (SOA .)"},
	} {
		if got := resolve(t, r, c.view, c.q); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.view, c.q, got, c.want)
		}
	}
}

// TestOwnZoneWithoutState: never inherit, never recurse instead.
func TestOwnZoneWithoutState(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	r := newTestResolver(t, w, func(c *Config) {
		c.Local = func(string, name.Name, uint16) (*dns.Msg, bool) {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}, true
		}
	})
	if got := resolve(t, r, "", "www.example.net. A"); got != "SERVFAIL" || len(w.questions()) > 0 {
		t.Errorf("%s after %q", got, w.questions())
	}
}

// TestInsideDelegation: a cut that exists only inside is followed to private
// servers, for the view that sees it alone, downwards too; private servers of
// anybody else are not asked.
func TestInsideDelegation(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	w.private = map[string]bool{"10.0.0.11": true, "10.0.0.12": true}
	w.servers["10.0.0.11"] = authority(t, `ad.own.net.
		dc.ad.own.net. 300 IN A 10.0.0.20
		out.ad.own.net. 300 IN CNAME www.evil.net.
		sub.ad.own.net. 300 IN NS ns.sub.ad.own.net.
		ns.sub.ad.own.net. 300 IN A 10.0.0.12`)
	w.servers["10.0.0.12"] = authority(t, `sub.ad.own.net.
		x.sub.ad.own.net. 300 IN A 10.0.0.21`, `evil.net.
		www.evil.net. 300 IN A 10.0.0.66`)
	w.servers[netAddr] = authority(t, `net.
		evil.net. 300 IN NS ns.evil.net.
		ns.evil.net. 300 IN A 10.0.0.12`)
	r := newTestResolver(t, w, func(c *Config) {
		c.Local = localZones(t, "internal", `own.net.
			ad.own.net. 300 IN NS dc1.ad.own.net.
			dc1.ad.own.net. 300 IN A 10.0.0.11
			glueless.own.net. 300 IN NS dc2.own.net.
			dc2.own.net. 300 IN A 10.0.0.11`)
	})
	for _, c := range []struct{ view, q, want string }{
		{"external", "dc.ad.own.net. A", "NXDOMAIN, (SOA net.)"},
		{"internal", "dc.ad.own.net. A", "NOERROR, A 10.0.0.20"},
		{"internal", "x.sub.ad.own.net. A", "NOERROR, A 10.0.0.21"},
		{"internal", "x.sub.ad.own.net. A", "NOERROR, A 10.0.0.21"},
		{"internal", "out.ad.own.net. A", "SERVFAIL"},
		{"internal", "www.evil.net. A", "SERVFAIL"},
		{"external", "dc.ad.own.net. A", "NXDOMAIN, (SOA net.)"},
	} {
		if got := resolve(t, r, c.view, c.q); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.view, c.q, got, c.want)
		}
	}
}

// TestOwnAddresses: a delegation that leads to ourselves is not dialled.
func TestOwnAddresses(t *testing.T) {
	t.Parallel()
	r := newTestResolver(t, nil, func(c *Config) {
		c.OwnAddrs = func(a netip.Addr) bool { return a.String() == rootAddr }
	})
	if got := resolve(t, r, "", "www.example.net. A"); got != "SERVFAIL" {
		t.Error(got)
	}
	if r.Outbound().Counters.UDP.Value() != 0 {
		t.Error("dialled our own address")
	}
}
