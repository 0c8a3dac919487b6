package lab_test

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// keeper is caches that hold what they have as long as they may, but for some
// sets, of which they have the newest.
type keeper struct {
	*lab.Cache
	name   string
	view   string // that they ask
	newest []uint16
	away   string // the view that those ask of whom new names are asked for; "": the same
}

// keepers are one for each combination of old and new that a step may meet. The
// inner network has its own, and some who come from there, or go there, have
// keys of one view and data of the other.
func (w *rolls) keepers() {
	w.l.T().Helper()
	add := func(k keeper, network string) {
		n := 60 + 2*len(w.kept)
		k.Cache = w.tree.Cache(k.name, fmt.Sprint(network, n), fmt.Sprint(network, n+1), w.servers(k.view, k.away != ""))
		w.kept = append(w.kept, k)
	}
	all := [][]uint16{nil, {dns.TypeDNSKEY}, {dns.TypeDS}, {dns.TypeDS, dns.TypeDNSKEY}}
	for _, newest := range all {
		name := "old"
		for _, rtype := range newest {
			name += "-new-" + dns.TypeToString[rtype]
		}
		add(keeper{name: name, view: "external", newest: newest}, "192.0.2.")
	}
	if !slices.ContainsFunc(w.sides, func(s rollSide) bool { return s.view == "internal" }) {
		return
	}
	add(keeper{name: "inside-old", view: "internal"}, "10.0.0.")
	add(keeper{name: "inside-new-DS-new-DNSKEY", view: "internal", newest: all[3]}, "10.0.0.")
	add(keeper{name: "goes-in", view: "external", away: "internal"}, "192.0.2.")
	add(keeper{name: "goes-out", view: "internal", away: "external"}, "192.0.2.")
}

// servers are where a cache in a view asks for its zones. Who comes from outside
// can ask the inner secondary alone.
func (w *rolls) servers(view string, stranger bool) map[string][]string {
	all := map[string][]string{}
	for _, s := range w.sides {
		if s.view == view && view == "internal" {
			all[s.zone] = []string{s.theirs}
			if !stranger {
				all[s.zone] = []string{s.ours, s.theirs}
			}
		}
	}
	return all
}

// has are the sides that a keeper asks for.
func (w *rolls) has(k keeper) (all []rollSide) {
	for _, s := range w.sides {
		if s.view == k.view && (k.away == "" || !w.hidden[s.zone] && len(w.servers("internal", true)[s.zone]) > 0) {
			all = append(all, s)
		}
	}
	return all
}

// keep has caches ask for what may soon be others', so that it is as fresh as
// can be, unless they still hold what was there before an earlier change.
func (w *rolls) keep() {
	w.l.T().Helper()
	w.warm++
	now := w.clock.Now()
	for _, k := range w.kept {
		for _, s := range w.has(k) {
			if now.After(w.until[s.String()]) {
				k.Forget(s.zone, dns.TypeDNSKEY, dns.TypeSOA)
			}
			if now.After(w.until[setOf(s.zone)]) {
				k.Forget(s.zone, dns.TypeDS)
			}
			for _, rtype := range []uint16{dns.TypeDS, dns.TypeDNSKEY, dns.TypeSOA} {
				k.Ask(s.zone, rtype)
			}
			for _, q := range append(always(s.zone), once(s.zone, fmt.Sprintf("kept%d", w.warm))...) {
				k.Ask(q.Name, q.Qtype)
			}
		}
	}
	for _, s := range w.outside() {
		for _, q := range append(always(s.zone), once(s.zone, fmt.Sprintf("kept%d", w.warm))...) {
			w.tree.Unbound(q.Name, q.Qtype)
		}
	}
}

// outside are the zones as the world has them.
func (w *rolls) outside() (all []rollSide) {
	for _, s := range w.sides {
		if s.view == "external" {
			all = append(all, s)
		}
	}
	return all
}

// always are questions for what is always the same.
func always(zone string) []dns.Question {
	return questions(zone, "www A", "b.ent A", "cut DS", "safe DS", "mIxEd.cAsE TXT", `dot\.in\.it TXT`, "vault A", "dn DNAME")
}

// once are questions for names that nobody asked for before.
func once(zone, word string) []dns.Question {
	return questions(zone, word+".wild A", word+" A", word+".www TXT", word+".wild MX", word+".b.ent A")
}

// below is one for a name below a DNAME. Unbound 1.17 keeps the CNAME that comes of
// it longer than the DNAME, and then believes neither: it is never asked again.
func below(zone, word string) []dns.Question { return questions(zone, word+".dn TXT") }

func questions(zone string, texts ...string) (all []dns.Question) {
	for _, text := range texts {
		name, rtype, _ := strings.Cut(text, " ")
		kind, ok := dns.StringToType[rtype]
		if !ok {
			_, _ = fmt.Sscanf(rtype, "TYPE%d", &kind) // that of none is 0, which nobody has
		}
		all = append(all, dns.Question{Name: name + "." + zone, Qtype: kind, Qclass: dns.ClassINET})
	}
	return all
}

// judge holds all that caches have against each other. Of what is always the
// same, each cache is asked for some, and in the long form for all. delv is slow:
// it has one question of each zone, a cache after the other, and in the long form
// one of each cache.
func (w *rolls) judge(when string) {
	w.l.T().Helper()
	w.fresh++
	wants := func(who, got string, q dns.Question) {
		if w.judged++; got != "secure" {
			w.l.T().Errorf("%s, %s: %s %s is %s by %s", w.clock.Now().Sub(w.began), when, q.Name, dns.TypeToString[q.Qtype], got, who)
		}
	}
	long := os.Getenv("POSTERN_PROVE") != ""
	for i, k := range w.kept {
		sides := w.has(k)
		for _, s := range sides {
			if len(k.newest) > 0 {
				k.Forget(s.zone, k.newest...)
			}
		}
		k.Judge()
		for _, s := range sides {
			for j, q := range always(s.zone) {
				if long || (i+j+w.fresh)%3 == 0 {
					wants(k.name, k.Unbound(q.Name, q.Qtype), q)
				}
			}
			for _, q := range once(s.zone, fmt.Sprintf("kept%d", w.warm)) {
				wants(k.name, k.Unbound(q.Name, q.Qtype), q)
			}
		}
		w.moves(k, k.away)
		for j, s := range sides {
			word := fmt.Sprintf("fresh%d", w.fresh)
			fresh := append(once(s.zone, word), below(s.zone, word)...)
			for _, q := range fresh {
				wants(k.name, k.Unbound(q.Name, q.Qtype), q)
			}
			if long || (i+j+w.fresh)%len(w.kept) == 0 {
				q := fresh[(i+w.fresh)%len(fresh)]
				wants("delv, "+k.name, k.Delv(q.Name, q.Qtype), q)
			}
		}
		w.moves(k, k.view)
	}
	for _, s := range w.outside() {
		for _, q := range append(always(s.zone), once(s.zone, fmt.Sprintf("fresh%d", w.fresh))...) {
			wants("a client", w.tree.Unbound(q.Name, q.Qtype), q)
		}
	}
	if w.l.T().Failed() {
		w.l.T().FailNow()
	}
}

// moves has those who come and go ask in a view.
func (w *rolls) moves(k keeper, view string) {
	w.l.T().Helper()
	if k.away == "" {
		return
	}
	for _, s := range w.has(k) {
		k.From(s.zone, w.servers(view, true)[s.zone]...)
	}
}

// refuses shows that the judges can say no: with a DS of another key nothing is
// secure, but for who has the former one.
func (w *rolls) refuses() {
	w.l.T().Helper()
	zone := w.outside()[0].zone
	w.keep()
	w.tree.Delegate(zone, zone+" 3600 IN DS 1 13 2 "+strings.Repeat("00", 32))
	q := once(zone, "last")[1]
	for i, want := range map[int]string{0: "secure", 3: "bogus"} {
		k := w.kept[i]
		if len(k.newest) > 0 {
			k.Forget(zone, k.newest...)
		}
		k.Judge()
		for who, got := range map[string]string{"unbound": k.Unbound(q.Name, q.Qtype), "delv": k.Delv(q.Name, q.Qtype)} {
			if got != want {
				w.l.T().Errorf("with a DS of nobody's: %s is %s by %s and %s, want %s", q.Name, got, k.name, who, want)
			}
		}
	}
}
