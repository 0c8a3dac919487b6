package iterate

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var noon = time.Unix(1_700_000_000, 0)

// show prints an action in one line.
func show(a Action) string {
	switch a.Act {
	case Seek:
		return "seek " + a.Question.String()
	case Ask:
		return fmt.Sprintf("ask %s %v of %s", a.Question, a.Servers, a.Zone)
	case Address:
		return "address " + a.Name.String()
	case Done:
		return fmt.Sprintf("done %s %d+%d at %s", dns.RcodeToString[a.Result.Rcode], len(a.Result.Answer), len(a.Result.Authority), a.Result.Canonical)
	case Fail:
		return "fail " + strings.ReplaceAll(a.Err.Error(), "\n", ": ")
	}
	return "wrong"
}

func cutOf(t testing.TB, zone string, servers ...string) Cut {
	t.Helper()
	d := Delegation{Zone: mustName(t, zone)}
	for _, s := range servers {
		f := strings.Fields(s)
		server := Server{Name: mustName(t, f[0])}
		for _, a := range f[1:] {
			server.Addrs = append(server.Addrs, netip.MustParseAddr(a))
		}
		d.Servers = append(d.Servers, server)
	}
	return Cut{d}
}

func gotFrom(t testing.TB, addr, text string) Got {
	t.Helper()
	return Got{netip.MustParseAddr(addr), message(t, text)}
}

// TestDialogues feeds events and compares the actions, in order.
func TestDialogues(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	for _, c := range []struct {
		rule, question string
		limits         Limits
		events         []Event
		want           []string
	}{
		{
			"servers are asked in turn, as often as allowed, then it fails", "www.example.net. A",
			Limits{Tries: 2},
			[]Event{
				Begin{},
				cutOf(t, "example.net.", "a. 192.0.2.1", "b. 192.0.2.2"),
				Silent{From: addr("192.0.2.1")},
				gotFrom(t, "192.0.2.2", "REFUSED"),
				Silent{From: addr("192.0.2.1")},
			},
			[]string{
				"seek www.example.net. A",
				"ask www.example.net. A [192.0.2.1 192.0.2.2] of example.net.",
				"ask www.example.net. A [192.0.2.2] of example.net.",
				"ask www.example.net. A [192.0.2.1] of example.net.",
				"fail no server of the zone gave a usable answer: 192.0.2.2 for example.net.: server answered with an error: REFUSED",
			},
		},
		{
			"a server without address is looked up, spare addresses come last", "www.example.net. A",
			Limits{},
			[]Event{
				Begin{},
				cutOf(t, "example.net.", "ns.example.com."),
				Addresses{Name: mustName(t, "ns.example.com."), Addrs: []netip.Addr{addr("192.0.2.1")}, Spare: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.9")}},
				Silent{From: addr("192.0.2.1")},
			},
			[]string{
				"seek www.example.net. A", "address ns.example.com.",
				"ask www.example.net. A [192.0.2.1] of example.net.",
				"ask www.example.net. A [192.0.2.1 192.0.2.9] of example.net.",
			},
		},
		{
			"names that do not exist are looked up a few times only", "www.example.net. A",
			Limits{AbsentTargets: 2},
			[]Event{
				Begin{},
				cutOf(t, "example.net.", "a.", "b.", "c."),
				Addresses{Name: mustName(t, "a."), Absent: true},
				Addresses{Name: mustName(t, "b."), Absent: true},
			},
			[]string{"seek www.example.net. A", "address a.", "address b.", "fail too many server names had to be looked up"},
		},
		{
			"no more names of one cut than allowed", "www.example.net. A",
			Limits{CutTargets: 1},
			[]Event{Begin{}, cutOf(t, "example.net.", "a.", "b."), Addresses{Name: mustName(t, "a.")}},
			[]string{"seek www.example.net. A", "address a.", "fail no server of the zone has a usable address"},
		},
		{
			"glue of no use does not stand for an address", "www.example.net. A",
			Limits{},
			[]Event{
				Begin{},
				cutOf(t, "example.net.", "ns.example.net. 2001:db8::1"),
				Silent{From: addr("2001:db8::1"), Dead: true},
				Addresses{Name: mustName(t, "ns.example.net."), Addrs: []netip.Addr{addr("192.0.2.1")}},
			},
			[]string{
				"seek www.example.net. A", "ask www.example.net. A [2001:db8::1] of example.net.", "address ns.example.net.",
				"ask www.example.net. A [192.0.2.1] of example.net.",
			},
		},
		{
			"a cached alias restarts the search; the second link is a loop", "a. A",
			Limits{},
			[]Event{
				Begin{},
				Known{Set{Name: mustName(t, "a."), Type: dns.TypeCNAME, Kind: Positive, RRs: message(t, "NOERROR\nan a. 60 IN CNAME b.").Answer}},
				Known{Set{Name: mustName(t, "b."), Type: dns.TypeCNAME, Kind: Positive, RRs: message(t, "NOERROR\nan b. 60 IN CNAME a.").Answer}},
			},
			[]string{"seek a. A", "seek b. A", "fail alias chain is a loop"},
		},
		{
			"an alias chain has a bound", "a. A",
			Limits{Restarts: 1},
			[]Event{
				Begin{}, Own{message(t, "AA NOERROR\nan a. 60 IN CNAME b.")}, Own{message(t, "AA NOERROR\nan b. 60 IN CNAME c.")},
			},
			[]string{"seek a. A", "seek b. A", "fail alias chain is too long"},
		},
		{
			"shortened names: cut by cut, then the whole", "x.y.example.net. MX",
			Limits{},
			[]Event{
				Begin{},
				cutOf(t, ".", "a. 192.0.2.1"),
				gotFrom(t, "192.0.2.1", "NOERROR\nns net. 60 IN NS ns.net.\nar ns.net. 60 IN A 192.0.2.2"),
				gotFrom(t, "192.0.2.2", "NOERROR\nns example.net. 60 IN NS ns.net.\nar ns.net. 60 IN A 192.0.2.3"),
				gotFrom(t, "192.0.2.3", "AA NOERROR\nns example.net. 60 IN SOA ns. host. 1 2 3 4 5"),
				gotFrom(t, "192.0.2.3", "AA NOERROR\nan x.y.example.net. 60 IN MX 10 mail."),
			},
			[]string{
				"seek x.y.example.net. MX",
				"ask net. A [192.0.2.1] of .", "ask example.net. A [192.0.2.2] of net.",
				"ask y.example.net. A [192.0.2.3] of example.net.", "ask x.y.example.net. MX [192.0.2.3] of example.net.",
				"done NOERROR 1+0 at x.y.example.net.",
			},
		},
		{
			"packets have a bound", "www.example.net. A",
			Limits{Queries: 1},
			[]Event{Begin{}, cutOf(t, "example.net.", "a. 192.0.2.1"), Silent{From: addr("192.0.2.1")}},
			[]string{"seek www.example.net. A", "ask www.example.net. A [192.0.2.1] of example.net.", "fail too many queries for one question"},
		},
		{"an own zone without state fails", "a. A", Limits{}, []Event{Begin{}, Own{message(t, "SERVFAIL")}}, []string{"seek a. A", "fail own zone can not answer: SERVFAIL"}},
		{
			"an own DNAME that makes too long a name says so", "a.b. A",
			Limits{},
			[]Event{Begin{}, Own{message(t, "AA YXDOMAIN\nan b. 60 IN DNAME c.")}},
			[]string{"seek a.b. A", "done YXDOMAIN 1+0 at a.b."},
		},
		{"nothing is no event", "a. A", Limits{}, []Event{nil}, []string{"fail unknown event"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			b := NewBudget(c.limits)
			m := New(question(t, c.question), Relaxed, b)
			for i, e := range c.events {
				got := m.Step(e, noon)
				if show(got) != c.want[i] {
					t.Fatalf("step %d: %s, want %s", i, show(got), c.want[i])
				}
				if got.Act == Ask {
					b.Spend(1)
				}
			}
		})
	}
}

// TestLeaseOfCut: a cut lives as long as the parent says, and no longer than
// the cut it hangs from.
func TestLeaseOfCut(t *testing.T) {
	t.Parallel()
	for lease, want := range map[time.Duration]time.Duration{0: time.Hour, 2 * time.Hour: time.Hour, time.Minute: time.Minute} {
		c := cutOf(t, "net.", "a. 192.0.2.1")
		if lease > 0 {
			c.Delegation.Until = noon.Add(lease)
		}
		m := New(question(t, "www.example.net. A"), Relaxed, NewBudget(Limits{}))
		m.Step(Begin{}, noon)
		m.Step(c, noon)
		a := m.Step(gotFrom(t, "192.0.2.1", "NOERROR\nns example.net. 3600 IN NS ns.\nns example.net. 9999999 IN NS ns2."), noon)
		if a.Cut == nil || a.Cut.Until.Sub(noon) != want {
			t.Errorf("parent's lease %s: %+v", lease, a.Cut)
		}
	}
}
