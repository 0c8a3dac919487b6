package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
	"postern/internal/manage"
)

// moving are policies of zones whose algorithm changes.
const moving = "\n[dnssec.moving]\nalgorithm = \"ecdsap256sha256\"\n" +
	"\n[dnssec.moving-pair]\nalgorithm = \"ecdsap256sha256\"\nkeys = \"ksk+zsk\"\nzsk_lifetime = \"manual\"\ndenial = \"nsec3\"\n"

// TestKeysAreReplaced: a CSK, a KSK and a ZSK, and an algorithm are replaced from
// begin to end, at a parent that follows CDS by BIND's dnssec-cds, with a
// secondary. At each step, and just before each TTL ends, Unbound validates what
// caches hold from before and after.
func TestKeysAreReplaced(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		zones := map[string]string{"one.lab.": "csk-nsec", "pair.lab.": "pair-nsec3", "other.lab.": "moving"}
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			zones["one3.lab."], zones["pair1.lab."], zones["other3.lab."] = "csk-nsec3", "pair-nsec", "moving-pair"
		}
		w := newRolls(l, rollsOf{zones: zones, more: moving})
		w.settle()
		first := w.status()
		w.step(w.clock.Now().Add(time.Minute), true, func() {
			w.reconfigure(`"ecdsap256sha256"`, `"ecdsap384sha384"`)
			for zone, policy := range zones {
				if strings.HasPrefix(policy, "moving") {
					w.roll(zone, "--algorithm", "ecdsap384sha384")
				} else {
					w.roll(zone)
				}
			}
		})
		w.live(true)
		w.replaced(first)
		least := map[string]int{"csk": 5, "pair": 6, "moving": 7}
		for zone, policy := range zones {
			model, _, _ := strings.Cut(policy, "-")
			if w.changed[zone] < least[model] || w.changed[setOf(zone)] < 2 {
				t.Errorf("%s changed too little", zone)
			}
		}
		w.refuses()
	})
}

// replaced wants other keys for all zones than those they had, which may be
// those that stood by, in order.
func (w *rolls) replaced(first map[string]manage.SignedZone) {
	w.l.T().Helper()
	for zone, z := range w.status() {
		for _, k := range z.Keys {
			if slices.ContainsFunc(first[zone].Keys, func(o manage.ZoneKey) bool { return o.Tag == k.Tag && !o.Standby }) {
				w.l.T().Errorf("%s still has key %v", zone, k)
			}
		}
		if len(z.Keys) != len(first[zone].Keys) || z.Parent != manage.ParentDS || len(z.Alarms) > 0 {
			w.l.T().Errorf("%+v", z)
		}
	}
	w.l.T().Logf("%s passed, versions and DS sets %v, %d verdicts", w.clock.Now().Sub(w.began), w.changed, w.judged)
}

// TestKeysAreReplacedAtOnce: somebody else may have the keys. Where others stand
// by, the next version is signed by these; where a roll is half way through, it
// goes on faster. Nothing that caches hold fails in either, and the old keys are
// deleted as soon as they are out of use.
func TestKeysAreReplacedAtOnce(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		under := map[string]string{"under.lab.": "csk-nsec3"}
		stands := map[string]string{"stands.lab.": "pair-nsec-standby"}
		long := os.Getenv("POSTERN_PROVE") != "" // make prove
		if long {
			under["under1.lab."], under["under2.lab."] = "pair-nsec", "pair-nsec3"
			stands["stands1.lab."], stands["stands2.lab."] = "csk-nsec3-standby", "csk-nsec-standby"
		}
		zones := map[string]string{}
		for _, some := range []map[string]string{under, stands} {
			for zone, policy := range some {
				zones[zone] = policy
			}
		}
		w := newRolls(l, rollsOf{zones: zones})
		w.settle()
		first := w.status()
		w.step(w.clock.Now().Add(time.Minute), true, func() {
			for zone := range under {
				w.roll(zone)
			}
		})
		w.next(true) // the moment before what does not exist is forgotten
		w.step(w.clock.Now().Add(time.Minute), true, func() {
			w.compromised(first, zones, stands)
		})
		if long {
			w.next(true)
			w.step(w.clock.Now().Add(time.Minute), true, func() {
				w.roll("stands.lab.", "--compromised") // those that stood by are known too
			})
		}
		w.live(true)
		w.clock.Set(w.clock.Now().Add(2 * dsTTL))
		w.turn(w.clock.Now())
		w.replaced(first)
		w.deleted(first)
	})
}

// compromised says so of the keys of all zones, of which some sign with others
// from then on.
func (w *rolls) compromised(first map[string]manage.SignedZone, zones, stands map[string]string) {
	w.l.T().Helper()
	for zone := range zones {
		if n := len(w.status()[zone].Keys); n <= len(first[zone].Keys) && stands[zone] == "" {
			w.l.T().Errorf("no roll of %s is under way: it has %d keys", zone, n)
		}
		signed := w.signer(zone)
		w.roll(zone, "--compromised")
		if is := w.signer(zone); (is != signed) != (stands[zone] != "") {
			w.l.T().Errorf("%s by policy %s: signed by %d, and before by %d", zone, zones[zone], is, signed)
		}
	}
}

// deleted wants no file of keys that zones had in use.
func (w *rolls) deleted(first map[string]manage.SignedZone) {
	w.l.T().Helper()
	files, err := filepath.Glob(w.edge.Path("state", "keys", "dnssec", "*"))
	if err != nil || len(files) < len(first) {
		w.l.T().Fatal(files, err)
	}
	for zone, z := range first {
		for _, k := range z.Keys {
			for _, file := range files {
				if base := filepath.Base(file); !k.Standby && strings.HasPrefix(base, strings.TrimSuffix(zone, ".")+"+") && strings.HasSuffix(base, fmt.Sprintf("+%05d.key", k.Tag)) {
					w.l.T().Errorf("%s is still there", file)
				}
			}
		}
	}
}

// TestKeysAreReplacedInViews: a zone that the inner network has otherwise has the
// same keys there, by which Unbound and delv validate with the DS that the
// world's parent has; and so does who has its keys from one view and its data
// from the other. The keys of a zone below it, which the inner network alone has,
// are replaced without a change outside, and the other way round.
func TestKeysAreReplacedInViews(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		both := map[string]string{"both.lab.": "pair-nsec"}
		hidden := map[string]string{"in.both.lab.": "csk-nsec3"}
		inside := []string{"both.lab."}
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			both["both3.lab."], both["stands.lab."] = "csk-nsec3", "pair-nsec3-standby"
			hidden["in.both3.lab."] = "pair-nsec"
			inside = append(inside, "both3.lab.", "stands.lab.")
		}
		w := newRolls(l, rollsOf{zones: both, inside: inside, hidden: hidden})
		w.settle()
		first := w.status()
		below := w.countOf(hidden, " inside")
		w.step(w.clock.Now().Add(time.Minute), true, func() {
			for zone, policy := range both {
				if strings.HasSuffix(policy, "standby") {
					w.roll(zone, "--compromised")
				} else {
					w.roll(zone)
				}
			}
		})
		w.live(true)
		if is := w.countOf(hidden, " inside"); is != below {
			t.Errorf("the zones below changed too: %s, and before %s", is, below)
		}
		outside, above := w.countOf(both, ""), w.countOf(both, " inside")
		w.step(w.clock.Now().Add(time.Minute), true, func() {
			for zone := range hidden {
				w.roll(zone)
			}
		})
		w.live(true)
		if is := w.countOf(both, ""); is != outside {
			t.Errorf("the world saw something: %s, and before %s", is, outside)
		}
		if is := w.countOf(both, " inside"); is == above {
			t.Errorf("no DS was derived into the zones above: %s", is)
		}
		w.replaced(first)
		w.refuses()
	})
}

// countOf is how often zones changed, in a view.
func (w *rolls) countOf(zones map[string]string, view string) string {
	counts := map[string]int{}
	for zone := range zones {
		counts[zone] = w.changed[zone+view]
	}
	return fmt.Sprint(counts)
}

// signer is the tag of the key that signs a zone's data.
func (w *rolls) signer(zone string) uint16 {
	w.l.T().Helper()
	m := new(dns.Msg).SetQuestion(zone, dns.TypeSOA)
	m.SetEdns0(1232, true)
	r, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, alphaDNS+":53")
	if err != nil {
		w.l.T().Fatal(err)
	}
	for _, rr := range r.Answer {
		if sig, ok := rr.(*dns.RRSIG); ok {
			return sig.KeyTag
		}
	}
	w.l.T().Fatalf("not signed: %v", r)
	return 0
}
