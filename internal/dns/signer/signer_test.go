package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// now is when the tests sign.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func policy(d Denial) Policy {
	return Policy{Model: CSK, Denial: d, ZONEMD: true, Validity: 14 * day, Refresh: 7 * day, Workers: 2}
}

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

func zoneOf(t testing.TB, origin, text string) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(parsed(t, origin))
	p := dns.NewZoneParser(strings.NewReader(text), dns.Fqdn(origin), "")
	p.SetDefaultTTL(3600)
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

// hard holds what is easily got wrong.
const hard = `
@ 7200 SOA ns1 host\.master 2026030101 7200 3600 1209600 900
@ NS ns1
@ NS ns.elsewhere.test.
@ MX 10 mail
@ TXT "v=spf1 -all" "second"
ns1 A 192.0.2.1
NS1 AAAA 2001:db8::1
mail A 192.0.2.2
*.w TXT wild
deep.down.below.ent A 192.0.2.3
*.also.an.ent A 192.0.2.4
secure NS ns.secure
secure DS 60485 13 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
ns.secure A 192.0.2.5
insecure NS ns.deep.insecure
ns.deep.insecure A 192.0.2.6
insecure A 192.0.2.7
under.ent2 NS ns1
glueless NS ns1.secure
sub.glueless NS ns1
dn DNAME example.test.
dn TXT beside
hidden.dn A 192.0.2.8
more.hidden.dn NS ns1
a\.b\000\255.escaped A 192.0.2.9
UPPER.Case TXT "Text KEEPS case"
cn CNAME WWW.Example.test.
mixed NAPTR 100 10 "" "" "!^.*$!sip:info@example.com!" .
svc SVCB 1 Target.Name.test. alpn=h2
unknown TYPE65400 \# 2 0102
zz.zz.zz.zz TXT last
`

func newKey(t testing.TB, z name.Name, flags uint16, alg uint8) dnssec.Key {
	t.Helper()
	var signer crypto.Signer
	var err error
	switch alg {
	case dnssec.ECDSAP256SHA256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case dnssec.ECDSAP384SHA384:
		signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case dnssec.ED25519:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case dnssec.RSASHA256:
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := dnssec.NewKey(z, flags, alg, signer)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, z *zone.Zone, keys []dnssec.Key, p Policy, at time.Time) *Signed {
	t.Helper()
	s, err := Sign(z, keys, p, at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	close(closed)
	origin := parsed(t, "example.")
	key := newKey(t, origin, 257, dnssec.ECDSAP256SHA256)
	zsk := newKey(t, origin, 256, dnssec.ECDSAP256SHA256)
	other := newKey(t, origin, 257, dnssec.ED25519)
	published := other
	published.Signer = nil
	foreign := newKey(t, parsed(t, "example.test."), 257, dnssec.ECDSAP256SHA256)
	unfit := key
	unfit.Flags &^= dnssec.FlagZone
	good := zoneOf(t, "example.", hard)
	with := func(line string) *zone.Zone { return zoneOf(t, "example.", hard+line) }
	p := func(f func(p *Policy)) Policy {
		x := policy(NSEC3)
		f(&x)
		return x
	}
	none := p(func(*Policy) {})
	for what, c := range map[string]struct {
		z    *zone.Zone
		keys []dnssec.Key
		p    Policy
		want error
		says string
	}{
		"no model":               {good, []dnssec.Key{key}, p(func(p *Policy) { p.Model = 0 }), ErrPolicy, "model"},
		"no denial":              {good, []dnssec.Key{key}, p(func(p *Policy) { p.Denial = 0 }), ErrPolicy, "denial"},
		"opt-out with NSEC":      {good, []dnssec.Key{key}, p(func(p *Policy) { p.Denial, p.OptOut = NSEC, true }), ErrPolicy, "opt-out"},
		"refresh above validity": {good, []dnssec.Key{key}, p(func(p *Policy) { p.Refresh = p.Validity }), ErrPolicy, "due"},
		"jitter eats the rest":   {good, []dnssec.Key{key}, p(func(p *Policy) { p.Jitter = 7 * day }), ErrPolicy, "due"},
		"no refresh":             {good, []dnssec.Key{key}, p(func(p *Policy) { p.Refresh = 0 }), ErrPolicy, "due"},
		"validity of years":      {good, []dnssec.Key{key}, p(func(p *Policy) { p.Validity = 1000 * day }), ErrPolicy, "year"},
		"TTL too long":           {good, []dnssec.Key{key}, p(func(p *Policy) { p.DNSKEYTTL = 1 << 31 }), ErrPolicy, "TTL"},
		"stopped":                {good, []dnssec.Key{key}, p(func(p *Policy) { p.Done = closed }), ErrStopped, "stopped"},
		"no keys":                {good, nil, none, ErrKeys, "none"},
		"another zone's key":     {good, []dnssec.Key{foreign}, none, ErrKeys, "no key of"},
		"no zone key":            {good, []dnssec.Key{unfit}, none, ErrKeys, "no key of"},
		"one key twice":          {good, []dnssec.Key{key, key}, none, ErrKeys, "two keys"},
		"no private part":        {good, []dnssec.Key{published}, none, ErrKeys, "algorithm"},
		"algorithm not signing":  {good, []dnssec.Key{key, published}, none, ErrKeys, "algorithm"},
		"ZSK alone":              {good, []dnssec.Key{zsk}, none, ErrKeys, "algorithm"},
		"KSK without ZSK":        {good, []dnssec.Key{key}, p(func(p *Policy) { p.Model = KSKZSK }), ErrKeys, "algorithm"},
		"half a second algorithm": {good, []dnssec.Key{key, zsk, other}, p(func(p *Policy) { p.Model = KSKZSK }),
			ErrKeys, "algorithm"},
		"DNSKEY in the file":         {with("@ DNSKEY 257 3 13 AAEC"), []dnssec.Key{key}, none, ErrPresigned, "example. DNSKEY"},
		"RRSIG in the file":          {with("mail RRSIG A 13 2 3600 20300101000000 20200101000000 1 example. AAEC"), []dnssec.Key{key}, none, ErrPresigned, "mail.example. RRSIG"},
		"NSEC in the file":           {with("mail NSEC example. A"), []dnssec.Key{key}, none, ErrPresigned, "mail.example. NSEC"},
		"NSEC3 in the file":          {with("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom NSEC3 1 0 0 - 2VPTU5TIMAMQTTGL4LUU9KG21E0AOR3S"), []dnssec.Key{key}, none, ErrPresigned, "NSEC3"},
		"NSEC3PARAM in the file":     {with("@ NSEC3PARAM 1 0 0 -"), []dnssec.Key{key}, none, ErrPresigned, "NSEC3PARAM"},
		"ZONEMD in the file":         {with("@ ZONEMD 1 1 1 " + strings.Repeat("00", 48)), []dnssec.Key{key}, none, ErrPresigned, "ZONEMD"},
		"many in the file":           {with(strings.Repeat("@ DNSKEY 257 3 13 AAEC\n", 1) + "a NSEC b A\nb NSEC c A\nc NSEC d A\nd NSEC e A\ne NSEC f A\nf NSEC g A"), []dnssec.Key{key}, none, ErrPresigned, "and 2 more"},
		"name of an NSEC3 record":    {with(hashLabel(t, "mail.example.") + " TXT mine"), []dnssec.Key{key}, none, ErrClash, ""},
		"name below an NSEC3 record": {with("a.b." + hashLabel(t, "mail.example.") + " TXT mine"), []dnssec.Key{key}, none, ErrClash, ""},
	} {
		s, err := Sign(c.z, c.keys, c.p, now)
		if s != nil || !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v, want %v with %q", what, err, c.want, c.says)
		}
		// The next version is refused for the same reason.
		next, err := sign(t, good, []dnssec.Key{key}, none, now).Next(c.z, c.keys, c.p, now)
		if next != nil || !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: next: %v, want %v with %q", what, err, c.want, c.says)
		}
	}
	if _, err := sign(t, good, []dnssec.Key{key}, none, now).Next(zoneOf(t, "example.test.", hard), []dnssec.Key{foreign}, none, now); !errors.Is(err, ErrPolicy) {
		t.Errorf("another zone's next version: %v", err)
	}
	long := strings.Repeat("a.", 120)
	if _, err := Sign(zoneOf(t, long, "@ SOA . . 1 2 3 4 5\n@ NS ."), []dnssec.Key{newKey(t, parsed(t, long), 257, dnssec.ED25519)}, none, now); !errors.Is(err, ErrLong) {
		t.Errorf("a zone name too long for NSEC3: %v", err)
	}
}

func hashLabel(t testing.TB, text string) string {
	return string(dnssec.AppendHash(nil, dnssec.Hash(parsed(t, text))))
}

// token is a hardware token: it fails after so many signatures.
type token struct {
	crypto.Signer
	left   *atomic.Int64
	calls  *atomic.Int64
	wait   chan struct{} // what a signature waits for
	broken error
}

func (k token) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.wait != nil {
		<-k.wait
	}
	k.calls.Add(1)
	if k.left.Add(-1) < 0 {
		return nil, k.broken
	}
	return k.Signer.Sign(r, digest, opts)
}

// counting makes a key count its signatures.
func counting(k *dnssec.Key) *atomic.Int64 {
	left, calls := &atomic.Int64{}, &atomic.Int64{}
	left.Store(1 << 40)
	k.Signer = token{Signer: k.Signer, left: left, calls: calls}
	return calls
}

// A token that fails at any place: the error, and nothing made; the version
// before is what it was, and goes on from there.
func TestTokenFails(t *testing.T) {
	t.Parallel()
	origin := parsed(t, "example.")
	good := newKey(t, origin, 257, dnssec.ECDSAP256SHA256)
	z := zoneOf(t, "example.", hard)
	for _, d := range []Denial{NSEC, NSEC3} {
		calls := &atomic.Int64{}
		with := func(left int64) dnssec.Key {
			k, l := good, &atomic.Int64{}
			l.Store(left)
			k.Signer = token{Signer: good.Signer, left: l, calls: calls, broken: errors.New("token was pulled out")}
			return k
		}
		whole := sign(t, z, []dnssec.Key{with(1000)}, policy(d), now)
		all := calls.Load()
		edited := zoneOf(t, "example.", strings.Replace(hard, "mail A 192.0.2.2", "mail2 A 192.0.2.2", 1))
		before := text(whole.Zone())
		calls.Store(0)
		if _, err := whole.Next(edited, []dnssec.Key{with(1000)}, policy(d), now); err != nil {
			t.Fatal(err)
		}
		few := calls.Load()
		if few >= all/2 || few == 0 {
			t.Errorf("an edit makes %d signatures, the zone has %d", few, all)
		}
		for _, left := range []int64{0, 1, 2, few / 2, few - 1} {
			s, err := whole.Next(edited, []dnssec.Key{with(left)}, policy(d), now)
			if s != nil || err == nil || !strings.Contains(err.Error(), "pulled out") {
				t.Errorf("an edit, failing after %d: %v", left, err)
			}
		}
		for _, left := range []int64{0, 1, all / 2, all - 2, all - 1} {
			s, err := Sign(z, []dnssec.Key{with(left)}, policy(d), now)
			if s != nil || err == nil || !strings.Contains(err.Error(), "pulled out") {
				t.Errorf("failing after %d of %d: %v", left, all, err)
			}
		}
		if text(whole.Zone()) != before {
			t.Error("a failure changed the version before")
		}
	}
}

// A slow token is asked by as many goroutines as the policy has workers, and
// all have ended when the call returns.
func TestSlowToken(t *testing.T) {
	t.Parallel()
	k := newKey(t, parsed(t, "example."), 257, dnssec.ECDSAP256SHA256)
	gate, left, calls := make(chan struct{}), &atomic.Int64{}, &atomic.Int64{}
	left.Store(1000)
	k.Signer = token{Signer: k.Signer, left: left, calls: calls, wait: gate}
	p := policy(NSEC)
	p.Workers = 3
	done := make(chan error)
	go func() {
		_, err := Sign(zoneOf(t, "example.", hard), []dnssec.Key{k}, p, now)
		done <- err
	}()
	for {
		select {
		case gate <- struct{}{}:
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			made := calls.Load()
			select {
			case gate <- struct{}{}:
				t.Error("somebody still waits for the token")
			default:
			}
			if made != calls.Load() {
				t.Error("somebody still signs")
			}
			return
		}
	}
}

// text is all of a zone in presentation form.
func text(z *zone.Zone) string {
	var b strings.Builder
	for n := range z.Nodes() {
		for _, s := range n.Sets {
			for _, rr := range s.RRs {
				b.WriteString(rr.String())
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}
