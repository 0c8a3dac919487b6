package answer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// askAll asks for every host of manyHosts.
func askAll(t *testing.T, z *Zone, hosts int, data string) {
	t.Helper()
	for i := range hosts {
		m := new(dns.Msg).SetQuestion(fmt.Sprintf("h%d.z.", i), dns.TypeTXT)
		msg, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var q wire.Query
		q.Parse(msg)
		reply, res := z.Append(q.Start(nil), &q, wire.MaxUDP, nil)
		got := new(dns.Msg)
		if err := got.Unpack(q.Finish(reply, 0, res.Rcode, res.Counts, nil)); err != nil || len(got.Answer) != 1 {
			t.Fatalf("host %d: %v %v", i, got, err)
		}
		if txt := got.Answer[0].(*dns.TXT); txt.Hdr.Name != m.Question[0].Name || txt.Txt[0] != fmt.Sprint(i) || txt.Txt[1] != data {
			t.Fatalf("host %d: %v", i, txt)
		}
	}
}

func manyHosts(hosts int, data string) string {
	var b strings.Builder
	b.WriteString("z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.z.\n")
	for i := range hosts {
		fmt.Fprintf(&b, "h%d.z. 60 IN TXT \"%d\" \"%[3]s\" \"%[3]s\" \"%[3]s\"\n", i, i, data)
	}
	return b.String()
}

// TestSegmentsAreFew: a position names one of 1024 segments, so they must not
// be used up by a zone that is larger than was expected, nor by one that
// changes as a whole.
func TestSegmentsAreFew(t *testing.T) {
	t.Parallel()
	const hosts = 6000
	long, other := strings.Repeat("x", 250), strings.Repeat("y", 250)
	z := Compile(build(t, parse(t, manyHosts(hosts, long))))
	if n := len(z.segs); n > 20 {
		t.Errorf("%d segments", n)
	}
	askAll(t, z, hosts, long)
	z = Recompile(build(t, parse(t, manyHosts(hosts, other))), z)
	if n := len(z.segs); n > 40 {
		t.Errorf("%d segments after all has changed", n)
	}
	askAll(t, z, hosts, other)
}
