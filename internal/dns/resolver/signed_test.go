package resolver

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	compiled "postern/internal/dns/answer"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/validate"
	"postern/internal/dns/signer"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// signTime is when the signed world is signed and, unless a test says
// otherwise, asked.
var signTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// signedZone is one zone of the signed world.
type signedZone struct {
	origin string
	addr   string
	text   string        // besides SOA, NS, glue and what its children need
	denial signer.Denial // 0: not signed
	optOut bool
	alg    uint8
	split  bool                      // KSK and ZSK
	age    time.Duration             // how long before signTime it was signed
	noDS   bool                      // the parent has no DS of it
	ds     func([]*dns.DS) []*dns.DS // what the parent has in place of the right DS
	forge  func(asked, *dns.Msg)     // changes what its server says
	keys   []dnssec.Key              // filled in
	wires  *compiled.Zone            // filled in
	signed *zone.Zone                // filled in
	reply  func(asked) *dns.Msg      // filled in: the honest answer
}

type asked = iterate.Question

// signedWorld signs the zones, given parents first, and serves each at its
// address.
func signedWorld(t testing.TB, zones ...*signedZone) *world {
	t.Helper()
	w := &world{servers: map[string]func(iterate.Question) *dns.Msg{}}
	for i := len(zones) - 1; i >= 0; i-- { // leaves first: the parent needs their DS
		zones[i].make(t, childrenOf(zones, zones[i]))
		w.servers[zones[i].addr] = zones[i].serve
	}
	return w
}

func childrenOf(zones []*signedZone, parent *signedZone) []*signedZone {
	var out []*signedZone
	for _, z := range zones {
		nearest := ""
		for _, other := range zones {
			if other != z && dns.IsSubDomain(other.origin, z.origin) && len(other.origin) >= len(nearest) {
				nearest = other.origin
			}
		}
		if z != parent && nearest == parent.origin {
			out = append(out, z)
		}
	}
	return out
}

func (z *signedZone) make(t testing.TB, children []*signedZone) {
	t.Helper()
	var b strings.Builder
	b.WriteString("@ 3600 IN SOA ns host 1 3600 600 86400 600\n@ 3600 IN NS ns\nns 3600 IN A " + z.addr + "\n" + z.text + "\n")
	for _, c := range children {
		glue := "ns." + strings.TrimPrefix(c.origin, ".")
		b.WriteString(c.origin + " 3600 IN NS " + glue + "\n" + glue + " 3600 IN A " + c.addr + "\n")
		var set []*dns.DS
		if c.denial != 0 && !c.noDS {
			set = append(set, c.trueDS(t, c.keys[0]))
		}
		if c.ds != nil {
			set = c.ds(set)
		}
		for _, ds := range set {
			ds.Hdr.Ttl = 7200
			b.WriteString(ds.String() + "\n")
		}
	}
	plain := builtZone(t, z.origin, b.String())
	z.signed = plain
	if z.denial != 0 {
		z.newKeys(t)
		p := signer.Policy{Model: signer.CSK, Denial: z.denial, OptOut: z.optOut, Validity: 14 * 24 * time.Hour, Refresh: 7 * 24 * time.Hour, Jitter: time.Second}
		if z.split {
			p.Model = signer.KSKZSK
		}
		s, err := signer.Sign(plain, z.keys, p, signTime.Add(-z.age))
		if err != nil {
			t.Fatal(err)
		}
		z.signed = s.Zone()
	}
	z.wires = compiled.Compile(z.signed)
	z.reply = func(q asked) *dns.Msg { return answered(t, z.wires, q) }
}

func (z *signedZone) newKeys(t testing.TB) {
	t.Helper()
	add := func(flags uint16) {
		var k dnssec.Key
		var err error
		if z.alg == dnssec.ED25519 {
			_, private, _ := ed25519.GenerateKey(rand.Reader)
			k, err = dnssec.NewKey(mustName(t, z.origin), flags, z.alg, private)
		} else {
			private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			k, err = dnssec.NewKey(mustName(t, z.origin), flags, dnssec.ECDSAP256SHA256, private)
		}
		if err != nil {
			t.Fatal(err)
		}
		z.keys = append(z.keys, k)
	}
	add(257)
	if z.split {
		add(256)
	}
}

func (z *signedZone) trueDS(t testing.TB, k dnssec.Key) *dns.DS {
	t.Helper()
	ds, err := dnssec.DS(mustName(t, z.origin), k.DNSKEY, dns.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

func (z *signedZone) serve(q iterate.Question) *dns.Msg {
	m := z.reply(q)
	if z.forge != nil {
		z.forge(q, m)
	}
	return m
}

// answered is what an honest server of the zone says.
func answered(t testing.TB, z *compiled.Zone, q asked) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.Name.String(), q.Type)
	m.RecursionDesired = false
	m.SetEdns0(1232, q.DO)
	packed, err := m.Pack()
	var wq wire.Query
	if err != nil || wq.Parse(packed) != wire.OK {
		t.Errorf("query %s: %v", q, err)
		return nil
	}
	reply, res := z.Append(wq.Start(nil), &wq, wire.MaxTCP, nil)
	flags := uint16(0)
	if res.AA {
		flags = wire.AA
	}
	out := new(dns.Msg)
	if err := out.Unpack(wq.Finish(reply, flags, res.Rcode, res.Counts, nil)); err != nil {
		t.Errorf("reply to %s: %v", q, err)
	}
	out.Extra = slices.DeleteFunc(out.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	return out
}

func builtZone(t testing.TB, origin, text string) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(mustName(t, origin))
	p := dns.NewZoneParser(strings.NewReader(text), origin, "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if err := b.Add(rr); err != nil {
			t.Fatalf("%v: %v", rr, err)
		}
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// signedTree is a root, net., a signed and an unsigned zone below it, an
// opt-out zone, and what a forger may need.
type signedTree struct {
	root, net, example, plain, opt, below *signedZone
	zones                                 []*signedZone
}

func newSignedTree(change func(*signedTree)) *signedTree {
	tr := &signedTree{
		root:    &signedZone{origin: ".", addr: rootAddr, denial: signer.NSEC, split: true},
		net:     &signedZone{origin: "net.", addr: netAddr, denial: signer.NSEC, text: "alias CNAME elsewhere.org.\ndeep.ent TXT x\n*.wild TXT x\nzz TXT x\ndname DNAME elsewhere.org.\n*.stars CNAME elsewhere.org."},
		example: &signedZone{origin: "example.net.", addr: exAddr, denial: signer.NSEC3, alg: dnssec.ED25519, text: "www A 192.0.2.80"},
		plain:   &signedZone{origin: "plain.net.", addr: "192.0.2.54"},
		opt:     &signedZone{origin: "opt.", addr: "192.0.2.55", denial: signer.NSEC3, optOut: true, text: "there TXT x"},
		below:   &signedZone{origin: "safe.opt.", addr: "192.0.2.56", denial: signer.NSEC},
	}
	tr.zones = []*signedZone{
		tr.root, tr.net, tr.opt, tr.example, tr.plain, tr.below,
		{origin: "loose.opt.", addr: "192.0.2.57"},
		{origin: "sub.example.net.", addr: "192.0.2.58", denial: signer.NSEC},
		{origin: "sub.plain.net.", addr: "192.0.2.59", denial: signer.NSEC},
	}
	if change != nil {
		change(tr)
	}
	return tr
}

func (tr *signedTree) anchor(t testing.TB) validate.Anchor {
	t.Helper()
	return validate.Anchor{Zone: name.Root, DS: []*dns.DS{tr.root.trueDS(t, tr.root.keys[0])}}
}

// resolver serves the tree and returns a resolver that trusts its root.
func (tr *signedTree) resolver(t testing.TB, change func(*Config)) (*Resolver, *world) {
	t.Helper()
	w := signedWorld(t, tr.zones...)
	r := newTestResolver(t, w, func(c *Config) {
		c.Now = func() time.Time { return signTime }
		c.Anchors = []validate.Anchor{tr.anchor(t)}
		if change != nil {
			change(c)
		}
	})
	return r, w
}

// verdict asks for the zone's delegation and prints it in one line.
func verdict(t testing.TB, r *Resolver, origin string) string {
	t.Helper()
	d, err := r.Delegation(t.Context(), mustName(t, origin))
	parts := []string{d.Security.String(), string(d.Reason)}
	if d.Security == Secure {
		parts = append(parts, d.Parent.String(), standings[d.Standing])
		for _, ds := range d.DS {
			parts = append(parts, dns.AlgorithmToString[ds.Algorithm])
		}
	}
	if (err != nil) != (d.Reason == validate.NoReply) || d.Security != Secure && len(d.DS) > 0 {
		t.Errorf("%s: %+v, %v", origin, d, err)
	}
	proven := d.Security == Secure && len(d.DS) == 0 || d.Security == Insecure && (d.Reason == validate.NoDS || d.Reason == validate.OptOut || d.Reason == validate.NegativeAnchor)
	if d.NoDS() != proven {
		t.Errorf("%s: no DS is %v of %+v", origin, d.NoDS(), d)
	}
	if d.Err != nil {
		t.Logf("%s: %v", origin, d.Err)
	}
	return strings.Join(parts, " ")
}

var standings = map[validate.Standing]string{
	validate.Signed: "signed", validate.Unsigned: "unsigned", validate.OptedOut: "opted-out",
	validate.Inner: "inner", validate.Nowhere: "nowhere",
}

// TestDelegation asks an honest world.
func TestDelegation(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string]string{
		"net.":                 "secure validated . signed ECDSAP256SHA256",
		"example.net.":         "secure validated net. signed ED25519",
		"sub.example.net.":     "secure validated example.net. signed ECDSAP256SHA256",
		"plain.net.":           "secure no-ds net. unsigned",
		"sub.plain.net.":       "insecure no-ds",
		"x.y.plain.net.":       "insecure no-ds",
		"safe.opt.":            "secure validated opt. signed ECDSAP256SHA256",
		"loose.opt.":           "secure opt-out opt. opted-out",
		"x.loose.opt.":         "insecure opt-out",
		"there.opt.":           "secure validated opt. inner",
		"nowhere.net.":         "secure validated net. nowhere",
		"x.nowhere.net.":       "secure validated net. nowhere",
		"nowhere.":             "secure validated . nowhere",
		"nowhere.example.net.": "secure validated example.net. nowhere",
		"www.example.net.":     "secure validated example.net. inner",
		"ent.net.":             "secure validated net. inner",
		"deep.ent.net.":        "secure validated net. inner",
		"alias.net.":           "secure validated net. inner",
		"x.dname.net.":         "secure validated net. inner",
		"y.x.dname.net.":       "secure validated net. inner",
		"dname.net.":           "secure validated net. inner",
		"x.stars.net.":         "secure validated net. inner",
		"some.wild.net.":       "secure validated net. inner",
		"a.b.c.example.net.":   "secure validated example.net. nowhere",
		".":                    "",
	} {
		t.Run(origin, func(t *testing.T) {
			t.Parallel()
			r, w := newSignedTree(nil).resolver(t, nil)
			if origin == "." {
				if _, err := r.Delegation(t.Context(), name.Root); err != ErrRootZone {
					t.Error(err)
				}
				return
			}
			if got := verdict(t, r, origin); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			before := len(w.questions())
			if got := verdict(t, r, origin); got != want || len(w.questions()) != before {
				t.Errorf("again: %s with %d more questions", got, len(w.questions())-before)
			}
		})
	}
}

type nameType = name.Name

// ended returns a context that has ended.
func ended(t testing.TB) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}
