package authority

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// Reason words of a change that waits for Apply. Those of a danger are also
// the codes that accept it.
const (
	ReasonPlanned = "planned" // apply = "manual"
	ReasonPinned  = "pinned"  // the zone was rolled back

	LargeChange  = "large-change"  // more records change than Config.MaxChange allows
	LosesNS      = "loses-ns"      // fewer name servers than before, or all others
	LosesMX      = "loses-mx"      // no mail server is left
	LosesAddress = "loses-address" // the apex or a mail server loses its last A or AAAA

	LosesSignatures = "loses-signatures" // the zone is to be signed no longer
)

// Dangers are the codes that can be accepted.
func Dangers() []string {
	return []string{LargeChange, LosesNS, LosesMX, LosesAddress, LosesSignatures}
}

// smallZone is the number of records from which a change can be a large one.
const smallZone = 10

// mayPublish decides whether the newest records of a file go out by
// themselves; if not, it notes why they wait.
func (o *owner) mayPublish(c *candidate) bool {
	waits := o.waits(c)
	if len(waits) > 0 {
		o.hold(c, waits)
	}
	return len(waits) == 0
}

// waits returns why the newest records of a file do not go out by themselves.
func (o *owner) waits(c *candidate) []zonefile.Problem {
	pin, pinned := o.pins[c.key]
	old := o.standing(c.key)
	switch {
	case c.source == nil:
		return nil
	case o.unsigns(c):
	case !pinned && o.same(c) && !o.plan.Serial.bump(c.content.Serial(), old.Serial()):
		return nil
	case sameRecords(c.own, o.accepted(c.source)):
		return nil
	}
	file := c.source.path()
	if pinned && o.still(c.key) {
		return []zonefile.Problem{pinnedProblem(file, pin)} // whatever it would endanger
	}
	dangers := o.dangers(file, c)
	var waits []zonefile.Problem
	hint := fmt.Sprintf("postern zone plan %s shows it; postern zone apply %[1]s publishes it", c.zone)
	switch {
	case pinned:
		waits = []zonefile.Problem{pinnedProblem(file, pin)}
	case o.plan.Manual:
		waits = []zonefile.Problem{{
			File: file, Severity: zonefile.WARN, Code: ReasonPlanned, Message: "the file is not published before somebody applies it", Hint: hint,
		}}
	}
	return append(dangers, waits...) // a danger is told first
}

// standing returns what k is served with; nil: nothing.
func (o *owner) standing(k key) *zone.Zone {
	if st := o.served[k]; st != nil {
		return st.content
	}
	return nil
}

// difference is what changes from one content to the next, less a SOA of which
// the serial alone does.
type difference struct {
	old, next      *zone.Zone
	removed, added []dns.RR
}

// compare returns how c differs from what is served; from nothing, nothing
// differs. Comparing a large zone takes its time: it is done once.
func (o *owner) compare(c *candidate) *difference {
	d, old := &c.diff, o.standing(c.key)
	if d.next != c.content || d.old != old {
		*d = difference{old: old, next: c.content}
		if old != nil {
			d.removed, d.added = withoutSerial(zone.Diff(old, c.content))
		}
	}
	return d
}

// renumber gives c another serial, which compare does not look at.
func (c *candidate) renumber(serial uint32) {
	numbered := c.content.WithSerial(serial)
	if c.diff.next == c.content {
		c.diff.next = numbered
	}
	c.content = numbered
}

// same reports whether c would answer as what is served does.
func (o *owner) same(c *candidate) bool {
	d := o.compare(c)
	return d.old != nil && len(d.removed)+len(d.added) == 0
}

// hold notes that the newest records wait, and why.
func (o *owner) hold(c *candidate, waits []zonefile.Problem) {
	st := o.served[c.key]
	if st == nil {
		st = &served{key: c.key}
		o.served[c.key] = st
	}
	st.held = codes(waits)
	st.reason, st.problems = st.held[0], append(waits, c.problems...)
	o.a.Counters.Held.Inc()
	o.tell(st)
}

func codes(problems []zonefile.Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Code)
	}
	return all
}

func pinnedProblem(file string, pin journal.Pin) zonefile.Problem {
	return zonefile.Problem{
		File: file, Severity: zonefile.WARN, Code: ReasonPinned,
		Message: fmt.Sprintf("rolled back to version %d by %s", pin.Version, pin.Who),
		Hint:    "the file is published again once it has changed and somebody applies it",
	}
}

// dangers returns what must not happen by mistake. A new zone endangers
// nothing.
func (o *owner) dangers(file string, c *candidate) []zonefile.Problem {
	d := o.compare(c)
	old, next, removed, added := d.old, d.next, d.removed, d.added
	if old == nil {
		return nil
	}
	var all []zonefile.Problem
	add := func(code, message string) {
		all = append(all, zonefile.Problem{
			File: file, Severity: zonefile.WARN, Code: code, Message: message,
			Hint: fmt.Sprintf("if it is meant: postern zone apply %s --accept %s --reason TEXT", next.Origin(), code),
		})
	}
	if o.unsigns(c) {
		add(LosesSignatures, "the zone is signed, and would be no longer: where its parent has a DS, it would be taken for forged")
	}
	size := max(len(removed), len(added))
	if old.Records() >= smallZone && size*100 > o.plan.MaxChange*old.Records() {
		add(LargeChange, fmt.Sprintf("%d of %d records go and %d come: more than %d %%", len(removed), old.Records(), len(added), o.plan.MaxChange))
	}
	before, after := hosts(old, dns.TypeNS), hosts(next, dns.TypeNS)
	if len(after) < len(before) || len(before) > 0 && !overlap(before, after) {
		add(LosesNS, fmt.Sprintf("the name servers were %s and would be %s", list(before), list(after)))
	}
	mailBefore, mailAfter := hosts(old, dns.TypeMX), hosts(next, dns.TypeMX)
	if len(mailBefore) > 0 && len(mailAfter) == 0 {
		add(LosesMX, fmt.Sprintf("the mail servers were %s; none would be left", list(mailBefore)))
	}
	points := []name.Name{next.Origin()}
	for _, host := range mailBefore {
		if n, err := name.Parse(host); err == nil && contains(mailAfter, host) {
			points = append(points, n)
		}
	}
	for _, n := range points {
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if hasSet(old, n, t) && !hasSet(next, n, t) {
				add(LosesAddress, fmt.Sprintf("%s would have no %s any more", n, dns.Type(t)))
			}
		}
	}
	return all
}

// hosts returns the targets of the apex NS or MX; a null MX (RFC 7505) is none.
func hosts(z *zone.Zone, t uint16) []string {
	set := z.Node(z.Origin()).Set(t)
	if set == nil {
		return nil
	}
	var all []string
	for _, rr := range set.RRs {
		switch rr := rr.(type) {
		case *dns.NS:
			all = append(all, rr.Ns)
		case *dns.MX:
			if rr.Mx != "." {
				all = append(all, rr.Mx)
			}
		}
	}
	return all
}

func hasSet(z *zone.Zone, n name.Name, t uint16) bool {
	node := z.Node(n)
	return node != nil && node.Set(t) != nil
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if strings.EqualFold(s, one) {
			return true
		}
	}
	return false
}

func overlap(a, b []string) bool {
	for _, s := range a {
		if contains(b, s) {
			return true
		}
	}
	return false
}

func list(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
