package app

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/config"
	"postern/internal/dns/authority"
	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/serve"
	"postern/internal/dns/xfr"
	"postern/internal/lookup"
	"postern/zones"
)

// buildNames makes the zones' owner, the resolver, and what answers with both.
func (a *App) buildNames(cfg *config.Checked) error {
	peers, err := peeringOf(cfg)
	if err != nil {
		return err
	}
	a.transfers = newTransfers(a.isServed)
	a.transfers.follow(peers)
	if err := a.openZoneKeys(); err != nil {
		return err
	}
	if err := a.buildRoster(); err != nil {
		return err
	}
	if a.authority, err = authority.New(a.zonesOf(cfg)); err != nil {
		return fmt.Errorf("zones: %w", err)
	}
	resolving, err := a.resolverOf(cfg)
	if err != nil {
		return err
	}
	if a.resolver, err = resolver.New(resolving); err != nil {
		return err
	}
	jar, err := a.cookieJar(cfg)
	if err != nil {
		return err
	}
	a.jar.Store(jar)
	keys, err := keysOf(cfg)
	if err != nil {
		return err
	}
	a.keys.Store(keys)
	a.out = xfr.New(xfr.Config{Source: a.authority, Rules: a.transfers.rules, Left: a.left, Log: a.log})
	a.notifier = xfr.NewNotifier(xfr.NotifierConfig{
		Source: a.authority, Rules: a.transfers.rules, Keys: a.keys.Load, Now: a.now, Log: a.log,
		Ahead: a.authority.GoAbove,
	})
	if err := a.buildRefresher(cfg); err != nil {
		return err
	}
	limits := listen.Limits{Exempt: a.isExempt, Idle: listen.DefaultIdle}
	serving := serve.Config{
		Table: a.authority.Table, Resolver: a.resolver, NSID: cfg.Server.Hostname, Log: a.log,
		Idle: limits.Idle, RRL: perSecond(cfg.DNS.RRL), RRLTotal: perSecond(cfg.DNS.RRLTotal), Exempt: cfg.Limits.Exempt, Cookies: a.cookies,
		Keys: a.keys.Load, Transfers: a.out, Refresher: a.refresher,
		Updates: a.authority, UpdateRate: perSecond(cfg.DNS.Updates),
	}
	if a.opts.TestKnobs {
		serving.Now = a.now // else the limiter reads a cheaper clock
	}
	a.serve = serve.New(serving)
	a.names = listen.NewSet(listen.Config{
		Listen: a.nameListeners(cfg),
		Limits: limits,
	})
	return nil
}

// perSecond is the rate in answers a second, at least one; 0 for off.
func perSecond(r config.Rate) int {
	if r.Count == 0 {
		return 0
	}
	return int(min(max(float64(r.Count)/r.Window.Seconds(), 1), gate.RRLMax))
}

// zonesOf is the part of the configuration that the zones follow.
func (a *App) zonesOf(cfg *config.Checked) authority.Config {
	c := authority.Config{
		StateDir: cfg.Server.State, External: ExternalView(cfg), Serial: authority.SerialPolicy(cfg.DNS.Serial),
		Manual: cfg.DNS.Apply == "manual", MaxChange: cfg.DNS.MaxChange,
		Strict: cfg.DNS.Lint == "strict", Files: map[string]string{}, Changed: a.zoneChanged, Gone: a.zoneGone, Now: a.now, Log: a.log, Room: a.room.enter, Tidy: a.heap.tidy,
	}
	full := map[string][]string{} // view -> zones without overlay
	for _, z := range cfg.Zones {
		if z.File != "" {
			c.Files[z.Name] = z.File
		}
		for _, v := range z.Views {
			if v.NoOverlay {
				full[v.View] = append(full[v.View], z.Name)
			}
		}
	}
	for _, v := range cfg.Views {
		view := authority.ViewConfig{
			Name: v.Name, Dir: v.Zones, Overlay: v.Overlay, Hide: v.Hide, HideTree: v.HideTree,
			Full: full[v.Name], Clients: v.Clients, Keys: keyNames(v), Recursion: v.Recursion,
		}
		a.feedView(&view, cfg)
		c.Views = append(c.Views, view)
	}
	a.sign(&c, cfg)
	dynamicOf(&c, cfg)
	return c
}

// ExternalView is the view that outsiders see: the first for any address that
// lies over no other, else the last that lies over no other; "" without views.
func ExternalView(cfg *config.Checked) string {
	last := ""
	for _, v := range cfg.Views {
		if v.Overlay != "" {
			continue
		}
		if v.Any {
			return v.Name
		}
		last = v.Name
	}
	return last
}

// resolverOf is the part of the configuration that the resolver follows.
func (a *App) resolverOf(cfg *config.Checked) (resolver.Config, error) {
	roots, err := rootHints(cfg.Resolver.RootHints)
	if err != nil {
		return resolver.Config{}, err
	}
	anchors, err := anchorsOf(cfg.Resolver.TrustAnchors)
	if err != nil {
		return resolver.Config{}, err
	}
	negative, err := parseNames(cfg.Resolver.Negative)
	if err != nil {
		return resolver.Config{}, fmt.Errorf("negative trust anchor: %w", err)
	}
	test := cfg.Resolver.Test
	c := resolver.Config{
		Roots: roots, Local: serve.Local(a.authority.Table), OwnAddrs: func(addr netip.Addr) bool { return a.own.Load().has(addr) },
		Sources: cfg.Resolver.Source, CacheBytes: cfg.Resolver.CacheSize, Minimise: minimise(cfg.Resolver.QNAMEMinimisation),
		Anchors: anchors, Negative: negative, Outside: ExternalView(cfg),
		Now: a.now, Log: a.log,
	}
	if test.Written {
		c.Validate.Skew = test.Skew
		c.UpstreamMap, c.AllowPrivateUpstream, c.Timeout = test.UpstreamMap, test.AllowPrivateUpstream, test.Timeout
		c.IPv4, c.IPv6, c.EDNSSize = test.IPv4, test.IPv6, uint16(test.EDNSSize)
		c.NoCaseRandomisation, c.NoSpecialUse = !test.CaseRandomisation, !test.SpecialUse
	}
	return c, nil
}

func minimise(word string) iterate.Minimise {
	switch word {
	case "off":
		return iterate.Whole
	case "strict":
		return iterate.Strict
	}
	return iterate.Relaxed
}

// rootHints reads the root servers from a file in the form of named.root, or
// takes the embedded ones.
func rootHints(path string) ([]resolver.Hint, error) {
	text, file := zones.RootHints, "embedded root hints"
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("root hints: %w", err)
		}
		text, file = string(b), path
	}
	var order []string
	addrs := map[string][]netip.Addr{}
	p := dns.NewZoneParser(strings.NewReader(text), ".", file)
	p.SetDefaultTTL(3600)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		owner := dns.CanonicalName(rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.NS:
			order = append(order, dns.CanonicalName(rr.Ns))
		case *dns.A:
			addrs[owner] = append(addrs[owner], netip.AddrFrom4([4]byte(rr.A.To4())))
		case *dns.AAAA:
			addrs[owner] = append(addrs[owner], netip.AddrFrom16([16]byte(rr.AAAA.To16())))
		}
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("root hints %s: %w", file, err)
	}
	var hints []resolver.Hint
	for _, server := range order {
		n, err := name.Parse(server)
		if err != nil {
			return nil, fmt.Errorf("root hints %s: %w", file, err)
		}
		if len(addrs[server]) > 0 {
			hints = append(hints, resolver.Hint{Name: n, Addrs: addrs[server]})
		}
	}
	if len(hints) == 0 {
		return nil, fmt.Errorf("root hints %s: no root server with an address", file)
	}
	return hints, nil
}

var nameTransports = map[string]listen.Transport{
	"udp": listen.UDP, "tcp": listen.TCP, "tls": listen.TLS, "https": listen.HTTPS, "quic": listen.QUIC,
}

// nameListeners is the wanted DNS listeners.
func (a *App) nameListeners(cfg *config.Checked) []listen.Spec {
	var specs []listen.Spec
	shown := a.certs.Server(leastTLS(cfg), true)
	asking := shown
	if slices.ContainsFunc(cfg.Peers, func(p config.Peer) bool { return len(p.Cert) > 0 }) {
		// By TLS everybody is asked, since nobody has said yet who he is; who shows
		// nothing, or anything, is answered all the same (RFC 9103, Section 9.3.3).
		// What it is worth is seen when he asks for a zone. Not by HTTPS: browsers
		// would ask their users.
		asking = shown.Clone()
		asking.ClientAuth = tls.RequestClientCert
	}
	for _, l := range cfg.Listen {
		if l.Serve != config.ServeDNS {
			continue
		}
		for _, addr := range l.Addrs {
			for _, t := range l.Transports {
				transport, ok := nameTransports[t]
				if !ok {
					continue // config has no other
				}
				door := a.serve.Handler(serve.Listener{Views: l.Views, Clients: l.Clients})
				spec := listen.Spec{Addr: addr, Transport: transport, Handler: door, TLS: shown}
				if transport == listen.TLS {
					spec.TLS = asking
				}
				specs = append(specs, spec)
			}
		}
	}
	return specs
}

// isExempt reports whether rates by address do not count for c.
func (a *App) isExempt(c netip.Addr) bool { return within(*a.exempt.Load(), c) }

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// outside is the world's names as mail sees them (VIEWS.md: as outsiders do).
func (a *App) outside(cfg *config.Checked) lookup.Resolver {
	return a.resolver.Lookup(ExternalView(cfg))
}
