package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	maxPacket     = 4096 // more than is ever asked for by default
	portTries     = 8    // random ports tried before the system chooses one
	maxNearMisses = 16   // packets that do not match before UDP is given up for TCP
)

// result is what came back. Without msg, the other fields may still say why.
type result struct {
	msg         *dns.Msg
	rtt         time.Duration
	nearMisses  int  // packets from the server's address that did not match
	bareFormErr bool // one of them said FORMERR
	foldsCase   bool // the server does not keep the letter case
	noRoute     bool // the network has no route for the family
}

// udp sends the query from a socket of its own and waits for the reply that
// matches. Whatever else arrives does not end the wait: a forger could
// otherwise silence a server (the TuDoor attacks). The wait and the round-trip
// time are of the real clock, as the network is.
func (c *Client) udp(ctx context.Context, server netip.Addr, q query, wait time.Duration) (result, error) {
	conn, err := c.dialUDP(server)
	if err != nil {
		return unreachable(err)
	}
	defer conn.Close() //nolint:errcheck // nothing was promised
	begin := time.Now()
	if err := conn.SetDeadline(begin.Add(wait)); err != nil {
		return unreachable(err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // cuts the wait short
	if _, err := conn.Write(q.wire); err != nil {
		return unreachable(err)
	}
	var got result
	for buf := make([]byte, max(maxPacket, int(c.cfg.EDNSSize))); got.nearMisses < maxNearMisses; {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return got, waited(ctx)
		case errors.Is(err, syscall.ECONNREFUSED):
			// ICMP can be forged, and the port may open again: the wait goes on.
			continue
		case err != nil:
			return unreachable(err)
		}
		if msg := c.accept(q, buf[:n], &got); msg != nil {
			got.msg, got.rtt = msg, time.Since(begin)
			return got, nil
		}
	}
	return got, ErrTimeout
}

func waited(ctx context.Context) error {
	if ctx.Err() != nil {
		return ErrStopped
	}
	return ErrTimeout
}

// accept returns the message of a packet that matches, and counts any other.
func (c *Client) accept(q query, packet []byte, got *result) *dns.Msg {
	switch q.check(packet) {
	case matching:
		if msg, err := q.parse(packet); err == nil {
			return msg
		}
		c.Counters.Mismatch.Inc()
	case caseBroken:
		c.Counters.CaseBroken.Inc()
	case bareFormErr:
		got.bareFormErr = true
		return nil
	case stray:
		c.Counters.Mismatch.Inc()
	}
	got.nearMisses++
	return nil
}

func unreachable(err error) (result, error) {
	noRoute := errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
	return result{noRoute: noRoute}, fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// dialUDP binds a random port of the whole range, which is twice what the
// system would choose from, and connects: the kernel then drops what comes
// from other addresses.
func (c *Client) dialUDP(server netip.Addr) (*net.UDPConn, error) {
	return c.dialUDPTo(c.target(server))
}

func (c *Client) dialUDPTo(target netip.AddrPort) (*net.UDPConn, error) {
	to := net.UDPAddrFromAddrPort(target)
	source := c.source(target)
	for range portTries {
		n, err := c.random()
		if err != nil {
			return nil, err
		}
		const lowest = 1024
		port := uint16(lowest + n%(1<<16-lowest))
		conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, port)), to)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			return nil, err
		}
	}
	return net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), to)
}

// target is where the server is reached.
func (c *Client) target(server netip.Addr) netip.AddrPort {
	if to, ok := c.cfg.UpstreamMap[server]; ok {
		return to
	}
	return netip.AddrPortFrom(server, 53)
}

// source picks one of our addresses of the target's family.
func (c *Client) source(target netip.AddrPort) netip.Addr {
	is4 := target.Addr().Is4()
	var fit []netip.Addr
	for _, a := range c.cfg.Sources {
		if a.Is4() == is4 {
			fit = append(fit, a)
		}
	}
	if n, err := c.random(); err == nil && len(fit) > 0 {
		return fit[n%uint64(len(fit))]
	}
	if is4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// tcp asks over TCP, where the handshake has shown the server's address to be
// its own (RFC 7766, Section 5). One that answers in another letter case is
// remembered for that.
func (c *Client) tcp(ctx context.Context, server netip.Addr, q query) (result, error) {
	begin := time.Now()
	d := net.Dialer{Timeout: c.cfg.Timeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.source(c.target(server)), 0))}
	conn, err := d.DialContext(ctx, "tcp", c.target(server).String())
	if err != nil {
		if ctx.Err() != nil {
			return result{}, ErrStopped
		}
		return result{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was promised
	rtt := time.Since(begin)
	if err := conn.SetDeadline(time.Now().Add(c.cfg.Timeout)); err != nil {
		return unreachable(err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	// Length and message in one write (RFC 7766, Section 8).
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(q.wire))), q.wire...)
	if _, err := conn.Write(framed); err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	packet, err := readFramed(conn)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	kind := q.check(packet)
	if kind != matching && kind != caseBroken {
		c.Counters.Mismatch.Inc()
		return result{}, fmt.Errorf("%w: the TCP reply is about something else", ErrTimeout)
	}
	msg, err := q.parse(packet)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return result{msg: msg, rtt: rtt, foldsCase: kind == caseBroken}, nil
}

func readFramed(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, packet)
	return packet, err
}
