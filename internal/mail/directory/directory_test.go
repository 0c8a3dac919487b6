package directory

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/ldap"
	"postern/internal/secret"
)

var ann = address.Address{Local: "ann", Domain: "city.example"}

// Answers, without the number of the request they are to.
const (
	done      = "65 07 0a 01 00 04 00 04 00"
	entry     = "64 06 04 02 63 6e 30 00"
	reference = "73 00"
	tooMany   = "65 07 0a 01 04 04 00 04 00"
	noObject  = "65 07 0a 01 20 04 00 04 00"
	busy      = "65 07 0a 01 33 04 00 04 00"
	referral  = "65 07 0a 01 0a 04 00 04 00"
	bound     = "61 07 0a 01 00 04 00 04 00"
	refused   = "61 07 0a 01 31 04 00 04 00"
	goAhead   = "78 07 0a 01 00 04 00 04 00"
	noTLS     = "78 07 0a 01 02 04 00 04 00"
)

func reply(id byte, ops ...string) []byte {
	var out []byte
	for _, op := range ops {
		b, err := hex.DecodeString(strings.ReplaceAll(op, " ", ""))
		if err != nil {
			panic(err)
		}
		out = append(append(out, 0x30, byte(len(b)+3), 2, 1, id), b...)
	}
	return out
}

// request reads one request: its number and its tag.
func request(t *testing.T, r io.Reader) (id, op byte, whole []byte) {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, 0, nil
	}
	n := int(head[1])
	if n == 0x84 {
		long := make([]byte, 4)
		if _, err := io.ReadFull(r, long); err != nil {
			return 0, 0, nil
		}
		n = int(long[2])<<8 | int(long[3])
	}
	whole = make([]byte, n)
	if _, err := io.ReadFull(r, whole); err != nil {
		return 0, 0, nil
	}
	return whole[2], whole[3], whole
}

// paper is a certificate of one name, which vouches for itself.
func paper(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// world is servers that a Directory is made for.
type world struct {
	cfg    Config
	dialed []string
}

func newWorld(t *testing.T, serve func(conn net.Conn)) *world {
	t.Helper()
	filter, err := ldap.ParseFilter("(mail={address})")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	w.cfg = Config{
		Servers: []Server{{Host: "ldap.inner", Port: 389}}, Plain: true, Base: "dc=inner", Filter: filter,
		Addresses: func(_ context.Context, host string, port uint16) ([]netip.AddrPort, error) {
			if host == "lost.inner" {
				return nil, errors.New("no address")
			}
			return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("10.0.0.7"), port)}, nil
		},
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			w.dialed = append(w.dialed, address)
			if strings.HasSuffix(address, ":1") {
				return nil, errors.New("connection refused")
			}
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				serve(theirs)
			}()
			return ours, nil
		},
	}
	return w
}

func (w *world) ask(ctx context.Context, t *testing.T) (bool, error) {
	t.Helper()
	d, err := New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Call(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	return c.Exists(ann)
}

// TestSearch: RFC 4511, Section 4.5.3. What is not success says nothing about
// anybody, and an answer to another question is none.
func TestSearch(t *testing.T) {
	t.Parallel()
	endless := strings.Split(strings.Repeat(reference+",", 2*maxAnswers), ",")
	for name, c := range map[string]struct {
		id    byte // 0: the right one
		ops   []string
		found bool
		err   string
	}{
		"somebody":                   {ops: []string{entry, done}, found: true},
		"nobody":                     {ops: []string{done}},
		"more than one":              {ops: []string{entry, tooMany}, found: true},
		"too many, and none":         {ops: []string{tooMany}, err: "size limit exceeded"},
		"somebody, after references": {ops: []string{reference, reference, entry, done}, found: true},
		"only what is elsewhere":     {ops: []string{reference, done}},
		"the base is not there":      {ops: []string{noObject}, err: "no such object"},
		"busy":                       {ops: []string{busy}, err: "busy"},
		"busy after an entry":        {ops: []string{entry, busy}, err: "busy"},
		"another server knows":       {ops: []string{referral}, err: "referral"},
		"to a question not asked":    {id: 9, ops: []string{entry, done}, err: "request 9"},
		"to none":                    {id: 0x7f, ops: []string{entry}, err: "request 127"},
		"of a bind":                  {ops: []string{bound}, err: "another kind"},
		"without end":                {ops: endless[:2*maxAnswers], err: "more than"},
		"hung up":                    {ops: []string{entry}, err: "EOF"},
		"a request":                  {ops: []string{"42 00"}, err: "unexpected"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(conn net.Conn) {
				id, op, whole := request(t, conn)
				if op != 0x63 || !bytes.Contains(whole, []byte("ann@city.example")) {
					t.Errorf("%s: asked %#x, %q", name, op, whole)
				}
				if c.id != 0 {
					id = c.id
				}
				_, _ = conn.Write(reply(id, c.ops...))
			})
			found, err := w.ask(t.Context(), t)
			if found != c.found || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %t, %v", name, found, err)
			}
		})
	}
}

// TestNoticeOfDisconnection: RFC 4511, Section 4.4.1.
func TestNoticeOfDisconnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(conn net.Conn) {
			request(t, conn)
			_, _ = conn.Write(reply(0, "78 07 0a 01 34 04 00 04 00"))
		})
		if found, err := w.ask(t.Context(), t); found || err == nil || !strings.Contains(err.Error(), "unavailable") {
			t.Errorf("%t, %v", found, err)
		}
	})
}

// TestSilence: a server that says nothing costs the time-out and no more, and
// nothing once the caller gives up.
func TestSilence(t *testing.T) {
	t.Parallel()
	for name, handshake := range map[string]bool{"in a search": false, "in TLS": true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
			w.cfg.Servers[0].TLS = handshake
			begin := time.Now()
			if found, err := w.ask(t.Context(), t); found || err == nil {
				t.Errorf("%s: %t, %v", name, found, err)
			}
			if d := time.Since(begin); d < usualTimeout || d > usualTimeout+2*time.Second {
				t.Errorf("%s: took %v", name, d)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin = time.Now()
			if found, err := w.ask(ctx, t); found || err == nil {
				t.Errorf("%s: %t, %v", name, found, err)
			}
			if d := time.Since(begin); d > 3*time.Second {
				t.Errorf("%s: took %v after the caller gave up", name, d)
			}
		})
	}
}

// TestInTurn: the first server that can be asked is.
func TestInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(conn net.Conn) {
			id, _, _ := request(t, conn)
			_, _ = conn.Write(reply(id, entry, done))
		})
		w.cfg.Servers = []Server{{Host: "lost.inner", Port: 389}, {Host: "down.inner", Port: 1}, {Host: "ldap.inner", Port: 390}, {Host: "spare.inner", Port: 391}}
		found, err := w.ask(t.Context(), t)
		if got := strings.Join(w.dialed, " "); !found || err != nil || got != "10.0.0.7:1 10.0.0.7:390" {
			t.Errorf("%t, %v, dialed %s", found, err, got)
		}
		w.cfg.Servers = w.cfg.Servers[:2]
		if found, err := w.ask(t.Context(), t); found || err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%t, %v", found, err)
		}
	})
}

// secured is a server that speaks TLS at once or after StartTLS, and has people
// log in.
func secured(t *testing.T, cert tls.Certificate, atOnce bool, before, login string) func(conn net.Conn) {
	return func(conn net.Conn) {
		if !atOnce {
			id, op, _ := request(t, conn)
			if op != 0x77 {
				t.Errorf("%#x before TLS", op)
			}
			_, _ = conn.Write(reply(id, strings.Split(before, ",")...))
		}
		s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
		for in := bufio.NewReader(s); ; {
			id, op, whole := request(t, in)
			switch op {
			case 0x60:
				if !bytes.Contains(whole, []byte("cn=postern")) || !bytes.Contains(whole, []byte("hunter2")) {
					t.Errorf("binds with %q", whole)
				}
				_, _ = s.Write(reply(id, login))
			case 0x63:
				_, _ = s.Write(reply(id, entry, done))
			default:
				return
			}
		}
	}
}

// TestTLS: nothing is asked, and no password sent, but in TLS with the right
// name, by StartTLS too (RFC 4513, Section 3.1).
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, roots := paper(t, "ldap.inner")
	wrong, _ := paper(t, "ldap.inner") // of another authority
	for name, c := range map[string]struct {
		cert   tls.Certificate
		atOnce bool
		before string
		login  string
		called string // the name wanted
		err    string
	}{
		"from the first octet":             {cert, true, "", bound, "", ""},
		"by StartTLS":                      {cert, false, goAhead, bound, "", ""},
		"under a name that is told":        {cert, true, "", bound, "ldap.inner", ""},
		"of another name":                  {cert, true, "", bound, "other.inner", "TLS: "},
		"of another authority":             {wrong, true, "", bound, "", "TLS: "},
		"of another authority, StartTLS":   {wrong, false, goAhead, bound, "", "TLS: "},
		"StartTLS is refused":              {cert, false, noTLS, bound, "", "StartTLS: protocol error"},
		"more comes before TLS than ought": {cert, false, goAhead + "," + bound, bound, "", "spoke on"},
		"the login is refused":             {cert, true, "", refused, "", "bind: invalid credentials"},
		"the refusal repeats the password": {cert, true, "", "61 0e 0a 01 31 04 00 04 07 68 75 6e 74 65 72 32", "", "bind: refused, in words"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, secured(t, c.cert, c.atOnce, c.before, c.login))
			w.cfg.Plain, w.cfg.Roots, w.cfg.Name = false, roots, c.called
			w.cfg.User, w.cfg.Secret = "cn=postern", secret.New([]byte("hunter2"))
			w.cfg.Servers[0].TLS = c.atOnce
			found, err := w.ask(t.Context(), t)
			if found != (c.err == "") || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %t, %v", name, found, err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: tells the password: %v", name, err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no servers":              func(c *Config) { c.Servers = nil },
		"no way to find them":     func(c *Config) { c.Addresses = nil },
		"a user without a secret": func(c *Config) { c.User = "cn=x" },
		"a secret without a user": func(c *Config) { c.Secret = secret.New([]byte("x")) },
		"an empty secret":         func(c *Config) { c.User, c.Secret = "cn=x", secret.New(nil) },
		"a secret in the clear":   func(c *Config) { c.Plain, c.User, c.Secret = true, "cn=x", secret.New([]byte("x")) },
	} {
		w := newWorld(t, nil)
		w.cfg.Plain = false
		change(&w.cfg)
		if _, err := New(w.cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
