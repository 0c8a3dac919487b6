package serve

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/authority"
	"postern/internal/dns/listen"
	"postern/internal/dns/update"
)

// zones is an owner of zones that notes what it is asked, and says what it is
// told to.
type zones struct {
	mu   sync.Mutex // guards what follows
	came []string
	out  authority.Outcome
	hold chan struct{} // nil: nothing is held back
	held chan struct{}
}

func (z *zones) Update(_ context.Context, u authority.Update) authority.Outcome {
	z.mu.Lock()
	z.came = append(z.came, fmt.Sprintf("%s key %s view %q %d+%d", u.Request.Zone, u.Key, u.View, len(u.Request.Requires), len(u.Request.Changes)))
	out, hold, held := z.out, z.hold, z.held
	z.mu.Unlock()
	if hold != nil {
		held <- struct{}{}
		<-hold
	}
	return out
}

func (z *zones) say(out authority.Outcome) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.out = out
}

// holdBack makes updates wait until hold is closed; held hears of each.
func (z *zones) holdBack(room int) (hold, held chan struct{}) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.hold, z.held = make(chan struct{}), make(chan struct{}, room)
	return z.hold, z.held
}

func (z *zones) calls() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return append([]string{}, z.came...)
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// change is an UPDATE that adds one record.
func change(zoneName string, edits ...func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg).SetUpdate(zoneName)
	m.Insert([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "new." + zoneName, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 9)}})
	for _, edit := range edits {
		edit(m)
	}
	return m
}

// updating is a server that takes updates.
type updating struct {
	t     *testing.T
	s     *Server
	zones *zones
	clock *clock
	to    netip.AddrPort
	log   *bytes.Buffer
}

func takesUpdates(t *testing.T, l Listener, rate int) *updating {
	t.Helper()
	u := &updating{t: t, zones: &zones{}, clock: &clock{now: time.Unix(1_800_000_000, 0)}, log: &bytes.Buffer{}}
	u.s, u.to = start(t, Config{Updates: u.zones, UpdateRate: rate, Keys: testKeys(t), Now: u.clock.read, Log: slog.New(slog.DiscardHandler)}, l)
	return u
}

// send signs a message, if s names a key, and says what came back.
func (u *updating) send(network, from string, s signature, m *dns.Msg) (string, *dns.Msg) {
	u.t.Helper()
	if s.key == "" {
		b, err := m.Pack()
		if err != nil {
			u.t.Fatal(err)
		}
		got := unpack(u.t, rawBytes(u.t, network, from, u.to, b))
		return summary(got), got
	}
	b, mac := s.bytes(u.t, m, u.clock.read())
	got, proof := s.check(u.t, rawBytes(u.t, network, from, u.to, b), mac)
	return summary(got) + ", " + proof, got
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	refused := authority.Outcome{Rcode: update.Refused, Reason: update.ReasonRule, View: "external"}
	class := func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }
	for _, c := range []struct {
		why  string
		from string
		s    signature
		m    *dns.Msg
		out  authority.Outcome
		want string
		came string // "": nothing reached the zone
	}{
		{"unsigned", outsider, signature{}, change("example."), authority.Outcome{}, "REFUSED", ""},
		{"unsigned, from inside", insider, signature{}, change("example."), authority.Outcome{}, "REFUSED", ""},
		{"unsigned, of what is not ours", outsider, signature{}, change("other."), authority.Outcome{}, "REFUSED", ""},
		{"an unknown key", outsider, signature{key: "nobody."}, change("example."), authority.Outcome{}, "NOTAUTH, unsigned BADKEY", ""},
		{"another secret", outsider, signature{key: freeKey, secret: "another"}, change("example."), authority.Outcome{}, "NOTAUTH, unsigned BADSIG", ""},
		{"too late", outsider, signature{key: freeKey, off: -301 * time.Second}, change("example."), authority.Outcome{}, "NOTAUTH, signed BADTIME", ""},
		{"too early", outsider, signature{key: freeKey, off: 301 * time.Second}, change("example."), authority.Outcome{}, "NOTAUTH, signed BADTIME", ""},
		{"no zone", outsider, signature{key: freeKey}, change("example.", func(m *dns.Msg) { m.Question = nil }), authority.Outcome{}, "FORMERR, no TSIG", ""},
		{"a zone of another type", outsider, signature{key: freeKey}, change("example.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }), authority.Outcome{}, "FORMERR, no TSIG", ""},
		{"another class", outsider, signature{key: freeKey}, change("example.", class), authority.Outcome{}, "NOTAUTH, signed", ""},
		{"another version of EDNS", outsider, signature{key: freeKey}, change("example.", func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), authority.Outcome{}, "BADVERS, no TSIG", ""},

		{"from outside, by address", outsider, signature{key: freeKey}, change("example."), authority.Outcome{}, "NOERROR, signed", `example. key free. view "external" 0+1`},
		{"from inside, by address", insider, signature{key: freeKey}, change("example."), authority.Outcome{}, "NOERROR, signed", `example. key free. view "internal" 0+1`},
		{"from outside, by the inner key", outsider, signature{key: insideKey}, change("example."), authority.Outcome{}, "NOERROR, signed", `example. key inside-2026. view "internal" 0+1`},
		{"what the zone says", outsider, signature{key: freeKey}, change("example."), refused, "REFUSED, signed", `example. key free. view "external" 0+1`},
		{"a prerequisite", outsider, signature{key: freeKey}, change("example.", func(m *dns.Msg) { m.NameUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: "a.example."}}}) }), authority.Outcome{Rcode: update.NXDomain, Reason: update.ReasonUnmet}, "NXDOMAIN, signed", `example. key free. view "external" 1+1`},
		{"with EDNS", outsider, signature{key: freeKey}, change("EXAMPLE.", withEDNS), authority.Outcome{Rcode: update.YXRRSet, Reason: update.ReasonUnmet}, "YXRRSET, signed", `example. key free. view "external" 0+1`},
	} {
		for _, network := range []string{"udp", "tcp"} {
			u := takesUpdates(t, Listener{}, 0)
			u.clock.move(time.Hour)
			u.zones.say(c.out)
			got, reply := u.send(network, c.from, c.s, c.m)
			came := fmt.Sprint(u.zones.calls())
			if want := "[" + c.came + "]"; got != c.want || came != want {
				t.Errorf("%s by %s: %s, %s, want %s, %s", c.why, network, got, came, c.want, want)
			}
			if reply.Opcode != dns.OpcodeUpdate || reply.Id != c.m.Id || (reply.IsEdns0() != nil) != (c.m.IsEdns0() != nil) {
				t.Errorf("%s by %s: %s", c.why, network, reply)
			}
		}
	}
}

// What comes again is not done again, whoever sends it; who sent it first and
// heard nothing hears what it came to.
func TestUpdateReplayed(t *testing.T) {
	t.Parallel()
	u := takesUpdates(t, Listener{}, 0)
	u.clock.move(time.Hour)
	s := signature{key: freeKey}
	u.zones.say(authority.Outcome{Rcode: update.NXRRSet, Reason: update.ReasonUnmet})
	again, mac := s.bytes(t, change("example."), u.clock.read())
	for i, c := range []struct {
		after time.Duration
		from  string
		want  string
		calls int
	}{
		{0, outsider, "NXRRSET, signed", 1},
		{0, outsider, "NXRRSET, signed", 1},
		{time.Second, insider, "NXRRSET, signed", 1},
		{298 * time.Second, outsider, "NXRRSET, signed", 1},
		{2 * time.Second, outsider, "NOTAUTH, signed BADTIME", 1},
	} {
		u.clock.move(c.after)
		got, proof := s.check(t, rawBytes(t, "udp", c.from, u.to, again), mac)
		if said := summary(got) + ", " + proof; said != c.want || len(u.zones.calls()) != c.calls {
			t.Errorf("%d: %s after %d calls, want %s", i, said, len(u.zones.calls()), c.want)
		}
	}
	if n := u.s.Counters.UpdatesReplayed.Value(); n != 3 {
		t.Error(n)
	}
	// The same change, signed anew, is another one.
	u.send("udp", outsider, s, change("example."))
	if n := len(u.zones.calls()); n != 2 {
		t.Error(n)
	}
	u.clock.move(time.Hour)
	u.send("udp", outsider, s, change("example."))
	u.s.replays.mu.Lock()
	defer u.s.replays.mu.Unlock()
	if n := len(u.s.replays.seen); n != 1 {
		t.Errorf("%d are remembered", n)
	}
}

// A client may say that its clock is far off; for an update that is not
// believed. Nor is what was signed before this server began.
func TestUpdateOfOldTimes(t *testing.T) {
	t.Parallel()
	u := takesUpdates(t, Listener{}, 0)
	s := signature{key: freeKey, off: -time.Second}
	if got, _ := u.send("udp", outsider, s, change("example.")); got != "NOTAUTH, signed BADTIME" {
		t.Error("before the start:", got)
	}
	if got, _ := u.send("udp", outsider, signature{key: freeKey}, change("example.")); got != "NOERROR, signed" {
		t.Error("at the start:", got)
	}
	u.clock.move(time.Hour)
	m := change("example.")
	m.SetTsig(freeKey, dns.HmacSHA256, 3600, u.clock.read().Unix()-301)
	b, mac, err := dns.TsigGenerate(m, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "", false)
	if err != nil {
		t.Fatal(err)
	}
	got, proof := s.check(t, rawBytes(t, "udp", outsider, u.to, b), mac)
	if said := summary(got) + ", " + proof; said != "NOTAUTH, signed BADTIME" {
		t.Error("a fudge of an hour:", said)
	}
	if n := len(u.zones.calls()); n != 1 {
		t.Error(n)
	}
}

func TestUpdateRate(t *testing.T) {
	t.Parallel()
	u := takesUpdates(t, Listener{}, 2)
	u.clock.move(time.Hour)
	ask := func(key, want string) {
		t.Helper()
		if got, _ := u.send("udp", outsider, signature{key: key}, change("example.")); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for range 2 * burst {
		ask(freeKey, "NOERROR, signed")
	}
	ask(freeKey, "SERVFAIL, signed")
	ask(insideKey, "NOERROR, signed") // has a rate of its own
	u.clock.move(500 * time.Millisecond)
	ask(freeKey, "NOERROR, signed")
	ask(freeKey, "SERVFAIL, signed")
	if n := u.s.Counters.UpdatesOverRate.Value(); n != 2 {
		t.Error(n)
	}
	u.s.LimitUpdates(0)
	ask(freeKey, "NOERROR, signed")
}

// Who is under way takes a place; there are so many, and what is under way is
// not begun again.
func TestUpdatesUnderWay(t *testing.T) {
	t.Parallel()
	u := takesUpdates(t, Listener{}, 0)
	u.clock.move(time.Hour)
	hold, held := u.zones.holdBack(maxUpdates)
	s := signature{key: freeKey}
	c, err := net.Dial("udp", u.to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range maxUpdates {
		b, _ := s.bytes(t, change("example.", func(m *dns.Msg) { m.Id = uint16(i) }), u.clock.read())
		for range 2 { // the second is dropped
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-held:
		case <-t.Context().Done():
		case <-time.After(patience):
			close(hold)
			t.Fatalf("update %d does not come", i)
		}
	}
	if got, _ := u.send("tcp", outsider, s, change("example.", func(m *dns.Msg) { m.Id = maxUpdates })); got != "SERVFAIL, signed" {
		t.Error(got)
	}
	if n := u.s.Counters.UpdatesBusy.Value(); n != 1 || len(u.zones.calls()) != maxUpdates {
		t.Error(n, len(u.zones.calls()))
	}
	close(hold)
}

// A forged source hears nothing, unless a key proves that somebody there has
// rights.
func TestUpdateFromForgedSource(t *testing.T) {
	t.Parallel()
	u := takesUpdates(t, Listener{Views: []string{"external"}}, 0)
	u.clock.move(time.Hour)
	u.zones.say(authority.Outcome{View: "internal"})
	if got, _ := u.send("udp", insider, signature{key: freeKey}, change("example.")); got != "NOERROR, signed" {
		t.Error(got)
	}
	if came := u.zones.calls(); len(came) != 1 || came[0] != `example. key free. view "" 0+1` {
		t.Error(came)
	}
	u.zones.say(authority.Outcome{Rcode: update.NotAuth, Reason: authority.ReasonNoZone})
	h := u.s.Handler(Listener{Views: []string{"external"}})()
	unsigned, err := change("example.").Pack()
	if err != nil {
		t.Fatal(err)
	}
	badKey, _ := signature{key: "nobody."}.bytes(t, change("example."), u.clock.read())
	badSecret, _ := signature{key: freeKey, secret: "another"}.bytes(t, change("example."), u.clock.read())
	for why, msg := range map[string][]byte{"unsigned": unsigned, "malformed": unsigned[:20], "an unknown key": badKey, "another secret": badSecret} {
		if reply := h.Serve(&listen.Request{Msg: msg, Client: netip.MustParseAddrPort(insider + ":53")}, nil); reply != nil {
			t.Errorf("%s: %x", why, reply)
		}
	}
	forged := u.s.Counters.Forged.Value()
	if forged != 4 {
		t.Error(forged)
	}
	// A good key without any rule: it is judged, and nobody told.
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(insider)}, net.UDPAddrFromAddrPort(u.to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hold, held := u.zones.holdBack(0)
	b, _ := signature{key: freeKey}.bytes(t, change("example."), u.clock.read())
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	<-held
	close(hold)
	ask, _ := signature{key: insideKey}.bytes(t, question("www.example.", dns.TypeA, func(m *dns.Msg) { m.Id = 4711 }), u.clock.read())
	if _, err := c.Write(ask); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	reply := make([]byte, 4096)
	if n, err := c.Read(reply); err != nil || unpack(t, reply[:n]).Id != 4711 {
		t.Errorf("%v %x", err, reply[:n])
	}
}

// Where nobody may update anything, the best key is refused; and where servers
// do not speak.
func TestNoUpdates(t *testing.T) {
	t.Parallel()
	d := counter(t, Config{})
	if got, _ := d.signed(Listener{}, outsider, listen.TCP, signature{key: freeKey}, change("example.")); got != "REFUSED, no TSIG" {
		t.Error(got)
	}
	d = counter(t, Config{Updates: &zones{}})
	for _, tr := range []listen.Transport{listen.HTTPS, listen.QUIC} {
		if got, _ := d.signed(Listener{}, outsider, tr, signature{key: freeKey}, change("example.")); got != "REFUSED, no TSIG" {
			t.Error(tr, got)
		}
	}
}

// TestUpdateAfterAStart: with what the process before remembered a clock that is
// behind is no fault, and what it carried out is not done again; without, what was
// signed before the start hears our time.
func TestUpdateAfterAStart(t *testing.T) {
	t.Parallel()
	s := signature{key: freeKey}
	first := takesUpdates(t, Listener{}, 0)
	first.clock.move(time.Hour)
	first.s.replays.since = first.clock.read().Unix() // it begins here
	first.zones.say(authority.Outcome{Rcode: update.NXRRSet, Reason: update.ReasonUnmet})
	done, mac := s.bytes(t, change("example."), first.clock.read().Add(-100*time.Second))
	if got, proof := s.check(t, rawBytes(t, "udp", outsider, first.to, done), mac); summary(got)+proof != "NOTAUTH"+"signed BADTIME" {
		t.Errorf("%s, %s: though nobody knows what was before", summary(got), proof)
	}
	if err := first.s.Recall([]byte(`{"version":1,"updates":[]}`)); err != nil {
		t.Fatal(err)
	}
	if got, proof := s.check(t, rawBytes(t, "udp", outsider, first.to, done), mac); summary(got)+proof != "NXRRSET"+"signed" {
		t.Errorf("%s, %s", summary(got), proof)
	}
	text, err := first.s.Remember()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		text, done, other string
	}{
		"a clean stop": {string(text), "NXRRSET, signed", "NOERROR, signed"},
		"a crash":      {"", "NOTAUTH, signed BADTIME", "NOTAUTH, signed BADTIME"},
		"of another":   {`{"version":2}`, "NOTAUTH, signed BADTIME", "NOTAUTH, signed BADTIME"},
		"broken":       {`{"version":1,"upd`, "NOTAUTH, signed BADTIME", "NOTAUTH, signed BADTIME"},
	} {
		next := takesUpdates(t, Listener{}, 0)
		next.s.replays.since = first.clock.read().Unix() // it begins here
		next.clock.move(first.clock.read().Sub(next.clock.read()))
		if err := next.s.Recall([]byte(c.text)); (err == nil) != (what == "a clean stop") {
			t.Errorf("%s: %v", what, err)
		}
		got, proof := s.check(t, rawBytes(t, "udp", outsider, next.to, done), mac)
		if said := summary(got) + ", " + proof; said != c.done || len(next.zones.calls()) != 0 {
			t.Errorf("%s: %s, want %s", what, said, c.done)
		}
		behind, itsMAC := s.bytes(t, change("example."), first.clock.read().Add(-90*time.Second))
		got, proof = s.check(t, rawBytes(t, "udp", outsider, next.to, behind), itsMAC)
		if said := summary(got) + ", " + proof; said != c.other {
			t.Errorf("%s: by a clock that is behind: %s, want %s", what, said, c.other)
		}
		next.clock.move(10 * time.Minute) // and it is forgotten
		next.send("udp", outsider, s, change("example."))
		next.s.replays.mu.Lock()
		if n := len(next.s.replays.seen); n != 1 {
			t.Errorf("%s: %d are remembered", what, n)
		}
		next.s.replays.mu.Unlock()
	}
}
