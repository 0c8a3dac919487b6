package app

import (
	"encoding/base64"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/manage"
)

// secondary is somebody else's name server, as far as it is told and asked. It
// has a zone only when the test says so.
type secondary struct {
	t      *testing.T
	addr   string
	serial atomic.Uint32
	rcode  atomic.Int32
	heard  chan string // NOTIFY that were signed: zone and serial
}

func newSecondary(t *testing.T) *secondary {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &secondary{t: t, addr: c.LocalAddr().String(), heard: make(chan string, 100)}
	server := &dns.Server{
		PacketConn: c, Handler: s, TsigSecret: map[string]string{"out.": base64.StdEncoding.EncodeToString([]byte(oldSecret))},
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
	}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			_ = c.Close() // it had not begun
		}
		<-done
	})
	return s
}

func (s *secondary) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative, m.Rcode = true, int(s.rcode.Load())
	switch {
	case q.IsTsig() == nil || w.TsigStatus() != nil:
		s.t.Errorf("not signed as agreed: %v", q)
		m.Rcode = dns.RcodeRefused
	case q.Opcode == dns.OpcodeNotify:
		s.heard <- q.Question[0].Name + " " + dns.Field(q.Answer[0], 3)
	default:
		m.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "ns.", Mbox: "h.", Serial: s.serial.Load()}}
	}
	m.SetTsig("out.", dns.HmacSHA256, 300, time.Now().Unix())
	_ = w.WriteMsg(m)
}

// told waits for a NOTIFY.
func (s *secondary) told(want string) {
	s.t.Helper()
	select {
	case got := <-s.heard:
		if got != want {
			s.t.Errorf("told of %s, want %s", got, want)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatalf("not told of %s", want)
	}
}

// stands waits until the status says so of the secondary with that address.
func (h *house) stands(addr string, state manage.SecondaryState, serial uint32) {
	h.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(30 * time.Second)
	var last []manage.Secondary
	for {
		got, err := h.app.desk.Do(h.t.Context(), manage.Caller{}, manage.VerbStatus, nil)
		if err != nil {
			h.t.Fatal(err)
		}
		last = got.(manage.Status).Secondaries
		for _, s := range last {
			if s.Address == addr && s.State == state && s.Serial == serial && s.Since.IsZero() == (state == manage.SecondaryOK) {
				return
			}
		}
		select {
		case <-look.C:
		case <-late:
			h.t.Fatalf("not %s with %d: %+v", state, serial, last)
		}
	}
}

// toldAt is a configuration in which the world's secondary is at that address,
// and nobody but its admin changes the zone.
func toldAt(addr string) string {
	return strings.Replace(withPeers(houseConfig), "notify = []", "notify = [\""+addr+"\"]", 1) + "[derived]\npublish = []\n"
}

func (h *house) metric(line string) bool {
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return strings.Contains(w.Body.String(), "\n"+line+"\n")
}

// TestSecondariesAreToldAndAsked: of the first version, of a change, after a
// reload that names another, and by hand.
func TestSecondariesAreToldAndAsked(t *testing.T) {
	t.Parallel()
	one, two := newSecondary(t), newSecondary(t)
	config := toldAt(one.addr)
	h := buildWith(t, config, map[string]string{
		"in.key": keyFile(newSecret), "out.key": keyFile(oldSecret), "inner/city.example.zone": "www 300 A 10.0.0.1\n",
	})
	one.told("city.example. 1")
	h.stands(one.addr, manage.SecondaryLagging, 0)
	if !h.metric("postern_dns_secondaries_behind 1") || !h.metric("postern_dns_secondaries_unreachable 0") {
		t.Error("the metrics do not say that one is behind")
	}
	one.serial.Store(1)
	h.stands(one.addr, manage.SecondaryOK, 1)
	if !h.metric("postern_dns_secondaries_behind 0") {
		t.Error("the metrics do not say that none is behind")
	}

	h.write("zones/city.example.zone", strings.Replace(houseZone, "192.0.2.2", "192.0.2.3", 1))
	h.reload("zone city.example. view external: serial 2")
	one.told("city.example. 2")
	h.stands(one.addr, manage.SecondaryLagging, 1)

	// Another list of peers, while one still lags: the new one is told at once.
	h.write("postern.toml", strings.Replace(config, one.addr, two.addr, 1))
	h.reload("peer isp: notify [" + two.addr + "]")
	two.told("city.example. 2")
	two.serial.Store(2)
	h.stands(two.addr, manage.SecondaryOK, 2)
	got, err := h.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbStatus, nil)
	if err != nil || len(got.(manage.Status).Secondaries) != 1 {
		t.Errorf("who is gone is listed: %v %+v", err, got)
	}

	told, err := h.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbZoneNotify, []byte(`{"zone":"city.example"}`))
	if n, ok := told.([]manage.Notified); err != nil || !ok || len(n) != 1 || n[0].Zone != "city.example." || n[0].View != "external" || n[0].Serial != 2 || n[0].Peers[0] != "isp" {
		t.Errorf("%v %+v", err, told)
	}
	two.told("city.example. 2")
	if _, err := h.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbZoneNotify, []byte(`{"zone":"city.example","view":"inner"}`)); err == nil {
		t.Error("the branch, which wants to hear nothing, is told")
	}
}

// TestFirstLoadStartsAboveTheSecondaries: a zone that is new here and known to a
// secondary from before goes above what that has.
func TestFirstLoadStartsAboveTheSecondaries(t *testing.T) {
	t.Parallel()
	one := newSecondary(t)
	one.serial.Store(2026010107)
	h := buildWith(t, toldAt(one.addr), map[string]string{
		"in.key": keyFile(newSecret), "out.key": keyFile(oldSecret), "inner/city.example.zone": "www 300 A 10.0.0.1\n",
	})
	one.told("city.example. 1")
	one.told("city.example. 2026010108")
	one.serial.Store(2026010108)
	h.stands(one.addr, manage.SecondaryOK, 2026010108)
	h.write("zones/city.example.zone", strings.Replace(houseZone, "192.0.2.2", "192.0.2.3", 1))
	h.reload("zone city.example. view external: serial 2026010109")
}

// TestSecondaryThatRefuses is unreachable, and status says why.
func TestSecondaryThatRefuses(t *testing.T) {
	t.Parallel()
	one := newSecondary(t)
	one.rcode.Store(dns.RcodeNotAuth)
	h := buildWith(t, toldAt(one.addr), map[string]string{
		"in.key": keyFile(newSecret), "out.key": keyFile(oldSecret), "inner/city.example.zone": "",
	})
	one.told("city.example. 1")
	h.stands(one.addr, manage.SecondaryUnreachable, 0)
	got, err := h.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbStatus, nil)
	if s := got.(manage.Status).Secondaries; err != nil || len(s) != 1 || s[0].Reason != "it answers NOTAUTH" || !s[0].Asked.IsZero() {
		t.Errorf("%v %+v", err, s)
	}
}
