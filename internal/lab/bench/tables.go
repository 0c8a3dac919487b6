package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postern/internal/lab/load"
)

// row is what one server did in one round.
type row struct {
	perSecond    float64
	lost, wrong  uint64
	user, system float64 // microseconds a query
	resident     float64
	p50, p99     time.Duration
	sample       string
}

func (r row) total() float64 { return r.user + r.system }

// table is the rounds of several servers, in order of their first.
type table struct {
	names []string
	rows  map[string][]row
}

func (t *table) add(name string, r row) {
	if t.rows == nil {
		t.rows = map[string][]row{}
	}
	if t.rows[name] == nil {
		t.names = append(t.names, name)
	}
	t.rows[name] = append(t.rows[name], r)
}

// print writes medians, and ratios to one of the names.
func (t *table) print(b *bench, to string) {
	b.printf("%-26s%11s%9s%9s%6s%6s%8s%8s%8s%8s%9s%9s%9s%13s\n", "", "queries/s", "min", "max", "lost", "wrong", "user us", "sys us", "cpu us", "cpu min", "RSS MB", "p50 us", "p99 us", "cpu vs "+to)
	base := median(t.rows[to], row.total)
	for _, name := range t.names {
		rows := t.rows[name]
		rate := func(r row) float64 { return r.perSecond }
		ratio := "-"
		if base > 0 {
			ratio = fmt.Sprintf("%.2f", median(rows, row.total)/base)
		}
		b.printf("%-26s%11.0f%9.0f%9.0f%6d%6d%8.3f%8.3f%8.3f%8.3f%9.1f%9.0f%9.0f%13s\n", name,
			median(rows, rate), rate(slices.MinFunc(rows, by(rate))), rate(slices.MaxFunc(rows, by(rate))),
			sum(rows, func(r row) uint64 { return r.lost }), sum(rows, func(r row) uint64 { return r.wrong }),
			median(rows, func(r row) float64 { return r.user }), median(rows, func(r row) float64 { return r.system }), median(rows, row.total),
			row.total(slices.MinFunc(rows, by(row.total))), median(rows, func(r row) float64 { return r.resident }),
			median(rows, func(r row) float64 { return float64(r.p50) / 1e3 }), median(rows, func(r row) float64 { return float64(r.p99) / 1e3 }), ratio)
		for _, r := range rows {
			if r.sample != "" {
				b.printf("  wrong, for example: %s\n", r.sample)
				break
			}
		}
	}
}

func by(value func(row) float64) func(a, b row) int {
	return func(a, b row) int {
		if value(a) < value(b) {
			return -1
		}
		return 1
	}
}

func median(rows []row, value func(row) float64) float64 {
	var all []float64
	for _, r := range rows {
		all = append(all, value(r))
	}
	return middle(all)
}

func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

func sum(rows []row, value func(row) uint64) (n uint64) {
	for _, r := range rows {
		n += value(r)
	}
	return n
}

// measure loads a server for a round.
func (b *bench) measure(p *server, c *load.Client) (row, error) {
	user, system := p.cpu()
	r, err := c.Run(time.Duration(b.secs) * time.Second)
	if err != nil {
		return row{}, err
	}
	u, s := p.cpu()
	n := float64(max(r.Answered, 1))
	return row{
		perSecond: r.PerSecond(), lost: r.Lost, wrong: r.Wrong, sample: r.Sample,
		user: float64((u - user).Microseconds()) / n, system: float64((s - system).Microseconds()) / n,
		resident: p.resident(), p50: r.Latency.At(0.5), p99: r.Latency.At(0.99),
	}, nil
}

// zone writes the zone with that many hosts, once.
func (b *bench) zone(hosts int) (string, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("zones%d", hosts), "example.test.zone")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, load.Zone("example.test", hosts, 1), 0o644)
}

// sources are of a /24 each, 256 in each of the external view's prefixes.
func sources() []netip.Addr {
	var all []netip.Addr
	for i := range 256 * 20 {
		all = append(all, netip.AddrFrom4([4]byte{127, byte(i % 20), byte(i / 20), 9}))
	}
	return all
}

// full is a client that sends all that a query can have.
func full(at netip.AddrPort, hosts int, cookies load.Cookies) load.Config {
	return load.Config{
		Server: at, Hosts: hosts, Mix: load.Positive, Sources: sources(), EDNS: true, Case: true, Cookies: cookies,
		Core: 2, Seed: uint64(time.Now().UnixNano()),
	}
}

// asked is a client that has asked enough for every source to have its cookie.
func asked(cfg load.Config) (*load.Client, error) {
	c, err := load.New(cfg)
	if err != nil {
		return nil, err
	}
	if _, err := c.Ask(max(100_000, 4*len(cfg.Sources))); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// defaults is what users have: cookies and the limit on, two views of twenty
// prefixes; each query has EDNS, DO, COOKIE and random case; the names are
// uniform over the large zone. Once the clients show a cookie of the server,
// once only their own: then each reply is charged to its /24. The sources are
// 5120 of these, so that none is over its rate.
func (b *bench) defaults() error {
	zone, err := b.zone(b.hosts)
	if err != nil {
		return err
	}
	var running []*server
	defer func() {
		for _, p := range running {
			p.stop()
		}
	}()
	for _, name := range b.servers() {
		s, err := b.setup(name, zone, defaults)
		if err != nil {
			return err
		}
		p, err := b.start(s)
		if err != nil {
			return err
		}
		running = append(running, p)
	}
	for _, p := range running {
		p.settle()
	}
	for _, cookies := range []load.Cookies{load.ServerCookie, load.ClientCookie} {
		how := "server cookies"
		if cookies == load.ClientCookie {
			how = "client cookies alone, each reply charged to the limit"
		}
		var t table
		clients := make([]*load.Client, len(running))
		for i, p := range running {
			if clients[i], err = asked(full(p.at, b.hosts, cookies)); err != nil {
				return err
			}
			defer clients[i].Close()
		}
		for range b.rounds {
			for i, p := range running {
				r, err := b.measure(p, clients[i])
				if err != nil {
					return err
				}
				t.add(p.name, r)
			}
		}
		b.printf("\nusers' defaults, %d hosts, EDNS + DO + COOKIE, random case: %s; medians of %d rounds of %d s; load average %s\n"+
			"(Postern: cookies and limit on, two views of twenty prefixes; NSD and Knot as they come, with one view and without cookies)\n", b.hosts, how, b.rounds, b.secs, loadAverage())
		t.print(b, "nsd")
	}
	return nil
}

// mixes compares the kinds of answers of one running server.
func (b *bench) mixes() error {
	zone, err := b.zone(b.hosts / 10)
	if err != nil {
		return err
	}
	s, err := b.setup("postern", zone, bare)
	if err != nil {
		return err
	}
	p, err := b.start(s)
	if err != nil {
		return err
	}
	defer p.stop()
	p.settle()
	var t table
	for range b.rounds {
		for mix := load.Positive; mix <= load.Wildcard; mix++ {
			c, err := asked(load.Config{Server: p.at, Hosts: b.hosts / 10, Mix: mix, Core: 2, Seed: uint64(time.Now().UnixNano())})
			if err != nil {
				return err
			}
			r, err := b.measure(p, c)
			c.Close()
			if err != nil {
				return err
			}
			t.add(mix.String(), r)
		}
	}
	b.printf("\nPostern's mixes, %d hosts, medians of %d alternating rounds of %d s; load average %s\n", b.hosts/10, b.rounds, b.secs, loadAverage())
	t.print(b, "positive")
	return nil
}

// loading is the time from the start of the program to its first answer, and
// the memory after it and some load.
func (b *bench) loading() error {
	for _, hosts := range []int{b.hosts / 10, b.hosts} {
		zone, err := b.zone(hosts)
		if err != nil {
			return err
		}
		seconds, resident := map[string][]float64{}, map[string][]float64{}
		var names []string
		note := func(name string, s setup) error {
			p, err := b.start(s)
			if err != nil {
				return err
			}
			defer p.stop()
			if _, err := asked(load.Config{Server: p.at, Hosts: hosts, Mix: load.Mixed, Core: 2}); err != nil {
				return err
			}
			if seconds[name] == nil {
				names = append(names, name)
			}
			seconds[name], resident[name] = append(seconds[name], p.took.Seconds()), append(resident[name], p.resident())
			return nil
		}
		for range b.rounds {
			for _, name := range b.servers() {
				s, err := b.setup(name, zone, bare)
				if err != nil {
					return err
				}
				first := name
				if name == "postern" {
					first = "postern, first load"
				}
				if err := note(first, s); err != nil {
					return err
				}
				if name != "postern" {
					continue
				}
				if err := note("postern, restart", s); err != nil {
					return err
				}
			}
		}
		b.printf("\nstart to first answer, %d hosts, medians of %d rounds; load average %s\n%-26s%9s%9s%9s%9s%9s%9s\n", hosts, b.rounds, loadAverage(), "", "seconds", "min", "max", "vs nsd", "RSS MB", "vs nsd")
		for _, name := range names {
			b.printf("%-26s%9.3f%9.3f%9.3f%9s%9.1f%9s\n", name, middle(seconds[name]), slices.Min(seconds[name]), slices.Max(seconds[name]),
				over(middle(seconds[name]), middle(seconds["nsd"])), middle(resident[name]), over(middle(resident[name]), middle(resident["nsd"])))
		}
	}
	return nil
}

func over(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
