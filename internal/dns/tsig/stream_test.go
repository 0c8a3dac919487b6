package tsig

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// asked is a request that the library signs, and its MAC.
func asked(t *testing.T, a Algorithm, at time.Time) ([]byte, string) {
	t.Helper()
	m := new(dns.Msg)
	m.SetAxfr("example.")
	m.SetTsig("key.example.", a.String()+".", 300, at.Unix())
	msg, mac, err := dns.TsigGenerate(m, sharedText(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return msg, mac
}

func sharedText() string { return base64.StdEncoding.EncodeToString([]byte(shared)) }

// parts is a reply of several messages, unlike each other.
func parts(msg []byte) [][]byte {
	first := bytes.Clone(msg[:wire.HeaderLen+13])
	first[2] |= 0x80
	first[11] = 0
	head := bytes.Clone(first[:wire.HeaderLen])
	head[5] = 0
	other := bytes.Clone(head)
	other[2] |= 4
	return [][]byte{first, head, other, bytes.Clone(head)}
}

// TestStreamAgainstTheLibrary signs a reply of four messages with each
// algorithm; the library follows the chain of MACs (RFC 8945, Section 5.3.1).
func TestStreamAgainstTheLibrary(t *testing.T) {
	t.Parallel()
	now := time.Now() // the library knows no other time
	for a := SHA1; a <= SHA512; a++ {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			msg, mac := asked(t, a, now)
			var q wire.Query
			if q.Parse(msg) != wire.OK {
				t.Fatal("no query")
			}
			v := keys(t, testKey(t, a)).Verify(msg, q.TSIG, now)
			if v.Standing != Good {
				t.Fatal(v.Standing)
			}
			s, timers := v.Stream(), false
			for i, part := range parts(msg) {
				before := len(part)
				got := s.Sign(part, now)
				if len(got)-before != v.Reserve() {
					t.Errorf("message %d: %d octets, %d reserved", i, len(got)-before, v.Reserve())
				}
				spoilt := bytes.Clone(got)
				spoilt[3] ^= 1
				if err := dns.TsigVerify(spoilt, sharedText(), mac, timers); !errors.Is(err, dns.ErrSig) {
					t.Errorf("message %d changed on its way: %v", i, err)
				}
				if err := dns.TsigVerify(bytes.Clone(got), sharedText(), mac, timers); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
				if timers { // out of its place in the chain
					if err := dns.TsigVerify(bytes.Clone(got), sharedText(), hex.EncodeToString(v.mac[:v.macLen]), true); err == nil {
						t.Errorf("message %d was taken after the request", i)
					}
				}
				m := new(dns.Msg)
				if err := m.Unpack(got); err != nil {
					t.Fatal(err)
				}
				mac, timers = m.IsTsig().MAC, true
			}
		})
	}
}

// TestStreamOfABadRequest: there is no chain, and no MAC without proof.
func TestStreamOfABadRequest(t *testing.T) {
	t.Parallel()
	msg, _ := asked(t, SHA256, time.Now())
	var q wire.Query
	q.Parse(msg)
	msg[len(msg)-10] ^= 1
	v := keys(t, testKey(t, SHA256)).Verify(msg, q.TSIG, time.Now())
	got := v.Stream().Sign(bytes.Clone(parts(msg)[0]), time.Now())
	m := new(dns.Msg)
	if err := m.Unpack(got); err != nil {
		t.Fatal(err)
	}
	if r := m.IsTsig(); r == nil || r.MACSize != 0 || r.Error != dns.RcodeBadSig {
		t.Errorf("%v", r)
	}
}

// question is a plain request of ours.
func question(t *testing.T) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("example.", dns.TypeSOA)
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// TestAskAgainstTheLibrary: the library verifies what we ask, and we what it
// replies.
func TestAskAgainstTheLibrary(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for a := SHA1; a <= SHA512; a++ {
		ring := keys(t, testKey(t, a))
		msg, of, err := ring.Ask(question(t), mustName(t, "key.example."), now)
		if err != nil {
			t.Fatal(err)
		}
		if err := dns.TsigVerify(bytes.Clone(msg), sharedText(), "", false); err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(msg); err != nil {
			t.Fatal(err)
		}
		reply := new(dns.Msg).SetReply(m)
		reply.SetTsig("key.example.", a.String()+".", 300, now.Unix())
		b, _, err := dns.TsigGenerate(reply, sharedText(), m.IsTsig().MAC, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := of.Verify(b, now); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		for i := range b {
			c := bytes.Clone(b)
			if c[i] ^= 1; of.Verify(c, now) == nil && i > 1 { // the id goes by the record's own
				t.Errorf("%s: octet %d changed, and nobody minds", a, i)
			}
		}
	}
}

func TestAskRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ring := keys(t, testKey(t, SHA256))
	if _, _, err := ring.Ask(question(t), mustName(t, "other."), now); !errors.Is(err, ErrUnknown) {
		t.Errorf("a key that is not there: %v", err)
	}
	msg, of, err := ring.Ask(question(t), mustName(t, "key.example."), now)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	reply := func(edit func(*dns.Msg), mac string) []byte {
		r := new(dns.Msg).SetReply(m)
		r.SetTsig("key.example.", "hmac-sha256.", 300, now.Unix())
		edit(r)
		if r.IsTsig() == nil || r.IsTsig().Error == dns.RcodeBadKey {
			b, err := r.Pack()
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		b, _, err := dns.TsigGenerate(r, sharedText(), mac, false)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := m.IsTsig().MAC
	for _, c := range []struct {
		name string
		msg  []byte
		want error
	}{
		{"nothing", nil, ErrUnsigned},
		{"a header", make([]byte, wire.HeaderLen), ErrUnsigned},
		{"not signed", reply(func(r *dns.Msg) { r.Extra = nil }, good), ErrUnsigned},
		{"an OPT record alone", reply(func(r *dns.Msg) { r.Extra = nil; r.SetEdns0(1232, false) }, good), ErrUnsigned},
		{"of another request", reply(func(*dns.Msg) {}, "00112233"), ErrProof},
		{"another key", reply(func(r *dns.Msg) { r.IsTsig().Hdr.Name = "other." }, good), ErrProof},
		{"another algorithm", reply(func(r *dns.Msg) { r.IsTsig().Algorithm = "hmac-sha512." }, good), ErrProof},
		{"yesterday", reply(func(r *dns.Msg) { r.IsTsig().TimeSigned -= 86400 }, good), ErrClock},
		{"BADKEY, unsigned", reply(func(r *dns.Msg) {
			s := r.IsTsig()
			s.Error, s.OrigId = dns.RcodeBadKey, m.Id
		}, good), ErrRejected},
		{"BADTIME, signed", reply(func(r *dns.Msg) { r.IsTsig().Error = dns.RcodeBadTime }, good), ErrRejected},
		{"as it should be", reply(func(*dns.Msg) {}, good), nil},
	} {
		if err := of.Verify(c.msg, now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// FuzzReply throws anything at who waits for a reply.
func FuzzReply(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	ring := keys(f, testKey(f, SHA256))
	m := new(dns.Msg)
	m.SetQuestion("example.", dns.TypeSOA)
	msg, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	msg, of, err := ring.Ask(msg, mustName(f, "key.example."), now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Fuzz(func(t *testing.T, reply []byte) {
		before := bytes.Clone(reply)
		err := of.Verify(reply, now)
		if !bytes.Equal(reply, before) {
			t.Fatal("the reply was changed")
		}
		if err == nil {
			t.Fatal("a MAC made without the secret")
		}
	})
}
