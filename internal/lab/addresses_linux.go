package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// ListAddresses gives addresses to the interface itself, for programs that
// look there. Postern takes all of these for its own, so no peer may have them.
func (l *Lab) ListAddresses(addresses ...string) {
	l.t.Helper()
	var batch strings.Builder
	for _, address := range addresses {
		// Without duplicate address detection an IPv6 address works at once.
		mark := ""
		if netip.MustParseAddr(address).Is6() {
			mark = " nodad"
		}
		fmt.Fprintf(&batch, "addr replace %s dev lo%s\n", address, mark)
	}
	if err := ipBatch(batch.String()); err != nil {
		l.t.Fatal(err)
	}
}

// startApart runs a program in a further network namespace, where an interface
// lists its IPv4 addresses; they are reached from here as all others are.
func (l *Lab) startApart(log *Log, addresses []string, program string, args ...string) *Process {
	l.t.Helper()
	// It waits until its network is there.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `read go && exec "$0" "$@"`, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	gate, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	p := l.launch(log.name, log, cmd)
	l.apart++
	pid, link := p.cmd.Process.Pid, "apart"+strconv.Itoa(l.apart)

	var here, there strings.Builder
	fmt.Fprintf(&here, "link add %[1]s type veth peer name edge netns %[2]d\nlink set %[1]s up\n", link, pid)
	there.WriteString("link set lo up\nlink set edge up\n")
	for _, address := range addresses {
		// In the table that makes the whole network local, the longer prefix wins.
		fmt.Fprintf(&here, "route replace %s/32 dev %s src %s table local\n", address, link, elsewhere)
		fmt.Fprintf(&there, "addr add %s/32 dev edge\n", address)
	}
	there.WriteString("route add default dev edge\n")
	if err := ipBatch(here.String()); err != nil {
		l.t.Fatal(err)
	}
	l.ExecInput(there.String(), l.program("nsenter", "util-linux"), "--net=/proc/"+strconv.Itoa(pid)+"/ns/net", "ip", "-batch", "-").Want(0)
	if _, err := gate.Write([]byte("go\n")); err != nil {
		l.t.Fatal(err)
	}
	return p
}

// elsewhere is who asks a program that runs apart, if the asker does not choose.
const elsewhere = "192.0.2.254"
