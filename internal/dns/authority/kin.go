package authority

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// Kin are the records that a zone has because others of ours are signed:
//
//   - the DS of a child, in its parent, where both are signed here and the view
//     has both: the chain of an internal tree needs nobody who carries a DS;
//   - what a zone asks of a parent that is not ours, once more in the zones of
//     its name servers, so that a parent may believe the first DS (RFC 9615).
//
// They are derived records: none stands where the admin has written one, and
// they are not in his files. What they say follows from the keys of the other
// zone, so that they are found anew at each turn and kept nowhere.

// kin is a set that a zone has since another is signed.
type kin struct {
	owner name.Name
	kind  uint16 // of the records
	rrs   []dns.RR
	of    name.Name // the zone that is signed
}

// maxSignals bounds the name servers of a zone that get what RFC 9615 wants.
const maxSignals = 16

// gatherKin finds which zones are to have what because of others, and has those
// made anew that have something else.
func (o *owner) gatherKin() {
	o.kin = map[key][]kin{}
	for n, r := range o.rolls {
		if n == name.Root || o.signed(n) == nil {
			continue
		}
		if o.plan.DeriveDS {
			o.gatherDS(n, r)
		}
		if o.plan.DeriveSignals && r.begun {
			o.gatherSignals(n, r)
		}
	}
	for k, st := range o.served {
		slices.SortFunc(o.kin[k], func(a, b kin) int {
			if d := a.owner.Compare(b.owner); d != 0 {
				return d
			}
			return int(a.kind) - int(b.kind)
		})
		if !sameKin(o.kin[k], st.tried) {
			o.dirty[k] = true
		}
	}
}

func sameKin(a, b []kin) bool {
	return slices.EqualFunc(a, b, func(a, b kin) bool {
		return a.owner == b.owner && a.kind == b.kind && slices.EqualFunc(a.rrs, b.rrs, zone.SameRecord)
	})
}

// gatherDS gives the parents of a zone its DS.
func (o *owner) gatherDS(n name.Name, r *rolling) {
	public, _ := o.seenIn(n, o.plan.external)
	for i := range o.plan.views {
		v := o.plan.views[i].Name
		child, _ := o.seenIn(n, v)
		parent, own := o.above(n, v)
		if child == nil || child.signedBy == nil || parent == nil || !own || o.plan.fed(parent.key) || o.signed(parent.zone) == nil {
			continue
		}
		set := kin{owner: n, kind: dns.TypeDS, of: n}
		switch outsiders := public != nil && v != o.plan.external; {
		case !r.begun, outsiders && r.look.Security != rollover.Secure && r.look.Security != rollover.Insecure:
			set.rrs = parent.made(n, dns.TypeDS) // the keys cannot be read, or nothing is known: it stays as it is
		case outsiders:
			// A zone has the same keys in all views, and a roll goes by the word of
			// the parent that outsiders have.
			set.rrs = r.entries(n, r.parent().Tags)
		default:
			set.rrs = r.entries(n, r.plan.DS)
		}
		if len(set.rrs) > 0 {
			o.kin[parent.key] = append(o.kin[parent.key], set)
		}
	}
}

// made returns a set that was derived before.
func (st *served) made(owner name.Name, kind uint16) []dns.RR {
	for _, k := range st.kin {
		if k.owner == owner && k.kind == kind {
			return k.rrs
		}
	}
	var all []dns.RR
	for _, rr := range st.derived { // before the start
		if h := rr.Header(); h.Rrtype == kind && h.Name == owner.String() {
			all = append(all, rr)
		}
	}
	return all
}

// entries returns the DS of these keys.
func (r *rolling) entries(n name.Name, tags []uint16) []dns.RR {
	var all []dns.RR
	for _, tag := range tags {
		k, ok := r.keys[tag]
		if !ok {
			continue
		}
		// RFC 9904: every validator knows this digest.
		if ds, err := dnssec.DS(n, k.Key.DNSKEY, dns.SHA256); err == nil {
			all = append(all, ds)
		}
	}
	slices.SortFunc(all, func(a, b dns.RR) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// gatherSignals copies what a zone asks of its parent to where its name servers
// vouch for it, as long as the parent has no DS (RFC 9615, Sections 4.1 and 6.1),
// and is not ours.
func (o *owner) gatherSignals(n name.Name, r *rolling) {
	child := o.served[key{n, o.plan.external}]
	if child == nil || child.content == nil || child.signedBy == nil || child.signedBy.Roll.NoParent || len(child.showsNow().cds) == 0 {
		return
	}
	known := r.look.Security == rollover.Insecure
	if r.look.Security != rollover.Unknown && !known {
		return
	}
	if up, _ := o.above(n, o.plan.external); up != nil {
		return
	}
	apex := child.out.Node(n)
	servers := apex.Set(dns.TypeNS)
	if servers == nil {
		return
	}
	for i, rr := range servers.RRs {
		ns, ok := rr.(*dns.NS)
		if !ok || i == maxSignals {
			break
		}
		// RFC 9615, Section 2: a name server within the zone cannot vouch for it.
		host, err := name.Parse(ns.Ns)
		if err != nil || host.IsBelow(n) {
			continue
		}
		at, fits := signalName(n, host)
		home := o.externalZone(at)
		if !fits || home == nil || o.plan.fed(home.key) || o.signed(home.zone) == nil {
			continue
		}
		for _, t := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
			set := kin{at, t, home.made(at, t), n}
			if have := apex.Set(t); known && have != nil {
				set.rrs = renamed(have.RRs, at)
			}
			if len(set.rrs) > 0 {
				o.kin[home.key] = append(o.kin[home.key], set)
			}
		}
	}
}

// signalName is where a name server signals what a zone wants (RFC 9615,
// Section 4.1); false where that is too long for a name.
func signalName(n, host name.Name) (name.Name, bool) {
	at := name.Name("\x07_dsboot") + n[:len(n)-1] + "\x07_signal" + host
	return at, len(at) <= 255
}

// renamed returns records as they are at another name.
func renamed(rrs []dns.RR, at name.Name) []dns.RR {
	var all []dns.RR
	for _, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Name = at.String()
		all = append(all, rr)
	}
	return all
}

// join adds to a candidate's records those that it has because of others.
func (o *owner) join(c *candidate) []zonefile.Problem {
	var yielded []zonefile.Problem
	c.kin = o.kin[c.key]
	c.records, yielded = withKin(c.zone, c.records, c.kin)
	return yielded
}

// withKin adds to the records of a zone those that it has because of others, as
// far as they do not touch the admin's.
func withKin(origin name.Name, records []zonefile.Record, all []kin) ([]zonefile.Record, []zonefile.Problem) {
	if len(all) == 0 {
		return records, nil
	}
	wanted := map[name.Name]bool{}
	for _, k := range all {
		wanted[k.owner] = true
	}
	taken, inherited := occupied(records, wanted), map[name.Name]bool{}
	for i := range records {
		if records[i].File == derivedFile { // of the view below
			if n, err := records[i].Name(); err == nil && wanted[n] {
				inherited[n] = true
			}
		}
	}
	out := slices.Clone(records)
	var problems []zonefile.Problem
	for i := range all {
		k := &all[i]
		if inherited[k.owner] {
			continue
		}
		ttl, reason, detail := k.place(origin, taken)
		if reason != "" && !k.said(taken) {
			problems = append(problems, zonefile.Problem{
				File: origin.String(), Severity: zonefile.WARN, Code: reason,
				Message: fmt.Sprintf("%s %s (of zone %s) is not published: %s", k.owner, dns.Type(k.kind), k.of, detail),
			})
		}
		if reason != "" {
			continue
		}
		for _, rr := range k.rrs {
			if ttl > 0 {
				rr = dns.Copy(rr)
				rr.Header().Ttl = ttl
			}
			if clean, _, err := zone.Normalise(rr); err == nil { // it was made here
				out = append(out, zonefile.Record{RR: clean, File: derivedFile})
			}
		}
	}
	return out, problems
}

// said reports whether the admin has written all of the set himself.
func (k *kin) said(taken map[name.Name][]zonefile.Record) bool {
	return !slices.ContainsFunc(k.rrs, func(rr dns.RR) bool {
		return !slices.ContainsFunc(taken[k.owner], func(r zonefile.Record) bool {
			own := dns.Copy(r.RR)
			own.Header().Ttl = rr.Header().Ttl
			return zone.SameRecord(own, rr)
		})
	})
}

// place finds whether there is a place for the set among the admin's records,
// and which TTL it has there; 0: its own.
func (k *kin) place(origin name.Name, taken map[name.Name][]zonefile.Record) (ttl uint32, reason, detail string) {
	if k.kind != dns.TypeDS {
		reason, detail = conflict(origin, taken, k.owner, k.kind)
		return 0, reason, detail
	}
	for _, r := range taken[k.owner] {
		switch h := r.RR.Header(); h.Rrtype {
		case dns.TypeDS:
			return 0, "admin-record", place(r, k.owner)
		case dns.TypeNS:
			ttl = h.Ttl // RFC 4035, Section 2.4
		}
	}
	if ttl == 0 {
		return 0, "not-delegated", "the zone does not delegate that name: to validators, what is below it is forged (hint: write its NS)"
	}
	reason, detail = conflict(origin, taken, k.owner.Parent(), 0)
	return ttl, reason, detail
}
