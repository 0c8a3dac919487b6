package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/config"
	"postern/internal/dns/name"
	"postern/internal/dns/serve"
	"postern/internal/dns/xfr"
	"postern/internal/mail/recipient"
	"postern/internal/mail/smtpd"
	"postern/internal/manage"
	"postern/internal/metrics"
)

// buildDesk makes what operators talk to.
func (a *App) buildDesk(*config.Checked) error {
	a.desk = manage.New(manage.Config{
		Authority: a.authority, Queue: a.queue, Accounts: a.accounts, Forgive: func(id int64) { a.mail.Load().submission.Forgive(id) },
		Settle:      func(ctx context.Context, id int64) bool { return a.mail.Load().submission.Settle(ctx, id) },
		Secondaries: secondaries{a.notifier}, Primaries: primaries{a.refresher}, Catalogs: catalogs{a.roster}, Others: others{a}, Keys: a.zoneKeys, DKIM: a.selector, Now: a.now,
		Facts: a.facts, Reload: a.reload, Explain: a.explain, Mail: a.explainMail, Route: a.explainRoute, Trail: a.trail, Log: a.log,
	})
	return nil
}

// facts is the parts of a status that only the roof knows.
func (a *App) facts() manage.Status {
	cfg := a.inForce()
	s := manage.Status{
		Version: a.opts.Version, Hostname: hostname(cfg), Config: cmp.Or(a.opts.Config, "demo"), Test: a.opts.TestKnobs,
		Started: a.started, Ready: true, Listeners: a.listeners(cfg), Failures: a.failures.list(),
		Queue: manage.Queue{Mode: cfg.Mail.Outbound.Mode}, Recipients: a.knowing(),
	}
	for _, f := range a.authority.Faults() {
		s.Faults = append(s.Faults, f.String())
	}
	if err := a.ready(); err != nil {
		s.Ready, s.NotReady = false, err.Error()
	}
	leaf := a.certs.Leaf()
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	s.Certificates = []manage.Certificate{{Names: names, Issuer: leaf.Issuer.CommonName, Until: leaf.NotAfter}}
	return s
}

// inForce is the configuration that is being followed.
func (a *App) inForce() *config.Checked {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	return a.cfg
}

func (a *App) listeners(cfg *config.Checked) []manage.Listener {
	var all []manage.Listener
	for _, o := range a.names.Open() {
		all = append(all, manage.Listener{Serve: "dns", Transport: o.Transport.String(), Address: o.Addr.String()})
	}
	a.doors.each(func(k doorKey, s *smtpd.Server) {
		all = append(all, manage.Listener{Serve: k.name, Transport: transports[k.mode], Address: s.Addr().String()})
	})
	for _, l := range cfg.Listen {
		if l.Serve == config.ServeAdmin {
			for _, addr := range l.Addrs {
				all = append(all, manage.Listener{Serve: "admin", Transport: "http", Address: addr.String()})
			}
		}
	}
	slices.SortFunc(all, func(x, y manage.Listener) int {
		return cmp.Or(strings.Compare(x.Serve, y.Serve), strings.Compare(x.Address, y.Address), strings.Compare(x.Transport, y.Transport))
	})
	return all
}

var transports = map[smtpd.Mode]string{smtpd.Plain: "plain", smtpd.STARTTLS: "starttls", smtpd.ImplicitTLS: "tls"}

// explain says how a question of a client would be answered.
func (a *App) explain(q manage.QueryArgs) (serve.Explanation, error) {
	var none serve.Explanation
	from, err := netip.ParseAddr(q.From)
	if err != nil {
		return none, fmt.Errorf("--from %q: not an address (hint: of a client, such as 192.0.2.7)", q.From)
	}
	qtype, ok := typeOf(q.Type)
	if !ok {
		return none, fmt.Errorf("%q is not a record type (hint: such as AAAA, or TYPE and its number)", q.Type)
	}
	views, err := a.viewsOf(q.Via)
	if err != nil {
		return none, err
	}
	qname, err := name.Parse(q.Name)
	if err != nil {
		return none, fmt.Errorf("%q is not a domain name: %w (hint: such as www.city.example)", q.Name, err)
	}
	if q.Key == "" {
		return a.serve.Explain(qname, qtype, from, views), nil
	}
	key, err := name.Parse(q.Key)
	if err != nil {
		return none, fmt.Errorf("--key %q is not a name: %w (hint: postern key list shows those there are)", q.Key, err)
	}
	return a.serve.ExplainSigned(key, qname, qtype, from, views), nil
}

// typeOf reads a record type, also as RFC 3597, Section 5 writes it.
func typeOf(text string) (uint16, bool) {
	text = strings.ToUpper(text)
	if t, ok := dns.StringToType[text]; ok {
		return t, true
	}
	digits, ok := strings.CutPrefix(text, "TYPE")
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), ok && err == nil
}

// viewsOf is the views that a DNS listener serves; without one named, all.
func (a *App) viewsOf(via string) ([]string, error) {
	if via == "" {
		return nil, nil
	}
	for _, l := range a.inForce().Listen {
		for _, addr := range l.Addrs {
			if l.Serve == config.ServeDNS && (addr.String() == via || addr.Addr().String() == via) {
				return l.Views, nil
			}
		}
	}
	return nil, fmt.Errorf("--via %q: no DNS listener has this address (hint: postern status shows them)", via)
}

// count shows the counters of every room.
func (a *App) count() error {
	reg := a.registry
	errs := []error{
		count(reg, "certs", one(&a.certs.Counters), nil),
		count(reg, "dns_authority", one(&a.authority.Counters), nil),
		count(reg, "dns_resolver", one(&a.resolver.Counters), nil),
		count(reg, "dns_resolver_chain", one(a.resolver.Chain()), nil),
		count(reg, "dns_resolver_cache", one(&a.resolver.Cache().Counters), nil),
		count(reg, "dns_resolver_outbound", one(&a.resolver.Outbound().Counters), nil),
		count(reg, "dns_serve", one(&a.serve.Counters), nil),
		count(reg, "dns_transfer", one(&a.out.Counters), nil),
		count(reg, "dns_notify", one(&a.notifier.Counters), nil),
		count(reg, "dns_refresh", one(&a.refresher.Counters), nil),
		count(reg, "dns_refresh_fault", one(&a.refresher.Faults), nil),
		count(reg, "dns_compare", one(&a.inquirer.Counters), nil),
		count(reg, "dns_roster", one(&a.roster.Counters), nil),
		count(reg, "dns_keyring", one(&a.zoneKeys.Counters), nil),
		count(reg, "dns_rrl", one(&a.serve.RRL.Counters), nil),
		count(reg, "dns_listen", one(&a.names.Counters), nil),
		count(reg, "mail_spool", one(&a.spool.Counters), nil),
		count(reg, "mail_inspect", one(&a.inspector.Counters), nil),
		count(reg, "mail_selector", one(&a.selector.Counters), nil),
		count(reg, "mail_trail", one(&a.trail.Counters), nil),
		count(reg, "mail_queue", one(&a.queue.Counters), nil),
		count(reg, "mail_deliver", one(&a.calls.Counters), nil),
		reg.Gauge("postern_mail_deliver_conversations", "Conversations with next hops that wait for another message.", func() float64 { return float64(a.calls.Waiting()) }, nil),
		count(reg, "mail_deliver_scout", one(&a.scout.Counters), nil),
		count(reg, "mail_accept", a.acceptCounters, nil),
		count(reg, "mail_recipient", one(&a.recipients.Counters), nil),
		count(reg, "mail_scan", one(&a.scans.clamd), metrics.Labels{"scanner": "clamd"}),
		count(reg, "mail_scan", one(&a.scans.rspamd), metrics.Labels{"scanner": "rspamd"}),
		count(reg, "mail_mx", a.mxCounters, nil),
		count(reg, "mail_submission", a.submissionCounters, nil),
		count(reg, "mail_relay", a.relayCounters, nil),
		reg.Gauge("postern_mail_queue_messages", "Messages that are not delivered yet.", func() float64 { return float64(a.queue.Len()) }, nil),
		reg.Gauge("postern_mail_recipients_unverifiable", "Domains whose recipients are to be verified, and whose next hop or directory knows any name.", func() float64 { return a.unknowing(recipient.Anything) }, nil),
		reg.Gauge("postern_mail_recipients_silent", "Domains whose next hop or directory does not answer who exists, or says neither yes nor no, or whose file cannot be used as it is.", func() float64 { return a.unknowing(recipient.Silent, recipient.Stale, recipient.Evasive) }, nil),
		reg.Gauge("postern_dns_resolver_chain_links", "Names whose standing with their parents is remembered.", func() float64 { return float64(a.resolver.Links()) }, nil),
		reg.Gauge("postern_dns_zones_not_ok", "Zones whose file is not what is served.", a.zonesNotOK, nil),
		reg.Gauge("postern_dns_transfers_running", "Transfers to secondaries that are under way.", func() float64 { return float64(a.out.Running()) }, nil),
		reg.Gauge("postern_dns_secondaries_behind", "Secondaries, by zone, view and address, that do not have what is served: lagging or unreachable.", func() float64 { return secondaries{a.notifier}.are(xfr.Lagging, xfr.Unreachable) }, nil),
		reg.Gauge("postern_dns_secondaries_unreachable", "Those among them that do not answer, or not usefully.", func() float64 { return secondaries{a.notifier}.are(xfr.Unreachable) }, nil),
		reg.Gauge("postern_dns_secondary_zones_expired", "Secondary zones that are not served: no primary vouched for them for too long, or none gave them yet.", func() float64 { return primaries{a.refresher}.are(xfr.Expired, xfr.Missing) }, nil),
		reg.Gauge("postern_dns_secondary_zones_stale", "Secondary zones that no primary vouched for when they were asked last.", func() float64 { return primaries{a.refresher}.are(xfr.Stale) }, nil),
		reg.Gauge("postern_dns_secondary_zones_expire_seconds", "When the first secondary zone expires unless a primary vouches for it, in Unix seconds; 0 where there is none.", primaries{a.refresher}.soonest, nil),
		reg.Gauge("postern_dns_catalogs_faulty", "Catalogs of others that are broken, list zones that are somebody else's, or lose too many at once.", catalogs{a.roster}.faulty, nil),
		reg.Gauge("postern_dns_catalog_held", "Zones that catalogs of others list no more, and that stay until somebody accepts it.", catalogs{a.roster}.held, nil),
		reg.Gauge("postern_dns_catalog_zones", "Zones that are here because a catalog of others lists them.", catalogs{a.roster}.following, nil),
		reg.Gauge("postern_dns_signatures_expire_seconds", "When the first signature of the zones that are signed here expires, in Unix seconds; 0 where none is.", a.signaturesExpire, nil),
		reg.Gauge("postern_dns_key_alarms", "What somebody should look after of the keys of zones that are signed here: see postern dnssec status.", a.keyAlarms, nil),
		reg.Gauge("postern_dns_zones_without_ds", "Zones that are signed here, and whose parent was not seen to have a DS for them.", a.withoutDS, nil),
		reg.Gauge("postern_certificate_expiry_seconds", "When the certificate ends, in Unix seconds.", func() float64 { return float64(a.certs.Leaf().NotAfter.Unix()) }, nil),
	}
	errs = append(errs, a.keyGauges())
	if a.accounts != nil {
		errs = append(errs, count(reg, "account", one(&a.accounts.Counters), nil))
	}
	errs = append(errs, count(reg, "mail_handshakes", one(&a.turns.Counters), nil))
	if a.hashes != nil {
		errs = append(errs, count(reg, "account_hash", one(&a.hashes.Counters), nil))
	}
	for _, door := range []string{"mx", "submission", "relay"} {
		errs = append(errs, count(reg, "mail_smtpd", func() []*smtpd.Counters { return a.doors.counters(door) }, metrics.Labels{"door": door}))
	}
	return errors.Join(errs...)
}

func (d *doors) counters(name string) []*smtpd.Counters {
	var all []*smtpd.Counters
	d.each(func(k doorKey, s *smtpd.Server) {
		if k.name == name {
			all = append(all, &s.Counters)
		}
	})
	return all
}

func (a *App) zonesNotOK() float64 {
	n := 0
	for _, z := range a.authority.Zones() {
		if z.State != "ok" {
			n++
		}
	}
	return float64(n)
}
