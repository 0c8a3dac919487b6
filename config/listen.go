package config

import (
	"fmt"
	"net/netip"
	"slices"
)

func (b *builder) listeners() {
	for _, t := range b.root.each("listen") {
		l := Listen{Serve: Service(t.text("serve")), Clients: b.clients(t, "clients")}
		for _, n := range t.list("address") {
			a, err := netip.ParseAddrPort(n.text)
			if err != nil {
				continue
			}
			a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
			if a.Port() == 0 && !b.opts.TestKnobs {
				b.file.errorAt(n.at, fmt.Sprintf("no port in %q", n.text), "port 0 is for tests")
			}
			b.checkAddress(l.Serve, a.Addr(), n)
			l.Addrs = append(l.Addrs, a)
		}
		if len(l.Addrs) == 0 && t.written("address") != nil && len(t.written("address").items) == 0 {
			b.file.errorAt(t.where("address"), "a listener without an address", "drop the entry, or name one")
		}
		// An empty Clients means anyone, so a set that turns out to be empty
		// must not get that far.
		if n := t.nobody("clients", len(l.Clients)); n != nil {
			b.file.errorAt(n.at, "the clients of this listener are nobody", "leave clients out for anyone")
		}
		l.Transports = b.transports(t, l)
		l.Views = t.texts("views")
		if n := t.written("views"); n != nil && l.Serve != ServeDNS {
			b.file.errorAt(n.key, fmt.Sprintf("views has no meaning for serve = %q", l.Serve), "")
		}
		if l.Proxy = t.flag("proxy"); l.Proxy && (l.Serve == ServeDNS || l.Serve == ServeAdmin) {
			l.Proxy = false
			b.file.errorAt(t.where("proxy"), fmt.Sprintf("proxy has no meaning for serve = %q", l.Serve), "")
		}
		if l.Scram = t.flag("scram"); l.Serve != ServeSubmission {
			if !l.Scram {
				b.file.errorAt(t.where("scram"), fmt.Sprintf("scram has no meaning for serve = %q", l.Serve), "")
			}
			l.Scram = false
		}
		b.checked.Listen = append(b.checked.Listen, l)
	}
}

// transports returns what an entry speaks, with the defaults of its service.
func (b *builder) transports(t table, l Listen) []string {
	written := t.written("transport")
	said := t.texts("transport")
	if written != nil && len(written.items) == 0 {
		b.file.errorAt(written.at, "transport is empty", "leave it out for the usual ones")
	}
	switch l.Serve {
	case ServeDNS:
		for _, n := range t.list("transport") {
			if n.text == "starttls" {
				b.file.errorAt(n.at, `transport "starttls" has no meaning for dns`, `want "udp", "tcp", "tls", "https" or "quic"`)
			}
			b.notPlainPort(l, n)
		}
		if written == nil {
			return []string{"udp", "tcp"}
		}
	case ServeSubmission:
		return b.submissionTLS(t, l)
	default:
		if written != nil && l.Serve != "" {
			b.file.errorAt(written.key, fmt.Sprintf("transport has no meaning for serve = %q", l.Serve), "")
		}
		return nil
	}
	return said
}

// secureDNS is where clients look for names over TLS: RFC 7858, Section 3.1;
// RFC 8484, Section 4.1; RFC 9250, Section 4.1.1.
var secureDNS = map[string]uint16{"tls": 853, "https": 443, "quic": 853}

// notPlainPort keeps TLS off port 53, where the same two RFCs forbid it.
func (b *builder) notPlainPort(l Listen, transport *node) {
	port, ok := secureDNS[transport.text]
	if !ok {
		return
	}
	for _, a := range l.Addrs {
		if a.Port() == 53 {
			b.file.errorAt(transport.at, fmt.Sprintf("transport %q on port 53", transport.text), fmt.Sprintf("write an entry of its own, with port %d", port))
			return
		}
	}
}

// submissionTLS is the one kind of TLS of a submission entry. Port 465 is
// implicit TLS (RFC 8314, Section 7.3) and 587 STARTTLS (RFC 6409, Section
// 3.1); on other ports it must be written.
func (b *builder) submissionTLS(t table, l Listen) []string {
	if n := t.written("transport"); n != nil {
		for _, e := range t.list("transport") {
			if e.text != "tls" && e.text != "starttls" {
				b.file.errorAt(e.at, fmt.Sprintf("transport %q has no meaning for submission", e.text), `want "tls" or "starttls"`)
				return nil
			}
		}
		if len(n.items) > 1 {
			b.file.errorAt(n.at, "more than one kind of TLS for submission", "write an entry for each")
			return nil
		}
		return t.texts("transport")
	}
	kind := ""
	for _, a := range l.Addrs {
		k := map[uint16]string{465: "tls", 587: "starttls"}[a.Port()]
		if k == "" || kind != "" && k != kind {
			b.file.errorAt(t.at, "the submission listener does not say which TLS", `add transport = ["tls"] or ["starttls"]`)
			return nil
		}
		kind = k
	}
	if kind == "" {
		return nil
	}
	return []string{kind}
}

// checkAddress keeps the doors that trust addresses off addresses the world
// can reach.
func (b *builder) checkAddress(serve Service, a netip.Addr, n *node) {
	if serve != ServeRelay && serve != ServeAdmin {
		return
	}
	switch {
	case a.IsUnspecified():
		b.file.errorAt(n.at, fmt.Sprintf("the %s listener on every address", serve), "name a private or loopback address")
	case routable(a) && !holds(b.checked.Networks["internal"], a):
		b.file.errorAt(n.at, fmt.Sprintf("the %s listener on the public address %s", serve, a), "name a private address, or list it in [networks] internal")
	}
}

// checkListeners looks at all listeners together.
func (b *builder) checkListeners() {
	c, seen := b.checked, map[string]int{}
	entries := b.root.each("listen")
	if len(entries) == 0 {
		b.file.warnAt(0, "nothing is listened for", "add [[listen]]")
	}
	serves := func(s Service) bool {
		return slices.ContainsFunc(c.Listen, func(l Listen) bool { return l.Serve == s })
	}
	for i, t := range entries {
		for _, n := range t.list("address") {
			for _, proto := range protocols(c.Listen[i]) {
				a, _ := netip.ParseAddrPort(n.text)
				at, twice := seen[proto+a.String()]
				if twice && a.Port() != 0 {
					line, _ := b.file.position(at)
					b.file.errorAt(n.at, fmt.Sprintf("%s %s is listened on twice", proto, a), fmt.Sprintf("first in line %d", line))
					break
				}
				seen[proto+a.String()] = n.at
			}
		}
	}
	b.checkProxies(entries)
	s := b.root.sub("server")
	if (serves(ServeMX) || serves(ServeSubmission) || serves(ServeRelay)) && s.n.field("hostname") == nil {
		b.file.errorAt(s.at, "mail needs server.hostname", `like hostname = "edge.example.net"`)
	}
	if serves(ServeDNS) && len(c.Views) == 0 {
		b.file.warnAt(entries[0].at, "dns is listened for, but there is no view: every question is refused", "add [[view]]")
	}
	if serves(ServeMX) && len(c.Mail.Domains) == 0 {
		b.file.errorAt(b.root.sub("mail").where("domains"), "mx is listened for, but mail.domains is empty", "name the domains it takes mail for")
	}
	relays := b.root.sub("mail").each("relay")
	for i, l := range c.Listen {
		if l.Serve == ServeRelay && len(relays) == 0 {
			b.file.warnAt(entries[i].at, "relay is listened for, but no host may use it", "add [[mail.relay]]")
		}
	}
	if len(relays) > 0 && !serves(ServeRelay) {
		b.file.warnAt(relays[0].at, "hosts may relay, but no listener serves them", `add [[listen]] with serve = "relay"`)
	}
}

// checkProxies looks whether there is anybody whom a proxy's listener lets in,
// and anything that those who are trusted could use.
func (b *builder) checkProxies(entries []table) {
	in, s := b.checked.Mail.Inbound, b.root.sub("mail").sub("inbound")
	var proxied, mx bool
	for i, l := range b.checked.Listen {
		proxied = proxied || l.Proxy
		mx = mx || l.Serve == ServeMX
		if l.Proxy && len(in.TrustedProxies) == 0 {
			b.file.errorAt(entries[i].where("proxy"), "a listener behind proxies, and none is trusted: nobody could connect", "name them in mail.inbound.trusted_proxies")
		}
	}
	if len(in.TrustedProxies) > 0 && !proxied {
		b.file.warnAt(s.where("trusted_proxies"), "proxies are trusted, but no listener is behind them", "add proxy = true to its [[listen]]")
	}
	if len(in.TrustedXClient) > 0 && !mx {
		b.file.warnAt(s.where("trusted_xclient"), "XCLIENT is for mx listeners, and there is none", "")
	}
}

// protocols returns what an entry binds.
func protocols(l Listen) []string {
	if l.Serve != ServeDNS {
		return []string{"tcp"}
	}
	var all []string
	for _, t := range l.Transports {
		switch t {
		case "udp", "quic":
			all = append(all, "udp")
		case "tcp", "tls", "https":
			all = append(all, "tcp")
		}
	}
	return all
}
