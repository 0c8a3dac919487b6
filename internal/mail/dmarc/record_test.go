package dmarc

import (
	"strings"
	"testing"
)

func TestNotARecord(t *testing.T) {
	t.Parallel()
	for _, txt := range []string{
		"", "v=spf1 -all", "p=reject; v=DMARC1", "v=dmarc1; p=reject", "v=DMARC2; p=reject", "v=DMARC1 p=reject",
		"V=DMARC1; p=reject", "DMARC1; p=reject", "v=DMARC1.; p=none", "v=DMARC1;" + strings.Repeat(" ", maxRecord),
	} {
		if r, ok := ParseRecord(txt); ok {
			t.Errorf("%q was read as %+v", txt, r)
		}
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	for txt, want := range map[string]Record{
		"v=DMARC1":                           {P: Nothing},
		"v=DMARC1;":                          {P: Nothing},
		"v = DMARC1 ; p = Reject":            {P: Reject}, // values in any letter case
		"v=DMARC1;sp=quarantine;p=REJECT":    {P: Reject, SP: Quarantine},
		"v=DMARC1; p=none; np=reject":        {P: Nothing, NP: Reject},
		"v=DMARC1; p=reject; t=y; psd=n":     {P: Reject, Testing: true, Suffix: SuffixNo},
		"v=DMARC1; p=reject; t=x; psd=zz":    {P: Reject},
		"v=DMARC1; p=reject; psd=Y":          {P: Reject, Suffix: SuffixYes},
		"v=DMARC1; adkim=S; aspf=s":          {P: Nothing, StrictDKIM: true, StrictSPF: true},
		"v=DMARC1; adkim=q; aspf=":           {P: Nothing},
		"v=DMARC1; p=reject; pct=0; ri=1":    {P: Reject}, // unknown now
		"v=DMARC1; p=reject; p=none":         {P: Reject},
		"v=DMARC1; p=reject; =x; y; ;":       {P: Reject},
		"v=DMARC1; p=bogus":                  {P: Nothing, void: true},
		"v=DMARC1; p=reject; sp=bogus":       {P: Nothing, void: true},
		"v=DMARC1; p=reject; np=bogus; fo=1": {P: Nothing, FO: "1", void: true},
	} {
		r, ok := ParseRecord(txt)
		if !ok {
			t.Errorf("%q was not read", txt)
			continue
		}
		if r.P != want.P || r.SP != want.SP || r.NP != want.NP || r.Testing != want.Testing || r.Suffix != want.Suffix ||
			r.StrictDKIM != want.StrictDKIM || r.StrictSPF != want.StrictSPF || r.void != want.void || r.FO != want.FO {
			t.Errorf("%q: got %+v, want %+v", txt, *r, want)
		}
	}
}

func TestReportAddresses(t *testing.T) {
	t.Parallel()
	r, _ := ParseRecord("v=DMARC1; p=bogus; rua=https://x.example, mailto:a@x.example!10m , MAILTO:b@x.example,mailto:; ruf=mailto:f@x.example")
	if strings.Join(r.RUA, " ") != "mailto:a@x.example MAILTO:b@x.example" || len(r.RUF) != 1 {
		t.Errorf("rua %q, ruf %q", r.RUA, r.RUF)
	}
	if r.void || r.P != Nothing {
		t.Errorf("an invalid policy with an address for reports acts as p=none, got %+v", r)
	}
}

func TestFor(t *testing.T) {
	t.Parallel()
	full := &Record{P: Nothing, SP: Quarantine, NP: Reject}
	for name, c := range map[string]struct {
		r      *Record
		author string
		exists bool
		want   Policy
	}{
		"its own":                   {full, "example.com", true, Nothing},
		"below":                     {full, "a.example.com", true, Quarantine},
		"below, absent":             {full, "a.example.com", false, Reject},
		"below, absent, no np":      {&Record{P: Reject, SP: Nothing}, "a.example.com", false, Nothing},
		"below, neither":            {&Record{P: Reject}, "a.example.com", true, Reject},
		"below, absent, neither":    {&Record{P: Reject}, "a.example.com", false, Reject},
		"np is not for what exists": {&Record{P: Nothing, NP: Reject}, "a.example.com", true, Nothing},
	} {
		if got := c.r.For(c.author, "example.com", c.exists); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	testing := &Record{Testing: true}
	if testing.Applied(Reject) != Quarantine || testing.Applied(Quarantine) != Nothing || testing.Applied(Nothing) != Nothing {
		t.Error("t=y lowers the policy by one step")
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; rua=mailto:a@b.example!10m")
	f.Add("v = DMARC1;;=; t=y")
	f.Fuzz(func(t *testing.T, txt string) {
		r, ok := ParseRecord(txt)
		if ok && r.P == NotStated {
			t.Fatalf("%q has no policy", txt)
		}
	})
}
