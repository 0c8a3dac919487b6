package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/secret"
)

// RollArgs says which keys of a zone are to be replaced; without more, all.
type RollArgs struct {
	Zone        string `json:"zone"`
	KSK         bool   `json:"ksk,omitempty"` // those that the parent may point at
	ZSK         bool   `json:"zsk,omitempty"` // those that sign the zone
	Algorithm   string `json:"algorithm,omitempty"`
	Compromised bool   `json:"compromised,omitempty"`
}

// DisableArgs names a zone that is to lose its signatures.
type DisableArgs struct {
	Zone string `json:"zone"`
	Undo bool   `json:"undo,omitempty"`
}

// ImportArgs are files of keys with which another server signs a zone.
type ImportArgs struct {
	Zone  string    `json:"zone"`
	Adopt bool      `json:"adopt,omitempty"`
	Files []KeyFile `json:"files"`
}

// KeyFile is a file as another server keeps it, private keys among them.
type KeyFile struct {
	Name string `json:"name"`
	Text []byte `json:"text"`
}

// Imported says what was taken over.
type Imported struct {
	Zone   string       `json:"zone"`
	Keys   []ZoneKey    `json:"keys"`
	Policy string       `json:"policy,omitempty"` // to be written, where the zone's is another
	Zones  []SignedZone `json:"zones"`            // how the zone stands now
}

func (d *Desk) dnssecRoll(ctx context.Context, a RollArgs) ([]SignedZone, error) {
	if err := isZone(a.Zone); err != nil {
		return nil, err
	}
	do := authority.Roll{Zone: a.Zone, Compromised: a.Compromised, Who: who(ctx)}
	switch {
	case a.KSK && a.ZSK || a.Algorithm != "" && (a.KSK || a.ZSK):
		return nil, &Error{Reason: ReasonUsage, Text: "say ksk, zsk or an algorithm, not several of them", Hint: "without any, all keys are replaced"}
	case a.KSK:
		do.Which = rollover.Entries
	case a.ZSK:
		do.Which = rollover.Signers
	case a.Algorithm != "":
		alg, err := keyring.ParseAlgorithm(a.Algorithm)
		if err != nil {
			return nil, &Error{Reason: ReasonUsage, Text: err.Error(), Hint: "as dnssec.*.algorithm has it"}
		}
		do.Algorithm = alg
	}
	if err := d.cfg.Authority.Roll(ctx, do); err != nil {
		return nil, keysError(err)
	}
	return d.dnssecStatus(ctx, DNSSECArgs{Zone: a.Zone})
}

func (d *Desk) dnssecDisable(ctx context.Context, a DisableArgs) ([]SignedZone, error) {
	if err := isZone(a.Zone); err != nil {
		return nil, err
	}
	if err := d.cfg.Authority.Disable(ctx, a.Zone, a.Undo, who(ctx)); err != nil {
		return nil, keysError(err)
	}
	return d.dnssecStatus(ctx, DNSSECArgs{Zone: a.Zone})
}

func (d *Desk) dnssecImport(ctx context.Context, a ImportArgs) (Imported, error) {
	if err := isZone(a.Zone); err != nil {
		return Imported{}, err
	}
	n, _ := name.Parse(a.Zone) // isZone has tried
	var sources []keyring.Source
	for _, f := range a.Files {
		sources = append(sources, keyring.Source{Name: f.Name, Text: secret.New(f.Text)})
	}
	if len(sources) == 0 {
		return Imported{}, &Error{Reason: ReasonUsage, Text: "no files of keys", Hint: "such as Kcity.example.+013+12345.private"}
	}
	take := func() ([]dnssec.Key, error) { return d.cfg.Keys.Import(n, d.cfg.Now(), sources...) }
	keys, err := d.cfg.Authority.Import(ctx, authority.Import{Zone: a.Zone, Adopt: a.Adopt, Who: who(ctx), Take: take})
	if err != nil {
		return Imported{}, keysError(err)
	}
	done := Imported{Zone: n.String(), Keys: []ZoneKey{}, Zones: []SignedZone{}}
	for _, k := range keys {
		done.Keys = append(done.Keys, d.describe(k))
	}
	done.Policy = d.policyLike(n, done.Keys)
	if zones, err := d.dnssecStatus(ctx, DNSSECArgs{Zone: a.Zone}); err == nil { // it may have no file yet
		done.Zones = zones
	}
	return done, nil
}

// policyLike is the table that a zone's keys need, where its policy is another;
// "" where it fits.
func (d *Desk) policyLike(n name.Name, keys []ZoneKey) string {
	if len(keys) == 0 {
		return ""
	}
	for _, s := range d.cfg.Authority.Zones() {
		differs := func(a rollover.Alarm) bool { return a.Reason == rollover.ReasonPolicy }
		if of, err := name.Parse(s.Zone); err == nil && of == n && s.Keys != nil && !slices.ContainsFunc(s.Keys.Alarms, differs) {
			return ""
		}
	}
	model := "csk"
	if slices.ContainsFunc(keys, func(k ZoneKey) bool { return k.Role == keyring.ZSK.String() }) {
		model = "ksk+zsk"
	}
	zone := strings.TrimSuffix(n.String(), ".")
	return fmt.Sprintf("[zone.%q]\ndnssec = \"imported\"\n\n[dnssec.imported]\nalgorithm = %q\nkeys = %q\n", zone, keys[0].Algorithm, model)
}

// keysError words what is not done about keys.
func keysError(err error) error {
	var declined *authority.Declined
	if !errors.As(err, &declined) {
		return &Error{Reason: ReasonFailed, Text: err.Error(), Hint: "postern dnssec status says how the zone stands"}
	}
	e := &Error{Reason: declined.Reason, Text: "nothing changed: " + declined.Detail, Hint: "postern dnssec status says how the zone stands"}
	switch declined.Reason {
	case authority.ReasonUnsigned:
		e.Hint = "postern help dnssec says how to sign it"
	case authority.ReasonUnder:
		e.Hint = "postern dnssec status says what it waits for; --compromised does not wait for it"
	}
	return e
}

// ParentOf words what the parent was seen to have; "" of a zone without keys.
func ParentOf(k *authority.Keys) string {
	if k == nil {
		return ""
	}
	orphans := slices.ContainsFunc(k.Alarms, func(a rollover.Alarm) bool { return a.Reason == rollover.ReasonOrphanDS })
	switch {
	case k.Security == rollover.Bogus:
		return ParentBogus
	case orphans:
		return ParentOther
	case len(k.DS) > 0:
		return ParentDS
	case k.Security == rollover.Insecure:
		return ParentNone
	}
	return ParentUnknown
}
