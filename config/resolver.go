package config

import (
	"fmt"
	"net/netip"
	"strings"
)

func (b *builder) resolver() {
	s := b.root.sub("resolver")
	r := Resolver{
		Validate:          s.flag("validate"),
		RootHints:         s.path("root_hints", b.file.Dir),
		Negative:          s.texts("negative_trust_anchor"),
		Source:            s.addresses("source"),
		CacheSize:         s.size("cache_size"),
		QNAMEMinimisation: s.text("qname_minimisation"),
	}
	b.readable(s, "root_hints", r.RootHints)
	if n := s.written("trust_anchor"); n != nil {
		r.TrustAnchors = b.trustAnchors(n)
	}
	t := s.sub("test")
	r.Test = ResolverTest{
		Written:              t.n != nil,
		AllowPrivateUpstream: t.flag("allow_private_upstream"),
		Timeout:              t.duration("timeout"),
		Skew:                 t.duration("skew"),
		IPv4:                 t.flag("ipv4"),
		IPv6:                 t.flag("ipv6"),
		EDNSSize:             t.count("edns_size"),
		CaseRandomisation:    t.flag("case_randomisation"),
		SpecialUse:           t.flag("special_use"),
	}
	if !r.Test.IPv4 && !r.Test.IPv6 {
		b.file.errorAt(t.where("ipv6"), "neither IPv4 nor IPv6 to ask over", "")
	}
	if n := t.written("upstream_map"); n != nil {
		r.Test.UpstreamMap = b.upstreamMap(n)
	}
	b.checked.Resolver = r
}

// upstreamMap reads lines "IP IP:PORT"; # begins a comment.
func (b *builder) upstreamMap(n *node) map[netip.Addr]netip.AddrPort {
	path := absolute(n.text, b.file.Dir)
	data, err := readFile(path)
	if err != nil {
		b.file.errorAt(n.at, fmt.Sprintf("cannot read %s: %v", path, err), "")
		return nil
	}
	upstream, line := map[netip.Addr]netip.AddrPort{}, 0
	for text := range strings.Lines(string(data)) {
		line++
		text, _, _ = strings.Cut(text, "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		var from netip.Addr
		var to netip.AddrPort
		if len(fields) == 2 {
			from, err = netip.ParseAddr(fields[0])
			if err == nil {
				to, err = netip.ParseAddrPort(fields[1])
			}
		}
		if len(fields) != 2 || err != nil {
			b.file.problems = append(b.file.problems, Problem{File: path, Line: line, Col: 1, Message: "bad line of the upstream map", Hint: `want "IP IP:PORT"`})
			continue
		}
		upstream[from.Unmap()] = to
	}
	return upstream
}
