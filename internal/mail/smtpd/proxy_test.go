package smtpd

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// block writes a PROXY block.
func block(command, family byte, rest ...[]byte) string {
	body := bytes.Join(rest, nil)
	b := append([]byte(proxySignature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(append(b, body...))
}

// ends are two addresses and their ports.
func ends(from, to string) []byte {
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	out := append(a.Addr().AsSlice(), b.Addr().AsSlice()...)
	out = binary.BigEndian.AppendUint16(out, a.Port())
	return binary.BigEndian.AppendUint16(out, b.Port())
}

var four, six = ends("192.0.2.7:4000", "198.51.100.1:25"), ends("[2001:db8::7]:4000", "[2001:db8::1]:25")

func TestReadProxy(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"empty":                     "",
		"version 1":                 "PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n",
		"no block at all":           "EHLO client.example.net\r\n",
		"half a signature":          proxySignature[:7],
		"signature cut":             strings.Replace(block(0x21, 0x11, four), "QUIT", "QUIX", 1),
		"version 1 in a signature":  block(0x11, 0x11, four),
		"version 3":                 block(0x31, 0x11, four),
		"unknown command":           block(0x22, 0x11, four),
		"unspecified family":        block(0x21, 0x00, four),
		"UDP":                       block(0x21, 0x12, four),
		"UDP over IPv6":             block(0x21, 0x22, six),
		"a Unix socket":             block(0x21, 0x31, make([]byte, 216)),
		"unknown family":            block(0x21, 0x41, six),
		"too short for IPv4":        block(0x21, 0x11, four[:11]),
		"too short for IPv6":        block(0x21, 0x21, four),
		"nothing":                   block(0x21, 0x11),
		"cut off":                   block(0x21, 0x11, four)[:20],
		"too large":                 block(0x21, 0x11, four, make([]byte, maxProxyBlock)),
		"field beyond the end":      block(0x21, 0x11, four, []byte{1, 0, 9, 'x'}),
		"half a field":              block(0x21, 0x11, four, []byte{1, 0}),
		"from nobody":               block(0x21, 0x11, ends("0.0.0.0:4000", "198.51.100.1:25")),
		"from nobody, mapped":       block(0x21, 0x21, ends("[::ffff:0.0.0.0]:4000", "[2001:db8::1]:25")),
		"from a group":              block(0x21, 0x11, ends("224.0.0.1:4000", "198.51.100.1:25")),
		"LOCAL that does not end":   block(0x20, 0x00, four)[:18],
		"LOCAL beyond what we read": block(0x20, 0x00, make([]byte, maxProxyBlock+1)),
	} {
		if p, err := readProxy(strings.NewReader(in)); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for name, c := range map[string]struct {
		in   string
		want proxied
	}{
		"IPv4":            {block(0x21, 0x11, four), proxied{false, netip.MustParseAddrPort("192.0.2.7:4000"), netip.MustParseAddrPort("198.51.100.1:25")}},
		"IPv6":            {block(0x21, 0x21, six), proxied{false, netip.MustParseAddrPort("[2001:db8::7]:4000"), netip.MustParseAddrPort("[2001:db8::1]:25")}},
		"mapped":          {block(0x21, 0x21, ends("[::ffff:192.0.2.7]:1", "[::ffff:192.0.2.8]:2")), proxied{false, netip.MustParseAddrPort("192.0.2.7:1"), netip.MustParseAddrPort("192.0.2.8:2")}},
		"further fields":  {block(0x21, 0x11, four, []byte{4, 0, 1, 0, 0x20, 0, 0}), proxied{false, netip.MustParseAddrPort("192.0.2.7:4000"), netip.MustParseAddrPort("198.51.100.1:25")}},
		"LOCAL":           {block(0x20, 0x00), proxied{local: true}},
		"LOCAL with junk": {block(0x20, 0x11, []byte("junk")), proxied{local: true}},
	} {
		r := io.MultiReader(strings.NewReader(c.in[:5]), strings.NewReader(c.in[5:]), strings.NewReader("EHLO"))
		p, err := readProxy(r)
		if err != nil || p != c.want {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "EHLO" {
			t.Errorf("%s: %q is left", name, rest)
		}
	}
}

func behindProxy(c *Config) {
	c.Proxy, c.Proxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
}

// Whom the block names is the client for session, limits and log.
func TestProxy(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Plain, STARTTLS, ImplicitTLS} {
		d := &desk{}
		secure := secured(t, d, mode)
		var log bytes.Buffer
		s := started(t, d, func(c *Config) {
			secure(c)
			behindProxy(c)
			c.Limits.ConnectionsPerAddr = 1
			c.Log = textLog(&log)
		})
		p := dial(t, s)
		p.send(block(0x21, 0x11, four, []byte{4, 0, 1, 0}))
		if mode == ImplicitTLS {
			p = over(t, tls.Client(p.conn, insecure(nil)))
		}
		p.want(220)
		if mode != ImplicitTLS {
			second := dial(t, s)
			second.send(block(0x21, 0x11, four))
			second.want(421)
		}
		other := dial(t, s)
		other.send(block(0x21, 0x21, six))
		if mode != ImplicitTLS {
			other.want(220)
		}
		p.send("EHLO x\r\n")
		p.want(250)
		p.send("MAIL FROM:<no@example.net>\r\nQUIT\r\n")
		p.want(550, 221)
		_ = other.conn.Close()
		stop(t, s)
		if !strings.Contains(d.log(), "from 192.0.2.7:4000 to 198.51.100.1:25") || !strings.Contains(log.String(), "client=192.0.2.7 proxy=127.0.0.1") {
			t.Errorf("mode %d: %s\n%s", mode, d.log(), log.String())
		}
		if g := s.conf.Load().guard; len(g.open) != 0 || g.total != 0 {
			t.Errorf("mode %d: places are not given back: %v, %d", mode, g.open, g.total)
		}
	}
}

// Without a block nobody gets a word, and the octets of a bad one are no
// commands.
func TestProxyIsMandatory(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, behindProxy)
	for _, in := range []string{
		"EHLO x\r\nMAIL FROM:<a@example.net>\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\nEHLO x\r\n", block(0x21, 0x00, four) + "EHLO x\r\n",
	} {
		p := dial(t, s)
		p.send(in)
		if b, err := io.ReadAll(p.r); len(b) > 0 || err != nil && !isReset(err) {
			t.Errorf("%q: %q, %v", in, b, err)
		}
	}
	if d.log() != "" || s.Counters.RefusedProxy.Value() != 3 {
		t.Errorf("%d refused; %s", s.Counters.RefusedProxy.Value(), d.log())
	}
}

func TestProxyThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, func(c *Config) {
		c.Proxy, c.Proxies = true, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	p := dial(t, s)
	p.send(block(0x21, 0x11, four))
	p.want(554)
	if d.log() != "" || s.Counters.RefusedProxy.Value() != 1 {
		t.Errorf("%s", d.log())
	}
	if _, err := New(Config{Name: "x", Hostname: "x", Mode: Plain, Log: s.conf.Load().Log, NewSession: s.conf.Load().NewSession, Proxy: true}); err == nil {
		t.Error("PROXY from anybody")
	}
}

// What a proxy asks for itself: the connection's own ends count, and it uses up
// nothing of an address.
func TestProxyThatLooksWhetherWeAreWell(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, func(c *Config) { behindProxy(c); c.Limits.ConnectRate = 1 })
	for range 3 {
		p := dial(t, s)
		p.send(block(0x20, 0x11, four))
		p.want(220)
		p.send("QUIT\r\n")
		p.want(221)
	}
	if !strings.Contains(d.log(), "from 127.0.0.1:") || s.Counters.ProxyChecks.Value() != 3 {
		t.Errorf("%s", d.log())
	}
}

// Who may connect at all is asked of the client, not of the proxy.
func TestProxyAndClients(t *testing.T) {
	t.Parallel()
	s := started(t, &desk{}, func(c *Config) {
		behindProxy(c)
		c.Clients = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	})
	p := dial(t, s)
	p.send(block(0x21, 0x11, four))
	p.want(554)
	p = dial(t, s)
	p.send(block(0x21, 0x21, six))
	p.want(220)
}

func TestProxyThatKeepsSilent(t *testing.T) {
	t.Parallel()
	bubbledWith(t, &desk{}, func(c *Config) {
		c.Proxy, c.Proxies = true, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/32")}
	}, func(t *testing.T, s *Server, dial func() *peer) {
		p := dial()
		began := time.Now()
		p.send(proxySignature)
		if _, err := p.r.ReadByte(); !errors.Is(err, io.EOF) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func FuzzProxy(f *testing.F) {
	f.Add([]byte(block(0x21, 0x11, four, []byte{4, 0, 1, 0}) + "EHLO"))
	f.Add([]byte(block(0x21, 0x21, six)))
	f.Add([]byte(block(0x20, 0x00, []byte("junk"))))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		p, err := readProxy(r)
		if err != nil {
			return
		}
		used := len(in) - r.Len()
		if used != 16+int(binary.BigEndian.Uint16(in[14:16])) {
			t.Errorf("%d octets read", used)
		}
		if a := p.from.Addr(); !p.local && (!a.IsValid() || a.Is4In6() || a.IsUnspecified() || !p.to.Addr().IsValid()) {
			t.Errorf("%+v", p)
		}
	})
}
