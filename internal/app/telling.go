package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver"
	"postern/internal/dns/xfr"
	"postern/internal/lifecycle"
)

// telling tells the parents of our signed zones that their CDS and CDNSKEY
// records have changed, once all secondaries that answer serve them (RFC 9859,
// Section 4.2). A parent that wants to hear says so in a DSYNC record; nothing
// depends on it, since the others look by themselves. What was told is not kept
// over a restart: to be told twice does no harm.
type telling struct {
	zones func() []cdsOf // of the view that outsiders see
	tell  func(ctx context.Context, zone name.Name) error
	now   func() time.Time
	log   *slog.Logger

	workers lifecycle.Workers
	told    map[name.Name]*toldOf // as many as there are signed zones
}

// cdsOf is what a zone asks of its parent; waits says that a secondary does
// not serve it yet.
type cdsOf struct {
	zone  name.Name
	text  string // "": nothing
	waits bool
}

// toldOf is what a parent was told last.
type toldOf struct {
	text  string
	next  string // what it is being told
	tries int
	due   time.Time
}

const (
	tellLook  = 15 * time.Second // between looks
	tellTime  = 20 * time.Second // for one parent
	tellTries = 5                // RFC 1996, Section 3.6; then it finds out by itself
	tellAgain = time.Minute      // after the first failure; then twice as long
)

// Start begins to look.
func (t *telling) Start(context.Context) error {
	t.told = map[name.Name]*toldOf{}
	t.workers.Go("parents", func(ctx context.Context) {
		again := time.NewTicker(tellLook)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-again.C:
				t.look(ctx)
			}
		}
	})
	return nil
}

// Stop ends what is under way.
func (t *telling) Stop(ctx context.Context) error { return t.workers.Stop(ctx) }

// look tells whoever is to be told now, one after the other.
func (t *telling) look(ctx context.Context) {
	all := t.zones()
	for _, c := range all {
		was := t.told[c.zone]
		if was == nil {
			was = &toldOf{}
			t.told[c.zone] = was
		}
		if !was.is(c, t.now()) || ctx.Err() != nil {
			continue
		}
		one, cancel := context.WithTimeout(ctx, tellTime)
		err := t.tell(one, c.zone)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if was.did(err, t.now()) {
			t.log.Info("parent is told of new CDS records", "zone", c.zone)
		} else if err != nil {
			t.log.Info("parent is not told of new CDS records", "zone", c.zone, "err", err)
		}
	}
	for zone := range t.told {
		if !slices.ContainsFunc(all, func(c cdsOf) bool { return c.zone == zone }) {
			delete(t.told, zone)
		}
	}
}

// is reports whether it is time to tell the parent.
func (t *toldOf) is(c cdsOf, now time.Time) bool {
	if c.text == t.text || c.waits {
		return false
	}
	if c.text != t.next {
		t.next, t.tries, t.due = c.text, 0, time.Time{}
	}
	return !now.Before(t.due)
}

// did takes what came of it, and reports whether the parent has heard. A parent
// that has no place for it is not asked again.
func (t *toldOf) did(err error, now time.Time) bool {
	t.tries++
	nowhere := errors.Is(err, resolver.ErrNoEndpoint) || errors.Is(err, resolver.ErrNotValid)
	if err == nil || nowhere || t.tries >= tellTries {
		t.text = t.next
		return err == nil
	}
	t.due = now.Add(tellAgain << (t.tries - 1))
	return false
}

// cdsNow is what our signed zones ask of their parents, as outsiders see it.
func (a *App) cdsNow() []cdsOf {
	external := ExternalView(a.inForce())
	waits := map[name.Name]bool{}
	for _, s := range a.notifier.Standing() {
		if s.View == external && s.State != xfr.OK && s.State != xfr.Unreachable {
			waits[s.Zone] = true
		}
	}
	var all []cdsOf
	for _, s := range a.authority.Zones() {
		n, err := name.Parse(s.Zone)
		if s.View != external || s.Policy == "" || err != nil {
			continue
		}
		z, _ := a.authority.Content(n, external)
		if z == nil {
			continue
		}
		var lines []string
		for _, t := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
			if set := z.Node(n).Set(t); set != nil {
				for _, rr := range set.RRs {
					lines = append(lines, rr.String())
				}
			}
		}
		all = append(all, cdsOf{n, strings.Join(lines, "\n"), waits[n]})
	}
	return all
}

// tellParent is telling's.
func (a *App) tellParent(ctx context.Context, zone name.Name) error {
	_, err := a.resolver.NotifyParent(ctx, zone, dns.TypeCDS)
	return err
}
