package signer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/zone"
)

func used(k dnssec.Key, u dnssec.Use) dnssec.Key {
	k.Use = u
	return k
}

const (
	standby = dnssec.InSet
	entry   = dnssec.InSet | dnssec.SignsKeys
	zoneKey = dnssec.InSet | dnssec.SignsData
	ahead   = dnssec.SignsData // signs before it is in the set
	all     = dnssec.InSet | dnssec.SignsKeys | dnssec.SignsData
)

func TestUseRefuses(t *testing.T) {
	t.Parallel()
	origin := parsed(t, "example.")
	a, b := newKey(t, origin, 257, dnssec.ED25519), newKey(t, origin, 256, dnssec.ED25519)
	other := newKey(t, origin, 257, dnssec.ECDSAP256SHA256)
	public := b
	public.Signer = nil
	z := zoneOf(t, "example.", hard)
	for what, c := range map[string]struct {
		keys []dnssec.Key
		says string
	}{
		"nothing in the set":                   {[]dnssec.Key{used(a, dnssec.SignsKeys|dnssec.SignsData)}, "none"},
		"nothing signs":                        {[]dnssec.Key{used(a, standby)}, "signs all"},
		"nothing signs data":                   {[]dnssec.Key{used(a, entry), used(b, standby)}, "signs all"},
		"who signs data is not in the set":     {[]dnssec.Key{used(a, entry), used(b, ahead)}, "signs all"},
		"who signs keys is not in the set":     {[]dnssec.Key{used(a, dnssec.SignsKeys), used(b, zoneKey)}, "signs all"},
		"a standing-by key of an algorithm":    {[]dnssec.Key{used(a, all), used(other, standby)}, "signs all"},
		"an algorithm signs the keys alone":    {[]dnssec.Key{used(a, all), used(other, entry)}, "signs all"},
		"an algorithm signs the data alone":    {[]dnssec.Key{used(a, all), used(other, zoneKey)}, "signs all"},
		"it signs and has no private part":     {[]dnssec.Key{used(a, all), used(public, zoneKey)}, "private"},
		"outside, and has no private part":     {[]dnssec.Key{used(a, all), used(public, ahead)}, "private"},
		"one key twice, with different uses":   {[]dnssec.Key{used(a, all), used(a, standby)}, "two keys"},
		"none at all, of a model with its own": {nil, "none"},
	} {
		if s, err := Sign(z, c.keys, policy(NSEC), now); s != nil || !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
	for what, keys := range map[string][]dnssec.Key{
		"a zone key that signs all":      {used(b, all)},
		"a standby without private part": {used(a, all), used(public, standby)},
		"KSK and ZSK, whatever the flag": {used(b, entry), used(a, zoneKey)},
	} {
		if _, err := Sign(z, keys, policy(NSEC), now); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// signers are who signed what at a name, as words.
func signers(n *zone.Node) map[string]int {
	found := map[string]int{}
	if set := n.Set(dns.TypeRRSIG); set != nil {
		for _, rr := range set.RRs {
			sig := rr.(*dns.RRSIG)
			found[fmt.Sprintf("%s %d", dns.Type(sig.TypeCovered), sig.KeyTag)]++
		}
	}
	return found
}

// By any sequence of uses each version is, octet for octet, what signing it
// whole gives; each set has one signature of each key that is to sign it; and a
// key makes no signature anew over what is as it was.
func TestUsesChange(t *testing.T) {
	t.Parallel()
	origin := parsed(t, "example.")
	pool := []dnssec.Key{
		newKey(t, origin, 257, dnssec.ED25519), newKey(t, origin, 256, dnssec.ED25519), newKey(t, origin, 256, dnssec.ED25519),
		newKey(t, origin, 257, dnssec.ECDSAP256SHA256), newKey(t, origin, 256, dnssec.ECDSAP256SHA256),
	}
	for what, p := range models() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(11, uint64(len(what))))
			z := zoneOf(t, "example.", hard)
			var s *Signed
			tried := 0
			for tried < steps() {
				keys, calls := drawUses(r, pool)
				whole, err := Sign(z, keys, p, now)
				if err != nil {
					continue // no sound set of uses
				}
				for _, c := range calls {
					c.Store(0)
				}
				if s == nil {
					s = whole
					continue
				}
				tried++
				from := s
				if r.IntN(3) == 0 { // as after a restart
					if from, err = Resume(s.Zone(), keys, p, now); err != nil {
						t.Fatal(err)
					}
				}
				next, err := from.Next(z, keys, p, now)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := text(next.Zone()), text(whole.Zone()); got != want {
					t.Fatalf("%v: the zone is\n%s\nwant\n%s", keys, got, want)
				}
				reference(t, next.Zone(), z, p)
				thrifty(t, s, next, keys, calls)
				s = next
			}
		})
	}
}

// drawUses gives some of the keys some uses, and counts what they sign.
func drawUses(r *rand.Rand, pool []dnssec.Key) ([]dnssec.Key, map[uint16]*atomic.Int64) {
	var keys []dnssec.Key
	calls := map[uint16]*atomic.Int64{}
	for _, k := range pool {
		if k.Use = dnssec.Use(r.IntN(8)); k.Use == 0 {
			continue
		}
		calls[k.Tag] = counting(&k)
		keys = append(keys, k)
	}
	return keys, calls
}

// thrifty holds the signatures that were made against those that had to be:
// those that the version before did not have.
func thrifty(t *testing.T, before, next *Signed, keys []dnssec.Key, calls map[uint16]*atomic.Int64) {
	t.Helper()
	uses, made := map[uint16]dnssec.Use{}, map[uint16]int64{}
	for _, k := range keys {
		uses[k.Tag] = k.Use
	}
	for n := range next.Zone().Nodes() {
		for key, count := range signers(n) {
			var covered string
			var tag uint16
			if _, err := fmt.Sscan(key, &covered, &tag); err != nil {
				t.Fatal(err)
			}
			does := dnssec.SignsData
			if n.Name == next.Zone().Origin() && slices.Contains([]string{"DNSKEY", "CDS", "CDNSKEY"}, covered) {
				does = dnssec.SignsKeys
			}
			if count != 1 || !uses[tag].Does(does) {
				t.Fatalf("%s: %d signatures %s, whose key %v", n.Name, count, key, uses[tag])
			}
		}
		old := map[string]bool{}
		if was := before.Zone().Node(n.Name).Set(dns.TypeRRSIG); was != nil {
			for _, rr := range was.RRs {
				old[rr.String()] = true
			}
		}
		if is := n.Set(dns.TypeRRSIG); is != nil {
			for _, rr := range is.RRs {
				if !old[rr.String()] {
					made[rr.(*dns.RRSIG).KeyTag]++
				}
			}
		}
	}
	for tag, c := range calls {
		if c.Load() != made[tag] {
			t.Fatalf("key %d, %v, made %d signatures, of which %d were new", tag, uses[tag], c.Load(), made[tag])
		}
	}
}

// A key of another with the same tag is not taken for it, inside the set or
// outside.
func TestTagIsNotKey(t *testing.T) {
	t.Parallel()
	origin := parsed(t, "example.")
	first, second := newKey(t, origin, 257, dnssec.ED25519), newKey(t, origin, 256, dnssec.ED25519)
	alike := newKey(t, origin, 256, dnssec.ED25519)
	alike.Tag = second.Tag // as by chance
	z := zoneOf(t, "example.", hard)
	s := sign(t, z, []dnssec.Key{used(first, all), used(second, ahead)}, policy(NSEC), now)
	resumed, err := Resume(s.Zone(), []dnssec.Key{used(first, all), used(alike, ahead)}, policy(NSEC), now)
	if err != nil {
		t.Fatal(err)
	}
	calls := counting(&alike)
	if _, err := resumed.Next(z, []dnssec.Key{used(first, all), used(alike, ahead)}, policy(NSEC), now); err != nil || calls.Load() < 20 {
		t.Errorf("another key made %d signatures: %v", calls.Load(), err)
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	origin := parsed(t, "example.")
	ksk, zsk := newKey(t, origin, 257, dnssec.ECDSAP256SHA256), newKey(t, origin, 256, dnssec.ECDSAP256SHA256)
	coming := newKey(t, origin, 257, dnssec.ECDSAP256SHA256)
	coming.Signer = nil
	foreign := newKey(t, parsed(t, "example.test."), 257, dnssec.ECDSAP256SHA256)
	z := zoneOf(t, "example.", mild)
	p := policy(NSEC)
	for what, c := range map[string]struct {
		ask  Ask
		want error
	}{
		"keys and none":  {Ask{Keys: []dnssec.Key{ksk}, Withdraw: true}, ErrPolicy},
		"a zone key":     {Ask{Keys: []dnssec.Key{zsk}}, ErrKeys},
		"another zone's": {Ask{Keys: []dnssec.Key{foreign}}, ErrKeys},
	} {
		p.Ask = c.ask
		if _, err := Sign(z, []dnssec.Key{ksk, zsk}, p, now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	at := time.Now()
	keys := []dnssec.Key{used(ksk, entry), used(zsk, zoneKey), used(coming, standby)}
	p.Ask = Ask{}
	s := sign(t, z, keys, p, at)
	for _, step := range []struct {
		what         string
		ask          Ask
		cds, cdnskey []string
	}{
		{"one", Ask{Keys: []dnssec.Key{ksk}}, []string{ds(t, ksk)}, []string{dnskey(ksk)}},
		{"two", Ask{Keys: []dnssec.Key{coming, ksk}}, []string{ds(t, ksk), ds(t, coming)}, []string{dnskey(ksk), dnskey(coming)}},
		{"none at all", Ask{Withdraw: true}, []string{"0 0 0 00"}, []string{"0 3 0 AA=="}},
		{"nothing", Ask{}, nil, nil},
	} {
		p.Ask = step.ask
		next, err := s.Next(z, keys, p, at)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got, want := text(next.Zone()), text(sign(t, z, keys, p, at).Zone()); got != want {
			t.Errorf("%s: the zone is\n%s\nwant\n%s", step.what, got, want)
		}
		reference(t, next.Zone(), z, p)
		apex := next.Zone().Node(origin)
		for typ, want := range map[uint16][]string{dns.TypeCDS: step.cds, dns.TypeCDNSKEY: step.cdnskey} {
			slices.Sort(want)
			if got := data(apex.Set(typ)); !slices.Equal(got, want) {
				t.Errorf("%s: %s is %q, want %q", step.what, dns.TypeToString[typ], got, want)
			}
			if by := signers(apex)[fmt.Sprintf("%s %d", dns.TypeToString[typ], ksk.Tag)]; by != min(len(want), 1) {
				t.Errorf("%s: %s has %d signatures of the key", step.what, dns.TypeToString[typ], by)
			}
		}
		judges(t, write(t, next.Zone()), origin, KSKZSK, false, true)
		s = next
	}
}

func ds(t *testing.T, k dnssec.Key) string {
	t.Helper()
	d, err := dnssec.DS(k.Zone, k.DNSKEY, dns.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %d %d %s", d.KeyTag, d.Algorithm, d.DigestType, strings.ToUpper(d.Digest))
}

func dnskey(k dnssec.Key) string {
	return fmt.Sprintf("%d %d %d %s", k.DNSKEY.Flags, k.DNSKEY.Protocol, k.DNSKEY.Algorithm, k.DNSKEY.PublicKey)
}

func data(set *zone.RRset) []string {
	if set == nil {
		return nil
	}
	var all []string
	for _, rr := range set.RRs {
		_, text, _ := strings.Cut(rr.String(), dns.TypeToString[set.Type]+"\t")
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}
