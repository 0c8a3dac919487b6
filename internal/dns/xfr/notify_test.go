package xfr

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/zone"
	"postern/internal/secret"
)

const sharedSecret = "0123456789abcdef0123456789abcdef"

func ring(t testing.TB) *tsig.Keys { return ringOf(t, sharedSecret) }

func ringOf(t testing.TB, octets string) *tsig.Keys {
	t.Helper()
	keys, err := tsig.NewKeys([]tsig.Key{{Name: mustName(t, "k."), Algorithm: tsig.SHA256, Secret: secret.New([]byte(octets))}})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// stand is a source whose zones change, and the secondaries of the world.
type stand struct {
	t testing.TB

	mu      sync.Mutex // guards what follows
	zones   map[string]*zone.Zone
	has     map[netip.AddrPort]uint32 // serial; missing: does not answer
	log     []string                  // what was asked of whom, with the time
	flying  int
	most    int
	hang    bool // nobody answers
	bare    bool // replies are not signed
	rcode   int
	fetches bool // who is told has the zone at once
}

func (s *stand) Content(n name.Name, view string) (*zone.Zone, []zone.Delta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zones[n.String()+view], nil
}

func (s *stand) publish(serial uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.zones == nil {
		s.zones = map[string]*zone.Zone{}
	}
	s.zones["example.external"] = zoneOf(s.t, serial, "")
}

// asked returns and forgets what was asked.
func (s *stand) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func (s *stand) exchange(ctx context.Context, from netip.Addr, to netip.AddrPort, request []byte) ([]byte, error) {
	s.mu.Lock()
	s.flying++
	s.most = max(s.most, s.flying)
	hang := s.hang
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flying--
	}()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.reply(from, to, request)
}

func (s *stand) reply(from netip.Addr, to netip.AddrPort, request []byte) ([]byte, error) {
	m := new(dns.Msg)
	if err := m.Unpack(request); err != nil {
		s.t.Error(err)
		return nil, err
	}
	signed := "unsigned"
	text := base64.StdEncoding.EncodeToString([]byte(sharedSecret))
	if m.IsTsig() != nil {
		signed = "signed"
		if err := dns.TsigVerify(slices.Clone(request), text, "", false); err != nil {
			s.t.Error(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	what := "ask"
	if m.Opcode == dns.OpcodeNotify {
		soa, ok := m.Answer[0].(*dns.SOA)
		if !ok || !m.Authoritative || m.RecursionDesired {
			s.t.Errorf("RFC 1996, Section 3: %v", m)
		}
		what = fmt.Sprint("notify ", soa.Serial)
		if s.fetches {
			s.has[to] = soa.Serial
		}
	}
	if q := m.Question[0]; q.Name != "example." || q.Qtype != dns.TypeSOA || q.Qclass != dns.ClassINET {
		s.t.Errorf("%v", q)
	}
	s.log = append(s.log, fmt.Sprintf("%s %s %s %s", time.Now().Format("05.00"), to.Addr(), what, signed))
	serial, answers := s.has[to]
	if !answers {
		return nil, errors.New("nobody listens")
	}
	r := new(dns.Msg).SetReply(m)
	r.Rcode = s.rcode
	if r.Authoritative = true; what == "ask" && s.rcode == 0 {
		r.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: ".", Mbox: ".", Serial: serial}}
	}
	if m.IsTsig() == nil || s.bare {
		b, err := r.Pack()
		return b, err
	}
	r.SetTsig("k.", dns.HmacSHA256, 300, time.Now().Unix())
	b, _, err := dns.TsigGenerate(r, text, m.IsTsig().MAC, false)
	return b, err
}

var one, two = netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")

func rulesFor(t testing.TB, keyed bool, addrs ...netip.AddrPort) *Rules {
	t.Helper()
	p := &Peer{Name: "isp", Notify: addrs, ByAddress: !keyed, From: prefixes(t, "192.0.2.0/24")}
	if keyed {
		p.Keys = []name.Name{mustName(t, "k.")}
	}
	return NewRules([]Rule{{mustName(t, "example."), "external", []*Peer{p}}}, nil)
}

// notifying starts a Notifier in virtual time.
func notifying(t *testing.T, s *stand, rules *Rules, c NotifierConfig) (*Notifier, *atomic.Pointer[Rules]) {
	t.Helper()
	var now atomic.Pointer[Rules]
	now.Store(rules)
	keys := ring(t)
	c.Source, c.Rules, c.Keys, c.Exchange = s, now.Load, func() *tsig.Keys { return keys }, s.exchange
	n := NewNotifier(c)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n, &now
}

func said2(n *Notifier) string {
	var all []string
	for _, s := range n.Standing() {
		all = append(all, fmt.Sprintf("%s %s %d/%d", s.Address.Addr(), s.State, s.Serial, s.Served))
	}
	return strings.Join(all, ", ")
}

// TestNotifierFollowsTheSerial from NOTIFY to the serial's arrival, with the
// peer's key, and without where it has none.
func TestNotifierFollowsTheSerial(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &stand{t: t, has: map[netip.AddrPort]uint32{one: 6, two: 6}}
			s.publish(7)
			n, _ := notifying(t, s, rulesFor(t, keyed, one, two), NotifierConfig{})
			synctest.Wait()
			signed := map[bool]string{true: "signed", false: "unsigned"}[keyed]
			log := s.asked()
			slices.Sort(log)
			if want := fmt.Sprintf("[00.00 192.0.2.1 notify 7 %s 00.00 192.0.2.2 notify 7 %s]", signed, signed); fmt.Sprint(log) != want {
				t.Errorf("%v, want %s", log, want)
			}
			if got := said2(n); got != "192.0.2.1 unknown 0/7, 192.0.2.2 unknown 0/7" {
				t.Error(got)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := said2(n); got != "192.0.2.1 lagging 6/7, 192.0.2.2 lagging 6/7" {
				t.Error(got)
			}
			s.mu.Lock()
			s.has[one] = 7
			s.mu.Unlock()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if got := said2(n); got != "192.0.2.1 ok 7/7, 192.0.2.2 lagging 6/7" {
				t.Error(got)
			}
			st := n.Standing()
			if !st[0].Since.IsZero() || st[1].Since.IsZero() || st[0].Notify != "ok" || st[0].Ask != "ok" || st[0].Told.IsZero() || st[0].Seen.IsZero() {
				t.Errorf("%+v", st)
			}
			if n.Counters.Sent.Value() != 2 || n.Counters.Answered.Value() != 2 || n.Counters.Lost.Value() != 0 {
				t.Errorf("%d sent, %d answered, %d lost", n.Counters.Sent.Value(), n.Counters.Answered.Value(), n.Counters.Lost.Value())
			}
			s.asked()
			time.Sleep(24 * time.Hour)
			for _, line := range s.asked() {
				if strings.Contains(line, "192.0.2.1") {
					t.Fatalf("who has it is left alone: %s", line)
				}
			}
		})
	}
}

// TestNotifierGathers changes that come close together, and never tells of a
// serial that was passed by.
func TestNotifierGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stand{t: t, has: map[netip.AddrPort]uint32{one: 1}, fetches: true}
		s.publish(1)
		n, _ := notifying(t, s, rulesFor(t, true, one), NotifierConfig{})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s.asked()
		for serial := range uint32(20) {
			s.publish(serial + 2)
			n.Changed(mustName(t, "example."), "external")
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var told []string
		for _, line := range s.asked() {
			if strings.Contains(line, "notify") {
				told = append(told, line)
			}
		}
		if len(told) != 2 || !strings.Contains(told[0], "notify 2 ") || !strings.Contains(told[1], "notify 21 ") {
			t.Errorf("%v", told)
		}
		if got := said2(n); got != "192.0.2.1 ok 21/21" {
			t.Error(got)
		}
	})
}

// TestNotifierDead: who does not answer is tried a few times, is said to be
// unreachable, and is told as soon as he is back.
func TestNotifierDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stand{t: t, has: map[netip.AddrPort]uint32{one: 1}, hang: true}
		s.publish(7)
		n, _ := notifying(t, s, rulesFor(t, true, one), NotifierConfig{})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if sent, asked := n.Counters.Sent.Value(), n.Counters.Asked.Value(); sent != mostTells || asked < 10 || asked > 20 {
			t.Errorf("%d NOTIFY, %d questions in three hours", sent, asked)
		}
		st := n.Standing()[0]
		if st.State != Unreachable || st.Reason() == "" || time.Since(st.Since) < 2*time.Hour {
			t.Errorf("%+v", st)
		}
		s.mu.Lock()
		s.hang, s.fetches = false, true
		s.mu.Unlock()
		time.Sleep(16 * time.Minute)
		synctest.Wait()
		if got := said2(n); got != "192.0.2.1 ok 7/7" {
			t.Error(got)
		}
	})
}

// TestNotifierDates: when a secondary answered stays what it was told first,
// whatever the clock says since: another time would be another answer.
func TestNotifierDates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stand{t: t, has: map[netip.AddrPort]uint32{one: 7}}
		s.publish(7)
		var looks atomic.Int64
		ahead := func() time.Time { return time.Now().Add(time.Hour * 24 * 365).Add(time.Duration(looks.Add(1))) }
		n, _ := notifying(t, s, rulesFor(t, false, one), NotifierConfig{Now: ahead})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		first := n.Standing()[0]
		if first.State != OK || time.Until(first.Seen) < 364*24*time.Hour || time.Until(first.Told) < 364*24*time.Hour {
			t.Fatalf("%+v", first)
		}
		s.mu.Lock()
		s.hang = true
		s.mu.Unlock()
		s.publish(8)
		n.Changed(mustName(t, "example."), "external")
		for range 10 {
			time.Sleep(10 * time.Minute)
			if st := n.Standing()[0]; st.Seen != first.Seen || st.Told != first.Told {
				t.Fatalf("seen %s, told %s, first %s and %s", st.Seen, st.Told, first.Seen, first.Told)
			}
		}
		if since := n.Standing()[0].Since; since.Before(first.Seen) || since != n.Standing()[0].Since {
			t.Errorf("since %s", since)
		}
	})
}

// TestNotifierIsBounded: so many requests at once, so many secondaries; and
// Stop waits for no answer.
func TestNotifierIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stand{t: t, hang: true}
		s.publish(7)
		var addrs []netip.AddrPort
		for i := range 30 {
			addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 53))
		}
		n, _ := notifying(t, s, rulesFor(t, true, addrs...), NotifierConfig{AtOnce: 3, Most: 20})
		time.Sleep(time.Minute)
		synctest.Wait()
		s.mu.Lock()
		most := s.most
		s.mu.Unlock()
		if most != 3 || len(n.Standing()) != 20 || n.Counters.Dropped.Value() != 10 || n.Counters.Sent.Value() < 20 {
			t.Errorf("%d at once, %d followed, %d dropped, %d sent", most, len(n.Standing()), n.Counters.Dropped.Value(), n.Counters.Sent.Value())
		}
		before := time.Now()
		if err := n.Stop(t.Context()); err != nil || time.Since(before) > 0 {
			t.Errorf("%v after %v", err, time.Since(before))
		}
	})
}

// TestNotifierFollowsRules: who is new is told though nothing changed, who goes
// is forgotten; a zone without a good state is told to nobody.
func TestNotifierFollowsRules(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stand{t: t, has: map[netip.AddrPort]uint32{one: 7, two: 7}}
		n, rules := notifying(t, s, rulesFor(t, true, one), NotifierConfig{})
		time.Sleep(time.Minute)
		if log := s.asked(); len(log) > 0 || said2(n) != "192.0.2.1 unknown 0/0" {
			t.Errorf("%v, %s", log, said2(n))
		}
		s.publish(7)
		n.Changed(mustName(t, "example."), "external")
		n.Changed(mustName(t, "example."), "internal")
		n.Changed(mustName(t, "other."), "external")
		time.Sleep(time.Minute)
		if got := said2(n); got != "192.0.2.1 ok 7/7" {
			t.Error(got)
		}
		rules.Store(rulesFor(t, true, two))
		n.Follow()
		time.Sleep(time.Minute)
		if got := said2(n); got != "192.0.2.2 ok 7/7" {
			t.Error(got)
		}
		s.asked()
		told := n.Again("", "")
		if len(told) != 1 || told[0].Serial != 7 || fmt.Sprint(told[0].Peers) != "[isp]" || len(n.Again(mustName(t, "other."), "")) > 0 || len(n.Again("", "internal")) > 0 {
			t.Errorf("%v", told)
		}
		if got := said2(n); got != "192.0.2.2 ok 7/7" {
			t.Error(got)
		}
		time.Sleep(time.Minute)
		if log := s.asked(); len(log) != 2 || !strings.Contains(log[0], "notify 7") || !strings.Contains(log[1], "ask") {
			t.Errorf("%v", log)
		}
		rules.Store(nil)
		if len(n.Standing()) > 0 || len(n.places) > 0 || len(n.queue) > 0 {
			t.Error("somebody is left")
		}
	})
}

// TestNotifierBelievesProofOnly: a keyed peer's word counts only when signed.
func TestNotifierBelievesProofOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stand{t: t, has: map[netip.AddrPort]uint32{one: 7}, bare: true}
		s.publish(7)
		n, _ := notifying(t, s, rulesFor(t, true, one), NotifierConfig{})
		time.Sleep(time.Minute)
		st := n.Standing()[0]
		if st.State != Unreachable || st.Serial != 0 || st.Reason() != tsig.ErrUnsigned.Error() || n.Counters.Refused.Value() == 0 {
			t.Errorf("%+v", st)
		}
		s.mu.Lock()
		s.bare, s.rcode = false, dns.RcodeRefused
		s.mu.Unlock()
		time.Sleep(time.Hour)
		if st := n.Standing()[0]; st.Reason() != "it answers REFUSED" {
			t.Errorf("%+v", st)
		}
	})
}

// TestRepliesOfOthers: what is no reply to what was sent says nothing.
func TestRepliesOfOthers(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 7, "")
	now := time.Unix(1_800_000_000, 0)
	soa := func(n string) *dns.SOA {
		return &dns.SOA{Hdr: dns.RR_Header{Name: n, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: ".", Mbox: ".", Serial: 9}
	}
	for _, c := range []struct {
		name   string
		notify bool
		edit   func(*dns.Msg)
		want   error
	}{
		{"another id", true, func(m *dns.Msg) { m.Id++ }, errReply},
		{"no reply", true, func(m *dns.Msg) { m.Response = false }, errReply},
		{"another opcode", true, func(m *dns.Msg) { m.Opcode = dns.OpcodeQuery }, errReply},
		{"another name", true, func(m *dns.Msg) { m.Question[0].Name = "other." }, errReply},
		{"another type", false, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeNS }, errReply},
		{"an error", true, func(m *dns.Msg) { m.Rcode = dns.RcodeNotImplemented }, errRcode(dns.RcodeNotImplemented)},
		{"no authority", false, func(m *dns.Msg) { m.Authoritative = false }, errAuthority},
		{"no SOA", false, func(m *dns.Msg) { m.Answer = nil }, errAuthority},
		{"the SOA of another zone", false, func(m *dns.Msg) { m.Answer = []dns.RR{soa("other.")} }, errAuthority},
		{"an error without a question", true, func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeFormatError }, errRcode(dns.RcodeFormatError)},
		{"a NOTIFY taken", true, func(m *dns.Msg) { m.Answer = nil }, nil},
		{"a serial", false, func(*dns.Msg) {}, nil},
		{"in other letters", false, func(m *dns.Msg) { m.Question[0].Name = "eXample." }, nil},
	} {
		var of *dns.SOA
		if c.notify {
			of = z.SOA()
		}
		r, err := newMessage(0x4711, mustName(t, "example."), of, nil, "", now)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(r.wire); err != nil {
			t.Fatal(err)
		}
		reply := new(dns.Msg).SetReply(m)
		reply.Authoritative, reply.Answer = true, []dns.RR{soa("example.")}
		c.edit(reply)
		b, err := reply.Pack()
		if err != nil {
			t.Fatal(err)
		}
		serial, err := r.read(b, now)
		if !errors.Is(err, c.want) || err == nil && !c.notify && serial != 9 {
			t.Errorf("%s: %d, %v", c.name, serial, err)
		}
	}
	if _, err := newMessage(1, mustName(t, "example."), nil, nil, mustName(t, "k."), now); !errors.Is(err, tsig.ErrUnknown) {
		t.Errorf("a key that is not there: %v", err)
	}
}

// TestNotifierBySocket tells the library's server, from the address of ours that
// the peer is to see.
func TestNotifierBySocket(t *testing.T) {
	t.Parallel()
	pc, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString([]byte(sharedSecret))
	from := make(chan string, 10)
	server := &dns.Server{PacketConn: pc, TsigSecret: map[string]string{"k.": text}, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
			if w.TsigStatus() != nil || m.IsTsig() == nil {
				from <- fmt.Sprint("not signed: ", w.TsigStatus())
				return
			}
			from <- fmt.Sprint(w.RemoteAddr().(*net.UDPAddr).IP, " ", dns.OpcodeToString[m.Opcode])
			r := new(dns.Msg).SetReply(m)
			if r.Authoritative = true; m.Opcode == dns.OpcodeQuery {
				r.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: ".", Mbox: ".", Serial: 7}}
			}
			r.SetTsig("k.", dns.HmacSHA256, 300, time.Now().Unix())
			_ = w.WriteMsg(r)
		})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	s := &stand{t: t}
	s.publish(7)
	keys := ring(t)
	rules := NewRules([]Rule{{mustName(t, "example."), "external", []*Peer{{
		Name: "isp", Keys: []name.Name{mustName(t, "k.")}, Notify: []netip.AddrPort{pc.LocalAddr().(*net.UDPAddr).AddrPort()},
		Source: []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.7")},
	}}}}, nil)
	n := NewNotifier(NotifierConfig{Source: s, Rules: func() *Rules { return rules }, Keys: func() *tsig.Keys { return keys }})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop(context.Background()) })
	for _, want := range []string{"127.0.0.7 NOTIFY", "127.0.0.7 QUERY"} {
		select {
		case got := <-from:
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s never came: %+v", want, n.Standing())
		}
	}
	deadline := time.After(10 * time.Second)
	for said2(n) != "127.0.0.1 ok 7/7" {
		select {
		case <-deadline:
			t.Fatal(said2(n))
		case <-time.After(time.Millisecond):
		}
	}
	// Nobody listens any more: that is heard at once, by the socket's error.
	_ = server.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := exchangeUDP(ctx, netip.Addr{}, pc.LocalAddr().(*net.UDPAddr).AddrPort(), make([]byte, 12)); err == nil {
		t.Error("an answer of nobody")
	}
}
