package manage

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/contrast"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/xfr"
	"postern/internal/dns/zone"
)

// elsewhere is another server.
type elsewhere struct {
	seen  *contrast.Seen
	err   error
	asked string
}

func (e *elsewhere) See(_ context.Context, z *zone.Zone, server netip.AddrPort, key name.Name, ask bool) (*contrast.Seen, error) {
	e.asked = fmt.Sprint(z.Origin(), " ", z.Serial(), " ", server, " ", key != "", " ", ask)
	return e.seen, e.err
}

// says are the records of a zone that the other server has.
func (e *elsewhere) says(t *testing.T, text string) {
	t.Helper()
	p := dns.NewZoneParser(strings.NewReader("$ORIGIN city.example.\n"+text), ".", "")
	e.seen = &contrast.Seen{}
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		clean, _, err := zone.Normalise(rr)
		if err != nil {
			t.Fatal(err)
		}
		if soa, ok := clean.(*dns.SOA); ok {
			e.seen.SOA = soa
		}
		e.seen.Records = append(e.seen.Records, clean)
	}
}

func TestZoneCompare(t *testing.T) {
	t.Parallel()
	o := open(t)
	for _, c := range []struct {
		args          CompareArgs
		reason, names string
	}{
		{CompareArgs{Zone: "a..b", Against: "192.0.2.1"}, ReasonUsage, "a..b"},
		{CompareArgs{Zone: "other.example", Against: "192.0.2.1"}, ReasonUnknown, "other.example"},
		{CompareArgs{Zone: "city.example", Against: "192.0.2.1"}, ReasonUsage, "in, out"},
		{CompareArgs{Zone: "alone.example", View: "out"}, ReasonUsage, "not the address of a server"},
		{CompareArgs{Zone: "alone.example", View: "out", Against: "ns1.example"}, ReasonUsage, "ns1.example"},
		{CompareArgs{Zone: "alone.example", View: "out", Against: "192.0.2.1:0"}, ReasonUsage, "192.0.2.1:0"},
		{CompareArgs{Zone: "alone.example", View: "out", Against: "fe80::1%eth0"}, ReasonUsage, "fe80"},
		{CompareArgs{Zone: "alone.example", View: "out", Against: "192.0.2.1", Key: "a..b"}, ReasonUsage, "a..b"},
	} {
		_, e := do[Comparison](o, VerbZoneCompare, c.args)
		o.refused(e, c.reason, c.names)
	}
	if o.others.asked != "" {
		t.Errorf("asked for %s", o.others.asked)
	}
	o.others.says(t, "@ 300 SOA ns hostmaster 99 2h 1h 14d 5m\n@ 300 NS ns\nns 60 A 192.0.2.1\nnew 60 A 192.0.2.9\n")
	got, e := do[Comparison](o, VerbZoneCompare, CompareArgs{Zone: "City.example.", View: "in", Against: "::ffff:192.0.2.1", Key: "K.", Signed: true})
	if e != nil || o.others.asked != "city.example. 7 192.0.2.1:53 true false" {
		t.Fatalf("%v; asked for %q", e, o.others.asked)
	}
	if got.Equal || !got.Transfer || got.HereSerial != 7 || got.ThereSerial != 99 || got.View != "in" || got.Against != "192.0.2.1:53" ||
		fmt.Sprint(got.Here) != "[www.city.example. 300 IN A 10.0.0.1]" || fmt.Sprint(got.There) != "[new.city.example. 60 IN A 192.0.2.9]" ||
		fmt.Sprint(got.TTLs) != "[{ns.city.example. A 300 60}]" || got.OnlyHere != 1 || got.OnlyThere != 1 || got.OtherTTLs != 1 || got.Same != 3 {
		t.Errorf("%+v", got)
	}

	// What was not answered is no equality.
	o.others.says(t, "@ 300 SOA ns hostmaster 99 2h 1h 14d 5m\n@ 300 NS ns\nns 300 A 192.0.2.1\n")
	o.others.seen.Refused, o.others.seen.Asked = errors.New("refused"), 3
	if got, e = do[Comparison](o, VerbZoneCompare, CompareArgs{Zone: "city.example", View: "out", Against: "[2001:db8::1]:5353"}); e != nil || !got.Equal || got.Transfer || got.NotTransfer != "refused" || o.others.asked != "city.example. 7 [2001:db8::1]:5353 false true" {
		t.Errorf("%v, %+v; asked for %q", e, got, o.others.asked)
	}
	o.others.seen.Open = []contrast.Open{{Name: "\x04city\x07example\x00", Type: dns.TypeMX, Why: errors.New("silent")}}
	if got, e = do[Comparison](o, VerbZoneCompare, CompareArgs{Zone: "city.example", View: "out", Against: "192.0.2.1"}); e != nil || got.Equal || fmt.Sprint(got.Open) != "[city.example. MX: silent]" {
		t.Errorf("%v, %+v", e, got)
	}
}

// TestZoneCompareSaysWhyNot: each fault with a hint of its own.
func TestZoneCompareSaysWhyNot(t *testing.T) {
	t.Parallel()
	o := open(t)
	for _, c := range []struct {
		err                  error
		signed               bool
		reason, names, hints string
	}{
		{xfr.ErrBusy, false, ReasonFailed, "just now", "try again"},
		{&xfr.Fault{Reason: xfr.KeyRefused, Cause: tsig.ErrUnknown}, false, ReasonUsage, "no key k.", "postern key list"},
		{&xfr.Fault{Reason: xfr.KeyRefused, Cause: tsig.ErrRejected}, false, ReasonFailed, "key-refused", "same name, algorithm and secret"},
		{&xfr.Fault{Reason: xfr.BadTime}, false, ReasonFailed, "bad-time", "clocks"},
		{&xfr.Fault{Reason: xfr.Silent}, false, ReasonFailed, "unreachable", "firewall"},
		{&xfr.Fault{Reason: xfr.NotAuthority}, false, ReasonFailed, "not-authority", "a resolver"},
		{&xfr.Fault{Reason: xfr.Refused}, false, ReasonFailed, "refused", "does it serve"},
		{&xfr.Fault{Reason: xfr.Refused}, true, ReasonFailed, "refused", "--signed needs a transfer"},
		{errors.New("too many"), false, ReasonFailed, "too many", "transfer the zone"},
	} {
		o.others.err = c.err
		_, e := do[Comparison](o, VerbZoneCompare, CompareArgs{Zone: "alone.example", View: "out", Against: "192.0.2.1", Key: "k.", Signed: c.signed})
		if o.refused(e, c.reason, c.names); e != nil && !strings.Contains(e.Hint, c.hints) {
			t.Errorf("%v: %q", c.err, e.Hint)
		}
	}
}
