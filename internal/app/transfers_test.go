package app

import (
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/xfr"
)

// peerHouse gives the world's version to whoever has one key, the inner one to
// whoever has another.
const peerHouse = `[key."out."]
secret = "file:out.key"
[key."in."]
secret = "file:in.key"
[peer.isp]
notify = []
keys = ["out."]
[peer.branch]
notify = []
keys = ["in."]
[zone_default.view.external]
secondaries = ["isp"]
[zone."city.example".view.inner]
secondaries = ["branch"]
[[view]]
name      = "inner"
clients   = ["10.0.0.0/8"]
overlay   = "external"
zones     = "inner"
[[view]]`

func withPeers(config string) string { return strings.Replace(config, "[[view]]", peerHouse, 1) }

func buildPeers(t *testing.T) *house {
	t.Helper()
	return buildWith(t, withPeers(houseConfig), map[string]string{
		"in.key": keyFile(newSecret), "out.key": keyFile(oldSecret), "inner/city.example.zone": "www 300 A 10.0.0.1\n",
	})
}

// transfer returns the addresses in a whole zone, as the library's client gets
// it, and what went wrong.
func (h *house) transfer(zone, key, secret string) string {
	h.t.Helper()
	return h.transferBy(new(dns.Transfer), listen.TCP, zone, key, secret)
}

func (h *house) transferBy(tr *dns.Transfer, over listen.Transport, zone, key, secret string) string {
	h.t.Helper()
	m := new(dns.Msg).SetAxfr(zone)
	if key != "" {
		tr.TsigSecret = map[string]string{key: base64.StdEncoding.EncodeToString([]byte(secret))}
		m.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
	}
	envelopes, err := tr.In(m, h.at(over).String())
	if err != nil {
		return err.Error()
	}
	var got []string
	for e := range envelopes {
		if e.Error != nil {
			return e.Error.Error()
		}
		for _, rr := range e.RR {
			if a, ok := rr.(*dns.A); ok {
				got = append(got, a.A.String())
			}
		}
	}
	return strings.Join(got, " ")
}

// TestTransfersGoToPeersAlone, each its own view, from the first moment.
func TestTransfersGoToPeersAlone(t *testing.T) {
	t.Parallel()
	h := buildPeers(t)
	for _, c := range []struct{ zone, key, secret, want string }{
		{"city.example.", "", "", "dns: bad xfr rcode: 5"},
		{"none.example.", "", "", "dns: bad xfr rcode: 5"},
		{"none.example.", "out.", oldSecret, "dns: bad xfr rcode: 5"},
		{"city.example.", "out.", newSecret, "dns: bad authentication"},
		{"city.example.", "other.", oldSecret, "dns: bad authentication"},
		{"city.example.", "out.", oldSecret, "192.0.2.1 192.0.2.2"},
		{"city.example.", "in.", newSecret, "192.0.2.1 10.0.0.1"},
	} {
		if got := h.transfer(c.zone, c.key, c.secret); got != c.want {
			t.Errorf("%s with %q: %s, want %s", c.zone, c.key, got, c.want)
		}
	}
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{"postern_dns_transfer_full_total 2", "postern_dns_transfer_refused_total 3", "postern_dns_transfers_running 0"} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("no %s in the metrics", line)
		}
	}
}

// TestReloadChangesSecondaries, and a zone that comes has those of all zones.
func TestReloadChangesSecondaries(t *testing.T) {
	t.Parallel()
	h := buildPeers(t)
	const all, refused = "192.0.2.1 192.0.2.2", "dns: bad xfr rcode: 5"
	want := func(zone, key, secret, want string) {
		t.Helper()
		if got := h.transfer(zone, key, secret); got != want {
			t.Errorf("%s with %s: %s, want %s", zone, key, got, want)
		}
	}
	h.write("zones/late.example.zone", houseZone)
	h.reload("zone late.example. view external: ")
	want("late.example.", "out.", oldSecret, all)
	want("late.example.", "in.", newSecret, refused)

	h.write("postern.toml", withPeers(houseConfig)+"[zone.\"late.example\".view.external]\nsecondaries = []\n")
	h.reload("secondaries of zone late.example in view external: new, []")
	want("late.example.", "out.", oldSecret, refused)
	want("city.example.", "out.", oldSecret, all)

	h.write("postern.toml", strings.Replace(withPeers(houseConfig), "[peer.isp]", "[peer.isp]\ntransfer_from = [\"192.0.2.0/24\"]", 1))
	h.reload("peer isp: notify [], keys [out], transfers by tcp from [192.0.2.0/24]")
	want("city.example.", "out.", oldSecret, refused) // we are 127.0.0.1
	want("city.example.", "in.", newSecret, "192.0.2.1 10.0.0.1")

	// What is not good changes nothing.
	h.write("postern.toml", strings.Replace(withPeers(houseConfig), `["isp"]`, `["isq"]`, 1))
	if _, err := h.app.reload(t.Context()); err == nil || !strings.Contains(err.Error(), `there is no peer "isq" (did you mean "isp"?)`) {
		t.Errorf("reload: %v", err)
	}
	want("city.example.", "in.", newSecret, "192.0.2.1 10.0.0.1")

	h.write("postern.toml", houseConfig)
	h.reload("peer isp: gone", "secondaries of all zones in view external: gone")
	want("city.example.", "out.", oldSecret, "dns: bad authentication")
}

// TestRulesFollowZones that come and go.
func TestRulesFollowZones(t *testing.T) {
	t.Parallel()
	served := map[place]bool{}
	tr := newTransfers(func(at place) bool { return served[at] })
	isp := &xfr.Peer{Name: "isp", ByAddress: true, From: loopbacks()}
	zone := place{mustName(t, "a.example."), "out"}
	find := func() bool {
		_, ok := tr.rules().Find(zone.zone, xfr.Asker{From: loopbacks()[0].Addr()})
		return ok
	}
	if find() {
		t.Error("before anybody has anything")
	}
	served[zone] = true
	tr.came(zone)
	if find() {
		t.Error("before anybody may have it")
	}
	tr.follow(&peering{rest: map[string][]*xfr.Peer{"out": {isp}, "in": {isp}}})
	if !find() {
		t.Error("not found")
	}
	if first := tr.rules(); first != tr.rules() {
		t.Error("made anew without need")
	}
	if tr.came(zone); !find() {
		t.Error("a change of the zone takes it away")
	}
	delete(served, zone)
	tr.came(place{mustName(t, "b.example."), "out"})
	if find() || len(tr.zones) != 0 {
		t.Errorf("gone, and there: %v", tr.zones)
	}
	served[zone] = true
	if tr.came(zone); !find() {
		t.Error("not found when it is back")
	}
	if tr.follow(nil); find() {
		t.Error("found by nobody's rule")
	}
}

func loopbacks() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }

// TestRulesDoNotWaitForZones: thousands of secondary zones that come one after
// the other have the rules made once, with all of them.
func TestRulesDoNotWaitForZones(t *testing.T) {
	t.Parallel()
	served := map[place]bool{}
	tr := newTransfers(func(at place) bool { return served[at] })
	peer := &xfr.Peer{Name: "isp", ByAddress: true, From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	tr.follow(&peering{rest: map[string][]*xfr.Peer{"out": {peer}}})
	var all []xfr.Inbound
	for i := range 5_000 {
		n, err := name.Parse(fmt.Sprintf("z%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, xfr.Inbound{Zone: n, View: "out"})
	}
	tr.expect(all)
	who := xfr.Asker{From: netip.MustParseAddr("192.0.2.1")}
	for _, in := range all {
		at := place{in.Zone, in.View}
		served[at] = true
		if !tr.came(at) || tr.came(at) {
			t.Fatalf("%s comes twice, or never", in.Zone)
		}
		tr.came(place{in.Zone, "within"}) // a view without secondaries
		if _, ok := tr.rules().Find(in.Zone, who); !ok {
			t.Fatalf("%s is for nobody", in.Zone)
		}
	}
	if tr.rebuilt != 1 {
		t.Errorf("the rules were made %d times", tr.rebuilt)
	}
	own, err := name.Parse("own.example")
	if err != nil {
		t.Fatal(err)
	}
	served[place{own, "out"}] = true
	tr.came(place{own, "out"})
	if _, ok := tr.rules().Find(own, who); !ok || tr.rebuilt != 2 {
		t.Errorf("a zone of our own came: %t, %d", ok, tr.rebuilt)
	}
	tr.went(place{all[0].Zone, "out"})
	if _, ok := tr.rules().Find(all[0].Zone, who); !ok || tr.rebuilt != 2 {
		t.Error("a zone that is to come again has no rules")
	}
	tr.expect(all[1:])
	if _, ok := tr.rules().Find(all[0].Zone, who); ok {
		t.Error("what is followed no more has rules")
	}
}
