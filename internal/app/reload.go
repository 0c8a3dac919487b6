package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"postern/config"
	"postern/internal/dns/authority"
	"postern/internal/manage"
)

// reload reads the configuration and the zones again. Everything new is
// prepared first, sockets included; then it is swapped. On an error nothing
// has changed.
func (a *App) reload(ctx context.Context) (manage.ReloadReport, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	report, err := a.reloadLocked(ctx)
	if err != nil {
		a.log.Error("reload refused; nothing changed", "reason", "reload", "err", strings.ReplaceAll(err.Error(), "\n", " "))
		return report, err
	}
	a.log.Info("reloaded", "changes", len(report.Changes), "kept", len(report.Kept))
	return report, nil
}

func (a *App) reloadLocked(ctx context.Context) (manage.ReloadReport, error) {
	report := manage.ReloadReport{Changes: []string{}, Kept: []string{}}
	old, before := a.cfg, a.standing()
	next, err := a.reread()
	if err != nil {
		return report, err
	}
	if err := needsRestart(a.cfg, next); err != nil {
		return report, err
	}
	if err := a.swap(ctx, next); err != nil {
		return report, fmt.Errorf("nothing changed: %w", err)
	}
	zones, err := a.authority.Reload(ctx)
	if err != nil {
		return report, fmt.Errorf("read the zones again: %w", err)
	}
	changes, kept := manage.Report(zones)
	settings := append(differences(before, a.standing(), changes), renewed(old, next)...)
	// What changed in zones explains nothing here: an edit, or a record that
	// Postern derived, may have come a moment before for a reason of its own.
	if len(settings) == 0 && !bytes.Equal(config.Effective(old), config.Effective(next)) {
		settings = []string{"settings: changed, as postern config show has them"}
	}
	report.Changes = append(append(report.Changes, changes...), settings...)
	report.Kept = append(report.Kept, kept...)
	return report, nil
}

// reread reads the configuration without using it.
func (a *App) reread() (*config.Checked, error) {
	next, problems := LoadConfig(a.opts.Config, a.opts.TestKnobs)
	if !config.Failed(problems) && next != nil {
		return next, nil
	}
	var lines []string
	for _, p := range problems {
		if p.Severity == config.Error {
			lines = append(lines, p.String())
		}
	}
	return nil, &manage.Error{
		Reason: manage.ReasonFailed, Text: "nothing changed: the configuration is not good",
		Hint: "postern config check shows the same", Details: lines,
	}
}

// needsRestart refuses changes that only a start can make.
func needsRestart(old, next *config.Checked) error {
	var keys []string
	for _, c := range []struct {
		key  string
		same bool
	}{
		{"server.hostname", old.Server.Hostname == next.Server.Hostname},
		{"server.state", old.Server.State == next.Server.State},
		{"server.control", old.Server.Control == next.Server.Control},
		{"server.admins", slices.Equal(old.Server.Admins, next.Server.Admins)},
		{"the admin listeners", fmt.Sprint(adminListeners(old)) == fmt.Sprint(adminListeners(next))},
		{"[resolver]", fmt.Sprint(old.Resolver) == fmt.Sprint(next.Resolver)},
		{"[mail.dkim]", slices.Equal(old.Mail.DKIM.Algorithms, next.Mail.DKIM.Algorithms) && old.Derived.DKIM == next.Derived.DKIM},
		{"mail.domains", slices.Equal(old.Mail.Domains, next.Mail.Domains)},
		{"[tls]", old.TLS == next.TLS},
		{"the external view", ExternalView(old) == ExternalView(next)},
	} {
		if !c.same {
			keys = append(keys, c.key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return &manage.Error{
		Reason: manage.ReasonFailed, Text: "nothing changed: a reload cannot change " + strings.Join(keys, ", "),
		Hint: "restart Postern for that",
	}
}

func adminListeners(cfg *config.Checked) []config.Listen {
	var all []config.Listen
	for _, l := range cfg.Listen {
		if l.Serve == config.ServeAdmin {
			all = append(all, l)
		}
	}
	return all
}

// sameZones compares all but what never changes.
func sameZones(a, b authority.Config) bool {
	for _, c := range []*authority.Config{&a, &b} {
		c.Now, c.Up, c.Log, c.Room, c.Tidy, c.Changed, c.Gone, c.Parent, c.Secondaries = nil, nil, nil, nil, nil, nil, nil, nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// swap prepares all that follows the configuration, then takes it.
func (a *App) swap(ctx context.Context, next *config.Checked) error {
	world, err := a.mailOf(next, a.mail.Load())
	if err != nil {
		return err
	}
	rules, err := accountRules(next)
	if err != nil {
		return err
	}
	jar, err := a.cookieJar(next)
	if err != nil {
		return err
	}
	keys, err := keysOf(next)
	if err != nil {
		return err
	}
	peers, err := peeringOf(next)
	if err != nil {
		return err
	}
	feeding, err := a.feedingOf(next)
	if err != nil {
		return err
	}
	names, err := a.names.Prepare(ctx, a.nameListeners(next))
	if err != nil {
		return err
	}
	doors, err := a.doors.change(ctx, a.doorsOf(next))
	if err != nil {
		names.Abort()
		return err
	}
	// Where only the zones' files changed, the scan that follows tells more.
	if was, is := a.zonesOf(a.cfg), a.zonesOf(next); !sameZones(was, is) {
		if err := a.authority.Reconfigure(ctx, is); err != nil {
			names.Abort()
			return errors.Join(fmt.Errorf("the zones of the new configuration: %w", err), doors.abort(ctx))
		}
	}
	// From here on nothing can fail but the closing of what is gone.
	a.cfg = next
	a.setAddresses(next)
	a.jar.Store(jar)
	// After the views: a new key must not be good before it chooses its view.
	a.keys.Store(keys)
	a.transfers.follow(peers) // after the keys that open them
	a.notifier.Follow()
	a.configured = feeding // after the zones that take what it brings
	a.feedAll(nil)
	a.roster.Look() // when this is done
	a.serve.LimitUpdates(perSecond(next.DNS.Updates))
	a.serve.Limit(perSecond(next.DNS.RRL), perSecond(next.DNS.RRLTotal), next.Limits.Exempt)
	if a.accounts != nil {
		a.accounts.Follow(rules)
	}
	a.retire(a.mail.Swap(world))
	a.inspector.Follow(rulesOf(next))
	a.recipients.Follow(world.people) // after the routes by which it asks
	a.scout.Look()
	a.queue.SetHold(next.Mail.Outbound.Mode == "hold")
	if err := errors.Join(names.Commit(ctx), doors.commit(ctx)); err != nil {
		a.log.Warn("a listener did not close in time", "reason", "reload-close", "err", err)
	}
	return nil
}
