package dsync

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNames (RFC 9859, Section 4.1).
func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone, parent string
		want         []string
	}{
		{"child.example.", "example.", []string{"child._dsync.example.", "_dsync.example."}},
		{"city.ise.mie.jp.", "jp.", []string{"city.ise.mie._dsync.jp.", "_dsync.jp."}},
		{"jp.", ".", []string{"jp._dsync.", "_dsync."}},
		{"example.", "example.", nil},
		{"example.", "other.", nil},
	} {
		var got []string
		for _, n := range Names(parsed(t, c.zone), parsed(t, c.parent)) {
			got = append(got, n.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s below %s: %q, want %q", c.zone, c.parent, got, c.want)
		}
	}
	long := parsed(t, "a."+strings.Repeat(strings.Repeat("x", 61)+".", 4)+"lab.")
	if got := Names(long, parsed(t, "lab.")); len(got) != 1 || got[0].String() != "_dsync.lab." {
		t.Error(got)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	record := func(rdata string) dns.RR {
		return &dns.RFC3597{Hdr: dns.RR_Header{Name: "_dsync.lab.", Rrtype: Type, Class: dns.ClassINET}, Rdata: rdata}
	}
	const target = "01610362636400" // a.bcd.
	for what, c := range map[string]struct {
		set  []dns.RR
		want []string
	}{
		"CDS":                {[]dns.RR{record("003b" + "01" + "14b4" + target)}, []string{"a.bcd.:5300"}},
		"twice":              {[]dns.RR{record("003b" + "01" + "14b4" + target), record("003b" + "01" + "14b4" + "01410362636400")}, []string{"a.bcd.:5300"}},
		"CSYNC":              {[]dns.RR{record("003e" + "01" + "14b4" + target)}, nil},
		"scheme 0":           {[]dns.RR{record("003b" + "00" + "14b4" + target)}, nil},
		"scheme 2":           {[]dns.RR{record("003b" + "02" + "14b4" + target)}, nil},
		"port 0":             {[]dns.RR{record("003b" + "01" + "0000" + target)}, nil},
		"the root":           {[]dns.RR{record("003b" + "01" + "14b4" + "00")}, nil},
		"too short":          {[]dns.RR{record("003b01"), record("")}, nil},
		"cut short":          {[]dns.RR{record("003b" + "01" + "14b4" + "0161")}, nil},
		"more than a target": {[]dns.RR{record("003b" + "01" + "14b4" + target + "00")}, nil},
		"a pointer":          {[]dns.RR{record("003b" + "01" + "14b4" + "c000")}, nil},
		"not hex":            {[]dns.RR{record("zz")}, nil},
		"another type":       {[]dns.RR{&dns.A{Hdr: dns.RR_Header{Rrtype: dns.TypeA}}, &dns.RFC3597{Hdr: dns.RR_Header{Rrtype: 65280}, Rdata: "003b" + "01" + "14b4" + target}}, nil},
		"too many": {
			[]dns.RR{record("003b010001" + target), record("003b010002" + target), record("003b010003" + target), record("003b010004" + target), record("003b010005" + target)},
			[]string{"a.bcd.:1", "a.bcd.:2", "a.bcd.:3", "a.bcd.:4"},
		},
	} {
		var got []string
		for _, e := range Endpoints(c.set, dns.TypeCDS) {
			got = append(got, e.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

// TestNotify holds the message against the library's reading of it.
func TestNotify(t *testing.T) {
	t.Parallel()
	sent := Notify(0xabcd, parsed(t, "child.example."), dns.TypeCDS)
	var m dns.Msg
	if err := m.Unpack(sent); err != nil {
		t.Fatal(err)
	}
	if m.Id != 0xabcd || m.Opcode != dns.OpcodeNotify || !m.Authoritative || m.Response || m.RecursionDesired || len(m.Question) != 1 ||
		m.Question[0] != (dns.Question{Name: "child.example.", Qtype: dns.TypeCDS, Qclass: dns.ClassINET}) || len(m.Answer)+len(m.Ns)+len(m.Extra) != 0 {
		t.Error(m)
	}
	for what, c := range map[string]struct {
		change func(*dns.Msg)
		rcode  int
		ok     bool
	}{
		"acknowledged":             {func(*dns.Msg) {}, 0, true},
		"refused":                  {func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }, dns.RcodeRefused, true},
		"refused without question": {func(m *dns.Msg) { m.Rcode, m.Question = dns.RcodeNotImplemented, nil }, dns.RcodeNotImplemented, true},
		"nothing without question": {func(m *dns.Msg) { m.Question = nil }, 0, false},
		"other letters":            {func(m *dns.Msg) { m.Question[0].Name = "CHILD.example." }, 0, true},
		"another id":               {func(m *dns.Msg) { m.Id++ }, 0, false},
		"a query":                  {func(m *dns.Msg) { m.Response = false }, 0, false},
		"another opcode":           {func(m *dns.Msg) { m.Opcode = dns.OpcodeQuery }, 0, false},
		"another zone":             {func(m *dns.Msg) { m.Question[0].Name = "chilD2.example." }, 0, false},
		"another type":             {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeCSYNC }, 0, false},
		"two questions":            {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, 0, false},
	} {
		reply := new(dns.Msg)
		reply.SetReply(&m)
		reply.Question = slices.Clone(m.Question)
		c.change(reply)
		packed, err := reply.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if rcode, ok := Answers(sent, packed); ok != c.ok || ok && rcode != c.rcode {
			t.Errorf("%s: %d %v", what, rcode, ok)
		}
	}
	for n := range len(sent) {
		if _, ok := Answers(sent, sent[:n]); ok {
			t.Errorf("%d octets taken for a reply", n)
		}
	}
}
