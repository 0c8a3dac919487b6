package serve

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

// busy is what users have by default: two views of twenty prefixes, the limit
// and cookies, and clients that send everything a query can have.
type busy struct {
	h       listen.Handler
	queries [][]byte
	clients []netip.AddrPort
	request listen.Request
	buf     []byte
	at      int
}

func newBusy(t testing.TB, hosts int, c Config, load string) *busy {
	t.Helper()
	var text strings.Builder
	text.WriteString(external)
	for i := range hosts {
		fmt.Fprintf(&text, "h%d.example. 60 IN A 10.1.%d.%d\n", i, i>>8&255, i&255)
	}
	z := compile(t, text.String())
	views := []view.View{{Name: "internal", Recursion: true}, {Name: "external", Clients: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}}
	for i := range 20 {
		views[0].Clients = append(views[0].Clients, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24))
	}
	for i := range views {
		views[i].Zones = map[name.Name]*answer.Zone{z.Origin(): z}
	}
	tab := view.NewTable(views)
	c.Table, c.Resolver, c.NSID = func() *view.Table { return tab }, outside(t), "edge.example"
	s := New(c)
	b := &busy{h: s.Handler(Listener{})(), buf: make([]byte, 0, 2048)}
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 4096 {
		client := netip.AddrFrom4([4]byte{192, byte(r.IntN(250)), byte(r.IntN(250)), byte(i)})
		var full [wire.FullCookie]byte
		testSecrets.Make(&full, []byte("12345678"), client, uint32(s.now().Unix()))
		m := question(fmt.Sprintf("h%d.example.", r.IntN(hosts)), dns.TypeA)
		if load == "forged" {
			m.Question[0].Name = fmt.Sprintf("x%d.example.", i)
			client = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		}
		if load == "cookie" {
			m.Question[0].Name = mixed(r, m.Question[0].Name)
			m.SetEdns0(1232, true)
			m.IsEdns0().Option = []dns.EDNS0{cookie(fmt.Sprintf("%x", full))}
		}
		msg, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		b.queries, b.clients = append(b.queries, msg), append(b.clients, netip.AddrPortFrom(client, 53))
	}
	return b
}

// mixed gives the name random letter case.
func mixed(r *rand.Rand, s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] >= 'a' && b[i] <= 'z' && r.IntN(2) == 0 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

func (b *busy) serve() []byte {
	i := b.at & 4095
	b.at++
	b.request.Msg, b.request.Client = b.queries[i], b.clients[i]
	return b.h.Serve(&b.request, b.buf)
}

var loads = []struct {
	name, load string
	c          Config
}{
	{"plain", "plain", Config{}},
	{"plain, limited", "plain", Config{RRL: gate.RRLMax, Cookies: secrets}},
	{"EDNS, DO, COOKIE, random case", "cookie", Config{RRL: 50, Cookies: secrets}},
	{"flood", "forged", Config{RRL: 50, Cookies: secrets}},
}

func TestDefaultsDoNotAllocate(t *testing.T) {
	for _, c := range loads {
		b := newBusy(t, 100, c.c, c.load)
		if n := testing.AllocsPerRun(4096, func() { b.serve() }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func BenchmarkServe(b *testing.B) {
	for _, c := range loads {
		b.Run(c.name, func(b *testing.B) {
			w := newBusy(b, 50000, c.c, c.load)
			b.ReportAllocs()
			for b.Loop() {
				w.serve()
			}
		})
	}
}
