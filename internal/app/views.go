package app

import (
	"errors"

	"postern/config"
	"postern/internal/lookup"
)

// internalView is the view whose names an administrator writes down for our
// own use, a next hop's: the first that lies over what outsiders see, else the
// first that resolves for its clients; else there is no inside.
func internalView(cfg *config.Checked) string {
	external := ExternalView(cfg)
	over := map[string]string{}
	for _, v := range cfg.Views {
		over[v.Name] = v.Overlay
	}
	for _, v := range cfg.Views {
		for below := v.Overlay; below != ""; below = over[below] {
			if below == external {
				return v.Name
			}
		}
	}
	for _, v := range cfg.Views {
		if v.Recursion {
			return v.Name
		}
	}
	return external
}

// inside is names as the internal view has them, for hosts that the
// configuration names (VIEWS.md: only next_hop and scanner names). Nothing that
// a message or the world names is asked there.
func (a *App) inside(cfg *config.Checked) lookup.Resolver {
	return a.resolver.Lookup(internalView(cfg))
}

// errNotReady is all that a health check hears: which zone, and of which view,
// is for the operator's status alone (VIEWS.md: error text carries no internal
// name).
var errNotReady = errors.New("not every part works (postern status tells which)")

func (a *App) readyInBrief() error {
	if a.ready() != nil {
		return errNotReady
	}
	return nil
}
