package xfr

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// origin is a primary in the test's hands: it gives its zone by Out, and then
// does whatever a fault is about to every message.
type origin struct {
	t    testing.TB
	keys *tsig.Keys // nil: nothing is signed
	out  *Out
	stop chan struct{}
	runs sync.WaitGroup

	mu     sync.Mutex // guards what follows
	z      *zone.Zone
	steps  []zone.Delta
	down   bool                                      // nobody listens
	mute   bool                                      // nobody answers
	deaf   bool                                      // not by UDP
	noIXFR int                                       // rcode of IXFR; 0: it is answered
	oldest bool                                      // answers anything with EDNS with FORMERR
	mangle func(kind uint16, msgs [][]byte) [][]byte // before they are signed
	signed func(kind uint16, msgs [][]byte) [][]byte // after that
	slow   func(i int) time.Duration                 // before message i; -1: after the last
	unsign func(i, of int) bool                      // messages that are not signed
	expire func(*dns.Msg)                            // of the answer to the question for the SOA
	hear   func(request []byte)
	left   uint32        // EXPIRE that it tells; 0: none
	skew   time.Duration // of its clock
	secret string        // it has another one; "": ours
	log    []string
}

func (o *origin) Content(name.Name, string) (*zone.Zone, []zone.Delta) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.z, o.steps
}

// publish serves another version, with the difference where there was one.
func (o *origin) publish(z *zone.Zone) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.z != nil && zone.SerialLess(o.z.Serial(), z.Serial()) {
		o.steps = append(o.steps, zone.NewDelta(o.z, z))
	} else {
		o.steps = nil
	}
	o.z = z
}

// set changes what it does.
func (o *origin) set(f func(o *origin)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o)
}

// asked returns and forgets what it was asked.
func (o *origin) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	log := o.log
	o.log = nil
	return log
}

// answer returns the messages that answer a request.
func (o *origin) answer(request []byte, udp bool) [][]byte {
	var q wire.Query
	if v := q.Parse(request); v != wire.OK {
		o.t.Errorf("request: verdict %d", v)
		return nil
	}
	sign := o.signer(&q)
	o.mu.Lock()
	how := "tcp"
	if udp {
		how = "udp"
	}
	o.log = append(o.log, fmt.Sprintf("%s %s", dns.Type(q.Type), how))
	if o.hear != nil {
		o.hear(request)
	}
	z, noIXFR, oldest, mangle, signed, unsign := o.z, o.noIXFR, o.oldest, o.mangle, o.signed, o.unsign
	o.mu.Unlock()
	var msgs [][]byte
	switch {
	case oldest && q.EDNS:
		msgs = [][]byte{q.Error(nil, 0, wire.FormErrCode, nil)}
	case q.Type == dns.TypeSOA:
		msgs = [][]byte{o.soa(&q, z)}
	case q.Type == dns.TypeIXFR && noIXFR != 0:
		msgs = [][]byte{q.Error(nil, 0, noIXFR, nil)}
	default:
		rcode, err := o.out.Transfer(o.t.Context(), &q, &wire.Options{HasExpire: o.left > 0, Expire: o.left}, grant(o.t, "secondary"), func(msg []byte) error {
			msgs = append(msgs, slices.Clone(msg))
			return nil
		})
		if err != nil {
			o.t.Error(err)
		}
		if rcode != 0 {
			msgs = append(msgs, q.Error(nil, 0, rcode, nil))
		}
	}
	if mangle != nil {
		msgs = mangle(q.Type, msgs)
	}
	for i := range msgs {
		if unsign == nil || !unsign(i, len(msgs)) {
			msgs[i] = sign(msgs[i])
		}
	}
	if signed != nil {
		msgs = signed(q.Type, msgs)
	}
	return msgs
}

func (o *origin) signer(q *wire.Query) func([]byte) []byte {
	if o.keys == nil {
		return func(msg []byte) []byte { return msg }
	}
	o.mu.Lock()
	skew, keys := o.skew, o.keys
	if o.secret != "" {
		keys = ringOf(o.t, o.secret)
	}
	o.mu.Unlock()
	v := keys.Verify(q.Msg, q.TSIG, time.Now())
	q.Tail = v.Reserve()
	if v.Standing != tsig.Good && o.secret == "" {
		o.t.Errorf("request: %s", v.Standing)
	}
	s := v.Stream()
	return func(msg []byte) []byte {
		if v.Standing != tsig.Good {
			msg = q.Error(nil, 0, wire.NotAuth, nil)
		}
		return s.Sign(msg, time.Now().Add(skew))
	}
}

func (o *origin) soa(q *wire.Query, z *zone.Zone) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(q.Msg); err != nil {
		o.t.Error(err)
	}
	r := new(dns.Msg).SetReply(m)
	r.Extra = nil
	if o.left > 0 && m.IsEdns0() != nil {
		r.SetEdns0(1232, false)
		r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EXPIRE{Code: dns.EDNS0EXPIRE, Expire: o.left}}
	}
	if r.Authoritative = z != nil; z != nil {
		r.Answer = []dns.RR{z.SOA()}
	} else {
		r.Rcode = dns.RcodeServerFailure
	}
	if o.expire != nil {
		o.expire(r)
	}
	b, err := r.Pack()
	if err != nil {
		o.t.Error(err)
	}
	return b
}

// network is the primaries of the world, by address.
type network map[netip.AddrPort]*origin

func (n network) exchange(ctx context.Context, _ netip.Addr, to netip.AddrPort, request []byte) ([]byte, error) {
	o := n[to]
	o.mu.Lock()
	down, silent := o.down, o.mute || o.deaf
	o.mu.Unlock()
	if down {
		return nil, errors.New("nobody listens")
	}
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	msgs := o.answer(request, true)
	if len(msgs) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return msgs[0], nil
}

func (n network) dial(ctx context.Context, _ netip.Addr, to netip.AddrPort) (net.Conn, error) {
	o := n[to]
	o.mu.Lock()
	down, mute := o.down, o.mute
	o.mu.Unlock()
	switch {
	case down:
		return nil, errors.New("nobody listens")
	case mute:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	o.runs.Go(func() { o.serve(theirs) })
	return ours, nil
}

// serve answers one request, all messages in one write where nothing is slow.
func (o *origin) serve(conn net.Conn) {
	defer conn.Close()
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	request := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, request); err != nil {
		return
	}
	o.mu.Lock()
	slow := o.slow
	o.mu.Unlock()
	var all []byte
	for i, msg := range o.answer(request, false) {
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(msg))), msg...)
		if slow == nil {
			continue
		}
		o.pause(slow(i))
		if _, err := conn.Write(all); err != nil {
			return
		}
		all = nil
	}
	_, _ = conn.Write(all)
	if slow != nil {
		o.pause(slow(-1))
	}
}

func (o *origin) pause(d time.Duration) {
	select {
	case <-o.stop:
	case <-time.After(d):
	}
}

// store keeps what transfers bring, as authority does.
type store struct {
	t testing.TB

	mu      sync.Mutex // guards what follows
	z       *zone.Zone
	until   time.Time
	expired int
	refuse  error
	log     []string
}

func (s *store) have(name.Name, string) (Held, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.z == nil {
		return Held{}, false
	}
	return Held{SOA: s.z.SOA(), Expires: s.until}, true
}

func (s *store) take(_ context.Context, in Inbound, got Incoming) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	next := s.z
	if got.Full != nil {
		b := zone.NewBuilder(in.Zone)
		for _, rr := range got.Full {
			if err := b.AddNormal(rr); err != nil {
				return err
			}
		}
		var err error
		if next, err = b.Build(); err != nil {
			return err
		}
		s.log = append(s.log, fmt.Sprint("full ", next.Serial()))
	} else {
		for _, d := range got.Deltas {
			var err error
			if next, _, err = next.Apply(d); err != nil {
				return err
			}
		}
		s.log = append(s.log, fmt.Sprint("steps ", next.Serial()))
	}
	if !zone.SameRecord(next.SOA(), got.SOA) {
		s.t.Errorf("taken %s, announced %s", next.SOA(), got.SOA)
	}
	s.z, s.until = next, got.Expires
	return nil
}

func (s *store) fresh(_ context.Context, _ Inbound, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.log = until, append(s.log, fmt.Sprint("fresh ", s.z.Serial()))
	return nil
}

func (s *store) expire(name.Name, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired++
	s.log = append(s.log, "expired")
}

// said returns and forgets what the store was told.
func (s *store) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func (s *store) serial() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.z == nil {
		return 0
	}
	return s.z.Serial()
}

// feedOf is a Refresher of example. in one view, its store, and its primaries,
// each at the next address.
func feedOf(t testing.TB, keyed bool, edit ...func(*RefresherConfig, *Inbound)) (*Refresher, *store, []*origin) {
	t.Helper()
	s, net := &store{t: t}, network{}
	in := Inbound{Zone: mustName(t, "example."), View: "external"}
	var origins []*origin
	for i, addr := range []netip.AddrPort{one, two} {
		o := &origin{t: t, stop: make(chan struct{})}
		t.Cleanup(func() { close(o.stop); o.runs.Wait() })
		o.out = New(Config{Source: o})
		p := &Primary{Name: []string{"first", "second"}[i], Addr: []netip.AddrPort{addr}}
		if keyed {
			o.keys, p.Key = ring(t), mustName(t, "k.")
		}
		net[addr] = o
		origins, in.Primaries = append(origins, o), append(in.Primaries, p)
	}
	c := RefresherConfig{
		Have: s.have, Take: s.take, Fresh: s.fresh, Expired: s.expire,
		Keys: func() *tsig.Keys { return ring(t) }, Exchange: net.exchange, Dial: net.dial,
	}
	for _, f := range edit {
		f(&c, &in)
	}
	if c.Zones == nil {
		c.Zones = func() []Inbound { return []Inbound{in} }
	}
	return NewRefresher(c), s, origins
}

// running starts a Refresher and ends it with the test.
func running(t testing.TB, r *Refresher) {
	t.Helper()
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own has ended
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}
