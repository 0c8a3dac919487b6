package dmarc

import (
	"slices"
	"strings"
	"testing"

	"postern/internal/lookup/lookuptest"
)

// TestWorkedCases are those of the standard's appendix, with the questions
// they may cost.
func TestWorkedCases(t *testing.T) {
	t.Parallel()
	bank := lookuptest.Map{
		"_dmarc.bank.example TXT":       {"v=DMARC1; p=reject; psd=y"},
		"_dmarc.giant.bank.example TXT": {"v=DMARC1; p=quarantine"},
	}
	for name, c := range map[string]struct {
		world lookuptest.Map
		in    Input
		want  Result
		asked []string
	}{
		"1: records at both names": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject"}, "_dmarc.signing.example.com TXT": {"v=DMARC1; p=none"}},
			Input{[]string{"example.com"}, Identifier{"example.com", Passed}, []Identifier{{"signing.example.com", Passed}}},
			Result{Status: Pass, At: "example.com", SPF: true, DKIM: true, Org: "example.com", Published: Reject, Applied: Reject},
			[]string{"example.com", "com", "signing.example.com"},
		},
		"2: a name of many labels": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject; sp=quarantine"}},
			Input{Authors: []string{"a.b.c.d.e.f.g.h.i.j.k.example.com"}},
			Result{Status: Fail, At: "example.com", Published: Quarantine, Applied: Quarantine},
			[]string{
				"a.b.c.d.e.f.g.h.i.j.k.example.com", "g.h.i.j.k.example.com", "h.i.j.k.example.com", "i.j.k.example.com",
				"j.k.example.com", "k.example.com", "example.com", "com",
			},
		},
		"3: below a public suffix, its own name": {
			bank,
			Input{[]string{"giant.bank.example"}, Identifier{"mail.giant.bank.example", Passed}, nil},
			Result{Status: Pass, At: "giant.bank.example", SPF: true, Org: "giant.bank.example", Published: Quarantine, Applied: Quarantine},
			[]string{"giant.bank.example", "bank.example", "mail.giant.bank.example"},
		},
		"3: another customer of the suffix": {
			bank,
			Input{[]string{"giant.bank.example"}, Identifier{"mail.mega.bank.example", Passed}, nil},
			Result{Status: Fail, At: "giant.bank.example", Org: "giant.bank.example", Published: Quarantine, Applied: Quarantine},
			[]string{"giant.bank.example", "bank.example"},
		},
		"the suffix speaks for a name without a record": {
			bank,
			Input{Authors: []string{"mail.mega.bank.example"}},
			Result{Status: Fail, At: "bank.example", Published: Reject, Applied: Reject},
			[]string{"mail.mega.bank.example", "mega.bank.example", "bank.example"},
		},
		"the suffix itself as author": {
			bank,
			Input{Authors: []string{"bank.example"}},
			Result{Status: Fail, At: "bank.example", Published: Reject, Applied: Reject},
			[]string{"bank.example"},
		},
		"psd=n makes a subdomain its own organization": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=none"}, "_dmarc.a.example.com TXT": {"v=DMARC1; p=reject; psd=n"}},
			Input{[]string{"a.example.com"}, Identifier{"example.com", Passed}, nil},
			Result{Status: Fail, At: "a.example.com", Org: "a.example.com", Published: Reject, Applied: Reject},
			[]string{"a.example.com"},
		},
		"no record anywhere": {
			lookuptest.Map{},
			Input{[]string{"a.example.com"}, Identifier{"a.example.com", Passed}, nil},
			Result{Status: None},
			[]string{"a.example.com", "example.com", "com"},
		},
		"equal names need no walk": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject"}},
			Input{[]string{"example.com"}, Identifier{"example.com", Passed}, []Identifier{{"EXAMPLE.com", Passed}}},
			Result{Status: Pass, At: "example.com", SPF: true, DKIM: true, Published: Reject, Applied: Reject},
			[]string{"example.com"},
		},
		"strict alignment needs none": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject; aspf=s; adkim=s"}},
			Input{[]string{"example.com"}, Identifier{"a.example.com", Passed}, []Identifier{{"b.example.com", Passed}}},
			Result{Status: Fail, At: "example.com", Published: Reject, Applied: Reject},
			[]string{"example.com"},
		},
		"what did not pass needs none": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject"}},
			Input{[]string{"example.com"}, Identifier{"a.example.com", Not}, []Identifier{{"example.com", Not}}},
			Result{Status: Fail, At: "example.com", Published: Reject, Applied: Reject},
			[]string{"example.com"},
		},
		"two records are none": {
			lookuptest.Map{"_dmarc.a.example.com TXT": {"v=DMARC1; p=reject", "v=DMARC1; p=reject"}, "_dmarc.example.com TXT": {"other", "v=DMARC1; p=none; sp=reject; t=y"}},
			Input{Authors: []string{"a.example.com"}},
			Result{Status: Fail, At: "example.com", Published: Reject, Applied: Quarantine},
			[]string{"a.example.com", "example.com", "com"},
		},
		"an invalid policy that nobody hears of": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=rejekt"}},
			Input{Authors: []string{"example.com"}},
			Result{Status: None},
			[]string{"example.com"},
		},
		"an open SPF might have aligned": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject"}},
			Input{[]string{"example.com"}, Identifier{"example.com", Open}, nil},
			Result{Status: TempError, At: "example.com", Published: Reject, Applied: Reject},
			[]string{"example.com"},
		},
		"an open key of a stranger might not": {
			lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject"}},
			Input{[]string{"example.com"}, Identifier{}, []Identifier{{"other.example", Open}}},
			Result{Status: Fail, At: "example.com", Org: "example.com", Published: Reject, Applied: Reject},
			[]string{"example.com", "com"}, // a name outside the organization cannot align, whatever its DNS says
		},
		"address literal": {
			lookuptest.Map{}, Input{Authors: []string{"[192.0.2.1]"}}, Result{Status: None}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &lookuptest.Recorder{Map: c.world}
			got := Evaluate(t.Context(), r, c.in)
			if got.Status != c.want.Status || got.At != c.want.At || got.SPF != c.want.SPF || got.DKIM != c.want.DKIM ||
				got.Org != c.want.Org || got.Published != c.want.Published || got.Applied != c.want.Applied {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if asked := names(r); !slices.Equal(asked, c.asked) {
				t.Errorf("asked %q\nwant  %q", asked, c.asked)
			}
		})
	}
}

func names(r *lookuptest.Recorder) []string {
	var out []string
	for _, q := range r.Asked() {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(q, "_dmarc."), " TXT"))
	}
	return out
}

func TestNonexistentAuthor(t *testing.T) {
	t.Parallel()
	record := []string{"v=DMARC1; p=none; sp=quarantine; np=reject"}
	for name, c := range map[string]struct {
		world lookuptest.Map
		want  Policy
		state Status
	}{
		"absent (RFC 8020)":  {lookuptest.Map{"_dmarc.example.com TXT": record}, Reject, Fail},
		"without address":    {lookuptest.Map{"_dmarc.example.com TXT": record, "a.example.com MX": {"0 ."}}, Quarantine, Fail},
		"only names below":   {lookuptest.Map{"_dmarc.example.com TXT": record, "x.a.example.com A": {"192.0.2.1"}}, Quarantine, Fail},
		"nobody can tell":    {lookuptest.Map{"_dmarc.example.com TXT": record, "a.example.com A": {"SERVFAIL"}}, Quarantine, TempError},
		"np does not matter": {lookuptest.Map{"_dmarc.example.com TXT": {"v=DMARC1; p=reject"}, "a.example.com A": {"SERVFAIL"}}, Reject, Fail},
	} {
		got := Evaluate(t.Context(), c.world, Input{Authors: []string{"a.example.com"}})
		if got.Status != c.state || got.Applied != c.want {
			t.Errorf("%s: got %s %s, want %s %s", name, got.Status, got.Applied, c.state, c.want)
		}
	}
}

func TestTemporaryError(t *testing.T) {
	t.Parallel()
	for name, world := range map[string]lookuptest.Map{
		"at the author":             {"_dmarc.a.example.com TXT": {"SERVFAIL"}},
		"on the way":                {"_dmarc.example.com TXT": {"TIMEOUT"}},
		"in the walk of the signer": {"_dmarc.a.example.com TXT": {"v=DMARC1; p=reject"}, "_dmarc.example.com TXT": {"v=DMARC1; p=reject"}, "_dmarc.b.example.com TXT": {"SERVFAIL"}},
	} {
		got := Evaluate(t.Context(), world, Input{Authors: []string{"a.example.com"}, DKIM: []Identifier{{"b.example.com", Passed}}})
		if got.Status != TempError || got.Err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	// What passes elsewhere needs no second opinion.
	world := lookuptest.Map{"_dmarc.a.example.com TXT": {"v=DMARC1; p=reject"}, "_dmarc.b.example.com TXT": {"SERVFAIL"}}
	in := Input{Authors: []string{"a.example.com"}, SPF: Identifier{"a.example.com", Passed}, DKIM: []Identifier{{"b.example.com", Passed}}}
	if got := Evaluate(t.Context(), world, in); got.Status != Pass {
		t.Errorf("SPF aligned: got %+v", got)
	}
}

// TestStrangersBrokenDNSIsNoExcuse has a forger sign with a domain whose walk
// fails. That must not leave open what the author's own policy decides.
func TestStrangersBrokenDNSIsNoExcuse(t *testing.T) {
	t.Parallel()
	world := lookuptest.Map{
		"_dmarc.victim.example TXT":    {"v=DMARC1; p=reject"},
		"_dmarc.notvictim.example TXT": {"SERVFAIL"},
		"_dmarc.evil.test TXT":         {"SERVFAIL"},
		"_dmarc.test TXT":              {"TIMEOUT"},
	}
	for name, in := range map[string]Input{
		"signature":       {DKIM: []Identifier{{"evil.test", Passed}}},
		"open signature":  {DKIM: []Identifier{{"evil.test", Open}}},
		"envelope":        {SPF: Identifier{"evil.test", Passed}},
		"name as suffix":  {SPF: Identifier{"evil.test", Open}, DKIM: []Identifier{{"notvictim.example", Open}}},
		"literal sender":  {SPF: Identifier{"[192.0.2.1]", Open}},
		"parent that may": {DKIM: []Identifier{{"example", Open}}},
	} {
		in.Authors = []string{"victim.example"}
		if got := Evaluate(t.Context(), world, in); got.Status != Fail || got.Applied != Reject {
			t.Errorf("%s: got %s %s %v, want fail and reject", name, got.Status, got.Applied, got.Err)
		}
	}
}

func TestSeveralAuthors(t *testing.T) {
	t.Parallel()
	world := lookuptest.Map{
		"_dmarc.none.example TXT":   {"v=DMARC1; p=none"},
		"_dmarc.hold.example TXT":   {"v=DMARC1; p=quarantine"},
		"_dmarc.strict.example TXT": {"v=DMARC1; p=reject"},
		"_dmarc.broken.example TXT": {"SERVFAIL"},
	}
	passed := Identifier{"strict.example", Passed}
	for _, c := range []struct {
		authors []string
		want    string
		status  Status
	}{
		{[]string{"none.example", "strict.example", "hold.example"}, "hold.example", Fail},
		{[]string{"strict.example", "free.example"}, "strict.example", Pass},
		{[]string{"free.example", "strict.example"}, "strict.example", Pass},
		{[]string{"hold.example", "broken.example"}, "broken.example", TempError},
		{[]string{"STRICT.example", "strict.example"}, "strict.example", Pass},
		{nil, "", None},
	} {
		got := Evaluate(t.Context(), world, Input{Authors: c.authors, SPF: passed})
		if got.Author != c.want || got.Status != c.status {
			t.Errorf("%v: got %s for %q, want %s for %q", c.authors, got.Status, got.Author, c.status, c.want)
		}
	}
	many := []string{"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"}
	r := &lookuptest.Recorder{Map: world}
	if got := Evaluate(t.Context(), r, Input{Authors: many}); !got.TooManyAuthors || len(r.Asked()) != 0 {
		t.Errorf("six domains: %+v after %v", got, r.Asked())
	}
}
