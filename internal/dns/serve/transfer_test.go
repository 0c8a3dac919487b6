package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/xfr"
	"postern/internal/dns/zone"
	"postern/internal/secret"
)

// shelves is what is published, by zone and view.
type shelves map[string]*shelf

type shelf struct {
	content *zone.Zone
	steps   []zone.Delta
}

func (s shelves) Content(n name.Name, view string) (*zone.Zone, []zone.Delta) {
	at := s[n.String()+" "+view]
	if at == nil {
		return nil, nil
	}
	return at.content, at.steps
}

// registry is a zone of several messages: so many names, with texts of so many
// octets.
func registry(t testing.TB, names, octets int) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(mustName(t, "large."))
	add := func(rr dns.RR) {
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	head := func(owner string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: owner, Rrtype: kind, Class: dns.ClassINET, Ttl: 3600}
	}
	add(&dns.SOA{Hdr: head("large.", dns.TypeSOA), Ns: "ns1.large.", Mbox: "h.large.", Serial: 9, Refresh: 2, Retry: 3, Expire: 4, Minttl: 300})
	add(&dns.NS{Hdr: head("large.", dns.TypeNS), Ns: "ns1.large."})
	add(&dns.A{Hdr: head("ns1.large.", dns.TypeA), A: net.IPv4(192, 0, 2, 1)})
	txt := slices.Repeat([]string{strings.Repeat("x", 80)}, octets/80)
	for i := range names {
		add(&dns.TXT{Hdr: head(fmt.Sprintf("name%d.large.", i), dns.TypeTXT), Txt: txt})
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// published is what the tests of transfers are about.
func published(t testing.TB) shelves {
	t.Helper()
	version := func(text, serial, more string) *zone.Zone {
		return built(t, strings.Replace(text, "h.example. 1 ", "h.example. "+serial+" ", 1)+more)
	}
	old, now := version(external, "4", ""), version(external, "5", "new.example. 60 IN A 192.0.2.5\n")
	var fat strings.Builder
	for i := range 60 {
		fmt.Fprintf(&fat, "fat%d.second. 60 IN TXT \"%s\"\n", i, long)
	}
	lean, wide := version(second, "1", ""), version(second, "2", fat.String())
	return shelves{
		"example. external": {now, []zone.Delta{zone.NewDelta(old, now)}},
		"example. internal": {version(internal, "77", ""), nil},
		"second. external":  {wide, []zone.Delta{zone.NewDelta(lean, wide)}},
		"large. external":   {registry(t, 3000, 80), nil},
	}
}

const tlsKey = "within."

// peers are the tests' rules: the outer zones for who signs, the inner one for a
// key that no view names, and for an address.
func peers(t testing.TB) func() *xfr.Rules {
	t.Helper()
	key := func(s string) []name.Name { return []name.Name{mustName(t, s)} }
	isp := &xfr.Peer{Name: "isp", Keys: key(outsideKey)}
	free := &xfr.Peer{Name: "free", Keys: key(freeKey)}
	within := &xfr.Peer{Name: "within", Keys: key(tlsKey), TLS: true}
	plain := &xfr.Peer{Name: "plain", ByAddress: true, From: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}}
	rules := xfr.NewRules([]xfr.Rule{
		{Zone: mustName(t, "example."), View: "external", Peers: []*xfr.Peer{isp, within}},
		{Zone: mustName(t, "example."), View: "internal", Peers: []*xfr.Peer{free, plain}},
		{Zone: mustName(t, "second."), View: "external", Peers: []*xfr.Peer{isp, plain}},
		{Zone: mustName(t, "large."), View: "external", Peers: []*xfr.Peer{isp}},
		{Zone: mustName(t, "gone."), View: "external", Peers: []*xfr.Peer{isp}},
	}, map[name.Name]string{mustName(t, outsideKey): "external", mustName(t, insideKey): "internal"})
	return func() *xfr.Rules { return rules }
}

func transferKeys(t testing.TB) func() *tsig.Keys {
	t.Helper()
	var all []tsig.Key
	for _, n := range []string{insideKey, outsideKey, freeKey, tlsKey} {
		all = append(all, tsig.Key{Name: mustName(t, n), Algorithm: tsig.SHA256, Secret: secret.New([]byte(keySecret))})
	}
	keys, err := tsig.NewKeys(all)
	if err != nil {
		t.Fatal(err)
	}
	return func() *tsig.Keys { return keys }
}

// versions is the view table of what is published: the SOA that it answers is
// that of the transfers.
func versions(t testing.TB) *view.Table {
	t.Helper()
	all := table(t)
	for view, text := range map[string]string{"internal": strings.Replace(internal, "h.example. 1 ", "h.example. 77 ", 1), "external": strings.Replace(external, "h.example. 1 ", "h.example. 5 ", 1)} {
		if !all.Replace(view, mustName(t, "example."), compile(t, text), false) {
			t.Fatal("the view has no such zone")
		}
	}
	return all
}

// outlet is a server that gives zones away, with a real clock and real sockets.
type outlet struct {
	t    *testing.T
	s    *Server
	out  *xfr.Out
	set  *listen.Set
	addr netip.AddrPort
}

func transfers(t *testing.T, c xfr.Config, limits listen.Limits, l Listener) *outlet {
	t.Helper()
	if c.Source == nil {
		c.Source = published(t)
	}
	c.Rules = peers(t)
	tab := versions(t)
	o := &outlet{t: t, out: xfr.New(c)}
	o.s = New(Config{Table: func() *view.Table { return tab }, Keys: transferKeys(t), Transfers: o.out, NSID: "edge"})
	var err error
	for range 20 {
		probe, perr := net.Listen("tcp4", "127.0.0.1:0") // the same free port for both transports
		if perr != nil {
			t.Fatal(perr)
		}
		at := netip.AddrPortFrom(netip.IPv4Unspecified(), probe.Addr().(*net.TCPAddr).AddrPort().Port())
		probe.Close()
		o.set = listen.NewSet(listen.Config{Sockets: 1, Limits: limits, Listen: []listen.Spec{
			{Addr: at, Transport: listen.UDP, Handler: o.s.Handler(l)}, {Addr: at, Transport: listen.TCP, Handler: o.s.Handler(l)},
		}})
		o.addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
		if err = o.set.Start(t.Context()); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(o.s.Stop(ctx), o.set.Stop(ctx)); err != nil {
			t.Error(err)
		}
	})
	return o
}

func (o *outlet) dial(network, from string) net.Conn {
	o.t.Helper()
	var local net.Addr = &net.TCPAddr{IP: net.ParseIP(from)}
	if network == "udp" {
		local = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	d := net.Dialer{LocalAddr: local}
	c, err := d.DialContext(o.t.Context(), network, o.addr.String())
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { c.Close() })
	if c, ok := c.(*net.TCPConn); ok {
		_ = c.SetReadBuffer(4096) // so that a zone of a few megabytes does not fit in there
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// ask sends m, signed where s has a key, and returns the first reply, what its
// record says, and the connection.
func (o *outlet) ask(network, from string, s signature, m *dns.Msg) (*dns.Msg, string, net.Conn) {
	o.t.Helper()
	c := o.dial(network, from)
	b, mac := o.send(c, network, s, m)
	_ = b
	reply := o.read(c, network)
	if s.key == "" {
		return unpack(o.t, reply), "", c
	}
	got, proof := s.check(o.t, reply, mac)
	return got, proof, c
}

func (o *outlet) send(c net.Conn, network string, s signature, m *dns.Msg) (b []byte, mac string) {
	o.t.Helper()
	if s.key != "" {
		b, mac = s.bytes(o.t, m, time.Now())
	} else {
		var err error
		if b, err = m.Pack(); err != nil {
			o.t.Fatal(err)
		}
	}
	framed := b
	if network == "tcp" {
		framed = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	if _, err := c.Write(framed); err != nil {
		o.t.Fatal(err)
	}
	return b, mac
}

func (o *outlet) read(c net.Conn, network string) []byte {
	o.t.Helper()
	b := make([]byte, 65535)
	if network == "udp" {
		n, err := c.Read(b)
		if err != nil {
			o.t.Fatal(err)
		}
		return b[:n]
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		o.t.Fatal(err)
	}
	b = b[:binary.BigEndian.Uint16(size[:])]
	if _, err := io.ReadFull(c, b); err != nil {
		o.t.Fatal(err)
	}
	return b
}

func ixfr(qname string, serial uint32, edits ...func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg)
	m.SetIxfr(qname, serial, ".", ".")
	for _, edit := range edits {
		edit(m)
	}
	return m
}

// lines is a zone's records as its secondaries write them, sorted, one SOA.
func lines(z *zone.Zone) []string {
	var all []string
	for n := range z.Nodes() {
		for i := range n.Sets {
			for _, rr := range n.Sets[i].RRs {
				all = append(all, rr.String())
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestTransferToTheLibrary fetches a zone of several messages, each signed over
// the one before: the library verifies them all.
func TestTransferToTheLibrary(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{}, listen.Limits{}, Listener{})
	for zoneName, at := range published(t) {
		qname, of, _ := strings.Cut(zoneName, " ")
		key := map[string]string{"external": outsideKey, "internal": freeKey}[of]
		tr := &dns.Transfer{TsigSecret: map[string]string{key: base64.StdEncoding.EncodeToString([]byte(keySecret))}}
		m := new(dns.Msg)
		m.SetAxfr(qname)
		if qname == "large." {
			m.SetEdns0(1232, true) // its record stands before that of the signature
		}
		m.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
		in, err := tr.In(m, o.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		messages := 0
		for e := range in {
			if e.Error != nil {
				t.Fatalf("%s: %v", zoneName, e.Error)
			}
			messages++
			for _, rr := range e.RR {
				got = append(got, rr.String())
			}
		}
		if messages < 4 && qname == "large." {
			t.Errorf("%s in %d messages", qname, messages)
		}
		slices.Sort(got[1:])
		if !slices.Equal(got[1:], lines(at.content)) {
			t.Errorf("%s: %d records, want %d", zoneName, len(got)-1, at.content.Records())
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := o.s.Stop(ctx); err != nil { // the last message goes out before it is counted
		t.Fatal(err)
	}
	if n := o.out.Counters.Full.Value(); n != 4 {
		t.Errorf("%d transfers counted", n)
	}
}

// TestTransferTools fetches with the programs operators use.
func TestTransferTools(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{}, listen.Limits{}, Listener{})
	text := base64.StdEncoding.EncodeToString([]byte(keySecret))
	port := fmt.Sprint(o.addr.Port())
	key := "hmac-sha256:" + outsideKey + ":" + text
	ran := false
	for _, c := range []struct {
		args  []string
		lines int
	}{
		{[]string{"dig", "@127.0.0.1", "-p", port, "-y", key, "+noall", "+answer", "+onesoa", "large.", "AXFR"}, 3003},
		{[]string{"kdig", "@127.0.0.1", "-p", port, "-y", key, "+noall", "+answer", "large.", "AXFR"}, 3004},
		{[]string{"dig", "@127.0.0.1", "-p", port, "-y", key, "+noall", "+answer", "+tcp", "example.", "IXFR=4"}, 5},
		{[]string{"kdig", "@127.0.0.1", "-p", port, "-y", key, "+noall", "+answer", "+tcp", "example.", "IXFR=4"}, 5},
		{[]string{"dig", "@127.0.0.1", "-p", port, "-y", key, "+noall", "+answer", "+notcp", "example.", "IXFR=4"}, 5},
		{[]string{"dig", "@127.0.0.1", "-p", port, "-y", key, "+noall", "+answer", "+tcp", "example.", "IXFR=5"}, 1},
		{[]string{"dig", "-b", "127.0.0.9", "@127.0.0.1", "-p", port, "+noall", "+answer", "+onesoa", "example.", "AXFR"}, 13},
	} {
		if _, err := exec.LookPath(c.args[0]); err != nil {
			continue
		}
		ran = true
		out, err := exec.CommandContext(t.Context(), c.args[0], c.args[1:]...).CombinedOutput()
		var got []string
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, ";") {
				got = append(got, line)
			}
		}
		warned := bytes.Contains(out, []byte("WARNING")) || bytes.Contains(out, []byte("ERROR"))
		if err != nil || len(got) != c.lines || warned {
			t.Errorf("%v: %v, %d lines, want %d\n%.2000s", c.args, err, len(got), c.lines, out)
		}
	}
	if !ran {
		if os.Getenv("CI") == "true" {
			t.Fatal("neither dig nor kdig is installed")
		}
		t.Skip("neither dig nor kdig is installed")
	}
}

// TestWhoMayTransfer: who is in no rule hears the same, octet for octet, as of a
// zone that does not exist, in any view, by any transport, signed or not.
func TestWhoMayTransfer(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Config{})
	d.s = New(Config{
		Table: d.s.config.Table, Resolver: outside(t), Now: func() time.Time { return d.now }, Keys: transferKeys(t),
		Transfers: xfr.New(xfr.Config{Source: published(t), Rules: peers(t)}),
	})
	d.h = d.s.Handler(Listener{})()
	transports := []listen.Transport{listen.UDP, listen.TCP, listen.TLS, listen.HTTPS, listen.QUIC}
	for _, c := range []struct {
		name string
		from string
		key  string
	}{
		{"a stranger", outsider, ""},
		{"an insider", insider, ""},
		{"the inner view's key, in no rule", outsider, insideKey},
		{"the inner view's key from inside", insider, insideKey},
	} {
		for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			for _, tr := range transports {
				var got []string
				// The zone, a name in it, one that is not ours, one without content.
				for _, qname := range []string{"example.", "wwwwww.example.", "nonesu.", "failed.", "second."} {
					m := question(qname, kind, withEDNS)
					if kind == dns.TypeIXFR {
						m = ixfr(qname, 4, withEDNS)
					}
					if c.key != "" {
						said, _ := d.signed(Listener{}, c.from, tr, signature{key: c.key}, m)
						got = append(got, said)
						continue
					}
					r := d.ask(c.from, tr, m)
					got = append(got, summary(r)+ede(r))
				}
				want := "REFUSED"
				if c.key != "" {
					want = "REFUSED, signed"
				}
				if got = slices.Compact(got); len(got) != 1 || got[0] != want {
					t.Errorf("%s, %s by %s: %v", c.name, dns.Type(kind), tr, got)
				}
			}
		}
	}
	for _, c := range []struct {
		name string
		tr   listen.Transport
		s    signature
		m    *dns.Msg
		want string
	}{
		{"a peer by HTTPS", listen.HTTPS, signature{key: outsideKey}, question("example.", dns.TypeAXFR), "REFUSED, signed"},
		{"a peer by QUIC", listen.QUIC, signature{key: outsideKey}, question("example.", dns.TypeAXFR), "REFUSED, signed"},
		{"a peer of TLS by TCP", listen.TCP, signature{key: tlsKey}, question("example.", dns.TypeAXFR), "REFUSED, signed"},
		{"a peer of TLS by UDP", listen.UDP, signature{key: tlsKey}, ixfr("example.", 4), "REFUSED, signed"},
		{"a peer of another zone", listen.TCP, signature{key: freeKey}, question("second.", dns.TypeAXFR), "REFUSED, signed"},
		{"a name below the peer's zone", listen.TCP, signature{key: outsideKey}, question("www.example.", dns.TypeAXFR), "REFUSED, signed"},
		{"RFC 5936, 4.2: AXFR by UDP", listen.UDP, signature{key: outsideKey}, question("example.", dns.TypeAXFR), "FORMERR, signed"},
		{"another class", listen.TCP, signature{key: outsideKey}, question("example.", dns.TypeAXFR, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED, signed"},
		{"EDNS of tomorrow", listen.TCP, signature{key: outsideKey}, question("example.", dns.TypeAXFR, withEDNS, func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), "BADVERS, signed"},
		{"another secret", listen.TCP, signature{key: outsideKey, secret: "another"}, question("example.", dns.TypeAXFR), "NOTAUTH, unsigned BADSIG"},
		{"no such key", listen.TCP, signature{key: "nobody."}, question("example.", dns.TypeAXFR), "NOTAUTH, unsigned BADKEY"},
		{"another algorithm", listen.TCP, signature{key: outsideKey, algorithm: dns.HmacSHA512}, question("example.", dns.TypeAXFR), "NOTAUTH, unsigned BADKEY"},
		{"too late", listen.TCP, signature{key: outsideKey, off: -301 * time.Second}, question("example.", dns.TypeAXFR), "NOTAUTH, signed BADTIME"},
		{"too early", listen.UDP, signature{key: outsideKey, off: 301 * time.Second}, ixfr("example.", 4), "NOTAUTH, signed BADTIME"},
	} {
		if got, _ := d.signed(Listener{}, outsider, c.tr, c.s, c.m); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// An unsigned request from the address of a peer that has a key, and a bad
	// signature from that of one that has none.
	if r := d.ask("127.0.0.9", listen.TCP, question("large.", dns.TypeAXFR)); summary(r) != "REFUSED" {
		t.Error(summary(r))
	}
	if got, _ := d.signed(Listener{}, "127.0.0.9", listen.TCP, signature{key: outsideKey, secret: "another"}, question("second.", dns.TypeAXFR)); got != "NOTAUTH, unsigned BADSIG" {
		t.Error(got)
	}
	if n := d.s.config.Transfers.Running(); n != 0 {
		t.Errorf("%d running", n)
	}
}

// TestTruncatedSignature: half a MAC proves nothing, of a transfer either.
func TestTruncatedSignature(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{}, listen.Limits{}, Listener{})
	b, _ := signature{key: outsideKey}.bytes(t, question("example.", dns.TypeAXFR), time.Now())
	// The MAC of 32 octets stands before id, error and other length.
	at := len(b) - 6 - 32
	cut := append(bytes.Clone(b[:at+16]), b[at+32:]...)
	binary.BigEndian.PutUint16(cut[at-2:], 16)
	rdlen := at - 10 - len("\x0bhmac-sha256\x00") - 2
	binary.BigEndian.PutUint16(cut[rdlen:], binary.BigEndian.Uint16(cut[rdlen:])-16)
	c := o.dial("tcp", outsider)
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(cut))), cut...)); err != nil {
		t.Fatal(err)
	}
	m := unpack(t, o.read(c, "tcp"))
	if m.Rcode != dns.RcodeNotAuth || m.IsTsig() == nil || m.IsTsig().Error != dns.RcodeBadTrunc || len(m.Answer) > 0 {
		t.Errorf("%v", m)
	}
}

// TestPeerChoosesTheView: the same zone, by key and by address; the SOA that a
// secondary polls is that of what it would get, signed or not, from anywhere.
func TestPeerChoosesTheView(t *testing.T) {
	t.Parallel()
	everywhere := transfers(t, xfr.Config{}, listen.Limits{}, Listener{})
	outer := transfers(t, xfr.Config{}, listen.Limits{}, Listener{Views: []string{"external"}})
	for _, c := range []struct {
		name    string
		o       *outlet
		from    string
		key     string
		network string
		m       *dns.Msg
		want    string // rcode, first serial, answers
	}{
		{"the outer key, from outside", everywhere, outsider, outsideKey, "tcp", question("example.", dns.TypeAXFR), "NOERROR 5 14"},
		{"the outer key, from inside", everywhere, insider, outsideKey, "tcp", question("example.", dns.TypeAXFR), "NOERROR 5 14"},
		{"the outer key, from inside, at a listener of the outer view", outer, insider, outsideKey, "tcp", question("example.", dns.TypeAXFR), "NOERROR 5 14"},
		{"a key of no view, from outside: the inner zone", everywhere, outsider, freeKey, "tcp", question("example.", dns.TypeAXFR), "NOERROR 77 14"},
		{"a key of no view, from inside, at a listener of the outer view", outer, insider, freeKey, "tcp", question("example.", dns.TypeAXFR), "NOERROR 77 14"},
		{"by address: the inner zone, though the address is outside", everywhere, "127.0.0.9", "", "tcp", question("example.", dns.TypeAXFR), "NOERROR 77 14"},
		{"differences", everywhere, outsider, outsideKey, "tcp", ixfr("example.", 4), "NOERROR 5 5"},
		{"differences by UDP", everywhere, outsider, outsideKey, "udp", ixfr("example.", 4, withEDNS), "NOERROR 5 5"},
		{"too much for UDP: the SOA", everywhere, outsider, outsideKey, "udp", ixfr("second.", 1, withEDNS), "NOERROR 2 1"},
		{"nothing new", everywhere, outsider, outsideKey, "udp", ixfr("example.", 5), "NOERROR 5 1"},
		{"by UDP and address", everywhere, "127.0.0.9", "", "udp", ixfr("second.", 2), "NOERROR 2 1"},
		{"IXFR without a SOA", everywhere, outsider, outsideKey, "tcp", question("example.", dns.TypeIXFR), "FORMERR"},
		{"no good state", everywhere, outsider, outsideKey, "tcp", question("gone.", dns.TypeAXFR), "SERVFAIL"},
		{"no good state, by UDP", everywhere, outsider, outsideKey, "udp", ixfr("gone.", 1), "SERVFAIL"},

		{"SOA, the outer key, from inside", everywhere, insider, outsideKey, "udp", question("example.", dns.TypeSOA), "NOERROR 5 1"},
		{"SOA, a key of no view, from outside", everywhere, outsider, freeKey, "udp", question("example.", dns.TypeSOA), "NOERROR 77 1"},
		{"SOA, a key of no view, at a listener of the outer view", outer, insider, freeKey, "udp", question("example.", dns.TypeSOA), "NOERROR 77 1"},
		{"SOA, by address", everywhere, "127.0.0.9", "", "udp", question("example.", dns.TypeSOA, noRD), "NOERROR 77 1"},
		{"SOA, of TLS, by UDP", everywhere, insider, tlsKey, "udp", question("example.", dns.TypeSOA), "NOERROR 5 1"},
		{"SOA, a stranger", everywhere, outsider, "", "udp", question("example.", dns.TypeSOA), "NOERROR 5 1"},
		{"SOA, an insider", everywhere, insider, "", "udp", question("example.", dns.TypeSOA), "NOERROR 77 1"},
		{"SOA of a zone that the table lacks", everywhere, outsider, outsideKey, "udp", question("large.", dns.TypeSOA), "REFUSED"},
	} {
		m, proof, _ := c.o.ask(c.network, c.from, signature{key: c.key}, c.m)
		got := dns.RcodeToString[m.Rcode]
		if len(m.Answer) > 0 {
			soa, ok := m.Answer[0].(*dns.SOA)
			if !ok || !m.Authoritative {
				t.Fatalf("%s: %v", c.name, m)
			}
			got = fmt.Sprint(got, " ", soa.Serial, " ", len(m.Answer))
		}
		if got != c.want || c.key != "" && proof != "signed" {
			t.Errorf("%s: %s (%s), want %s", c.name, got, proof, c.want)
		}
	}
}

// TestTooManyTransfers: one more than a peer may have is told at once to come
// again, and questions are answered meanwhile.
func TestTooManyTransfers(t *testing.T) {
	t.Parallel()
	// More than the buffers of both ends take.
	o := transfers(t, xfr.Config{Source: shelves{"large. external": {registry(t, 100, 40_000), nil}, "example. internal": {built(t, internal), nil}}, Max: 3, PerPeer: 2},
		listen.Limits{}, Listener{})
	sign := signature{key: outsideKey}
	m := question("large.", dns.TypeAXFR)
	first, proof, _ := o.ask("tcp", outsider, sign, m) // and reads no more
	_, _, second := o.ask("tcp", outsider, sign, m)
	if first.Rcode != 0 || proof != "signed" || o.out.Running() != 2 {
		t.Fatalf("%v %s, %d running", first.MsgHdr, proof, o.out.Running())
	}
	third, proof, conn := o.ask("tcp", outsider, sign, m)
	if third.Rcode != dns.RcodeServerFailure || proof != "signed" || len(third.Answer) > 0 || o.out.Counters.OverPeer.Value() != 1 {
		t.Errorf("over the peer's bound: %v %s", third, proof)
	}
	// The same connection, and others, are served.
	_, mac := o.send(conn, "tcp", sign, question("www.example.", dns.TypeA))
	if got, said := sign.check(t, o.read(conn, "tcp"), mac); got.Rcode != 0 || len(got.Answer) != 1 || said != "signed" {
		t.Errorf("a question meanwhile: %v", got)
	}
	if got, _, _ := o.ask("udp", outsider, signature{}, question("www.example.", dns.TypeA)); got.Rcode != 0 {
		t.Errorf("a question meanwhile by UDP: %v", got)
	}
	if got, _, _ := o.ask("tcp", outsider, signature{key: freeKey}, question("example.", dns.TypeAXFR)); got.Rcode != 0 {
		t.Errorf("another peer: %v", got)
	}
	second.Close()
	// Its place is free as soon as the server sees that.
	for range 10_000 {
		got, _, conn := o.ask("tcp", outsider, sign, ixfr("large.", 9))
		conn.Close()
		if got.Rcode == 0 {
			if o.out.Counters.Broken.Value() != 1 {
				t.Error("the transfer that broke is not counted")
			}
			return
		}
	}
	t.Error("the place of a client that went away is never free")
}

// TestSlowSecondaryIsCutOff though its connection asks and answers else.
func TestSlowSecondaryIsCutOff(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{Source: shelves{"large. external": {registry(t, 100, 40_000), nil}}}, listen.Limits{Stream: 50 * time.Millisecond}, Listener{})
	o.ask("tcp", outsider, signature{key: outsideKey}, question("large.", dns.TypeAXFR)) // and reads no more
	deadline := time.Now().Add(patience)
	for o.out.Running() > 0 && time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		<-ctx.Done()
		cancel()
	}
	if o.out.Running() != 0 || o.out.Counters.Broken.Value() != 1 {
		t.Fatalf("%d running, %d broken", o.out.Running(), o.out.Counters.Broken.Value())
	}
	if o.set.Counters.TCPSlowClosed.Value() != 1 {
		t.Error("not counted")
	}
}

// TestTransferThatTakesTooLongIsBroken, so that nothing that comes after half of
// a zone is taken for the rest.
func TestTransferThatTakesTooLongIsBroken(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{Longest: time.Nanosecond}, listen.Limits{}, Listener{})
	c := o.dial("tcp", outsider)
	o.send(c, "tcp", signature{key: outsideKey}, question("large.", dns.TypeAXFR))
	if n, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) || n > 0 {
		t.Errorf("%d octets, %v", n, err)
	}
	if o.out.Counters.Broken.Value() != 1 {
		t.Error("not counted")
	}
}

// TestStopEndsTransfers: a client that reads nothing holds nobody up.
func TestStopEndsTransfers(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{Source: shelves{"large. external": {registry(t, 100, 40_000), nil}}}, listen.Limits{}, Listener{})
	o.ask("tcp", outsider, signature{key: outsideKey}, question("large.", dns.TypeAXFR))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := o.s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if o.out.Running() != 0 {
		t.Error("still running")
	}
}

// TestExplainTransfer says who gets what, and why.
func TestExplainTransfer(t *testing.T) {
	t.Parallel()
	o := transfers(t, xfr.Config{}, listen.Limits{}, Listener{})
	for _, c := range []struct {
		key, from string
		qtype     uint16
		want      string
	}{
		{"", "192.0.2.9", dns.TypeAXFR, "external zone transfers are for the zone's secondaries alone REFUSED"},
		{outsideKey, "192.0.2.9", dns.TypeAXFR, "external zone transfer NOERROR"},
		{tlsKey, "192.0.2.9", dns.TypeAXFR, "external zone transfer, within TLS alone NOERROR"},
		{"", "127.0.0.9", dns.TypeIXFR, "internal zone transfer NOERROR"},
		{"", "127.0.0.9", dns.TypeSOA, "internal answer NOERROR"},
		{freeKey, "192.0.2.9", dns.TypeSOA, "internal answer NOERROR"},
		{freeKey, "192.0.2.9", dns.TypeNS, "external answer NOERROR"},
	} {
		qname, from := mustName(t, "example."), netip.MustParseAddr(c.from)
		e := o.s.Explain(qname, c.qtype, from, nil)
		if c.key != "" {
			e = o.s.ExplainSigned(mustName(t, c.key), qname, c.qtype, from, nil)
		}
		if got := strings.Join([]string{e.View, e.Kind, e.Rcode}, " "); got != c.want || cmp.Or(e.Why, "") == "" {
			t.Errorf("%s %s %s: %q, want %q (%s)", c.key, c.from, dns.Type(c.qtype), got, c.want, e.Why)
		}
	}
}
