package inspect

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"postern/internal/lookup"
	"postern/internal/mail/spf"
	"postern/internal/mail/verdict"
)

// Rules are what checks follow that a reload may change; a connection keeps
// those it began with.
type Rules struct {
	Checks     verdict.Checks
	Blocklists []Blocklist
	Sealers    []string // domains whose ARC chains count
	Domains    []string // ours
	Hostname   string   // ours
}

// Blocklist is a DNS list of addresses (RFC 5782), and the replies by which it
// lists: lists use others to say something else.
type Blocklist struct {
	Zone    string
	Replies []netip.Prefix
}

// blocklistTime is how long an answer of a list is waited for: it is evidence
// against the client, and without it mail flows.
const blocklistTime = 5 * time.Second

// refusing is what lists answer to who may not ask, whatever was asked about.
// Whoever took that for a listing refused all mail.
var refusing = netip.MustParsePrefix("127.255.255.0/24")

// Follow takes new rules.
func (i *Inspector) Follow(r Rules) { i.rules.Store(&r) }

var errRefused = errors.New("list does not answer us")

// ask asks a list about a client (RFC 5782, Sections 2.1 and 2.4). The address
// is its reply, not valid where the client is not listed.
func (l Blocklist) ask(ctx context.Context, r lookup.Resolver, client netip.Addr) (netip.Addr, error) {
	name, _, _ := strings.Cut(spf.ReverseName(client), "in-addr.arpa")
	name, _, _ = strings.Cut(name, "ip6.arpa")
	answer, err := r.Query(ctx, name+l.Zone, lookup.A)
	if err != nil {
		return netip.Addr{}, err
	}
	refused := false
	for _, record := range answer.Records {
		if refusing.Contains(record.Addr) {
			refused = true
			continue
		}
		for _, p := range l.Replies {
			if p.Contains(record.Addr) {
				return record.Addr, nil
			}
		}
	}
	if refused {
		return netip.Addr{}, errRefused
	}
	return netip.Addr{}, nil
}

// listings asks every list about a client, each of which must answer soon.
func (i *Inspector) listings(p *Pending) []*future[listing] {
	var all []*future[listing]
	for _, l := range p.rules.Blocklists {
		all = append(all, begin(i, p.client, "block list", func(ctx context.Context) listing {
			ctx, cancel := context.WithTimeout(ctx, blocklistTime)
			defer cancel()
			reply, err := l.ask(ctx, i.cfg.Resolver, p.client)
			if err != nil {
				i.listFailed(l, err)
			}
			return listing{l.Zone, reply}
		}))
	}
	return all
}

type listing struct {
	list  string
	reply netip.Addr
}

// listFailed tells that a list is of no use; mail goes on without it.
func (i *Inspector) listFailed(l Blocklist, err error) {
	if errors.Is(err, errRefused) {
		i.Counters.ListsRefusing.Inc()
		i.cfg.Log.Warn("block list refuses our questions", "list", l.Zone, "reason", "dnsbl-refused")
		return
	}
	i.Counters.ListsFailing.Inc()
}

// awaitListings gathers what lists have the client.
func (p *Pending) awaitListings(ctx context.Context, f *verdict.Facts) {
	for _, fut := range p.listed {
		if l, ok := fut.wait(ctx); ok && l.reply.IsValid() {
			p.inspector.Counters.Listed.Inc()
			f.Listings = append(f.Listings, verdict.Listing{List: l.list, Reply: l.reply})
		}
	}
}
