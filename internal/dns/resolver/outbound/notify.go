package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"postern/internal/dns/dsync"
	"postern/internal/dns/name"
)

// Notify tells a server that the zone's records of a type have changed, and
// returns the rcode of its reply. The same addresses are refused as for
// questions: who publishes an endpoint does not choose whom in our network we
// write to. A lost message is sent once more: who calls comes again later.
func (c *Client) Notify(ctx context.Context, to netip.AddrPort, zone name.Name, about uint16) (rcode int, err error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if !c.Usable(to.Addr(), false) {
		return 0, ErrRefused
	}
	for range 2 {
		if rcode, err = c.notify(ctx, to, zone, about); err == nil || ctx.Err() != nil {
			break
		}
	}
	return rcode, err
}

func (c *Client) notify(ctx context.Context, to netip.AddrPort, zone name.Name, about uint16) (int, error) {
	id, err := c.random()
	if err != nil {
		return 0, fmt.Errorf("random id: %w", err)
	}
	msg := dsync.Notify(uint16(id), zone, about)
	if mapped, ok := c.cfg.UpstreamMap[to.Addr()]; ok {
		to = mapped
	}
	conn, err := c.dialUDPTo(to)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was promised
	if err := conn.SetDeadline(time.Now().Add(c.cfg.Timeout)); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // cuts the wait short
	c.Counters.Notifies.Inc()
	if _, err := conn.Write(msg); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return c.acknowledged(ctx, conn, msg)
}

// acknowledged waits for the reply. What is none does not end the wait, until
// too much of it has come.
func (c *Client) acknowledged(ctx context.Context, conn *net.UDPConn, msg []byte) (int, error) {
	buf := make([]byte, maxPacket)
	for range maxNearMisses {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, waited(ctx)
		case errors.Is(err, syscall.ECONNREFUSED): // can be forged
			continue
		case err != nil:
			return 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		if rcode, ok := dsync.Answers(msg, buf[:n]); ok {
			return rcode, nil
		}
		c.Counters.Mismatch.Inc()
	}
	return 0, ErrTimeout
}
