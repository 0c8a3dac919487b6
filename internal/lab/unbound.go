package lab

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// startUnbound runs the resolver of the other organisations. It does not
// validate.
func (in *Internet) startUnbound() {
	l := in.l
	l.t.Helper()
	dir := l.place("unbound")
	var open strings.Builder
	for _, z := range in.zones {
		// Unbound answers the reverse zones of documentation addresses itself
		// unless it is told that they exist.
		if strings.HasSuffix(z.Name, ".arpa.") {
			fmt.Fprintf(&open, "\tlocal-zone: %q nodefault\n", z.Name)
		}
	}
	file := l.Write(dir+"/unbound.conf", fmt.Sprintf(`server:
	do-daemonize: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: %[1]q
	use-syslog: no
	verbosity: 1
	num-threads: 1
	interface: %[2]s
	outgoing-interface: %[2]s
	do-ip6: no
	access-control: 0.0.0.0/0 allow
	root-hints: %[3]q
	module-config: "iterator"
%[4]sremote-control:
	control-enable: yes
	control-interface: "%[1]s/control"
	control-use-cert: no
`, dir, in.Resolver, in.Hints, open.String()))
	in.unbound = l.Start("unbound", l.program("unbound", "unbound"), "-d", "-p", "-c", file)
	in.l.awaitSOA(in.unbound, in.Resolver, dns.Fqdn("."), 1)
}

// Flush makes Unbound forget everything, dead servers too.
func (in *Internet) Flush() {
	in.l.t.Helper()
	conf := in.l.Path("unbound", "unbound.conf")
	control := in.l.program("unbound-control", "unbound")
	in.l.Exec(control, "-c", conf, "flush_zone", ".").Want(0)
	in.l.Exec(control, "-c", conf, "flush_infra", "all").Want(0)
}
