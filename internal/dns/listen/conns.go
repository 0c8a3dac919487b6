package listen

import (
	"net"
	"net/netip"
	"sync"

	"postern/internal/metrics"
)

// conns knows the open connections of some transports and bounds them.
type conns struct {
	limits  Limits
	counted admissions

	mu     sync.Mutex   // guards what follows
	open   map[bool]int // of insiders and of the others: each has the whole bound
	client map[netip.Prefix]int
}

// admissions counts what became of connections.
type admissions struct{ accepted, refusedTotal, refusedClient *metrics.Counter }

func newConns(limits Limits, counted admissions) *conns {
	return &conns{limits: limits, counted: counted, open: map[bool]int{}, client: map[netip.Prefix]int{}}
}

// number returns how many are open.
func (c *conns) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[true] + c.open[false]
}

// admit counts a connection in; false: it must be closed.
func (c *conns) admit(client netip.Addr, insider bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[insider] >= c.limits.Conns {
		c.counted.refusedTotal.Inc()
		return false
	}
	key := prefix(client)
	exempt := c.limits.Exempt != nil && c.limits.Exempt(client)
	if c.client[key] >= c.limits.PerClient && !exempt {
		c.counted.refusedClient.Inc()
		return false
	}
	c.open[insider]++
	c.client[key]++
	c.counted.accepted.Inc()
	return true
}

func (c *conns) leave(client netip.Addr, insider bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := prefix(client)
	c.open[insider]--
	if c.client[key]--; c.client[key] == 0 {
		delete(c.client, key)
	}
}

// prefix is what counts as one client: of IPv6, what one household has.
func prefix(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.WithZone("").Prefix(bits) // both lengths are right for their family
	return p
}

// addrPort returns the address of a TCP end, IPv4 as such.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
