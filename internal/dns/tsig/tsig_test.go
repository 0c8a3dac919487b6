package tsig

import (
	"bytes"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/secret"
)

const (
	shared = "0123456789abcdef0123456789abcdef"
	atTime = 1_700_000_000
)

func now() time.Time { return time.Unix(atTime, 0) }

func mustName(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func keys(t testing.TB, all ...Key) *Keys {
	t.Helper()
	k, err := NewKeys(all)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testKey(t testing.TB, a Algorithm) Key {
	t.Helper()
	return Key{Name: mustName(t, "key.example."), Algorithm: a, Secret: secret.New([]byte(shared))}
}

func plain() []byte {
	m := new(dns.Msg)
	m.SetQuestion("www.example.", dns.TypeA)
	m.Id = 0x1234
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// signed is a record of sound values behind a message, and its MAC made after
// the RFC's text: nothing of the package takes part but the digest of the
// finished octets.
type signed struct {
	msg       []byte
	owner     []byte // as it stands in the message
	key       name.Name
	algorithm string
	hash      Algorithm
	secret    string
	typ       uint16
	class     uint16
	ttl       uint32
	time      uint64
	fudge     uint16
	cut       int // octets of the MAC that are sent; < 0: all
	longer    int // octets too many
	id        uint16
	code      uint16
	other     []byte
	spoil     bool
	rawAlg    []byte // the algorithm as it stands in the message
	after     []byte // octets behind the other data
}

func good(t testing.TB) signed {
	return signed{
		msg: plain(), owner: []byte("\x03key\x07example\x00"), key: mustName(t, "key.example."), algorithm: "hmac-sha256",
		hash: SHA256, secret: shared, typ: 250, class: 255, time: atTime, fudge: 300, cut: -1, id: 0x1234,
	}
}

func (s signed) bytes(t testing.TB) (msg []byte, at int) {
	t.Helper()
	alg := []byte(mustName(t, s.algorithm+"."))
	h := hmac.New(algorithms[s.hash].new, []byte(s.secret))
	head := bytes.Clone(s.msg)
	binary.BigEndian.PutUint16(head, s.id)
	h.Write(head)
	variables := fmt.Appendf(nil, "%s\x00\xff\x00\x00\x00\x00%s", string(s.key), alg)
	variables = append(variables, byte(s.time>>40), byte(s.time>>32), byte(s.time>>24), byte(s.time>>16), byte(s.time>>8), byte(s.time))
	variables = binary.BigEndian.AppendUint16(variables, s.fudge)
	variables = binary.BigEndian.AppendUint16(variables, s.code)
	variables = binary.BigEndian.AppendUint16(variables, uint16(len(s.other)))
	h.Write(append(variables, s.other...))
	mac := h.Sum(nil)
	if s.spoil {
		mac[0] ^= 1
	}
	mac = append(mac, make([]byte, s.longer)...)
	if s.cut >= 0 {
		mac = mac[:s.cut]
	}
	if s.rawAlg != nil {
		alg = s.rawAlg
	}
	data := append([]byte(nil), alg...)
	data = append(data, byte(s.time>>40), byte(s.time>>32), byte(s.time>>24), byte(s.time>>16), byte(s.time>>8), byte(s.time))
	data = binary.BigEndian.AppendUint16(data, s.fudge)
	data = binary.BigEndian.AppendUint16(data, uint16(len(mac)))
	data = append(data, mac...)
	data = binary.BigEndian.AppendUint16(data, s.id)
	data = binary.BigEndian.AppendUint16(data, s.code)
	data = binary.BigEndian.AppendUint16(data, uint16(len(s.other)))
	data = append(append(data, s.other...), s.after...)

	msg = bytes.Clone(s.msg)
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	at = len(msg)
	msg = append(msg, s.owner...)
	msg = binary.BigEndian.AppendUint16(msg, s.typ)
	msg = binary.BigEndian.AppendUint16(msg, s.class)
	msg = binary.BigEndian.AppendUint32(msg, s.ttl)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
	return append(msg, data...), at
}

// TestVerify is one rule of RFC 8945 a line.
func TestVerify(t *testing.T) {
	t.Parallel()
	ring := keys(t, testKey(t, SHA256), Key{Name: mustName(t, "short."), Algorithm: SHA256, Secret: secret.New([]byte(shared)), Shortest: 16})
	for _, c := range []struct {
		name string
		edit func(*signed)
		want Standing
	}{
		{"4.2: class is not ANY", func(s *signed) { s.class = 1 }, Malformed},
		{"4.2: TTL is not 0", func(s *signed) { s.ttl = 1 }, Malformed},
		{"4.2: another type", func(s *signed) { s.typ = 249 }, Malformed},
		{"4.2: octets behind the other data", func(s *signed) { s.after = []byte{0} }, Malformed},
		{"4.2: a compressed algorithm", func(s *signed) { s.rawAlg = []byte{0xC0, 0x0C} }, Malformed},
		{"4.2: an algorithm that points into itself", func(s *signed) { s.rawAlg = []byte("\x01a\xC0\x00") }, Malformed},
		{"4.2: an owner that points nowhere", func(s *signed) { s.owner = []byte{0xFF, 0xFF} }, Malformed},
		{"5.2.1: no such key", func(s *signed) { s.owner, s.key = []byte("\x03yek\x00"), "\x03yek\x00" }, BadKey},
		{"5.2.1: a name below that of a key", func(s *signed) {
			s.owner = []byte("\x01x\x03key\x07example\x00")
			s.key = name.Name(s.owner)
		}, BadKey},
		{"5.2.1: another algorithm than the key's", func(s *signed) { s.algorithm, s.hash = "hmac-sha512", SHA512 }, BadKey},
		{"5.2.1: an algorithm that is not there (HMAC-MD5)", func(s *signed) { s.algorithm = "hmac-md5.sig-alg.reg.int" }, BadKey},
		{"5.2.1: goes before the MAC's length", func(s *signed) { s.algorithm, s.cut = "hmac-sha1", 0 }, BadKey},
		{"5.2.2: another secret", func(s *signed) { s.secret = "another" }, BadSig},
		{"5.2.2: one bit is wrong", func(s *signed) { s.spoil = true }, BadSig},
		{"5.2.2: goes before the time", func(s *signed) { s.spoil, s.time = true, 1 }, BadSig},
		{"5.2.2: the first octets alone are right", func(s *signed) { s.secret, s.cut = "another", 16 }, BadSig},
		{"5.2.2.1: no MAC", func(s *signed) { s.cut = 0 }, Malformed},
		{"5.2.2.1: shorter than half", func(s *signed) { s.cut = 15 }, Malformed},
		{"5.2.2.1: longer than the hash", func(s *signed) { s.longer = 1 }, Malformed},
		{"5.2.3: too late", func(s *signed) { s.time = atTime - 301 }, BadTime},
		{"5.2.3: too early", func(s *signed) { s.time = atTime + 301 }, BadTime},
		{"5.2.3: no fudge", func(s *signed) { s.time, s.fudge = atTime-1, 0 }, BadTime},
		{"5.2.3: a time before all time", func(s *signed) { s.time = 0 }, BadTime},
		{"5.2.3: the end of all time", func(s *signed) { s.time, s.fudge = 1<<48-1, 0xFFFF }, BadTime},
		{"5.2.3: goes before the truncation", func(s *signed) { s.time, s.cut = 1, 16 }, BadTime},
		{"5.2.4: half of it, where only whole ones are taken", func(s *signed) { s.cut = 16 }, BadTrunc},
		{"5.2.4: all but one octet", func(s *signed) { s.cut = 31 }, BadTrunc},

		{"as it should be", func(*signed) {}, Good},
		{"5.2.3: just in time", func(s *signed) { s.time = atTime - 300 }, Good},
		{"5.2.3: just in time, ahead", func(s *signed) { s.time = atTime + 300 }, Good},
		{"5.2.4: half of it, where that is taken", func(s *signed) {
			s.owner, s.key, s.cut = []byte("\x05short\x00"), "\x05short\x00", 16
		}, Good},
		{"4.2: an owner in mixed case is digested in lower case", func(s *signed) { s.owner = []byte("\x03KeY\x07ExamplE\x00") }, Good},
		{"4.2: an algorithm in mixed case", func(s *signed) { s.rawAlg = []byte("\x0bHMAC-Sha256\x00") }, Good},
		{"a compressed owner", func(s *signed) { s.owner = []byte("\x03key\xC0\x10") }, Good},
		{"4.3.2: an id that somebody changed on the way", func(s *signed) { s.id = 0x4321 }, Good},
		{"4.2: other data is digested too", func(s *signed) { s.other = []byte("other") }, Good},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := good(t)
			c.edit(&s)
			msg, at := s.bytes(t)
			before := bytes.Clone(msg)
			v := ring.Verify(msg, at, now())
			if v.Standing != c.want {
				t.Errorf("%s, want %s", v.Standing, c.want)
			}
			if !bytes.Equal(msg, before) {
				t.Error("the message was changed")
			}
			checkReply(t, s, v)
		})
	}
}

// checkReply holds the reply to the rules of RFC 8945, Sections 5.2 and 5.3,
// by the library's own reading of it.
func checkReply(t *testing.T, s signed, v Verdict) {
	t.Helper()
	reply := plain()
	reply[2] |= 0x80
	got := v.Sign(bytes.Clone(reply), now().Add(time.Second))
	if room := v.Reserve(); len(got)-len(reply) != room {
		t.Errorf("%d octets, %d reserved", len(got)-len(reply), room)
	}
	m := new(dns.Msg)
	if err := m.Unpack(got); err != nil {
		t.Fatal(err)
	}
	if v.Standing == Malformed {
		if m.IsTsig() != nil {
			t.Error("a record in reply to none")
		}
		return
	}
	r := m.IsTsig()
	if r == nil {
		t.Fatal("no TSIG in the reply")
	}
	if r.Hdr.Class != dns.ClassANY || r.Hdr.Ttl != 0 || r.OrigId != 0x1234 || r.Hdr.Name != s.key.String() {
		t.Errorf("record %v", r)
	}
	wantCode := map[Standing]uint16{BadKey: dns.RcodeBadKey, BadSig: dns.RcodeBadSig, BadTime: dns.RcodeBadTime, BadTrunc: dns.RcodeBadTrunc}[v.Standing]
	if r.Error != wantCode {
		t.Errorf("error %d, want %d", r.Error, wantCode)
	}
	unsigned := v.Standing == BadKey || v.Standing == BadSig
	if unsigned != (r.MACSize == 0) {
		t.Errorf("5.3.2: a MAC of %d octets for %s", r.MACSize, v.Standing)
	}
	if unsigned {
		return
	}
	wantTime, wantOther := uint64(atTime+1), ""
	if v.Standing == BadTime {
		wantTime, wantOther = s.time, fmt.Sprintf("%012x", atTime+1)
	}
	if r.TimeSigned != wantTime || r.OtherData != wantOther {
		t.Errorf("5.2.3: time %d, other data %q; want %d, %q", r.TimeSigned, r.OtherData, wantTime, wantOther)
	}
	if v.Standing == BadTime && r.Fudge != s.fudge {
		t.Errorf("5.2.3: fudge %d, want the client's %d", r.Fudge, s.fudge)
	}
	wantMAC(t, s, got[:len(reply)], r)
}

// wantMAC makes the reply's MAC again, of the request's, the reply before the
// record was added, and the variables.
func wantMAC(t *testing.T, s signed, reply []byte, r *dns.TSIG) {
	t.Helper()
	request, at := s.bytes(t)
	q := new(dns.Msg)
	if err := q.Unpack(request); err != nil {
		t.Fatal(err, at)
	}
	reply = bytes.Clone(reply)
	binary.BigEndian.PutUint16(reply[10:], binary.BigEndian.Uint16(reply[10:])-1)
	h := hmac.New(algorithms[s.hash].new, []byte(s.secret))
	var mac []byte
	fmt.Sscanf(q.IsTsig().MAC, "%x", &mac)
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(mac))))
	h.Write(mac)
	h.Write(reply)
	var other []byte
	fmt.Sscanf(r.OtherData, "%x", &other)
	variables := fmt.Appendf(nil, "%s\x00\xff\x00\x00\x00\x00%s", string(s.key), string(mustName(t, s.algorithm+".")))
	variables = append(variables, byte(r.TimeSigned>>40), byte(r.TimeSigned>>32), byte(r.TimeSigned>>24), byte(r.TimeSigned>>16), byte(r.TimeSigned>>8), byte(r.TimeSigned))
	variables = binary.BigEndian.AppendUint16(variables, r.Fudge)
	variables = binary.BigEndian.AppendUint16(variables, r.Error)
	variables = binary.BigEndian.AppendUint16(variables, uint16(len(other)))
	h.Write(append(variables, other...))
	if want := fmt.Sprintf("%x", h.Sum(nil)); r.MAC != want {
		t.Errorf("5.3: MAC %s, want %s", r.MAC, want)
	}
}

// TestLibrary signs by the library what we verify, and the other way round,
// with every algorithm.
func TestLibrary(t *testing.T) {
	t.Parallel()
	for a := SHA1; a <= SHA512; a++ {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			ring := keys(t, testKey(t, a))
			text := base64.StdEncoding.EncodeToString([]byte(shared))
			m := new(dns.Msg)
			m.SetQuestion("www.example.", dns.TypeA)
			m.SetEdns0(1232, true)
			m.SetTsig("Key.example.", a.String()+".", 300, atTime)
			msg, mac, err := dns.TsigGenerate(m, text, "", false)
			if err != nil {
				t.Fatal(err)
			}
			var q wire.Query
			if q.Parse(msg) != wire.OK || q.TSIG == 0 {
				t.Fatal("no query with a TSIG")
			}
			v := ring.Verify(msg, q.TSIG, now())
			if v.Standing != Good {
				t.Fatal(v.Standing)
			}
			reply := v.Sign(q.Error(nil, 0, wire.NoError, nil), time.Now())              // the library knows no other time
			if err := dns.TsigVerify(bytes.Clone(reply), text, mac, false); err != nil { // it counts the record out
				t.Error(err)
			}
			reply[len(reply)-1-6-a.Size()/2] ^= 1
			if err := dns.TsigVerify(reply, text, mac, false); !errors.Is(err, dns.ErrSig) {
				t.Errorf("a bit changed: %v", err)
			}
		})
	}
}

// TestReplyBelongsToRequest: the MAC of a reply covers that of its request, so
// no other request of the same key takes it for its own.
func TestReplyBelongsToRequest(t *testing.T) {
	t.Parallel()
	ring := keys(t, testKey(t, SHA256))
	s := good(t)
	one, at := s.bytes(t)
	s.time++
	other, _ := s.bytes(t)
	v, w := ring.Verify(one, at, now()), ring.Verify(other, at, now())
	if v.Standing != Good || w.Standing != Good {
		t.Fatal(v.Standing, w.Standing)
	}
	if bytes.Equal(v.Sign(plain(), now()), w.Sign(plain(), now())) {
		t.Error("the same reply to both")
	}
}

func TestNoKeys(t *testing.T) {
	t.Parallel()
	msg, at := good(t).bytes(t)
	if v := (*Keys)(nil).Verify(msg, at, now()); v.Standing != BadKey {
		t.Error(v.Standing)
	}
}

func TestNewKeys(t *testing.T) {
	t.Parallel()
	k := testKey(t, SHA1)
	for _, c := range []struct {
		name string
		all  []Key
		want error
	}{
		{"the same name", []Key{k, k}, ErrTwice},
		{"no algorithm", []Key{{Name: k.Name, Secret: k.Secret}}, ErrAlgorithm},
		{"an algorithm that is not there", []Key{{Name: k.Name, Secret: k.Secret, Algorithm: SHA512 + 1}}, ErrAlgorithm},
		{"no secret", []Key{{Name: k.Name, Algorithm: SHA1}}, ErrSecret},
	} {
		if _, err := NewKeys(c.all); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for word, size := range map[string]int{"hmac-sha1": 20, "hmac-sha224": 28, "hmac-sha256": 32, "hmac-sha384": 48, "hmac-sha512": 64} {
		a, ok := ParseAlgorithm(word)
		if !ok || a.String() != word || a.Size() != size {
			t.Errorf("%s: %s, %d octets", word, a, a.Size())
		}
	}
	for _, word := range []string{"", "none", "sha256", "hmac-md5", "HMAC-SHA256"} {
		if a, ok := ParseAlgorithm(word); ok || a.Size() != 0 {
			t.Errorf("%q is %s", word, a)
		}
	}
}

// TestSecretsDoNotPrint prints all there is.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	k := testKey(t, SHA256)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{k, &k, keys(t, k)} {
			if text := fmt.Sprintf(verb, v); bytes.Contains([]byte(text), []byte("0123456789")) || bytes.Contains([]byte(text), []byte("30313233")) {
				t.Errorf("%s shows %s", verb, text)
			}
		}
	}
}

// FuzzVerify throws anything at it: no message may bring it down, be changed,
// or get a MAC from us without a good one of its own; and what the library
// takes for well signed is so.
func FuzzVerify(f *testing.F) {
	for _, edit := range []func(*signed){
		func(*signed) {},
		func(s *signed) { s.owner = []byte("\x03key\xC0\x10") },
		func(s *signed) { s.cut = 16 },
		func(s *signed) { s.time = 1 },
		func(s *signed) { s.spoil = true },
		func(s *signed) { s.other = []byte("other") },
	} {
		s := good(f)
		edit(&s)
		msg, at := s.bytes(f)
		f.Add(msg, uint16(at))
	}
	ring := keys(f, testKey(f, SHA256))
	f.Fuzz(func(t *testing.T, msg []byte, at uint16) {
		before := bytes.Clone(msg)
		v := ring.Verify(msg, int(at), now())
		if !bytes.Equal(msg, before) {
			t.Fatal("the message was changed")
		}
		got := v.Sign(plain(), now())
		if len(got)-len(plain()) != v.Reserve() {
			t.Fatalf("%d octets added, %d reserved", len(got)-len(plain()), v.Reserve())
		}
		m := new(dns.Msg)
		if err := m.Unpack(got); err != nil {
			t.Fatal(err)
		}
		proven := v.Standing == Good || v.Standing == BadTime || v.Standing == BadTrunc
		if r := m.IsTsig(); proven != (r != nil && r.MACSize > 0) {
			t.Fatalf("%s: %v", v.Standing, r)
		}
		var q wire.Query
		if v.Standing == Good && q.Parse(msg) == wire.OK && q.TSIG == int(at) {
			// The library takes the time from the clock: that is all it may mind.
			if err := dns.TsigVerify(msg, base64.StdEncoding.EncodeToString([]byte(shared)), "", false); err != nil && !errors.Is(err, dns.ErrTime) {
				t.Fatalf("the library: %v", err)
			}
		}
	})
}
