package verdict

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"postern/internal/mail/dkim"
	"postern/internal/mail/dmarc"
	"postern/internal/mail/message"
	"postern/internal/mail/spf"
)

func judged(r dmarc.Result) Facts {
	return Facts{Ran: Checks{SPF: true, DKIM: true, DMARC: true}, Authors: []string{"example.com"}, DMARC: r}
}

var reject = &dmarc.Record{P: dmarc.Reject}

func failing(applied dmarc.Policy) dmarc.Result {
	return dmarc.Result{Status: dmarc.Fail, Author: "example.com", At: "example.com", Record: reject, Published: dmarc.Reject, Applied: applied}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	authorless := func(err error) Facts {
		f := judged(dmarc.Result{})
		f.Author, f.Authors = err, nil
		return f
	}
	unsure := judged(dmarc.Result{Status: dmarc.TempError, Author: "example.com"})
	unsureSPF := unsure
	unsureSPF.From.Status = spf.TempError
	unsureNone := judged(dmarc.Result{Status: dmarc.TempError, Record: &dmarc.Record{P: dmarc.Nothing}, Applied: dmarc.Nothing})
	// A record is known, but not whether a signature that might satisfy it is good.
	open := func(applied dmarc.Policy) Facts {
		r := failing(applied)
		r.Status = dmarc.TempError
		return judged(r)
	}
	fromList := judged(failing(dmarc.Reject))
	fromList.DKIM = []dkim.Signature{{Status: dkim.Pass, Domain: "lists.example.org"}}
	fromList.Lists = []string{"dev.lists.example.org"}
	openList := fromList
	openList.DMARC.Status = dmarc.TempError
	unsigned := fromList
	unsigned.DKIM = []dkim.Signature{{Status: dkim.Fail, Domain: "lists.example.org"}}
	many := judged(dmarc.Result{TooManyAuthors: true})
	patient := Policy{Patient: true}
	lists := Policy{Lists: []string{"example.org"}}

	client := netip.MustParseAddr("192.0.2.7")
	listed := judged(dmarc.Result{Status: dmarc.Pass})
	listed.Client, listed.Listings = client, []Listing{{"bl.example", netip.MustParseAddr("127.0.0.2")}}
	listedOnly := listed
	listedOnly.Ran = Checks{}
	relayed, sealed, sealedOther := judged(failing(dmarc.Reject)), judged(failing(dmarc.Quarantine)), judged(failing(dmarc.Reject))
	relayed.Client, sealed.Sealed, sealedOther.Sealed = client, []string{"example.com"}, []string{"example.org"}
	named := judged(failing(dmarc.Reject))
	named.Client, named.Reverse = client, Reverse{ReversePass, "mail.Relay.example"}
	unproved := named
	unproved.Reverse.Status, unproved.HELO = ReverseFail, spf.Result{Status: spf.SoftFail, Domain: "relay.example"}
	hosts := Policy{Forwarders: []Forwarder{{Network: netip.MustParsePrefix("192.0.2.0/29")}, {}}}
	owners := Policy{Forwarders: []Forwarder{{Domain: "relay.example"}}}

	for name, c := range map[string]struct {
		f      Facts
		p      Policy
		want   Action
		reason string
		code   string
	}{
		"no From":                                {authorless(message.ErrNoFrom), patient, Reject, ReasonNoFrom, "550 5.6.0"},
		"a group without members":                {judgedNobody(), patient, Reject, ReasonNoFrom, "550 5.6.0"},
		"two From":                               {authorless(message.ErrManyFrom), patient, Reject, ReasonManyFrom, "550 5.6.0"},
		"malformed From":                         {authorless(errors.New("x")), patient, Reject, ReasonFromSyntax, "550 5.6.0"},
		"six authors":                            {many, patient, Reject, ReasonAuthors, "550 5.7.1"},
		"p=reject":                               {judged(failing(dmarc.Reject)), patient, Reject, ReasonReject, "550 5.7.1"},
		"p=reject, from a stranger's list":       {fromList, patient, Reject, ReasonReject, "550 5.7.1"},
		"p=reject, from a known list":            {fromList, lists, Accept, ReasonList, ""},
		"p=reject, list not signed":              {unsigned, lists, Reject, ReasonReject, "550 5.7.1"},
		"p=quarantine":                           {judged(failing(dmarc.Quarantine)), patient, Quarantine, ReasonQuarantine, ""},
		"p=none":                                 {judged(failing(dmarc.Nothing)), patient, Accept, ReasonPolicyNone, ""},
		"DNS down":                               {unsure, patient, Defer, ReasonDNS, "451 4.4.3"},
		"DNS of SPF down":                        {unsureSPF, patient, Defer, ReasonDNS, "451 4.7.24"},
		"DNS down, p=none":                       {unsureNone, patient, Accept, ReasonPolicyNone, ""},
		"DNS down for long":                      {unsure, Policy{}, Accept, ReasonDNSLong, ""},
		"p=reject, a key missing for long":       {open(dmarc.Reject), Policy{}, Quarantine, ReasonDNSQuarantine, ""},
		"p=quarantine, a key missing for long":   {open(dmarc.Quarantine), Policy{}, Quarantine, ReasonDNSQuarantine, ""},
		"p=reject, a key missing":                {open(dmarc.Reject), patient, Defer, ReasonDNS, "451 4.4.3"},
		"p=none, a key missing for long":         {open(dmarc.Nothing), Policy{}, Accept, ReasonPolicyNone, ""},
		"p=reject, missing for long, known list": {openList, lists, Accept, ReasonList, ""},
		"p=reject, missing for long, monitor":    {open(dmarc.Reject), Policy{DMARC: Monitor}, Accept, ReasonMonitor, ""},
		"pass":                                   {judged(dmarc.Result{Status: dmarc.Pass}), patient, Accept, ReasonPass, ""},
		"no policy":                              {judged(dmarc.Result{}), patient, Accept, ReasonNone, ""},
		"monitor, p=reject":                      {judged(failing(dmarc.Reject)), Policy{DMARC: Monitor}, Accept, ReasonMonitor, ""},
		"listed":                                 {listed, patient, Reject, ReasonListed, "550 5.7.1"},
		"listed, no other check":                 {listedOnly, patient, Reject, ReasonListed, "550 5.7.1"},
		"listed, to postmaster":                  {listed, Policy{Role: true}, Accept, ReasonPass, ""},
		"listed, a forwarder":                    {listed, hosts, Accept, ReasonPass, ""},
		"p=reject, a forwarder's address":        {relayed, hosts, Accept, ReasonForwarder, ""},
		"p=reject, a forwarder's name":           {named, owners, Accept, ReasonForwarder, ""},
		"p=reject, a name that is only said":     {unproved, owners, Reject, ReasonReject, "550 5.7.1"},
		"p=quarantine, sealed":                   {sealed, patient, Accept, ReasonSealed, ""},
		"p=reject, sealed for another":           {sealedOther, patient, Reject, ReasonReject, "550 5.7.1"},
		"monitor, no From":                       {authorless(message.ErrNoFrom), Policy{DMARC: Monitor}, Accept, ReasonMonitor, ""},
		"monitor, pass":                          {judged(dmarc.Result{Status: dmarc.Pass}), Policy{DMARC: Monitor}, Accept, ReasonPass, ""},
		"not checked":                            {Facts{}, patient, Accept, ReasonUnchecked, ""},
	} {
		got := Decide(c.f, c.p)
		if got.Action != c.want || got.Reason != c.reason {
			t.Errorf("%s: got %s %s, want %s %s", name, got.Action, got.Reason, c.want, c.reason)
		}
		if (got.Reply == nil) != (c.code == "") || got.Reply != nil && (!strings.HasPrefix(got.Reply.String(), c.code) || got.Reply.Reason != c.reason) {
			t.Errorf("%s: reply %v, want %s", name, got.Reply, c.code)
		}
	}
}

func judgedNobody() Facts {
	f := judged(dmarc.Result{})
	f.Authors = nil
	return f
}

func TestRefusalNamesThePolicy(t *testing.T) {
	t.Parallel()
	got := Decide(judged(failing(dmarc.Reject)), Policy{}).Reply.String()
	if !strings.Contains(got, "DMARC policy of example.com") {
		t.Errorf("got %q", got)
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	all := judged(failing(dmarc.Reject))
	all.HELO = spf.Result{Identity: spf.HELO, Status: spf.Pass, Domain: "mail.example.org"}
	all.From = spf.Result{Identity: spf.MailFrom, Status: spf.SoftFail, Domain: "example.org", Explain: "matched all"}
	all.DKIM = []dkim.Signature{
		{Status: dkim.Pass, Domain: "example.org", Selector: "s1", Algorithm: "rsa-sha256", B: "abc/+=12"},
		{Status: dkim.Fail, Domain: "example.com", Selector: `x"; dkim=pass header.d=victim.example`, Algorithm: "rsa-sha256", B: "y", Reason: "body (changed)", Testing: true},
	}
	null := all
	null.From = null.HELO
	null.Reverse = Reverse{ReversePass, "mail.example.org"}
	null.DKIM, null.DMARC = nil, dmarc.Result{
		Status: dmarc.Pass, Author: "a.example.com", At: "example.com",
		Record: &dmarc.Record{P: dmarc.Nothing, NP: dmarc.Reject, Testing: true}, Nonexistent: true, Published: dmarc.Reject,
	}
	problem := all
	problem.Ran = Checks{DMARC: true}
	problem.Author = message.ErrManyFrom

	for name, c := range map[string]struct {
		f    Facts
		want string
	}{
		"nothing checked (2.2)": {Facts{}, "edge.example.net; none"},
		"all": {all, `edge.example.net; spf=softfail (matched all) smtp.mailfrom=example.org; spf=pass smtp.helo=mail.example.org; ` +
			`dkim=pass header.d=example.org header.s=s1 header.a=rsa-sha256 header.b="abc/+=12"; ` +
			`dkim=fail (test key; body \(changed\)) header.d=example.com header.s="x\"; dkim=pass header.d=victim.example" header.a=rsa-sha256 header.b=y; ` +
			`dmarc=fail (p=reject) header.from=example.com policy.dmarc=reject`},
		"null sender, unsigned, np": {null, `edge.example.net; iprev=pass (mail.example.org) policy.iprev=192.0.2.1; spf=pass smtp.helo=mail.example.org; dkim=none; ` +
			`dmarc=pass (np=reject t=y of example.com) header.from=a.example.com`},
		"no author": {problem, "edge.example.net; dmarc=permerror (more than one From field)"},
	} {
		field := Results("edge.example.net", netip.MustParseAddr("192.0.2.1"), c.f)
		h, err := message.Parse([]byte(field))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(strings.Fields(h.Fields()[0].Value()), " ")
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}
