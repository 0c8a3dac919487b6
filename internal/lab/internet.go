package lab

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Program is a name server's program.
type Program string

// The authoritative servers the lab knows. NSD is the default for zones of the
// tree; PowerDNS is a secondary only.
const (
	NSD      Program = "nsd"
	BIND     Program = "bind"
	Knot     Program = "knot"
	PowerDNS Program = "powerdns"
)

// Zone is one zone of the tree. The root and the top-level zones come by
// themselves; to choose their program or add to them, list them too ("." is
// the root).
type Zone struct {
	Name string
	// Text is the zone in master-file form, relative to Name. SOA, NS and the
	// address of ns.NAME are added unless it has a SOA; delegations to the
	// zones below are always added.
	Text string
	// Server is the program that serves it.
	Server Program
	// At delegates the zone to ns.NAME at this address, which is not the
	// lab's: that of the Postern under test, say. Text is not used.
	At string
}

// Internet is a running tree of zones with Unbound, as everybody's resolver,
// above it.
type Internet struct {
	// Resolver is the address of Unbound, and what resolv.conf says.
	Resolver string
	// Hints is a root hints file for other resolvers.
	Hints string

	l       *Lab
	zones   []*zone // parents before children
	unbound *Process
}

// zone is a Zone in service.
type zone struct {
	Zone
	address string // IPv4 of its name server
	six     string // IPv6 of it; "" where delegated away, on BIND, or without IPv6
	serial  int
	file    string
	server  *Process
}

// resolverAddress is where Unbound listens.
const resolverAddress = "192.0.2.53"

var hasSOA = regexp.MustCompile(`(?mi)^[^;"]*\sSOA\s`)

// Internet serves the zones and everything above them, starts Unbound, and
// makes it the resolver of this world. Each level of the tree is a process of
// its own, so that a resolver has to follow every delegation.
func (l *Lab) Internet(zones ...Zone) *Internet {
	l.t.Helper()
	in := &Internet{Resolver: resolverAddress, Hints: l.Path("root.hints"), l: l}
	for i, z := range withParents(zones) {
		at := &zone{Zone: z, address: z.At, serial: 1}
		if z.At == "" {
			at.address = fmt.Sprintf("192.0.2.%d", i+1)
			// Where BIND runs, IPv6 does not reach.
			if hasIPv6() && z.Server != BIND {
				at.six = fmt.Sprintf("2001:db8::%d", i+1)
			}
		}
		if i+1 >= 53 {
			l.t.Fatal("lab: more zones than addresses below the resolver's")
		}
		in.zones = append(in.zones, at)
	}
	l.Write(in.Hints, in.HintsText())
	in.serve()
	in.startUnbound()
	in.resolve(in.Resolver)
	return in
}

// resolve makes address the resolver of every program in this world.
func (in *Internet) resolve(address string) {
	// Not replaced but written: a file system is mounted over this very file.
	if err := os.WriteFile(in.l.Path("resolv.conf"), []byte("nameserver "+address+"\noptions timeout:2 attempts:2\n"), 0o644); err != nil {
		in.l.t.Fatal(err)
	}
}

// withParents adds the root and missing top-level zones, and sorts parents
// before children; among equals the order given stays.
func withParents(zones []Zone) []Zone {
	var all []Zone
	seen := map[string]bool{}
	add := func(z Zone) {
		z.Name = dns.CanonicalName(z.Name)
		if z.Server == "" {
			z.Server = NSD
		}
		if !seen[z.Name] {
			seen[z.Name] = true
			all = append(all, z)
		}
	}
	for _, z := range zones {
		add(z)
	}
	add(Zone{Name: "."})
	for _, z := range zones {
		if labels := dns.SplitDomainName(z.Name); len(labels) > 0 {
			add(Zone{Name: labels[len(labels)-1]})
		}
	}
	slices.SortStableFunc(all, func(a, b Zone) int { return dns.CountLabel(a.Name) - dns.CountLabel(b.Name) })
	return all
}

// serve writes the zone files and starts one process for each level and
// program.
func (in *Internet) serve() {
	in.l.t.Helper()
	type group struct {
		program Program
		level   int
	}
	groups := map[group][]*zone{}
	var order []group
	for _, z := range in.zones {
		if z.At != "" {
			continue
		}
		g := group{z.Server, dns.CountLabel(z.Name)}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], z)
	}
	starters := map[Program]func(name string, zones []*zone) *Process{
		NSD: in.l.startNSD, BIND: in.l.startBIND, Knot: in.l.startKnot,
	}
	for _, g := range order {
		start, ok := starters[g.program]
		if !ok {
			in.l.t.Fatalf("lab: no name server program %q", g.program)
		}
		name := fmt.Sprintf("%s-level%d", g.program, g.level)
		dir := in.l.place(name)
		for _, z := range groups[g] {
			z.file = dir + "/" + strings.ReplaceAll(z.Name, "/", "%2F") + "zone"
			in.l.Write(z.file, in.text(z))
		}
		server := start(name, groups[g])
		for _, z := range groups[g] {
			z.server = server
		}
	}
	for _, g := range order {
		for _, z := range groups[g] {
			in.l.awaitSOA(z.server, z.address, z.Name, uint32(z.serial))
		}
	}
}

// text is the whole zone file: what the test wrote and what the tree adds.
func (in *Internet) text(z *zone) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s\n$TTL 300\n", z.Name)
	if !hasSOA.MatchString(z.Text) {
		fmt.Fprintf(&b, "@ SOA %s hostmaster.%s %d 3600 600 86400 60\n", nsName(z.Name), strings.TrimPrefix(z.Name, "."), z.serial)
		fmt.Fprintf(&b, "@ NS %s\n%s", nsName(z.Name), z.glue())
	}
	for _, child := range in.zones {
		if in.parent(child) != z {
			continue
		}
		fmt.Fprintf(&b, "%s NS %s\n%s", child.Name, nsName(child.Name), child.glue())
	}
	b.WriteString(dedent(z.Text))
	b.WriteString("\n")
	return b.String()
}

// glue is the address records of the zone's name server.
func (z *zone) glue() string {
	records := fmt.Sprintf("%s 3600 A %s\n", nsName(z.Name), z.address)
	if z.six != "" {
		records += fmt.Sprintf("%s 3600 AAAA %s\n", nsName(z.Name), z.six)
	}
	return records
}

// addresses are those that the zone's server listens on.
func (z *zone) addresses() []string {
	if z.six == "" {
		return []string{z.address}
	}
	return []string{z.address, z.six}
}

// nsName is the name of a zone's one name server.
func nsName(zone string) string {
	if zone == "." {
		return "ns.root."
	}
	return "ns." + zone
}

// parent is the nearest zone above.
func (in *Internet) parent(child *zone) *zone { return in.above(child.Name) }

// above is the nearest zone above a name.
func (in *Internet) above(child string) *zone {
	var nearest *zone
	for _, z := range in.zones {
		if z.Name != child && dns.IsSubDomain(z.Name, child) {
			nearest = z // the longest comes last
		}
	}
	return nearest
}

func (in *Internet) zone(name string) *zone {
	in.l.t.Helper()
	name = dns.CanonicalName(name)
	for _, z := range in.zones {
		if z.Name == name {
			return z
		}
	}
	in.l.t.Fatalf("lab: no zone %s in this tree", name)
	return nil
}

// Address returns the address of a zone's name server.
func (in *Internet) Address(name string) string {
	in.l.t.Helper()
	return in.zone(name).address
}

// HintsText is a root hints file, to be put where a resolver may read it.
func (in *Internet) HintsText() string { return ". 3600 NS ns.root.\n" + in.zones[0].glue() }

// Change replaces a zone's text, waits until its server answers it, and makes
// Unbound forget everything.
func (in *Internet) Change(name, text string) {
	in.l.t.Helper()
	z := in.zone(name)
	if hasSOA.MatchString(text) {
		in.l.t.Fatal("lab: Change counts the serial itself; leave out the SOA")
	}
	z.Text = text
	z.serial++
	in.l.Write(z.file, in.text(z))
	// SIGHUP makes all three programs read their zone files again.
	z.server.Signal(hangUp)
	in.l.awaitSOA(z.server, z.address, z.Name, uint32(z.serial))
	in.Flush()
}

// Cut ends the process that serves a zone, and with it its whole level.
func (in *Internet) Cut(name string) {
	in.l.t.Helper()
	in.zone(name).server.Kill9()
}

// awaitSOA waits until a server answers a zone with at least this serial.
func (l *Lab) awaitSOA(server *Process, address, zone string, serial uint32) {
	l.t.Helper()
	l.Eventually(fmt.Sprintf("zone %s at %s", zone, address), func() error {
		server.alive()
		m := new(dns.Msg)
		m.SetQuestion(zone, dns.TypeSOA)
		reply, _, err := resolverClient.Exchange(m, address+":53")
		switch {
		case err != nil:
			return err
		case reply.Rcode != dns.RcodeSuccess || len(reply.Answer) != 1:
			return fmt.Errorf("rcode %s, %d answers", dns.RcodeToString[reply.Rcode], len(reply.Answer))
		}
		if soa, ok := reply.Answer[0].(*dns.SOA); !ok || soa.Serial < serial {
			return fmt.Errorf("not serial %d: %v", serial, reply.Answer[0])
		}
		return nil
	})
}
