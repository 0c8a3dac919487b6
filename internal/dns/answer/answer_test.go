package answer

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// world is a set of zones with both opinions of them.
type world struct {
	zones  []*Zone // by length of origin, longest first
	oracle *oracle
}

// Find is what a view does: the longest match; DS is asked on the parent's side.
func (w *world) Find(qname name.Name, qtype uint16) *Zone {
	var own *Zone
	for _, z := range w.zones {
		if !qname.IsBelow(z.origin) {
			continue
		}
		if own == nil && qtype == dns.TypeDS && qname == z.origin {
			own = z
			continue
		}
		return z
	}
	return own
}

func parse(t testing.TB, text string) []dns.RR {
	t.Helper()
	var rrs []dns.RR
	zp := dns.NewZoneParser(strings.NewReader(text), "", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		rrs = append(rrs, rr)
	}
	if err := zp.Err(); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return rrs
}

func build(t testing.TB, rrs []dns.RR) *zone.Zone {
	t.Helper()
	origin := ""
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeSOA {
			origin = rr.Header().Name
		}
	}
	o, err := name.Parse(origin)
	if err != nil {
		t.Fatal(err)
	}
	b := zone.NewBuilder(o)
	for _, rr := range rrs {
		if err := b.Add(rr); err != nil {
			t.Fatalf("%v: %v", rr, err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// newWorld reads zones, each beginning at its SOA.
func newWorld(t testing.TB, zones ...string) *world {
	t.Helper()
	w, plain := &world{}, map[string][]dns.RR{}
	for _, text := range zones {
		z := build(t, parse(t, text))
		w.zones = append(w.zones, Compile(z))
		// The oracle sees the records as the zone holds them: TTLs evened out.
		for n := range z.Nodes() {
			for _, s := range n.Sets {
				plain[z.Origin().String()] = append(plain[z.Origin().String()], s.RRs...)
			}
		}
	}
	slices.SortFunc(w.zones, func(a, b *Zone) int { return len(b.origin) - len(a.origin) })
	w.oracle = newOracle(plain)
	return w
}

// hinted asks again with a Hint: that changes nothing.
func (w *world) hinted(t testing.TB, z *Zone, q *wire.Query, limit int, reply []byte, res Result) {
	t.Helper()
	var hint Hint
	z.Look(q, &hint)
	z.Draw(q, &hint)
	var a Answer
	a.Hint = &hint
	if got := a.Append(z, q.Start(nil), q, limit, w); !bytes.Equal(got, reply) || a.Result != res {
		t.Fatalf("%s %s: with a hint %x %+v\nwithout %x %+v", q.Name(), dns.Type(q.Type), got, a.Result, reply, res)
	}
}

// ask answers by the code under test; ok is false where no zone has the name.
func (w *world) ask(t testing.TB, qname string, qtype uint16, limit int, edits ...func(*dns.Msg)) (*dns.Msg, Result, bool) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(qname, qtype)
	for _, edit := range edits {
		edit(m)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if v := q.Parse(msg); v != wire.OK {
		t.Fatalf("verdict %d for %s", v, qname)
	}
	z := w.Find(q.Name(), qtype)
	if z == nil {
		return nil, Result{}, false
	}
	reply, res := z.Append(q.Start(nil), &q, limit, w)
	w.hinted(t, z, &q, limit, reply, res)
	if len(reply) > limit {
		t.Fatalf("%s %d: %d octets, limit %d", qname, qtype, len(reply), limit)
	}
	flags := uint16(0)
	if res.AA {
		flags |= wire.AA
	}
	if res.TC {
		flags |= wire.TC
	}
	reply = q.Finish(reply, flags, res.Rcode, res.Counts, nil)
	out := new(dns.Msg)
	if err := out.Unpack(reply); err != nil {
		t.Fatalf("%s %s: %v in %x", qname, dns.Type(qtype), err, reply)
	}
	if end := len(reply); out.Truncated && end > q.End+wire.OptLen {
		t.Fatalf("truncated reply of %d octets holds records", end)
	}
	return out, res, true
}

// setDO asks for what signing adds.
func setDO(m *dns.Msg) { m.SetEdns0(1232, true) }

// check compares both opinions, without DO and with.
func (w *world) check(t testing.TB, qname string, qtype uint16) {
	t.Helper()
	w.checkOne(t, qname, qtype, false)
	w.checkOne(t, qname, qtype, true, setDO)
}

func (w *world) checkOne(t testing.TB, qname string, qtype uint16, do bool, edits ...func(*dns.Msg)) {
	t.Helper()
	got, res, ok := w.ask(t, qname, qtype, wire.MaxTCP-wire.OptLen, edits...)
	if !ok {
		return
	}
	want := w.oracle.ask(qname, qtype, do)
	fail := func(what string, got, want any) {
		t.Helper()
		t.Fatalf("%s %s: %s\n got %v\nwant %v", qname, dns.Type(qtype), what, got, want)
	}
	if got.Rcode != want.rcode || got.Authoritative != want.aa || (res.Kind == Left) != want.left {
		fail("rcode, aa, left", []any{got.Rcode, got.Authoritative, res.Kind}, []any{want.rcode, want.aa, want.left})
	}
	if g, w := lines(got.Answer), sorted(want.answer); !slices.Equal(g, w) {
		fail("answer", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
	if g, w := lines(got.Ns), sorted(want.authority); !slices.Equal(g, w) {
		fail("authority", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
	extra := lines(got.Extra)
	for _, rr := range want.glue {
		if !slices.Contains(extra, rr) {
			fail("glue is missing", extra, rr)
		}
	}
	for _, rr := range extra {
		if !slices.Contains(want.extra, rr) {
			fail("surplus", rr, want.extra)
		}
	}
	if len(slices.Compact(slices.Clone(extra))) != len(extra) {
		fail("record twice", extra, nil)
	}
	// What ANY gives the oracle has compared.
	for _, rr := range slices.Concat(got.Answer, got.Ns, got.Extra) {
		if h := rr.Header().Rrtype; !do && h != qtype && qtype != dns.TypeANY && slices.Contains(added, h) {
			fail("without DO", rr, nil)
		}
	}
	if got.AuthenticatedData {
		fail("AD", true, false)
	}
	w.checkLimits(t, qname, qtype, got, want.glue, edits)
}

// added are the types that nobody gets who does not ask for them or set DO.
var added = []uint16{dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY, dns.TypeDS}

// checkLimits asks again with room for less: the same answer but for optional
// records, or TC and nothing.
func (w *world) checkLimits(t testing.TB, qname string, qtype uint16, full *dns.Msg, glue []string, edits []func(*dns.Msg)) {
	t.Helper()
	for _, limit := range []int{512, 300, 100, 80, 60} {
		got, res, _ := w.ask(t, qname, qtype, max(limit, len(qname)+20), edits...)
		if res.TC {
			continue
		}
		if !slices.Equal(lines(got.Answer), lines(full.Answer)) || !slices.Equal(lines(got.Ns), lines(full.Ns)) {
			t.Fatalf("%s %s within %d octets: not the same and not truncated:\n%v", qname, dns.Type(qtype), limit, got)
		}
		for _, rr := range glue {
			if !slices.Contains(lines(got.Extra), rr) {
				t.Fatalf("%s %s within %d octets: glue %s is missing without TC", qname, dns.Type(qtype), limit, rr)
			}
		}
	}
}

func lines(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, text(rr, strings.ToLower(rr.Header().Name)))
		}
	}
	return sorted(out)
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
