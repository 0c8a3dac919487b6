package smtpd

import (
	"net"
	"syscall"
)

// waiting looks into a socket, without waiting, for octets that nobody has read
// yet. What cannot be looked into has none.
func waiting(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	found := false
	_ = raw.Read(func(fd uintptr) bool { // fails where the connection is gone, which the next read tells
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		found = n > 0 && err == nil
		return true
	})
	return found
}
