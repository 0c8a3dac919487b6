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

// Keyring has the keys of zones.
type Keyring interface {
	// Ensure returns a zone's keys. Where it has none they are made, and durable
	// when it returns; where they do not fit the policy it is an error.
	Ensure(zone name.Name, p SignPolicy, now time.Time) ([]dnssec.Key, error)
}

// noKeys is the Keyring of who has none.
type noKeys struct{}

func (noKeys) Ensure(zone name.Name, _ SignPolicy, _ time.Time) ([]dnssec.Key, error) {
	return nil, fmt.Errorf("there are no keys for zone %s", zone)
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
		if t := r.RR.Header().Rrtype; signer.Makes(t) {
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
	if p == nil {
		c.out, c.signed, c.signedBy = c.content, nil, nil
		return nil
	}
	keys, err := o.plan.Keys.Ensure(c.zone, *p, now)
	if err != nil {
		return &unsignable{ReasonSign, []string{err.Error()}}
	}
	policy, err := p.signs(c.content)
	if err != nil {
		return &unsignable{ReasonSign, []string{err.Error()}}
	}
	last := o.lastSigned(c.key, keys, policy, now)
	judged := attest.Context{OptOut: p.OptOut, ZONEMD: p.ZONEMD, Workers: policy.Workers}
	var problems []attest.Problem
	if last == nil {
		if c.signed, err = signer.Sign(c.content, keys, policy, now); err == nil {
			problems = attest.Check(c.signed.Zone(), now, judged)
		}
	} else {
		if c.signed, err = last.Next(c.content, keys, policy, now); err == nil {
			problems = attest.CheckEdit(last.Zone(), c.signed.Zone(), now, judged)
		}
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
	c.out, c.signedBy = c.signed.Zone(), p
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
	case st.signedBy == nil || *st.signedBy != *p:
		return true
	}
	if st.signed == nil { // since the start
		keys, err := o.plan.Keys.Ensure(k.zone, *p, now)
		if err != nil {
			return true // trying to sign tells why it cannot be
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

// notSigned refuses a candidate that cannot be signed. It is tried again.
func (o *owner) notSigned(c *candidate, now time.Time, err error) {
	var u *unsignable
	if !errors.As(err, &u) {
		u = &unsignable{ReasonSign, []string{err.Error()}}
	}
	var problems []zonefile.Problem
	for _, text := range u.problems {
		problems = append(problems, zonefile.Problem{
			File: o.fileOf(c.key), Severity: zonefile.ERR, Code: u.reason, Message: text,
			Hint: "what was served before is served on",
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
