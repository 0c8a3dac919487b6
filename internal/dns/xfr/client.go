package xfr

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/wire"
)

// How long the client waits.
const (
	dialTime = 5 * time.Second // for a connection, TLS included
	firstTry = 2 * time.Second // for an answer by UDP; the second time twice as long
	pollTime = 5 * time.Second // for an answer by TCP or TLS
	// loneTime is how long a SOA that came alone waits for company: most that
	// send it alone mean that they have no differences, some send one record a
	// message.
	loneTime = 5 * time.Second
)

// client asks primaries.
type client struct {
	keys     func() *tsig.Keys
	exchange Exchange
	dial     Dial
	wait     time.Duration // within a transfer, for the next message
	idle     *idle
	reused   func() // counts requests on connections that were there
	now      func() time.Time
	rand     io.Reader
	messages func(octets int) // counts those of transfers
}

// target is one address of a primary.
type target struct {
	*Primary
	addr netip.AddrPort
	bad  bool // it did not answer of late: it is not waited for as long
}

// dialTCP connects by TCP.
func dialTCP(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.DialContext(ctx, "tcp", to.String()) // wrapped by the caller
}

// demand is a request to a primary.
type demand struct {
	zone  name.Name
	kind  uint16
	have  *dns.SOA // of IXFR
	plain bool     // without EDNS
}

// asked is one that was packed, and signed where there is a key.
type asked struct {
	id   uint16
	kind uint16
	wire []byte
	tsig *tsig.Asked // nil: not signed
}

// ask packs a demand.
func (c *client) ask(d demand, t target) (*asked, error) {
	var id [2]byte
	if _, err := io.ReadFull(c.rand, id[:]); err != nil {
		return nil, fmt.Errorf("id: %w", err)
	}
	m := new(dns.Msg)
	m.SetQuestion(d.zone.String(), d.kind)
	m.Id, m.RecursionDesired = binary.BigEndian.Uint16(id[:]), false
	if d.kind == dns.TypeIXFR {
		m.Ns = []dns.RR{d.have} // RFC 1995, Section 3
	}
	if !d.plain {
		o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		o.SetUDPSize(wire.MaxUDP)
		if d.kind == dns.TypeSOA || d.kind == dns.TypeAXFR || d.kind == dns.TypeIXFR {
			o.Option = []dns.EDNS0{&dns.EDNS0_EXPIRE{Code: dns.EDNS0EXPIRE, Empty: true}} // RFC 7314, Section 3
		}
		m.Extra = []dns.RR{o}
	}
	a, err := c.sign(m, t)
	if err != nil || t.TLS == nil || d.plain {
		return a, err
	}
	// RFC 9103, Section 7.9.1, and RFC 8467, Section 4.1: what is asked for does
	// not show in the length; and who pads is answered padded.
	size := len(a.wire) + 4
	fill := (size+padBlock-1)/padBlock*padBlock - size
	o := m.IsEdns0()
	o.Option = append(o.Option, &dns.EDNS0_PADDING{Padding: make([]byte, fill)}) // the last (RFC 7830, Section 3)
	return c.sign(m, t)
}

// padBlock is what requests within TLS are padded to.
const padBlock = 128

// sign packs a request, and signs it where there is a key.
func (c *client) sign(m *dns.Msg, t target) (*asked, error) {
	packed, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	a := &asked{id: m.Id, kind: m.Question[0].Qtype, wire: packed}
	if t.Key == "" {
		return a, nil
	}
	var keys *tsig.Keys
	if c.keys != nil {
		keys = c.keys()
	}
	if a.wire, a.tsig, err = keys.Ask(a.wire, t.Key, c.now()); err != nil {
		return nil, signature(err)
	}
	return a, nil
}

// replies weighs the signatures of what comes back; nil where none is asked for.
func (a *asked) replies() *tsig.Replies {
	if a.tsig == nil {
		return nil
	}
	return a.tsig.Replies()
}

// stream is a connection to a primary.
type stream struct {
	conn  net.Conn
	read  *bufio.Reader
	room  []byte
	stop  func() bool
	timer *time.Timer // while it is idle
	again bool        // it was there before this request
	heard bool        // something came in answer to it
}

// connect connects to a primary, within TLS where that is asked for.
func (c *client) connect(ctx context.Context, t target) (*stream, error) {
	within, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := c.dial(within, sourceFor(t.Source, t.addr.Addr()), t.addr)
	if err != nil {
		return nil, &Fault{Silent, fmt.Errorf("connect to %s: %w", t.addr, err)}
	}
	if t.TLS != nil {
		if conn, err = secure(within, conn, t.TLS); err != nil {
			return nil, &Fault{TLSFailed, fmt.Errorf("%s: %w", t.addr, err)}
		}
	}
	s := &stream{conn: conn, read: bufio.NewReaderSize(conn, 64<<10)}
	s.follow(ctx)
	return s, nil
}

// follow has the connection end with ctx.
func (s *stream) follow(ctx context.Context) {
	s.stop = context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
}

// secure speaks TLS over a connection, which it closes where that fails. RFC
// 9103, Section 7.1: TLS 1.3 or later, for DNS.
func secure(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	config = config.Clone()
	config.MinVersion, config.NextProtos = max(config.MinVersion, tls.VersionTLS13), []string{alpn}
	within := tls.Client(conn, config)
	err := within.HandshakeContext(ctx)
	if err == nil && within.ConnectionState().NegotiatedProtocol != alpn {
		err = ErrALPN
	}
	if err != nil {
		_ = conn.Close()
		return nil, err // wrapped by the caller
	}
	return within, nil
}

func (s *stream) close() {
	s.stop()
	s.shut()
}

func (s *stream) shut() { _ = s.conn.Close() }

// send writes a message.
func (s *stream) send(msg []byte, by time.Duration) error {
	_ = s.conn.SetWriteDeadline(time.Now().Add(by))
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	if _, err := s.conn.Write(framed); err != nil {
		return &Fault{CutShort, fmt.Errorf("send: %w", err)}
	}
	return nil
}

// next reads a message, whole and in time. It is lent until the next call.
func (s *stream) next(ctx context.Context, within time.Duration) ([]byte, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(within))
	if ctx.Err() != nil { // the deadline that this sets may have come before ours
		return nil, broken(ctx, ctx.Err())
	}
	var size [2]byte
	if _, err := io.ReadFull(s.read, size[:]); err != nil {
		return nil, broken(ctx, err)
	}
	s.heard = true
	s.room = slices.Grow(s.room[:0], 0xFFFF)[:binary.BigEndian.Uint16(size[:])]
	if _, err := io.ReadFull(s.read, s.room); err != nil {
		return nil, broken(ctx, err)
	}
	return s.room, nil
}

// broken is the fault of a connection that gives no more.
func broken(ctx context.Context, err error) error {
	var alert *net.OpError
	switch {
	// In TLS 1.3 a server refuses our certificate after the handshake.
	case errors.As(err, &alert) && alert.Op == "remote error":
		return &Fault{TLSFailed, err}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Fault{Reason: TooLong}
	case ctx.Err() != nil:
		return &Fault{CutShort, fmt.Errorf("we stop: %w", ctx.Err())}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Fault{Reason: TooSlow}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Fault{Reason: CutShort}
	}
	return &Fault{CutShort, err}
}

// sameName reports whether a name as the library writes it is n.
func sameName(text string, n name.Name) bool {
	parsed, err := name.Parse(text)
	return err == nil && parsed == n
}
