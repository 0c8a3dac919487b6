package xfr

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// taught has a store that holds version 1 and a first primary that has version
// 2; the second is down.
func taught(t testing.TB, keyed bool, edit ...func(*RefresherConfig, *Inbound)) (*Refresher, *store, []*origin) {
	t.Helper()
	r, s, origins := feedOf(t, keyed, edit...)
	v1, v2 := zoneOf(t, 1, odd), zoneOf(t, 2, odd+"new A 192.0.2.1\n")
	s.z, s.until = v1, time.Now().Add(24*time.Hour)
	origins[0].publish(v1)
	origins[0].publish(v2)
	origins[1].down = true
	return r, s, origins
}

// onlyIXFR makes a fault of the answers to IXFR alone.
func onlyIXFR(f func([][]byte) [][]byte) func(uint16, [][]byte) [][]byte {
	return func(kind uint16, msgs [][]byte) [][]byte {
		if kind == dns.TypeIXFR {
			return f(msgs)
		}
		return msgs
	}
}

// transfersOnly makes a fault of both kinds of transfer.
func transfersOnly(f func([][]byte) [][]byte) func(uint16, [][]byte) [][]byte {
	return func(kind uint16, msgs [][]byte) [][]byte {
		if kind == dns.TypeSOA {
			return msgs
		}
		return f(msgs)
	}
}

// TestFaultsOfTransfers: whatever a primary sends, what we have stays, and the
// reason says what was wrong.
func TestFaultsOfTransfers(t *testing.T) {
	t.Parallel()
	flip := func(msgs [][]byte) [][]byte { msgs[0][3] ^= 0x10; return msgs } // a flag
	for _, c := range []struct {
		name  string
		keyed bool
		edit  func(*origin)
		want  string
	}{
		{"truncated stream", false, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return cutLast(m) })
		}, "cut-short"},
		{"truncated stream, signed", true, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return cutLast(m) })
		}, "cut-short"},
		{"records after the end, in a message of their own", false, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return append(m, m[0]) })
		}, "after-end"},
		{"another id", false, func(o *origin) { o.mangle = transfersOnly(func(m [][]byte) [][]byte { m[0][0] ^= 1; return m }) }, "not-asked"},
		{"SERVFAIL to both", false, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { m[0][3] |= 2; return m })
		}, "refused: it answers SERVFAIL"},
		{"nothing at all", false, func(o *origin) { o.mangle = transfersOnly(func([][]byte) [][]byte { return nil }) }, "cut-short"},
		{"a reply that hangs", false, func(o *origin) {
			o.mangle = transfersOnly(cutLast)
			o.slow = func(i int) time.Duration {
				if i < 0 {
					return time.Minute
				}
				return 0
			}
		}, "too-slow"},
		{"not signed", true, func(o *origin) { o.unsign = func(int, int) bool { return true } }, "unsigned"},
		{"the last not signed", true, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return split(t, m) })
			o.unsign = func(i, of int) bool { return of > 1 && i == of-1 }
		}, "unsigned"},
		{"changed on its way", true, func(o *origin) { o.signed = transfersOnly(flip) }, "bad-signature"},
		{"a message left out", true, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return split(t, m) })
			o.signed = transfersOnly(func(m [][]byte) [][]byte { return slices.Delete(m, 1, 2) })
		}, "bad-signature"},
		{"another time than ours", true, func(o *origin) { o.skew = -time.Hour }, "bad-time"},
		{"BADSIG", true, func(o *origin) { o.secret = "another secret of thirty-two oct" }, "key-refused"},
		{"the SOA: changed on its way", true, func(o *origin) {
			o.signed = func(kind uint16, m [][]byte) [][]byte { return flip(m) }
		}, "bad-signature"},
		{"the SOA: no authority", false, func(o *origin) { o.expire = func(m *dns.Msg) { m.Authoritative = false } }, "not-authority"},
		{"the SOA: REFUSED", false, func(o *origin) { o.expire = func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeRefused, nil } }, "refused: it answers REFUSED"},
		{"the SOA: of another zone", false, func(o *origin) {
			o.expire = func(m *dns.Msg) { m.Answer = parse(t, "$ORIGIN other.\n@ SOA . . 9 2 3 4 5\n") }
		}, "not-authority"},
		{"nobody listens", false, func(o *origin) { o.down = true }, "unreachable"},
		{"nobody answers", false, func(o *origin) { o.mute = true }, "unreachable"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, s, origins := taught(t, c.keyed)
			c.edit(origins[0])
			before := content(s.z)
			running(t, r)
			time.Sleep(4 * time.Minute)
			synctest.Wait()
			got := r.Standing()[0]
			reason, _, _ := strings.Cut(c.want, ":")
			found := false
			for _, k := range Reasons() {
				found = found || k.String() == reason && reasons[k].counter(&r.Faults).Value() > 0
			}
			if !found || got.State != Stale || !strings.HasPrefix(got.Reason, "first: "+c.want) || !strings.Contains(got.Reason, "; second: unreachable: ") || r.Counters.Failed.Value() == 0 {
				t.Errorf("%s: %+v", c.name, got)
			}
			if !slices.Equal(content(s.z), before) || slices.ContainsFunc(s.said(), func(l string) bool { return l != "fresh 1" }) {
				t.Errorf("%s: something was taken", c.name)
			}
			origins[0].set(func(o *origin) {
				o.mangle, o.signed, o.unsign, o.slow, o.expire, o.down, o.mute = nil, nil, nil, nil, nil, false, false
				o.skew, o.secret = 0, ""
			})
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := r.Standing()[0]; got.State != Fresh || got.Serial != 2 || s.serial() != 2 {
				t.Errorf("%s: it did not come back: %+v", c.name, got)
			}
		})
	}
}

// cutLast drops the last record of a transfer: its SOA.
func cutLast(msgs [][]byte) [][]byte {
	m := new(dns.Msg)
	if err := m.Unpack(msgs[len(msgs)-1]); err != nil {
		return msgs
	}
	m.Answer = m.Answer[:len(m.Answer)-1]
	b, err := m.Pack()
	if err != nil {
		return msgs
	}
	return append(slices.Clone(msgs[:len(msgs)-1]), b)
}

// split sends one record a message.
func split(t testing.TB, msgs [][]byte) [][]byte {
	t.Helper()
	var all [][]byte
	for _, msg := range msgs {
		m := new(dns.Msg)
		if err := m.Unpack(msg); err != nil {
			t.Error(err)
			return msgs
		}
		for i, rr := range m.Answer {
			one := &dns.Msg{MsgHdr: m.MsgHdr, Answer: []dns.RR{rr}}
			if i == 0 {
				one.Question = m.Question
			}
			b, err := one.Pack()
			if err != nil {
				t.Error(err)
				return msgs
			}
			all = append(all, b)
		}
	}
	return all
}

// TestFallsBack: where differences come to nothing the whole zone is taken, from
// the same primary.
func TestFallsBack(t *testing.T) {
	t.Parallel()
	stepFrom := func(edit func(d *zone.Delta)) func([][]byte) [][]byte {
		return func(msgs [][]byte) [][]byte {
			d := zone.NewDelta(zoneOf(t, 1, odd), zoneOf(t, 2, odd+"new A 192.0.2.1\n"))
			edit(&d)
			out := told(t, dns.TypeIXFR, 0, stepsOf(d))
			copy(out[0], msgs[0][:2])
			return out
		}
	}
	for _, c := range []struct {
		name  string
		keyed bool
		edit  func(*origin)
		want  []string
		fault func(*Faults) uint64
	}{
		{"NOTIMP", false, func(o *origin) { o.noIXFR = dns.RcodeNotImplemented }, []string{"IXFR tcp", "IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.Refused.Value() }},
		{"REFUSED", true, func(o *origin) { o.noIXFR = dns.RcodeRefused }, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.Refused.Value() }},
		{"its SOA alone", false, func(o *origin) {
			o.mangle = onlyIXFR(func(m [][]byte) [][]byte { return split(t, m)[:1] })
		}, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.Misfit.Value() }},
		{"its SOA alone, and the connection stays", true, func(o *origin) {
			o.mangle = onlyIXFR(func(m [][]byte) [][]byte { return split(t, m)[:1] })
			o.slow = func(int) time.Duration { return 20 * time.Second }
		}, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.Misfit.Value() }},
		{"a missing removal", false, func(o *origin) {
			o.mangle = onlyIXFR(stepFrom(func(d *zone.Delta) { d.Removed = parse(t, "none A 192.0.2.1\n") }))
		}, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.Misfit.Value() }},
		{"a double add", false, func(o *origin) {
			o.mangle = onlyIXFR(stepFrom(func(d *zone.Delta) { d.Added = append(d.Added, parse(t, "ns1 A 192.0.2.1\n")...) }))
		}, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.Misfit.Value() }},
		{"from another serial", false, func(o *origin) {
			o.mangle = onlyIXFR(stepFrom(func(d *zone.Delta) { d.From = zoneOf(t, 9, "").SOA() }))
		}, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.Misfit.Value() }},
		{"out of the zone", false, func(o *origin) {
			o.mangle = onlyIXFR(stepFrom(func(d *zone.Delta) { d.Added = parse(t, "$ORIGIN other.\na A 192.0.2.1\n") }))
		}, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.OutOfZone.Value() }},
		{"cut short", true, func(o *origin) { o.mangle = onlyIXFR(cutLast) }, []string{"IXFR tcp", "AXFR tcp"}, func(f *Faults) uint64 { return f.CutShort.Value() }},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, s, origins := taught(t, c.keyed)
			c.edit(origins[0])
			running(t, r)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			asked := slices.DeleteFunc(origins[0].asked(), func(l string) bool { return strings.HasPrefix(l, "SOA") })
			if said := s.said(); !slices.Equal(said, []string{"full 2"}) || !slices.Equal(asked, c.want) {
				t.Errorf("%s: %v, asked %v", c.name, said, asked)
			}
			if r.Counters.FellBack.Value() != 1 || c.fault(&r.Faults) != 1 || !slices.Equal(content(s.z), content(origins[0].z)) {
				t.Errorf("%s: fell back %d, counted %d", c.name, r.Counters.FellBack.Value(), c.fault(&r.Faults))
			}
		})
	}
}

// TestTakenInAnyForm: what a primary may do, and some do.
func TestTakenInAnyForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		keyed bool
		edit  func(*origin)
		said  string
		asked []string
	}{
		{"differences", true, func(*origin) {}, "steps 2", []string{"SOA udp", "IXFR tcp"}},
		{"one record a message", false, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return split(t, m) })
		}, "steps 2", []string{"SOA udp", "IXFR tcp"}},
		{"one record a message, each signed, slowly", true, func(o *origin) {
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return split(t, m) })
			o.slow = func(int) time.Duration { return 3 * time.Second }
		}, "steps 2", []string{"SOA udp", "IXFR tcp"}},
		{"the whole zone in answer to IXFR", true, func(o *origin) { o.steps = nil }, "full 2", []string{"SOA udp", "IXFR tcp"}},
		{"the whole zone, one record a message", true, func(o *origin) {
			o.steps = nil
			o.mangle = transfersOnly(func(m [][]byte) [][]byte { return split(t, m) })
		}, "full 2", []string{"SOA udp", "IXFR tcp"}},
		{"no EDNS", true, func(o *origin) { o.oldest = true }, "steps 2", []string{"SOA udp", "SOA udp", "IXFR tcp", "IXFR tcp"}},
		{"no UDP", false, func(o *origin) { o.deaf = true }, "steps 2", []string{"SOA tcp", "IXFR tcp"}},
		{"the SOA cut off by UDP", true, func(o *origin) { o.expire = func(m *dns.Msg) { m.Truncated = true } }, "", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, s, origins := taught(t, c.keyed)
			c.edit(origins[0])
			running(t, r)
			time.Sleep(4 * time.Minute)
			synctest.Wait()
			if c.asked == nil { // TC by TCP too: nothing is taken, TCP was asked
				if asked := origins[0].asked(); !slices.Contains(asked, "SOA tcp") || s.serial() != 1 {
					t.Errorf("%s: %v", c.name, asked)
				}
				return
			}
			if said, asked := s.said(), origins[0].asked(); !slices.Equal(said, []string{c.said}) || !slices.Equal(asked, c.asked) {
				t.Errorf("%s: %v, asked %v", c.name, said, asked)
			}
			if !slices.Equal(content(s.z), content(origins[0].z)) || r.Counters.FellBack.Value() != 0 {
				t.Errorf("%s: not the same", c.name)
			}
		})
	}
}

// TestNothingIsMixed: what one primary began, another does not end.
func TestNothingIsMixed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := taught(t, false)
		s.z = nil
		origins[0].publish(zoneOf(t, 2, odd+"first A 192.0.2.1\n"))
		origins[0].mangle = transfersOnly(cutLast)
		origins[1].down = false
		origins[1].publish(zoneOf(t, 2, odd+"second A 192.0.2.1\n")) // the same serial, another content
		running(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(content(s.z), content(origins[1].z)) {
			t.Errorf("%v", content(s.z))
		}
		// From now on the history of the first is not ours: its differences do not
		// fit, though the serials do.
		origins[0].set(func(o *origin) { o.mangle = nil })
		origins[0].publish(zoneOf(t, 3, odd+"first A 192.0.2.2\n"))
		origins[1].set(func(o *origin) { o.down = true })
		r.Notified(mustName(t, "example."), "external", one.Addr())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if said := s.said(); !slices.Equal(said, []string{"full 2", "full 3"}) || !slices.Equal(content(s.z), content(origins[0].z)) {
			t.Errorf("%v: %v", said, content(s.z))
		}
	})
}

// TestLargeMessages: messages of 64 KB, and a zone of many of them.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	z := large(t, 12_000)
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := feedOf(t, true)
		origins[0].publish(z)
		longest := 0
		origins[0].signed = func(_ uint16, msgs [][]byte) [][]byte {
			for _, m := range msgs {
				longest = max(longest, len(m))
			}
			return msgs
		}
		running(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		if longest < 65_000 || r.Counters.Messages.Value() < 3 {
			t.Fatalf("the longest of %d messages has %d octets", r.Counters.Messages.Value(), longest)
		}
		if removed, added := zone.Diff(z, s.z); len(removed)+len(added) > 0 {
			t.Errorf("%d removed, %d added", len(removed), len(added))
		}
	})
}

// TestTooLongATransferIn: a primary that sends a little now and then does not
// hold a place for ever, and the bounds of the zone hold.
func TestTooLongATransferIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(*RefresherConfig, *Inbound)
		want func(*Faults) uint64
	}{
		{"time", func(c *RefresherConfig, _ *Inbound) { c.Longest = time.Minute }, func(f *Faults) uint64 { return f.TooLong.Value() }},
		{"records", func(_ *RefresherConfig, in *Inbound) { in.MaxRecords = 3 }, func(f *Faults) uint64 { return f.TooManyRecords.Value() }},
		{"octets", func(_ *RefresherConfig, in *Inbound) { in.MaxOctets = 200 }, func(f *Faults) uint64 { return f.TooManyOctets.Value() }},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, s, origins := taught(t, false, c.edit)
			s.z = nil
			origins[0].mangle = func(_ uint16, m [][]byte) [][]byte { return split(t, m) }
			origins[0].slow = func(int) time.Duration { return 20 * time.Second }
			running(t, r)
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if c.want(&r.Faults) == 0 || s.serial() != 0 {
				t.Errorf("%s: %+v", c.name, r.Standing())
			}
		})
	}
}

// TestNotTaken: who keeps the zone may refuse what was sound; it is asked for
// again.
func TestNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, _ := taught(t, false)
		s.refuse = errors.New("lint: no NS")
		running(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		if st := r.Standing()[0]; st.State != Stale || r.Faults.NotTaken.Value() != 1 {
			t.Errorf("%+v", st)
		}
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if s.serial() != 2 || r.Standing()[0].State != Fresh {
			t.Errorf("%+v", r.Standing()[0])
		}
	})
}

// TestUnsignedBetween: the first and the last message of many are signed, which is
// all that RFC 8945, Section 5.3.1 asks of old servers.
func TestUnsignedBetween(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := taught(t, true)
		gap := &gapped{t: t}
		origins[0].signed = gap.sign
		origins[0].mangle = transfersOnly(func(m [][]byte) [][]byte { return split(t, m) })
		origins[0].unsign = func(_, of int) bool { return of > 1 }
		origins[0].hear = gap.hear
		running(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		if said := s.said(); !slices.Equal(said, []string{"steps 2"}) || gap.left == 0 {
			t.Errorf("%v, %d without a signature: %+v", said, gap.left, r.Standing())
		}
	})
}

// gapped signs the first and the last message of a transfer, by the words of RFC
// 8945, Section 5.3.1.
type gapped struct {
	t     testing.TB
	prior string // MAC of the request
	left  int    // messages that were not signed
}

func (g *gapped) hear(request []byte) {
	m := new(dns.Msg)
	if err := m.Unpack(request); err != nil {
		g.t.Error(err)
		return
	}
	g.prior = m.IsTsig().MAC
}

func (g *gapped) sign(_ uint16, msgs [][]byte) [][]byte {
	if len(msgs) < 2 {
		return msgs
	}
	first := new(dns.Msg)
	if err := first.Unpack(msgs[0]); err != nil {
		g.t.Error(err)
	}
	now := time.Now().Unix()
	first.SetTsig("k.", dns.HmacSHA256, 300, now)
	b, mac, err := dns.TsigGenerate(first, base64.StdEncoding.EncodeToString([]byte(sharedSecret)), g.prior, false)
	prior, err2 := hex.DecodeString(mac)
	if err = errors.Join(err, err2); err != nil {
		g.t.Error(err)
	}
	h := hmac.New(sha256.New, []byte(sharedSecret))
	h.Write(append([]byte{0, byte(len(prior))}, prior...))
	for _, msg := range msgs[1:] {
		h.Write(msg)
	}
	times := binary.BigEndian.AppendUint16(nil, uint16(now>>32))
	times = binary.BigEndian.AppendUint32(times, uint32(now))
	h.Write(append(times, 300>>8, 300&0xFF))
	last := new(dns.Msg)
	end := len(msgs) - 1
	if err := last.Unpack(msgs[end]); err != nil {
		g.t.Error(err)
	}
	r := &dns.TSIG{
		Hdr: dns.RR_Header{Name: "k.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: dns.HmacSHA256,
		TimeSigned: uint64(now), Fudge: 300, OrigId: last.Id, MACSize: sha256.Size, MAC: hex.EncodeToString(h.Sum(nil)),
	}
	room := make([]byte, 512)
	n, err := dns.PackRR(r, room, 0, nil, false)
	if err != nil {
		g.t.Error(err)
	}
	signed := append(slices.Clone(msgs[end]), room[:n]...)
	signed[11]++
	g.left = len(msgs) - 2
	return append(append([][]byte{b}, msgs[1:end]...), signed)
}

// TestCatalogRefusedByUDP: the SOA of a catalog is asked for by TCP where UDP
// gets REFUSED, as Knot answers; that of another zone is not.
func TestCatalogRefusedByUDP(t *testing.T) {
	for _, is := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, _, origins := taught(t, true, func(_ *RefresherConfig, in *Inbound) { in.Catalog = is })
			asked := 0
			origins[0].expire = func(m *dns.Msg) {
				if asked++; asked%2 == 1 {
					m.Rcode, m.Answer = dns.RcodeRefused, nil
				}
			}
			running(t, r)
			time.Sleep(time.Second)
			synctest.Wait()
			if got := r.Standing()[0]; (got.State == Fresh && got.Serial == 2) != is {
				t.Errorf("a catalog: %t; %+v", is, got)
			}
		})
	}
}
