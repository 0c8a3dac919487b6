package serve

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
	"postern/internal/secret"
)

// The keys of the tests: two that a view names, and one that none does.
const (
	insideKey  = "inside-2026."
	outsideKey = "outside-2026."
	freeKey    = "free."

	keySecret = "0123456789abcdef0123456789abcdef"
)

func testKeys(t testing.TB) func() *tsig.Keys {
	t.Helper()
	var all []tsig.Key
	for _, n := range []string{insideKey, outsideKey, freeKey} {
		all = append(all, tsig.Key{Name: mustName(t, n), Algorithm: tsig.SHA256, Secret: secret.New([]byte(keySecret))})
	}
	keys, err := tsig.NewKeys(all)
	if err != nil {
		t.Fatal(err)
	}
	return func() *tsig.Keys { return keys }
}

// signature is how a request is signed; the zero value of a field is what is
// right.
type signature struct {
	key, algorithm, secret string
	off                    time.Duration // from the server's time
}

func (s signature) bytes(t testing.TB, m *dns.Msg, now time.Time) (b []byte, mac string) {
	t.Helper()
	if s.algorithm == "" {
		s.algorithm = dns.HmacSHA256
	}
	m = m.Copy()
	m.SetTsig(s.key, s.algorithm, 300, now.Add(s.off).Unix())
	b, mac, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString([]byte(s.text())), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return b, mac
}

func (s signature) text() string {
	if s.secret == "" {
		return keySecret
	}
	return s.secret
}

// check holds the reply's record against the request, and returns the reply
// without it and what the record says.
func (s signature) check(t testing.TB, reply []byte, mac string) (*dns.Msg, string) {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("%v in %x", err, reply)
	}
	r := m.IsTsig()
	if r == nil {
		return m, "no TSIG"
	}
	said := "signed"
	if r.MACSize == 0 {
		said = "unsigned"
	} else if !s.verifies(reply, m.Copy(), mac) {
		said = "signed badly"
	}
	if r.Error != 0 {
		said += " " + map[uint16]string{dns.RcodeBadKey: "BADKEY", dns.RcodeBadSig: "BADSIG", dns.RcodeBadTime: "BADTIME", dns.RcodeBadTrunc: "BADTRUNC"}[r.Error]
	}
	m.Extra = m.Extra[:len(m.Extra)-1]
	return m, said
}

// verifies asks the library about the reply's MAC. It does not look at one in
// a NOTAUTH, so there it is made to sign the same.
func (s signature) verifies(reply []byte, m *dns.Msg, mac string) bool {
	text := base64.StdEncoding.EncodeToString([]byte(s.text()))
	if m.Rcode == dns.RcodeNotAuth {
		sent := m.IsTsig().MAC
		_, again, err := dns.TsigGenerate(m, text, mac, false)
		return err == nil && again == sent
	}
	err := dns.TsigVerify(bytes.Clone(reply), text, mac, false)
	return err == nil || errors.Is(err, dns.ErrTime) // the time is not the clock's in tests
}

// counter is a desk with keys.
func counter(t *testing.T, c Config) *desk {
	t.Helper()
	c.Keys = testKeys(t)
	return newDesk(t, c)
}

// signed asks and says what came back; "" for no reply.
func (d *desk) signed(l Listener, from string, tr listen.Transport, s signature, m *dns.Msg) (said string, reply []byte) {
	d.t.Helper()
	b, mac := s.bytes(d.t, m, d.now)
	h := d.s.Handler(l)()
	reply = h.Serve(&listen.Request{Msg: b, Client: netip.AddrPortFrom(netip.MustParseAddr(from), 53), Transport: tr}, nil)
	if len(reply) == 0 {
		return "", nil
	}
	got, proof := s.check(d.t, reply, mac)
	return summary(got) + ", " + proof, reply
}

// TestKeyChoosesTheView before listener and address (VIEWS: Which view).
func TestKeyChoosesTheView(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	everywhere, outer := Listener{}, Listener{Views: []string{"external"}}
	for _, c := range []struct {
		name string
		l    Listener
		from string
		key  string
		m    *dns.Msg
		want string
	}{
		{"the inner key, from outside", everywhere, outsider, insideKey, question("secret.example.", dns.TypeA), "NOERROR aa ra A=10.0.0.9, signed"},
		{"its name in other letters", everywhere, outsider, "INSIDE-2026.", question("secret.example.", dns.TypeA), "NOERROR aa ra A=10.0.0.9, signed"},
		{"the inner key, from outside, at a listener of the outer view", outer, outsider, insideKey, question("secret.example.", dns.TypeA), "NOERROR aa ra A=10.0.0.9, signed"},
		{"the inner key, from inside, at a listener of the outer view", outer, insider, insideKey, question("secret.example.", dns.TypeA), "NOERROR aa ra A=10.0.0.9, signed"},
		{"the outer key, from inside", everywhere, insider, outsideKey, question("secret.example.", dns.TypeA), "NXDOMAIN aa auth:SOA, signed"},
		{"the outer key, from inside: no recursion", everywhere, insider, outsideKey, question("www.other.", dns.TypeA), "REFUSED, signed"},
		{"the outer key, from inside, at a listener of the outer view", outer, insider, outsideKey, question("www.example.", dns.TypeA), "NOERROR aa A=192.0.2.80, signed"},
		{"a key that no view names, from outside: by address", everywhere, outsider, freeKey, question("secret.example.", dns.TypeA), "NXDOMAIN aa auth:SOA, signed"},
		{"a key that no view names, from inside: by address", everywhere, insider, freeKey, question("secret.example.", dns.TypeA), "NOERROR aa ra A=10.0.0.9, signed"},
		{"a key that no view names, from inside, at a listener of the outer view", outer, insider, freeKey, question("www.example.", dns.TypeA), ""},
		{"no view for the address", Listener{Views: []string{"internal"}}, outsider, freeKey, question("www.example.", dns.TypeA), "REFUSED, signed"},
		{"a client the listener does not admit", Listener{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, outsider, insideKey, question("www.example.", dns.TypeA), ""},
		{"no snooping inside either", everywhere, outsider, insideKey, question("www.other.", dns.TypeA, noRD), "REFUSED ra, signed"},
		{"no transfer yet", everywhere, outsider, insideKey, question("example.", dns.TypeAXFR), "REFUSED, signed"},
		{"EDNS version 1", everywhere, outsider, insideKey, question("example.", dns.TypeSOA, withEDNS, func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), "BADVERS, signed"},
		{"a type no question has", everywhere, outsider, insideKey, question("example.", dns.TypeOPT), "FORMERR, signed"},
		{"a zone without a good state", everywhere, outsider, insideKey, question("www.failed.", dns.TypeA), "SERVFAIL ra, signed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, tr := range []listen.Transport{listen.UDP, listen.TCP, listen.TLS, listen.HTTPS, listen.QUIC} {
				if got, _ := d.signed(c.l, c.from, tr, signature{key: c.key}, c.m); got != c.want {
					t.Errorf("%s: %s, want %s", tr, got, c.want)
				}
			}
		})
	}
	if d.s.Counters.Forged.Value() != 5 || d.s.Counters.Denied.Value() != 5 {
		t.Errorf("%d forged, %d denied", d.s.Counters.Forged.Value(), d.s.Counters.Denied.Value())
	}
}

// TestBadSignatureGetsItsErrorAndNothingElse: no record of any view, nor a word
// whether the name exists, and no fall-back to the address.
func TestBadSignatureGetsItsErrorAndNothingElse(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	for _, c := range []struct {
		name string
		s    signature
		want string
	}{
		{"a key that is not ours", signature{key: "nobody."}, "NOTAUTH, unsigned BADKEY"},
		{"below a key of ours", signature{key: "x." + insideKey}, "NOTAUTH, unsigned BADKEY"},
		{"another algorithm than the key's", signature{key: insideKey, algorithm: dns.HmacSHA512}, "NOTAUTH, unsigned BADKEY"},
		{"another secret", signature{key: insideKey, secret: "another"}, "NOTAUTH, unsigned BADSIG"},
		{"another secret, for the outer view", signature{key: outsideKey, secret: "another"}, "NOTAUTH, unsigned BADSIG"},
		{"another secret, for no view", signature{key: freeKey, secret: "another"}, "NOTAUTH, unsigned BADSIG"},
		{"another secret at another time", signature{key: insideKey, secret: "another", off: time.Hour}, "NOTAUTH, unsigned BADSIG"},
		{"too late", signature{key: insideKey, off: -301 * time.Second}, "NOTAUTH, signed BADTIME"},
		{"too early", signature{key: insideKey, off: 301 * time.Second}, "NOTAUTH, signed BADTIME"},
	} {
		for _, from := range []string{outsider, insider} {
			for _, qname := range []string{"secret.example.", "www.example.", "none.example.", "www.other.", "www.failed."} {
				for _, tr := range []listen.Transport{listen.UDP, listen.TCP, listen.HTTPS} {
					got, reply := d.signed(Listener{}, from, tr, c.s, question(qname, dns.TypeA, withEDNS))
					if got != c.want {
						t.Errorf("%s: %s from %s by %s: %s, want %s", c.name, qname, from, tr, got, c.want)
					}
					m := unpack(t, reply)
					if len(m.Answer)+len(m.Ns) > 0 || len(m.Extra) != 2 || bytes.Contains(reply, []byte{10, 0, 0, 9}) {
						t.Errorf("%s: %s from %s shows %s", c.name, qname, from, m)
					}
				}
			}
			if got, _ := d.signed(Listener{Views: []string{"external"}}, insider, listen.UDP, c.s, question("www.example.", dns.TypeA)); got != "" {
				t.Errorf("%s: a forged source is told %s", c.name, got)
			}
		}
	}
	n := &d.s.Counters
	if n.TSIGGood.Value() != 0 || n.TSIGBadKey.Value() != 3*30 || n.TSIGBadSig.Value() != 4*30 || n.TSIGBadTime.Value() != 2*30 || n.Forged.Value() != 18 {
		t.Errorf("counted %d good, %d BADKEY, %d BADSIG, %d BADTIME, %d forged",
			n.TSIGGood.Value(), n.TSIGBadKey.Value(), n.TSIGBadSig.Value(), n.TSIGBadTime.Value(), n.Forged.Value())
	}
}

// TestBadSignatureLeaksNoView: the whole reply is the same for every name of
// the same length, whatever is there.
func TestBadSignatureLeaksNoView(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	ask := func(qname, from string) []byte {
		_, reply := d.signed(Listener{}, from, listen.UDP, signature{key: "nobody."}, question(qname, dns.TypeA, func(m *dns.Msg) { m.Id = 7 }))
		copy(reply[13:], strings.Repeat("x", 6)) // what was asked is no leak
		return reply
	}
	want := ask("absent.example.", outsider)
	for _, from := range []string{outsider, insider} {
		if got := ask("secret.example.", from); !bytes.Equal(got, want) {
			t.Errorf("from %s: %x, not %x", from, got, want)
		}
	}
}

// TestMalformedSignature gets FORMERR in a bare header (RFC 8945, Section 5.2).
func TestMalformedSignature(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	good, _ := signature{key: insideKey}.bytes(t, question("secret.example.", dns.TypeA), d.now)
	q := new(wire.Query)
	if q.Parse(good) != wire.OK {
		t.Fatal("no query")
	}
	at := q.TSIG + len(insideKey) + 1
	mac := at + 10 + len("\x0bhmac-sha256\x00") + 8 // the length of the MAC
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"4.2: class IN", func(b []byte) []byte { b[at+3] = 1; return b }},
		{"4.2: a TTL", func(b []byte) []byte { b[at+7] = 1; return b }},
		{"5.2: two of them", func(b []byte) []byte { b[11]++; return append(b, b[q.TSIG:]...) }},
		{"5.2: not the last", func(b []byte) []byte { b[11]++; return append(b, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4) }},
		{"5.2: not in the additional section", func(b []byte) []byte { b[9], b[11] = 1, 0; return b }},
		{"5.2: cut off", func(b []byte) []byte { return b[:len(b)-1] }},
		{"5.2.2.1: a MAC that is too short", func(b []byte) []byte {
			b = slices.Delete(b, mac+2, mac+2+17) // 15 octets are left
			binary.BigEndian.PutUint16(b[mac:], 15)
			binary.BigEndian.PutUint16(b[at+8:], binary.BigEndian.Uint16(b[at+8:])-17)
			return b
		}},
	} {
		msg := c.edit(bytes.Clone(good))
		for _, from := range []string{outsider, insider} {
			reply := d.h.Serve(&listen.Request{Msg: msg, Client: netip.AddrPortFrom(netip.MustParseAddr(from), 53)}, nil)
			if len(reply) != wire.HeaderLen || reply[3]&0xF != wire.FormErrCode {
				t.Errorf("%s: %x", c.name, reply)
			}
		}
	}
	if d.s.Counters.TSIGGood.Value() != 0 {
		t.Error("taken for good")
	}
}

// TestShortSignature: one that is cut off as far as the RFC allows is refused,
// by a reply that is signed (RFC 8945, Sections 5.2.4 and 5.3.2).
func TestShortSignature(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	s := signature{key: insideKey}
	b, _ := s.bytes(t, question("secret.example.", dns.TypeA), d.now)
	m := unpack(t, b)
	r := m.IsTsig()
	r.MAC, r.MACSize = r.MAC[:32], 16
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply := d.h.Serve(&listen.Request{Msg: b, Client: netip.MustParseAddrPort(outsider + ":53")}, nil)
	got, proof := s.check(t, reply, r.MAC)
	if said := summary(got) + ", " + proof; said != "NOTAUTH, signed BADTRUNC" || d.s.Counters.TSIGBadTrunc.Value() != 1 {
		t.Error(said)
	}
}

// TestSignedRepliesFit what the client takes, record and all; what does not is
// left to TCP: the question, TC and NOERROR (RFC 8945, Section 5.3).
func TestSignedRepliesFit(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{NSID: "edge.example.net", Cookies: secrets})
	cut := 0
	for size := 400; size < 1300; size += 3 {
		q := question("big.example.", dns.TypeTXT, func(m *dns.Msg) { m.SetEdns0(uint16(size), true) })
		got, reply := d.signed(Listener{}, outsider, listen.UDP, signature{key: insideKey}, q)
		if len(reply) > min(max(size, wire.MinUDP), wire.MaxUDP) {
			t.Errorf("%d octets in reply to a client that takes %d", len(reply), size)
		}
		switch got {
		case "NOERROR aa tc ra, signed":
			cut++
			if m := unpack(t, reply); len(m.Extra) != 2 {
				t.Errorf("size %d: OPT and TSIG are not all: %v", size, m.Extra)
			}
		case `NOERROR aa ra TXT="` + long + `", signed`:
		default:
			t.Errorf("size %d: %s", size, got)
		}
	}
	if cut == 0 || cut == 300 {
		t.Errorf("%d were cut", cut)
	}
	for _, tr := range []listen.Transport{listen.TCP, listen.TLS} {
		if got, _ := d.signed(Listener{}, outsider, tr, signature{key: insideKey}, question("big.example.", dns.TypeTXT)); got != `NOERROR aa ra TXT="`+long+`", signed` {
			t.Errorf("%s: %s", tr, got)
		}
	}
	if got, reply := d.signed(Listener{}, outsider, listen.UDP, signature{key: insideKey}, question("big.example.", dns.TypeTXT)); got != "NOERROR aa tc ra, signed" || len(reply) > wire.MinUDP {
		t.Errorf("without EDNS: %s, %d octets", got, len(reply))
	}
}

// TestLongNamesSigned leaves no room at all, and still says how to go on.
func TestLongNamesSigned(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	label := strings.Repeat("a", 63) + "."
	qname := label + label + label + strings.Repeat("b", 44) + ".example."
	for _, key := range []string{insideKey, label + label + label + strings.Repeat("k", 60) + "."} {
		got, reply := d.signed(Listener{}, outsider, listen.UDP, signature{key: key}, question(qname, dns.TypeA))
		if key == insideKey && got != "NXDOMAIN aa ra auth:SOA, signed" && got != "NOERROR aa tc ra, signed" || key != insideKey && got != "NOTAUTH, unsigned BADKEY" {
			t.Errorf("%d octets: %s", len(reply), got)
		}
	}
}

// TestSignedAndPadded: the length that an eavesdropper sees counts, with the
// record (RFC 8467, Section 4.1).
func TestSignedAndPadded(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	padded := question("secret.example.", dns.TypeA, options(&dns.EDNS0_PADDING{Padding: make([]byte, 7)}))
	for _, s := range []signature{{key: insideKey}, {key: "nobody."}, {key: insideKey, off: time.Hour}} {
		if said, reply := d.signed(Listener{}, outsider, listen.TLS, s, padded); len(reply)%padBlock != 0 {
			t.Errorf("%s: %d octets", said, len(reply))
		}
	}
}

// TestSignedWithCookie gets both back.
func TestSignedWithCookie(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{Cookies: secrets})
	_, reply := d.signed(Listener{}, outsider, listen.UDP, signature{key: insideKey}, question("secret.example.", dns.TypeA, options(cookie("0102030405060708"))))
	m := unpack(t, reply)
	if len(cookieOf(m)) != 2*wire.FullCookie || m.IsTsig() == nil || len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
	// Without a question (RFC 7873, Section 5.4).
	only := question("x.", dns.TypeA, options(cookie("0102030405060708")))
	only.Question = nil
	for s, want := range map[signature]string{{key: insideKey}: "NOERROR, signed", {key: "nobody."}: "NOTAUTH, unsigned BADKEY"} {
		if got, _ := d.signed(Listener{}, outsider, listen.UDP, s, only); got != want {
			t.Errorf("a cookie alone: %s, want %s", got, want)
		}
	}
}

// TestSignedIsWithinTheRate: a signed request can be sent again from addresses
// that are not the signer's. What proves an address counts as it does for any
// other, and so does the view that the address belongs to.
func TestSignedIsWithinTheRate(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{RRL: 5, Cookies: secrets})
	first := d.ask(outsider, listen.TCP, question("www.example.", dns.TypeA, options(cookie(clientCookie))))
	own := question("www.example.", dns.TypeA, options(cookie(cookieOf(first))))
	www, secret := question("www.example.", dns.TypeA), question("secret.example.", dns.TypeA)
	outer := Listener{Views: []string{"external"}}
	for _, c := range []struct {
		name string
		l    Listener
		from string
		by   listen.Transport
		s    signature
		m    *dns.Msg
		all  bool
	}{
		{"sent again", Listener{}, "198.51.100.1", listen.UDP, signature{key: outsideKey}, www, false},
		{"sent again, with the key of a view with recursion", Listener{}, "198.51.101.1", listen.UDP, signature{key: insideKey}, secret, false},
		{"sent again, in the name of an inner address", outer, insider, listen.UDP, signature{key: insideKey}, secret, false},
		{"with the cookie of its address", Listener{}, outsider, listen.UDP, signature{key: outsideKey}, own, true},
		{"with the cookie of another address", Listener{}, "198.51.103.1", listen.UDP, signature{key: outsideKey}, own, false},
		{"by TCP", Listener{}, "198.51.104.1", listen.TCP, signature{key: outsideKey}, www, true},
		{"from inside", Listener{}, insider, listen.UDP, signature{key: insideKey}, secret, true},
		{"an unknown key", Listener{}, "198.51.105.1", listen.UDP, signature{key: "nobody."}, www, false},
		{"of another time", Listener{}, "198.51.106.1", listen.UDP, signature{key: outsideKey, off: time.Hour}, www, false},
	} {
		whole, cut := 0, 0
		for range 100 {
			switch got, _ := d.signed(c.l, c.from, c.by, c.s, c.m); {
			case strings.HasPrefix(got, "NOERROR tc, signed"), strings.HasPrefix(got, "BADCOOKIE, signed"):
				cut++
			case strings.Contains(got, "unsigned"), strings.HasSuffix(got, "signed"), strings.HasSuffix(got, "BADTIME"):
				whole++
			case got != "":
				t.Errorf("%s: %s", c.name, got)
			}
		}
		if bad := c.s.key == "nobody." || c.s.off != 0; c.all && whole != 100 || !c.all && (whole > 10 || (cut == 0) != bad) {
			t.Errorf("%s: %d whole and %d cut of 100", c.name, whole, cut)
		}
	}
	if n := d.s.Counters.Panics.Value(); n > 0 {
		t.Errorf("%d panics", n)
	}
}

// TestSignedForTheResolverIsWithinTheRate, which VIEWS leaves to the resolver
// for the addresses of a view with recursion only.
func TestSignedForTheResolverIsWithinTheRate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	_, addr := start(t, Config{Resolver: outside(t), Keys: testKeys(t), RRL: 5, Now: func() time.Time { return now }}, Listener{})
	s := signature{key: insideKey}
	b, mac := s.bytes(t, question("www.other.", dns.TypeA), now)
	for i, want := range []string{"A", "A", "A", "A", "A", "tc"} {
		want := map[string]string{"A": "NOERROR ra A=198.51.100.1, signed", "tc": "NOERROR tc, signed"}[want]
		got, proof := s.check(t, rawBytes(t, "udp", outsider, addr, b), mac)
		if said := summary(got) + ", " + proof; said != want {
			t.Errorf("number %d: %s, want %s", i, said, want)
		}
	}
}

// TestSignedLaterReplies: what waits for the resolver is signed too, and what
// is not signed is not.
func TestSignedLaterReplies(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Config{Resolver: outside(t), Keys: testKeys(t)}, Listener{})
	for _, c := range []struct {
		network, qname string
		edits          []func(*dns.Msg)
		want           string
	}{
		{"udp", "www.other.", nil, "NOERROR ra A=198.51.100.1, signed"},
		{"tcp", "www.other.", []func(*dns.Msg){withEDNS}, "NOERROR ra A=198.51.100.1, signed"},
		{"udp", "none.other.", nil, "NXDOMAIN ra auth:SOA, signed"},
		{"udp", "lost.other.", []func(*dns.Msg){withEDNS}, "SERVFAIL ra, signed"},
		{"udp", "many.other.", []func(*dns.Msg){withEDNS}, "NOERROR tc ra, signed"},
		{"udp", "www.sub.example.", nil, "NOERROR aa ra A=10.0.0.53, signed"},
	} {
		s := signature{key: insideKey}
		b, mac := s.bytes(t, question(c.qname, dns.TypeA, c.edits...), time.Now())
		got, proof := s.check(t, rawBytes(t, c.network, outsider, addr, b), mac)
		if said := summary(got) + ", " + proof; strings.Replace(said, " aa", "", 1) != strings.Replace(c.want, " aa", "", 1) {
			t.Errorf("%s by %s: %s, want %s", c.qname, c.network, said, c.want)
		}
		plain := exchange(t, "tcp", insider, addr, question(c.qname, dns.TypeA))
		if plain.IsTsig() != nil {
			t.Errorf("%s: signed for a client that did not", c.qname)
		}
	}
}

// TestRefusedSignaturesAreLoggedOnceAMinute: the log is not the flooder's.
func TestRefusedSignaturesAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := counter(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	ask := func() {
		d.signed(Listener{}, outsider, listen.UDP, signature{key: "no\"body."}, question("www.example.", dns.TypeA))
	}
	for _, want := range []int{1, 1, 2} {
		for range 10 {
			ask()
		}
		if got := strings.Count(log.String(), "\n"); got != want {
			t.Errorf("%d lines, want %d: %s", got, want, log.String())
		}
		d.now = d.now.Add(30*time.Second + time.Millisecond)
	}
	if !strings.Contains(log.String(), "badkey") || !strings.Contains(log.String(), outsider) {
		t.Error(log.String())
	}
}

// TestPanicForgetsTheSignature: the next reply is not signed for somebody else.
func TestPanicForgetsTheSignature(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	tab, broken := table(t), false
	d.s.config.Table = func() *view.Table { return tab }
	d.s.config.Cookies = nil
	h := d.s.Handler(Listener{})().(*handler)
	b, _ := signature{key: insideKey}.bytes(t, question("www.example.", dns.TypeA), d.now)
	d.s.config.Now = func() time.Time {
		if broken = h.signer != nil; broken {
			panic("a broken clock")
		}
		return d.now
	}
	request := &listen.Request{Msg: b, Client: netip.MustParseAddrPort(outsider + ":53")}
	if reply := h.Serve(request, nil); reply != nil || !broken || d.s.Counters.Panics.Value() != 1 {
		t.Fatalf("%x, %d panics", reply, d.s.Counters.Panics.Value())
	}
	if h.signer != nil {
		t.Error("the signature is still there")
	}
}

// TestNoKeysConfigured: whoever signs is told so, not answered.
func TestNoKeysConfigured(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Config{})
	if got, _ := d.signed(Listener{}, insider, listen.UDP, signature{key: insideKey}, question("www.example.", dns.TypeA)); got != "NOTAUTH, unsigned BADKEY" {
		t.Error(got)
	}
	if s := fmt.Sprint(d.s.Counters.TSIGBadKey.Value()); s != "1" {
		t.Error(s)
	}
}
