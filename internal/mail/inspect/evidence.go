package inspect

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"postern/internal/lookup"
	"postern/internal/mail/address"
	"postern/internal/mail/dkim"
	"postern/internal/mail/dmarc"
	"postern/internal/mail/message"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

// leadsTo tells whether a HELO name has the client's address; unsure where the
// DNS fails.
func leadsTo(ctx context.Context, r lookup.Resolver, name string, client netip.Addr) verdict.ReverseStatus {
	kind := lookup.AAAA
	if client.Is4() {
		kind = lookup.A
	}
	answer, err := r.Query(ctx, name, kind)
	if err != nil {
		return verdict.ReverseTempError
	}
	if slices.ContainsFunc(answer.Records, func(rec lookup.Record) bool { return rec.Addr == client }) {
		return verdict.ReversePass
	}
	return verdict.ReverseFail
}

// hostName is a HELO as a host name of several labels, "" if it is none.
func hostName(helo string) string {
	d, err := address.ParseDomain(strings.TrimSuffix(helo, "."))
	if err != nil || strings.HasPrefix(d, "[") || !strings.Contains(d, ".") {
		return ""
	}
	return d
}

// marks notes what is odd.
func (p *Pending) marks(ctx context.Context, f *verdict.Facts, h *message.Header) {
	mark := func(m verdict.Mark, is bool) {
		if is {
			f.Marks = append(f.Marks, m)
		}
	}
	mark(verdict.MarkNoReverseName, f.Reverse.Status == verdict.ReverseFail || f.Reverse.Status == verdict.ReversePermError)
	helo := hostName(p.name)
	literal := strings.HasPrefix(p.name, "[")
	mark(verdict.MarkHELOLiteral, literal)
	mark(verdict.MarkHELONotName, helo == "" && !literal)
	if to, ok := p.leads.wait(ctx); ok {
		mark(verdict.MarkHELOElsewhere, to == verdict.ReverseFail)
	}
	mark(verdict.MarkHELOOurs, helo != "" && (strings.EqualFold(helo, p.rules.Hostname) || p.ours(helo)))
	mark(verdict.MarkOwnSender, p.ours(p.from.Domain))
	authors, err := h.Authors()
	if err != nil {
		return
	}
	own, alike := false, false
	for _, a := range authors {
		own = own || p.ours(a.Domain)
		alike = alike || verdict.Alike(a.Domain, p.rules.Domains) != ""
	}
	mark(verdict.MarkOwnAuthor, own)
	mark(verdict.MarkAlike, alike)
	mark(verdict.MarkNameShowsOurs, !own && p.shownIn(h))
}

// ours tells whether a name is or lies below one of our mail domains.
func (p *Pending) ours(name string) bool {
	return slices.ContainsFunc(p.rules.Domains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// shownIn tells whether the From field shows an address of ours, decoded as
// readers do.
func (p *Pending) shownIn(h *message.Header) bool {
	f, _ := h.First("From")
	text := strings.ToLower(message.Decode(f.Value()))
	return slices.ContainsFunc(p.rules.Domains, func(d string) bool { return strings.Contains(text, "@"+d) })
}

// sealed reads a chain of ARC sets where it could matter and every sealer in it
// is known: those who forward vouch for what they saw, and nobody else's word
// stands between. It says which author passed DMARC at the first of them.
func (p *Pending) sealed(ctx context.Context, f *verdict.Facts, draft *spool.Draft, h *message.Header) error {
	if f.DMARC.Status == dmarc.Pass || f.DMARC.Applied <= dmarc.Nothing || len(p.rules.Sealers) == 0 {
		return nil
	}
	chain := dkim.ReadChain(h.Bytes())
	if chain == nil || len(chain.Sealers) == 0 || !p.knows(chain.Sealers) {
		return nil
	}
	i := p.inspector
	if !acquire(ctx, i.hashing, &i.Counters.Waited) {
		return nil
	}
	defer func() { <-i.hashing }()
	status, why, err := chain.Verify(ctx, i.cfg.Resolver, draft.Body())
	if err != nil {
		return err
	}
	if status != dkim.Pass {
		i.Counters.ChainsBroken.Inc()
		i.cfg.Log.Info("chain of known sealers is broken", "queue_id", string(draft.ID()), "reason", "arc-"+status.String(), "err", why)
		return nil
	}
	_, results, ok := message.ParseResults(chain.Results[0])
	if !ok {
		return nil
	}
	for _, r := range results {
		if from := r.Properties["header.from"]; r.Method == "dmarc" && r.Result == "pass" && strings.EqualFold(from, f.DMARC.Author) {
			f.Sealed = append(f.Sealed, f.DMARC.Author)
			i.Counters.Sealed.Inc()
			break
		}
	}
	return nil
}

func (p *Pending) knows(sealers []string) bool {
	for _, s := range sealers {
		if !slices.ContainsFunc(p.rules.Sealers, func(d string) bool { return s == d || strings.HasSuffix(s, "."+d) }) {
			return false
		}
	}
	return true
}
