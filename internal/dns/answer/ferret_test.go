package answer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// ferretCase is a zone, a question, and what BIND, NSD, Knot and PowerDNS say.
type ferretCase struct {
	ID     int
	Zone   string
	Name   string
	Type   string
	Groups []struct {
		Answer, Authority, Additional, Flags []string
		Rcode                                string
	}
}

// TestFerret replays cases of FerretDataset: an answer must equal the
// unanimous one, or, where the servers differ, one of theirs. Compared is what
// the kind of answer obliges: rcode, AA, the answer section, the SOA of a
// denial, the NS set and addresses of a referral.
func TestFerret(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../../../shared/vectors/ferret/valid.jsonl.gz")
	if err != nil {
		t.Skip("the shared test data is not here:", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines, count := bufio.NewScanner(z), 0
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c ferretCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		count++
		c.check(t)
	}
	if lines.Err() != nil || count < 4000 {
		t.Errorf("%d cases, %v", count, lines.Err())
	}
}

func (c *ferretCase) check(t *testing.T) {
	t.Helper()
	w := newWorld(t, c.Zone)
	m, _, ok := w.ask(t, c.Name, dns.StringToType[c.Type], wire.MaxTCP, func(m *dns.Msg) { m.RecursionDesired = false })
	if !ok {
		t.Errorf("case %d: %s is in no zone", c.ID, c.Name)
		return
	}
	got := ferretView(m.Rcode, m.Authoritative, lines(m.Answer), lines(m.Ns), lines(m.Extra))
	for _, g := range c.Groups {
		if g.Rcode != "" && got == ferretView(dns.StringToRcode[g.Rcode], slices.Contains(g.Flags, "AA"), ferretLines(t, g.Answer), ferretLines(t, g.Authority), ferretLines(t, g.Additional)) {
			return
		}
	}
	t.Errorf("case %d, %s %s: got %s\nwant one of %v", c.ID, c.Name, c.Type, got, c.Groups)
}

func ferretLines(t *testing.T, text []string) []string {
	t.Helper()
	return lines(parse(t, strings.Join(text, "\n")+"\n"))
}

// ferretView is what is compared, as one string.
func ferretView(rcode int, aa bool, answer, authority, additional []string) string {
	kind, oblige := "empty", []string(nil)
	of := func(section []string, types ...string) []string {
		var out []string
		for _, rr := range section {
			if slices.Contains(types, strings.Fields(rr)[3]) {
				out = append(out, rr)
			}
		}
		return out
	}
	switch {
	case len(answer) > 0 || rcode != dns.RcodeSuccess && rcode != dns.RcodeNameError:
		kind = "positive"
	case len(of(authority, "soa")) > 0:
		kind, oblige = "negative", of(authority, "soa")
	case len(of(authority, "ns")) > 0:
		kind, oblige = "referral", append(of(authority, "ns"), of(additional, "a", "aaaa")...)
	}
	b, _ := json.Marshal([]any{dns.RcodeToString[rcode], aa, kind, slices.Compact(answer), oblige})
	return string(b)
}
