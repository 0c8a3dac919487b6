package answer

import (
	"crypto/sha1"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// chained is how the tests sign a zone: with a chain of NSEC or NSEC3 records,
// made anew from the text of RFC 4035, Section 2.3 and RFC 5155, Section 7.1,
// and with RRSIGs whose signature tells only what it is of.
type chained struct {
	nsec3, optOut bool
	iterations    int
	salt          string // in hex
	plain         bool   // not at all
}

func (c chained) String() string {
	switch {
	case c.plain:
		return "unsigned"
	case !c.nsec3:
		return "NSEC"
	}
	return fmt.Sprintf("NSEC3 opt-out %v, %d iterations, salt %q", c.optOut, c.iterations, c.salt)
}

func randomChain(r *rand.Rand) chained {
	return []chained{
		{plain: true}, {}, {}, {nsec3: true}, {nsec3: true, iterations: 3, salt: "aabbccdd"}, {nsec3: true, optOut: true}, {nsec3: true, optOut: true, iterations: 1},
	}[r.IntN(7)]
}

// hashName is RFC 5155, Section 5, in base32hex and lower case.
func hashName(n string, iterations int, salt string) string {
	wire := make([]byte, 300)
	end, err := dns.PackDomainName(strings.ToLower(n), wire, 0, nil, false)
	if err != nil {
		return "too long"
	}
	octets, _ := hex.DecodeString(salt)
	x := sha1.Sum(append(wire[:end:end], octets...))
	for range iterations {
		x = sha1.Sum(append(x[:], octets...))
	}
	return strings.ToLower(base32.HexEncoding.EncodeToString(x[:]))
}

// canonical compares names as RFC 4034, Section 6.1 says.
func canonical(a, b string) int {
	x, y := dns.SplitDomainName(strings.ToLower(a)), dns.SplitDomainName(strings.ToLower(b))
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y)
}

func under(name, zone string) string {
	return strings.TrimSuffix(name+"."+strings.TrimPrefix(zone, "."), ".") + "."
}

// text signs the zone.
func (c chained) text(t testing.TB, zone string) string {
	t.Helper()
	if c.plain {
		return zone
	}
	// As the zone holds them: without duplicates, TTLs evened out.
	owners, origin := map[string][]dns.RR{}, ""
	for n := range build(t, parse(t, zone)).Nodes() {
		if origin == "" {
			origin = n.Name.String()
		}
		for _, set := range n.Sets {
			if set.Type != dns.TypeRRSIG && set.Type != dns.TypeNSEC {
				owners[n.Name.String()] = append(owners[n.Name.String()], set.RRs...)
			}
		}
	}
	key := fmt.Sprintf("%s 3600 IN DNSKEY 257 3 13 %s", origin, base64.StdEncoding.EncodeToString(make([]byte, 64)))
	owners[origin] = append(owners[origin], parse(t, key)...)
	if c.nsec3 {
		param := &dns.NSEC3PARAM{Hdr: dns.RR_Header{Name: origin, Rrtype: dns.TypeNSEC3PARAM, Class: 1}, Hash: 1, Iterations: uint16(c.iterations), SaltLength: uint8(len(c.salt) / 2), Salt: c.salt}
		owners[origin] = append(owners[origin], param)
	}
	if c.nsec3 {
		c.addNSEC3(origin, owners)
	} else {
		c.addNSEC(origin, owners)
	}
	var b strings.Builder
	names := []string{}
	for n := range owners {
		names = append(names, n)
	}
	slices.SortFunc(names, canonical)
	for _, n := range names {
		of := map[uint16]bool{}
		for _, rr := range owners[n] {
			fmt.Fprintln(&b, rr)
			h := rr.Header()
			at := standing(origin, n, owners)
			cut := at == "cut" && h.Rrtype != dns.TypeDS && h.Rrtype != dns.TypeNSEC
			if h.Rrtype == dns.TypeNSEC3 {
				at, cut = "own", false
			}
			if at != "hidden" && !cut && !of[h.Rrtype] {
				of[h.Rrtype] = true
				sig := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%-64.64s", dns.TypeToString[h.Rrtype]+n)))
				fmt.Fprintf(&b, "%s %d IN RRSIG %s 13 %d %[2]d 20400101000000 20200101000000 7 %[5]s %[6]s\n", n, h.Ttl, dns.Type(h.Rrtype), dns.CountLabel(strings.TrimPrefix(n, "*.")), origin, sig)
			}
		}
	}
	return b.String()
}

// standing tells what a name is to a signer: "own", "cut", or "hidden" by a cut
// or a DNAME above it.
func standing(origin, n string, owners map[string][]dns.RR) string {
	has := func(n string, t uint16) bool {
		return slices.ContainsFunc(owners[n], func(rr dns.RR) bool { return rr.Header().Rrtype == t })
	}
	result := "own"
	if n != origin && has(n, dns.TypeNS) {
		result = "cut"
	}
	for up := n; up != origin; {
		i, end := dns.NextLabel(up, 0)
		if up = up[i:]; end || up == "" {
			up = "."
		}
		if has(up, dns.TypeDNAME) || up != origin && has(up, dns.TypeNS) {
			return "hidden"
		}
	}
	return result
}

func bitmap(rrs []dns.RR, cut bool, more ...uint16) []uint16 {
	types := slices.Clone(more)
	for _, rr := range rrs {
		if t := rr.Header().Rrtype; !cut || t == dns.TypeNS || t == dns.TypeDS {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

func (c chained) addNSEC(origin string, owners map[string][]dns.RR) {
	var names []string
	for n := range owners {
		if standing(origin, n, owners) != "hidden" {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, canonical)
	for i, n := range names {
		cut := standing(origin, n, owners) == "cut"
		owners[n] = append(owners[n], &dns.NSEC{
			Hdr: dns.RR_Header{Name: n, Rrtype: dns.TypeNSEC, Class: 1, Ttl: 300}, NextDomain: names[(i+1)%len(names)],
			TypeBitMap: bitmap(owners[n], cut, dns.TypeNSEC, dns.TypeRRSIG),
		})
	}
}

func (c chained) addNSEC3(origin string, owners map[string][]dns.RR) {
	types := map[string][]uint16{}
	for n, rrs := range owners {
		at := standing(origin, n, owners)
		insecure := at == "cut" && !slices.ContainsFunc(rrs, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeDS })
		if at == "hidden" || c.optOut && insecure {
			continue
		}
		if types[n] = bitmap(rrs, at == "cut"); !insecure {
			types[n] = append(types[n], dns.TypeRRSIG)
		}
		for up := n; up != origin; { // empty non-terminals
			i, end := dns.NextLabel(up, 0)
			if up = up[i:]; end || up == "" {
				up = "."
			}
			if _, there := types[up]; !there {
				types[up] = nil
			}
		}
	}
	var hashes []string
	of := map[string]string{}
	for n := range types {
		h := hashName(n, c.iterations, c.salt)
		hashes, of[h] = append(hashes, h), n
	}
	slices.Sort(hashes)
	for i, h := range hashes {
		list := types[of[h]]
		slices.Sort(list)
		rr := &dns.NSEC3{
			Hdr:  dns.RR_Header{Name: under(h, origin), Rrtype: dns.TypeNSEC3, Class: 1, Ttl: 300},
			Hash: 1, Iterations: uint16(c.iterations), SaltLength: uint8(len(c.salt) / 2), Salt: c.salt,
			HashLength: 20, NextDomain: hashes[(i+1)%len(hashes)], TypeBitMap: slices.Compact(list),
		}
		if c.optOut {
			rr.Flags = 1
		}
		owners[rr.Hdr.Name] = append(owners[rr.Hdr.Name], rr)
	}
}
