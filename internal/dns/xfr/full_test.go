package xfr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// odd is a zone of what others got wrong.
const odd = `
@ MX 10 mail
@ TXT "v=spf1 -all" "second"
*.wild A 192.0.2.9
below.an.empty.terminal AAAA 2001:db8::1
sub NS ns.sub
ns.sub A 192.0.2.3
secure NS ns.secure
secure DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.secure AAAA 2001:db8::53
a\.b\032c TXT "escaped"
\000\255 A 192.0.2.4
alias CNAME Target.Elsewhere.
tree DNAME other.example.
_sip._tcp SRV 1 2 5060 Mixed.Case.Example.
svc HTTPS 1 . alpn=h2
unknown TYPE65280 \# 3 010203
4.3.2.1 PTR host.example.
naptr NAPTR 1 1 "u" "sip" "" Some.Name.
`

func TestFullIsTheZone(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 7, odd)
	for _, c := range []struct {
		name  string
		qname string
		edit  func(*dns.Msg)
	}{
		{"as it is", "example.", func(*dns.Msg) {}},
		{"in mixed case", "eXaMpLe.", func(*dns.Msg) {}},
		{"with EDNS", "example.", func(m *dns.Msg) { m.SetEdns0(1232, true) }},
	} {
		q := request(t, c.qname, dns.TypeAXFR, 0, c.edit)
		got := &gathered{t: t}
		if err := Full(q, &wire.Options{}, z, got.take); err != nil {
			t.Fatal(err)
		}
		all := got.records()
		if want := content(z); !slices.Equal(whole(t, all), want) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(text(all), "\n"), strings.Join(want, "\n"))
		}
		// What the library unpacks has the letter case of the octets: no owner
		// takes on that of the question (RFC 5936, Section 3.4).
		for _, rr := range all {
			if rr.Header().Name != strings.ToLower(rr.Header().Name) {
				t.Errorf("%s: owner %s", c.name, rr.Header().Name)
			}
		}
		m := got.msgs[0]
		if m.Id != 0x1234 || !m.Response || !m.Authoritative || m.Truncated || m.Rcode != 0 || len(m.Question) != 1 || m.Question[0].Name != c.qname {
			t.Errorf("%s: %v", c.name, m.MsgHdr)
		}
		if asked := c.name == "with EDNS"; (m.IsEdns0() != nil) != asked {
			t.Errorf("%s: OPT %v", c.name, m.IsEdns0())
		}
	}
}

// TestFullFillsMessages: each message is filled, but for what the next set
// needs; a set stands in one message where it fits one; the room for TSIG and
// OPT is kept.
func TestFullFillsMessages(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&lines, "host%d A 192.0.2.%d\nhost%d A 198.51.100.%d\nhost%d TXT \"%s\"\n", i, i%256, i, i%256, i, strings.Repeat("x", i%200))
	}
	z := zoneOf(t, 7, lines.String())
	for _, tail := range []int{0, 120} {
		q := request(t, "example.", dns.TypeAXFR, 0, func(m *dns.Msg) { m.SetEdns0(1232, true) })
		q.Tail = tail
		got := &gathered{t: t}
		if err := Full(q, &wire.Options{NSID: "x"}, z, got.take); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(whole(t, got.records()), content(z)) {
			t.Error("not the zone")
		}
		seen := map[string]int{}
		for i, m := range got.msgs {
			if got.size[i] > wire.MaxTCP-tail || i < len(got.msgs)-1 && got.size[i] < wire.MaxTCP-tail-600 {
				t.Errorf("message %d of %d octets with %d kept", i, got.size[i], tail)
			}
			if m.Id != 0x1234 || !m.Response || !m.Authoritative || (len(m.Question) == 1) != (i == 0) || (m.IsEdns0() != nil) != (i == 0) {
				t.Errorf("message %d: %v", i, m.MsgHdr)
			}
			for _, rr := range m.Answer {
				key := fmt.Sprint(rr.Header().Name, rr.Header().Rrtype)
				if at, ok := seen[key]; ok && at != i && rr.Header().Rrtype == dns.TypeA {
					t.Errorf("%s in messages %d and %d", key, at, i)
				}
				seen[key] = i
			}
		}
		sent, plain := 0, 0
		for _, n := range got.size {
			sent += n
		}
		for _, rr := range got.records() {
			plain += dns.Len(rr)
		}
		if sent*10 > plain*9 {
			t.Errorf("%d octets, %d without compression", sent, plain)
		}
	}
}

// TestFullSplitsLargeSets: a set that no message holds is cut by records.
func TestFullSplitsLargeSets(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&lines, "large A 10.0.%d.%d\nafter%d A 192.0.2.1\n", i/256, i%256, i)
	}
	z := zoneOf(t, 7, lines.String())
	got := &gathered{t: t}
	if err := Full(request(t, "example.", dns.TypeAXFR, 0), nil, z, got.take); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(whole(t, got.records()), content(z)) {
		t.Error("not the zone")
	}
	if len(got.msgs) < 3 {
		t.Errorf("%d messages", len(got.msgs))
	}
}

// TestRecordTooLong: what no message holds ends the transfer; nothing loops.
func TestRecordTooLong(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 7, "big TXT "+strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 200)+"\nz A 192.0.2.1\n")
	for _, c := range []struct {
		tail int
		want error
	}{{0, nil}, {20000, ErrTooLong}} {
		q := request(t, "example.", dns.TypeAXFR, 0)
		q.Tail = c.tail
		got := &gathered{t: t}
		if err := Full(q, nil, z, got.take); !errors.Is(err, c.want) {
			t.Errorf("with %d kept: %v, want %v", c.tail, err, c.want)
		}
		if c.want != nil && len(got.msgs) > 2 {
			t.Errorf("%d messages", len(got.msgs))
		}
	}
}

func TestEmitEndsTheTransfer(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 7, odd)
	gone, calls := errors.New("gone"), 0
	err := Full(request(t, "example.", dns.TypeAXFR, 0), nil, z, func([]byte) error { calls++; return gone })
	if !errors.Is(err, gone) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// large is a zone as a registry has it: names, delegations, glue.
func large(t testing.TB, records int) *zone.Zone {
	t.Helper()
	var lines strings.Builder
	for i := range records / 4 {
		fmt.Fprintf(&lines, "name%d NS ns1.name%d\nname%d NS ns.hoster%d.elsewhere.\nns1.name%d A 10.%d.%d.%d\nwww.other%d CNAME target.name%d\n",
			i, i, i, i%100, i, i>>16, i>>8&255, i&255, i, i)
	}
	return zoneOf(t, 7, lines.String())
}

// TestLargeZoneAllocates: the price of a transfer in memory is its buffers,
// whatever the zone has. (172,000 records make 60 messages.)
func TestLargeZoneAllocates(t *testing.T) {
	if testing.Short() {
		t.Skip("a large zone")
	}
	z := large(t, 172_000)
	q := request(t, "example.", dns.TypeAXFR, 0)
	messages, octets := 0, 0
	emit := func(msg []byte) error { messages++; octets += len(msg); return nil }
	p := new(packer)
	if err := p.full(q, nil, z, q.Limit(false), emit); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records in %d messages of %d octets", z.Records(), messages, octets)
	if messages < 20 || octets > z.Records()*40 {
		t.Errorf("%d messages, %d octets", messages, octets)
	}
	if n := testing.AllocsPerRun(1, func() {
		if err := p.full(q, nil, z, q.Limit(false), emit); err != nil {
			t.Error(err)
		}
	}); n > 10 {
		t.Errorf("%v allocations for %d records", n, z.Records())
	}
}

func BenchmarkFull(b *testing.B) {
	z := large(b, 20_000)
	q := request(b, "example.", dns.TypeAXFR, 0)
	p := new(packer)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.full(q, nil, z, q.Limit(false), func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
