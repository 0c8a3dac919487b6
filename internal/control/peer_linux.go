package control

import (
	"net"

	"golang.org/x/sys/unix"

	"postern/internal/manage"
)

// peer asks the kernel who is at the other end (unix(7), SO_PEERCRED).
func peer(conn *net.UnixConn) (manage.Caller, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return manage.Caller{}, err
	}
	var cred *unix.Ucred
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return manage.Caller{}, err
	}
	if sockErr != nil {
		return manage.Caller{}, sockErr
	}
	return manage.Caller{UID: cred.Uid, PID: cred.Pid}, nil
}
