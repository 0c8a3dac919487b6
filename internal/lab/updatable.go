package lab

import (
	"fmt"
	"path/filepath"
)

// Updatable starts another name server as the primary of one zone, which takes
// updates that the key signs and gives the zone to everybody. It is ready when
// it answers.
func (l *Lab) Updatable(program Program, address, zone, text string, key TSIG) {
	l.t.Helper()
	name := "updated-" + string(program)
	dir := l.place(name)
	file := l.Write(filepath.Join(dir, "zone"), text)
	switch program {
	case BIND:
		conf := l.Write(filepath.Join(dir, "named.conf"), fmt.Sprintf(`
options {
	directory %[1]q;
	pid-file none;
	session-keyfile "%[1]s/session.key";
	listen-on { %[2]s; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	allow-transfer { any; };
	notify no;
};
controls { };
key %[3]q { algorithm %[4]s; secret %[5]q; };
zone %[6]q { type primary; file %[7]q; allow-update { key %[3]q; }; check-names ignore; check-integrity no; };
`, dir, address, key.Name, key.Algorithm, key.Secret, zone, file))
		l.startApart(l.newLog(name), []string{address}, l.program("named", "bind9"), "-4", "-g", "-n", "1", "-c", conf)
	case Knot:
		conf := l.Write(filepath.Join(dir, "knot.conf"), fmt.Sprintf(`server:
    rundir: %[1]q
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    listen: %[2]s@53
database:
    storage: %[1]q
log:
  - target: stderr
    any: info
key:
  - id: %[3]q
    algorithm: %[4]s
    secret: %[5]q
acl:
  - id: all
    address: 0.0.0.0/0
    action: transfer
  - id: update
    key: %[3]q
    action: [update, transfer]
zone:
  - domain: %[6]q
    file: %[7]q
    acl: [update, all]
`, dir, address, key.Name, key.Algorithm, key.Secret, zone, file))
		l.again(l.newLog(name), l.program("knotd", "knot"), "-c", conf)
	default:
		l.t.Fatalf("%s takes no updates here", program)
	}
	l.Eventually(name, func() error {
		_, err := Serial(address, zone)
		return err
	})
}
