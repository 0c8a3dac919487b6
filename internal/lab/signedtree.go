package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

// SignedZone is one zone of a SignedTree. The root comes by itself; every other
// parent has to be listed.
type SignedZone struct {
	Name string
	// Text is the zone in master-file form, relative to Name. SOA, NS, glue,
	// delegations to the zones below and their DS are added.
	Text string
	// Algorithm is dnssec-keygen's word (ECDSAP256SHA256); "none": not signed.
	Algorithm string
	// Keys is "ksk+zsk" for a pair.
	Keys string
	// Options are more options of dnssec-signzone: "-3 - -A" say, or times.
	Options string
	// DS changes what the parent gets: the lines of the zone's DS set.
	DS func(lines string) string
}

// SignedTree is a running tree of zones that BIND's tools signed and NSD
// serves, each level with a process of its own, with a validating Unbound.
type SignedTree struct {
	Hints    string // a root hints file
	Anchor   string // a file with the DS set of the root
	Resolver string // the address of Unbound

	l       *Lab
	in      *Internet
	how     map[string]SignedZone // by the zone's name
	below   map[string]string     // the DS lines that its parent has, by the zone's name
	servers map[int]*Process      // by level
}

// SignedTree signs and serves the zones and starts Unbound.
func (l *Lab) SignedTree(zones ...SignedZone) *SignedTree {
	l.t.Helper()
	dir := l.place("signed")
	tree := &SignedTree{
		Hints: l.Path("root.hints"), Anchor: dir + "/root.anchor", Resolver: resolverAddress, l: l, in: &Internet{l: l},
		how: map[string]SignedZone{}, below: map[string]string{}, servers: map[int]*Process{},
	}
	in := tree.in
	for i, z := range append([]SignedZone{{Name: "."}}, zones...) {
		z.Name = dns.CanonicalName(z.Name)
		tree.how[z.Name] = z
		if !slices.ContainsFunc(zones, func(o SignedZone) bool { return i == 0 && dns.CanonicalName(o.Name) == "." }) {
			in.zones = append(in.zones, &zone{Zone: Zone{Name: z.Name, Text: z.Text}, address: fmt.Sprintf("192.0.2.%d", len(in.zones)+1), serial: 1})
		}
	}
	slices.SortStableFunc(in.zones, func(a, b *zone) int { return dns.CountLabel(a.Name) - dns.CountLabel(b.Name) })
	for i := len(in.zones) - 1; i >= 0; i-- { // leaves first: the parents take their DS
		z := in.zones[i]
		ds := tree.sign(z)
		if how := tree.how[z.Name]; how.DS != nil {
			ds = how.DS(ds)
		}
		if z.Name == "." {
			l.Write(tree.Anchor, ds)
		} else {
			tree.below[z.Name] = ds
		}
	}
	l.Write(tree.Hints, in.HintsText())
	byLevel := map[int][]*zone{}
	for _, z := range in.zones {
		byLevel[dns.CountLabel(z.Name)] = append(byLevel[dns.CountLabel(z.Name)], z)
	}
	for level, group := range byLevel {
		name := fmt.Sprintf("nsd-signed%d", level)
		l.place(name)
		tree.servers[level] = l.startNSD(name, group)
		for _, z := range group {
			l.awaitSOA(tree.servers[level], z.address, z.Name, 1)
		}
	}
	tree.startUnbound("unbound", tree.Resolver, validates)
	return tree
}

// sign makes a zone's keys, writes its file, signed if it is to be, and returns
// its DS set.
func (tree *SignedTree) sign(z *zone) string {
	l, how := tree.l, tree.how[z.Name]
	l.t.Helper()
	algorithm := how.Algorithm
	switch {
	case algorithm == "none":
		tree.resign(z)
		return ""
	case algorithm == "":
		algorithm = "ECDSAP256SHA256"
	case strings.HasPrefix(algorithm, "RSA"):
		algorithm += " -b 2048"
	}
	dir := l.Path("signed")
	l.program("dnssec-signzone", "bind9-utils")
	l.Shell(dir, fmt.Sprintf("dnssec-keygen -q -K . -a %s -f KSK %q", algorithm, z.Name)).Want(0)
	if how.Keys == "ksk+zsk" {
		l.Shell(dir, fmt.Sprintf("dnssec-keygen -q -K . -a %s %q", algorithm, z.Name)).Want(0)
	}
	tree.resign(z)
	return l.Shell(dir, fmt.Sprintf("cat %q", "dsset-"+z.Name)).Want(0).Stdout
}

// resign writes the zone's file, with the DS sets of the zones below it.
func (tree *SignedTree) resign(z *zone) {
	l, how, dir := tree.l, tree.how[z.Name], tree.l.Path("signed")
	l.t.Helper()
	text := tree.in.text(z)
	for _, child := range slices.Sorted(maps.Keys(tree.below)) {
		if tree.in.above(child) == z {
			text += tree.below[child] + "\n"
		}
	}
	base := strings.ReplaceAll(z.Name, "/", "%2F") + "zone"
	z.file = l.Write(dir+"/"+base, text)
	if how.Algorithm == "none" {
		return
	}
	mode := "-z"
	if how.Keys == "ksk+zsk" {
		mode = ""
	}
	l.Shell(dir, fmt.Sprintf("dnssec-signzone -S %s -K . -d . -P %s -o %q -f %q %q", mode, how.Options, z.Name, base+".signed", base)).Want(0)
	z.file += ".signed"
	l.Write(z.file, withoutDSYNC(l.Shell(dir, fmt.Sprintf("cat %q", base+".signed")).Want(0).Stdout))
}

// Delegate gives a zone these DS lines at its parent, which is one of the tree,
// and waits until that serves them.
func (tree *SignedTree) Delegate(child, ds string) {
	tree.l.t.Helper()
	child = dns.CanonicalName(child)
	parent := tree.in.above(child)
	tree.below[child] = ds
	parent.serial++
	tree.resign(parent)
	server := tree.servers[dns.CountLabel(parent.Name)]
	server.Signal(syscall.SIGHUP)
	tree.l.awaitSOA(server, parent.address, parent.Name, uint32(parent.serial))
}

var dsync = regexp.MustCompile(`DSYNC\s+CDS\s+NOTIFY\s+(\d+)\s+(\S+)`)

// withoutDSYNC writes as unknown what BIND has a word for and NSD has none yet.
func withoutDSYNC(text string) string {
	text = dsync.ReplaceAllStringFunc(text, func(found string) string {
		part := dsync.FindStringSubmatch(found)
		port, _ := strconv.Atoi(part[1]) // the expression takes digits alone
		var target [255]byte
		n, err := dns.PackDomainName(part[2], target[:], 0, nil, false)
		if err != nil {
			return found
		}
		return fmt.Sprintf("TYPE66 \\# %d 003b01%04x%x", 5+n, port, target[:n])
	})
	return strings.ReplaceAll(text, "DSYNC", "TYPE66")
}

// validates is how the tree's own Unbound is told to judge what it is told.
const validates = `
	trust-anchor-file: %[4]q
	module-config: "validator iterator"
	val-log-level: 2
	val-nsec3-keysize-iterations: "1024 50 2048 50 4096 50"
	val-clean-additional: no`

// startUnbound starts one with more settings, into which the anchor goes as the
// fourth argument.
func (tree *SignedTree) startUnbound(name, address, more string) {
	l := tree.l
	l.t.Helper()
	dir := l.place(name)
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
remote-control:
	control-enable: yes
	control-interface: "%[1]s/control"
	control-use-cert: no
server:`+more+"\n", dir, address, tree.Hints, tree.Anchor))
	server := l.Start(name, l.program("unbound", "unbound"), "-d", "-p", "-c", file)
	l.Eventually(name, func() error {
		server.alive()
		_, err := resolve(address, ".", dns.TypeSOA)
		return err
	})
}

// resolve asks a resolver.
func resolve(address, name string, rtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, rtype)
	m.SetEdns0(4096, true)
	reply, _, err := resolverClient.Exchange(m, address+":53")
	return reply, err
}

// Unbound says what Unbound makes of a question: secure, insecure or bogus.
func (tree *SignedTree) Unbound(name string, rtype uint16) string {
	tree.l.t.Helper()
	return tree.verdict(tree.Resolver, name, rtype)
}

func (tree *SignedTree) verdict(address, name string, rtype uint16) string {
	tree.l.t.Helper()
	verdict := ""
	tree.l.Eventually("unbound about "+name, func() error {
		m, err := resolve(address, name, rtype)
		if err != nil {
			return err
		}
		verdict = "insecure"
		switch {
		case m.Rcode == dns.RcodeServerFailure:
			verdict = "bogus"
		case m.AuthenticatedData:
			verdict = "secure"
		}
		return nil
	})
	return verdict
}

// Delv says what BIND's delv makes of it, asking Unbound without validation.
func (tree *SignedTree) Delv(name string, rtype uint16) string {
	tree.l.t.Helper()
	return tree.delv(tree.Resolver, name, rtype)
}

func (tree *SignedTree) delv(address, name string, rtype uint16) string {
	tree.l.t.Helper()
	delv := tree.l.program("delv", "bind9-dnsutils")
	anchors := tree.l.Path("signed", "delv.anchors")
	var b strings.Builder
	for line := range strings.Lines(tree.l.Shell(tree.l.Path("signed"), "cat root.anchor").Stdout) {
		if f := strings.Fields(line); len(f) > 6 {
			fmt.Fprintf(&b, "\t. static-ds %s %s %s \"%s\";\n", f[3], f[4], f[5], strings.Join(f[6:], ""))
		}
	}
	tree.l.Write(anchors, "trust-anchors {\n"+b.String()+"};\n")
	out := tree.l.Exec(delv, "@"+address, "-a", anchors, "+root=.", name, dns.TypeToString[rtype])
	switch {
	case out.Has("fully validated"):
		return "secure"
	case out.Has("unsigned answer"):
		return "insecure"
	case out.Has("resolution failed"):
		return "bogus"
	}
	tree.l.t.Errorf("delv says\n%s", out)
	return ""
}
