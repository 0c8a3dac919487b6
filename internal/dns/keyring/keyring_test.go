package keyring

import (
	"crypto"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

func TestGenerateRefuses(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	z := parsed(t, "example.test")
	for what, c := range map[string]struct {
		zone name.Name
		role Role
		alg  uint8
		want string
	}{
		"RSASHA1":       {z, CSK, dns.RSASHA1, "5 (RSASHA1)"},
		"Ed448":         {z, CSK, dns.ED448, "16 (ED448)"},
		"algorithm 0":   {z, CSK, 0, "algorithm 0"},
		"no role":       {z, unknownRole, dnssec.ED25519, "role"},
		"unknown role":  {z, ZSK + 1, dnssec.ED25519, "role"},
		"no zone":       {"", CSK, dnssec.ED25519, "zone"},
		"private range": {z, CSK, 253, "253"},
	} {
		if k, err := r.Generate(c.zone, c.role, c.alg, noon()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v", what, k, err)
		}
	}
	if got := files(t, r.dir); len(got) != 0 || r.Counters.Created.Value() != 0 {
		t.Errorf("made all the same: %v", got)
	}
}

func TestKeysSignAndComeBackAfterARestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "k")
	r := opened(t, dir)
	for _, text := range []string{".", "example.test", `a\.b\000/c.example.test`, strings.Repeat(strings.Repeat("l", 60)+".", 4)} {
		z := parsed(t, text)
		for _, alg := range []uint8{dnssec.ECDSAP256SHA256, dnssec.ECDSAP384SHA384, dnssec.ED25519, dnssec.RSASHA256} {
			for _, role := range []Role{CSK, ZSK} {
				if alg == dnssec.RSASHA256 && (role == ZSK || z != name.Root) {
					continue // slow, and no other case
				}
				trySigning(t, made(t, r, z, role, alg), role)
			}
		}
		if before, after := keysOf(t, r, z), keysOf(t, opened(t, dir), z); before != after || strings.Count(before, "\n") < 5 {
			t.Errorf("%s: before\n%s\nafter\n%s", text, before, after)
		}
	}
	if keys, err := r.Of(parsed(t, "other.test")); keys != nil || err != nil {
		t.Errorf("a zone without keys: %v, %v", keys, err)
	}
}

func trySigning(t *testing.T, k dnssec.Key, role Role) {
	t.Helper()
	if want := map[Role]uint16{CSK: 257, ZSK: 256}[role]; k.Flags != want || k.DNSKEY.Flags != want || k.DNSKEY.Protocol != 3 {
		t.Errorf("%s: flags %d, %v", k, k.Flags, k.DNSKEY)
	}
	if k.Tag != k.DNSKEY.KeyTag() {
		t.Errorf("%s: tag %d", k, k.DNSKEY.KeyTag())
	}
	s, err := dnssec.NewSignatory(k)
	if err != nil {
		t.Fatal(err)
	}
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: k.Zone.String(), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{"signed"}}
	set := &zone.RRset{Type: dns.TypeTXT, TTL: 60, RRs: []dns.RR{rr}}
	now := uint32(noon().Unix())
	first, err := s.Sign(k.Zone, set, now-60, now+60)
	if err != nil {
		t.Fatal(err)
	}
	first = slices.Clone(first)
	again, err := s.Sign(k.Zone, set, now-60, now+60)
	if err != nil || string(again) != string(first) {
		t.Errorf("%s: signing twice gives two signatures (%v)", k, err)
	}
	sig, err := dnssec.Record(k.Zone, 60, first)
	if err != nil {
		t.Fatal(err)
	}
	if err := dnssec.Verify(k.DNSKEY, sig, k.Zone, set.RRs, noon()); err != nil {
		t.Errorf("%s: %v", k, err)
	}
}

// stub makes the keys it is given, one after another.
func stub(keys ...crypto.Signer) func(algorithm) (crypto.Signer, error) {
	return func(algorithm) (crypto.Signer, error) {
		k := keys[0]
		if len(keys) > 1 {
			keys = keys[1:]
		}
		return k, nil
	}
}

// twins are two keys of a zone with one tag: of P-256, and of Ed25519. Among
// some hundreds of each there are such.
func twins(t *testing.T, z name.Name) (first, second adopted) {
	t.Helper()
	a, err := algorithmOf(dnssec.ECDSAP256SHA256)
	if err != nil {
		t.Fatal(err)
	}
	b, err := algorithmOf(dnssec.ED25519)
	if err != nil {
		t.Fatal(err)
	}
	firsts, seconds := make(map[uint16]adopted), make(map[uint16]adopted)
	for range 1 << 14 {
		first, second = fresh(t, z, a), fresh(t, z, b)
		firsts[first.Tag], seconds[second.Tag] = first, second
		if twin, ok := firsts[second.Tag]; ok {
			return twin, second
		}
		if twin, ok := seconds[first.Tag]; ok {
			return first, twin
		}
	}
	t.Fatal("no two keys have one tag")
	return first, second
}

func fresh(t *testing.T, z name.Name, a algorithm) adopted {
	t.Helper()
	private, err := a.make()
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEntry(z, CSK, a.number, noon(), private)
	if err != nil {
		t.Fatal(err)
	}
	return adopted{entry: e, private: private}
}

func TestTagsOfAZoneNeverCollide(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	z := parsed(t, "example.test")
	k, twin := twins(t, z)
	r.create = stub(k.private)
	made(t, r, z, CSK, dnssec.ECDSAP256SHA256)
	_, free := twins(t, z)
	if free.Tag == k.Tag {
		t.Skip("one chance in 65536: the third key has the tag too")
	}
	r.create = stub(twin.private, twin.private, free.private)
	if got := made(t, r, z, CSK, dnssec.ED25519); got.Tag != free.Tag {
		t.Errorf("two keys with tag %d", k.Tag)
	}
	r.create = stub(twin.private)
	if got, err := r.Generate(z, CSK, dnssec.ED25519, noon()); !errors.Is(err, ErrTag) {
		t.Errorf("got %v, %v", got, err)
	}
	// In another zone the tag is free.
	made(t, r, parsed(t, "other.test"), CSK, dnssec.ED25519)
	if got := files(t, r.dir); len(got) != 3 {
		t.Errorf("files: %v", got)
	}
}

func TestAZoneHasItsFill(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	z := parsed(t, "example.test")
	for range maxKeys {
		made(t, r, z, ZSK, dnssec.ED25519)
	}
	if _, err := r.Generate(z, ZSK, dnssec.ED25519, noon()); !errors.Is(err, ErrFull) || r.Counters.Refused.Value() != 1 {
		t.Errorf("got %v, counted %d", err, r.Counters.Refused.Value())
	}
	made(t, r, parsed(t, "other.test"), ZSK, dnssec.ED25519)
}

func TestRemoveAndFields(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "k")
	r := opened(t, dir)
	z := parsed(t, "example.test")
	first, second := made(t, r, z, KSK, dnssec.ED25519), made(t, r, z, ZSK, dnssec.ED25519)
	if err := r.SetFields(z, first.Tag+1, nil); first.Tag+1 != second.Tag && !errors.Is(err, ErrNoKey) {
		t.Errorf("fields of a key that is not there: %v", err)
	}
	if err := r.SetFields(z, first.Tag, []Field{{"Bad", ""}}); err == nil {
		t.Error("a bad field was taken")
	}
	fields := []Field{{"state", "active"}, {"a-later", "x: y"}, {"before", "ä"}}
	if err := r.SetFields(z, first.Tag, fields); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Ring{r, opened(t, dir)} {
		if got := r.List()[0]; !slices.Equal(got.Fields, fields) || got.Tag != first.Tag {
			t.Errorf("got %+v", got)
		}
	}
	r.List()[0].Fields[0].Value = "changed"
	if got := r.List()[0].Fields[0].Value; got != "active" {
		t.Errorf("a list changed what is kept: %s", got)
	}
	if err := errors.Join(r.Remove(z, first.Tag), r.Remove(z, second.Tag)); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(z, first.Tag); !errors.Is(err, ErrNoKey) {
		t.Errorf("removed twice: %v", err)
	}
	if got := files(t, dir); len(got) != 0 || keysOf(t, r, z) != "" || len(r.List()) != 0 || r.Counters.Removed.Value() != 2 {
		t.Errorf("left: %v", got)
	}
}

func TestReadersAndWritersAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "k")
	r := opened(t, dir)
	var group sync.WaitGroup
	for _, text := range []string{"a.test", "b.test", "c.test"} {
		z := parsed(t, text)
		group.Go(func() {
			for range maxKeys / 2 {
				k, err := r.Generate(z, ZSK, dnssec.ED25519, noon())
				if err != nil {
					t.Error(err)
					return
				}
				if err := r.SetFields(z, k.Tag, []Field{{"state", "x"}}); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for n := 0; n < maxKeys/2; {
				keys, err := r.Of(z)
				if err != nil || len(keys) < n {
					t.Errorf("%v, %v after %d keys", keys, err, n)
					return
				}
				n = len(keys)
				r.List()
			}
		})
	}
	group.Wait()
	if len(r.List()) != 3*maxKeys/2 || len(opened(t, dir).List()) != 3*maxKeys/2 {
		t.Error("keys were lost")
	}
}
