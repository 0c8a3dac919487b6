package cli

import (
	"fmt"
	"io"
	"net/netip"

	"postern/internal/mail/dkim"
	"postern/internal/mail/spf"
	"postern/internal/mail/verdict"
)

// What "postern test" says to programs, in the words of RFC 8601.

type spfJSON struct {
	Identity string `json:"identity"` // helo, mailfrom
	Domain   string `json:"domain"`
	Result   string `json:"result"`
	Why      string `json:"why,omitempty"`
}

// good tells that nothing is wrong: the host may send, or nobody says it may not.
func (s spfJSON) good() bool {
	return s.Result == spf.Pass.String() || s.Result == spf.None.String() || s.Result == spf.Neutral.String()
}

type dkimJSON struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"`
	Result    string `json:"result"`
	Why       string `json:"why,omitempty"`
	Testing   bool   `json:"testing,omitempty"`
}

type factsJSON struct {
	SPF     []spfJSON  `json:"spf"`
	DKIM    []dkimJSON `json:"dkim"`
	DMARC   string     `json:"dmarc"`
	Author  string     `json:"author,omitempty"`
	At      string     `json:"at,omitempty"`     // where the record stands
	Policy  string     `json:"policy,omitempty"` // what it asks for
	Applied string     `json:"applied,omitempty"`
	// Whether what passed is the author's.
	SPFAligned  bool `json:"spf_aligned"`
	DKIMAligned bool `json:"dkim_aligned"`

	Action  string `json:"action"`
	Reason  string `json:"reason"`
	Reply   string `json:"reply,omitempty"`
	Results string `json:"authentication_results"`
}

func jsonOfSPF(r spf.Result) spfJSON {
	return spfJSON{r.Identity.String(), r.Domain, r.Status.String(), r.Explain}
}

func jsonOfDKIM(sigs []dkim.Signature) []dkimJSON {
	out := []dkimJSON{}
	for _, s := range sigs {
		out = append(out, dkimJSON{s.Domain, s.Selector, s.Algorithm, s.Status.String(), s.Reason, s.Testing})
	}
	return out
}

// jsonOfFacts has the verdict as an appliance with no exceptions makes it.
func jsonOfFacts(client netip.Addr, f verdict.Facts) factsJSON {
	d := verdict.Decide(f, verdict.Policy{Patient: true})
	out := factsJSON{
		SPF: []spfJSON{jsonOfSPF(f.HELO)}, DKIM: jsonOfDKIM(f.DKIM), DMARC: f.DMARC.Status.String(),
		Author: f.DMARC.Author, At: f.DMARC.At, Policy: f.DMARC.Published.String(), Applied: f.DMARC.Applied.String(),
		SPFAligned: f.DMARC.SPF, DKIMAligned: f.DMARC.DKIM,
		Action: d.Action.String(), Reason: d.Reason, Results: verdict.Results("localhost", client, f),
	}
	if f.From.Identity == spf.MailFrom {
		out.SPF = append(out.SPF, jsonOfSPF(f.From))
	}
	if f.Author != nil {
		out.DMARC = "permerror"
	}
	if d.Reply != nil {
		out.Reply = d.Reply.String()
	}
	return out
}

func printSPF(w io.Writer, results []spfJSON) {
	for _, r := range results {
		fmt.Fprintf(w, "spf      %s smtp.%s=%s%s\n", r.Result, r.Identity, r.Domain, because(r.Why))
	}
}

func printDKIM(w io.Writer, sigs []dkimJSON) {
	if len(sigs) == 0 {
		fmt.Fprintln(w, "dkim     none: not signed")
	}
	for _, s := range sigs {
		why := because(s.Why)
		if s.Testing {
			why += " (test key)"
		}
		fmt.Fprintf(w, "dkim     %s header.d=%s header.s=%s header.a=%s%s\n", s.Result, s.Domain, s.Selector, s.Algorithm, why)
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func (f factsJSON) print(w io.Writer) {
	printSPF(w, f.SPF)
	printDKIM(w, f.DKIM)
	fmt.Fprintf(w, "dmarc    %s header.from=%s\n", f.DMARC, f.Author)
	if f.At != "" {
		fmt.Fprintf(w, "policy   %s, by the record of %s; applied: %s\n", f.Policy, f.At, f.Applied)
		fmt.Fprintf(w, "aligned  spf %s, dkim %s\n", yes(f.SPFAligned), yes(f.DKIMAligned))
	}
	fmt.Fprintf(w, "verdict  %s (%s)\n", f.Action, f.Reason)
	if f.Reply != "" {
		fmt.Fprintf(w, "reply    %s\n", f.Reply)
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
