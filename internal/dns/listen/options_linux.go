package listen

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSockets bounds the UDP sockets of one address.
const maxSockets = 256

// bufferLen is asked for in both directions of a UDP socket; the system may
// give less. It outlasts a pause of some milliseconds at full load.
const bufferLen = 4 << 20

// options returns what is set on a socket before it is bound.
func options(t Transport, wildcard bool) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var err error
		ctl := c.Control(func(fd uintptr) { err = setOptions(int(fd), t, strings.HasSuffix(network, "6"), wildcard) })
		if ctl != nil {
			return fmt.Errorf("control: %w", ctl)
		}
		return err
	}
}

func setOptions(fd int, t Transport, v6, wildcard bool) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("SO_REUSEPORT: %w", err)
	}
	if !t.datagrams() {
		return nil
	}
	if t == QUIC { // the rest is set by who reads the socket
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferLen)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferLen)
		return nil
	}
	level, mtu, probe, info := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, unix.IP_PKTINFO
	if v6 {
		level, mtu, probe, info = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE, unix.IPV6_RECVPKTINFO
	}
	if wildcard {
		if err := unix.SetsockoptInt(fd, level, info, 1); err != nil {
			return fmt.Errorf("packet information: %w", err)
		}
	}
	// What follows is better had, but not needed. RFC 9715, Section 3.1 (R1, R2):
	// no fragments, here or on the way; and a forged "fragmentation needed" must
	// not shrink what we send.
	_ = unix.SetsockoptInt(fd, level, mtu, probe)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferLen)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferLen)
	return nil
}
