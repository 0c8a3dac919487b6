package authority

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/attest"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// SignPolicy says how the zones that have it are signed.
type SignPolicy struct {
	Name      string // as the admin knows it
	Model     signer.Model
	Algorithm uint8 // of keys that are made
	Denial    signer.Denial
	OptOut    bool
	ZONEMD    bool
	Validity  time.Duration // of signatures; 0: as long as the zone needs, see signs

	// Roll says how keys are replaced. It changes nothing of what is signed now.
	Roll RollPolicy `json:"-"`
}

// RollPolicy says when keys are replaced, and who hears of it.
type RollPolicy struct {
	KeyLifetime     time.Duration // of a CSK or KSK; 0: until somebody asks for another
	ZoneKeyLifetime time.Duration // of a ZSK
	Standby         bool          // one more key of each role is published, to be used at once
	CDS             bool          // the parent is told
	NoParent        bool          // there is nobody to ask for a DS
}

// signsAs reports whether two policies sign alike.
func (p SignPolicy) signsAs(q SignPolicy) bool {
	p.Roll, q.Roll = RollPolicy{}, RollPolicy{}
	return p == q
}

// text is the policy as the journal keeps it with what was signed by it; ""
// for none.
func (p *SignPolicy) text() string {
	if p == nil {
		return ""
	}
	text, _ := json.Marshal(p) // plain values
	return string(text)
}

// readPolicy is text backwards. Where it cannot be read, it is a policy that
// nobody has.
func readPolicy(text string) *SignPolicy {
	if text == "" {
		return nil
	}
	p := &SignPolicy{}
	if json.Unmarshal([]byte(text), p) != nil {
		return &SignPolicy{}
	}
	return p
}

// codePresigned is of a record that signing makes, in a zone that is signed
// here: two signers of one zone know nothing of each other's keys.
const codePresigned = "presigned"

// presigned returns those of the records that a zone with a policy must not
// have.
func (o *owner) presigned(n name.Name, records []zonefile.Record) []zonefile.Problem {
	p := o.plan.policyOf(n)
	if p == nil {
		return nil
	}
	var problems []zonefile.Problem
	for i := range records {
		r := &records[i]
		if t := r.RR.Header().Rrtype; made(n, r) {
			hint := "leave it out, or leave out dnssec of the zone: then it is served as the file is"
			if t == dns.TypeCDS || t == dns.TypeCDNSKEY { // RFC 7344, Section 4: it speaks for the keys, which are made here
				hint = "leave it out: what the parent is asked for follows from the zone's keys"
			}
			problems = append(problems, r.At(zonefile.ERR, codePresigned,
				fmt.Sprintf("%s is made by signing, and policy %s signs this zone", dns.Type(t), p.Name), hint))
		}
		if len(problems) == maxPresigned {
			break
		}
	}
	return problems
}

// made reports whether a record is made by signing. A name server's word on
// another zone is not (RFC 9615, Section 4.1).
func made(n name.Name, r *zonefile.Record) bool {
	t := r.RR.Header().Rrtype
	if signer.Makes(t, false) || !signer.Makes(t, true) {
		return signer.Makes(t, false)
	}
	owner, err := r.Name()
	return err == nil && (owner == n || owner.First() != "_dsboot")
}

// maxPresigned bounds how many are told: a signed file has one at each name.
const maxPresigned = 10

// Reason words of a zone that cannot be signed: its last good state serves on.
const (
	ReasonSign   = "sign-failed"   // the keys, the policy or the zone do not allow it
	ReasonAttest = "attest-failed" // what was signed does not validate
)

// signAgain is how long after a failure it is tried again to sign a zone.
const signAgain = time.Minute

// unsignable is why a zone cannot be signed.
type unsignable struct {
	reason   string
	problems []string
}

func (u *unsignable) Error() string { return u.reason + ": " + strings.Join(u.problems, "; ") }

// policyOf returns how the zone is signed; nil: it is served as its file is.
func (p *plan) policyOf(n name.Name) *SignPolicy {
	if policy, ok := p.signing[n]; ok {
		return policy
	}
	return p.Sign
}

// needs is for how long somebody may keep what is signed: a secondary until the
// zone expires, and then a cache for the largest TTL.
func needs(z *zone.Zone) time.Duration {
	most := uint32(0)
	for node := range z.Nodes() {
		for i := range node.Sets {
			most = max(most, node.Sets[i].TTL)
		}
	}
	return time.Duration(uint64(z.SOA().Expire)+uint64(most)) * time.Second
}

const day = 24 * time.Hour

// signs returns the signer's policy for a zone: signatures are made anew a day
// before less is left to them than somebody may need, and by themselves last
// three days and a refresh longer than that, a fortnight at least.
func (p *SignPolicy) signs(z *zone.Zone) (signer.Policy, error) {
	need := needs(z)
	s := signer.Policy{
		Model: p.Model, Denial: p.Denial, OptOut: p.OptOut, ZONEMD: p.ZONEMD,
		Refresh: need + day, Workers: runtime.GOMAXPROCS(0),
		Validity: max(14*day, need+time.Duration(z.SOA().Refresh)*time.Second+3*day),
	}
	if p.Validity > 0 {
		if p.Validity < need+2*day {
			return s, fmt.Errorf("validity %s of policy %s is too short: the zone's expire and its largest TTL take %s, and two days more are needed", p.Validity, p.Name, need)
		}
		s.Validity = p.Validity
	}
	return s, nil
}

// sign makes what is served of a candidate's content, and judges it. Its keys
// are made where there are none.
func (o *owner) sign(c *candidate, now time.Time) error {
	p := o.policyFor(c)
	if r := o.rolls[c.zone]; p == nil && r != nil && len(r.look.DS) > 0 && o.unsigns(c) {
		// Who finds the DS would believe nothing of it (RFC 4035, Section 5.2).
		return &unsignable{ReasonDS, []string{fmt.Sprintf("the parent of %s has a DS, seen on %s: unsigned the zone would be bogus", c.zone, r.look.At.Format(time.DateTime))}}
	}
	if p == nil {
		c.out, c.signed, c.signedBy = c.content, nil, nil
		return nil
	}
	r := o.rollingOf(c.zone, p, map[string]*zone.Zone{c.view: c.content}, now)
	switch {
	case !r.begun:
		return &unsignable{ReasonSign, []string{r.err.Error()}}
	case r.plan.Hold != "":
		return r.held()
	case r.plan.Unsigned:
		c.out, c.signed, c.signedBy = c.content, nil, nil
		return nil
	}
	if err := o.takeKeys(c.zone, r); err != nil {
		return &unsignable{ReasonSign, []string{err.Error()}}
	}
	keys, err := r.signers()
	if err != nil {
		return &unsignable{ReasonSign, []string{err.Error()}}
	}
	if err := o.signBy(c, p, keys, r.ask(), now); err != nil {
		return err
	}
	c.out, c.signedBy = c.signed.Zone(), p
	return nil
}

// steps reports whether c is signed with other keys than what is served.
func (o *owner) steps(c *candidate) bool {
	st, r := o.served[c.key], o.rolls[c.zone]
	return c.signed != nil && st != nil && st.signedBy != nil && r != nil && !st.showsNow().showsPlan(&r.plan)
}

// signAsBefore signs c with the keys that sign what is served.
func (o *owner) signAsBefore(c *candidate, now time.Time) error {
	f, was := o.served[c.key].showsNow(), *o.rolls[c.zone]
	was.plan.Uses, was.plan.CDS, was.plan.Delete = f.uses, f.cds, f.delete
	keys, err := was.signers()
	if err != nil {
		return &unsignable{ReasonSign, []string{err.Error()}}
	}
	if err := o.signBy(c, c.signedBy, keys, was.ask(), now); err != nil {
		return err
	}
	c.out = c.signed.Zone()
	return nil
}

// held is why nothing signed may be published.
func (r *rolling) held() *unsignable {
	u := &unsignable{reason: r.plan.Hold}
	for _, a := range r.plan.Alarms {
		if a.Reason == r.plan.Hold {
			u.problems = append(u.problems, a.Text)
		}
	}
	if len(u.problems) == 0 || u.reason == rollover.ReasonParentUnknown {
		u.problems = []string{r.plan.Next}
	}
	return u
}

// signBy signs a candidate's content with these keys, and judges what comes out.
func (o *owner) signBy(c *candidate, p *SignPolicy, keys []dnssec.Key, ask signer.Ask, now time.Time) error {
	policy, err := p.signs(c.content)
	if err != nil {
		return &unsignable{ReasonSign, []string{err.Error()}}
	}
	policy.Ask, policy.Done = ask, o.a.workers.Context().Done()
	judged := attest.Context{OptOut: p.OptOut, ZONEMD: p.ZONEMD, Workers: policy.Workers, Done: policy.Done}
	uses := map[uint16]rollover.Use{}
	for _, k := range keys {
		if uses[k.Tag] = rollover.Use(k.Use); !k.Use.Does(dnssec.InSet) {
			judged.Outside = append(judged.Outside, k.DNSKEY)
		}
	}
	var problems []attest.Problem
	if last := o.lastSigned(c.key, keys, policy, now); last == nil {
		if c.signed, err = signer.Sign(c.content, keys, policy, now); err == nil {
			problems = attest.Check(c.signed.Zone(), now, judged)
		}
	} else if c.signed, err = last.Next(c.content, keys, policy, now); err == nil {
		// What was good by other keys outside the set was good in another context.
		if slices.Equal(outside(o.served[c.key].showsNow().uses), outside(uses)) {
			problems = attest.CheckEdit(last.Zone(), c.signed.Zone(), now, judged)
		} else {
			problems = attest.Check(c.signed.Zone(), now, judged)
		}
	}
	if err == nil && o.stopping() {
		err = signer.ErrStopped
	}
	if err != nil {
		return &unsignable{ReasonSign, []string{err.Error()}}
	}
	if len(problems) > 0 {
		u := &unsignable{reason: ReasonAttest}
		for _, p := range problems {
			u.problems = append(u.problems, p.String())
		}
		return u
	}
	return nil
}

// policyFor returns how a candidate is to be signed; nil: it is not.
func (o *owner) policyFor(c *candidate) *SignPolicy {
	p := o.plan.policyOf(c.zone)
	if p == nil && (c.order == nil && (c.fallback || c.source == nil) || c.updates()) {
		if st := o.served[c.key]; st != nil {
			p = st.signedBy // nobody has said yet that it is meant to lose its signatures
		}
	}
	return p
}

// lastSigned returns what k was signed to last, if that is what is served.
func (o *owner) lastSigned(k key, keys []dnssec.Key, p signer.Policy, now time.Time) *signer.Signed {
	st := o.served[k]
	if st == nil || st.signedBy == nil {
		return nil
	}
	if st.signed == nil { // since the start
		signed, err := signer.Resume(st.out, keys, p, now)
		if err != nil {
			o.log.Warn("zone is signed anew", "zone", k.zone, "view", k.view, "err", err)
			return nil
		}
		st.signed = signed
	}
	return st.signed
}

// due reports whether it is time to sign k, though its files are as they were.
func (o *owner) due(k key, now time.Time) bool {
	st := o.served[k]
	if st != nil && !st.signAfter.IsZero() {
		return !now.Before(st.signAfter) // the last time it failed
	}
	return o.stale(k, now)
}

// stale reports whether what is served must be signed anew though its content
// is the same: its signatures grow old, or it is to be signed in another way.
func (o *owner) stale(k key, now time.Time) bool {
	st := o.served[k]
	if st == nil || st.content == nil {
		return false
	}
	p := o.plan.policyOf(k.zone)
	switch {
	case p == nil && !slices.Contains(st.held, LosesSignatures):
		return st.signedBy != nil
	case p == nil && st.signedBy == nil:
		return false
	case p == nil:
		p = st.signedBy
	}
	r := o.rolls[k.zone]
	switch {
	case r != nil && r.begun && r.plan.Unsigned:
		return st.signedBy != nil
	case st.signedBy == nil || !st.signedBy.signsAs(*p):
		return true
	case r == nil || !r.begun:
		return true // trying to sign tells why it cannot be
	case r.plan.Hold == "" && !st.showsNow().showsPlan(&r.plan):
		return true
	}
	if st.signed == nil { // since the start
		keys, err := r.signers()
		if err != nil {
			return true
		}
		policy, err := p.signs(st.content)
		if err != nil || o.lastSigned(k, keys, policy, now) == nil {
			return true
		}
	}
	return !st.signed.NextWake().After(now)
}

// unsigns reports whether c would take the signatures off a zone: whoever finds
// a DS of it at its parent would believe nothing of it any more.
func (o *owner) unsigns(c *candidate) bool {
	st := o.served[c.key]
	return st != nil && st.signedBy != nil && o.plan.policyOf(c.zone) == nil
}

// stopping reports whether Stop was called: signing a large zone takes longer
// than stopping may.
func (o *owner) stopping() bool { return o.a.workers.Context().Err() != nil }

// notSigned refuses a candidate that cannot be signed. It is tried again.
func (o *owner) notSigned(c *candidate, now time.Time, err error) {
	if o.stopping() {
		return // the next start does it
	}
	var u *unsignable
	if !errors.As(err, &u) {
		u = &unsignable{ReasonSign, []string{err.Error()}}
	}
	hint := "what was served before is served on"
	switch u.reason {
	case rollover.ReasonParentUnknown:
		hint = "it is tried again and again; where no parent delegates the zone, or none can be asked, set check_ds = false in its policy"
	case rollover.ReasonOrphanDS:
		hint = fmt.Sprintf("postern dnssec import %s KEYFILE... --adopt takes over the keys that it is signed with; or have the DS removed", c.zone)
	}
	var problems []zonefile.Problem
	for _, text := range u.problems {
		problems = append(problems, zonefile.Problem{
			File: o.fileOf(c.key), Severity: zonefile.ERR, Code: u.reason, Message: text,
			Hint: hint,
		})
	}
	o.refuse(c.key, u.reason, problems)
	o.served[c.key].signAfter = now.Add(signAgain)
}

// takeOut makes the zone what is served, and tells what of it was signed.
func (st *served) takeOut(out *zone.Zone, signedBy string) error {
	st.out, st.content, st.signedBy = out, out, readPolicy(signedBy)
	if st.signedBy == nil {
		return nil
	}
	plain, err := signer.Strip(out)
	if err != nil {
		return fmt.Errorf("signed zone %s: %w", st.zone, err)
	}
	st.content = plain
	return nil
}

// ownersOfDelta returns the owners of the records that differ, and the apex;
// false where they are too many to be worth it.
func ownersOfDelta(d *zone.Delta, apex name.Name) ([]name.Name, bool) {
	if len(d.Removed)+len(d.Added) > maxEdited {
		return nil, false
	}
	owners, last := []name.Name{apex}, ""
	for _, list := range [][]dns.RR{d.Removed, d.Added} {
		for _, rr := range list {
			text := rr.Header().Name
			if text == last {
				continue
			}
			last = text
			n, err := name.Parse(text)
			if err != nil {
				return nil, false
			}
			owners = append(owners, n)
		}
	}
	return owners, true
}
