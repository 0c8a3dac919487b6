package lab

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const hangUp = syscall.SIGHUP

// resolverClient asks whether a server is up; a lost packet is asked again.
var resolverClient = &dns.Client{Timeout: time.Second}

// startNSD serves zones with NSD.
func (l *Lab) startNSD(name string, zones []*zone) *Process {
	l.t.Helper()
	dir := l.Path(name)
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
	server-count: 1
	username: ""
	database: ""
	hide-version: yes
	rrl-ratelimit: 0
	zonesdir: %[1]q
	pidfile: "%[1]s/nsd.pid"
	xfrdfile: "%[1]s/xfrd.state"
	zonelistfile: "%[1]s/zone.list"
	xfrdir: %[1]q
`, dir)
	for _, z := range zones {
		for _, address := range z.addresses() {
			fmt.Fprintf(&conf, "\tip-address: %s\n", address)
		}
	}
	conf.WriteString("remote-control:\n\tcontrol-enable: no\n")
	for _, z := range zones {
		fmt.Fprintf(&conf, "zone:\n\tname: %q\n\tzonefile: %q\n", z.Name, z.file)
	}
	file := l.Write(filepath.Join(dir, "nsd.conf"), conf.String())
	return l.Start(name, l.program("nsd", "nsd"), "-d", "-c", file)
}

// startBIND serves zones with BIND 9. It listens on addresses that an interface
// lists and no others, and Postern takes such addresses for its own: so BIND
// has a namespace of its own.
func (l *Lab) startBIND(name string, zones []*zone) *Process {
	l.t.Helper()
	dir := l.Path(name)
	var addresses []string
	var entries strings.Builder
	for _, z := range zones {
		addresses = append(addresses, z.address)
		fmt.Fprintf(&entries, "zone %q { type primary; file %q; };\n", z.Name, z.file)
	}
	file := l.Write(filepath.Join(dir, "named.conf"), fmt.Sprintf(`
options {
	directory %[1]q;
	pid-file none;
	session-keyfile "%[1]s/session.key";
	listen-on { %[2]s; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	allow-transfer { none; };
	notify no;
	version none;
};
controls { };
%[3]s`, dir, strings.Join(addresses, "; "), entries.String()))
	return l.startApart(l.newLog(name), addresses, l.program("named", "bind9"), "-4", "-g", "-n", "1", "-c", file)
}

// startKnot serves zones with Knot DNS.
func (l *Lab) startKnot(name string, zones []*zone) *Process {
	l.t.Helper()
	dir := l.Path(name)
	var listen, entries strings.Builder
	for _, z := range zones {
		for _, address := range z.addresses() {
			fmt.Fprintf(&listen, "    listen: %s@53\n", address)
		}
		fmt.Fprintf(&entries, "  - domain: %q\n    file: %q\n", z.Name, z.file)
	}
	file := l.Write(filepath.Join(dir, "knot.conf"), fmt.Sprintf(`server:
    rundir: %[1]q
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
%[2]sdatabase:
    storage: "%[1]s/db"
log:
  - target: stderr
    any: info
template:
  - id: default
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
%[3]s`, dir, listen.String(), entries.String()))
	return l.Start(name, l.program("knotd", "knot"), "-c", file)
}
