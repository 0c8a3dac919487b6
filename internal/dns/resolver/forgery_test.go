package resolver

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/validate"
)

// without leaves out records of the types, and the signatures over them.
func without(rrs []dns.RR, rtypes ...uint16) []dns.RR {
	return slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool {
		rtype := rr.Header().Rrtype
		if sig, ok := rr.(*dns.RRSIG); ok && !slices.Contains(rtypes, dns.TypeRRSIG) {
			rtype = sig.TypeCovered
		}
		return slices.Contains(rtypes, rtype)
	})
}

// renamed is a copy of the records with every owner changed.
func renamed(rrs []dns.RR, owner string) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		c := dns.Copy(rr)
		c.Header().Name = owner
		out = append(out, c)
	}
	return out
}

// at forges the answer to one question.
func at(owner string, rtype uint16, change func(*dns.Msg)) func(asked, *dns.Msg) {
	return func(q asked, m *dns.Msg) {
		if q.DO && q.Type == rtype && q.Name.String() == owner {
			change(m)
		}
	}
}

// instead gives the answer section and the denial of another question.
func instead(z *signedZone, owner string, rtype uint16, t *testing.T) func(*dns.Msg) {
	return func(m *dns.Msg) {
		other := z.reply(asked{Name: mustName(t, owner), Type: rtype, DO: true})
		m.Rcode, m.Answer, m.Ns, m.Authoritative = other.Rcode, other.Answer, other.Ns, true
	}
}

func flip(hex string) string {
	if hex[0] == '0' {
		return "1" + hex[1:]
	}
	return "0" + hex[1:]
}

// forgeries are lies about a delegation. None may end Secure or Insecure.
var forgeries = []struct {
	what, zone, want string
	change           func(*testing.T, *signedTree)
}{
	{"DS of another key in the parent", "sub.example.net.", "bogus ds-mismatch", func(_ *testing.T, tr *signedTree) {
		tr.example.ds = func(set []*dns.DS) []*dns.DS {
			wrong := dns.Copy(set[0]).(*dns.DS)
			wrong.Digest = flip(wrong.Digest)
			return []*dns.DS{wrong}
		}
	}},
	{"DS set changed on the way", "example.net.", "bogus signature-wrong", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			m.Answer = slices.Clone(m.Answer)
			ds := dns.Copy(m.Answer[0]).(*dns.DS)
			ds.Digest = flip(ds.Digest)
			m.Answer[0] = ds
		})
	}},
	{"DS added on the way", "example.net.", "bogus signature-wrong", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			ds := dns.Copy(m.Answer[0]).(*dns.DS)
			ds.Digest = flip(ds.Digest)
			m.Answer = append(slices.Clone(m.Answer), ds)
		})
	}},
	{"DS set of another zone", "example.net.", "bogus signature-wrong", func(t *testing.T, tr *signedTree) {
		tr.net.text += "\nother NS ns.other\nns.other A 192.0.2.99\nother DS 1 13 2 " + strings.Repeat("00", 32)
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			instead(tr.net, "other.net.", dns.TypeDS, t)(m)
			m.Answer = renamed(m.Answer, "example.net.")
		})
	}},
	{"expired", "example.net.", "bogus signature-expired", func(_ *testing.T, tr *signedTree) { tr.net.age = 15 * 24 * time.Hour }},
	{"not yet valid", "example.net.", "bogus signature-early", func(_ *testing.T, tr *signedTree) { tr.net.age = -2 * time.Hour }},
	{"DS without signatures", "example.net.", "bogus signature-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeRRSIG) })
	}},
	{"all stripped", "example.net.", "bogus proof-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) { m.Answer, m.Ns = nil, nil })
	}},
	{"denial without signatures", "plain.net.", "bogus signature-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("plain.net.", dns.TypeDS, func(m *dns.Msg) { m.Ns = without(m.Ns, dns.TypeRRSIG) })
	}},
	{"denial without NSEC", "plain.net.", "bogus proof-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("plain.net.", dns.TypeDS, func(m *dns.Msg) { m.Ns = without(m.Ns, dns.TypeNSEC) })
	}},
	{"NSEC of the unsigned sibling", "example.net.", "bogus proof-missing", func(t *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, instead(tr.net, "plain.net.", dns.TypeDS, t))
	}},
	{"NSEC of the unsigned sibling, renamed", "example.net.", "bogus signature-wrong", func(t *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			instead(tr.net, "plain.net.", dns.TypeDS, t)(m)
			m.Ns = renamed(without(m.Ns, dns.TypeSOA), "example.net.")
		})
	}},
	{"NXDOMAIN of another name", "example.net.", "bogus proof-missing", func(t *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, instead(tr.net, "zzz.net.", dns.TypeDS, t))
	}},
	{"the delegation's own NSEC", "example.net.", "bogus contradictory-answer", func(t *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, instead(tr.net, "example.net.", dns.TypeTXT, t))
		// The parent's honest NSEC at the cut, as a denial of the DS that it lists.
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) { m.Answer, m.Ns = nil, nsecOf(tr.net, "example.net.") })
	}},
	{"denial by the child", "example.net.", "bogus signature-missing", func(t *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			instead(tr.example, "example.net.", dns.TypeTXT, t)(m)
			m.Ns = without(m.Ns, dns.TypeSOA)
		})
	}},
	{"NSEC of a wildcard in place of the name's", "x.wild.net.", "bogus proof-wrong", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("x.wild.net.", dns.TypeDS, func(m *dns.Msg) { m.Ns = renamed(nsecOf(tr.net, "*.wild.net."), "x.wild.net.") })
	}},
	{"no proof about the wildcard", "nowhere.net.", "bogus proof-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("nowhere.net.", dns.TypeDS, func(m *dns.Msg) {
			m.Ns = slices.DeleteFunc(slices.Clone(m.Ns), func(rr dns.RR) bool { return rr.Header().Name == "net." })
		})
	}},
	{"NSEC3 that ends at the name", "safe.opt.", "bogus proof-missing", func(_ *testing.T, tr *signedTree) {
		tr.opt.forge = at("safe.opt.", dns.TypeDS, func(m *dns.Msg) {
			m.Answer, m.Ns = nil, slices.Concat(nsec3At(tr.opt, "opt."), nsec3Before(tr.opt, "safe.opt."))
		})
	}},
	{"NSEC3 at the name as a cover", "safe.opt.", "bogus contradictory-answer", func(_ *testing.T, tr *signedTree) {
		tr.opt.forge = at("safe.opt.", dns.TypeDS, func(m *dns.Msg) {
			m.Answer, m.Ns = nil, slices.Concat(nsec3At(tr.opt, "opt."), nsec3At(tr.opt, "safe.opt."))
		})
	}},
	{"opt-out of another name", "safe.opt.", "bogus proof-missing", func(t *testing.T, tr *signedTree) {
		tr.opt.forge = at("safe.opt.", dns.TypeDS, func(m *dns.Msg) {
			instead(tr.opt, "loose.opt.", dns.TypeDS, t)(m)
			// Unless it is the very one that stands at the name.
			at := nsec3At(tr.opt, "safe.opt.")[0].Header().Name
			m.Ns = slices.DeleteFunc(slices.Clone(m.Ns), func(rr dns.RR) bool { return rr.Header().Name == at })
		})
	}},
	{"opt-out without the closest encloser", "loose.opt.", "bogus proof-missing", func(_ *testing.T, tr *signedTree) {
		tr.opt.forge = at("loose.opt.", dns.TypeDS, func(m *dns.Msg) {
			apex := nsec3At(tr.opt, "opt.")[0].Header().Name
			m.Ns = slices.DeleteFunc(slices.Clone(m.Ns), func(rr dns.RR) bool { return rr.Header().Name == apex })
			if len(without(m.Ns, dns.TypeSOA)) == 0 { // one record was both
				m.Ns = nil
			}
		})
	}},
	{"opt-out flag set on the way", "nowhere.example.net.", "bogus signature-wrong", func(_ *testing.T, tr *signedTree) {
		tr.example.forge = at("nowhere.example.net.", dns.TypeDS, func(m *dns.Msg) {
			var out []dns.RR
			for _, rr := range m.Ns {
				c := dns.Copy(rr)
				if n, ok := c.(*dns.NSEC3); ok {
					n.Flags = 1
				}
				out = append(out, c)
			}
			m.Ns = out
		})
	}},
	{"keys of another", "sub.example.net.", "bogus ds-mismatch", func(t *testing.T, tr *signedTree) {
		tr.example.forge = at("example.net.", dns.TypeDNSKEY, func(m *dns.Msg) {
			instead(tr.net, "net.", dns.TypeDNSKEY, t)(m)
			m.Answer = renamed(m.Answer, "example.net.")
		})
	}},
	{"a key added", "sub.example.net.", "bogus signature-wrong", func(_ *testing.T, tr *signedTree) {
		tr.example.forge = at("example.net.", dns.TypeDNSKEY, func(m *dns.Msg) {
			extra := dns.Copy(tr.net.keys[0].DNSKEY)
			extra.Header().Name = "example.net."
			m.Answer = append([]dns.RR{extra}, m.Answer...)
		})
	}},
	{"keys without signatures", "sub.example.net.", "bogus signature-missing", func(_ *testing.T, tr *signedTree) {
		tr.example.forge = at("example.net.", dns.TypeDNSKEY, func(m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeRRSIG) })
	}},
	{"no keys", "sub.example.net.", "bogus key-missing", func(_ *testing.T, tr *signedTree) {
		tr.example.forge = at("example.net.", dns.TypeDNSKEY, func(m *dns.Msg) { m.Answer = nil })
	}},
	{"keys signed by a key that no DS names", "example.net.", "bogus key-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.split = true
		tr.net.forge = at("net.", dns.TypeDNSKEY, func(m *dns.Msg) {
			for i, rr := range m.Answer {
				if sig, ok := rr.(*dns.RRSIG); ok {
					c := dns.Copy(sig).(*dns.RRSIG)
					c.KeyTag = tr.net.keys[1].Tag
					m.Answer[i] = c
				}
			}
		})
	}},
	{"algorithm downgrade: only keys we do not know", "sub.example.net.", "bogus ds-mismatch", func(_ *testing.T, tr *signedTree) {
		tr.example.forge = at("example.net.", dns.TypeDNSKEY, func(m *dns.Msg) {
			for i, rr := range m.Answer {
				c := dns.Copy(rr)
				switch r := c.(type) {
				case *dns.DNSKEY:
					r.Algorithm = dns.RSASHA1
				case *dns.RRSIG:
					r.Algorithm = dns.RSASHA1
				}
				m.Answer[i] = c
			}
		})
	}},
	{"algorithm downgrade: only signatures we do not know", "example.net.", "bogus key-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			for i, rr := range m.Answer {
				if sig, ok := rr.(*dns.RRSIG); ok {
					c := dns.Copy(sig).(*dns.RRSIG)
					c.Algorithm = dns.RSASHA1
					m.Answer[i] = c
				}
			}
		})
	}},
	{"algorithm downgrade: the DS we know left out", "sub.example.net.", "bogus signature-wrong", func(_ *testing.T, tr *signedTree) {
		tr.example.ds = func(set []*dns.DS) []*dns.DS {
			old := dns.Copy(set[0]).(*dns.DS)
			old.Algorithm = dns.RSASHA1
			return append(set, old)
		}
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			m.Answer = slices.DeleteFunc(slices.Clone(m.Answer), func(rr dns.RR) bool {
				ds, ok := rr.(*dns.DS)
				return ok && ds.Algorithm != dns.RSASHA1
			})
		})
	}},
	{"the root's keys are not those of the anchor", "net.", "bogus ds-mismatch", func(t *testing.T, tr *signedTree) {
		tr.root.forge = at(".", dns.TypeDNSKEY, func(m *dns.Msg) {
			m.Answer = slices.DeleteFunc(slices.Clone(m.Answer), func(rr dns.RR) bool {
				k, ok := rr.(*dns.DNSKEY)
				return ok && k.Flags&dnssec.FlagSEP != 0
			})
		})
	}},
	{"an alias without its signature", "alias.net.", "bogus signature-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.forge = at("alias.net.", dns.TypeDS, func(m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeRRSIG) })
	}},
	{"an alias without its wildcard's proof", "x.starred.net.", "bogus proof-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.text += "\n*.starred CNAME elsewhere.org."
		tr.net.forge = at("x.starred.net.", dns.TypeDS, func(m *dns.Msg) { m.Ns = nil })
	}},
	{"an alias by a DNAME that nobody signed", "x.dn.net.", "bogus signature-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.text += "\ndn DNAME elsewhere.org."
		tr.net.forge = at("x.dn.net.", dns.TypeDS, func(m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeRRSIG) })
	}},
	{"a made-up alias without its DNAME", "x.dn.net.", "bogus signature-missing", func(_ *testing.T, tr *signedTree) {
		tr.net.text += "\ndn DNAME elsewhere.org."
		tr.net.forge = at("x.dn.net.", dns.TypeDS, func(m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeDNAME) })
	}},
	{"the DNAME of another name", "example.net.", "bogus proof-missing", func(t *testing.T, tr *signedTree) {
		tr.net.text += "\ndn DNAME elsewhere.org."
		tr.net.forge = at("example.net.", dns.TypeDS, instead(tr.net, "x.dn.net.", dns.TypeDS, t))
	}},
	{"an alias in place of the DS", "example.net.", "bogus signature-wrong", func(t *testing.T, tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			instead(tr.net, "alias.net.", dns.TypeDS, t)(m)
			m.Answer = renamed(m.Answer, "example.net.")
		})
	}},
}

// nsecOf returns the NSEC record at an owner with its signature.
func nsecOf(z *signedZone, owner string) []dns.RR { return recordsAt(z, owner, dns.TypeNSEC) }

func recordsAt(z *signedZone, owner string, rtype uint16) []dns.RR {
	var out []dns.RR
	for n := range z.signed.Nodes() {
		if n.Name.String() != owner {
			continue
		}
		for _, s := range n.Sets {
			for _, rr := range s.RRs {
				if sig, ok := rr.(*dns.RRSIG); rr.Header().Rrtype == rtype || ok && sig.TypeCovered == rtype {
					out = append(out, rr)
				}
			}
		}
	}
	return out
}

// nsec3At returns the NSEC3 record of a name, nsec3Before the one that leads
// to it.
func nsec3At(z *signedZone, n string) []dns.RR {
	return recordsAt(z, strings.ToLower(dns.HashName(n, dns.SHA1, 0, ""))+"."+z.origin, dns.TypeNSEC3)
}

func nsec3Before(z *signedZone, n string) []dns.RR {
	for node := range z.signed.Nodes() {
		for _, rr := range recordsAt(z, node.Name.String(), dns.TypeNSEC3) {
			if r, ok := rr.(*dns.NSEC3); ok && strings.EqualFold(r.NextDomain, dns.HashName(n, dns.SHA1, 0, "")) {
				return recordsAt(z, r.Hdr.Name, dns.TypeNSEC3)
			}
		}
	}
	return nil
}

func TestForgeries(t *testing.T) {
	t.Parallel()
	for _, c := range forgeries {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r, _ := newSignedTree(func(tr *signedTree) { c.change(t, tr) }).resolver(t, nil)
			if got := verdict(t, r, c.zone); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if r.Chain().Bogus.Value() != 1 || r.Chain().Secure.Value()+r.Chain().Insecure.Value() != 0 {
				t.Errorf("counted %+v", r.Chain())
			}
		})
	}
}

// TestUndeniedOnTheWay: a name between two cuts whose server can not deny the
// DS does not end the walk, and proves nothing either.
func TestUndeniedOnTheWay(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(func(tr *signedTree) {
		tr.opt.text += "\na.ent NS ns.elsewhere.lab."
		tr.opt.forge = at("ent.opt.", dns.TypeDS, func(m *dns.Msg) { m.Ns = without(m.Ns, dns.TypeNSEC3) })
	})
	r, _ := tr.resolver(t, nil)
	for zone, want := range map[string]string{
		"ent.opt.": "bogus proof-missing", "a.ent.opt.": "secure opt-out opt. opted-out", "x.a.ent.opt.": "insecure opt-out",
	} {
		if got := verdict(t, r, zone); got != want {
			t.Errorf("%s: %s, want %s", zone, got, want)
		}
	}
	tr.opt.forge = func(q asked, m *dns.Msg) {
		if q.Type == dns.TypeDS {
			m.Ns = without(m.Ns, dns.TypeNSEC3)
		}
	}
	if got := verdict(t, r, "b.ent.opt."); got != "bogus proof-missing" {
		t.Error(got)
	}
}

// TestUnknownAlgorithms: a zone that can not be judged is insecure, and only
// where the DS set itself says so.
func TestUnknownAlgorithms(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(*dns.DS)
		both   bool
		want   string
	}{
		"SHA-1 signatures":        {func(ds *dns.DS) { ds.Algorithm = dns.RSASHA1 }, false, "insecure unknown-algorithm"},
		"SHA-1 digest":            {func(ds *dns.DS) { ds.DigestType, ds.Digest = dns.SHA1, ds.Digest[:40] }, false, "insecure unknown-digest"},
		"a private algorithm":     {func(ds *dns.DS) { ds.Algorithm = 253 }, false, "insecure unknown-algorithm"},
		"beside one that we know": {func(ds *dns.DS) { ds.Algorithm = dns.RSASHA1 }, true, "secure validated example.net. signed ECDSAP256SHA256"},
		"beside a digest we know": {func(ds *dns.DS) { ds.DigestType, ds.Digest = dns.SHA1, ds.Digest[:40] }, true, "secure validated example.net. signed ECDSAP256SHA256"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tr := newSignedTree(func(tr *signedTree) {
				tr.example.ds = func(set []*dns.DS) []*dns.DS {
					other := dns.Copy(set[0]).(*dns.DS)
					c.change(other)
					if c.both {
						return append(set, other)
					}
					return []*dns.DS{other}
				}
			})
			r, _ := tr.resolver(t, nil)
			if got := verdict(t, r, "sub.example.net."); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestOneHonestServer: of two servers of the parent one lies, and is passed
// over.
func TestOneHonestServer(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(func(tr *signedTree) {
		tr.net.text += "\n@ NS ns2\nns2 A 192.0.2.31"
		tr.root.text += "\nnet. NS ns2.net.\nns2.net. A 192.0.2.31"
	})
	r, w := tr.resolver(t, nil)
	w.servers["192.0.2.31"] = tr.net.reply
	tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) { m.Answer, m.Ns = nil, nil })
	if got, want := verdict(t, r, "example.net."), "secure validated net. signed ED25519"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := r.Counters.Rejected.Value(); n > 1 {
		t.Errorf("%d rejected", n)
	}
}

// TestOneServerForAll: where one server has the whole tree, it answers at once
// from the deepest zone it has.
func TestOneServerForAll(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(func(tr *signedTree) {
		for _, z := range tr.zones {
			z.addr = rootAddr
		}
	})
	r, w := tr.resolver(t, nil)
	w.servers[rootAddr] = func(q iterate.Question) *dns.Msg {
		n := q.Name
		if q.Type == dns.TypeDS {
			n = n.Parent()
		}
		best := tr.root
		for _, z := range tr.zones {
			if n.IsBelow(mustName(t, z.origin)) && len(z.origin) >= len(best.origin) {
				best = z
			}
		}
		return best.reply(q)
	}
	for zone, want := range map[string]string{
		"net.": "secure validated . signed ECDSAP256SHA256", "example.net.": "secure validated net. signed ED25519",
		"sub.example.net.": "secure validated example.net. signed ECDSAP256SHA256", "plain.net.": "secure no-ds net. unsigned",
		"sub.plain.net.": "insecure no-ds", "loose.opt.": "secure opt-out opt. opted-out", "safe.opt.": "secure validated opt. signed ECDSAP256SHA256",
		"x.nowhere.net.": "secure validated net. nowhere",
	} {
		if got := verdict(t, r, zone); got != want {
			t.Errorf("%s: %s, want %s", zone, got, want)
		}
	}
}

// TestCostIsCounted: a walk that would cost too much ends, and tells.
func TestCostIsCounted(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(func(tr *signedTree) {
		tr.net.forge = at("example.net.", dns.TypeDS, func(m *dns.Msg) {
			good := m.Answer[len(m.Answer)-1].(*dns.RRSIG)
			m.Answer = m.Answer[:len(m.Answer)-1]
			for i := range 200 {
				c := dns.Copy(good).(*dns.RRSIG)
				c.Inception += uint32(i + 1)
				m.Answer = append(m.Answer, c)
			}
		})
	})
	r, _ := tr.resolver(t, nil)
	if got := verdict(t, r, "example.net."); got != "bogus work-limit" {
		t.Error(got)
	}
	// Two DNSKEY sets and a DS set on the way, then eight.
	if c := r.Chain(); c.Costly.Value() != 1 || c.Checked.Value() != 3+8 {
		t.Errorf("%d costly, %d checked", c.Costly.Value(), c.Checked.Value())
	}
}

// TestNobodyAnswers: silence and refusal are no verdict.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	for what, server := range map[string]func(iterate.Question) *dns.Msg{
		"silence": func(iterate.Question) *dns.Msg { return nil },
		"refusal": func(iterate.Question) *dns.Msg {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: dns.RcodeRefused}}
		},
		"lame": func(iterate.Question) *dns.Msg {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Ns: []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "a."}}}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, w := newSignedTree(nil).resolver(t, nil)
			w.servers[netAddr] = server
			if got := verdict(t, r, "example.net."); got != "unknown no-reply" {
				t.Error(got)
			}
			before := len(w.questions())
			if got := verdict(t, r, "example.net."); got != "unknown no-reply" || len(w.questions()) != before {
				t.Errorf("asked again at once: %s", got)
			}
		})
	}
}

// TestAnchors: where no anchor is above, or a negative one, nothing is asked.
func TestAnchors(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(nil)
	r, w := tr.resolver(t, func(c *Config) {
		c.Anchors = []validate.Anchor{{Zone: mustName(t, "example.net."), Keys: []*dns.DNSKEY{tr.example.keys[0].DNSKEY}}}
		c.Negative = append(c.Negative, mustName(t, "bad.example.net."))
	})
	for zone, want := range map[string]string{
		"net.": "unknown no-anchor", "example.net.": "unknown no-anchor", "other.": "unknown no-anchor",
		"bad.example.net.": "insecure negative-anchor", "x.bad.example.net.": "insecure negative-anchor",
	} {
		if got := verdict(t, r, zone); got != want {
			t.Errorf("%s: %s, want %s", zone, got, want)
		}
	}
	if len(w.questions()) != 0 {
		t.Error(w.questions())
	}
	// The nearest anchor is enough: the zones above it are not asked for keys.
	if got := verdict(t, r, "sub.example.net."); got != "secure validated example.net. signed ECDSAP256SHA256" {
		t.Error(got)
	}
	for _, q := range w.questions() {
		if strings.HasSuffix(q, " . DNSKEY") || strings.HasSuffix(q, " net. DNSKEY") {
			t.Error(q)
		}
	}
	r.cfg.Anchors = []validate.Anchor{{Zone: mustName(t, "."), DS: []*dns.DS{{Algorithm: dns.RSASHA1, DigestType: dns.SHA256}}}}
	if got := verdict(t, r, "net."); got != "unknown no-anchor" {
		t.Error(got)
	}
}

// TestNegativeAnchorAtSpecialName: who names a special-use name there has it
// asked of the world.
func TestNegativeAnchorAtSpecialName(t *testing.T) {
	t.Parallel()
	r, w := newSignedTree(nil).resolver(t, func(c *Config) { c.Negative = append(c.Negative, mustName(t, "corp.test.")) })
	for q, asked := range map[string]bool{"a.test. A": false, "test. A": false, "corp.test. A": true, "www.corp.test. A": true} {
		before := len(w.questions())
		if got := resolve(t, r, "", q); !strings.HasPrefix(got, "NXDOMAIN") && q != "test. A" {
			t.Errorf("%s: %s", q, got)
		}
		if (len(w.questions()) > before) != asked {
			t.Errorf("%s: %q", q, w.questions()[before:])
		}
		r.Flush(mustName(t, "."), true)
	}
}

// TestNeverOurOwn: the servers of the parent are asked, although the zone and
// its parent are ours too.
func TestNeverOurOwn(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(nil)
	r, w := tr.resolver(t, func(c *Config) {
		c.Local = func(_ string, q nameType, qtype uint16) (*dns.Msg, bool) {
			if qtype == dns.TypeDS || qtype == dns.TypeDNSKEY {
				t.Errorf("own zones are asked for %s %s", q, dns.Type(qtype))
			}
			return nil, false
		}
	})
	if got := verdict(t, r, "sub.example.net."); got != "secure validated example.net. signed ECDSAP256SHA256" {
		t.Error(got)
	}
	if !slices.Contains(w.questions(), exAddr+" sub.example.net. DS") {
		t.Error(w.questions())
	}
}

// TestRemembered: what the parent says is asked again after a minute, what
// stands above it after an hour, what was wrong after some seconds.
func TestRemembered(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(nil)
	at := signTime
	r, w := tr.resolver(t, func(c *Config) { c.Now = func() time.Time { return at } })
	asks := func(after time.Duration, want ...string) {
		t.Helper()
		at = at.Add(after)
		before := len(w.questions())
		if got := verdict(t, r, "example.net."); got != "secure validated net. signed ED25519" {
			t.Error(got)
		}
		var got []string
		for _, q := range w.questions()[before:] {
			if _, q, _ = strings.Cut(q, " "); !strings.HasSuffix(q, " A") { // shortened questions
				got = append(got, q)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %s asked %q, want %q", after, got, want)
		}
	}
	asks(0, ". DNSKEY", "net. DS", "net. DNSKEY", "net. DNSKEY", "example.net. DS")
	asks(59 * time.Second)
	asks(time.Second, "example.net. DS")
	asks(58*time.Minute, "example.net. DS")
	// What is known is as old as the TTL of the keys.
	asks(time.Minute, ". DNSKEY", "net. DS", "net. DNSKEY", "net. DNSKEY", "example.net. DS")
	tr.net.forge = func(_ asked, m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeRRSIG) }
	at = at.Add(time.Minute)
	if got := verdict(t, r, "example.net."); got != "bogus signature-missing" {
		t.Error(got)
	}
	tr.net.forge = nil
	at = at.Add(failureLasts - time.Second)
	if got := verdict(t, r, "example.net."); got != "bogus signature-missing" {
		t.Error(got)
	}
	asks(time.Second, "example.net. DS")
	if n := r.Flush(mustName(t, "net."), true); n == 0 || r.Links() != 0 {
		t.Errorf("%d dropped, %d left", n, r.Links())
	}
}

// TestLinksAreBounded.
func TestLinksAreBounded(t *testing.T) {
	t.Parallel()
	r, _ := newSignedTree(nil).resolver(t, func(c *Config) { c.MaxLinks = 3 })
	for _, zone := range []string{"a.net.", "b.net.", "c.net.", "d.net.", "e.net."} {
		if got := verdict(t, r, zone); got != "secure validated net. nowhere" {
			t.Error(got)
		}
	}
	if r.Links() != 3 || r.Chain().Dropped.Value() == 0 {
		t.Errorf("%d links, %d dropped", r.Links(), r.Chain().Dropped.Value())
	}
}

// TestWalksAreBounded: who finds no place waits, and no longer than it likes.
func TestWalksAreBounded(t *testing.T) {
	t.Parallel()
	r, w := newSignedTree(nil).resolver(t, func(c *Config) { c.MaxWalks = 1 })
	r.chain.walks <- struct{}{}
	ctx, cancel := ended(t)
	defer cancel()
	if d, err := r.Delegation(ctx, mustName(t, "net.")); err == nil || d.Security != Unknown || len(w.questions()) != 0 {
		t.Error(d, err)
	}
	<-r.chain.walks
	if got := verdict(t, r, "net."); !strings.HasPrefix(got, "secure") {
		t.Error(got)
	}
}

// TestSecureDelegationOverSockets: DO is set, and what does not fit UDP comes
// by TCP.
func TestSecureDelegationOverSockets(t *testing.T) {
	t.Parallel()
	tr := newSignedTree(func(tr *signedTree) {
		tr.example.ds = func(set []*dns.DS) []*dns.DS {
			for i := range 40 {
				more := dns.Copy(set[0]).(*dns.DS)
				more.KeyTag = uint16(i)
				set = append(set, more)
			}
			return set[:41]
		}
	})
	w := signedWorld(t, tr.zones...)
	r := newTestResolver(t, nil, func(c *Config) {
		c.Now = func() time.Time { return signTime }
		c.Anchors = []validate.Anchor{tr.anchor(t)}
		c.UpstreamMap, c.Timeout = tree(t, w), 2*time.Second
	})
	d, err := r.Delegation(t.Context(), mustName(t, "example.net."))
	if err != nil || d.Security != Secure || len(d.DS) != 41 || d.TTL != 7200 {
		t.Errorf("%+v, %v", d, err)
	}
	if tcp := r.Outbound().Counters.TCP.Value(); tcp != 1 {
		t.Errorf("%d over TCP", tcp)
	}
}
