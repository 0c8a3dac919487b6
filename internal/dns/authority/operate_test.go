package authority

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
)

// twelve is a zone with mail and addresses of its own.
const twelve = `$TTL 300
@	SOA ns1 admin 10 2h 1h 14d 5m
@	NS ns1
@	NS ns2
@	MX 10 mail
@	A 192.0.2.80
ns1	A 192.0.2.1
ns2	A 192.0.2.2
mail	A 192.0.2.25
mail	AAAA 2001:db8::25
www	A 192.0.2.80
a	A 192.0.2.81
b	A 192.0.2.82
`

func (b *bench) apply(do Apply) error {
	b.t.Helper()
	do.Who = "uid 7"
	_, err := b.a.Apply(b.t.Context(), do)
	return err
}

func (b *bench) plan(zone string) []Plan {
	b.t.Helper()
	plans, err := b.a.Plan(b.t.Context(), zone)
	if err != nil {
		b.t.Fatal(err)
	}
	return plans
}

// wantDeclined checks the reason word of a refused order.
func wantDeclined(t *testing.T, err error, reason string) *Declined {
	t.Helper()
	var d *Declined
	if !errors.As(err, &d) || d.Reason != reason {
		t.Errorf("%v, want %s", err, reason)
		return &Declined{}
	}
	return d
}

func TestManual(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Manual = true
	b.write("external/example.test.zone", external)
	b.start()
	b.wantState("external", Planned, "WARN planned")
	if _, err := b.a.Export("example.test", ""); !errors.Is(err, ErrNoZone) || b.failed("external", "www.example.test") {
		t.Error("a planned zone is not there, and fails nobody:", err)
	}
	plans := b.plan("")
	if len(plans) != 1 || plans[0].NewSerial != 10 || plans[0].OldSerial != 0 || len(plans[0].Added) != 5 || len(plans[0].FileHash) != 64 {
		t.Fatalf("%+v", plans)
	}
	if err := b.apply(Apply{}); err != nil {
		t.Fatal(err)
	}
	b.want("external", "www.example.test", "192.0.2.80")
	b.wantState("external", OK, "")

	// An edit, and a new file of the overlay: both wait, the view stays as it is.
	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.write("internal/example.test.zone", "www 300 A 10.0.0.1\nintranet 300 A 10.0.0.2\n")
	b.settle()
	for range 2 {
		b.wantState("external", Planned, "WARN planned")
		b.wantState("internal", Planned, "WARN planned")
		b.want("external", "www.example.test", "192.0.2.80")
		b.want("internal", "www.example.test", "192.0.2.80")
		b.start()
	}
	if err := b.a.Publish(t.Context(), "s._domainkey.example.test", "dkim", []string{"x"}); err != nil {
		t.Error("a plan holds up no derived record:", err)
	}
	b.want("external", "www.example.test", "192.0.2.80")
	plans = b.plan("example.test")
	if len(plans) != 2 || plans[0].View != "external" || len(plans[0].Removed) != 1 || plans[0].OldSerial != 11 || plans[0].NewSerial != 12 || plans[0].Percent != 16 ||
		plans[1].View != "internal" || len(plans[1].Added) < 2 || slices.Compare(plans[0].Waits, []string{"planned"}) != 0 {
		t.Fatalf("%+v", plans)
	}
	hash := HashOf(plans)
	b.write("internal/example.test.zone", "www 300 A 10.0.0.9\n")
	b.settle()
	wantDeclined(t, b.apply(Apply{Zones: []string{"example.test"}, Plan: hash}), ReasonMoved)
	b.want("external", "www.example.test", "192.0.2.80")
	if err := b.apply(Apply{Zones: []string{"example.test"}, Plan: HashOf(b.plan("example.test"))}); err != nil {
		t.Fatal(err)
	}
	b.want("external", "www.example.test", "192.0.2.81")
	b.want("internal", "www.example.test", "10.0.0.9")
	b.wantState("internal", OK, "")
	if left := b.plan(""); len(left) != 0 || HashOf(left) != "" {
		t.Errorf("%+v", left)
	}
	b.start()
	b.wantState("external", OK, "")
	b.want("internal", "www.example.test", "10.0.0.9")

	b.write("external/example.test.zone", "@ SOA\n")
	b.settle()
	wantDeclined(t, b.apply(Apply{Zones: []string{"example.test"}}), reasonBroken)
	if left := b.plan(""); len(left) != 1 || left[0].Reason != reasonBroken || len(left[0].Problems) == 0 {
		t.Errorf("an edit that cannot be used is told of: %+v", left)
	}
	if err := b.apply(Apply{}); err != nil {
		t.Error("what is broken stands aside:", err)
	}
	if err := b.apply(Apply{Zones: []string{"none.test"}}); !errors.Is(err, ErrNoZone) {
		t.Error(err)
	}
}

// Nothing of a zone exists before somebody applied it, be its files good,
// broken, or an overlay of what is planned too.
func TestManualNewOverlay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Manual = true
	b.cfg.Views[0].Hide = []string{"mail.example.test"}
	b.write("external/example.test.zone", external)
	b.write("internal/example.test.zone", "www 300 A 10.0.0.1\n")
	b.write("external/broken.test.zone", "@ SOA\n")
	b.write("external/unfit.test.zone", "www 300 A 192.0.2.1\n")
	for range 2 {
		b.start()
		for _, z := range []string{"example.test", "broken.test", "unfit.test"} {
			for _, view := range []string{"external", "internal"} {
				if _, err := b.a.Export(z, view); !errors.Is(err, ErrNoZone) || b.failed(view, "www."+z) {
					t.Errorf("%s in %s: %v", z, view, err)
				}
			}
		}
	}
	if s := b.status("external", "broken.test."); s.State != Planned || s.Reason != reasonBroken {
		t.Errorf("%+v", s)
	}
	b.wantState("internal", Planned, "is not applied yet")
	wantDeclined(t, b.apply(Apply{Zones: []string{"unfit.test"}}), reasonLint)
	wantDeclined(t, b.apply(Apply{Zones: []string{"example.test", "broken.test"}}), reasonBroken)
	all := HashOf(b.plan(""))
	wantDeclined(t, b.apply(Apply{Plan: "x"}), ReasonMoved)
	if err := b.apply(Apply{Plan: all}); err != nil { // with what stands aside
		t.Fatal(err)
	}
	b.want("internal", "www.example.test", "10.0.0.1")
	b.want("external", "www.example.test", "192.0.2.80")
	b.want("internal", "ns1.example.test", "192.0.2.1")
	if _, err := b.a.Export("unfit.test", "external"); !errors.Is(err, ErrNoZone) {
		t.Error(err)
	}
}

// Whatever step of the disk fails, either both zones change or neither does.
func TestApplyTogether(t *testing.T) {
	t.Parallel()
	for fail := 1; ; fail++ {
		b := newBench(t)
		b.cfg.Manual, b.build = true, "" // a note may be lost
		steps, armed := 0, false
		b.cfg.Writer = atomicfile.Writer{Fault: func(atomicfile.Step) error {
			if !armed {
				return nil
			}
			if steps++; steps == fail {
				return syscall.ENOSPC
			}
			return nil
		}}
		b.write("external/example.test.zone", external)
		b.write("external/other.test.zone", external)
		b.start()
		if err := b.apply(Apply{}); err != nil {
			t.Fatal(err)
		}
		for _, z := range []string{"example", "other"} {
			b.write("external/"+z+".test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
		}
		b.settle()
		armed = true
		err := b.apply(Apply{Zones: []string{"example.test", "other.test"}})
		armed = false
		want := "192.0.2.81"
		if steps >= fail {
			want = "192.0.2.80"
			wantDeclined(t, err, reasonJournal)
		} else if err != nil {
			t.Error(err)
		}
		for range 2 {
			for _, z := range []string{"example.test", "other.test"} {
				if got := b.rr("external", z, "www."+z, dns.TypeA); got != want {
					t.Errorf("step %d: %s has %s", fail, z, got)
				}
			}
			b.start()
		}
		if steps < fail {
			return
		}
	}
}

func TestDangers(t *testing.T) {
	t.Parallel()
	without := func(lines ...string) string {
		out := twelve
		for _, l := range lines {
			out = strings.Replace(out, l+"\n", "", 1)
		}
		return out
	}
	for what, c := range map[string]struct{ file, codes string }{
		"nothing":       {twelve + "c A 192.0.2.83\n", ""},
		"three go":      {without("www	A 192.0.2.80", "a	A 192.0.2.81", "b	A 192.0.2.82"), ""},
		"four go":       {without("www	A 192.0.2.80", "a	A 192.0.2.81", "b	A 192.0.2.82", "ns2	A 192.0.2.2") + "ns2 A 192.0.2.3\n", LargeChange},
		"four come":     {twelve + "c A 192.0.2.83\nd A 192.0.2.83\ne A 192.0.2.83\nf A 192.0.2.83\n", LargeChange},
		"a name server": {without("@	NS ns2"), LosesNS},
		"both others":   {strings.NewReplacer("NS ns1", "NS a", "NS ns2", "NS b").Replace(twelve), LosesNS},
		"one other":     {strings.NewReplacer("NS ns1", "NS a").Replace(twelve), ""},
		"mail":          {without("@	MX 10 mail"), LosesMX},
		"null MX":       {strings.Replace(twelve, "MX 10 mail", "MX 0 .", 1), LosesMX},
		"other mail":    {strings.Replace(twelve, "MX 10 mail", "MX 10 mail.else.test.", 1), ""},
		"apex address":  {without("@	A 192.0.2.80"), LosesAddress},
		"mail's IPv6":   {without("mail	AAAA 2001:db8::25"), LosesAddress},
		"two at once":   {without("@	A 192.0.2.80", "@	MX 10 mail"), LosesMX + "," + LosesAddress},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.write("external/example.test.zone", twelve)
			b.start()
			b.write("external/example.test.zone", c.file)
			b.settle()
			for range 2 {
				if c.codes == "" {
					b.wantState("external", OK, "")
					return
				}
				s := b.status("external", "example.test.")
				first, _, _ := strings.Cut(c.codes, ",")
				if s.State != Planned || s.Reason != first || b.zone("external", "example.test").Records() != 12 || !strings.Contains(b.log.String(), "reason="+c.codes) {
					t.Fatalf("%+v\n%s", s, b.log)
				}
				b.start()
			}
			d := wantDeclined(t, b.apply(Apply{Zones: []string{"example.test"}}), ReasonAccept)
			if strings.Join(d.Codes, ",") != sorted(c.codes) {
				t.Error(d.Codes)
			}
			codes := strings.Split(c.codes, ",")
			wantDeclined(t, b.apply(Apply{Accept: codes}), ReasonAccept) // without a reason
			if err := b.apply(Apply{Accept: codes, Why: "it is meant"}); err != nil {
				t.Fatal(err)
			}
			b.wantState("external", OK, "")
			b.start()
			b.wantState("external", OK, "")
			h, err := b.a.History(t.Context(), "example.test", "")
			if err != nil || len(h) != 2 || h[0].Who != "uid 7" || h[0].Why != "it is meant" || h[1].Who != byFile {
				t.Error(h, err)
			}
		})
	}
}

func sorted(codes string) string {
	all := strings.Split(codes, ",")
	slices.Sort(all)
	return strings.Join(all, ",")
}

func TestRollback(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	file := func(n int) string { return strings.Replace(external, "192.0.2.80", fmt.Sprintf("192.0.2.%d", n), 1) }
	b.write("external/example.test.zone", file(81))
	b.start()
	roll := func(version int) error {
		_, err := b.a.Rollback(t.Context(), Rollback{Zone: "example.test", Version: version, Who: "uid 7", Why: "typo"})
		return err
	}
	wantDeclined(t, roll(0), ReasonNoVersion)
	for n := 82; n <= 83; n++ {
		b.write("external/example.test.zone", file(n))
		b.settle()
	}
	if err := b.a.Publish(t.Context(), "s._domainkey.example.test", "dkim", []string{"x"}); err != nil {
		t.Fatal(err)
	}
	wantDeclined(t, roll(9), ReasonNoVersion)
	h, err := b.a.History(t.Context(), "example.test", "")
	if err != nil || !h[0].Present {
		t.Fatal(err, h)
	}
	if err := roll(h[0].Number); err == nil || !strings.Contains(err.Error(), "is the present one") {
		t.Errorf("version %d, which is served: %v", h[0].Number, err)
	}
	if err := roll(1); err != nil {
		t.Fatal(err)
	}
	pinned := func() {
		t.Helper()
		b.want("external", "www.example.test", "192.0.2.81")
		b.want("internal", "www.example.test", "192.0.2.81")
		if s := b.status("external", "example.test."); s.Reason != ReasonPinned || s.ServedSerial != 14 {
			t.Errorf("%+v", s)
		}
		if b.rr("external", "example.test", "s._domainkey.example.test", dns.TypeTXT) == "" {
			t.Error("the derived record is rolled back too")
		}
	}
	pinned()
	b.start()
	pinned()
	wantDeclined(t, b.apply(Apply{Zones: []string{"example.test"}}), ReasonStill)
	b.write("external/example.test.zone", file(84))
	b.settle()
	pinned()
	b.start()
	pinned()
	if plans := b.plan("example.test"); len(plans) != 1 || plans[0].Reason != "" || len(plans[0].Added) != 1 {
		t.Errorf("%+v", plans)
	}
	if err := b.apply(Apply{Zones: []string{"example.test"}}); err != nil {
		t.Fatal(err)
	}
	b.want("external", "www.example.test", "192.0.2.84")
	b.wantState("external", OK, "")
	b.write("external/example.test.zone", file(85))
	b.settle()
	b.want("external", "www.example.test", "192.0.2.85")
	b.start()
	h, err = b.a.History(t.Context(), "example.test", "external")
	var serials []string
	for _, v := range h {
		serials = append(serials, fmt.Sprintf("%d:%d:%s:%s", v.Number, v.Serial, v.Who, v.Why))
	}
	want := "6:16:file:|5:15:uid 7:|4:14:uid 7:rollback to version 1: typo|3:13:file:|2:11:file:|1:10:file:"
	if got := strings.Join(serials, "|"); err != nil || got != want {
		t.Errorf("%s %v\nwant %s", got, err, want)
	}
	if err := roll(0); err != nil {
		t.Fatal(err)
	}
	b.want("external", "www.example.test", "192.0.2.84")
}

// A full disk leaves zone and pin as they were.
func TestRollbackFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	full := false
	b.cfg.Writer = atomicfile.Writer{Fault: func(s atomicfile.Step) error {
		if full && s == atomicfile.StepWrite {
			return syscall.ENOSPC
		}
		return nil
	}}
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/example.test.zone", external+"a A 192.0.2.2\n")
	b.settle()
	full = true
	_, err := b.a.Rollback(t.Context(), Rollback{Zone: "example.test"})
	wantDeclined(t, err, reasonJournal)
	full = false
	b.settle()
	b.want("external", "a.example.test", "192.0.2.2")
	b.wantState("external", OK, "")
	b.start()
	b.wantState("external", OK, "")
}

func TestRemove(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.write("external/other.test.zone", external)
	b.start()
	_, err := b.a.Remove(t.Context(), "example.test")
	wantDeclined(t, err, ReasonPresent)
	if _, err := b.a.Remove(t.Context(), "none.test"); !errors.Is(err, ErrNoZone) {
		t.Error(err)
	}
	b.remove("external/example.test.zone")
	b.settle()
	b.wantState("external", Missing, "is gone")
	views, err := b.a.Remove(t.Context(), "example.test")
	if err != nil || !slices.Equal(views, []string{"external"}) {
		t.Error(views, err)
	}
	for range 2 {
		if s := b.status("external", "example.test."); s.Zone != "" {
			t.Errorf("%+v", s)
		}
		if b.rr("internal", "other.test", "www.other.test", dns.TypeA) == "" {
			t.Error("the other zone is gone too")
		}
		b.start()
	}
	b.write("external/example.test.zone", external+"back A 192.0.2.3\n")
	b.settle()
	if serial := b.zone("internal", "example.test").Serial(); serial != 11 {
		t.Error("serial", serial)
	}
}

// TestRollbackOfADanger: what the file would lose is not why it waits, as long as
// it is the one that was rolled back.
func TestRollbackOfADanger(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", "$TTL 300\n@ SOA ns1 admin 10 2h 1h 14d 5m\n@ NS ns1\n@ MX 1 ns1\nns1 A 192.0.2.1\n")
	b.start()
	const mailless = "$TTL 300\n@ SOA ns1 admin 10 2h 1h 14d 5m\n@ NS ns1\nns1 A 192.0.2.1\n"
	b.write("external/example.test.zone", mailless)
	b.settle()
	b.wantState("external", Planned, LosesMX)
	if err := b.apply(Apply{Zones: []string{"example.test"}, Accept: []string{LosesMX}, Why: "no mail"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.a.Rollback(t.Context(), Rollback{Zone: "example.test", Who: "uid 7", Why: "there is mail"}); err != nil {
		t.Fatal(err)
	}
	b.wantState("external", Pinned, ReasonPinned)
	b.start()
	b.wantState("external", Pinned, ReasonPinned)
	b.write("external/example.test.zone", mailless+"new A 192.0.2.9\n")
	b.settle()
	b.wantState("external", Planned, LosesMX)
}
