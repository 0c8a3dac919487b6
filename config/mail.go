package config

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

func (b *builder) mail() {
	s := b.root.sub("mail")
	m := &b.checked.Mail
	for _, n := range s.list("domains") {
		d := canonical(n.text)
		if slices.Contains(m.Domains, d) {
			b.file.errorAt(n.at, fmt.Sprintf("the domain %s stands twice", d), "")
			continue
		}
		m.Domains = append(m.Domains, d)
	}
	b.directories(s.sub("ldap"))
	b.routes(s.sub("route"))
	b.unusedDirectories(s.sub("ldap"))
	for _, n := range s.list("domains") {
		if !slices.ContainsFunc(m.Routes, func(r Route) bool { return r.Domain == canonical(n.text) }) && !b.routeRefused(s, n.text) {
			b.file.errorAt(n.at, fmt.Sprintf("mail for %s has nowhere to go", n.text), fmt.Sprintf("add [mail.route.%s]", quoted(canonical(n.text))))
		}
	}
	b.inbound(s.sub("inbound"))
	b.scanners(s)
	b.relays(s)
	o := s.sub("outbound")
	m.Outbound = Outbound{Mode: o.text("mode"), Source: o.addresses("source"), PerAccountPerDay: o.count("per_account_per_day"), MessagesPerAccountPerDay: o.count("messages_per_account_per_day"), NewPerAccountPerDay: o.count("new_per_account_per_day")}
	m.DKIM.Algorithms = s.sub("dkim").texts("algorithms")
}

// routeRefused reports whether a route of the domain is written, if not well.
func (b *builder) routeRefused(mail table, domain string) bool {
	routes := mail.n.field("route")
	if routes == nil || routes.shape != isTable {
		return routes != nil
	}
	return slices.ContainsFunc(routes.names, func(name string) bool { return canonical(name) == canonical(domain) })
}

func (b *builder) routes(s table) {
	m := &b.checked.Mail
	for _, name := range s.names() {
		t := s.sub(name)
		if hint, ok := checkHostname(name); !ok {
			if hint == "" {
				hint = `like [mail.route."example.test"]`
			}
			b.file.errorAt(t.at, fmt.Sprintf("bad domain %q in mail.route", name), hint)
			continue
		}
		r := Route{
			Domain:     canonical(name),
			TLS:        t.text("tls"),
			Name:       canonical(t.text("name")),
			CA:         b.filePath(t, "ca"),
			Recipients: t.text("recipients"),
		}
		if strings.HasPrefix(r.Recipients, "file:") {
			r.Recipients, r.List = "file", b.filePath(t, "recipients")
		}
		if name, ok := strings.CutPrefix(r.Recipients, "ldap:"); ok {
			r.Recipients, r.Directory = "ldap", b.directoryAt(t, name)
		}
		if slices.ContainsFunc(m.Routes, func(o Route) bool { return o.Domain == r.Domain }) {
			b.file.errorAt(t.at, fmt.Sprintf("the route of %s is written twice", r.Domain), "case and a final dot make no difference")
			continue
		}
		if n := t.written("next_hop"); n != nil && len(n.items) == 0 {
			b.file.errorAt(n.at, fmt.Sprintf("the route of %s has no next hop", r.Domain), `like ["smtp://10.0.0.5:25"]`)
		}
		for _, n := range t.list("next_hop") {
			hop, _, _ := parseNextHop(n.text)
			hop.Path = absolute(hop.Path, b.file.Dir)
			if b.leadsHome(hop) {
				b.file.errorAt(n.at, fmt.Sprintf("the route of %s leads back to our own listener", r.Domain), "name the inner server")
			}
			r.NextHops = append(r.NextHops, hop)
		}
		b.login(t, &r)
		b.verifiable(t, r)
		m.Routes = append(m.Routes, r)
	}
	slices.SortFunc(m.Routes, func(a, c Route) int { return strings.Compare(a.Domain, c.Domain) })
}

// verifiable refuses verify where nobody can be asked.
func (b *builder) verifiable(t table, r Route) {
	if r.Recipients == "verify" && slices.ContainsFunc(r.NextHops, func(h NextHop) bool { return h.Scheme == "maildir" }) {
		b.file.errorAt(t.where("recipients"), fmt.Sprintf("the route of %s cannot verify recipients: a maildir knows nobody", r.Domain), `list them in a file: recipients = "file:PATH"`)
	}
}

// login reads user and secret, which go together, and only over TLS whose
// certificate was verified.
func (b *builder) login(t table, r *Route) {
	user, ref := t.written("user"), t.written("secret")
	switch {
	case user != nil && ref == nil && t.n.field("secret") == nil:
		b.file.errorAt(user.key, fmt.Sprintf("the route of %s has a user without a secret", r.Domain), `like secret = "file:PATH"`)
	case user == nil && ref != nil:
		b.file.errorAt(ref.key, fmt.Sprintf("the route of %s has a secret without a user", r.Domain), "")
	case user != nil && user.text == "":
		b.file.errorAt(user.at, "user is empty", "leave it out")
	case user != nil && r.TLS != "required" && slices.ContainsFunc(r.NextHops, func(h NextHop) bool { return h.Scheme != "smtps" }):
		b.file.errorAt(user.key, fmt.Sprintf("the route of %s would send its password without verified TLS", r.Domain), `add tls = "required"`)
	}
	r.User = t.text("user")
	if ref != nil {
		r.Secret = b.secret(ref)
	}
}

// leadsHome reports whether a hop is one of our own mail listeners.
func (b *builder) leadsHome(hop NextHop) bool {
	a, err := netip.ParseAddr(hop.Host)
	if err != nil {
		return hop.Host != "" && hop.Host == b.checked.Server.Hostname && hop.Port == 25
	}
	return slices.ContainsFunc(b.checked.Listen, func(l Listen) bool {
		mail := l.Serve == ServeMX || l.Serve == ServeSubmission || l.Serve == ServeRelay
		return mail && slices.Contains(l.Addrs, netip.AddrPortFrom(a, uint16(hop.Port)))
	})
}

func (b *builder) inbound(s table) {
	checks := s.texts("checks")
	in := Inbound{
		MaxSize:    s.size("max_size"),
		SPF:        slices.Contains(checks, "spf"),
		DKIM:       slices.Contains(checks, "dkim"),
		DMARC:      slices.Contains(checks, "dmarc"),
		Enforce:    s.text("dmarc") == "enforce",
		Quarantine: s.text("quarantine"),
		Chunking:   s.flag("chunking"),

		TrustedProxies: b.trusted(s, "trusted_proxies"),
		TrustedXClient: b.trusted(s, "trusted_xclient"),
	}
	// RFC 9989: alignment rests on both; with one alone, good mail would fail.
	if in.DMARC && !(in.SPF && in.DKIM) {
		b.file.errorAt(s.where("checks"), "dmarc needs spf and dkim", `checks = ["spf", "dkim", "dmarc"]`)
	}
	in.Blocklists = b.blocklists(s)
	in.Exceptions = b.exceptions(s.sub("exceptions"))
	if len(in.Exceptions.Sealers)+len(in.Exceptions.Lists)+len(in.Exceptions.Domains) > 0 && !in.DMARC {
		b.file.errorAt(s.sub("exceptions").at, "exceptions from DMARC without a check of DMARC", `checks = ["spf", "dkim", "dmarc"]`)
	}
	b.checked.Mail.Inbound = in
}

// maxBlocklists bounds the questions that one client costs.
const maxBlocklists = 8

func (b *builder) blocklists(s table) []Blocklist {
	var all []Blocklist
	for _, n := range s.list("dnsbl") {
		l, ok := parseBlocklist(n.text)
		switch {
		case !ok: // said already
		case slices.ContainsFunc(all, func(o Blocklist) bool { return o.Zone == l.Zone }):
			b.file.errorAt(n.at, fmt.Sprintf("the block list %s stands twice", l.Zone), "its ranges go into one, with commas")
		case len(all) == maxBlocklists:
			b.file.errorAt(n.at, fmt.Sprintf("more than %d block lists", maxBlocklists), "each is asked about every client")
			return all
		default:
			all = append(all, l)
		}
	}
	return all
}

func (b *builder) exceptions(s table) Exceptions {
	var e Exceptions
	for _, n := range s.list("forwarders") {
		if p, ok := parsePrefix(n.text); ok {
			e.Networks = append(e.Networks, p)
		} else if n.text != "" {
			e.Domains = append(e.Domains, canonical(n.text))
		}
	}
	for _, name := range s.texts("lists") {
		e.Lists = append(e.Lists, canonical(name))
	}
	for _, name := range s.texts("arc_sealers") {
		e.Sealers = append(e.Sealers, canonical(name))
	}
	return e
}

// trusted reads a set of those who may say that they are somebody else, which
// can never be everybody.
func (b *builder) trusted(s table, name string) []netip.Prefix {
	set := b.clients(s, name)
	if wholeFamily(set) {
		b.file.errorAt(s.where(name), fmt.Sprintf("mail.inbound.%s is everybody: whoever connects could choose an address", name), "name the hosts")
	}
	return set
}

// scanners reads them; somebody waits for the reply to a message meanwhile, and
// hangs up in the end (RFC 5321, Section 4.5.3.2.6: after ten minutes).
func (b *builder) scanners(s table) {
	const least, most, many = time.Second, 2 * time.Minute, 4
	entries := s.each("scanner")
	for i, t := range entries {
		sc := Scanner{Kind: t.text("kind"), Accept: t.text("fail") == "accept", Timeout: t.duration("timeout"), Doors: t.texts("doors")}
		sc.Network, sc.Address = "tcp", t.text("address")
		if path, ok := strings.CutPrefix(sc.Address, "unix:"); ok {
			sc.Network, sc.Address = "unix", absolute(path, b.file.Dir)
		}
		if n := t.written("timeout"); n != nil && (sc.Timeout < least || sc.Timeout > most) {
			b.file.errorAt(n.at, fmt.Sprintf("a scanner cannot have %s for a message", n.text), `"1s" to "2m"`)
		}
		if n := t.nobody("doors", len(sc.Doors)); n != nil {
			b.file.errorAt(n.at, "the scanner scans nothing", "leave doors out for all")
		}
		if sc.Address != "" && slices.ContainsFunc(b.checked.Mail.Scanners, func(o Scanner) bool { return o.Network == sc.Network && o.Address == sc.Address }) {
			b.file.errorAt(t.where("address"), fmt.Sprintf("the scanner at %s is written twice", t.text("address")), "")
		}
		if i == many {
			b.file.errorAt(t.at, fmt.Sprintf("more than %d scanners", many), "a client would hang up before they are done")
		}
		b.checked.Mail.Scanners = append(b.checked.Mail.Scanners, sc)
	}
}

func (b *builder) relays(s table) {
	for _, t := range s.each("relay") {
		r := Relay{
			Name:        t.text("name"),
			Clients:     b.clients(t, "clients"),
			Recipients:  canonicalMailboxes(t.texts("recipients")),
			Senders:     canonicalMailboxes(t.texts("senders")),
			ForeignFrom: t.text("foreign_from"),
			Rate:        t.rate("rate"),
		}
		b.relayCert(t, &r)
		if r.ForeignFrom == "srs" && len(b.checked.Mail.Domains) == 0 {
			b.file.errorAt(t.where("foreign_from"), fmt.Sprintf("the relay %q rewrites senders to a domain that there is not", r.Name), "add mail.domains: bounces come back to the first")
		}
		if wholeFamily(r.Clients) {
			b.file.errorAt(t.where("clients"), fmt.Sprintf("the relay %q would be open to anyone", r.Name), "name the hosts")
		}
		for name, count := range map[string]int{"clients": len(r.Clients), "senders": len(r.Senders)} {
			if n := t.nobody(name, count); n != nil {
				b.file.errorAt(n.at, fmt.Sprintf("the relay %q has no %s", r.Name, name), "it could never be used")
			}
		}
		if slices.ContainsFunc(b.checked.Mail.Relays, func(o Relay) bool { return o.Name == r.Name }) {
			b.file.errorAt(t.where("name"), fmt.Sprintf("the relay %q is written twice", r.Name), "")
		}
		b.checked.Mail.Relays = append(b.checked.Mail.Relays, r)
	}
}

// relayCert reads by which certificate a host is known, beside its addresses or
// in place of them.
func (b *builder) relayCert(t table, r *Relay) {
	cert, name := t.written("client_cert"), t.written("client_name")
	switch {
	case t.n.field("clients") == nil && t.n.field("client_cert") == nil:
		b.file.errorAt(t.at, fmt.Sprintf("the relay %q would be open to anyone", r.Name), "name the hosts by clients or client_cert")
	case name != nil && cert == nil:
		b.file.errorAt(t.where("client_name"), fmt.Sprintf("client_name of the relay %q without client_cert", r.Name), "name the authority that vouches for it")
	}
	r.Cert, r.CertName = b.certificates(t, "client_cert"), canonical(t.text("client_name"))
	if name == nil && slices.ContainsFunc(r.Cert, func(c *x509.Certificate) bool { return c.IsCA && !selfMade(c) }) {
		b.file.warnAt(t.where("client_cert"), fmt.Sprintf("whoever has a certificate of this authority can be the relay %q", r.Name), "name it with client_name, unless the authority issues to nobody else")
	}
}

func canonicalMailboxes(all []string) []string {
	var folded []string
	for _, s := range all {
		folded = append(folded, canonicalMailbox(s))
	}
	return folded
}
