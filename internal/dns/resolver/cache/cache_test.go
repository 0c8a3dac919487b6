package cache

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
)

var begin = time.Unix(1_700_000_000, 0)

func at(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }

func mustName(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// set makes one from a record; its kind and rank are given.
func set(t testing.TB, kind iterate.Kind, rank iterate.Rank, owner, record string) iterate.Set {
	t.Helper()
	rr, err := dns.NewRR(record)
	if err != nil {
		t.Fatal(err)
	}
	s := iterate.Set{Name: mustName(t, owner), Kind: kind, Rank: rank, TTL: rr.Header().Ttl, RRs: []dns.RR{rr}}
	if kind != iterate.NXDomain {
		s.Type = dns.TypeA
	}
	if kind == iterate.Positive {
		s.Type = rr.Header().Rrtype
	}
	return s
}

// get prints what the cache knows.
func get(t testing.TB, c *Cache, space Space, owner string, now time.Time) string {
	t.Helper()
	s, ok := c.Get(space, iterate.Question{Name: mustName(t, owner), Type: dns.TypeA}, now)
	if !ok {
		return "nothing"
	}
	kind := [...]string{"?", "set", "nodata", "nxdomain"}[s.Kind]
	f := strings.Fields(s.RRs[0].String())
	return fmt.Sprintf("%s %s %s", kind, f[1], strings.Join(f[3:5], " "))
}

const (
	www = "www.example.net."
	soa = "example.net. 60 IN SOA ns. host. 1 2 3 4 60"
)

func TestTTLCountsDown(t *testing.T) {
	t.Parallel()
	c := New(Config{})
	c.Put("", set(t, iterate.Positive, iterate.Answer, www, www+" 60 IN A 192.0.2.1"), begin)
	c.Put("", set(t, iterate.Positive, iterate.Answer, "zero.", "zero. 0 IN A 192.0.2.1"), begin)
	for _, w := range []struct {
		after int
		want  string
	}{{0, "set 60 A 192.0.2.1"}, {59, "set 1 A 192.0.2.1"}, {60, "nothing"}, {0, "nothing"}} {
		if got := get(t, c, "", www, at(w.after)); got != w.want {
			t.Errorf("after %d s: %s, want %s", w.after, got, w.want)
		}
	}
	if got := get(t, c, "", "zero.", begin); got != "nothing" {
		t.Errorf("TTL 0 was kept: %s", got)
	}
	if c.Bytes() != 0 || c.Entries() != 0 || c.Counters.Expired.Value() != 1 {
		t.Errorf("%d bytes, %d entries left", c.Bytes(), c.Entries())
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule string
		sets []iterate.Set
		want string
	}{
		{"an alias answers for every type", []iterate.Set{set(t, iterate.Positive, iterate.Answer, www, www+" 60 IN CNAME a.")}, "set 60 CNAME a."},
		{"NODATA of the type", []iterate.Set{set(t, iterate.NoData, iterate.Answer, www, soa)}, "nodata 60 SOA ns."},
		{"NXDOMAIN for every type", []iterate.Set{set(t, iterate.NXDomain, iterate.Answer, www, soa)}, "nxdomain 60 SOA ns."},
		{
			"a name that turns out to exist is no longer denied",
			[]iterate.Set{set(t, iterate.NXDomain, iterate.Answer, www, soa), set(t, iterate.Positive, iterate.Answer, www, www+" 60 IN TXT a")},
			"nothing",
		},
		{
			"but not on the word of less trusted data",
			[]iterate.Set{set(t, iterate.NXDomain, iterate.Answer, www, soa), set(t, iterate.Positive, iterate.Part, www, www+" 60 IN TXT a")},
			"nxdomain 60 SOA ns.",
		},
		{
			"a part does not replace an answer (RFC 2181, Section 5.4.1)",
			[]iterate.Set{set(t, iterate.Positive, iterate.Answer, www, www+" 60 IN A 192.0.2.1"), set(t, iterate.Positive, iterate.Part, www, www+" 90 IN A 192.0.2.66")},
			"set 60 A 192.0.2.1",
		},
		{
			"an answer replaces a part",
			[]iterate.Set{set(t, iterate.Positive, iterate.Part, www, www+" 60 IN A 192.0.2.66"), set(t, iterate.Positive, iterate.Answer, www, www+" 90 IN A 192.0.2.1")},
			"set 90 A 192.0.2.1",
		},
		{
			"an answer replaces an answer",
			[]iterate.Set{set(t, iterate.Positive, iterate.Answer, www, www+" 60 IN A 192.0.2.1"), set(t, iterate.NoData, iterate.Answer, www, soa)},
			"nodata 60 SOA ns.",
		},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			cache := New(Config{})
			for _, s := range c.sets {
				cache.Put("", s, begin)
			}
			if got := get(t, cache, "", www, begin); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if got := get(t, cache, "internal", www, begin); got != "nothing" {
				t.Errorf("seen in another space: %s", got)
			}
		})
	}
}

func TestRankEndsWithTTL(t *testing.T) {
	t.Parallel()
	c := New(Config{})
	c.Put("", set(t, iterate.Positive, iterate.Answer, www, www+" 60 IN A 192.0.2.1"), begin)
	c.Put("", set(t, iterate.Positive, iterate.Part, www, www+" 60 IN A 192.0.2.2"), at(60))
	if got := get(t, c, "", www, at(60)); got != "set 60 A 192.0.2.2" {
		t.Error(got)
	}
}

// TestCallersCanNotChangeTheCache: each gets records of its own.
func TestCallersCanNotChangeTheCache(t *testing.T) {
	t.Parallel()
	c := New(Config{})
	s := set(t, iterate.Positive, iterate.Answer, www, www+" 60 IN A 192.0.2.1")
	c.Put("", s, begin)
	s.RRs[0].Header().Name = "evil."
	got, _ := c.Get("", iterate.Question{Name: s.Name, Type: dns.TypeA}, begin)
	got.RRs[0].(*dns.A).A[0] = 66
	if got := get(t, c, "", www, begin); got != "set 60 A 192.0.2.1" {
		t.Error(got)
	}
}

func TestCuts(t *testing.T) {
	t.Parallel()
	c := New(Config{})
	put := func(zone string, until time.Time) {
		c.PutCut("", iterate.Delegation{
			Zone: mustName(t, zone), Until: until,
			Servers: []iterate.Server{{Name: mustName(t, "ns."+zone), Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		}, begin)
	}
	put("net.", at(100))
	put("example.net.", at(50))
	put("never.net.", begin)
	put("forever.net.", time.Time{}) // hints are not cached
	for _, w := range []struct {
		name, top string
		after     int
		want      string
	}{
		{"www.example.net.", ".", 0, "example.net."},
		{"www.example.net.", ".", 50, "net."},
		{"www.example.net.", ".", 100, ""},
		{"net.", ".", 0, "net."},
		{"x.never.net.", ".", 0, "net."},
		{"x.forever.net.", ".", 0, "net."},
		{"org.", ".", 0, ""},
		{"www.other.net.", "other.net.", 0, ""},
	} {
		put("net.", at(100))
		put("example.net.", at(50))
		got := ""
		if d, ok := c.Cut("", mustName(t, w.name), mustName(t, w.top), at(w.after)); ok {
			got = d.Zone.String()
		}
		if got != w.want {
			t.Errorf("%s after %d s: cut %q, want %q", w.name, w.after, got, w.want)
		}
	}
	if _, ok := c.Cut("internal", mustName(t, "net."), name.Root, begin); ok {
		t.Error("seen in another space")
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	c := New(Config{})
	q := iterate.Question{Name: mustName(t, www), Type: dns.TypeA}
	c.Fail("", q, 5*time.Second, begin)
	for after, want := range map[int]bool{0: true, 4: true, 5: false} {
		c.Fail("", q, 5*time.Second, begin)
		if c.Failed("", q, at(after)) != want {
			t.Errorf("after %d s: %v", after, !want)
		}
	}
	if get(t, c, "", www, begin) != "nothing" {
		t.Error("a failure is not an answer")
	}
}

// TestBound: whatever is stored, bytes stay below the bound, and what was used
// is kept longer.
func TestBound(t *testing.T) {
	t.Parallel()
	const bound = 64 * 4096
	c := New(Config{Bytes: bound})
	c.Put("", set(t, iterate.Positive, iterate.Answer, www, www+" 9999 IN A 192.0.2.1"), begin)
	for i := range 5000 {
		owner := fmt.Sprintf("n%d.example.", i)
		c.Put("", set(t, iterate.Positive, iterate.Answer, owner, owner+" 9999 IN A 192.0.2.1"), begin)
		if get(t, c, "", www, begin) == "nothing" {
			t.Fatalf("what is in use was dropped after %d", i)
		}
		if c.Bytes() > bound {
			t.Fatalf("%d bytes", c.Bytes())
		}
	}
	if c.Counters.Evicted.Value() == 0 || c.Entries() < 500 {
		t.Errorf("%d evicted, %d left", c.Counters.Evicted.Value(), c.Entries())
	}
	big := iterate.Set{Name: mustName(t, "big."), Type: dns.TypeTXT, Kind: iterate.Positive, Rank: iterate.Answer, TTL: 60}
	for range 20 {
		big.RRs = append(big.RRs, &dns.TXT{Hdr: dns.RR_Header{Name: "big.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("x", 250)}})
	}
	c.Put("", big, begin)
	if c.Counters.TooLarge.Value() != 1 {
		t.Error("an entry as large as a shard was kept")
	}
}

func TestFlush(t *testing.T) {
	t.Parallel()
	for _, w := range []struct {
		name string
		tree bool
		left string
	}{
		{"example.net.", false, "a.example.net. notexample.net."},
		{"example.net.", true, "notexample.net."},
		{".", true, ""},
		{"net.", false, "example.net. a.example.net. notexample.net."},
	} {
		c := New(Config{})
		names := []string{"example.net.", "a.example.net.", "notexample.net."}
		for _, n := range names {
			c.Put("internal", set(t, iterate.Positive, iterate.Answer, n, n+" 60 IN A 192.0.2.1"), begin)
		}
		dropped := c.Flush(mustName(t, w.name), w.tree)
		var left []string
		for _, n := range names {
			if get(t, c, "internal", n, begin) != "nothing" {
				left = append(left, n)
			}
		}
		if got := strings.Join(left, " "); got != w.left || dropped != len(names)-len(left) {
			t.Errorf("flush %s: %d dropped, %q left, want %q", w.name, dropped, got, w.left)
		}
	}
}
