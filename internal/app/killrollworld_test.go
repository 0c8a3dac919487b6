package app

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/attest"
	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver/validate"
	"postern/internal/dns/rollover"
	"postern/internal/dns/zone"
)

// rolledWorld is a process with its files, the parent of its zone, and caches.
// What is exported is kept in a file, and true whenever the process dies.
type rolledWorld struct {
	Now      time.Time
	Parent   []string // its DS set
	Sets     []rolledSet
	Versions []rolledVersion
	Served   map[string]uint32 // by view
	Before   []uint16          // all keys before the roll
	First    []uint16          // those of them that are replaced

	t       *testing.T
	dir     string
	kind    string
	a       *authority.Authority
	ring    *keyring.Ring
	checked map[string]bool // what was held against each other

	mu     sync.Mutex // guards what is exported, and what follows
	looked time.Time  // when the parent was asked last
}

// rolledSet is a DS set that the parent had, until then.
type rolledSet struct {
	DS    []string
	Until time.Time // zero: it has it
}

// rolledVersion is what a version of the zone says, as outsiders see it.
type rolledVersion struct {
	Serial     uint32
	Keys, Data []string
	Until      time.Time // when it was no longer served; zero: it is
}

var city, _ = name.Parse("city.example")

const (
	cityTTL = time.Hour // of everything in it
	cityDS  = 2 * time.Hour
)

func newRolledWorld(t *testing.T, dir, kind string) *rolledWorld {
	t.Helper()
	for path, text := range map[string]string{"external": rolledCity, "internal": "intranet 300 A 10.0.0.2\n"} {
		path = filepath.Join(dir, path, "city.example.zone")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := &rolledWorld{t: t, dir: dir, kind: kind, Now: time.Now().Truncate(time.Second), Served: map[string]uint32{}, checked: map[string]bool{}}
	w.Sets = []rolledSet{{}}
	w.keep()
	return w
}

func readRolledWorld(t *testing.T, dir, kind string) *rolledWorld {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "world"))
	if err != nil {
		t.Fatal(err)
	}
	w := &rolledWorld{t: t, dir: dir, kind: kind, checked: map[string]bool{}}
	if err := json.Unmarshal(text, w); err != nil {
		t.Fatal(err)
	}
	return w
}

// keep writes the world down.
func (w *rolledWorld) keep() {
	text, err := json.Marshal(w)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "world"), text, 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// open starts the owner of the zones over the files.
func (w *rolledWorld) open(fault func(atomicfile.Step) error) {
	w.t.Helper()
	writer := atomicfile.Writer{Fault: fault}
	var err error
	if w.ring, err = keyring.OpenWith(filepath.Join(w.dir, "keys"), writer); err != nil {
		w.t.Fatal(err)
	}
	if problems := w.ring.Problems(); len(problems) > 0 {
		w.t.Errorf("keys: %v", problems)
	}
	how := rolled[w.kind]
	policy := authority.SignPolicy{
		Name: "p", Model: how.model, Algorithm: dnssec.ECDSAP256SHA256, Denial: how.denial, ZONEMD: true,
		Roll: authority.RollPolicy{CDS: true, Standby: standsBy(w.kind)},
	}
	if how.change && len(w.First) > 0 {
		policy.Algorithm = dnssec.ED25519
	}
	began := w.Now
	c := authority.Config{
		StateDir: filepath.Join(w.dir, "state"), Writer: writer, Keys: w.ring, Sign: &policy, Now: w.now, Poll: -1, Settle: time.Millisecond,
		Up: func() time.Duration { return w.now().Sub(began) }, Parent: w.asked,
		Views: []authority.ViewConfig{
			{Name: "internal", Dir: filepath.Join(w.dir, "internal"), Overlay: "external"},
			{Name: "external", Dir: filepath.Join(w.dir, "external")},
		},
	}
	c.Changed = func(_ name.Name, view string, serial uint32) { w.changed(view, serial) }
	if w.a, err = authority.New(c); err != nil {
		w.t.Fatal(err)
	}
	if err := w.a.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.look()
}

func (w *rolledWorld) stop() {
	w.t.Helper()
	if err := w.a.Stop(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *rolledWorld) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Now
}

func (w *rolledWorld) set(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Now = now
	w.keep()
}

// asked is a look at the parent.
func (w *rolledWorld) asked(context.Context, name.Name) (authority.Parent, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looked = w.Now
	p := authority.Parent{At: w.Now, Security: rollover.Insecure}
	for _, rr := range w.records(w.Parent) {
		p.Security, p.DS = rollover.Secure, append(p.DS, rr.(*dns.DS))
	}
	return p, nil
}

func (w *rolledWorld) records(texts []string) []dns.RR {
	var all []dns.RR
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, rr)
	}
	return all
}

// changed takes what is served now.
func (w *rolledWorld) changed(view string, serial uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if was, ok := w.Served[view]; ok && was != serial && !zone.SerialLess(was, serial) {
		w.t.Errorf("view %s has serial %d after %d", view, serial, was)
	}
	w.Served[view] = serial
	if view == "external" {
		if n := len(w.Versions); n > 0 {
			w.Versions[n-1].Until = w.Now
		}
		z, _ := w.a.Content(city, view)
		if z == nil || z.Serial() != serial {
			w.t.Errorf("readers do not see serial %d: %v", serial, z)
			return
		}
		v := rolledVersion{Serial: serial, Keys: setText(z, city, dns.TypeDNSKEY)}
		www, _ := name.Parse("www.city.example")
		v.Data = slices.Concat(setText(z, city, dns.TypeSOA), setText(z, city, dns.TypeCDS), setText(z, www, dns.TypeA))
		w.Versions = append(w.Versions, v)
	}
	w.keep()
}

// setText is a set with its signatures, as lines.
func setText(z *zone.Zone, at name.Name, rtype uint16) []string {
	var all []string
	n := z.Node(at)
	if set := n.Set(rtype); set != nil {
		for _, rr := range set.RRs {
			all = append(all, rr.String())
		}
	}
	if sigs := n.Set(dns.TypeRRSIG); sigs != nil {
		for _, rr := range sigs.RRs {
			if rr.(*dns.RRSIG).TypeCovered == rtype {
				all = append(all, rr.String())
			}
		}
	}
	return all
}

// keys is how the keys stand.
func (w *rolledWorld) keys() authority.Keys {
	w.t.Helper()
	all := w.a.Zones()
	if len(all) == 0 || all[0].State != authority.OK || all[0].Keys == nil {
		w.t.Fatalf("%+v", all)
	}
	return *all[0].Keys
}

// settle has everything done that is due, looks at the parent among it.
func (w *rolledWorld) settle() {
	w.t.Helper()
	for range 10_000 {
		if _, err := w.a.Reload(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		k, now := w.keys(), w.now()
		w.mu.Lock()
		looked := w.looked
		w.mu.Unlock()
		if k.Looked.Equal(looked) && k.Ask.After(now) && (k.Wake.IsZero() || k.Wake.After(now)) {
			return
		}
	}
	w.t.Fatalf("it is never content: %+v", w.keys())
}

// pass lets time pass, until done says so.
func (w *rolledWorld) pass(during time.Duration, done func() bool) {
	w.t.Helper()
	w.settle()
	for end := w.now().Add(during); w.now().Before(end) && !done() && !w.t.Failed(); {
		k, at := w.keys(), w.now().Add(6*time.Hour)
		for _, t := range []time.Time{k.Wake, k.Ask} {
			if !t.IsZero() && t.Before(at) {
				at = t
			}
		}
		w.set(at)
		w.settle()
		w.look()
		w.follow()
	}
}

// follow has the parent do what the CDS ask for that outsiders see.
func (w *rolledWorld) follow() {
	w.t.Helper()
	w.mu.Lock()
	var asked []string
	if n := len(w.Versions); n > 0 {
		for _, rr := range w.records(w.Versions[n-1].Data) {
			if cds, ok := rr.(*dns.CDS); ok {
				ds := cds.DS
				ds.Hdr = dns.RR_Header{Name: "city.example.", Rrtype: dns.TypeDS, Class: dns.ClassINET, Ttl: uint32(cityDS / time.Second)}
				asked = append(asked, ds.String())
			}
		}
	}
	w.mu.Unlock()
	if len(asked) > 0 {
		w.delegate(asked)
	}
}

// delegate has the parent have a DS set.
func (w *rolledWorld) delegate(ds []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Equal(ds, w.Parent) {
		return
	}
	w.Sets[len(w.Sets)-1].Until = w.Now
	w.Sets = append(w.Sets, rolledSet{DS: ds})
	w.Parent = ds
	w.keep()
}

// entries is how many DS the parent has of a zone that is left alone.
func (w *rolledWorld) entries() int {
	if standsBy(w.kind) {
		return 2
	}
	return 1
}

// tags are the keys that there are.
func (w *rolledWorld) tags(is func(keyring.Held) bool) []uint16 {
	w.t.Helper()
	held, err := w.ring.Held(city)
	if err != nil {
		w.t.Fatal(err)
	}
	var tags []uint16
	for _, k := range held {
		if is(k) {
			tags = append(tags, k.Tag)
		}
	}
	return tags
}

// willRoll notes what there is before the roll.
func (w *rolledWorld) willRoll() {
	w.t.Helper()
	w.Before = w.tags(func(keyring.Held) bool { return true })
	w.First = w.tags(func(k keyring.Held) bool { return rolled[w.kind].which != rollover.Signers || k.Role == keyring.ZSK })
	if w.kind == "ksk" {
		w.First = w.tags(func(k keyring.Held) bool { return k.Role == keyring.KSK })
	}
	by := w.keys().StandBy
	w.First = slices.DeleteFunc(w.First, func(tag uint16) bool { return slices.Contains(by, tag) })
	w.keep()
}

func (w *rolledWorld) roll() {
	w.t.Helper()
	do := authority.Roll{Zone: "city.example", Which: rolled[w.kind].which, Compromised: rolled[w.kind].atOnce, Who: "test"}
	if rolled[w.kind].change {
		do.Algorithm = dnssec.ED25519
	}
	if err := w.a.Roll(w.t.Context(), do); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// ordered reports whether it is written down of all keys that they shall go.
func (w *rolledWorld) ordered() bool {
	w.t.Helper()
	held, err := w.ring.Held(city)
	if err != nil {
		w.t.Fatal(err)
	}
	return !slices.ContainsFunc(held, func(k keyring.Held) bool {
		goes := slices.ContainsFunc(k.Fields, func(f keyring.Field) bool { return f.Name == "retires" })
		return slices.Contains(w.First, k.Tag) && !goes
	})
}

// begun reports whether the roll has begun.
func (w *rolledWorld) begun() bool {
	w.t.Helper()
	w.settle()
	return !slices.Equal(w.tags(func(keyring.Held) bool { return true }), w.Before)
}

// done reports whether the roll has ended: nothing shows an old key.
func (w *rolledWorld) done() bool {
	w.t.Helper()
	if next := w.keys().Next; !strings.HasPrefix(next, "nothing") && !strings.Contains(next, "is deleted at") || !w.begun() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.Versions[len(w.Versions)-1]
	for _, rr := range w.records(slices.Concat(v.Keys, v.Data, w.Parent)) {
		tag := uint16(0)
		switch r := rr.(type) {
		case *dns.DNSKEY:
			tag = r.KeyTag()
		case *dns.RRSIG:
			tag = r.KeyTag
		case *dns.DS:
			tag = r.KeyTag
		}
		if slices.Contains(w.First, tag) {
			return false
		}
	}
	return true
}

// look judges what is served.
func (w *rolledWorld) look() {
	w.t.Helper()
	held, err := w.ring.Held(city)
	if err != nil {
		w.t.Fatal(err)
	}
	now := w.now()
	for _, view := range []string{"external", "internal"} {
		z, _ := w.a.Content(city, view)
		if z == nil {
			w.t.Fatalf("view %s has no zone: %+v", view, w.a.Zones())
		}
		shown := strings.Join(setText(z, city, dns.TypeDNSKEY), "\n")
		c := attest.Context{ZONEMD: true, Workers: 1}
		for _, k := range held {
			if !strings.Contains(shown, k.Key.DNSKEY.PublicKey) {
				c.Outside = append(c.Outside, k.Key.DNSKEY)
			}
		}
		for _, rr := range w.records(w.Parent) {
			c.DS = append(c.DS, rr.(*dns.DS))
		}
		if problems := attest.Check(z, now, c); len(problems) > 0 {
			w.t.Errorf("view %s: %v", view, problems)
		}
		w.mu.Lock()
		if was, ok := w.Served[view]; ok && was != z.Serial() {
			w.t.Errorf("view %s has serial %d, and told of %d", view, z.Serial(), was)
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	about := func(until time.Time, ttl time.Duration) bool { return until.IsZero() || until.Add(ttl).After(now) }
	for _, set := range w.Sets {
		if !about(set.Until, cityDS) || len(set.DS) == 0 {
			continue
		}
		for _, keys := range w.Versions {
			for _, data := range w.Versions {
				if about(keys.Until, cityTTL) && about(data.Until, cityTTL) {
					w.together(set, keys, data)
				}
			}
		}
	}
}

// together validates data of one version with the keys of another and a DS set,
// by the resolver's validator.
func (w *rolledWorld) together(set rolledSet, keys, data rolledVersion) {
	w.t.Helper()
	what := fmt.Sprint(set.DS, keys.Serial, data.Serial)
	if w.checked[what] {
		return
	}
	w.checked[what] = true
	a := validate.Anchor{Zone: city}
	for _, rr := range w.records(set.DS) {
		a.DS = append(a.DS, rr.(*dns.DS))
	}
	j := validate.New(validate.Limits{Signatures: 1000})
	k, v := j.Keys(a.Trust(), reply("city.example.", dns.TypeDNSKEY, w.records(keys.Keys)), w.Now)
	if v.Security != validate.Secure {
		w.t.Errorf("%s: keys are %s: %s", what, v.Security, v.Reason)
		return
	}
	for _, q := range []struct {
		at    string
		rtype uint16
	}{{"city.example.", dns.TypeSOA}, {"city.example.", dns.TypeCDS}, {"www.city.example.", dns.TypeA}} {
		at, err := name.Parse(q.at)
		if err != nil {
			w.t.Fatal(err)
		}
		m := reply(q.at, q.rtype, w.records(data.Data))
		if len(m.Answer) == 0 {
			continue // no CDS
		}
		if f := j.Set(k, at, q.rtype, m, w.Now); f.Security != validate.Secure {
			w.t.Errorf("%s: %s %s is %s: %s", what, q.at, dns.Type(q.rtype), f.Security, f.Reason)
		}
	}
}

// reply is what of some records answers a question.
func reply(at string, rtype uint16, all []dns.RR) *dns.Msg {
	m := new(dns.Msg).SetQuestion(at, rtype)
	m.Response, m.Authoritative = true, true
	for _, rr := range all {
		sig, is := rr.(*dns.RRSIG)
		if rr.Header().Name == at && (rr.Header().Rrtype == rtype || is && sig.TypeCovered == rtype) {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}
