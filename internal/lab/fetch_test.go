package lab_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/xfr"
	"postern/internal/dns/zone"
	"postern/internal/lab"
	"postern/internal/secret"
)

// TestFetchLarge: zones of many messages come from BIND, NSD, Knot and PowerDNS
// signed with every algorithm, and then what changed of them: each is what its
// file is.
func TestFetchLarge(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		f := &fetching{l: l, zones: map[name.Name]*zone.Zone{}, forms: map[name.Name][]string{}}
		var all []xfr.Inbound
		var keys []tsig.Key
		var primaries []*lab.Primary
		for i, program := range programs {
			cfg := lab.PrimaryConfig{Program: program, Address: primaryAt(i), Secondary: alphaDNS}
			for _, algorithm := range algorithms() {
				z := algorithm + "." + string(program) + ".lab."
				octets := []byte(strings.Repeat(string(program), 16)[:32])
				key := lab.TSIG{Name: "k-" + z, Algorithm: algorithm, Secret: base64.StdEncoding.EncodeToString(octets)}
				cfg.Zones = append(cfg.Zones, lab.PrimaryZone{Name: z, Key: key, Text: f.text(z, 1)})
				a, ok := tsig.ParseAlgorithm(algorithm)
				if !ok {
					l.T().Fatal(algorithm)
				}
				keys = append(keys, tsig.Key{Name: f.name(key.Name), Algorithm: a, Secret: secret.New(octets)})
				all = append(all, xfr.Inbound{Zone: f.name(z), View: "external", Primaries: []*xfr.Primary{{
					Name: string(program), Addr: []netip.AddrPort{netip.MustParseAddrPort(cfg.Address + ":53")}, Key: f.name(key.Name),
					Source: []netip.Addr{netip.MustParseAddr(alphaDNS)},
				}}})
			}
			primaries = append(primaries, l.Primary(cfg))
		}
		ring, err := tsig.NewKeys(keys)
		if err != nil {
			l.T().Fatal(err)
		}
		r := xfr.NewRefresher(xfr.RefresherConfig{
			Zones: func() []xfr.Inbound { return all }, Keys: func() *tsig.Keys { return ring },
			Have: f.have, Take: f.take, Expired: func(name.Name, string) {},
			Fresh: func(context.Context, xfr.Inbound, time.Time) error { return nil },
		})
		if err := r.Start(l.Context()); err != nil {
			l.T().Fatal(err)
		}
		l.Step("whole", func() { f.wantAll(r, all, 1) })
		if n := r.Counters.Messages.Value(); n < uint64(4*len(all)) {
			l.T().Errorf("%d messages for %d zones", n, len(all))
		}
		l.Step("what changed", func() {
			for i, p := range primaries {
				for _, algorithm := range algorithms() {
					z := algorithm + "." + string(programs[i]) + ".lab."
					p.Publish(z, f.text(z, 2))
				}
			}
			l.Eventually("all have changed", func() error {
				for _, in := range all {
					if serial, err := lab.Serial(in.Primaries[0].Addr[0].Addr().String(), in.Zone.String()); err != nil || serial != 2 {
						return fmt.Errorf("%s at %d: %v", in.Zone, serial, err)
					}
				}
				return nil
			})
			for _, in := range all {
				r.Notified(in.Zone, in.View, in.Primaries[0].Addr[0].Addr())
			}
			f.wantAll(r, all, 2)
		})
		if err := r.Stop(l.Context()); err != nil {
			l.T().Error(err)
		}
		for _, in := range all {
			// PowerDNS keeps no history.
			if forms := fmt.Sprint(f.forms[in.Zone]); forms != "[full incremental]" && in.Primaries[0].Name != string(lab.PowerDNS) {
				l.T().Errorf("%s came %s", in.Zone, forms)
			}
		}
		l.T().Logf("%d messages, %d octets", r.Counters.Messages.Value(), r.Counters.Octets.Value())
	})
}

func primaryAt(i int) string { return fmt.Sprintf("203.0.113.%d", 41+i) }

// fetching keeps what comes.
type fetching struct {
	l *lab.Lab

	mu    sync.Mutex // guards what follows
	zones map[name.Name]*zone.Zone
	forms map[name.Name][]string
}

func (f *fetching) name(text string) name.Name {
	f.l.T().Helper()
	n, err := name.Parse(text)
	if err != nil {
		f.l.T().Fatal(err)
	}
	return n
}

// text is a zone of some hundred kilobytes, the same but for a few records at
// each serial.
func (f *fetching) text(zone string, serial int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s\n$TTL 3600\n@ SOA ns1 hostmaster %d 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.1\n", zone, serial)
	fmt.Fprintf(&b, "serial TXT \"%[1]d\"\nsub%[1]d NS ns.sub%[1]d\nns.sub%[1]d A 192.0.2.%[1]d\n*.w%[1]d MX 10 mail\n", serial)
	for i := range 3000 {
		fmt.Fprintf(&b, "n%[1]d A 192.0.2.%[2]d\nn%[1]d TXT \"a text of some length, so that few fit a message: %[1]d\"\n", i, i%250)
	}
	return b.String()
}

func (f *fetching) have(n name.Name, _ string) (xfr.Held, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	z := f.zones[n]
	if z == nil {
		return xfr.Held{}, false
	}
	return xfr.Held{SOA: z.SOA()}, true
}

func (f *fetching) take(_ context.Context, in xfr.Inbound, got xfr.Incoming) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	z, form := f.zones[in.Zone], "incremental"
	if got.Full != nil {
		form = "full"
		b := zone.NewBuilder(in.Zone)
		for _, rr := range got.Full {
			if err := b.AddNormal(rr); err != nil {
				return err
			}
		}
		var err error
		if z, err = b.Build(); err != nil {
			return err
		}
	}
	for _, d := range got.Deltas {
		var err error
		if z, _, err = z.Apply(d); err != nil {
			return err
		}
	}
	f.zones[in.Zone], f.forms[in.Zone] = z, append(f.forms[in.Zone], form)
	return nil
}

// wantAll waits until all zones are their files at that serial.
func (f *fetching) wantAll(r *xfr.Refresher, all []xfr.Inbound, serial uint32) {
	f.l.T().Helper()
	f.l.Eventually(fmt.Sprintf("all zones at %d", serial), func() error {
		for _, s := range r.Standing() {
			if s.Serial != serial || s.State != xfr.Fresh {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	for _, in := range all {
		b := zone.NewBuilder(in.Zone)
		for _, rr := range parsed(f.l.T(), f.text(in.Zone.String(), int(serial))) {
			if err := b.Add(rr); err != nil {
				f.l.T().Fatal(err)
			}
		}
		want, err := b.Build()
		if err != nil {
			f.l.T().Fatal(err)
		}
		f.mu.Lock()
		removed, added := zone.Diff(want, f.zones[in.Zone])
		f.mu.Unlock()
		if len(removed)+len(added) > 0 {
			f.l.T().Errorf("%s: %d records less, %d more: %.500s", in.Zone, len(removed), len(added), fmt.Sprint(removed, added))
		}
	}
}
