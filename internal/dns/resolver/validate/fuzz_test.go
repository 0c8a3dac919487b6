package validate

import (
	"testing"

	"github.com/miekg/dns"
)

// FuzzJudge: whatever a message holds, nothing breaks, the work stays bounded,
// and a DS set that is given is the one that was signed.
func FuzzJudge(f *testing.F) {
	m := newMaker(f, "zone.")
	k := m.keys()
	const signed = "1 13 2 00000000000000000000000000000000000000000000000000000000000000FF"
	for _, seed := range []*dns.Msg{
		m.keyset(),
		msg(0, m.set("a 300 DS "+signed), nil),
		msg(0, nil, m.set("a 300 NSEC b NS RRSIG NSEC")),
		msg(3, nil, join(m.set("@ 300 NSEC zz SOA NS RRSIG NSEC"), m.set("zz 300 NSEC @ A"))),
		msg(0, nil, m.set(hashed(m, "a", "b", 1, 3, "NS"))),
		msg(0, m.set("*.zone. 300 TXT x"), m.set("b 300 NSEC @ A")),
	} {
		packed, err := seed.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	at := parsed(f, "a.zone.")
	f.Fuzz(func(t *testing.T, packed []byte) {
		var got dns.Msg
		if got.Unpack(packed) != nil {
			return
		}
		j := New(Limits{})
		if keys, v := j.Keys(m.anchor(), &got, now); (v.Security == Secure) != (len(keys.keys) > 0) {
			t.Errorf("%v with %d keys", v, len(keys.keys))
		}
		c := j.DS(k, at, &got, now)
		if (c.Security == Secure) != (c.Standing != Unjudged) || (c.Standing == Signed) != (len(c.DS) > 0) {
			t.Errorf("%v: standing %d with %v", c.Verdict, c.Standing, c.DS)
		}
		for _, ds := range c.DS {
			if len(c.DS) != 1 || ds.KeyTag != 1 || ds.Algorithm != 13 || ds.Digest[62:] != "ff" {
				t.Errorf("believed %v", c.DS)
			}
		}
		for _, rtype := range []uint16{dns.TypeTXT, dns.TypeDS, dns.TypeDNSKEY} {
			j.Set(k, at, rtype, &got, now)
		}
		if j.Signatures > 64 || j.Hashes > 160 {
			t.Errorf("%d signatures, %d hashes", j.Signatures, j.Hashes)
		}
	})
}
