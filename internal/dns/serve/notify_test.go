package serve

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/xfr"
)

// keeper is a Refresher that is not running: example. comes from a primary with
// a key in the outer view, hidden. in the inner one from an address alone.
func keeper(t *testing.T) *xfr.Refresher {
	t.Helper()
	addr := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}
	zones := []xfr.Inbound{
		{Zone: mustName(t, "example."), View: "external", Primaries: []*xfr.Primary{{Name: "p", Addr: addr, Key: mustName(t, freeKey)}}},
		{Zone: mustName(t, "hidden."), View: "internal", Primaries: []*xfr.Primary{{Name: "q", Addr: addr}}},
	}
	return xfr.NewRefresher(xfr.RefresherConfig{
		Zones: func() []xfr.Inbound { return zones },
		Have:  func(name.Name, string) (xfr.Held, bool) { return xfr.Held{}, false },
		Now:   func() time.Time { return time.Unix(1_800_000_000, 0) },
	})
}

func notify(zone string, edits ...func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg).SetNotify(zone)
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func withSOA(m *dns.Msg) {
	m.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: ".", Mbox: ".", Serial: 9}}
}

// TestNotify: who tells of a new version, and what he hears (RFC 1996, Section
// 3).
func TestNotify(t *testing.T) {
	t.Parallel()
	const primary = "192.0.2.9"
	for _, c := range []struct {
		name, from string
		key        signature
		m          *dns.Msg
		want       string
		count      func(*xfr.RefresherCounters) uint64
	}{
		{"a primary's address", primary, signature{}, notify("example."), "NOERROR aa", func(c *xfr.RefresherCounters) uint64 { return c.Notified.Value() }},
		{"with a SOA", primary, signature{}, notify("example.", withSOA), "NOERROR aa", func(c *xfr.RefresherCounters) uint64 { return c.Notified.Value() }},
		{"with EDNS", primary, signature{}, notify("example.", withSOA, withEDNS), "NOERROR aa", func(c *xfr.RefresherCounters) uint64 { return c.Notified.Value() }},
		{"in another letter case", primary, signature{}, notify("eXample."), "NOERROR aa", func(c *xfr.RefresherCounters) uint64 { return c.Notified.Value() }},
		{"of a zone of another view", primary, signature{}, notify("hidden."), "NOERROR aa", func(c *xfr.RefresherCounters) uint64 { return c.Notified.Value() }},
		{"its key, from anywhere", outsider, signature{key: freeKey}, notify("example.", withSOA), "NOERROR aa, signed", func(c *xfr.RefresherCounters) uint64 { return c.Notified.Value() }},
		{"another key, from its address", primary, signature{key: outsideKey}, notify("example."), "REFUSED, signed", func(c *xfr.RefresherCounters) uint64 { return c.NotifyRefused.Value() }},
		{"its key, wrong", primary, signature{key: freeKey, secret: "wrong"}, notify("example."), "NOTAUTH, unsigned BADSIG", nil},
		{"its key, late", primary, signature{key: freeKey, off: -time.Hour}, notify("example."), "NOTAUTH, signed BADTIME", nil},
		{"an unknown key", primary, signature{key: "nobody."}, notify("example."), "NOTAUTH, unsigned BADKEY", nil},
		{"a stranger", outsider, signature{}, notify("example."), "REFUSED", func(c *xfr.RefresherCounters) uint64 { return c.NotifyRefused.Value() }},
		{"of a zone of our own", primary, signature{}, notify("second."), "REFUSED", func(c *xfr.RefresherCounters) uint64 { return c.NotifyRefused.Value() }},
		{"a stranger, of a zone that he does not see", outsider, signature{}, notify("hidden."), "NOTAUTH", func(c *xfr.RefresherCounters) uint64 { return c.NotifyUnknown.Value() }},
		{"of no zone", primary, signature{}, notify("none."), "NOTAUTH", func(c *xfr.RefresherCounters) uint64 { return c.NotifyUnknown.Value() }},
		{"of a name in a zone", primary, signature{}, notify("www.example."), "NOTAUTH", func(c *xfr.RefresherCounters) uint64 { return c.NotifyUnknown.Value() }},
		{"of another type", primary, signature{}, notify("example.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeCDS }), "FORMERR", func(c *xfr.RefresherCounters) uint64 { return c.NotifyMalformed.Value() }},
		{"of another class", primary, signature{}, notify("example.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "FORMERR", func(c *xfr.RefresherCounters) uint64 { return c.NotifyMalformed.Value() }},
		{"of nothing", primary, signature{}, notify("example.", func(m *dns.Msg) { m.Question = nil }), "FORMERR", func(c *xfr.RefresherCounters) uint64 { return c.NotifyMalformed.Value() }},
		{"of two zones", primary, signature{}, notify("example.", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "FORMERR", func(c *xfr.RefresherCounters) uint64 { return c.NotifyMalformed.Value() }},
	} {
		for _, tr := range []listen.Transport{listen.UDP, listen.TCP} {
			r := keeper(t)
			d := newDesk(t, Config{Refresher: r, Keys: testKeys(t)})
			got := ""
			if c.key.key == "" {
				got = summary(d.ask(c.from, tr, c.m))
			} else {
				got, _ = d.signed(Listener{}, c.from, tr, c.key, c.m)
			}
			if got != c.want || c.count != nil && c.count(&r.Counters) != 1 {
				t.Errorf("%s, %s: %s, want %s", c.name, tr, got, c.want)
			}
		}
	}
}

// TestNotifyFromInside: a primary whose address belongs to a view that the
// listener does not serve is heard by its key alone.
func TestNotifyFromInside(t *testing.T) {
	t.Parallel()
	r := keeper(t)
	d := newDesk(t, Config{Refresher: r, Keys: testKeys(t)})
	outside := Listener{Views: []string{"external"}}
	for _, c := range []struct {
		key  signature
		want string
	}{
		{signature{key: freeKey}, "NOERROR aa, signed"}, {signature{key: outsideKey}, "REFUSED, signed"},
		{signature{key: freeKey, secret: "wrong"}, ""}, {signature{key: "nobody."}, ""},
	} {
		if got, _ := d.signed(outside, insider, listen.UDP, c.key, notify("example.")); got != c.want {
			t.Errorf("%s: %q, want %q", c.key.key, got, c.want)
		}
	}
	d.h = d.s.Handler(outside)()
	if got := d.ask(insider, listen.UDP, notify("example.")); got != nil || r.Counters.Notified.Value() != 1 {
		t.Errorf("unsigned: %v", got)
	}
}

// TestNotifyIsBounded: strangers are told no more often than anything, a primary
// of many zones as often as it tells.
func TestNotifyIsBounded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Config{Refresher: keeper(t), RRL: 5})
	for from, want := range map[string]int{outsider: 5, "192.0.2.9": 100} {
		got := 0
		for range 100 {
			if d.ask(from, listen.UDP, notify("example.")) != nil {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d replies", from, got)
		}
	}
}

// expiring is what is told of how long a zone is good; "" for nothing.
func expiring(m *dns.Msg) string {
	if o := m.IsEdns0(); o != nil {
		for _, option := range o.Option {
			if e, ok := option.(*dns.EDNS0_EXPIRE); ok && !e.Empty {
				return fmt.Sprint("expire=", e.Expire)
			}
		}
	}
	return ""
}

// TestExpireIsTold: who asks hears what the SOA says of our own zones, and what
// is left of those that we have from others (RFC 7314, Section 3).
func TestExpireIsTold(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{Left: func(n name.Name, view string) (time.Duration, bool) {
		return 90*time.Second + 900*time.Millisecond, view == "external" && n == mustName(t, "second.")
	}}, listen.Limits{}, Listener{})
	asks := func(m *dns.Msg) { options(&dns.EDNS0_EXPIRE{Code: dns.EDNS0EXPIRE, Empty: true})(m) }
	ixfr := func(zone string, serial uint32) *dns.Msg {
		m := new(dns.Msg).SetIxfr(zone, serial, ".", ".")
		asks(m)
		return m
	}
	for _, c := range []struct {
		name string
		m    *dns.Msg
		want string
	}{
		{"our own", question("example.", dns.TypeSOA, asks), "expire=4"},
		{"of others", question("second.", dns.TypeSOA, asks), "expire=90"},
		{"not asked", question("example.", dns.TypeSOA, withEDNS), ""},
		{"another type", question("example.", dns.TypeNS, asks), ""},
		{"no SOA", question("www.example.", dns.TypeSOA, asks), ""},
		{"no zone of ours", question("other.", dns.TypeSOA, asks), ""},
		{"a transfer", question("second.", dns.TypeAXFR, asks), "expire=90"},
		{"a difference", ixfr("second.", 1), "expire=90"},
		{"a transfer of our own", question("example.", dns.TypeAXFR, asks), "expire=4"},
	} {
		got, _, _ := o.ask("tcp", "127.0.0.1", signature{key: outsideKey}, c.m)
		if expiring(got) != c.want {
			t.Errorf("%s: %q, want %q: %s", c.name, expiring(got), c.want, got)
		}
	}
}
