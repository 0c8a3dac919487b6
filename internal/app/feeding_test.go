package app

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/manage"
)

// fleet is appliances that share a clock.
type fleet struct {
	t     *testing.T
	clock string
	now   time.Time
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, clock: filepath.Join(t.TempDir(), "clock"), now: time.Now()}
	f.tell(0)
	return f
}

// tell moves the clock on.
func (f *fleet) tell(later time.Duration) {
	f.t.Helper()
	f.now = f.now.Add(later)
	if err := os.WriteFile(f.clock, fmt.Append(nil, f.now.Unix(), "\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// ports are handed out below those that the system gives to whoever names none:
// nobody else takes one before its server does.
var ports atomic.Uint32

// address is one of loopback that is free for UDP and TCP.
func (f *fleet) address() string {
	f.t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+(uint32(os.Getpid())*31+ports.Add(1))%20_000))
		if err != nil {
			continue
		}
		c, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close() // it was only to find a port
		if err == nil {
			_ = c.Close() // as above
			return l.Addr().String()
		}
	}
	f.t.Fatal("no port is free for both")
	return ""
}

// house is a new appliance, not started.
func (f *fleet) house(config string, files map[string]string) *house {
	f.t.Helper()
	dir, err := os.MkdirTemp("", "app") // short: a socket's path is
	if err != nil {
		f.t.Fatal(err)
	}
	h := &house{t: f.t, dir: dir}
	f.t.Cleanup(func() {
		h.down()
		_ = os.RemoveAll(dir)
	})
	h.write("postern.toml", config)
	for name, text := range files {
		h.write(name, text)
	}
	return h
}

func (f *fleet) start(h *house) {
	f.t.Helper()
	o := Options{Config: filepath.Join(h.dir, "postern.toml"), TestKnobs: true, TestClock: f.clock, Stderr: &bytes.Buffer{}}
	cfg, err := o.load()
	if err != nil {
		f.t.Fatal(err, o.Stderr)
	}
	if h.app, err = newApp(o, cfg); err != nil {
		f.t.Fatal(err)
	}
	if err := h.app.start(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// down stops an appliance that runs.
func (h *house) down() {
	h.t.Helper()
	if h.app == nil {
		return
	}
	if err := h.app.stop(context.Background()); err != nil { // also after the test's context
		h.t.Error(err)
	}
	h.app = nil
}

// says asks at an address, from one of ours: an address, or rcode and info-code.
func says(t *testing.T, at, from, name string) string {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, dns.TypeA)
	m.SetEdns0(1232, false)
	c := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}, Timeout: 10 * time.Second}
	r, _, err := c.ExchangeContext(t.Context(), m, at)
	if err != nil {
		return err.Error()
	}
	said := dns.RcodeToString[r.Rcode]
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			said += " " + a.A.String()
		}
	}
	for _, o := range r.IsEdns0().Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok {
			said += fmt.Sprintf(" %d", e.InfoCode)
		}
	}
	return said
}

// until waits for an answer.
func until(t *testing.T, at, from, name, want string) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(30 * time.Second)
	for {
		got := says(t, at, from, name)
		if got == want {
			return
		}
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("%s from %s: %s, want %s", name, from, got, want)
		}
	}
}

// upstream waits until a zone stands so with its primaries.
func (h *house) upstream(view string, is func(manage.Zone) bool) manage.Zone {
	h.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(30 * time.Second)
	for {
		var last manage.Zone
		for _, z := range ask[[]manage.Zone](h, manage.VerbZoneList, struct{}{}) {
			if z.View == view && z.Zone == "city.example." {
				last = z
			}
		}
		if last.Upstream != nil && is(last) {
			return last
		}
		select {
		case <-look.C:
		case <-late:
			h.t.Fatalf("it stands otherwise: %+v %+v", last, last.Upstream)
		}
	}
}

const feedKeys = `[key."in."]
secret = "file:in.key"
[key."out."]
secret = "file:out.key"
`

// feedPrimary has city.example in two views, and gives each to one key.
func feedPrimary(own, other string) string {
	return `[server]
state   = "state"
control = "c.sock"
[dns]
rrl = "off"
[[listen]]
serve   = "dns"
address = ["` + own + `"]
` + feedKeys + `[peer.out]
notify = ["` + other + `"]
keys   = ["out."]
[peer.in]
notify = ["` + other + `"]
keys   = ["in."]
[[view]]
name    = "inside"
clients = ["127.0.0.2"]
keys    = ["in."]
overlay = "outside"
zones   = "inner"
[[view]]
name    = "outside"
clients = ["any"]
keys    = ["out."]
zones   = "zones"
[zone."city.example".view.inside]
secondaries = ["in"]
[zone."city.example".view.outside]
secondaries = ["out"]
`
}

// feedSecondary has both from there, and one more view that lies over one.
func feedSecondary(own, other string) string {
	return `[server]
state   = "state"
control = "c.sock"
[dns]
rrl = "off"
[[listen]]
serve   = "dns"
address = ["` + own + `"]
` + feedKeys + `[peer.main]
address = ["` + other + `"]
keys    = ["in.", "out."]
[[view]]
name    = "inside"
clients = ["127.0.0.2"]
keys    = ["in."]
overlay = "outside"
[[view]]
name    = "over"
clients = ["127.0.0.3"]
overlay = "outside"
zones   = "over"
[[view]]
name    = "outside"
clients = ["any"]
keys    = ["out."]
[zone."city.example".view.inside]
primaries = ["main"]
[zone."city.example".view.outside]
primaries = ["main"]
`
}

// TestSecondaryZones follows a zone in two views from one appliance to another:
// the primary is not there yet, tells of an edit, goes for too long, comes
// back, and is set back to a lower serial.
func TestSecondaryZones(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one, two := f.address(), f.address()
	keys := map[string]string{"in.key": keyFile(newSecret), "out.key": keyFile(oldSecret)}
	p, s := f.house(feedPrimary(one, two), keys), f.house(feedSecondary(two, one), keys)
	p.write("zones/city.example.zone", strings.Replace(houseZone, "hostmaster 1 2h", "hostmaster 7 2h", 1))
	p.write("inner/city.example.zone", "www A 10.0.0.2\n")
	s.write("over/city.example.zone", "www A 10.0.0.3\n")

	f.start(s)
	const www = "www.city.example."
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		if got := says(t, two, from, www); got != "SERVFAIL 14" {
			t.Errorf("before anything came, %s hears %s", from, got)
		}
	}
	if err := s.app.ready(); err != nil {
		t.Errorf("a primary that is away keeps everything down: %v", err)
	}
	s.upstream("outside", func(z manage.Zone) bool {
		return z.State == "waiting" && z.Upstream.State == manage.UpstreamMissing && z.Upstream.Reason != ""
	})
	f.start(p)
	f.tell(time.Minute) // they are asked again
	all := func(world, inside string) {
		t.Helper()
		until(t, two, "127.0.0.1", www, "NOERROR "+world)
		until(t, two, "127.0.0.2", www, "NOERROR "+inside)
		until(t, two, "127.0.0.3", www, "NOERROR 10.0.0.3")
	}
	all("192.0.2.2", "10.0.0.2")
	z := s.upstream("outside", func(z manage.Zone) bool { return z.Upstream.State == manage.UpstreamFresh })
	if z.State != "ok" || z.Serial != 7 || z.FileSerial != 7 || z.Upstream.Serial != 7 || z.Upstream.Primary != "main" || z.Upstream.Address != one ||
		z.Upstream.Expires.Sub(f.now) < 13*24*time.Hour || !z.Upstream.Next.After(f.now) {
		t.Errorf("%+v %+v", z, z.Upstream)
	}
	for _, line := range []string{
		"postern_dns_secondary_zones_expired 0", "postern_dns_secondary_zones_stale 0",
		"postern_dns_secondary_zones_expire_seconds " + strconv.FormatFloat(float64(z.Upstream.Expires.Unix()), 'g', -1, 64),
	} {
		if !s.metric(line) {
			t.Errorf("no metric %s", line)
		}
	}

	p.write("zones/city.example.zone", strings.Replace(houseZone, "hostmaster 1 2h", "hostmaster 8 2h", 1)+"more A 192.0.2.9\n")
	f.tell(10 * time.Second) // so that what it is told is not taken for a burst
	until(t, two, "127.0.0.1", "more.city.example.", "NOERROR 192.0.2.9")
	until(t, two, "127.0.0.2", "more.city.example.", "NOERROR 192.0.2.9")
	for _, view := range []string{"outside", "inside"} { // they answer before they are counted
		s.upstream(view, func(z manage.Zone) bool { return z.Upstream.Serial == 8 })
	}
	if n := s.app.refresher.Counters.Incremental.Value(); n != 2 {
		t.Errorf("%d of two views were brought by differences", n)
	}

	// Too long without a primary, a restart in the middle.
	p.down()
	s.down()
	f.tell(13 * 24 * time.Hour)
	f.start(s)
	all("192.0.2.2", "10.0.0.2")
	f.tell(24*time.Hour + time.Minute)
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		until(t, two, from, www, "SERVFAIL 24")
	}
	z = s.upstream("outside", func(z manage.Zone) bool { return z.Upstream.State == manage.UpstreamExpired })
	if z.State != "expired" || z.Reason != "zone-expired" || !s.metric("postern_dns_secondary_zones_expired 2") {
		t.Errorf("%+v", z)
	}
	s.down()
	f.start(s)
	if got := says(t, two, "127.0.0.1", www); got != "SERVFAIL 24" {
		t.Errorf("after a restart what expired is %s", got)
	}
	f.start(p)
	f.tell(2 * time.Hour) // it was asked for in vain: the next try is some time away
	all("192.0.2.2", "10.0.0.2")

	// A primary that was made anew with a lower serial.
	p.down()
	if err := os.RemoveAll(filepath.Join(p.dir, "state")); err != nil {
		t.Fatal(err)
	}
	p.write("zones/city.example.zone", strings.Replace(houseZone, "192.0.2.2", "192.0.2.4", 1))
	f.start(p)
	if _, err := s.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbZoneRetransfer, []byte(`{"zone":"other.example"}`)); err == nil {
		t.Error("a zone that is not there is transferred")
	}
	if got := ask[[]manage.Retransferred](s, manage.VerbZoneRetransfer, manage.RetransferArgs{Zone: "City.example"}); len(got) != 2 || got[0].View != "inside" || got[1].Serial != 8 {
		t.Errorf("%+v", got)
	}
	all("192.0.2.4", "10.0.0.2")
	if z := s.upstream("outside", func(z manage.Zone) bool { return z.Upstream.Serial == 1 }); z.Serial != 1 {
		t.Errorf("%+v", z)
	}
	if got := ask[manage.ZonePage](s, manage.VerbZoneExport, manage.ExportArgs{Zone: "city.example", View: "outside"}); got != ask[manage.ZonePage](p, manage.VerbZoneExport, manage.ExportArgs{Zone: "city.example", View: "outside"}) {
		t.Errorf("exports differ:\n%s", got.Text)
	}
}

// TestReloadOfPrimaries: a zone gets primaries, other ones, and none.
func TestReloadOfPrimaries(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one, two := f.address(), f.address()
	keys := map[string]string{"in.key": keyFile(newSecret), "out.key": keyFile(oldSecret)}
	p, s := f.house(feedPrimary(one, two), keys), f.house("", keys)
	p.write("zones/city.example.zone", houseZone)
	p.write("inner/city.example.zone", "www A 10.0.0.2\n")
	with := feedSecondary(two, one)
	without := with[:strings.Index(with, "[zone.")] + "[zone.\"other.example\".view.outside]\nprimaries = [\"main\"]\n"
	s.write("over/.keep", "")
	s.write("postern.toml", without)
	f.start(p)
	f.start(s)
	s.write("postern.toml", with)
	s.reload("primaries of zone city.example in view inside: new, [main]", "primaries of zone other.example in view outside: gone")
	until(t, two, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.2")
	until(t, two, "127.0.0.2", "www.city.example.", "NOERROR 10.0.0.2")
	s.write("postern.toml", without)
	s.reload("primaries of zone city.example in view outside: gone")
	if got := says(t, two, "127.0.0.1", "www.city.example."); got != "NOERROR 192.0.2.2" {
		t.Errorf("what was served goes at once: %s", got)
	}
	gone := ask[manage.RemovedZone](s, manage.VerbZoneRemove, manage.PlanArgs{Zone: "city.example"})
	if len(gone.Views) == 0 {
		t.Errorf("%+v", gone)
	}
	until(t, two, "127.0.0.1", "www.city.example.", "REFUSED 20")
}

// TestChainOfSecondaries: what one has from another it gives to a third, and
// tells it; nobody down the chain thinks the zone good for longer than it is.
func TestChainOfSecondaries(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one, two, three := f.address(), f.address(), f.address()
	config := func(own, up, down string) string {
		text := "[server]\nstate = \"state\"\ncontrol = \"c.sock\"\n[dns]\nrrl = \"off\"\n[[listen]]\nserve = \"dns\"\naddress = [\"" + own + "\"]\n" +
			"[[view]]\nname = \"world\"\nclients = [\"any\"]\nzones = \"zones\"\n[key.\"k.\"]\nsecret = \"file:k\"\n"
		if down != "" {
			text += "[peer.down]\nnotify = [\"" + down + "\"]\nkeys = [\"k.\"]\n[zone_default]\nsecondaries = [\"down\"]\n"
		}
		if up != "" {
			text += "[peer.up]\naddress = [\"" + up + "\"]\nkeys = [\"k.\"]\n[zone.\"city.example\"]\nprimaries = [\"up\"]\n"
		}
		return text
	}
	key := map[string]string{"k": keyFile(oldSecret), "zones/.keep": ""}
	p, s, u := f.house(config(one, "", two), key), f.house(config(two, one, three), key), f.house(config(three, two, ""), key)
	p.write("zones/city.example.zone", houseZone)
	for _, h := range []*house{p, s, u} {
		f.start(h)
	}
	f.tell(time.Minute)
	until(t, three, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.2")
	f.tell(time.Hour) // no more than the half of a refresh
	p.write("zones/city.example.zone", strings.Replace(houseZone, "192.0.2.2", "192.0.2.3", 1))
	until(t, three, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.3")
	p.down()
	f.tell(7 * 24 * time.Hour) // nobody vouches for it in the middle, which does at the end
	half := u.upstream("world", func(z manage.Zone) bool { return z.Upstream.Checked.Unix() == f.now.Unix() })
	if left := half.Upstream.Expires.Sub(f.now); left > 7*24*time.Hour {
		t.Errorf("at the end of the chain %s are left", left)
	}
	f.tell(7*24*time.Hour + time.Minute)
	until(t, two, "127.0.0.1", "www.city.example.", "SERVFAIL 24")
	until(t, three, "127.0.0.1", "www.city.example.", "SERVFAIL 24")
}
