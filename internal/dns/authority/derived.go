package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// derivedFile stands for a file in the records that Postern makes itself.
const derivedFile = "(derived)"

// derivedTTL is short: whoever rotates waits for it.
const derivedTTL = 300

// maxDerived bounds how many sets of derived records there are.
const maxDerived = 1000

// Refusal is why a derived record is not published.
type Refusal struct {
	Reason string // stable reason word
	Owner  string
	Detail string
}

// Error says which record and why.
func (r *Refusal) Error() string {
	return fmt.Sprintf("publish %s TXT: %s: %s", r.Owner, r.Reason, r.Detail)
}

// Publish puts TXT records at owner into the zone of the external view that
// holds it; overlays inherit them. They replace what was published under the
// same owner and key before, survive reload and restart, and never override
// the admin's records. It returns when they are durable and served. An error
// about the record is a *Refusal with a reason word.
func (a *Authority) Publish(ctx context.Context, owner, key string, texts []string) error {
	var failed error
	err := a.do(ctx, func() { failed = a.owner.publishDerived(owner, key, texts) })
	return errors.Join(err, failed)
}

// Withdraw takes back what was published under owner and key. What is not
// there is no error.
func (a *Authority) Withdraw(ctx context.Context, owner, key string) error {
	var failed error
	err := a.do(ctx, func() { failed = a.owner.withdrawDerived(owner, key) })
	return errors.Join(err, failed)
}

func (o *owner) publishDerived(owner, what string, texts []string) error {
	n, err := name.Parse(owner)
	if err != nil {
		return &Refusal{"bad-owner", owner, err.Error()}
	}
	owner = n.String()
	for _, text := range texts {
		if len(text) == 0 || len(text) > 4096 {
			return &Refusal{"bad-text", owner, "a text has 1 to 4096 octets"}
		}
	}
	if len(texts) == 0 {
		return &Refusal{"bad-text", owner, "no text is given"}
	}
	st := o.externalZone(n)
	if st == nil {
		return &Refusal{"no-zone", owner, fmt.Sprintf("view %s holds no zone for it", o.plan.external)}
	}
	if o.plan.fed(st.key) {
		return &Refusal{ReasonFed, owner, o.plan.feeder(st.key)}
	}
	taken := occupied(o.base(st), map[name.Name]bool{n: true})
	if reason, detail := conflict(st.zone, taken, n, dns.TypeTXT); reason != "" {
		return &Refusal{reason, owner, detail}
	}
	entry := journal.Derived{Owner: owner, Key: what, Texts: slices.Clone(texts)}
	next := without(o.derived, owner, what)
	if len(next) >= maxDerived {
		return &Refusal{"too-many", owner, fmt.Sprintf("there are %d derived records", len(next))}
	}
	return o.replaceDerived(append(next, entry), st.key)
}

func (o *owner) withdrawDerived(owner, what string) error {
	n, err := name.Parse(owner)
	if err != nil {
		return &Refusal{"bad-owner", owner, err.Error()}
	}
	next := without(o.derived, n.String(), what)
	if len(next) == len(o.derived) {
		return nil
	}
	var k key
	if st := o.externalZone(n); st != nil {
		k = st.key
	}
	return o.replaceDerived(next, k)
}

func without(all []journal.Derived, owner, what string) []journal.Derived {
	return slices.DeleteFunc(slices.Clone(all), func(d journal.Derived) bool { return d.Owner == owner && d.Key == what })
}

// replaceDerived makes the list durable and rebuilds the zone. Where the zone
// cannot be published, the list goes back to what it was.
func (o *owner) replaceDerived(next []journal.Derived, k key) error {
	before := o.derived
	if err := o.store.SaveDerived(next); err != nil {
		return &Refusal{reasonJournal, k.zone.String(), err.Error()}
	}
	o.derived = next
	st := o.served[k]
	if st == nil {
		return nil
	}
	o.dirty[k] = true
	o.build()
	o.judge()
	if st.reason != reasonJournal {
		return nil // what is refused or waits are the admin's newest records, not ours
	}
	o.derived = before
	o.dirty[k] = true
	return errors.Join(&Refusal{st.reason, k.zone.String(), st.problems[0].Message}, o.store.SaveDerived(before))
}

// externalZone returns the zone of the external view that holds n.
func (o *owner) externalZone(n name.Name) *served {
	for ; ; n = n.Parent() {
		if st := o.served[key{n, o.plan.external}]; st != nil && !st.unborn() {
			if st.content == nil {
				return nil
			}
			return st
		}
		if n == name.Root {
			return nil
		}
	}
}

// withDerived adds the derived records of the zone, as far as they do not
// touch the admin's; those that do yield, with a warning.
func (o *owner) withDerived(origin name.Name, records []zonefile.Record) ([]zonefile.Record, []zonefile.Problem) {
	var problems []zonefile.Problem
	mine, wanted := o.derivedOf(origin)
	if len(mine) == 0 {
		return records, nil
	}
	out := slices.Clone(records)
	taken := occupied(records, wanted)
	for _, d := range mine {
		n, _ := name.Parse(d.Owner) // it was read above
		if reason, detail := conflict(origin, taken, n, dns.TypeTXT); reason != "" {
			problems = append(problems, zonefile.Problem{
				File: origin.String(), Severity: zonefile.WARN, Code: reason,
				Message: fmt.Sprintf("%s TXT (%s) is not published: %s", n, d.Key, detail),
			})
			continue
		}
		for _, text := range d.Texts {
			txt := &dns.TXT{Hdr: dns.RR_Header{Name: d.Owner, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: derivedTTL}, Txt: chunks(text)}
			if rr, _, err := zone.Normalise(txt); err == nil { // Publish has checked it
				out = append(out, zonefile.Record{RR: rr, File: derivedFile})
			}
		}
	}
	return out, problems
}

// derivedOf returns the derived records that belong in the zone, and their
// owners.
func (o *owner) derivedOf(origin name.Name) (mine []journal.Derived, wanted map[name.Name]bool) {
	wanted = map[name.Name]bool{}
	for _, d := range o.derived {
		n, err := name.Parse(d.Owner)
		if err == nil && n.IsBelow(origin) && o.holds(origin, n) {
			mine, wanted[n] = append(mine, d), true
		}
	}
	return mine, wanted
}

// holds reports whether no deeper zone of the external view has n.
func (o *owner) holds(origin, n name.Name) bool {
	for ; n != origin; n = n.Parent() {
		k := key{n, o.plan.external}
		if st := o.served[k]; st != nil && st.unborn() {
			continue
		}
		if o.sources[k] != nil || o.served[k] != nil {
			return false
		}
	}
	return true
}

// occupied returns the admin's records at and above the wanted names.
func occupied(records []zonefile.Record, wanted map[name.Name]bool) map[name.Name][]zonefile.Record {
	above := map[name.Name]bool{}
	for n := range wanted {
		for ; !above[n]; n = n.Parent() {
			above[n] = true
		}
	}
	taken := map[name.Name][]zonefile.Record{}
	for _, r := range records {
		if n, err := r.Name(); err == nil && above[n] && r.File != derivedFile {
			taken[n] = append(taken[n], r)
		}
	}
	return taken
}

// conflict returns why records of that type may not stand at n among the admin's.
func conflict(origin name.Name, taken map[name.Name][]zonefile.Record, n name.Name, kind uint16) (reason, detail string) {
	for at := n; ; at = at.Parent() {
		for _, r := range taken[at] {
			switch t := r.RR.Header().Rrtype; {
			case t == kind && at == n:
				return "admin-record", place(r, at)
			case t == dns.TypeCNAME && at == n:
				return "admin-cname", place(r, at)
			case t == dns.TypeNS && at != origin:
				return "admin-cut", place(r, at)
			case t == dns.TypeDNAME && at != n:
				return "admin-dname", place(r, at)
			}
		}
		if at == origin || at == name.Root {
			return "", ""
		}
	}
}

func place(r zonefile.Record, at name.Name) string {
	what := fmt.Sprintf("%s has a %s of the admin's", at, dns.Type(r.RR.Header().Rrtype))
	if r.Line > 0 {
		what += fmt.Sprintf(" (%s:%d)", r.File, r.Line)
	}
	return what
}

// chunks splits a text into strings of at most 255 octets (RFC 1035, Section
// 3.3.14), in the library's spelling.
func chunks(text string) []string {
	var out []string
	for piece := range slices.Chunk([]byte(text), 255) {
		out = append(out, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(piece)))
	}
	return out
}
