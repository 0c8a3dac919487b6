package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

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

	l *Lab
}

// SignedTree signs and serves the zones and starts Unbound.
func (l *Lab) SignedTree(zones ...SignedZone) *SignedTree {
	l.t.Helper()
	dir := l.place("signed")
	tree := &SignedTree{Hints: l.Path("root.hints"), Anchor: dir + "/root.anchor", Resolver: resolverAddress, l: l}
	all := append([]SignedZone{{Name: "."}}, zones...)
	in := &Internet{l: l}
	for i, z := range all {
		all[i].Name = dns.CanonicalName(z.Name)
		if !slices.ContainsFunc(zones, func(o SignedZone) bool { return i == 0 && dns.CanonicalName(o.Name) == "." }) {
			in.zones = append(in.zones, &zone{Zone: Zone{Name: all[i].Name, Text: z.Text}, address: fmt.Sprintf("192.0.2.%d", len(in.zones)+1), serial: 1})
		}
	}
	slices.SortStableFunc(in.zones, func(a, b *zone) int { return dns.CountLabel(a.Name) - dns.CountLabel(b.Name) })
	for i := len(in.zones) - 1; i >= 0; i-- { // leaves first: the parents take their DS
		z := in.zones[i]
		how := all[slices.IndexFunc(all, func(s SignedZone) bool { return s.Name == z.Name })]
		ds := tree.sign(in, z, how, dir)
		if how.DS != nil {
			ds = how.DS(ds)
		}
		if parent := in.parent(z); parent != nil && z.Name != "." {
			parent.Text += "\n" + ds
		} else {
			l.Write(tree.Anchor, ds)
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
		server := l.startNSD(name, group)
		for _, z := range group {
			l.awaitSOA(server, z.address, z.Name, 1)
		}
	}
	tree.startUnbound()
	return tree
}

// sign writes the zone's file, signed if it is to be, and returns its DS set.
func (tree *SignedTree) sign(in *Internet, z *zone, how SignedZone, dir string) string {
	l := tree.l
	l.t.Helper()
	base := strings.ReplaceAll(z.Name, "/", "%2F") + "zone"
	z.file = l.Write(dir+"/"+base, in.text(z))
	if how.Algorithm == "none" {
		return ""
	}
	algorithm := how.Algorithm
	if algorithm == "" {
		algorithm = "ECDSAP256SHA256"
	}
	if strings.HasPrefix(algorithm, "RSA") {
		algorithm += " -b 2048"
	}
	l.program("dnssec-signzone", "bind9-utils")
	mode := "-z"
	l.Shell(dir, fmt.Sprintf("dnssec-keygen -q -K . -a %s -f KSK %q", algorithm, z.Name)).Want(0)
	if how.Keys == "ksk+zsk" {
		mode = ""
		l.Shell(dir, fmt.Sprintf("dnssec-keygen -q -K . -a %s %q", algorithm, z.Name)).Want(0)
	}
	l.Shell(dir, fmt.Sprintf("dnssec-signzone -S %s -K . -d . -P %s -o %q -f %q %q", mode, how.Options, z.Name, base+".signed", base)).Want(0)
	z.file += ".signed"
	l.Write(z.file, withoutDSYNC(l.Shell(dir, fmt.Sprintf("cat %q", base+".signed")).Want(0).Stdout))
	return l.Shell(dir, fmt.Sprintf("cat %q", "dsset-"+z.Name)).Want(0).Stdout
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

func (tree *SignedTree) startUnbound() {
	l := tree.l
	l.t.Helper()
	dir := l.place("unbound")
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
	trust-anchor-file: %[4]q
	module-config: "validator iterator"
	val-nsec3-keysize-iterations: "1024 50 2048 50 4096 50"
	val-clean-additional: no
remote-control:
	control-enable: no
`, dir, tree.Resolver, tree.Hints, tree.Anchor))
	server := l.Start("unbound", l.program("unbound", "unbound"), "-d", "-p", "-c", file)
	l.Eventually("unbound", func() error {
		server.alive()
		_, err := tree.unbound(".", dns.TypeSOA)
		return err
	})
}

func (tree *SignedTree) unbound(name string, rtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, rtype)
	m.SetEdns0(4096, true)
	reply, _, err := resolverClient.Exchange(m, tree.Resolver+":53")
	return reply, err
}

// Unbound says what Unbound makes of a question: secure, insecure or bogus.
func (tree *SignedTree) Unbound(name string, rtype uint16) string {
	tree.l.t.Helper()
	verdict := ""
	tree.l.Eventually("unbound about "+name, func() error {
		m, err := tree.unbound(name, rtype)
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
	delv := tree.l.program("delv", "bind9-dnsutils")
	anchors := tree.l.Path("signed", "delv.anchors")
	var b strings.Builder
	for line := range strings.Lines(tree.l.Shell(tree.l.Path("signed"), "cat root.anchor").Stdout) {
		if f := strings.Fields(line); len(f) > 6 {
			fmt.Fprintf(&b, "\t. static-ds %s %s %s \"%s\";\n", f[3], f[4], f[5], strings.Join(f[6:], ""))
		}
	}
	tree.l.Write(anchors, "trust-anchors {\n"+b.String()+"};\n")
	out := tree.l.Exec(delv, "@"+tree.Resolver, "-a", anchors, "+root=.", name, dns.TypeToString[rtype])
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
