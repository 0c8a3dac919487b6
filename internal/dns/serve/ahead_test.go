package serve

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/view"
)

// proven is a zone with a chain of NSEC records; extra goes into it, with its
// place in the chain.
func proven(t testing.TB, extra ...string) *answer.Zone {
	t.Helper()
	owners := append([]string{"proven.", "*.alt.proven.", "alt.proven.", "ns.proven.", "www.proven."}, extra...)
	slices.SortFunc(owners, func(a, b string) int { return mustName(t, a).Compare(mustName(t, b)) })
	var text strings.Builder
	sig := func(owner, covers string) {
		fmt.Fprintf(&text, "%s 60 IN RRSIG %s 13 %d 60 20400101000000 20200101000000 1 proven. AAAA\n", owner, covers, dns.CountLabel(strings.TrimPrefix(owner, "*.")))
	}
	for i, owner := range owners {
		types := "A"
		if i == 0 {
			types = "NS SOA"
			text.WriteString("proven. 60 IN SOA ns.proven. h.proven. 1 2 3 4 60\nproven. 60 IN NS ns.proven.\n")
			sig(owner, "SOA")
			sig(owner, "NS")
		} else {
			fmt.Fprintf(&text, "%s 60 IN A 192.0.2.%d\n", owner, i)
			sig(owner, "A")
		}
		fmt.Fprintf(&text, "%s 60 IN NSEC %s %s RRSIG NSEC\n", owner, owners[(i+1)%len(owners)], types)
		sig(owner, "NSEC")
	}
	return compile(t, text.String())
}

func provenTable(t testing.TB, z *answer.Zone) *view.Table {
	t.Helper()
	ex := compile(t, external)
	zones := map[name.Name]*answer.Zone{ex.Origin(): ex, z.Origin(): z, mustName(t, "failed"): nil}
	return view.NewTable([]view.View{{Name: "external", Clients: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Zones: zones}})
}

// TestSeenAhead gives random bursts to two servers, of which one looks ahead,
// and hears the same of both; sometimes the zone is another by the time the
// burst is served.
func TestSeenAhead(t *testing.T) {
	t.Parallel()
	tables := []*view.Table{provenTable(t, proven(t)), provenTable(t, proven(t, "a.proven.", "m.proven.", "z.z.proven."))}
	now := tables[0]
	handlers := [2]*handler{}
	for i := range handlers {
		handlers[i] = New(Config{Table: func() *view.Table { return now }}).Handler(Listener{})().(*handler)
	}
	r := rand.New(rand.NewPCG(3, 3))
	looked := 0
	for range 500 {
		burst := make([][]byte, 2+r.IntN(listen.MaxBurst-1))
		for i := range burst {
			burst[i] = anyMessage(t, r)
		}
		seen := handlers[1].Ahead(len(burst), func(i int) []byte { return burst[i] })
		if seen {
			looked++
		}
		if r.IntN(3) == 0 {
			now = tables[r.IntN(len(tables))]
		}
		for i, msg := range burst {
			req := &listen.Request{Msg: msg, Client: netip.MustParseAddrPort("192.0.2.200:53")}
			want := handlers[0].ServeBare(req, nil)
			if seen {
				req.Seen = i + 1
			}
			if got := handlers[1].ServeBare(req, nil); !bytes.Equal(got, want) {
				t.Fatalf("%x\nseen ahead %x\nwithout    %x", msg, got, want)
			}
		}
	}
	if looked < 100 || looked == 500 {
		t.Errorf("looked at %d bursts of 500", looked)
	}
}

// anyMessage is mostly a question for the zone with proofs.
func anyMessage(t testing.TB, r *rand.Rand) []byte {
	t.Helper()
	names := []string{
		"proven.", "www.proven.", "WWW.Proven.", "nx.proven.", "a.proven.", "b.a.proven.", "0.proven.", "zz.proven.", "m.proven.", "x.alt.proven.",
		"z.proven.", "y.z.proven.", "www.example.", "nx.example.", "cross.example.", "www.failed.", "www.nobody.",
	}
	m := new(dns.Msg)
	m.SetQuestion(names[r.IntN(len(names))], []uint16{dns.TypeA, dns.TypeA, dns.TypeTXT, dns.TypeDS, dns.TypeNSEC, dns.TypeSOA, dns.TypeANY}[r.IntN(7)])
	m.Id = uint16(r.Uint32())
	if r.IntN(4) > 0 {
		m.SetEdns0(1232, r.IntN(4) > 0)
	}
	if r.IntN(30) == 0 {
		m.Opcode = r.IntN(6)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if r.IntN(30) == 0 {
		msg = msg[:r.IntN(len(msg))]
	}
	return msg
}
