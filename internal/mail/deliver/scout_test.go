package deliver

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/route"
)

func hopAt(addr string) route.Hop {
	a := netip.MustParseAddrPort(addr)
	return route.Hop{Protocol: route.SMTP, Host: a.Addr().String(), Port: a.Port(), Addrs: []netip.AddrPort{a}, Static: true}
}

// TestScout: what hosts can do is known before there is mail for them, each of
// several alone; it is asked again every hour, of who is silent every minute, and
// at once when the configuration has changed.
func TestScout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		able := &server{ext: []string{"SMTPUTF8", "SIZE 1000"}}
		plain := &server{ext: []string{"PIPELINING"}}
		said := &Announced{}
		var mu sync.Mutex // guards w and hops, which change
		w := world{"10.0.0.5:25": able, "10.0.0.6:25": plain, "10.0.0.7:25": nil}
		hops := []route.Hop{hopAt("10.0.0.5:25"), hopAt("10.0.0.6:25"), hopAt("10.0.0.5:25"), {Protocol: route.Maildir, Path: "/mail"}}
		change := func(f func()) {
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		dial := func(ctx context.Context, network, addr string, from netip.Addr) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			return w.dial(ctx, network, addr, from)
		}
		configured := func(context.Context) ([]route.Hop, bool) {
			mu.Lock()
			defer mu.Unlock()
			return hops, true
		}
		c := New(Config{Hostname: "edge.example.test", Dial: dial, Announced: said})
		s, err := NewScout(ScoutConfig{Hops: configured, Call: c.Call})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, ok := said.Of(hops[0]); !ok || got != (Abilities{UTF8: true, Size: 1000}) {
			t.Errorf("the first: %+v %t", got, ok)
		}
		if got, ok := said.Of(hops[1]); !ok || got != (Abilities{}) {
			t.Errorf("the second: %+v %t", got, ok)
		}
		if got := able.told(); got != "EHLO edge.example.test | QUIT" {
			t.Errorf("told %s", got)
		}
		change(func() { w["10.0.0.5:25"] = &server{} }) // it was replaced
		time.Sleep(scoutEvery)
		synctest.Wait()
		if got, _ := said.Of(hops[0]); got.UTF8 || s.Counters.Calls.Value() != 4 {
			t.Errorf("an hour later: %+v, asked %d times", got, s.Counters.Calls.Value())
		}

		change(func() { hops = append(hops[:1:1], hopAt("10.0.0.7:25")) })
		s.Look()
		synctest.Wait()
		if n, f := s.Counters.Calls.Value(), s.Counters.Faults.Value(); n != 6 || f != 1 {
			t.Errorf("asked %d times, %d faults", n, f)
		}
		time.Sleep(3 * scoutAgain)
		synctest.Wait()
		if n, f := s.Counters.Calls.Value(), s.Counters.Faults.Value(); n != 9 || f != 4 {
			t.Errorf("three minutes later asked %d times, %d faults: only who is silent", n, f)
		}
		change(func() { w["10.0.0.7:25"] = able })
		time.Sleep(scoutAgain)
		synctest.Wait()
		if _, ok := said.Of(hops[1]); !ok {
			t.Error("not heard when it was there")
		}
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestScoutOfSilentHosts: hosts that hang hold up neither the others nor the end.
func TestScoutOfSilentHosts(t *testing.T) {
	t.Parallel()
	for stage, fault := range map[string]string{"greeting": hangs, "ehlo": closes, "helo": prattles} {
		synctest.Test(t, func(t *testing.T) {
			w, hops := world{"10.0.0.5:25": {ext: []string{"SMTPUTF8"}}}, []route.Hop{}
			for _, addr := range strings.Fields("10.0.0.1:25 10.0.0.2:25 10.0.0.3:25") {
				w[addr] = &server{say: map[string]string{stage: fault, "ehlo": fault}}
				hops = append(hops, hopAt(addr))
			}
			hops = append(hops, hopAt("10.0.0.5:25"))
			said := &Announced{}
			c := New(Config{Hostname: "edge.example.test", Dial: w.dial, Announced: said})
			s, err := NewScout(ScoutConfig{Hops: func(context.Context) ([]route.Hop, bool) { return hops, true }, Call: c.Call})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, ok := said.Of(hops[3]); !ok {
				t.Error("who answers was not heard")
			}
			time.Sleep(10 * time.Second)
			if err := s.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}
