package config

import (
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns/update"
)

// maxRules bounds the rules of one zone in one view: an update is held against
// all of them.
const maxRules = 256

// DynamicRule is one entry of dynamic: who may update what.
type DynamicRule struct {
	Key   string // of Checked.Keys
	Names []string
	Types []string
}

// kindPattern is a name of a zone, or "*." and one.
func kindPattern() kind {
	return kind{shape: isString, noun: "name", final: finalName, like: `"host.example.test" or "*.dyn.example.test"`, check: func(s string) (string, bool) {
		return checkDomain(strings.TrimPrefix(s, "*."))
	}}
}

// kindType is the type of a record that an update may change.
func kindType() kind {
	return kind{shape: isString, noun: "type", like: `"A", "TXT" or "TYPE65280"; what signing makes is no update's`, check: func(s string) (string, bool) {
		_, err := update.ParseType(s)
		return "", err == nil
	}}
}

// zoneDynamic reads who may update a zone, view by view.
func (b *builder) zoneDynamic(t table, z *Zone) {
	owner := map[string]string{} // key -> the view that it updates
	views := t.sub("view")
	for i := range z.Views {
		v := &z.Views[i]
		entries := views.sub(v.View).each("dynamic")
		if len(entries) > maxRules {
			b.file.errorAt(entries[maxRules].at, fmt.Sprintf("more than %d rules", maxRules), "one rule may have many names and types")
		}
		for _, e := range entries {
			v.Dynamic = append(v.Dynamic, b.rule(e, z, v.View, owner))
		}
	}
}

func (b *builder) rule(t table, z *Zone, view string, owner map[string]string) DynamicRule {
	r := DynamicRule{Key: canonical(t.text("key"))}
	if n := t.written("key"); n != nil {
		b.ruleKey(n, r.Key, z, view, owner)
	}
	for _, n := range t.list("names") {
		name := canonical(n.text)
		if in := strings.TrimPrefix(name, "*."); z.Name != "." && in != z.Name && !strings.HasSuffix(in, "."+z.Name) {
			b.file.errorAt(n.at, fmt.Sprintf("%q is not in the zone %s", n.text, z.Name), "write the whole name")
		}
		r.Names = append(r.Names, name)
	}
	for _, n := range t.list("types") {
		r.Types = append(r.Types, strings.ToUpper(n.text))
	}
	for name, what := range map[string]string{"names": "may update nothing", "types": "may update no type"} {
		if n := t.written(name); n != nil && len(n.items) == 0 {
			b.file.errorAt(n.at, fmt.Sprintf("%s is empty: the key %q %s", name, r.Key, what), "leave the rule out")
		}
	}
	return r
}

// ruleKey looks at the key of a rule: it decides which view of a zone is
// updated (VIEWS), so that it may be of one only.
func (b *builder) ruleKey(n *node, key string, z *Zone, view string, owner map[string]string) {
	switch home := b.keyOwner(key); {
	case b.key(key) == nil && !b.keyRefused(key):
		b.file.errorAt(n.at, fmt.Sprintf("there is no key %q", key), meant(key, b.keyNames(), "add ["+dotted([]string{"key", key + "."})+"]"))
	case home != "" && home != view:
		b.file.errorAt(n.at, fmt.Sprintf("the key %q belongs to the view %q", key, home), fmt.Sprintf("a key of its own for the view %q", view))
	case owner[key] != "" && owner[key] != view:
		b.file.errorAt(n.at, fmt.Sprintf("the key %q could mean the zone %s in the view %q or %q", key, z.Name, owner[key], view), "a key for each view tells them apart")
	default:
		owner[key] = view
	}
}

// dynamicElsewhere refuses rules for a zone that comes from others, where that
// is written for the whole zone.
func (b *builder) dynamicElsewhere(t table, z *Zone) {
	n := t.written("primaries")
	if n != nil && slices.ContainsFunc(z.Views, func(v ZoneView) bool { return v.Primaries != nil && v.Dynamic != nil }) {
		b.file.errorAt(n.key, "primaries and dynamic: a zone that comes from others is updated there", "leave one of them out")
	}
}

// Dynamic reports whether updates are allowed in a zone, in any view.
func (z *Zone) Dynamic() bool {
	return slices.ContainsFunc(z.Views, func(v ZoneView) bool { return len(v.Dynamic) > 0 })
}
