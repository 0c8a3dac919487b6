package authority

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns/name"
	"postern/internal/dns/update"
	"postern/internal/dns/view"
)

// plan is a checked Config.
type plan struct {
	Config
	views    []viewPlan // in the configured order
	order    []int      // indices of views, each after the one it overlays
	external string
	fileZone map[string]name.Name // file name -> zone, from Config.Files
	zoneFile map[name.Name]string
	signing  map[name.Name]*SignPolicy
	dynamic  map[key][]update.Rule
}

type viewPlan struct {
	ViewConfig
	hide, hideTree []name.Name
	full, fed      map[name.Name]bool
	alone          map[name.Name]bool // of full: those that are not fed
	made, private  map[name.Name]bool
}

func newPlan(cfg Config) (*plan, error) {
	p := &plan{Config: cfg, fileZone: map[string]name.Name{}, zoneFile: map[name.Name]string{}}
	var names []string
	overlays := map[string]string{}
	for _, v := range cfg.Views {
		vp := viewPlan{
			ViewConfig: v, full: map[name.Name]bool{}, fed: map[name.Name]bool{}, alone: map[name.Name]bool{},
			made: map[name.Name]bool{}, private: map[name.Name]bool{},
		}
		var err error
		if vp.hide, err = parseAll(v.Name, "hide", v.Hide); err != nil {
			return nil, err
		}
		if vp.hideTree, err = parseAll(v.Name, "hide_tree", v.HideTree); err != nil {
			return nil, err
		}
		for _, set := range []struct {
			key   string
			texts []string
			to    []map[name.Name]bool
		}{
			{"overlay", v.Full, []map[name.Name]bool{vp.full, vp.alone}},
			{"primaries", v.Fed, []map[name.Name]bool{vp.full, vp.fed}},
			{"catalog", v.Made, []map[name.Name]bool{vp.made}},
			{"catalog", v.Private, []map[name.Name]bool{vp.private}},
		} {
			zones, err := parseAll(v.Name, set.key, set.texts)
			if err != nil {
				return nil, err
			}
			for _, z := range zones {
				for _, to := range set.to {
					to[z] = true
				}
			}
		}
		p.views = append(p.views, vp)
		names = append(names, v.Name)
		overlays[v.Name] = v.Overlay
	}
	var err error
	if p.order, err = view.Order(names, overlays); err != nil {
		return nil, err
	}
	if err := p.takeFiles(); err != nil {
		return nil, err
	}
	if err := p.takeSigning(); err != nil {
		return nil, err
	}
	if err := p.takeDynamic(); err != nil {
		return nil, err
	}
	if !cfg.Serial.valid() {
		return nil, fmt.Errorf("serial policy %q is not known (keep, counter, unixtime or date)", cfg.Serial)
	}
	return p, p.chooseExternal()
}

func parseAll(view, key string, texts []string) ([]name.Name, error) {
	var all []name.Name
	for _, s := range texts {
		n, err := name.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("view %q: %s: %q: %w", view, key, s, err)
		}
		all = append(all, n)
	}
	return all, nil
}

func (p *plan) takeFiles() error {
	for zone, file := range p.Files {
		n, err := name.Parse(zone)
		if err != nil {
			return fmt.Errorf("zone %q: %w", zone, err)
		}
		if file == "" || strings.ContainsAny(file, "/\x00") || strings.HasPrefix(file, ".") {
			return fmt.Errorf("zone %q: file %q must be a plain file name in the view's directory", zone, file)
		}
		if other, twice := p.fileZone[file]; twice && other != n {
			return fmt.Errorf("zone %q: file %q already belongs to zone %s", zone, file, other)
		}
		p.fileZone[file], p.zoneFile[n] = n, file
	}
	return nil
}

func (p *plan) takeSigning() error {
	p.signing = map[name.Name]*SignPolicy{}
	for zone, policy := range p.Signing {
		n, err := name.Parse(zone)
		if err != nil {
			return fmt.Errorf("zone %q: %w", zone, err)
		}
		p.signing[n] = policy
	}
	if p.Keys == nil && (p.Sign != nil || len(p.signing) > 0) {
		return errors.New("zones cannot be signed without keys")
	}
	if p.Keys == nil {
		p.Keys = noKeys{} // what was signed once may be there still
	}
	return nil
}

func (p *plan) takeDynamic() error {
	p.dynamic = map[key][]update.Rule{}
	for zone, views := range p.Dynamic {
		n, err := name.Parse(zone)
		if err != nil {
			return fmt.Errorf("zone %q: %w", zone, err)
		}
		for view, rules := range views {
			if p.view(view) == nil {
				return fmt.Errorf("zone %q: updates in view %q, which does not exist", zone, view)
			}
			if p.fed(key{n, view}) && len(rules) > 0 {
				return fmt.Errorf("zone %q: updates in view %q, where transfers feed it", zone, view)
			}
			p.dynamic[key{n, view}] = rules
		}
	}
	return nil
}

func (p *plan) chooseExternal() error {
	if p.External != "" {
		if p.view(p.External) == nil {
			return fmt.Errorf("external view %q does not exist", p.External)
		}
		p.external = p.External
		return nil
	}
	for _, v := range slices.Backward(p.views) {
		if v.Overlay == "" && (p.external == "" || servesAny(v)) {
			p.external = v.Name
		}
	}
	return nil
}

// facesTheWorld reports whether strangers see what is in the view.
func (p *plan) facesTheWorld(name string) bool {
	v := p.view(name)
	return name == p.external || v != nil && servesAny(*v)
}

func servesAny(v viewPlan) bool {
	for _, c := range v.Clients {
		if c.Bits() == 0 {
			return true
		}
	}
	return false
}

func (p *plan) view(name string) *viewPlan {
	for i := range p.views {
		if p.views[i].Name == name {
			return &p.views[i]
		}
	}
	return nil
}

// hides returns the names this view hides in the zone, of all those that the
// zones hold: the longest match among known decides whose name it is.
func (v *viewPlan) hides(zone name.Name, known map[name.Name]bool) (hide, tree []name.Name) {
	belongs := func(n name.Name) bool {
		for up := n; ; up = up.Parent() {
			if known[up] {
				return up == zone
			}
			if up == name.Root {
				return false
			}
		}
	}
	for _, n := range v.hide {
		if belongs(n) {
			hide = append(hide, n)
		}
	}
	for _, n := range v.hideTree {
		if belongs(n) {
			tree = append(tree, n)
		}
	}
	return hide, tree
}

// ZoneOfFile returns the zone that a file of that name in a view's directory
// holds: NAME.zone, "/" in the name written %2F, the root root.zone. What only
// looks like it, such as an editor's copy, is refused.
func ZoneOfFile(file string) (name.Name, error) {
	base, ok := strings.CutSuffix(file, ".zone")
	if !ok || base == "" || base[0] == '.' {
		return "", fmt.Errorf("file %q is not named NAME.zone", file)
	}
	if strings.EqualFold(base, "root") {
		return name.Root, nil
	}
	base = strings.NewReplacer("%2F", "/", "%2f", "/").Replace(base)
	for _, r := range base {
		switch {
		case r > '~':
			return "", fmt.Errorf("%q is in no zone's name: an internationalised name is written in its xn-- form", r)
		case !strings.ContainsRune(`abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./\`, r):
			return "", fmt.Errorf("%q is in no zone's name", r)
		}
	}
	if strings.HasSuffix(base, ".") {
		return "", fmt.Errorf("the name of the file has a dot too many")
	}
	return name.Parse(base)
}
