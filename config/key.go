package config

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"postern/internal/secret"
)

// keySizes is the algorithms of TSIG and how many octets each hash has: a
// secret of fewer is weaker than the hash (RFC 8945, Section 10.2).
var keySizes = map[string]int{"hmac-sha256": 32, "hmac-sha384": 48, "hmac-sha512": 64, "hmac-sha224": 28, "hmac-sha1": 20}

// keys reads [key."NAME"].
func (b *builder) keys() {
	s := b.root.sub("key")
	for _, written := range s.names() {
		t := s.sub(written)
		if t.n == nil {
			continue
		}
		if hint, ok := checkDomain(written); !ok {
			b.file.errorAt(t.at, fmt.Sprintf("bad key name %q", written), hint)
			continue
		}
		k := Key{Name: canonical(written), Algorithm: t.text("algorithm")}
		if b.key(k.Name) != nil {
			b.file.errorAt(t.at, fmt.Sprintf("the key %q is written twice", k.Name), "case and a final dot make no difference")
			continue
		}
		if n := t.written("secret"); n != nil {
			k.Secret = b.keySecret(n, k)
		}
		if k.Algorithm == "hmac-sha1" {
			b.file.warnAt(t.where("algorithm"), "hmac-sha1 is there for old peers only", `want "hmac-sha256"`)
		}
		b.checked.Keys = append(b.checked.Keys, k)
	}
	slices.SortFunc(b.checked.Keys, func(a, c Key) int { return strings.Compare(a.Name, c.Name) })
}

// keySecret reads the octets behind a reference. No problem of them shows any.
func (b *builder) keySecret(n *node, k Key) secret.Value {
	text := b.secret(n)
	if text.IsZero() {
		return text // there is a problem already
	}
	// Some programs break base64 into lines.
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text.Reveal())), ""))
	switch size := keySizes[k.Algorithm]; {
	case err != nil || len(raw) == 0:
		b.file.errorAt(n.at, fmt.Sprintf("secret %s is not base64", n.text), "the file holds nothing else; postern key generate makes one")
	case len(raw) < size:
		b.file.warnAt(n.at, fmt.Sprintf("the secret of the key %q has %d octets, fewer than the %d of %s", k.Name, len(raw), size, k.Algorithm), "postern key generate makes one that is as strong")
	}
	return secret.New(raw)
}

// key returns the key of that canonical name, or nil.
func (b *builder) key(name string) *Key {
	for i := range b.checked.Keys {
		if b.checked.Keys[i].Name == name {
			return &b.checked.Keys[i]
		}
	}
	return nil
}

// viewKeys returns the keys of a view. Each chooses one view, so it stands in
// one.
func (b *builder) viewKeys(t table) []string {
	var names []string
	for _, n := range t.list("keys") {
		name := canonical(n.text)
		if owner := b.keyOwner(name); owner != "" {
			b.file.errorAt(n.at, fmt.Sprintf("the key %q belongs to the view %q already", name, owner), "a key chooses one view")
			continue
		}
		if slices.Contains(names, name) {
			b.file.errorAt(n.at, fmt.Sprintf("the key %q stands twice", name), "case and a final dot make no difference")
			continue
		}
		if b.key(name) == nil && !b.keyRefused(name) {
			b.file.errorAt(n.at, fmt.Sprintf("there is no key %q", name), meant(name, b.keyNames(), "add ["+dotted([]string{"key", name + "."})+"]"))
			continue
		}
		names = append(names, name)
	}
	return names
}

func (b *builder) keyOwner(name string) string {
	for _, v := range b.checked.Views {
		if slices.Contains(v.Keys, name) {
			return v.Name
		}
	}
	return ""
}

// keyRefused reports whether the key is written, if not well.
func (b *builder) keyRefused(name string) bool {
	all := b.root.n.field("key")
	if all == nil || all.shape != isTable {
		return all != nil
	}
	return slices.ContainsFunc(all.names, func(written string) bool { return canonical(written) == name })
}

func (b *builder) keyNames() []string {
	var names []string
	for _, k := range b.checked.Keys {
		names = append(names, k.Name)
	}
	return names
}
