package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// These can be bound and reached in every world, each address of them.
const (
	networks4 = "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 10.0.0.0/8"
	networks6 = "2001:db8::/32 fd00::/8"
)

// nonlocalBind lets programs bind an IPv6 address that no interface lists;
// IPv4 allows that by the route alone. It is missing where IPv6 is.
const nonlocalBind = "/proc/sys/net/ipv6/ip_nonlocal_bind"

// furnish sets up the empty namespaces: scratch space, addresses, /proc for
// the processes of this world, and a resolv.conf that Internet fills in.
func furnish(dir string) error {
	if err := unix.Mount("lab", dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount scratch space: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := addresses(); err != nil {
		return err
	}
	return resolvConf(dir)
}

// addresses makes whole networks local ("AnyIP"), without listing an address.
func addresses() error {
	var batch strings.Builder
	batch.WriteString("link set lo up\n")
	networks := strings.Fields(networks4)
	if hasIPv6() {
		networks = append(networks, strings.Fields(networks6)...)
		if err := os.WriteFile(nonlocalBind, []byte("1"), 0o644); err != nil {
			return err
		}
	}
	for _, network := range networks {
		fmt.Fprintf(&batch, "route add local %s dev lo\n", network)
	}
	return ipBatch(batch.String())
}

func hasIPv6() bool {
	_, err := os.Stat(nonlocalBind)
	return err == nil
}

// ipBatch runs lines of ip(8); each is of one family by its addresses.
func ipBatch(lines string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip (Debian package iproute2): %w: %s", err, out)
	}
	return nil
}

// resolvConf puts our file over the system's, in this mount namespace only. It
// stays the same file afterwards, so that writing to it is enough.
func resolvConf(dir string) error {
	path := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(path, []byte("# no resolver yet\n"), 0o644); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return fmt.Errorf("cover /etc/resolv.conf, which must exist: %w", err)
	}
	if err := unix.Mount(path, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover %s: %w", target, err)
	}
	return nil
}
