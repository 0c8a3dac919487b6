package contrast

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const head = "$ORIGIN city.example.\n$TTL 300\n@ SOA ns hostmaster 7 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n"

// records reads text and makes its records those of a zone.
func records(t *testing.T, text string) []dns.RR {
	t.Helper()
	p := dns.NewZoneParser(strings.NewReader(text), ".", "")
	var all []dns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		clean, _, err := zone.Normalise(rr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, clean)
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func zoneOf(t *testing.T, text string) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(mustName(t, "city.example."))
	for _, rr := range records(t, text) {
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func mustName(t *testing.T, text string) name.Name {
	t.Helper()
	n, err := name.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// words is a Contrast in a line: < only here, > only there, ~ another TTL.
func words(c *Contrast) string {
	var all []string
	owner := func(text string) string {
		return strings.TrimPrefix(strings.TrimSuffix(text, "city.example.")+" ", " ")
	}
	short := func(rr dns.RR) string {
		return owner(rr.Header().Name) + dns.Type(rr.Header().Rrtype).String() + " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	for _, rr := range c.Here {
		all = append(all, "< "+short(rr))
	}
	for _, rr := range c.There {
		all = append(all, "> "+short(rr))
	}
	for _, t := range c.TTLs {
		all = append(all, fmt.Sprintf("~ %s%s %d %d", owner(t.Owner), dns.Type(t.Type), t.Here, t.There))
	}
	return strings.Join(all, "; ")
}

func TestOf(t *testing.T) {
	t.Parallel()
	const keys = "@ DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==\n"
	const proof = "@ NSEC ns.city.example. A NS SOA\n@ CDS 0 0 0 00\n"
	for what, c := range map[string]struct {
		here, there string
		signed      bool
		want        string
		made        string // records set aside here and there
		same        int
	}{
		"the same":                        {head, head, false, "", "0 0", 3},
		"another serial":                  {head, strings.Replace(head, " 7 ", " 99 ", 1), false, "", "0 0", 3},
		"another serial, signed":          {head, strings.Replace(head, " 7 ", " 99 ", 1), true, "", "0 0", 3},
		"another timer":                   {head, strings.Replace(head, " 7200 ", " 7201 ", 1), false, "< SOA ns.city.example. hostmaster.city.example. 7 7200 3600 1209600 300; > SOA ns.city.example. hostmaster.city.example. 7 7201 3600 1209600 300", "0 0", 2},
		"a record more here":              {head + "www A 192.0.2.8\n", head, false, "< www. A 192.0.2.8", "0 0", 3},
		"a record more there":             {head, head + "www A 192.0.2.8\n", false, "> www. A 192.0.2.8", "0 0", 3},
		"owners before, between, after":   {head, "a.city.example. 60 A 192.0.2.8\n" + head + "n.ns A 192.0.2.9\nz A 192.0.2.10\n", false, "> a. A 192.0.2.8; > n.ns. A 192.0.2.9; > z. A 192.0.2.10", "0 0", 3},
		"types before, between, after":    {head + "x MX 1 ns\n", head + "x A 192.0.2.8\nx MX 1 ns\nx TXT a\n", false, "> x. A 192.0.2.8; > x. TXT \"a\"", "0 0", 4},
		"a record of several":             {head + "x A 192.0.2.8\nx A 192.0.2.9\n", head + "x A 192.0.2.10\nx A 192.0.2.9\n", false, "< x. A 192.0.2.8; > x. A 192.0.2.10", "0 0", 4},
		"a record that comes twice":       {head + "x A 192.0.2.7\n", head + "x A 192.0.2.7\nx A 192.0.2.8\n", false, "> x. A 192.0.2.8", "0 0", 4},
		"a TTL":                           {head + "x 60 A 192.0.2.8\n", head + "x 61 A 192.0.2.8\n", false, "~ x. A 60 61", "0 0", 4},
		"a TTL and a record":              {head + "x 60 A 192.0.2.8\n", head + "x 61 A 192.0.2.9\n", false, "< x. A 192.0.2.8; > x. A 192.0.2.9; ~ x. A 60 61", "0 0", 3},
		"letter case is none":             {head + "WWW CNAME Ns\n", head + "www CNAME ns\n", false, "", "0 0", 4},
		"texts in other pieces are other": {head + "x TXT ab\n", head + "x TXT a b\n", false, "< x. TXT \"ab\"; > x. TXT \"a\" \"b\"", "0 0", 3},
		"what signing made here":          {head + keys + proof, head, false, "", "3 0", 3},
		"what signing made there":         {head, head + keys + proof, false, "", "0 3", 3},
		"BIND's notes":                    {head, head + "@ TYPE65534 \\# 5 0d1cb20001\nns TYPE65534 \\# 1 00\n", false, "> ns. TYPE65534 ns.city.example.\t300\tCLASS1\tTYPE65534\t\\# 1 00", "0 1", 3},
		"what signing made, compared":     {head + proof, head, true, "< NSEC ns.city.example. A NS SOA; < CDS 0 0 0 00", "0 0", 3},
		"CDS below the apex are data":     {head + "_boot CDS 0 0 0 00\n", head, false, "< _boot. CDS 0 0 0 00", "0 0", 3},
	} {
		seen := &Seen{Records: records(t, c.there)}
		if what == "a record that comes twice" {
			seen.Records = append(seen.Records, seen.Records[len(seen.Records)-1])
		}
		got, err := Of(zoneOf(t, c.here), seen, c.signed)
		if err != nil {
			t.Fatal(err)
		}
		made := fmt.Sprint(got.HereMade.Records, got.ThereMade.Records)
		if words(got) != c.want || made != c.made || got.Same != c.same || got.Equal() != (c.want == "") {
			t.Errorf("%s: got %q, made %s, %d alike; want %q, %s, %d", what, words(got), made, got.Same, c.want, c.made, c.same)
		}
	}
}

// Keys of both sides are told, whatever else is.
func TestKeysAreTold(t *testing.T) {
	t.Parallel()
	const key = "@ DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==\n"
	got, err := Of(zoneOf(t, head), &Seen{Records: records(t, head+key)}, false)
	if err != nil || len(got.ThereMade.Keys) != 1 || len(got.HereMade.Keys) != 0 || got.ThereMade.Keys[0].Algorithm != 13 {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, head+"a.ent TXT x\nsub NS ns.sub\nsub DS 1 13 2 "+strings.Repeat("00", 32)+"\nns.sub A 192.0.2.9\nns.sub TXT hidden\nwww SRV 1 1 1 ns\n@ NSEC ns.city.example. A\n")
	asks, all := Questions(z)
	got, count := map[string]string{}, 0
	for _, q := range asks {
		var types []string
		for _, k := range q.Types {
			types = append(types, dns.Type(k).String())
		}
		got[strings.TrimSuffix(q.Name.String(), "city.example.")] = strings.Join(types, " ")
		count += len(q.Types)
	}
	want := map[string]string{
		"":        "NS SRV HTTPS DNSKEY CDS CDNSKEY NSEC3PARAM A MX TXT AAAA CAA",
		"ns.":     "A MX TXT AAAA CAA",
		"a.ent.":  "TXT A MX AAAA CAA",
		"sub.":    "NS DS",
		"ns.sub.": "A",
		"www.":    "SRV A MX TXT AAAA CAA",
	}
	for _, l := range Likely() {
		if want[l+"."] == "" {
			want[l+"."] = "A MX TXT AAAA CAA"
		}
	}
	for n, types := range want {
		if got[n] != types {
			t.Errorf("%q: asks for %q, want %q", n, got[n], types)
		}
	}
	if len(got) != len(want) || count != all {
		t.Errorf("asks %v; %d of %d", got, count, all)
	}
}

// TestAnswers: what each kind of answer says of the zone.
func TestAnswers(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	here := head + "www A 192.0.2.8\nsub NS ns.sub\nns.sub A 192.0.2.9\n"
	for what, c := range map[string]struct {
		name string
		kind uint16
		a    Answer
		want string // of the contrast, restricted to what was asked
		open error
	}{
		"nobody answers":             {"www", dns.TypeA, Answer{Err: broken}, "", broken},
		"without authority":          {"www", dns.TypeA, Answer{}, "", ErrLame},
		"NXDOMAIN without authority": {"www", dns.TypeA, Answer{Rcode: dns.RcodeNameError}, "", ErrLame},
		"NXDOMAIN":                   {"www", dns.TypeA, Answer{Rcode: dns.RcodeNameError, Authority: true}, "< www. A 192.0.2.8", nil},
		"no data":                    {"www", dns.TypeA, Answer{Authority: true}, "< www. A 192.0.2.8", nil},
		"the same":                   {"www", dns.TypeA, Answer{Authority: true, Answer: records(t, "www.city.example. 300 A 192.0.2.8")}, "", nil},
		"more":                       {"www", dns.TypeA, Answer{Authority: true, Answer: records(t, "www.city.example. 300 A 192.0.2.8\nwww.city.example. 300 A 192.0.2.9")}, "> www. A 192.0.2.9", nil},
		"a chain":                    {"www", dns.TypeA, Answer{Authority: true, Answer: records(t, "www.city.example. 300 CNAME ns.city.example.\nns.city.example. 300 A 192.0.2.1")}, "< www. A 192.0.2.8; > www. CNAME ns.city.example.", nil},
		"a chain out of the zone":    {"www", dns.TypeA, Answer{Authority: true, Answer: records(t, "www.city.example. 300 CNAME a.other.\na.other. 300 A 192.0.2.1")}, "< www. A 192.0.2.8; > www. CNAME a.other.", nil},
		"a DNAME above":              {"www", dns.TypeA, Answer{Authority: true, Answer: records(t, "city.example. 300 DNAME other.\nwww.city.example. 0 CNAME www.other.")}, "< www. A 192.0.2.8; > DNAME other.", nil},
		"of another owner":           {"www", dns.TypeA, Answer{Authority: true, Answer: records(t, "ftp.city.example. 300 A 192.0.2.8")}, "< www. A 192.0.2.8", nil},
		"a referral":                 {"sub", dns.TypeNS, Answer{Ns: records(t, "sub.city.example. 300 NS ns.sub.city.example.")}, "", nil},
		"another referral":           {"sub", dns.TypeNS, Answer{Ns: records(t, "sub.city.example. 300 NS a.other.")}, "< sub. NS ns.sub.city.example.; > sub. NS a.other.", nil},
		"a referral upwards":         {"sub", dns.TypeNS, Answer{Ns: records(t, "city.example. 300 NS a.other.")}, "", ErrLame},
		"glue":                       {"ns.sub", dns.TypeA, Answer{Ns: records(t, "sub.city.example. 300 NS ns.sub.city.example."), Extra: records(t, "ns.sub.city.example. 300 A 192.0.2.10\nb.sub.city.example. 300 A 192.0.2.11")}, "< ns.sub. A 192.0.2.9; > ns.sub. A 192.0.2.10", nil},
		"a delegation of theirs":     {"www", dns.TypeA, Answer{Ns: records(t, "www.city.example. 300 NS a.other.")}, "< www. A 192.0.2.8; > www. NS a.other.", nil},
	} {
		z := zoneOf(t, here)
		g := NewGather(z.Origin(), z.SOA(), broken)
		g.Take(mustName(t, c.name+".city.example."), c.kind, c.a)
		got, err := Of(z, &g.Seen, false)
		if err != nil {
			t.Fatal(err)
		}
		if words(got) != c.want {
			t.Errorf("%s: got %q, want %q", what, words(got), c.want)
		}
		if (c.open == nil) != (len(g.Open) == 0) || c.open != nil && !errors.Is(g.Open[0].Why, c.open) {
			t.Errorf("%s: open %v, want %v", what, g.Open, c.open)
		}
		if got.Equal() != (c.want == "") || got.Unseen == 0 || g.Asked != 2 {
			t.Errorf("%s: %+v after %d questions", what, got, g.Asked)
		}
	}
}
