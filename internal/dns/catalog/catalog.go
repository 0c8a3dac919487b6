// Package catalog knows catalog zones (RFC 9432): lists of zones, themselves
// written as a zone, by which a secondary learns which zones there are. Make
// writes the records of one, Read reads one that somebody else wrote, and
// Compare says what a reader must do when it changes.
//
// It is pure, and does nothing to any zone: whoever reads a catalog decides
// what becomes of its members.
package catalog

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// MaxMembers bounds the zones of one catalog that is read.
const MaxMembers = 100_000

// Member is one zone of a catalog.
type Member struct {
	Zone name.Name
	// ID is the label that stands for the member. With another one the zone is
	// another zone of the same name (RFC 9432, Section 5.4).
	ID     string
	Groups []string  // words whose meaning the two sides have agreed on; those of one TXT record joined
	Owner  name.Name // the catalog that is to take the member over; "": none
}

// The labels that mean something (RFC 9432, Sections 4.1 to 4.3).
const (
	labelZones   = "zones"
	labelVersion = "version"
	labelGroup   = "group"
	labelOwner   = "coo"
)

// schema is the version of the layout that is written and read.
const schema = "2"

// ErrBroken is a catalog that means nothing: none of it must be followed, and
// what followed from it before stays (RFC 9432, Section 5.1).
var ErrBroken = errors.New("catalog zone is broken")

// IDOf returns the label that stands for a zone in the catalogs made here: the
// same for as long as the zone is listed, whoever asks.
func IDOf(zone name.Name) string {
	sum := sha256.Sum256([]byte(zone))
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// The times of a catalog: nobody caches its records, so their TTL is 0. A reader
// that loses sight of it goes on with what it knows for as long as can be
// written: a list that expires would take all zones with it.
const (
	ttl     = 0
	refresh = 3600
	retry   = 600
	expire  = 1<<31 - 2
)

// Make returns the records of a catalog, the SOA's serial left 0. Its members
// are in the order given.
func Make(origin name.Name, members []name.Name) ([]dns.RR, error) {
	apex := origin.String()
	header := func(owner string, t uint16) dns.RR_Header {
		return dns.RR_Header{Name: owner, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
	}
	all := []dns.RR{
		// Nobody resolves names below it, so nobody's name server is named (RFC
		// 9432, Section 4).
		&dns.SOA{Hdr: header(apex, dns.TypeSOA), Ns: "invalid.", Mbox: "invalid.", Refresh: refresh, Retry: retry, Expire: expire, Minttl: ttl},
		&dns.NS{Hdr: header(apex, dns.TypeNS), Ns: "invalid."},
	}
	version, ok := origin.Child(labelVersion)
	if !ok {
		return nil, fmt.Errorf("catalog %s: its name is too long", origin)
	}
	all = append(all, &dns.TXT{Hdr: header(version.String(), dns.TypeTXT), Txt: []string{schema}})
	zones, ok := origin.Child(labelZones)
	for _, m := range members {
		owner, fits := zones.Child(IDOf(m))
		if !ok || !fits {
			return nil, fmt.Errorf("catalog %s: its name is too long", origin)
		}
		all = append(all, &dns.PTR{Hdr: header(owner.String(), dns.TypePTR), Ptr: m.String()})
	}
	return all, nil
}

// Read returns the members of a catalog, in canonical order of their labels.
// What it does not know it passes over (RFC 9432, Section 4.4); the error is
// ErrBroken.
func Read(z *zone.Zone) ([]Member, error) {
	origin := z.Origin()
	if err := checkVersion(z); err != nil {
		return nil, err
	}
	zones, ok := origin.Child(labelZones)
	if !ok {
		return nil, nil
	}
	r := reader{origin: origin, at: map[string]int{}, listed: map[name.Name]string{}}
	for n := range z.Nodes() {
		if n.Name == zones || !n.Name.IsBelow(zones) {
			continue
		}
		if err := r.take(n, n.Name.Labels()-zones.Labels()); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrBroken, n.Name, err)
		}
	}
	return r.finish()
}

// checkVersion looks for the one schema that is known (RFC 9432, Section
// 4.2.1).
func checkVersion(z *zone.Zone) error {
	owner, ok := z.Origin().Child(labelVersion)
	if !ok {
		return fmt.Errorf("%w: its name is too long", ErrBroken)
	}
	var set *zone.RRset
	if n := z.Node(owner); n != nil {
		set = n.Set(dns.TypeTXT)
	}
	if set == nil || len(set.RRs) != 1 {
		return fmt.Errorf("%w: want one TXT record at %s", ErrBroken, owner)
	}
	if txt, ok := set.RRs[0].(*dns.TXT); !ok || len(txt.Txt) != 1 || txt.Txt[0] != schema {
		return fmt.Errorf("%w: its schema is not version %s", ErrBroken, schema)
	}
	return nil
}

// reader gathers members from the names of a catalog.
type reader struct {
	origin  name.Name
	members []Member
	at      map[string]int       // by ID
	listed  map[name.Name]string // zone -> ID
}

// take reads one name, so many labels below "zones".
func (r *reader) take(n *zone.Node, depth int) error {
	switch depth {
	case 1:
		return r.takeMember(n)
	case 2:
		m := r.member(n.Name.Parent().First())
		switch n.Name.First() {
		case labelGroup:
			return takeGroups(n, m)
		case labelOwner:
			return r.takeOwner(n, m)
		}
	}
	return nil // another property, or a custom one
}

func (r *reader) member(id string) *Member {
	i, ok := r.at[id]
	if !ok {
		i = len(r.members)
		r.at[id] = i
		r.members = append(r.members, Member{ID: id})
	}
	return &r.members[i]
}

func (r *reader) takeMember(n *zone.Node) error {
	set := n.Set(dns.TypePTR)
	if set == nil {
		return nil // only what is below it has records
	}
	member, err := onePTR(set)
	if err != nil {
		return err
	}
	id := n.Name.First()
	// RFC 9432, Section 4.1: each zone is listed once.
	if other, twice := r.listed[member]; twice {
		return fmt.Errorf("zone %s is listed twice, as %s too", member, other)
	}
	if len(r.listed) == MaxMembers {
		return fmt.Errorf("more than %d zones", MaxMembers)
	}
	if member == r.origin {
		return errors.New("the catalog lists itself")
	}
	r.listed[member] = id
	r.member(id).Zone = member
	return nil
}

// onePTR returns what a set of one record points at.
func onePTR(set *zone.RRset) (name.Name, error) {
	if len(set.RRs) != 1 {
		return "", errors.New("more than one PTR record") // RFC 9432, Section 4.1
	}
	ptr, ok := set.RRs[0].(*dns.PTR)
	if !ok {
		return "", errors.New("not a PTR record")
	}
	return name.Parse(ptr.Ptr)
}

// takeGroups reads a group property (RFC 9432, Section 4.3.2).
func takeGroups(n *zone.Node, m *Member) error {
	set := n.Set(dns.TypeTXT)
	if set == nil {
		return nil
	}
	for _, rr := range set.RRs {
		if txt, ok := rr.(*dns.TXT); ok {
			m.Groups = append(m.Groups, strings.Join(txt.Txt, ""))
		}
	}
	return nil
}

// takeOwner reads a change of ownership (RFC 9432, Section 4.3.1).
func (r *reader) takeOwner(n *zone.Node, m *Member) error {
	set := n.Set(dns.TypePTR)
	if set == nil {
		return nil
	}
	owner, err := onePTR(set)
	if err != nil {
		return err
	}
	m.Owner = owner
	return nil
}

// finish leaves out labels that stand for no zone: properties of nothing.
func (r *reader) finish() ([]Member, error) {
	var all []Member
	for _, m := range r.members {
		if m.Zone != "" {
			all = append(all, m)
		}
	}
	return all, nil
}
