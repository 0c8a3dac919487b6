package deliver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/route"
)

// server is a mail server that can be made to misbehave at one stage. It notes
// what it was told.
type server struct {
	ext   []string          // announced
	say   map[string]string // stage -> reply in place of the usual one; see act
	lmtp  bool
	tls   *tls.Config // for STARTTLS, or from the start with smtps
	smtps bool

	mu       sync.Mutex
	commands []string
	messages []string // as sent, dots still doubled, without the final one
	ended    bool     // the last conversation ended with QUIT
}

// The faults that a stage may have in place of a reply.
const (
	closes   = "closes"
	hangs    = "hangs"
	floods   = "floods"   // a line without end
	prattles = "prattles" // lines without end
)

func (s *server) note(command string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, command)
}

func (s *server) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, " | ")
}

func (s *server) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

// talk is one conversation of a server.
type talk struct {
	*server
	conn net.Conn
	r    *bufio.Reader
	ext  []string
}

// act says the reply of a stage. It reports whether the talk goes on.
func (t *talk) act(stage, usual string) bool {
	reply, ok := t.say[stage]
	if !ok {
		reply = usual
	}
	switch reply {
	case closes:
		return false
	case hangs:
		_, _ = io.Copy(io.Discard, t.conn) // until the other side goes
		return false
	case floods, prattles:
		piece := strings.Repeat("2", 1000)
		if reply == prattles {
			piece = strings.Repeat("250-x\r\n", 100)
		}
		for {
			if _, err := io.WriteString(t.conn, piece); err != nil {
				return false
			}
		}
	}
	_, err := io.WriteString(t.conn, reply+"\r\n")
	return err == nil
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	if s.smtps {
		conn = tls.Server(conn, s.tls)
	}
	t := &talk{server: s, conn: conn, r: bufio.NewReader(conn), ext: s.ext}
	if !t.act("greeting", "220 mx.example ready") {
		return
	}
	for {
		line, err := t.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.note(line)
		if !t.command(line) {
			return
		}
	}
}

func (t *talk) command(line string) bool {
	verb, rest, _ := strings.Cut(strings.ToUpper(line), " ")
	switch verb {
	case "EHLO", "LHLO":
		lines := append([]string{"mx.example greets you"}, t.ext...)
		for i := range lines {
			lines[i] = "250-" + lines[i]
		}
		lines[len(lines)-1] = "250 " + lines[len(lines)-1][4:]
		return t.act("ehlo", strings.Join(lines, "\r\n"))
	case "HELO":
		return t.act("helo", "250 mx.example")
	case "STARTTLS":
		if !t.act("starttls", "220 go ahead") {
			return false
		}
		if !strings.HasPrefix(t.say["starttls"], "220") && t.say["starttls"] != "" {
			return true
		}
		conn := tls.Server(t.conn, t.tls)
		if conn.Handshake() != nil {
			return false
		}
		t.conn, t.r = conn, bufio.NewReader(conn)
		t.ext = append([]string{"AUTH LOGIN PLAIN"}, t.ext...)
		return true
	case "AUTH":
		return t.act("auth", "235 2.7.0 welcome")
	case "MAIL":
		return t.act("mail", "250 2.1.0 ok")
	case "RCPT":
		if _, ok := t.say[rest]; ok {
			return t.act(rest, "")
		}
		return t.act("rcpt", "250 2.1.5 ok")
	case "DATA":
		return t.act("data", "354 go ahead") && (t.say["data"] != "" || t.message())
	case "QUIT":
		t.mu.Lock()
		t.ended = true
		t.mu.Unlock()
		t.act("quit", "221 2.0.0 bye")
		return false
	}
	return t.act(strings.ToLower(verb), "250 ok")
}

func (t *talk) message() bool {
	if t.say["body"] == closes {
		return false
	}
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n.\r\n") && b.String() != ".\r\n" {
		line, err := t.r.ReadString('\n')
		if err != nil {
			return false
		}
		b.WriteString(line)
		if strings.HasPrefix(t.say["body"], "5") {
			return t.act("body", "") && false
		}
	}
	t.mu.Lock()
	t.messages = append(t.messages, strings.TrimSuffix(b.String(), ".\r\n"))
	n := 0
	for _, c := range t.commands {
		if strings.HasPrefix(c, "RCPT") && t.say[strings.ToUpper(c[5:])] == "" {
			n++
		}
	}
	t.mu.Unlock()
	if !t.lmtp {
		return t.act("message", "250 2.0.0 queued as 42")
	}
	for i := range n {
		if !t.act(fmt.Sprintf("message %d", i), "250 2.0.0 stored") {
			return false
		}
	}
	return true
}

// world is who can be dialled, by address; a nil server refuses.
type world map[string]*server

func (w world) dial(ctx context.Context, _, addr string, _ netip.Addr) (net.Conn, error) {
	s, ok := w[addr]
	if !ok {
		<-ctx.Done() // a host that is off
		return nil, ctx.Err()
	}
	if s == nil {
		return nil, errors.New("refused")
	}
	ours, theirs := net.Pipe()
	go s.serve(theirs)
	return ours, nil
}

func client(w world) *Client {
	return New(Config{Hostname: "edge.example.test", Dial: w.dial})
}

// mail is a Source.
type mail struct{ header, body string }

func (m mail) Header() []byte      { return []byte(m.header) }
func (m mail) Open() io.ReadSeeker { return strings.NewReader(m.header + "\r\n" + m.body) }
func (m mail) Size() int64         { return int64(len(m.header) + 2 + len(m.body)) }

var plain = mail{"Subject: x\r\n", "hello\r\n"}

func addr(s string) address.Address {
	a, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// job sends plain from a@example.test to the addresses, over the hops at
// 192.0.2.1, 192.0.2.2 and so on.
func job(hops int, to ...string) Job {
	j := Job{Envelope: envelope.Envelope{From: addr("a@example.test")}, Message: plain}
	for i, s := range to {
		j.Envelope.To = append(j.Envelope.To, addr(s))
		j.Rcpts = append(j.Rcpts, i)
	}
	for i := range hops {
		ap := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 25)
		j.Hops = append(j.Hops, route.Hop{Protocol: route.SMTP, Host: fmt.Sprintf("mx%d.example", i+1), Port: 25, Addrs: []netip.AddrPort{ap}})
	}
	return j
}

const (
	first  = "192.0.2.1:25"
	second = "192.0.2.2:25"
)

// certificate makes a self-signed one for the names.
func certificate(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		// The clock of a test bubble begins in the year 2000.
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
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
