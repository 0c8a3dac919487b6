package deliver

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

func dial(ctx context.Context, network, addr string, local netip.Addr) (net.Conn, error) {
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext(ctx, network, addr)
}

// source picks the address to come from. Sources are for the world: a
// configured hop may lie where they do not lead.
func (c *Client) source(p peer) (netip.Addr, error) {
	if p.hop.Static || !p.ip.IsValid() || len(c.cfg.Sources) == 0 {
		return netip.Addr{}, nil
	}
	i := slices.IndexFunc(c.cfg.Sources, func(a netip.Addr) bool { return a.Is4() == p.ip.Addr().Is4() })
	if i < 0 {
		return netip.Addr{}, errNoSource
	}
	return c.cfg.Sources[i], nil
}
