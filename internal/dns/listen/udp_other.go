//go:build !linux

package listen

import (
	"net"
	"net/netip"
	"syscall"
)

// maxSockets: sharing a port evenly is a matter of Linux.
const maxSockets = 1

func newPackets(conn *net.UDPConn, local netip.Addr, _ bool, _ *Counters) (packets, error) {
	return &plain{conn: conn, local: local}, nil
}

// options sets nothing; a wildcard address answers from where routing says.
func options(Transport, bool) func(network, address string, c syscall.RawConn) error { return nil }
