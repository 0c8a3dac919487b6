package route

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"postern/internal/lookup"
)

// byMX follows RFC 5321, Section 5.1.
func (r *Router) byMX(ctx context.Context, domain string) (Plan, error) {
	answer, err := r.cfg.Lookup.Query(ctx, domain, lookup.MX)
	if err != nil {
		return Plan{}, unanswered(err, domain)
	}
	var hosts []lookup.Record
	switch answer.Status {
	case lookup.NXDomain:
		return Plan{}, permanent("5.1.2", "no-such-domain", "The domain "+domain+" does not exist")
	case lookup.NoData:
		// RFC 5321, Section 5.1: no MX at all means the domain's own address.
		hosts = []lookup.Record{{Host: absolute(domain)}}
	case lookup.Found:
		if hosts, err = r.usable(answer.Records, domain); err != nil {
			return Plan{}, err
		}
	default:
		return Plan{}, temporary("4.4.3", "dns-temporary", "The mail servers of "+domain+" cannot be looked up", nil)
	}
	return r.find(ctx, domain, hosts)
}

func unanswered(err error, domain string) *Error {
	if lookup.IsTemporary(err) {
		return temporary("4.4.3", "dns-temporary", "The mail servers of "+domain+" cannot be looked up", err)
	}
	return &Error{Code: 550, Enhanced: "5.1.2", Reason: "dns-permanent", Text: "The domain " + domain + " cannot be looked up", Cause: err}
}

// usable sorts MX records, equals in random order, and cuts off those that are
// not better than ourselves: mail must go nearer to its end at every hop (RFC
// 5321, Section 5.1).
func (r *Router) usable(records []lookup.Record, domain string) ([]lookup.Record, error) {
	// RFC 7505, Section 3: a null MX stands alone.
	if len(records) == 1 && records[0].Host == "." {
		return nil, &Error{Code: 556, Enhanced: "5.1.10", Reason: "null-mx", Text: "The domain " + domain + " does not accept mail"}
	}
	hosts := make([]lookup.Record, 0, len(records))
	for _, m := range records {
		if m.Host != "." && isHost(m.Host) {
			hosts = append(hosts, m)
		}
	}
	if len(hosts) == 0 {
		return nil, permanent("5.4.4", "mx-unusable", "The domain "+domain+" names no usable mail server")
	}
	r.shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b lookup.Record) int { return cmp.Compare(a.Preference, b.Preference) })
	for _, m := range hosts {
		if slices.Contains(r.cfg.OwnNames, absolute(m.Host)) {
			hosts = better(hosts, m.Preference)
			break
		}
	}
	if len(hosts) == 0 {
		return nil, loops(domain)
	}
	return hosts[:min(len(hosts), maxMX)], nil
}

// isHost reports whether a name consists of letters, digits, hyphens and
// underscores (RFC 1123, Section 2.1; the underscore is what the world writes): it
// ends in log lines and TLS handshakes.
func isHost(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// better keeps the hosts that are preferred to the given preference; hosts are
// sorted.
func better(hosts []lookup.Record, than uint16) []lookup.Record {
	i := slices.IndexFunc(hosts, func(m lookup.Record) bool { return m.Preference >= than })
	if i < 0 {
		return hosts
	}
	return hosts[:i]
}

func loops(domain string) *Error {
	return permanent("5.4.6", "mx-loop", "Mail for "+domain+" loops back to this server")
}

func (r *Router) shuffle(n int, swap func(i, j int)) {
	if r.cfg.Rand != nil {
		r.cfg.Rand.Shuffle(n, swap)
		return
	}
	rand.Shuffle(n, swap)
}

// search is what became of the hosts of a domain.
type search struct {
	hops   []Hop
	prefs  []uint16 // of hops
	inside int      // hosts with only addresses we do not dial
	failed error    // the first look-up that may succeed later
}

// find looks up the addresses of sorted hosts.
func (r *Router) find(ctx context.Context, domain string, hosts []lookup.Record) (Plan, error) {
	var s search
	for i := 0; i < len(hosts) && len(s.hops) < maxHops; i++ {
		if own := r.try(ctx, hosts[i], &s); !own {
			continue
		}
		// We answer at this host's address: it is us under another name.
		n, _ := slices.BinarySearch(s.prefs, hosts[i].Preference)
		if s.hops = s.hops[:n]; n == 0 && s.failed == nil {
			return Plan{}, loops(domain)
		}
		break
	}
	switch {
	case len(s.hops) > 0:
		return Plan{Hops: s.hops}, nil
	case s.failed != nil:
		return Plan{}, unanswered(s.failed, domain)
	case s.inside > 0:
		return Plan{}, leadsInside(domain)
	}
	return Plan{}, permanent("5.4.4", "mx-unresolved", "The mail servers of "+domain+" have no address")
}

// try adds one host to s. It reports whether the host is ourselves.
func (r *Router) try(ctx context.Context, m lookup.Record, s *search) (own bool) {
	addrs, err := r.addresses(ctx, r.cfg.Lookup, m.Host)
	if err != nil {
		if s.failed == nil {
			s.failed = err
		}
		return false
	}
	if slices.ContainsFunc(addrs, r.cfg.OwnAddrs) {
		return true
	}
	outside := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return r.inside(a) != "" })
	switch {
	case len(outside) > 0:
		host := strings.TrimSuffix(m.Host, ".")
		s.hops = append(s.hops, Hop{Protocol: SMTP, Host: host, Port: r.cfg.Port, Addrs: withPort(outside, r.cfg.Port)})
		s.prefs = append(s.prefs, m.Preference)
	case len(addrs) > 0:
		s.inside++
	}
	return false
}

// addresses asks for both types at once. One answer is enough: a zone whose
// AAAA fails still gets its mail over IPv4.
func (r *Router) addresses(ctx context.Context, from lookup.Resolver, host string) ([]netip.Addr, error) {
	types := make([]lookup.Type, 0, 2)
	if !r.cfg.DisableIPv6 {
		types = append(types, lookup.AAAA)
	}
	if !r.cfg.DisableIPv4 {
		types = append(types, lookup.A)
	}
	found := make([][]netip.Addr, len(types))
	errs := make([]error, len(types))
	var wg sync.WaitGroup
	for i, t := range types {
		wg.Go(func() { found[i], errs[i] = ask(ctx, from, host, t) })
	}
	wg.Wait()
	for _, f := range found {
		r.shuffle(len(f), func(i, j int) { f[i], f[j] = f[j], f[i] })
	}
	out := interleave(found)
	if len(out) > 0 {
		return out[:min(len(out), maxAddrs)], nil
	}
	for _, err := range errs {
		if err != nil && lookup.IsTemporary(err) {
			return nil, err
		}
	}
	return nil, nil
}

func ask(ctx context.Context, from lookup.Resolver, host string, t lookup.Type) ([]netip.Addr, error) {
	answer, err := from.Query(ctx, host, t)
	if err != nil {
		return nil, fmt.Errorf("address of %s: %w", host, err)
	}
	var out []netip.Addr
	for _, rec := range answer.Records {
		if rec.Addr.IsValid() {
			out = append(out, rec.Addr.Unmap())
		}
	}
	return out, nil
}

// interleave takes one of each list in turn, so that neither family's failure
// makes the other wait long.
func interleave(lists [][]netip.Addr) []netip.Addr {
	var out []netip.Addr
	for i := 0; ; i++ {
		before := len(out)
		for _, l := range lists {
			if i < len(l) {
				out = append(out, l[i])
			}
		}
		if len(out) == before {
			return out
		}
	}
}
