package resolver

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/validate"
)

// The scenarios of other resolvers that have signatures, as far as they ask for
// one set without an alias: what is compared is the verdict. AD is secure,
// SERVFAIL is neither secure nor insecure, all else is not secure.

func TestSignedScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(rplDir, "*-resigned", "*.rpl"))
	if err != nil || len(files) == 0 {
		t.Skipf("no scenarios under %s", rplDir)
	}
	judged := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir, base := filepath.Split(file)
		s, err := parseRPL(string(text))
		if err != nil {
			t.Logf("%s: left out: %v", base, err)
			continue
		}
		t.Run(filepath.Base(dir)+"/"+base, func(t *testing.T) {
			for _, verdict := range s.judge(t) {
				judged[verdict]++
			}
		})
	}
	t.Logf("judged alike: %v", judged)
	if judged["secure"] == 0 || judged["bogus"] == 0 || judged["insecure"] == 0 {
		t.Error(judged)
	}
}

// judge holds our verdict on each question against the scenario's answer.
func (s *scenario) judge(t *testing.T) []string {
	cfg := Config{Now: func() time.Time { return s.now }, NoSpecialUse: true, Minimise: iterate.Whole, IPv4: true, IPv6: !s.noIPv6}
	cfg.Roots = []Hint{{mustName(t, "k.root-servers.net."), s.roots}}
	for _, line := range s.anchors {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatalf("anchor %q: %v", line, err)
		}
		a := validate.Anchor{Zone: mustName(t, rr.Header().Name)}
		switch rr := rr.(type) {
		case *dns.DS:
			a.DS = append(a.DS, rr)
		case *dns.DNSKEY:
			a.Keys = append(a.Keys, rr)
		}
		cfg.Anchors = append(cfg.Anchors, a)
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop(context.Background()) }) // the test's own context has ended
	r.out = s
	var out []string
	for i, step := range s.steps {
		if step.kind != "QUERY" || i+1 >= len(s.steps) || s.steps[i+1].kind != "CHECK_ANSWER" {
			continue
		}
		want := s.steps[i+1].entry.msg
		q := step.entry.msg.Question[0]
		if !step.entry.do || q.Qtype == dns.TypeANY || slices.ContainsFunc(want.Answer, isAlias) {
			continue
		}
		s.at = step.id
		if s.unbound {
			s.at = s.steps[i+1].id
		}
		// The scenarios script the way to the servers for this question alone.
		_, _ = r.Resolve(t.Context(), Question{Name: mustName(t, q.Name), Type: q.Qtype})
		got, alias := authentic(t, r, mustName(t, q.Name), q.Qtype)
		if alias {
			continue
		}
		ok := got.Security == Secure
		word := "secure"
		switch {
		case want.Rcode == dns.RcodeServerFailure:
			ok, word = got.Security == Bogus || got.Security == Unknown, "bogus"
		case !want.AuthenticatedData:
			ok, word = got.Security == Insecure || got.Security == Unknown, "insecure"
		}
		if !ok {
			t.Errorf("step %d: %s %s: %v, want %s", step.id, q.Name, dns.Type(q.Qtype), got, word)
		}
		out = append(out, word)
	}
	return out
}

func isAlias(rr dns.RR) bool {
	return rr.Header().Rrtype == dns.TypeCNAME || rr.Header().Rrtype == dns.TypeDNAME
}

// authentic judges a set as a validating resolver would for its client.
func authentic(t *testing.T, r *Resolver, n name.Name, rtype uint16) (v validate.Verdict, alias bool) {
	t.Helper()
	to := n
	if rtype == dns.TypeDS { // the parent's side answers
		to = n.Parent()
	}
	var anchor validate.Anchor
	for _, a := range r.cfg.Anchors {
		if to.IsBelow(a.Zone) && (anchor.Zone == "" || a.Zone.IsBelow(anchor.Zone)) {
			anchor = a
		}
	}
	if anchor.Zone == "" {
		return validate.Verdict{}, false
	}
	d := &descent{walk: r.newWalk("", false), judge: validate.New(validate.Limits{})}
	keys, l, err := d.keys(t.Context(), r.chain.anchor(anchor.Zone), anchor.Trust(), true)
	if err != nil || l.cut.Security != Secure {
		return l.cut.Verdict, false
	}
	for at := range downTo(anchor.Zone, to) {
		l, err := d.step(t.Context(), keys, at, false)
		switch {
		case err != nil || l.cut.Reason == validate.ProofMissing: // a scenario does not script every question
			continue
		case l.cut.Security != Secure:
			return l.cut.Verdict, false
		case l.cut.Standing == validate.Unsigned, l.cut.Standing == validate.OptedOut:
			return validate.Verdict{Security: Insecure, Reason: l.cut.Reason}, false
		case l.cut.Standing == validate.Signed:
			if keys, l, err = d.keys(t.Context(), l, l.cut.Trust(), false); err != nil || l.cut.Security != Secure {
				return l.cut.Verdict, false
			}
		}
	}
	found := validate.Found{}
	err = d.message(t.Context(), iterate.Question{Name: n, Type: rtype}, func(m *dns.Msg) error {
		found = d.judge.Set(keys, n, rtype, m, r.cfg.Now())
		alias = slices.ContainsFunc(m.Answer, isAlias)
		return failed(found.Verdict)
	})
	if err != nil {
		return validate.Verdict{Security: Unknown, Reason: validate.NoReply, Err: err}, false
	}
	return found.Verdict, alias
}
