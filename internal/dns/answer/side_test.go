package answer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// peer is another server of the same file, on loopback.
type peer struct {
	name, address string
}

// freePort returns a port that is free for UDP and TCP, and below those that
// connections take for themselves.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		tcp, err := net.Listen("tcp", address)
		udp.Close()
		if err == nil {
			tcp.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// startPeers serves the file with NSD, Knot and BIND.
func startPeers(t *testing.T, file string) []peer {
	t.Helper()
	dir := filepath.Dir(file)
	confs := []struct{ name, program, conf string }{
		{"nsd", "/usr/sbin/nsd", "server:\n ip-address: 127.0.0.1@%[1]d\n server-count: 1\n username: \"\"\n rrl-ratelimit: 0\n zonesdir: %[2]q\n pidfile: \"%[2]s/nsd.pid\"\n" +
			" xfrdfile: \"%[2]s/xfrd\"\n zonelistfile: \"%[2]s/list\"\n xfrdir: %[2]q\n minimal-responses: yes\nremote-control:\n control-enable: no\nzone:\n name: side.test\n zonefile: %[3]q\n"},
		{"knot", "/usr/sbin/knotd", "server:\n  rundir: %[2]q\n  listen: 127.0.0.1@%[1]d\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\ndatabase:\n  storage: \"%[2]s/db\"\n" +
			"template:\n  - id: default\n    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\nzone:\n  - domain: side.test\n    file: %[3]q\n"},
		{"bind", "/usr/sbin/named", "options { directory %[2]q; pid-file none; session-keyfile \"%[2]s/session.key\"; listen-on port %[1]d { 127.0.0.1; }; listen-on-v6 { none; };\n" +
			"recursion no; dnssec-validation no; notify no; minimal-responses yes; };\ncontrols { };\nzone \"side.test\" { type primary; file %[3]q; check-names ignore; };\n"},
	}
	var peers []peer
	for _, c := range confs {
		port := freePort(t)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		conf := filepath.Join(dir, c.name+".conf")
		if err := os.WriteFile(conf, []byte(fmt.Sprintf(c.conf, port, dir, file)), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"-c", conf}
		switch c.name {
		case "nsd":
			args = append(args, "-d")
		case "bind":
			args = append(args, "-g", "-n", "1")
		}
		log, err := os.Create(filepath.Join(dir, c.name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(c.program, args...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			log.Close()
		})
		p := peer{c.name, address}
		if !p.answers(t) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("%s does not answer:\n%s", c.name, said)
		}
		peers = append(peers, p)
	}
	return peers
}

// answers waits until the peer serves the zone.
func (p peer) answers(t *testing.T) bool {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		m, _, err := (&dns.Client{Timeout: time.Second}).Exchange(new(dns.Msg).SetQuestion("side.test.", dns.TypeSOA), p.address)
		if err == nil && len(m.Answer) > 0 {
			return true
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return false
		}
	}
}

// sideView is what is compared: all but TTLs, which servers change in ways of
// their own, what need not be there, and the spelling of names in capitals.
func sideView(m *dns.Msg) string {
	brief := func(section []dns.RR, types ...uint16) string {
		var out []string
		for _, rr := range section {
			h := rr.Header()
			sig, signed := rr.(*dns.RRSIG)
			if h.Rrtype == dns.TypeOPT || len(types) > 0 && !slices.Contains(types, h.Rrtype) && !(signed && slices.Contains(types, sig.TypeCovered)) {
				continue
			}
			rr = dns.Copy(rr)
			rr.Header().Ttl = 0
			out = append(out, strings.ToLower(rr.String()))
		}
		slices.Sort(out)
		return strings.Join(slices.Compact(out), "\n")
	}
	authority := []uint16{dns.TypeSOA, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeDS}
	if len(m.Answer) == 0 {
		authority = nil
	}
	return fmt.Sprintf("%s, AA %v, AD %v\n%s\n--\n%s", dns.RcodeToString[m.Rcode], m.Authoritative, m.AuthenticatedData, brief(m.Answer), brief(m.Ns, authority...))
}

// neighbours are names right before, after, below and beside a name.
func neighbours(n string) []string {
	all := []string{n, "x." + n, "*." + n, "x.y." + n}
	if i, end := dns.NextLabel(n, 0); !end && n != "side.test." {
		all = append(all, n[:i-1]+"0."+n[i:], n[:i-1]+`\000.`+n[i:], "-"+n)
	}
	return all
}

// TestSideBySide asks NSD, Knot and BIND too, for all names of a zone signed by
// others and for their neighbours. What they agree on we say as well; where they
// differ, one of them says what we say.
//
// Where the RFCs leave freedom, they differ in: NSEC asked for at a cut (BIND
// gives it, others refer), NSEC and NSEC3 asked for at an alias (followed or
// not), a wildcard that is an empty non-terminal (one proof more or less), a
// name below what opt-out leaves out (NSD proves less), and a name that holds a
// zero octet (Knot takes another NSEC record).
func TestSideBySide(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"/usr/sbin/nsd", "/usr/sbin/knotd", "/usr/sbin/named", "dnssec-keygen", "dnssec-signzone"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip("another server or signer is not here:", err)
		}
	}
	for _, c := range []struct {
		name string
		args []string
	}{{"nsec", nil}, {"nsec3", []string{"-3", "-", "-H", "0"}}, {"nsec3 salt", []string{"-3", "aabb", "-H", "5"}}, {"opt-out", []string{"-3", "-", "-H", "0", "-A"}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			run := func(program string, args ...string) {
				t.Helper()
				cmd := exec.Command(program, args...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", program, err, out)
				}
			}
			text, err := os.ReadFile("testdata/side.zone")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "side"), text, 0o600); err != nil {
				t.Fatal(err)
			}
			run("dnssec-keygen", "-a", "13", "-f", "KSK", "side.test")
			run("dnssec-signzone", append(c.args, "-S", "-z", "-P", "-O", "full", "-o", "side.test", "-f", "signed", "side")...)
			sideBySide(t, filepath.Join(dir, "signed"))
		})
	}
}

func sideBySide(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	src := build(t, parse(t, string(text)))
	w := &world{zones: []*Zone{Compile(src)}}
	peers := startPeers(t, file)
	conns := make([]*dns.Conn, len(peers))
	for i, p := range peers {
		if conns[i], err = (&dns.Client{UDPSize: 4096}).DialContext(t.Context(), p.address); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	asked, alone := 0, map[string]int{}
	for n := range src.Nodes() {
		if n.Set(dns.TypeNSEC3) != nil && len(n.Name.String())%3 > 0 {
			continue
		}
		for i, qname := range neighbours(n.Name.String()) {
			types := []uint16{dns.TypeA, dns.TypeDS, dns.TypeTXT}
			if i == 0 {
				types = append(types, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY)
			}
			for _, qtype := range types {
				m, _, _ := w.ask(t, qname, qtype, 4096, func(m *dns.Msg) { m.SetEdns0(4096, true); m.RecursionDesired = false })
				ours, same := sideView(m), 0
				var said []string
				for i, p := range peers {
					theirs := sideView(p.ask(t, conns[i], qname, qtype))
					if said = append(said, p.name+": "+theirs); theirs == ours {
						same++
					} else {
						alone[p.name]++
					}
				}
				if asked++; same == 0 {
					t.Errorf("%s %s: %s\n\n%s", qname, dns.Type(qtype), ours, strings.Join(said, "\n\n"))
				}
			}
		}
	}
	t.Logf("%d questions; other answers than ours: %v", asked, alone)
}

func (p peer) ask(t *testing.T, conn *dns.Conn, qname string, qtype uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg).SetQuestion(qname, qtype).SetEdns0(4096, true)
	q.RecursionDesired = false
	for range 3 {
		_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
		if err := conn.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := conn.ReadMsg()
			if err != nil {
				break
			}
			if m.Id == q.Id {
				return m
			}
		}
	}
	t.Fatalf("%s: no answer for %s %s, limit %d", p.name, qname, dns.Type(qtype), wire.MaxUDP)
	return nil
}
