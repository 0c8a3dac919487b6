package rollover

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Seen is what Advance decides by, besides the states.
type Seen struct {
	// Up is a clock that never jumps, such as the time since the process began.
	Up     time.Duration
	Views  []View // all that hold the zone
	Parent Parent
}

// View is what one view serves, and what its secondaries do.
type View struct {
	Name   string
	Serial uint32
	// Pending: what follows is made, and nobody is answered from it yet. Should
	// we die now, caches may go on getting what was before, from secondaries,
	// for as long as we are away: no wait begins with it.
	Pending bool
	// Uses, CDS and Delete are read out of the version that is served; nil, nil
	// and false where it is unsigned, or nothing is served yet.
	Uses   map[uint16]Use
	CDS    []uint16
	Delete bool
	// KeyTTL is that of the DNSKEY set, served or to be served; DataTTL the
	// largest of all else, with that of negative answers.
	KeyTTL, DataTTL time.Duration
	// Of the SOA.
	Refresh, Retry, Expire time.Duration
	Secondaries            []Secondary
}

// Secondary is one that is listed, whether it answers or not.
type Secondary struct {
	Name     string
	Serial   uint32    // the last it was seen to have
	Answered time.Time // when; zero: never
}

// Security is what the resolver found of the parent's DS set.
type Security uint8

// What there is. Of a zone whose DS are proved to be absent, or whose parent is
// not signed, it is Insecure.
const (
	Unknown Security = iota // nobody could be asked
	Secure
	Insecure
	Bogus
)

// Parent is the DS set at the parent. It is asked of the parent's own servers.
type Parent struct {
	// At is when it was asked; zero: never yet.
	At       time.Time
	Security Security
	TTL      time.Duration // of the DS set, as its servers give it
	Tags     []uint16      // our keys that it names
	Orphans  []string      // its records that lead to no key of ours, as text
}

// Match fills a Parent from a DS set and all keys that the zone has, in use or
// not.
func Match(at time.Time, security Security, set []*dns.DS, keys []*dns.DNSKEY) Parent {
	p := Parent{At: at, Security: security}
	for _, ds := range set {
		p.TTL = time.Duration(ds.Hdr.Ttl) * time.Second
		found := false
		for _, k := range keys {
			if leads(ds, k) {
				p.Tags, found = add(p.Tags, ds.KeyTag), true
			}
		}
		if !found {
			p.Orphans = append(p.Orphans, fmt.Sprintf("%d %d %d", ds.KeyTag, ds.Algorithm, ds.DigestType))
		}
	}
	return p
}

// leads reports whether a DS is that of a key (RFC 4034, Section 5.1.4).
func leads(ds *dns.DS, k *dns.DNSKEY) bool {
	if ds.Algorithm != k.Algorithm || ds.KeyTag != k.KeyTag() {
		return false
	}
	own := k.ToDS(ds.DigestType)
	return own != nil && strings.EqualFold(own.Digest, strings.ReplaceAll(ds.Digest, " ", ""))
}

func add(tags []uint16, tag uint16) []uint16 {
	for _, t := range tags {
		if t == tag {
			return tags
		}
	}
	return append(tags, tag)
}
