package tsig

import (
	"bytes"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// primary signs replies as another's server might: by the words of RFC 8945,
// with nothing of what verifies them here.
type primary struct {
	t         *testing.T
	algorithm Algorithm
	prior     []byte // the MAC before
	between   []byte // messages without one since
	begun     bool
	edit      func(r *dns.TSIG) // before it is signed
}

// sign returns the message with a TSIG record.
func (p *primary) sign(msg []byte, at time.Time) []byte {
	p.t.Helper()
	r := &dns.TSIG{
		Hdr:       dns.RR_Header{Name: "key.example.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: p.algorithm.String() + ".", TimeSigned: uint64(at.Unix()), Fudge: 300, OrigId: binary.BigEndian.Uint16(msg),
	}
	if p.edit != nil {
		p.edit(r)
	}
	h := hmac.New(algorithms[p.algorithm].new, []byte(shared))
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(p.prior))))
	h.Write(p.prior)
	h.Write(p.between)
	h.Write(msg)
	var times []byte
	times = binary.BigEndian.AppendUint16(times, uint16(r.TimeSigned>>32))
	times = binary.BigEndian.AppendUint32(times, uint32(r.TimeSigned))
	times = binary.BigEndian.AppendUint16(times, r.Fudge)
	if !p.begun {
		h.Write([]byte("\x03key\x07example\x00\x00\xff\x00\x00\x00\x00"))
		h.Write([]byte(algorithms[p.algorithm].wire))
		times = binary.BigEndian.AppendUint16(times, r.Error)
		times = append(times, 0, 0)
	}
	h.Write(times)
	mac := h.Sum(nil)
	r.MAC, r.MACSize = hexOf(mac), uint16(len(mac))
	p.prior, p.between, p.begun = mac, nil, true
	room := make([]byte, 512)
	n, err := dns.PackRR(r, room, 0, nil, false)
	if err != nil {
		p.t.Fatal(err)
	}
	msg = append(bytes.Clone(msg), room[:n]...)
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	return msg
}

// bare returns the message without a TSIG record.
func (p *primary) bare(msg []byte) []byte {
	p.between = append(p.between, msg...)
	return msg
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

// transfer is a request of ours, what answers it, and what weighs that.
func transfer(t *testing.T, a Algorithm) (*Replies, *primary, []byte) {
	t.Helper()
	msg, asked, err := keys(t, testKey(t, a)).Ask(question(t), mustName(t, "key.example."), now())
	if err != nil {
		t.Fatal(err)
	}
	return asked.Replies(), &primary{t: t, algorithm: a, prior: asked.mac}, msg
}

// TestReplies: the first and the last message signed, and those between or not
// (RFC 8945, Section 5.3.1).
func TestReplies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, signed string // S: signed, -: not
		at           int    // the message that fails; -1: End
		want         error
	}{
		{"every message", "SSSS", 0, nil},
		{"one message", "S", 0, nil},
		{"the first and the last", "S----S", 0, nil},
		{"now and then", "S-S--S-SS", 0, nil},
		{"99 without", "S" + many('-', 99) + "S", 0, nil},
		{"99 without, twice", "S" + many('-', 99) + "S" + many('-', 99) + "S", 0, nil},
		{"100 without", "S" + many('-', 100) + "S", 100, ErrGap},
		{"not the first", "-S", 0, ErrFirst},
		{"not the last", "S--", -1, ErrLast},
		{"none", "---", 0, ErrFirst},
		{"nothing came", "", -1, ErrLast},
	} {
		for a := SHA1; a <= SHA512; a++ {
			s, p, msg := transfer(t, a)
			err, at := error(nil), -1
			for i, kind := range c.signed {
				part := bytes.Clone(parts(msg)[i%4])
				if kind == 'S' {
					part = p.sign(part, now())
				} else {
					part = p.bare(part)
				}
				if err = s.Verify(part, now()); err != nil {
					at = i
					break
				}
				if s.Proven() != (kind == 'S') {
					t.Errorf("%s: message %d: proven %v", c.name, i, s.Proven())
				}
			}
			if err == nil {
				err = s.End()
			}
			if !errors.Is(err, c.want) || c.want != nil && at != c.at || c.want != nil && !errors.Is(err, ErrUnsigned) {
				t.Errorf("%s, %s: message %d: %v", c.name, a, at, err)
			}
		}
	}
}

func many(c byte, n int) string { return string(bytes.Repeat([]byte{c}, n)) }

// TestRepliesAreRefused: whatever was done to a message on its way, the chain
// breaks there or at the next signature, and stays broken.
func TestRepliesAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		at   int // the message that fails
		want error
		edit func(p *primary, all [][]byte) [][]byte
	}{
		{"the first was changed", 0, ErrProof, func(_ *primary, all [][]byte) [][]byte { all[0][3] ^= 1; return all }},
		{"one without a signature was changed", 2, ErrProof, func(_ *primary, all [][]byte) [][]byte { all[1][3] ^= 1; return all }},
		{"one was left out", 1, ErrProof, func(_ *primary, all [][]byte) [][]byte { return append(all[:1:1], all[2:]...) }},
		{"one came twice", 3, ErrProof, func(_ *primary, all [][]byte) [][]byte {
			return [][]byte{all[0], all[1], all[1], all[2]}
		}},
		{"in another order", 0, ErrProof, func(_ *primary, all [][]byte) [][]byte { return [][]byte{all[2], all[0]} }},
		{"of another transfer", 0, ErrProof, func(p *primary, all [][]byte) [][]byte {
			_, other, msg := transfer(p.t, SHA256)
			return [][]byte{other.sign(append(parts(msg)[0], 0)[:len(parts(msg)[0])], now().Add(time.Second)), all[1]}
		}},
		{"a MAC cut short", 0, ErrProof, func(p *primary, all [][]byte) [][]byte {
			all[0] = recut(p.t, all[0], func(r *dns.TSIG) { r.MAC, r.MACSize = r.MAC[:32], 16 })
			return all
		}},
		{"another key", 0, ErrProof, func(p *primary, all [][]byte) [][]byte {
			all[0] = recut(p.t, all[0], func(r *dns.TSIG) { r.Hdr.Name = "other." })
			return all
		}},
		{"another algorithm", 2, ErrProof, func(p *primary, all [][]byte) [][]byte {
			all[2] = recut(p.t, all[2], func(r *dns.TSIG) { r.Algorithm = "hmac-sha512." })
			return all
		}},
		{"two signatures on one", 0, ErrProof, func(p *primary, all [][]byte) [][]byte {
			m := append(bytes.Clone(all[0]), all[0][len(parts(all[0])[0]):]...)
			m[11]++
			return [][]byte{m}
		}},
		{"a signature that is not the last record", 1, ErrProof, func(_ *primary, all [][]byte) [][]byte {
			m := append(bytes.Clone(all[2]), 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0) // OPT
			m[11]++
			return [][]byte{all[0], m}
		}},
		{"not signed, but BADKEY", 0, ErrRejected, func(p *primary, all [][]byte) [][]byte {
			all[0] = recut(p.t, all[0], func(r *dns.TSIG) { r.MAC, r.MACSize, r.Error = "", 0, dns.RcodeBadKey })
			return all
		}},
		{"cut off within", 0, ErrProof, func(_ *primary, all [][]byte) [][]byte { return [][]byte{all[0][:len(all[0])-1]} }},
		{"a header alone", 1, ErrProof, func(_ *primary, all [][]byte) [][]byte { return [][]byte{all[0], all[1][:5]} }},
	} {
		s, p, msg := transfer(t, SHA256)
		all := [][]byte{p.sign(parts(msg)[0], now()), p.bare(bytes.Clone(parts(msg)[1])), p.sign(parts(msg)[2], now())}
		at, err := -1, error(nil)
		for i, part := range c.edit(p, all) {
			if err = s.Verify(part, now()); err != nil {
				at = i
				break
			}
		}
		if !errors.Is(err, c.want) || at != c.at || !errors.Is(s.End(), c.want) || s.Proven() {
			t.Errorf("%s: message %d: %v; at the end %v", c.name, at, err, s.End())
		}
		if err := s.Verify(parts(msg)[0], now()); !errors.Is(err, ErrEnded) {
			t.Errorf("%s: goes on: %v", c.name, err)
		}
	}
}

// TestRepliesInTime: each signature is weighed by the time it was made.
func TestRepliesInTime(t *testing.T) {
	t.Parallel()
	s, p, msg := transfer(t, SHA256)
	at := now()
	for range 3 { // a long transfer
		if err := s.Verify(p.sign(parts(msg)[1], at), at); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Hour)
	}
	if err := s.Verify(p.sign(parts(msg)[1], at.Add(-301*time.Second)), at); !errors.Is(err, ErrClock) {
		t.Errorf("an old signature: %v", err)
	}
	s, p, msg = transfer(t, SHA256)
	p.edit = func(r *dns.TSIG) { r.Error = dns.RcodeBadTime }
	if err := s.Verify(p.sign(parts(msg)[0], now()), now()); !errors.Is(err, ErrRejected) {
		t.Errorf("BADTIME, signed: %v", err)
	}
}

// TestRepliesOfStream: what Stream signs, Replies takes.
func TestRepliesOfStream(t *testing.T) {
	t.Parallel()
	for a := SHA1; a <= SHA512; a++ {
		ring := keys(t, testKey(t, a))
		msg, asked, err := ring.Ask(question(t), mustName(t, "key.example."), now())
		if err != nil {
			t.Fatal(err)
		}
		var q wire.Query
		if q.Parse(msg) != wire.OK {
			t.Fatal("no query")
		}
		v := ring.Verify(msg, q.TSIG, now())
		out, in := v.Stream(), asked.Replies()
		for i, part := range parts(msg) {
			if err := in.Verify(out.Sign(part, now()), now()); err != nil {
				t.Errorf("%s: message %d: %v", a, i, err)
			}
		}
		if err := in.End(); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// TestRepliesAgainstTheLibrary: what the library signs in a chain, Replies
// takes.
func TestRepliesAgainstTheLibrary(t *testing.T) {
	t.Parallel()
	for a := SHA1; a <= SHA512; a++ {
		s, p, msg := transfer(t, a)
		mac := hexOf(p.prior)
		for i := range 4 {
			m := new(dns.Msg)
			if err := m.Unpack(msg); err != nil {
				t.Fatal(err)
			}
			reply := new(dns.Msg).SetReply(m)
			if i > 0 {
				reply.Question = nil
			}
			reply.SetTsig("key.example.", a.String()+".", 300, now().Unix())
			b, next, err := dns.TsigGenerate(reply, base64.StdEncoding.EncodeToString([]byte(shared)), mac, i > 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(b, now()); err != nil {
				t.Errorf("%s: message %d: %v", a, i, err)
			}
			mac = next
		}
		if err := s.End(); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// recut edits the TSIG record of a message.
func recut(t *testing.T, msg []byte, edit func(*dns.TSIG)) []byte {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	edit(m.IsTsig())
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzReplies throws anything at who waits for a reply of many messages: without
// the secret nothing is ever proven.
func FuzzReplies(f *testing.F) {
	ring := keys(f, testKey(f, SHA256))
	m := new(dns.Msg)
	m.SetQuestion("example.", dns.TypeAXFR)
	plain, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	msg, asked, err := ring.Ask(bytes.Clone(plain), mustName(f, "key.example."), now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg, plain)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := asked.Replies()
		before := bytes.Clone(first)
		one, two := s.Verify(first, now()), s.Verify(second, now())
		if one == nil || two == nil || s.Proven() || s.End() == nil {
			t.Fatal("proven without the secret")
		}
		if !bytes.Equal(before, first) {
			t.Fatal("the message was changed")
		}
	})
}
