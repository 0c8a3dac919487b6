package lab_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

const (
	updatedZone = "up.lab."
	updateFile  = `$ORIGIN up.lab.
$TTL 300
@	SOA ns1.up.lab. admin.up.lab. 10 7200 3600 1209600 300
@	NS ns1
@	NS ns2
@	MX 10 mail
ns1	A 198.51.100.53
ns2	A 198.51.100.54
mail	A 198.51.100.25
h0	A 192.0.2.1
h0	TXT "zero"
h1	CNAME mail
sub	NS ns.sub
ns.sub	A 192.0.2.53
`
	updateConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]

	[dns]
	updates = "off"

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones/external"

	[limits]
	exempt = ["203.0.113.0/24", "198.51.100.53", "127.0.0.1"]

	[key."upd."]
	algorithm = "hmac-sha256"
	secret    = "file:secrets/upd"

	[peer.all]
	notify              = []
	transfer_from       = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8", "127.0.0.0/8"]
	insecure_by_address = true

	[zone."up.lab".view.external]
	secondaries = ["all"]
	dynamic     = [{ key = "upd.", names = ["up.lab", "*.up.lab"], types = ["A", "AAAA", "TXT", "CNAME", "MX", "NS", "SRV", "SOA"] }]
`
)

// TestUpdatesAsOthers: the same random updates, signed, to Postern, BIND and
// Knot: after each the three say the same, and have the same records. And their
// clients update us.
func TestUpdatesAsOthers(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		steps, seed := 200, uint64(time.Now().UnixNano())
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			steps = 1000
		}
		t.Logf("seed %d", seed)
		key := lab.TSIG{Name: "upd.", Algorithm: "hmac-sha256", Secret: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
		edge := l.Prepare(lab.PosternConfig{Config: updateConfig, Files: map[string]string{"zones/external/up.lab.zone": updateFile}})
		path := l.Write(edge.Path("secrets", "upd"), key.Secret+"\n")
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		edge.Start()
		u := &updaters{l: l, key: key, r: rand.New(rand.NewPCG(seed, 2)), servers: []string{alphaDNS, "203.0.113.31", "203.0.113.32"}}
		l.Updatable(lab.BIND, u.servers[1], updatedZone, updateFile, key)
		l.Updatable(lab.Knot, u.servers[2], updatedZone, updateFile, key)
		l.Step("their clients", func() { u.clients(edge) })
		l.Step("the same updates at random", func() {
			for step := range steps {
				u.step(step)
			}
			t.Logf("rcodes: %v", u.rcodes)
			if len(u.rcodes) < 4 {
				t.Errorf("the sequence says too little: %v", u.rcodes)
			}
		})
		l.Step("killed, and an edit of the file", func() {
			before := u.records(alphaDNS)
			edge.Kill9()
			edge.Start()
			if after := u.records(alphaDNS); !slices.Equal(before, after) {
				t.Errorf("before the kill\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			edge.Write("zones/external/up.lab.zone", updateFile+"edited TXT \"by hand\"\n")
			edge.Reload()
			after := u.records(alphaDNS)
			if i := slices.IndexFunc(after, func(s string) bool { return strings.HasPrefix(s, "edited.up.lab.") }); i < 0 {
				t.Error("the edit is not served")
			} else if after = slices.Delete(after, i, i+1); !slices.Equal(before, after) {
				t.Errorf("before the edit\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
		})
	})
}

// updaters is three primaries of one zone.
type updaters struct {
	l       *lab.Lab
	key     lab.TSIG
	r       *rand.Rand
	servers []string
	rcodes  map[string]int
}

// clients updates Postern with the tools of BIND and Knot, and takes it back.
func (u *updaters) clients(edge *lab.Postern) {
	t := u.l.T()
	before := u.records(alphaDNS)
	keyFile := u.l.Write("upd.key", fmt.Sprintf("key %q { algorithm %s; secret %q; };\n", u.key.Name, u.key.Algorithm, u.key.Secret))
	line := fmt.Sprintf("%s:%s:%s", u.key.Algorithm, u.key.Name, u.key.Secret)
	for _, c := range []struct {
		program string
		args    []string
		tail    string
	}{{"nsupdate", []string{"-k", keyFile}, ""}, {"nsupdate", []string{"-v", "-k", keyFile}, ""}, {"knsupdate", []string{"-y", line}, "quit\n"}} {
		send := func(commands string) lab.Output {
			return u.l.ExecInput("server "+alphaDNS+"\nzone up.lab\n"+commands+"send\n"+c.tail, c.program, c.args...)
		}
		send("prereq nxdomain new.up.lab.\nupdate add new.up.lab. 60 A 192.0.2.77\n").Want(0)
		if now := u.records(alphaDNS); len(now) != len(before)+1 || !slices.Contains(now, "new.up.lab. 60 IN A 192.0.2.77") {
			t.Errorf("%s: %v", c.program, now)
		}
		edge.Run("zone", "export", "up.lab", "--dynamic").Want(0, "new.up.lab.", "by key upd.")
		edge.Run("status").Want(0, "updates changed 1 sets")
		if again := send("prereq nxdomain new.up.lab.\nupdate add new.up.lab. 60 A 192.0.2.78\n").String(); !strings.Contains(again, "YXDOMAIN") {
			t.Errorf("%s: %s", c.program, again)
		}
		edge.Run("zone", "remove", "up.lab", "--dynamic", "--name", "new.up.lab").Want(0, "new.up.lab. A is as the file has it")
		if now := u.records(alphaDNS); !slices.Equal(now, before) {
			t.Errorf("%s: %v", c.program, now)
		}
	}
}

// records is what a server has, without SOA, sorted.
func (u *updaters) records(server string) []string {
	u.l.T().Helper()
	var all []string
	u.l.Eventually("AXFR from "+server, func() error {
		all = nil
		rrs, err := lab.Transfer(server, updatedZone)
		for _, rr := range rrs {
			if rr.Header().Rrtype != dns.TypeSOA {
				all = append(all, strings.Join(strings.Fields(rr.String()), " "))
			}
		}
		return err
	})
	slices.Sort(all)
	return all
}

// step sends one update to all of them.
func (u *updaters) step(step int) {
	t := u.l.T()
	m := new(dns.Msg).SetUpdate(updatedZone)
	if u.r.IntN(2) == 0 {
		u.require(m)
	}
	for range 1 + u.r.IntN(3) {
		u.change(m)
	}
	var said []string
	for _, server := range u.servers {
		said = append(said, u.send(server, m))
	}
	if u.rcodes == nil {
		u.rcodes = map[string]int{}
	}
	u.rcodes[said[0]]++
	if len(m.Answer) > 0 && said[1] == "NOTZONE" {
		said[1] = said[0] // BIND looks at the update section first, RFC 2136, Section 3.2 to the contrary
	}
	if said[1] != said[0] || said[2] != said[0] {
		t.Errorf("step %d: Postern says %s, BIND %s, Knot %s to\n%s", step, said[0], said[1], said[2], m)
	}
	ours := u.records(u.servers[0])
	for i, name := range []string{"BIND", "Knot"} {
		theirs := u.records(u.servers[i+1])
		if name == "Knot" { // keeps the TTL that a set has, RFC 2136, Section 3.4.2.2 to the contrary
			ours, theirs = withoutTTL(ours), withoutTTL(theirs)
		}
		if !slices.Equal(ours, theirs) {
			t.Fatalf("step %d: after\n%s\nPostern has\n%s\n%s has\n%s", step, m, strings.Join(ours, "\n"), name, strings.Join(theirs, "\n"))
		}
	}
}

func withoutTTL(records []string) []string {
	var all []string
	for _, r := range records {
		f := strings.SplitN(r, " ", 3)
		all = append(all, f[0]+" "+f[2])
	}
	slices.Sort(all)
	return all
}

func (u *updaters) send(server string, m *dns.Msg) string {
	u.l.T().Helper()
	m = m.Copy()
	m.Id = dns.Id()
	m.SetTsig(u.key.Name, u.key.Algorithm+".", 300, time.Now().Unix())
	c := &dns.Client{Net: "tcp", Timeout: 10 * time.Second, TsigSecret: map[string]string{u.key.Name: u.key.Secret}}
	reply, _, err := c.Exchange(m, server+":53")
	if err != nil {
		u.l.T().Fatalf("%s: %v\n%s", server, err, m)
	}
	return dns.RcodeToString[reply.Rcode]
}

func (u *updaters) pick(from ...string) string { return from[u.r.IntN(len(from))] }

func (u *updaters) owner() string {
	return u.pick("h0", "h1", "h2", "h3", "a.h4", "a.h4", "h4", "sub", "mail") + "." + updatedZone
}

func (u *updaters) record(owner string) dns.RR {
	data := u.pick("A 192.0.2.1", "A 192.0.2.2", "A 192.0.2.3", `TXT "zero"`, `TXT "one" "two"`, "CNAME mail.up.lab.", "CNAME ns1.up.lab.", "MX 10 mail.up.lab.", "SRV 1 2 3 mail.up.lab.", "AAAA 2001:db8::1", "NS ns1.up.lab.", "NS ns2.up.lab.")
	rr, err := dns.NewRR(owner + " " + u.pick("60", "300") + " " + data)
	if err != nil {
		u.l.T().Fatal(err)
	}
	return rr
}

func (u *updaters) require(m *dns.Msg) {
	rr := []dns.RR{u.record(u.owner())}
	switch u.r.IntN(5) {
	case 0:
		m.NameUsed(rr)
	case 1:
		m.NameNotUsed(rr)
	case 2:
		m.RRsetUsed(rr)
	case 3:
		m.RRsetNotUsed(rr)
	case 4:
		m.Used(rr)
	}
}

func (u *updaters) change(m *dns.Msg) {
	owner := u.owner()
	if u.r.IntN(6) == 0 {
		owner = updatedZone
	}
	rr := []dns.RR{u.record(owner)}
	switch u.r.IntN(9) {
	case 0:
		m.RemoveName(rr)
	case 1, 2:
		m.RemoveRRset(rr)
	case 3, 4:
		m.Remove(rr)
	case 5:
		if u.r.IntN(4) == 0 {
			rr = []dns.RR{u.record("h0.other.lab.")}
		}
		m.Insert(rr)
	default:
		m.Insert(rr)
	}
}
