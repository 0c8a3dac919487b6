package lab_test

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/lab"
	"postern/internal/lab/load"
)

// floodConfig has the limit and cookies as they come.
const floodConfig = `
	[server]
	hostname = "edge.example.test"
	state    = "state"
	control  = "run/control.sock"
	[[listen]]
	serve     = "dns"
	address   = ["ADDRESS:53"]
	transport = ["udp", "tcp"]
	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"
`

const (
	floodSources = 100_000
	floodHosts   = 100_000 // 172,000 records
	floodMemory  = 16 << 20
	// floodRate is what is sent in a second in the long form, or half of what
	// the server can do where that is less: nobody can keep the answers of
	// somebody whose questions the kernel drops before they are read. Below
	// floodLeast it would not be a flood.
	floodRate, floodLeast = 120_000, 40_000
	// floodTries is how often a long flood is repeated until the host of the
	// machine took nothing for most of the time.
	floodTries = 4
	// floodNames is what one /24 gets at most of all names together, by default.
	floodNames = 200
)

// TestFlood: somebody asks in the name of 100,000 others. They get no more
// than was sent in their name, it costs little memory, and a client in their
// midst that shows a cookie keeps all its answers.
func TestFlood(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		// The victims' addresses are ours: what is sent to them can be counted.
		l.ExecInput("route add local 198.18.0.0/15 dev lo\n", "ip", "-batch", "-").Want(0)
		long := os.Getenv("POSTERN_PROVE") != ""
		floodMemoryStaysSmall(l, long)
		floodedPostern(l, "198.51.100.53", floodHosts)
		honest := honestClient(l, "198.51.100.53")
		defer honest.Close()
		many := victims(floodSources)
		few := victims(16 * 256)
		for _, c := range []struct {
			name    string
			from    []netip.Addr
			mix     load.Mix
			hosts   int
			edns    bool
			cookies load.Cookies
			short   bool // part of the short form
		}{
			{"one name", many, load.Positive, 1, false, load.NoCookie, true},
			{"one name, with EDNS and DO", many, load.Positive, 1, true, load.NoCookie, false},
			{"one name, with a client cookie", many, load.Positive, 1, true, load.ClientCookie, true},
			{"random names that do not exist", many, load.NXDomain, floodHosts, false, load.NoCookie, true},
			{"names of a wildcard", many, load.Wildcard, floodHosts, false, load.NoCookie, true},
			{"names below delegations", many, load.Referral, floodHosts, false, load.NoCookie, true},
			{"all names of a large zone", many, load.Positive, floodHosts, false, load.NoCookie, false},
			{"all names of a large zone, few victims", few, load.Positive, floodHosts, false, load.NoCookie, true},
			{"all names of a large zone, with EDNS and DO", few, load.Positive, floodHosts, true, load.NoCookie, false},
			{"all names of a large zone, one victim", victims(256), load.Positive, floodHosts, false, load.NoCookie, false},
		} {
			if long || c.short {
				l.Step(c.name, func() {
					flood(l, honest, long, load.Config{
						Server: netip.MustParseAddrPort("198.51.100.53:53"), Sources: c.from, Hosts: c.hosts, Mix: c.mix,
						EDNS: c.edns, Cookies: c.cookies, Seed: 9,
					})
				})
			}
		}
	})
}

// floodedPostern starts one on a core of its own.
func floodedPostern(l *lab.Lab, address string, hosts int) *lab.Postern {
	edge := l.Prepare(lab.PosternConfig{Name: "postern-" + strconv.Itoa(hosts), Config: strings.ReplaceAll(floodConfig, "ADDRESS", address), Core: 1})
	newEditor(l, edge.Path("zones", "example.test.zone"), hosts, 0)
	edge.Start()
	return edge
}

// floodMemoryStaysSmall: with a small zone nothing else moves the memory.
func floodMemoryStaysSmall(l *lab.Lab, long bool) {
	const address = "198.51.100.54"
	edge := floodedPostern(l, address, 1000)
	honest := honestClient(l, address)
	defer honest.Close()
	before := resident(l, edge.Pid())
	for _, mix := range []load.Mix{load.Positive, load.NXDomain} {
		flood(l, honest, long, load.Config{
			Server: netip.MustParseAddrPort(address + ":53"), Sources: victims(floodSources), Hosts: 1000, Mix: mix, EDNS: true, Cookies: load.ClientCookie, Seed: 11,
		})
	}
	grown := resident(l, edge.Pid()) - before
	l.T().Logf("resident memory grew by %.1f MB, from %.1f", float64(grown)/(1<<20), float64(before)/(1<<20))
	if grown > floodMemory {
		l.T().Errorf("memory grew by %d octets, want %d at most", grown, floodMemory)
	}
	edge.Stop()
}

// victims are n addresses in whole networks, which take turns.
func victims(n int) []netip.Addr {
	var all []netip.Addr
	networks := (n + 255) / 256
	for i := range n {
		at := 198<<24 | 18<<16 + uint32(i%networks)<<8 + uint32(i/networks)
		all = append(all, netip.AddrFrom4([4]byte{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at)}))
	}
	return all
}

// honestClient lives in the first victims' network and has a cookie.
func honestClient(l *lab.Lab, address string) *load.Client {
	client, err := load.New(load.Config{
		Server: netip.MustParseAddrPort(address + ":53"), Sources: []netip.Addr{netip.MustParseAddr("198.18.0.77")},
		Hosts: 1000, Mix: load.Positive, EDNS: true, Case: true, Cookies: load.ServerCookie, Rate: 300, Seed: 4,
	})
	if err != nil {
		l.T().Fatal(err)
	}
	if r, err := client.Ask(50); err != nil || r.Answered != 50 || r.Wrong > 0 {
		l.T().Fatalf("before all: %v (%v)", r, err)
	}
	return client
}

// flood sends what one case says and weighs it.
func flood(l *lab.Lab, honest *load.Client, long bool, cfg load.Config) {
	if runtime.NumCPU() > 1 {
		cfg.Core = 2
	}
	names := cfg.Hosts > 1 && cfg.Mix == load.Positive
	if !long {
		cfg.Rate = floodLeast
		got, overflowed := floodOnce(l, honest, cfg, 3*time.Second, names)
		keepsAnswers(l, got, overflowed)
		return
	}
	for range floodTries {
		cfg.Rate = min(floodRate, max(mostAnswers(l, cfg.Server, cfg.Core)/2, floodLeast))
		got, overflowed := floodOnce(l, honest, cfg, time.Minute, names)
		calm := got.CalmWindows*2 > got.Windows
		l.T().Logf("%d a second, calm %v: %v; the kernel dropped %d", cfg.Rate, calm, got, overflowed)
		keepsAnswers(l, got, overflowed)
		if raced {
			return
		}
		if calm {
			if got.CalmLost > 0 {
				l.T().Errorf("%d questions of the client with a cookie were lost while the host took nothing", got.CalmLost)
			}
			return
		}
	}
	l.T().Errorf("the host took something most of the time in each of %d tries: nothing is shown", floodTries)
}

// mostAnswers is what the server can give in a second to one that shows its
// cookie.
func mostAnswers(l *lab.Lab, server netip.AddrPort, core int) int {
	client, err := load.New(load.Config{
		Server: server, Sources: []netip.Addr{netip.MustParseAddr("198.18.0.78")},
		Hosts: 1000, Mix: load.Positive, EDNS: true, Cookies: load.ServerCookie, Core: core, Seed: 6,
	})
	if err != nil {
		l.T().Fatal(err)
	}
	defer client.Close()
	if _, err := client.Ask(50); err != nil { // has the cookie then
		l.T().Fatal(err)
	}
	r, err := client.Run(2 * time.Second)
	if err != nil {
		l.T().Fatal(err)
	}
	return int(r.PerSecond())
}

// keepsAnswers: what the limit holds back is answered with BADCOOKIE every
// second time: that would be wrong. Where the machine is too busy for the
// server to read all that comes, the kernel drops some of it, ours with the
// rest.
func keepsAnswers(l *lab.Lab, got *load.Result, overflowed uint64) {
	l.T().Helper()
	if got.Wrong > 0 || got.Answered == 0 || got.Lost > overflowed {
		l.T().Errorf("the client with a cookie: %v; the kernel dropped %d", got, overflowed)
	}
}

// floodOnce floods for so long, weighs what the victims got, and returns what
// the honest client got.
func floodOnce(l *lab.Lab, honest *load.Client, cfg load.Config, during time.Duration, names bool) (got *load.Result, overflowed uint64) {
	const warm = 2 * time.Second
	attacker, err := load.New(cfg)
	if err != nil {
		l.T().Fatal(err)
	}
	defer attacker.Close()
	type outcome struct {
		*load.Result
		error
	}
	kept := make(chan outcome, 1)
	go func() {
		r, err := honest.Run(during)
		kept <- outcome{r, err}
	}()
	overflowed = overflows(l)
	hit, err := attacker.Flood(during, warm)
	o := <-kept
	if err != nil || o.error != nil {
		l.T().Fatal(err, o.error)
	}
	weigh(l, hit, (during - warm).Seconds(), names)
	return o.Result, overflows(l) - overflowed
}

// weigh compares what each victim got with what was sent in its name. A flood
// of many names is one where it goes beyond the rate of all names together.
func weigh(l *lab.Lab, hit []load.Victim, seconds float64, names bool) {
	var in, out, questions uint64
	worst := 0.0
	for _, v := range hit {
		in, out, questions = in+v.In, out+v.Out, questions+v.Questions
		ratio := float64(v.Out) / float64(max(v.In, 1))
		worst = max(worst, ratio)
		if v.In == 0 {
			l.T().Errorf("%v: nothing was sent", v.Network)
		}
		if slow := float64(v.Questions)/seconds < 1.1*floodNames; v.Out > v.In && (!names || !slow) {
			l.T().Errorf("%v: %d octets in, %d out", v.Network, v.In, v.Out)
		}
	}
	l.T().Logf("%d victims, %.0f questions a second (%.0f each): %d octets in, %d out: %.2f; the worst %.2f",
		len(hit), float64(questions)/seconds, float64(questions)/seconds/float64(len(hit)), in, out, float64(out)/float64(in), worst)
	if names && float64(questions)/seconds < 1.1*floodNames*float64(len(hit)) {
		l.T().Log("too slow to be a flood of many names: it stays below the rate")
	}
}

// overflows counts the datagrams that found a socket full.
func overflows(l *lab.Lab) uint64 {
	l.T().Helper()
	text, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		l.T().Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		n, err := strconv.ParseUint(fields[slices.Index(names, "RcvbufErrors")], 10, 64)
		if err != nil {
			l.T().Fatal(err)
		}
		return n
	}
	l.T().Fatal("no RcvbufErrors")
	return 0
}

// resident is the resident memory of a process, in octets.
func resident(l *lab.Lab, pid int) int64 {
	l.T().Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		l.T().Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				l.T().Fatal(err)
			}
			return kB << 10
		}
	}
	l.T().Fatal("no VmRSS")
	return 0
}
