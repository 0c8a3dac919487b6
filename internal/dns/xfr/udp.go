package xfr

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// exchangeUDP asks by UDP. The socket is connected: it takes nothing from other
// addresses, and hears that nobody listens.
func exchangeUDP(ctx context.Context, from netip.Addr, to netip.AddrPort, request []byte) ([]byte, error) {
	var d net.Dialer
	if from.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	c, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", to, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(request); err != nil {
		return nil, fmt.Errorf("ask %s: %w", to, err)
	}
	reply := make([]byte, 4096)
	for {
		n, err := c.Read(reply)
		if err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("%s does not answer: %w", to, ctx.Err())
			}
			return nil, fmt.Errorf("ask %s: %w", to, err)
		}
		if n >= 2 && string(reply[:2]) == string(request[:2]) {
			return reply[:n], nil
		}
	}
}
