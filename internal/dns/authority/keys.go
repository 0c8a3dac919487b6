package authority

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
)

// Keyring has the keys of zones: see package keyring.
type Keyring interface {
	Held(zone name.Name) ([]keyring.Held, error)
	Generate(zone name.Name, role keyring.Role, alg uint8, now time.Time) (dnssec.Key, error)
	SetFields(zone name.Name, tag uint16, fields []keyring.Field) error
	Remove(zone name.Name, tag uint16) error
}

// noKeys is the Keyring of who has none.
type noKeys struct{}

func (noKeys) Held(zone name.Name) ([]keyring.Held, error) {
	return nil, fmt.Errorf("there are no keys for zone %s", zone)
}

func (n noKeys) Generate(zone name.Name, _ keyring.Role, _ uint8, _ time.Time) (dnssec.Key, error) {
	_, err := n.Held(zone)
	return dnssec.Key{}, err
}

func (n noKeys) SetFields(zone name.Name, _ uint16, _ []keyring.Field) error {
	_, err := n.Held(zone)
	return err
}

func (n noKeys) Remove(zone name.Name, _ uint16) error {
	_, err := n.Held(zone)
	return err
}

// rolling is what is known of the keys of one zone, and what they do now.
// Which steps are safe is package rollover's decision.
type rolling struct {
	state rollover.State
	plan  rollover.Plan
	begun bool                    // plan is one
	keys  map[uint16]keyring.Held // with fields as they are durable
	err   error                   // why the keys cannot be used, or a step not be written down

	policy *SignPolicy           // by which plan was made
	look   Parent                // the last one at the parent
	above  map[string]delegating // what zones of ours above it have, by view: see everywhere
	asking bool
	seen   string // what plan was made of, see sight

	logged string
}

// roll is the policy as package rollover has it.
func (p *SignPolicy) roll() rollover.Policy {
	return rollover.Policy{
		Split: p.Model == signer.KSKZSK, Algorithm: p.Algorithm,
		KSKLifetime: p.Roll.KeyLifetime, ZSKLifetime: p.Roll.ZoneKeyLifetime,
		Standby: p.Roll.Standby, CDS: p.Roll.CDS,
	}
}

// signed returns how the zone is signed, or was: nobody has said yet that it is
// meant to lose its signatures. Nil: it is served as its file is.
func (o *owner) signed(n name.Name) *SignPolicy {
	if p := o.plan.policyOf(n); p != nil {
		return p
	}
	for _, v := range o.plan.views {
		if st := o.served[key{n, v.Name}]; st != nil && st.signedBy != nil {
			return st.signedBy
		}
	}
	return nil
}

// rollingOf returns the keys of a zone, and what they do; made where nobody has
// asked for it yet.
func (o *owner) rollingOf(n name.Name, p *SignPolicy, coming map[string]*zone.Zone, now time.Time) *rolling {
	r := o.rolls[n]
	if r == nil {
		r = &rolling{}
		o.rolls[n] = r
	}
	if !r.begun || r.err != nil || r.policy == nil || *r.policy != *p {
		o.advance(n, r, p, coming, now)
	}
	return r
}

// advanceAll takes the steps whose time has come, of all zones that are signed,
// and reports whether it looked at any.
func (o *owner) advanceAll(now time.Time) (looked bool) {
	there := map[name.Name]bool{}
	for k, st := range o.served {
		there[k.zone] = true
		if st.content != nil && o.rolls[k.zone] == nil && o.signed(k.zone) != nil {
			o.rolls[k.zone] = &rolling{}
		}
	}
	maps.DeleteFunc(o.rolls, func(n name.Name, _ *rolling) bool { return !there[n] || o.signed(n) == nil })
	if len(o.rolls) == 0 {
		return false
	}
	secondaries := o.secondaries()
	for _, n := range slices.SortedFunc(maps.Keys(o.rolls), name.Name.Compare) {
		r, p := o.rolls[n], o.signed(n)
		woken := r.begun && !r.plan.Wake.IsZero() && !now.Before(r.plan.Wake)
		if woken || !r.begun || r.err != nil || *r.policy != *p || r.seen != o.sight(n, r, secondaries) {
			o.advance(n, r, p, nil, now)
			looked = true
		}
	}
	return looked
}

// advance asks what the keys of a zone are to do now, makes those that are
// missing, and writes down what was decided: only then anything is signed by
// it. Where that cannot be done, the zone is signed as it was decided last.
func (o *owner) advance(n name.Name, r *rolling, p *SignPolicy, coming map[string]*zone.Zone, now time.Time) {
	defer func() { o.tellRoll(n, r) }()
	if r.err = o.takeKeys(n, r); r.err != nil {
		return
	}
	secondaries := o.secondaries()
	sight := o.sight(n, r, secondaries)
	state, plan := r.state, rollover.Plan{}
	for range 2 * rollover.MaxKeys { // each may ask for more
		state, plan = rollover.Advance(p.roll(), state, o.views(n, r, p, coming, secondaries), now)
		if len(plan.Make) == 0 {
			break
		}
		for _, m := range plan.Make {
			k, err := o.makeKey(n, m, now)
			if err == nil {
				r.keys[k.Tag] = k
				err = state.Add(rollKey(k), nil)
			}
			if r.err = err; err != nil {
				return
			}
		}
	}
	if r.err = o.keepKeys(n, r, &state); r.err != nil {
		return
	}
	was := r.plan
	r.state, r.plan, r.policy, r.seen, r.begun = state, plan, p, sight, true
	for _, step := range plan.Steps {
		o.log.Info("dnssec keys", "zone", n, "step", step)
	}
	if !maps.Equal(was.Uses, plan.Uses) || was.Hold != plan.Hold || was.Unsigned != plan.Unsigned {
		o.retry(n)
	}
	o.removeKeys(n, r)
}

// retry has the views of a zone signed again at once, where signing failed.
func (o *owner) retry(n name.Name) {
	for _, v := range o.plan.views {
		k := key{n, v.Name}
		if st := o.served[k]; st != nil && !st.signAfter.IsZero() {
			st.signAfter, o.dirty[k] = time.Time{}, true
		}
	}
}

// makeKey makes a key and returns it as the keyring holds it.
func (o *owner) makeKey(n name.Name, m rollover.Make, now time.Time) (keyring.Held, error) {
	role, err := keyring.ParseRole(m.Role.String())
	if err != nil {
		return keyring.Held{}, err
	}
	made, err := o.plan.Keys.Generate(n, role, m.Alg, now)
	if err != nil {
		return keyring.Held{}, err
	}
	keys, err := o.plan.Keys.Held(n)
	for _, k := range keys {
		if k.Tag == made.Tag {
			return k, nil
		}
	}
	return keyring.Held{}, cmp.Or(err, error(keyring.ErrNoKey))
}

// takeKeys brings the state to the keys that there are.
func (o *owner) takeKeys(n name.Name, r *rolling) error {
	keys, err := o.plan.Keys.Held(n)
	if err != nil {
		return err
	}
	r.keys = map[uint16]keyring.Held{}
	for _, k := range keys {
		r.keys[k.Tag] = k
	}
	for _, k := range r.state.Keys {
		if _, there := r.keys[k.Tag]; !there {
			r.state = r.state.Forget(k.Tag)
		}
	}
	for _, k := range keys {
		if slices.ContainsFunc(r.state.Keys, func(have rollover.Key) bool { return have.Tag == k.Tag }) {
			continue
		}
		if err := r.state.Add(rollKey(k), ownFields(k.Fields)); err != nil {
			return fmt.Errorf("dnssec key %d of %s: %w", k.Tag, n, err)
		}
	}
	return nil
}

func rollKey(k keyring.Held) rollover.Key {
	role := map[keyring.Role]rollover.Role{keyring.CSK: rollover.CSK, keyring.KSK: rollover.KSK, keyring.ZSK: rollover.ZSK}
	return rollover.Key{Tag: k.Tag, Role: role[k.Role], Alg: k.Alg, Made: k.Created}
}

// ownFields are those of a roll, among all that are kept with a key.
func ownFields(all []keyring.Field) []rollover.Field {
	var own []rollover.Field
	for _, f := range all {
		if rollover.Own(f.Name) {
			own = append(own, rollover.Field(f))
		}
	}
	return own
}

// keepKeys writes down what was decided of each key, beside what others keep there.
func (o *owner) keepKeys(n name.Name, r *rolling, state *rollover.State) error {
	for i := range state.Keys {
		k, fields := r.keys[state.Keys[i].Tag], state.Fields(i)
		if slices.Equal(fields, ownFields(k.Fields)) {
			continue
		}
		k.Fields = slices.DeleteFunc(slices.Clone(k.Fields), func(f keyring.Field) bool { return rollover.Own(f.Name) })
		for _, f := range fields {
			k.Fields = append(k.Fields, keyring.Field(f))
		}
		if err := o.plan.Keys.SetFields(n, k.Tag, k.Fields); err != nil {
			return fmt.Errorf("write down what dnssec key %d does: %w", k.Tag, err)
		}
		r.keys[k.Tag] = k
	}
	return nil
}

// removeKeys deletes those that nobody needs any more. One that stays is tried
// again.
func (o *owner) removeKeys(n name.Name, r *rolling) {
	for _, tag := range r.plan.Remove {
		if err := o.plan.Keys.Remove(n, tag); err != nil {
			o.log.Warn("dnssec keys", "zone", n, "err", err)
			continue
		}
		delete(r.keys, tag)
		r.state = r.state.Forget(tag)
		o.log.Info("dnssec keys", "zone", n, "step", fmt.Sprintf("key %d is removed", tag))
	}
}

// tellRoll logs, once, what a person should look after.
func (o *owner) tellRoll(n name.Name, r *rolling) {
	var texts []string
	for _, a := range r.plan.Alarms {
		texts = append(texts, a.Reason+": "+a.Text)
	}
	if r.err != nil {
		texts = append(texts, r.err.Error())
	}
	text := strings.Join(texts, "; ")
	if text != "" && text != r.logged {
		o.log.Warn("dnssec keys need a look", "zone", n, "why", texts)
	}
	r.logged = text
}

// status is how the keys stand, for who asks.
func (r *rolling) status() *Keys {
	if r == nil || !r.begun {
		return nil
	}
	k := &Keys{
		Next: r.plan.Next, Wake: r.plan.Wake, Ask: r.plan.Ask, Alarms: r.plan.Alarms, Wanted: r.plan.DS, StandBy: r.state.StandBy(), Stepped: r.state.Underway(), Going: r.state.Insecure,
		Looked: r.look.At, Security: r.look.Security, DS: r.look.DS,
	}
	if r.err != nil {
		k.Failed = r.err.Error()
	}
	return k
}

// facts is what a version that is served shows.
type facts struct {
	of      *zone.Zone
	uses    map[uint16]rollover.Use
	cds     []uint16
	delete  bool
	keyTTL  time.Duration
	dataTTL time.Duration
}

// showsNow looks through what is served, once for each version.
func (st *served) showsNow() *facts {
	if st.facts == nil || st.facts.of != st.out {
		st.facts = showing(st.out)
	}
	return st.facts
}

// showing looks through a zone.
func showing(z *zone.Zone) *facts {
	f := &facts{of: z, keyTTL: time.Duration(z.SOA().Hdr.Ttl) * time.Second}
	for n := range z.Nodes() {
		for i := range n.Sets {
			if s := &n.Sets[i]; s.Type != dns.TypeDNSKEY {
				f.dataTTL = max(f.dataTTL, time.Duration(s.TTL)*time.Second)
			}
		}
	}
	apex := z.Node(z.Origin())
	add := func(tag uint16, u rollover.Use) {
		if f.uses == nil {
			f.uses = map[uint16]rollover.Use{}
		}
		f.uses[tag] |= u
	}
	for i := range apex.Sets {
		for _, rr := range apex.Sets[i].RRs {
			switch r := rr.(type) {
			case *dns.DNSKEY:
				f.keyTTL = time.Duration(r.Hdr.Ttl) * time.Second
				if tag, err := dnssec.Tag(r); err == nil {
					add(tag, rollover.InSet)
				}
			case *dns.RRSIG:
				switch r.TypeCovered {
				case dns.TypeDNSKEY:
					add(r.KeyTag, rollover.SignsKeys)
				case dns.TypeSOA:
					add(r.KeyTag, rollover.SignsData)
				}
			case *dns.CDS:
				if f.delete = r.Algorithm == 0; !f.delete && !slices.Contains(f.cds, r.KeyTag) {
					f.cds = append(f.cds, r.KeyTag)
				}
			}
		}
	}
	slices.Sort(f.cds)
	return f
}

// showsPlan reports whether what is served is signed as the plan says.
func (f *facts) showsPlan(p *rollover.Plan) bool {
	cds := slices.Sorted(slices.Values(p.CDS))
	return maps.Equal(f.uses, p.Uses) && slices.Equal(f.cds, cds) && f.delete == p.Delete
}

// outside are the keys that sign without being in the set.
func outside(uses map[uint16]rollover.Use) []uint16 {
	var tags []uint16
	for tag, u := range uses {
		if u&rollover.InSet == 0 {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

// signers are the keys as the signer takes them.
func (r *rolling) signers() ([]dnssec.Key, error) {
	var keys []dnssec.Key
	for _, tag := range slices.Sorted(maps.Keys(r.plan.Uses)) {
		k, ok := r.keys[tag]
		if !ok {
			return nil, fmt.Errorf("dnssec key %d is gone", tag)
		}
		k.Key.Use = dnssec.Use(r.plan.Uses[tag]) // the same bits
		keys = append(keys, k.Key)
	}
	return keys, nil
}

// ask is what the parent is asked for.
func (r *rolling) ask() signer.Ask {
	a := signer.Ask{Withdraw: r.plan.Delete}
	for _, tag := range r.plan.CDS {
		if k, ok := r.keys[tag]; ok {
			a.Keys = append(a.Keys, k.Key)
		}
	}
	return a
}
