package manage

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/contrast"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/xfr"
	"postern/internal/dns/zone"
)

// CompareArgs names a zone in a view and who else has it.
type CompareArgs struct {
	Zone    string `json:"zone"`
	View    string `json:"view,omitempty"` // may be left out where one view has the zone
	Against string `json:"against"`        // ADDRESS, or ADDRESS:PORT
	Key     string `json:"key,omitempty"`  // the TSIG key that our requests are signed with, and their answers
	Signed  bool   `json:"signed,omitempty"`
}

// Comparison is what a zone has beside the same zone elsewhere. Of records and
// sets the first thousand of each kind are listed.
type Comparison struct {
	Zone    string `json:"zone"`
	View    string `json:"view,omitempty"`
	Against string `json:"against"`
	Equal   bool   `json:"equal"`

	Transfer    bool   `json:"transfer"`               // all that is there was seen; else it was asked for
	NotTransfer string `json:"not_transfer,omitempty"` // why
	Asked       int    `json:"asked,omitempty"`        // questions

	HereSerial  uint32 `json:"here_serial"`
	ThereSerial uint32 `json:"there_serial"`

	OnlyHere  int      `json:"only_here"`
	OnlyThere int      `json:"only_there"`
	Same      int      `json:"same"`
	Unseen    int      `json:"unseen,omitempty"` // records here of which it is not known whether they are there
	Here      []string `json:"here"`
	There     []string `json:"there"`
	OtherTTLs int      `json:"other_ttls"`
	TTLs      []SetTTL `json:"ttls"`
	Open      []string `json:"unanswered,omitempty"` // OWNER TYPE: why

	HereMade  SigningMade `json:"here_signing"` // not compared, unless that was asked for
	ThereMade SigningMade `json:"there_signing"`
}

// SetTTL is a set that has another TTL there.
type SetTTL struct {
	Owner string `json:"owner"`
	Type  string `json:"type"`
	Here  uint32 `json:"here"`
	There uint32 `json:"there"`
}

// SigningMade is what signing made of a zone, as far as it was seen.
type SigningMade struct {
	Records int      `json:"records"`
	Keys    []string `json:"keys"` // ALGORITHM/TAG
}

// Others asks other name servers what they have.
type Others interface {
	// See finds out what a server has of z: by a transfer, or if it gives none
	// by questions, where ask allows that.
	See(ctx context.Context, z *zone.Zone, server netip.AddrPort, key name.Name, ask bool) (*contrast.Seen, error)
}

// mostListed bounds what a Comparison lists of each kind.
const mostListed = 1000

func (d *Desk) zoneCompare(ctx context.Context, a CompareArgs) (Comparison, error) {
	z, err := d.served(a.Zone, a.View)
	if err != nil {
		return Comparison{}, err
	}
	server, err := serverAt(a.Against)
	if err != nil {
		return Comparison{}, err
	}
	key := name.Name("")
	if a.Key != "" {
		if key, err = name.Parse(strings.ToLower(a.Key)); err != nil {
			return Comparison{}, &Error{Reason: ReasonUsage, Text: fmt.Sprintf("key %q: %v", a.Key, err), Hint: "postern key list shows those there are"}
		}
	}
	seen, err := d.cfg.Others.See(ctx, z, server, key, !a.Signed)
	if err != nil {
		return Comparison{}, unseen(z.Origin(), server, a, err)
	}
	c, err := contrast.Of(z, seen, a.Signed)
	if err != nil {
		return Comparison{}, fmt.Errorf("compare zone %s: %w", z.Origin(), err)
	}
	if views := d.viewsOf(a.Zone); a.View == "" && len(views) == 1 {
		a.View = views[0]
	}
	return comparison(z, server, a.View, seen, c), nil
}

// serverAt reads an address with or without a port.
func serverAt(text string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil && at.Port() != 0 && at.Addr().Zone() == "" {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, &Error{Reason: ReasonUsage, Text: fmt.Sprintf("%q is not the address of a server", text), Hint: "such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53"}
	}
	return netip.AddrPortFrom(addr.Unmap(), 53), nil
}

// unseen words why nothing could be compared.
func unseen(zone name.Name, server netip.AddrPort, a CompareArgs, err error) error {
	e := &Error{Reason: ReasonFailed, Text: fmt.Sprintf("zone %s at %s was not seen: %v", zone, server, err)}
	var f *xfr.Fault
	switch errors.As(err, &f); {
	case errors.Is(err, xfr.ErrBusy):
		return &Error{Reason: ReasonFailed, Text: err.Error(), Hint: "try again when that is done"}
	case errors.Is(err, tsig.ErrUnknown) && a.Key != "":
		return &Error{Reason: ReasonUsage, Text: fmt.Sprintf("the configuration has no key %s", a.Key), Hint: "postern key list shows those there are"}
	case f == nil:
		e.Hint = "have the other server let this one transfer the zone"
	case f.Reason == xfr.Silent:
		e.Hint = "is that its address, and is there a firewall between?"
	case f.Reason == xfr.NotAuthority:
		e.Hint = "name a server that has the zone: a resolver knows only what it was asked for"
	case f.Reason == xfr.KeyRefused, f.Reason == xfr.BadSignature, f.Reason == xfr.Unsigned:
		e.Hint = "both sides need the key with the same name, algorithm and secret"
	case f.Reason == xfr.BadTime:
		e.Hint = "set the clocks of both right"
	case a.Signed:
		e.Hint = "--signed needs a transfer: have the other server allow it, or name its --key"
	default:
		e.Hint = "does it serve this zone, to whoever asks from here?"
	}
	return e
}

func comparison(z *zone.Zone, server netip.AddrPort, view string, seen *contrast.Seen, c *contrast.Contrast) Comparison {
	all := Comparison{
		Zone: z.Origin().String(), View: view, Against: server.String(), Equal: c.Equal() && len(seen.Open) == 0,
		Transfer: seen.Refused == nil, Asked: seen.Asked,
		HereSerial: z.Serial(), ThereSerial: seen.SOA.Serial,
		OnlyHere: len(c.Here), OnlyThere: len(c.There), Same: c.Same, Unseen: c.Unseen, OtherTTLs: len(c.TTLs),
		Here: records(c.Here), There: records(c.There), TTLs: []SetTTL{},
		HereMade: madeOf(c.HereMade), ThereMade: madeOf(c.ThereMade),
	}
	if seen.Refused != nil {
		all.NotTransfer = seen.Refused.Error()
	}
	for _, t := range c.TTLs[:min(mostListed, len(c.TTLs))] {
		all.TTLs = append(all.TTLs, SetTTL{t.Owner, dns.Type(t.Type).String(), t.Here, t.There})
	}
	for _, o := range seen.Open[:min(mostListed, len(seen.Open))] {
		all.Open = append(all.Open, fmt.Sprintf("%s %s: %v", o.Name, dns.Type(o.Type), o.Why))
	}
	return all
}

func records(rrs []dns.RR) []string {
	texts := []string{}
	for _, rr := range rrs[:min(mostListed, len(rrs))] {
		texts = append(texts, record(rr))
	}
	return texts
}

func madeOf(m contrast.Made) SigningMade {
	made := SigningMade{Records: m.Records, Keys: []string{}}
	for _, k := range m.Keys {
		if tag, err := dnssec.Tag(k); err == nil {
			made.Keys = append(made.Keys, fmt.Sprintf("%s/%d", keyring.AlgorithmName(k.Algorithm), tag))
		}
	}
	slices.Sort(made.Keys)
	return made
}
