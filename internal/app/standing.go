package app

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/config"
	"postern/internal/dns/xfr"
)

// standing is what a reload can change and an operator wants to know of: each
// listener, view, key, peer, route and relay, and each zone with its serial.
func (a *App) standing() map[string]string {
	all := map[string]string{}
	for _, l := range a.listeners(a.cfg) {
		all[fmt.Sprintf("listener %s %s %s", l.Serve, l.Transport, l.Address)] = "open"
	}
	for _, v := range a.cfg.Views {
		all["view "+v.Name] = fmt.Sprintf("clients %v, keys %v, zones %s, overlay %q, recursion %t", v.Clients, v.Keys, v.Zones, v.Overlay, v.Recursion)
	}
	for _, k := range a.cfg.Keys {
		all["key "+k.Name] = k.Algorithm
	}
	standingPeers(all, a.cfg)
	standingPolicies(all, a.cfg)
	standingMail(all, a.cfg)
	for _, r := range a.cfg.Mail.Routes {
		all["mail route of "+r.Domain] = hopsOf(r)
		all["recipients of "+r.Domain] = strings.TrimSuffix(r.Recipients+":"+r.List+r.Directory, ":")
	}
	for _, d := range a.cfg.Mail.Directories {
		all["directory "+d.Name] = d.Text()
	}
	standingScanners(all, a.cfg)
	for _, r := range a.cfg.Mail.Relays {
		all["mail relay "+r.Name] = relayOf(r)
	}
	if a.accounts != nil {
		r := a.accounts.Rules()
		all["accounts"] = fmt.Sprintf("min_length %d, lockout %d/%s, reuse %d, max_age %s, %d refused passwords",
			r.MinLength, r.LockoutFailures, r.LockoutWindow, r.Reuse, r.MaxAge, r.Blocklist.Len())
	}
	all["derived from keys of zones"] = fmt.Sprintf("ds %t, dsboot %t", a.cfg.Derived.DS, a.cfg.Derived.Signals)
	for _, z := range a.authority.Zones() {
		all[fmt.Sprintf("zone %s view %s", z.Zone, z.View)] = fmt.Sprintf("serial %d, %d records", z.ServedSerial, z.Records)
	}
	return all
}

// standingMail adds what holds for all mail.
func standingMail(all map[string]string, cfg *config.Checked) {
	in, out := cfg.Mail.Inbound, cfg.Mail.Outbound
	all["mail inbound"] = fmt.Sprintf("spf %t, dkim %t, dmarc %t, enforced %t, quarantine %s, max_size %d, chunking %t, dnsbl %v",
		in.SPF, in.DKIM, in.DMARC, in.Enforce, in.Quarantine, in.MaxSize, in.Chunking, in.Blocklists)
	all["mail inbound exceptions"] = fmt.Sprintf("forwarders %v %v, lists %v, arc_sealers %v",
		in.Exceptions.Networks, in.Exceptions.Domains, in.Exceptions.Lists, in.Exceptions.Sealers)
	all["mail inbound trust"] = fmt.Sprintf("proxies %v, xclient %v", in.TrustedProxies, in.TrustedXClient)
	all["mail outbound"] = fmt.Sprintf("mode %s, source %v, an account a day %d recipients, %d messages, %d new",
		out.Mode, out.Source, out.PerAccountPerDay, out.MessagesPerAccountPerDay, out.NewPerAccountPerDay)
}

func relayOf(r config.Relay) string {
	text := fmt.Sprintf("clients %v, senders %v, recipients %v, foreign_from %s, %d in %s", r.Clients, r.Senders, r.Recipients, r.ForeignFrom, r.Rate.Count, r.Rate.Window)
	for _, c := range r.Cert {
		text += fmt.Sprintf(", certificate %s until %s %q", xfr.PinOf(c), c.NotAfter.Format(time.DateOnly), r.CertName)
	}
	return text
}

// standingPeers adds peers, and what they are secondaries of.
func standingPeers(all map[string]string, cfg *config.Checked) {
	for _, p := range cfg.Peers {
		from := "anywhere"
		if len(p.From) > 0 {
			from = fmt.Sprint(p.From)
		}
		all["peer "+p.Name] = fmt.Sprintf("notify %v, keys %v, transfers by %s from %s, source %v, address %v", p.Notify, p.Keys, p.Transport, from, p.Source, p.Address)
		if p.ServerName != "" || len(p.ServerPins) > 0 || p.Unverified {
			all["peer "+p.Name] += fmt.Sprintf(", as a server %q, pins %x, verified %t", p.ServerName, p.ServerPins, !p.Unverified)
		}
		for _, c := range p.ServerCA {
			all["peer "+p.Name] += fmt.Sprintf(", authority %s until %s", xfr.PinOf(c), c.NotAfter.Format(time.DateOnly))
		}
		for _, c := range p.Cert {
			all["peer "+p.Name] += fmt.Sprintf(", certificate %s until %s %q", xfr.PinOf(c), c.NotAfter.Format(time.DateOnly), p.CertName)
		}
	}
	for _, v := range cfg.ZoneDefault.Views {
		if v.Secondaries != nil {
			all["secondaries of all zones in view "+v.View] = fmt.Sprint(v.Secondaries)
		}
		if v.Catalog != "" {
			all["catalog of all zones in view "+v.View] = v.Catalog
		}
	}
	for _, z := range cfg.Zones {
		for _, v := range z.Views {
			if v.Secondaries != nil {
				all[fmt.Sprintf("secondaries of zone %s in view %s", z.Name, v.View)] = fmt.Sprint(v.Secondaries)
			}
			if v.Dynamic != nil {
				all[fmt.Sprintf("updates of zone %s in view %s", z.Name, v.View)] = fmt.Sprint(v.Dynamic)
			}
			if v.Catalog != "" {
				all[fmt.Sprintf("catalog of zone %s in view %s", z.Name, v.View)] = v.Catalog
			}
			if v.Members {
				all[fmt.Sprintf("members of catalog %s in view %s", z.Name, v.View)] = "followed"
			}
			if v.Primaries != nil {
				all[fmt.Sprintf("primaries of zone %s in view %s", z.Name, v.View)] = fmt.Sprint(v.Primaries)
			}
		}
	}
}

// standingPolicies adds policies, and what they sign.
func standingPolicies(all map[string]string, cfg *config.Checked) {
	for _, p := range cfg.Policies {
		keys, denial, validity := "csk", "nsec", "auto"
		if p.Split {
			keys = "ksk+zsk"
		}
		if p.NSEC3 {
			denial = "nsec3"
		}
		if p.Validity > 0 {
			validity = p.Validity.String()
		}
		all["policy "+p.Name] = fmt.Sprintf("%s, keys %s, denial %s, opt-out %t, validity %s, zonemd %s, lifetimes %s and %s, standby %t, cds %t, check_ds %t",
			p.Algorithm, keys, denial, p.OptOut, validity, p.ZONEMD, lifetime(p.KeyLifetime), lifetime(p.ZoneKeyLifetime), p.Standby, p.CDS, p.CheckDS)
	}
	if cfg.ZoneDefault.DNSSEC != "" {
		all["dnssec of all zones"] = cfg.ZoneDefault.DNSSEC
	}
	for _, z := range cfg.Zones {
		if z.DNSSEC != "" {
			all["dnssec of zone "+z.Name] = z.DNSSEC
		}
	}
}

func lifetime(d time.Duration) string {
	if d == 0 {
		return "manual"
	}
	return d.String()
}

func hopsOf(r config.Route) string {
	var hops []string
	for _, n := range r.NextHops {
		if n.Host == "" {
			hops = append(hops, n.Scheme+":"+n.Path)
			continue
		}
		hops = append(hops, n.Scheme+"://"+net.JoinHostPort(n.Host, strconv.Itoa(n.Port)))
	}
	return strings.Join(hops, ", ")
}

// differences tells what came, went and changed, in order. Of what changed,
// not what has been told already.
func differences(before, after map[string]string, told []string) []string {
	lines := []string{}
	for what, was := range before {
		is, stays := after[what]
		already := slices.ContainsFunc(told, func(t string) bool { return strings.HasPrefix(t, what+":") })
		if !stays {
			lines = append(lines, what+": gone")
		} else if is != was && !already {
			lines = append(lines, fmt.Sprintf("%s: %s, was %s", what, is, was))
		}
	}
	for what, is := range after {
		if _, was := before[what]; !was {
			lines = append(lines, what+": new, "+is)
		}
	}
	slices.Sort(lines)
	return lines
}
