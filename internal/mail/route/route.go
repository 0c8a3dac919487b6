// Package route finds where mail for a domain goes: a configured route first,
// else the smart host, else the domain's MX records (RFC 5321, Section 5.1;
// RFC 7505). It says which hosts to try, in which order, and the TLS each must
// meet.
//
// What the world's DNS says is not believed where it leads inside: an MX whose
// address is loopback, private, link-local or our own is never dialled; a
// stranger who owns a domain must not make us speak to our own network. Only a
// configured route may name such an address.
//
// It asks lookup.Resolver, keeps no state and starts goroutines only to ask for
// both address types of a host at once.
package route

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"postern/internal/lookup"
)

// Bounds of one resolution; what lies beyond is not looked at.
const (
	maxMX    = 16 // hosts of a domain
	maxHops  = 8  // hosts whose addresses are looked up and found
	maxAddrs = 8  // addresses of one host
)

// Config is what routing rests on.
type Config struct {
	Routes      map[string][]Hop      // by domain, in the form of address.Address.Domain
	Smarthost   []Hop                 // for all domains without a route; empty: by MX
	Lookup      lookup.Resolver       // the world as outsiders see it
	Inside      lookup.Resolver       // names that the administrator wrote: configured hops; nil: Lookup
	OwnAddrs    func(netip.Addr) bool // addresses we answer on; nil: none
	OwnNames    []string              // our host names, any case, with or without final dot
	DisableIPv4 bool
	DisableIPv6 bool
	Port        uint16     // of MX hosts; 0: 25. For tests and labs
	Rand        *rand.Rand // for the shuffle among equals; nil: the runtime's
}

// Router routes. It is safe for concurrent use unless Config.Rand is set.
type Router struct{ cfg Config }

// New returns a router.
func New(cfg Config) *Router {
	if cfg.Port == 0 {
		cfg.Port = 25
	}
	if cfg.Inside == nil {
		cfg.Inside = cfg.Lookup
	}
	if cfg.OwnAddrs == nil {
		cfg.OwnAddrs = func(netip.Addr) bool { return false }
	}
	names := make([]string, 0, len(cfg.OwnNames))
	for _, n := range cfg.OwnNames {
		names = append(names, absolute(n))
	}
	cfg.OwnNames = names
	return &Router{cfg}
}

// Plan is where to go: hops in the order to try them.
type Plan struct {
	Hops   []Hop
	Static bool // a configured route of the domain; not the smart host
}

// Static reports whether the domain has a configured route. It asks nothing.
func (r *Router) Static(domain string) bool {
	_, ok := r.cfg.Routes[domain]
	return ok
}

// Route finds the hops for a domain. Its error is always an *Error. A hop
// without addresses (a unix socket, a maildir) is complete as it is.
func (r *Router) Route(ctx context.Context, domain string) (Plan, error) {
	if hops, ok := r.cfg.Routes[domain]; ok {
		hops, err := r.resolveAll(ctx, hops)
		return Plan{hops, true}, err
	}
	if domain == "" {
		return Plan{}, permanent("5.1.2", "no-domain", "The address has no domain")
	}
	if len(r.cfg.Smarthost) > 0 {
		hops, err := r.resolveAll(ctx, r.cfg.Smarthost)
		return Plan{hops, false}, err
	}
	if strings.HasPrefix(domain, "[") {
		return r.literal(domain)
	}
	return r.byMX(ctx, domain)
}

// resolveAll fills in the addresses of configured hops. No address is refused:
// the administrator named it. Hops that do not resolve are left out while
// others do.
func (r *Router) resolveAll(ctx context.Context, hops []Hop) ([]Hop, error) {
	var out []Hop
	var first error
	for _, h := range hops {
		h.Static = true
		if h.Host != "" {
			addrs, err := r.configured(ctx, h)
			if err != nil {
				if first == nil {
					first = err
				}
				continue
			}
			h.Addrs = addrs
		}
		out = append(out, h)
	}
	switch {
	case len(out) > 0:
		return out, nil
	case first == nil:
		return nil, permanent("5.4.4", "route-empty", "No route to this domain")
	}
	// Our own configuration is at fault, or a resolver: never the sender's loss.
	return nil, temporary("4.4.4", "route-unresolved", "The next hop cannot be found", first)
}

func (r *Router) configured(ctx context.Context, h Hop) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddr(h.Host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), h.Port)}, nil
	}
	addrs, err := r.addresses(ctx, r.cfg.Inside, h.Host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no address", h.Host)
	}
	return withPort(addrs, h.Port), nil
}

// Inside finds the addresses of a host that the configuration names.
func (r *Router) Inside(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error) {
	return r.configured(ctx, Hop{Host: host, Port: port})
}

// literal routes user@[192.0.2.1] (RFC 5321, Section 4.1.3).
func (r *Router) literal(domain string) (Plan, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(domain, "["), "]")
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return Plan{}, permanent("5.1.2", "bad-literal", "The address literal cannot be read")
	}
	if r.inside(a) != "" {
		return Plan{}, leadsInside(domain)
	}
	host := a.Unmap().String()
	return Plan{Hops: []Hop{{Protocol: SMTP, Host: host, Port: r.cfg.Port, Addrs: withPort([]netip.Addr{a.Unmap()}, r.cfg.Port)}}}, nil
}

func withPort(addrs []netip.Addr, port uint16) []netip.AddrPort {
	out := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		out[i] = netip.AddrPortFrom(a, port)
	}
	return out
}

func absolute(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }
