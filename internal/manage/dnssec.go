package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/zone"
)

// ExportArgs names a zone in a view, and in which form it is wanted.
type ExportArgs struct {
	Zone    string `json:"zone"`
	View    string `json:"view,omitempty"`    // may be left out where one view has the zone
	Signed  bool   `json:"signed,omitempty"`  // with what signing it made
	Dynamic bool   `json:"dynamic,omitempty"` // only what updates changed
	From    string `json:"from,omitempty"`    // a ZonePage's Next: what comes after it
}

// ZonePage is a zone as text, or a part of one: what does not fit one reply is
// asked for page by page.
type ZonePage struct {
	Text   string `json:"text"`
	Serial uint32 `json:"serial,omitempty"` // pages of different serials are not of one zone
	Next   string `json:"next,omitempty"`   // where the next page begins; "": this is the last
}

// DNSSECArgs names a zone; "" stands for all.
type DNSSECArgs struct {
	Zone string `json:"zone,omitempty"`
}

// Signing is a word for how a zone is signed.
type Signing string

// The ways.
const (
	Unsigned  Signing = "unsigned"
	Presigned Signing = "presigned" // by its file
	SignedBy  Signing = "signed"    // by Postern
)

// SignedZone is how one zone in one view is signed.
type SignedZone struct {
	Zone    string    `json:"zone"`
	View    string    `json:"view"`
	Signing Signing   `json:"signing"`
	Policy  string    `json:"policy,omitempty"`
	Keys    []ZoneKey `json:"keys"`
	Expires time.Time `json:"expires,omitzero"` // the first signature
	Renews  time.Time `json:"renews,omitzero"`  // when signatures are made anew
	Reason  string    `json:"reason,omitempty"` // why the newest content is not what is signed
	Problem string    `json:"problem,omitempty"`

	Next   string    `json:"next,omitempty"`   // what happens to the keys next
	Alarms []string  `json:"alarms,omitempty"` // what somebody should look after, with its reason word in front
	Parent string    `json:"parent,omitempty"` // what the parent has: see ParentDS
	Looked time.Time `json:"looked,omitzero"`  // when that was seen
	Asks   time.Time `json:"asks,omitzero"`    // when the parent is looked at next
	Wakes  time.Time `json:"wakes,omitzero"`   // when the keys are, at the latest
}

// ParentDS are the words for what the parent of a signed zone has.
const (
	ParentDS      = "ds"      // a DS of a key that signs the zone
	ParentNone    = "none"    // no DS: the zone is not validated
	ParentOther   = "other"   // a DS that leads nowhere
	ParentBogus   = "bogus"   // what it says does not validate
	ParentUnknown = "unknown" // it was not asked, or nobody answered
)

// ParentStates are all of these words.
func ParentStates() []string {
	return []string{ParentDS, ParentNone, ParentOther, ParentBogus, ParentUnknown}
}

// Failed reports whether the zone cannot be signed as it should be.
func (z SignedZone) Failed() bool {
	switch z.Reason {
	case authority.ReasonSign, authority.ReasonAttest, rollover.ReasonOrphanDS, rollover.ReasonParentBogus:
		return true
	}
	return false
}

// ZoneKey is a key of a zone, without its private half.
type ZoneKey struct {
	Role      string `json:"role"` // csk, ksk, zsk
	Algorithm string `json:"algorithm"`
	Tag       uint16 `json:"tag"`
	Standby   bool   `json:"standby,omitempty"` // it takes the place of another at once
}

// String returns the key as one word for people.
func (k ZoneKey) String() string {
	word := fmt.Sprintf("%s/%s/%d", k.Role, k.Algorithm, k.Tag)
	if k.Standby {
		word += "/standby"
	}
	return word
}

// Delegation is what the parent of a signed zone is told.
type Delegation struct {
	Zone   string       `json:"zone"`
	Keys   []Introduced `json:"keys"`
	Behind []string     `json:"behind"`          // secondaries that may not serve the signed zone yet
	Wait   string       `json:"wait,omitempty"`  // why it is too early
	Above  []string     `json:"above,omitempty"` // zones here into which the DS is derived
}

// Introduced is a key that the parent may point at.
type Introduced struct {
	Key    ZoneKey  `json:"key"`
	DS     []string `json:"ds"` // one of them is enough; the first is the one everybody takes
	DNSKEY string   `json:"dnskey"`
	Text   string   `json:"text"` // both as lines of a zone file, with comments
}

func (d *Desk) dnssecStatus(_ context.Context, a DNSSECArgs) ([]SignedZone, error) {
	zones := []SignedZone{}
	only := name.Name("")
	if a.Zone != "" {
		if err := isZone(a.Zone); err != nil {
			return nil, err
		}
		only, _ = name.Parse(a.Zone) // isZone has tried
	}
	for _, s := range d.cfg.Authority.Zones() {
		n, err := name.Parse(s.Zone)
		if err != nil {
			return nil, fmt.Errorf("zone %q: %w", s.Zone, err)
		}
		if only == "" || n == only {
			zones = append(zones, d.signingOf(n, s))
		}
	}
	if only != "" && len(zones) == 0 {
		return nil, &Error{Reason: ReasonUnknown, Text: fmt.Sprintf("zone %s: %v", only, authority.ErrNoZone), Hint: "postern zone list shows those that are served"}
	}
	return zones, nil
}

// signingOf tells how the zone is signed that s is about.
func (d *Desk) signingOf(n name.Name, s authority.Status) SignedZone {
	row := SignedZone{
		Zone: s.Zone, View: s.View, Signing: Unsigned, Policy: s.Policy, Keys: []ZoneKey{},
		Expires: s.Expires, Renews: s.Renews, Reason: s.Reason,
	}
	for _, p := range s.Problems {
		if p.Code == s.Reason {
			row.Problem = p.Message
			break
		}
	}
	if k := s.Keys; k != nil {
		row.Next, row.Parent, row.Looked, row.Asks, row.Wakes = k.Next, ParentOf(k), k.Looked, k.Ask, k.Wake
		for _, a := range k.Alarms {
			row.Alarms = append(row.Alarms, a.Reason+": "+a.Text)
		}
		if k.Failed != "" {
			row.Alarms = append(row.Alarms, "keys-failed: "+k.Failed)
		}
	}
	z, _ := d.cfg.Authority.Content(n, s.View)
	if z == nil {
		return row
	}
	signed := z.Node(z.Origin()).Set(dns.TypeRRSIG)
	switch {
	case s.Policy != "":
		row.Signing = SignedBy
	case signed != nil:
		row.Signing = Presigned
	}
	for _, k := range keysOf(z) {
		key := d.describe(k)
		key.Standby = s.Keys != nil && slices.Contains(s.Keys.StandBy, k.Tag)
		row.Keys = append(row.Keys, key)
	}
	return row
}

// keysOf are the keys that a zone shows.
func keysOf(z *zone.Zone) []dnssec.Key {
	var keys []dnssec.Key
	set := z.Node(z.Origin()).Set(dns.TypeDNSKEY)
	if set == nil {
		return nil
	}
	for _, rr := range set.RRs {
		k, ok := rr.(*dns.DNSKEY)
		if !ok {
			continue
		}
		tag, err := dnssec.Tag(k)
		if err != nil {
			continue // of a presigned file; nobody can use it
		}
		keys = append(keys, dnssec.Key{Zone: z.Origin(), Flags: k.Flags, Alg: k.Algorithm, Tag: tag, DNSKEY: k})
	}
	return keys
}

// describe words a key. Its role is known where it is ours; else the flags say
// what it is for.
func (d *Desk) describe(k dnssec.Key) ZoneKey {
	role := keyring.ZSK
	if k.SEP() {
		role = keyring.KSK
	}
	for _, ours := range d.cfg.Keys.List() {
		if ours.Zone == k.Zone && ours.Tag == k.Tag && ours.Alg == k.Alg {
			role = ours.Role
		}
	}
	return ZoneKey{Role: role.String(), Algorithm: keyring.AlgorithmName(k.Alg), Tag: k.Tag}
}

// signsIt reports whether Postern signed the zone in that view.
func (d *Desk) signsIt(n name.Name, view string) bool {
	signs := false
	for _, s := range d.cfg.Authority.Zones() {
		if of, err := name.Parse(s.Zone); err != nil || of != n {
			continue
		}
		if s.View == view {
			return s.Policy != ""
		}
		signs = signs || s.Policy != "" // a view that shows it as the one below has no line of its own
	}
	return signs
}

// dnssecDS tells of the keys that are served, not of those on disk: a DS of a
// key that nobody can see makes the zone bogus. All views that show the zone
// must show the same keys, since outsiders and insiders find one DS.
func (d *Desk) dnssecDS(_ context.Context, r ZoneRef) (Delegation, error) {
	z, err := d.shown(r)
	if err != nil {
		return Delegation{}, err
	}
	to := Delegation{Zone: z.Origin().String(), Keys: []Introduced{}, Behind: []string{}}
	wanted, going := d.wanted(z.Origin())
	if going {
		return Delegation{}, &Error{Reason: ReasonNotThere, Text: fmt.Sprintf("zone %s loses its signatures: the parent must have no DS", to.Zone), Hint: "postern dnssec status says how far it is"}
	}
	if wanted != nil && len(wanted) == 0 {
		to.Wait = "caches may still have the zone unsigned; postern dnssec status says until when"
	}
	for _, k := range keysOf(z) {
		if !k.SEP() || len(wanted) > 0 && !slices.Contains(wanted, k.Tag) {
			continue
		}
		told, err := keyring.Delegate(k)
		if err != nil {
			return Delegation{}, err
		}
		row := Introduced{Key: d.describe(k), DNSKEY: record(told.DNSKEY), Text: told.String()}
		for _, ds := range told.DS {
			row.DS = append(row.DS, record(ds))
		}
		to.Keys = append(to.Keys, row)
	}
	if len(to.Keys) == 0 || z.Node(z.Origin()).Set(dns.TypeRRSIG) == nil {
		return Delegation{}, &Error{
			Reason: ReasonNotThere, Text: fmt.Sprintf("zone %s is not signed: a DS would make it bogus", to.Zone),
			Hint: "postern help dnssec says how to sign it",
		}
	}
	to.Above = d.derivedInto(to.Zone)
	for _, s := range d.cfg.Secondaries.List() {
		if s.Zone == to.Zone && s.State != SecondaryOK && (r.View == "" || s.View == r.View) {
			to.Behind = append(to.Behind, fmt.Sprintf("%s %s is %s", s.Peer, s.Address, s.State))
		}
	}
	return to, nil
}

// derivedInto names the zones that have a DS of the zone which nobody wrote.
func (d *Desk) derivedInto(zone string) []string {
	var all []string
	for _, s := range d.cfg.Authority.Zones() {
		if slices.ContainsFunc(s.Derived, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeDS && rr.Header().Name == zone }) {
			all = append(all, fmt.Sprintf("%s view %s", s.Zone, s.View))
		}
	}
	return all
}

// wanted are the keys whose DS belong at the parent, as far as Postern signs the
// zone; nil where it does not. It also tells whether the zone loses its
// signatures.
func (d *Desk) wanted(n name.Name) (tags []uint16, going bool) {
	for _, s := range d.cfg.Authority.Zones() {
		if of, err := name.Parse(s.Zone); err == nil && of == n && s.Keys != nil && s.Policy != "" {
			return append([]uint16{}, s.Keys.Wanted...), s.Keys.Going
		}
	}
	return nil, false
}

// shown returns the zone in the view that is meant; without one, in any, where
// all show the same keys.
func (d *Desk) shown(r ZoneRef) (*zone.Zone, error) {
	if r.View != "" {
		return d.served(r.Zone, r.View)
	}
	if err := isZone(r.Zone); err != nil {
		return nil, err
	}
	n, _ := name.Parse(r.Zone) // isZone has tried
	var first *zone.Zone
	var of string
	for _, s := range d.cfg.Authority.Zones() {
		at, err := name.Parse(s.Zone)
		if err != nil || at != n {
			continue
		}
		z, _ := d.cfg.Authority.Content(n, s.View)
		switch {
		case z == nil:
			continue
		case first == nil:
			first, of = z, s.View
		case !sameKeys(keysOf(first), keysOf(z)):
			return nil, &Error{
				Reason: ReasonUsage, Text: fmt.Sprintf("zone %s shows other keys in view %q than in view %q: with one DS one of them is bogus", n, s.View, of),
				Hint: "sign both alike, or say which is meant with --view",
			}
		}
	}
	if first == nil {
		return nil, &Error{Reason: ReasonUnknown, Text: fmt.Sprintf("zone %s: %v", n, authority.ErrNoZone), Hint: "postern zone list shows those that are served"}
	}
	return first, nil
}

// sameKeys compares what the parent would point at.
func sameKeys(a, b []dnssec.Key) bool {
	words := func(keys []dnssec.Key) []string {
		var all []string
		for _, k := range keys {
			if k.SEP() {
				all = append(all, fmt.Sprint(k.Alg, k.Tag, k.DNSKEY.PublicKey))
			}
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(words(a), words(b))
}

// record is a record as a line with single blanks.
func record(rr dns.RR) string { return strings.Join(strings.Fields(rr.String()), " ") }
