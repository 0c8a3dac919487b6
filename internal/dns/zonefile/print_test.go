package zonefile

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// TestPrintRecord: what is printed is read again as the same, by us and by others: an
// owner is no directive, no class is a number, and nothing stands bare in a name
// that Knot does not take there.
func TestPrintRecord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{`\$include.example. 5 A 192.0.2.1`, `\$include.example. 5 IN A 192.0.2.1`},
		{`a\$b\$.example. 5 TXT "$5" x`, `a\$b\$.example. 5 IN TXT "$5" "x"`},
		{`a\!\#\034b\~\\.example. 5 NS n\:s\046\\.example.`, `a\!\#\"b\~\\.example. 5 IN NS n\:s\.\\.example.`},
		{`a\:b.example. 5 AAAA 2001:db8::1`, `a\:b.example. 5 IN AAAA 2001:db8::1`},
		{`a.example. 5 SRV 1 2 3 \{x\}.example.`, `a.example. 5 IN SRV 1 2 3 \{x\}.example.`},
		{`a.example. 5 NS \$ns.example.`, `a.example. 5 IN NS \$ns.example.`},
		{`a.example. 5 NSEC \$b.\$.example. A TYPE65280 NSEC`, `a.example. 5 IN NSEC \$b.\$.example. A NSEC TYPE65280`},
		{`\$.example. 5 TYPE65280 \# 2 abcd`, `\$.example. 5 IN TYPE65280 \# 2 abcd`},
		{`a.example. 5 TYPE65281 \# 0`, `a.example. 5 IN TYPE65281 \# 0`},
		{`\$.example. 5 HINFO \# 2 0000`, `\$.example. 5 IN HINFO "" ""`},
	} {
		records, problems := ParseText(c.in+"\n", "", name.Root, Options{})
		if len(records) != 1 {
			t.Fatalf("%s: %v", c.in, problems)
		}
		line := PrintRecord(records[0].RR)
		if got := strings.Join(strings.Fields(line), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
		again, problems := ParseText(line+"\n", "", name.Root, Options{})
		if len(again) != 1 || !same(again[0].RR, records[0].RR) {
			t.Errorf("%s is read again as %v, %v", line, again, problems)
		}
		if _, err := dns.NewRR(line); err != nil {
			t.Errorf("%s: the library does not read it: %v", line, err)
		}
	}
}
