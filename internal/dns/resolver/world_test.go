package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/outbound"
)

// world is an Internet in memory: what each address answers. A nil reply is
// silence.
type world struct {
	mu      sync.Mutex // guards asked
	asked   []string   // "ADDRESS NAME TYPE", in order
	servers map[string]func(q iterate.Question) *dns.Msg
	private map[string]bool // may be asked inside only
	wait    chan struct{}   // if set, exchanges wait until it is closed
	silence time.Duration   // how long silence takes
}

func (w *world) Usable(a netip.Addr, inside bool) bool { return inside || !w.private[a.String()] }
func (w *world) Pick(addrs []netip.Addr) netip.Addr    { return addrs[0] }

func (w *world) Exchange(ctx context.Context, a netip.Addr, q iterate.Question, _ bool) (*dns.Msg, int, error) {
	w.mu.Lock()
	w.asked = append(w.asked, a.String()+" "+q.String())
	w.mu.Unlock()
	if w.wait != nil {
		select {
		case <-w.wait:
		case <-ctx.Done():
			return nil, 1, ctx.Err()
		}
	}
	if server := w.servers[a.String()]; server != nil {
		if m := server(q); m != nil {
			return m, 1, nil
		}
	}
	timer := time.NewTimer(w.silence)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, 1, outbound.ErrTimeout
}

func (w *world) questions() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

func mustName(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func records(t testing.TB, text string) []dns.RR {
	t.Helper()
	var out []dns.RR
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil {
			t.Fatalf("record %q: %v", line, err)
		}
		out = append(out, rr)
	}
	return out
}

// authority answers like an honest server of the zones: an origin and its
// records, child NS and glue included.
func authority(t testing.TB, zones ...string) func(iterate.Question) *dns.Msg {
	t.Helper()
	type zone struct {
		origin name.Name
		rrs    []dns.RR
	}
	var all []zone
	for _, z := range zones {
		origin, text, _ := strings.Cut(strings.TrimSpace(z), "\n")
		all = append(all, zone{mustName(t, strings.TrimSpace(origin)), records(t, text)})
	}
	return func(q iterate.Question) *dns.Msg {
		best := -1
		for i, z := range all {
			if q.Name.IsBelow(z.origin) && (best < 0 || z.origin.IsBelow(all[best].origin)) {
				best = i
			}
		}
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}}
		if best < 0 {
			m.Rcode = dns.RcodeRefused
			return m
		}
		fill(m, all[best].origin, all[best].rrs, q)
		return m
	}
}

func fill(m *dns.Msg, origin name.Name, rrs []dns.RR, q iterate.Question) {
	owner := func(rr dns.RR) name.Name { n, _ := name.Parse(rr.Header().Name); return n }
	for _, rr := range rrs { // a cut above or at the name
		below := q.Name.IsBelow(owner(rr)) && (q.Type != dns.TypeDS || q.Name != owner(rr))
		if ns, ok := rr.(*dns.NS); ok && owner(rr) != origin && below {
			m.Ns = append(m.Ns, rr)
			for _, glue := range rrs {
				if _, isAddr := iterate.Addr(glue); isAddr && glue.Header().Name == ns.Ns {
					m.Extra = append(m.Extra, glue)
				}
			}
		}
	}
	if len(m.Ns) > 0 {
		return
	}
	m.Authoritative = true
	at, exists := q.Name, false
	for range 8 {
		exists = at == origin
		var alias *dns.CNAME
		found := len(m.Answer)
		for _, rr := range rrs {
			exists = exists || owner(rr).IsBelow(at)
			if owner(rr) != at {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok && q.Type != dns.TypeCNAME {
				alias = c
			} else if rr.Header().Rrtype == q.Type {
				m.Answer = append(m.Answer, rr)
			}
		}
		if len(m.Answer) > found {
			return
		}
		if alias == nil {
			break
		}
		m.Answer = append(m.Answer, alias)
		if at, _ = name.Parse(alias.Target); !at.IsBelow(origin) {
			return
		}
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: origin.String(), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 300},
		Ns:  "ns.", Mbox: "host.", Minttl: 300,
	}}
}

const (
	rootAddr = "198.41.0.4"
	netAddr  = "192.5.6.30"
	comAddr  = "192.5.6.31"
	exAddr   = "192.0.2.53"
)

// plainWorld is root, net., com. and example.net.
func plainWorld(t testing.TB) *world {
	t.Helper()
	return &world{servers: map[string]func(iterate.Question) *dns.Msg{
		rootAddr: authority(t, `.
			net. 172800 IN NS a.gtld.net.
			com. 172800 IN NS a.gtld.com.
			a.gtld.net. 172800 IN A 192.5.6.30
			a.gtld.com. 172800 IN A 192.5.6.31`),
		netAddr: authority(t, `net.
			example.net. 3600 IN NS ns.example.net.
			ns.example.net. 3600 IN A 192.0.2.53
			glueless.net. 3600 IN NS ns.example.net.`),
		comAddr: authority(t, `com.
			example.com. 3600 IN NS ns.example.net.`),
		exAddr: authority(t, `example.net.
			example.net. 300 IN NS ns.example.net.
			example.net. 300 IN MX 10 mail.example.net.
			example.net. 300 IN MX 20 bad\032host.example.net.
			ns.example.net. 300 IN A 192.0.2.53
			www.example.net. 300 IN A 192.0.2.80
			mail.example.net. 60 IN A 192.0.2.25
			alias.example.net. 300 IN CNAME www.example.net.
			far.example.net. 300 IN CNAME www.example.com.
			loop.example.net. 300 IN CNAME pool.example.net.
			pool.example.net. 300 IN CNAME loop.example.net.
			inside.example.net. 300 IN CNAME host.corp.internal.
			deep.ent.example.net. 300 IN TXT "a\034b\\c" "\195\169"
			badptr.example.net. 300 IN PTR x\010y.example.net.`, `example.com.
			www.example.com. 300 IN A 203.0.113.80`, `glueless.net.
			www.glueless.net. 300 IN A 192.0.2.81`),
	}}
}

func newTestResolver(t testing.TB, w *world, change func(*Config)) *Resolver {
	t.Helper()
	cfg := Config{Roots: []Hint{{mustName(t, "a.root-servers.net."), []netip.Addr{netip.MustParseAddr(rootAddr)}}}}
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if w != nil {
		r.out = w
	}
	t.Cleanup(func() {
		// Background: the test's own context has ended.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

// resolve asks and prints the outcome in one line.
func resolve(t testing.TB, r *Resolver, view, q string) string {
	t.Helper()
	owner, rtype, _ := strings.Cut(q, " ")
	msg, err := r.Resolve(t.Context(), Question{Name: mustName(t, owner), Type: dns.StringToType[rtype], View: view})
	if err != nil {
		f, ok := err.(*Failure)
		if !ok {
			t.Fatalf("%s: error %T", q, err)
		}
		return dns.RcodeToString[f.Rcode]
	}
	return summary(msg)
}

func summary(msg *dns.Msg) string {
	parts := []string{dns.RcodeToString[msg.Rcode]}
	for _, rr := range msg.Answer {
		f := strings.Fields(rr.String())
		parts = append(parts, fmt.Sprintf("%s %s", f[3], strings.Join(f[4:], " ")))
	}
	for _, rr := range msg.Ns {
		parts = append(parts, "("+dns.TypeToString[rr.Header().Rrtype]+" "+rr.Header().Name+")")
	}
	return strings.Join(parts, ", ")
}
